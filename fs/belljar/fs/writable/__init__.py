"""A writable file system as the kernel sees it: the seam to a store, and the FUSE server above it."""
