"""What another process than the caller's does: prepare a run, stay in the background."""
