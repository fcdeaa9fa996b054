"""What is in a volume: list, read, copy in and out."""
