"""Channels over sockets: for threads, for asyncio, and a listener."""
