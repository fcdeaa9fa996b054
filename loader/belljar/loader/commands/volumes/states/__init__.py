"""Which state a volume is in: snapshots, backups, the anchor."""
