"""What the service is asked and what it answers, as values; and its refusals, each with the status it stands for.

Nothing here knows sockets. Statuses are those of HTTP (RFC 9110 15), errors are JSON: `{"error", "hint"?}`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from belljar.attestation.errors import AttestationError

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request.

    Attributes:
        method: in capitals.
        path: without query.
        token: the bearer token, if one was sent.
        body: whole.
    """

    method: str
    path: str
    token: str | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response."""

    status: int
    body: bytes = b""
    media_type: str = JSON_TYPE


class ServiceRefused(AttestationError):
    """A request cannot be served; the status says why."""

    status: ClassVar[int] = 400


class NotAuthorised(ServiceRefused):
    """There is no token, or none that is known."""

    status = 401


class Forbidden(ServiceRefused):
    """The token is known, and its holder may not do this."""

    status = 403


class NotThere(ServiceRefused):
    """There is no such resource."""

    status = 404


class NotAllowed(ServiceRefused):
    """The resource has no such method."""

    status = 405


class Conflict(ServiceRefused):
    """What is there does not allow it."""

    status = 409


class ChallengeRefused(ServiceRefused):
    """A nonce cannot be used: not ours, expired, used."""

    status = 409


class Unusable(ServiceRefused):
    """A policy, endorsement or reference value is malformed."""

    status = 422


class Overloaded(ServiceRefused):
    """Not now."""

    status = 503


def as_json(status: int, members: dict[str, object]) -> Answer:
    """Return an answer in JSON."""
    return Answer(status=status, body=json.dumps(members).encode() + b"\n")


def refusal(status: int, message: str, hint: str | None = None) -> Answer:
    """Return a refusal in JSON."""
    return as_json(status, {"error": message, **({"hint": hint} if hint else {})})
