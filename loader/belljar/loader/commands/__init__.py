"""One module per command but `run`: each has `main(parsed) -> int`. Cold: they import what they need."""
