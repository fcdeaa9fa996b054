"""FUSE without libfuse: the kernel's /dev/fuse protocol, spoken directly."""
