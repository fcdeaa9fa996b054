"""The encrypted volume: a container file that holds a copy-on-write Merkle tree (docs/formats/volume.md)."""
