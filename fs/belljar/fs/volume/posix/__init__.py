"""POSIX over the tree: inodes, directories, content, extended attributes."""
