"""What is done with a volume that nobody has mounted: check it, save what is intact."""
