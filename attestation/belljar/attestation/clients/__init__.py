"""Channels below HTTP libraries that people know; each module needs its library (`pip install belljar[clients]`)."""
