"""Who opens a volume: credentials, key slots, owners' keys."""
