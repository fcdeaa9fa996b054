"""Limits on what an enclave uses: cgroups where they can be written, a watcher where they cannot."""
