"""Bind mounts of the host: capture them while we can reach them, map their owner to the guest's user."""
