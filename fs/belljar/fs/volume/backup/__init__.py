"""Backup and restore of a container's ciphertext; no key is needed (docs/formats/volume-backup.md)."""
