"""The evidence of whoever answers at an address, over a channel that is given up once it is there.

In comes an address; out come the evidence and the challenge it must answer: a fresh nonce, bound to this TLS session
and the key that the server has shown in it. Nothing is judged here, and nothing of this side is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.attestation.channel import ChannelRefused, Endpoint, Role, Terms, connect
from belljar.loader.errors import LoaderError

from .address import address_of, shown

if TYPE_CHECKING:
    from belljar.attestation.verifier import Appraisal, Challenge, Message

_ENOUGH = "only-asked"


class _Enough(ChannelRefused):
    """There is evidence: the rest of the exchange is not needed."""


class _Keeper:
    """Takes evidence in place of judging it."""

    def __init__(self) -> None:
        self.found: tuple[Message, Challenge] | None = None

    def __call__(self, evidence: Message, challenge: Challenge) -> Appraisal:
        """Keep what came, and end the exchange."""
        self.found = evidence, challenge
        raise _Enough("there is evidence", code=_ENOUGH)


def evidence_at(word: str, *, classical: bool) -> tuple[Message, Challenge]:
    """Return what the server at an address shows, and what it must answer.

    Args:
        word: its address.
        classical: whether a key exchange without ML-KEM will do.

    Raises:
        UsageError: the word is no address.
        LoaderError: it cannot be reached, or is no attested channel.
    """
    address = address_of(word, "the server's address")
    keeper = _Keeper()
    terms = Terms(appraises=keeper, insecure_classical_group=classical)
    try:
        connect(address, endpoint=Endpoint(Role.CLIENT, terms)).abort()
    except ChannelRefused as error:
        if keeper.found is None:
            raise LoaderError(f"{shown(address)}: {error}", hint=error.hint) from error
    except OSError as error:
        raise LoaderError(f"{shown(address)}: cannot be reached: {error.strerror or error}") from error
    if keeper.found is None:
        raise LoaderError(f"{shown(address)}: it has shown no evidence")
    return keeper.found
