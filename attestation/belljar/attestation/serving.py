"""Door: a verifier for others over HTTP; what it needs to be given (RFC 9334 5; IEEE 2952 7.2.2)."""

from __future__ import annotations

from .service.access import Access, make_token, read_access
from .service.answers import Answer, Question
from .service.api import Service
from .service.challenges import Challenges
from .service.listener import Listener
from .service.shelf import Shelf

__all__ = ["Access", "Answer", "Challenges", "Listener", "Question", "Service", "Shelf", "make_token", "read_access"]
