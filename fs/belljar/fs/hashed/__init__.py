"""The hashed file system: an index pins every path, content is verified before the kernel may cache it."""
