"""What ends one connection, and never the gateway: the text is one line for the journal, for a person."""

from __future__ import annotations


class NotServed(Exception):
    """A connection is not served, or not any longer; the text says why."""
