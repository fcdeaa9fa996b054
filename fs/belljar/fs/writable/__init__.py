"""The writable file system as the kernel sees it."""
