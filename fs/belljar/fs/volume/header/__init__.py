"""The first 128 KiB of a volume's container: two copies of a header with key slots (docs/formats/volume-header.md)."""
