"""Identity in layers: secrets, keys and certificates that follow from what runs (Open Profile for DICE 2.5)."""
