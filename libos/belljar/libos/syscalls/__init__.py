"""The system call policy: what a guest may ask of the kernel, and the filters compiled from it."""
