"""What stands between the bytes outside and the bytes of the guest: nothing, or TLS that the gateway ends.

The seam is `Codec`; `channels.py` has another one, for attested channels. A codec does no I/O: in come bytes of either
side, out come bytes for the other. TLS is the standard library's, with its usual validation of certificates and names.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Protocol, TypeVar

from .served import NotServed

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")
_PIECE = 256 << 10


class Work(Protocol):
    """Something slow that touches nothing of its connection."""

    def run(self) -> None:
        """Do it, in any thread; it raises nothing."""
        ...


class Direct:
    """A codec that has nothing slow to do and waits for nothing."""

    work = None
    due = None

    def complete(self, work: Work) -> None:
        """Never called."""

    def tick(self, now: float) -> None:
        """Nothing is due."""


class Codec(Protocol):
    """One connection's translation. Every method may raise `NotServed`.

    Attributes:
        is_open: whether bytes of the guest may flow.
        has_ended: whether the other side has said that it sends no more.
        ends_stream: whether the end of what we send is the end of the stream, and no more bytes of ours follow.
        work: what is to be done in another thread before it goes on; None for nothing.
        due: when `tick` is to be called, by the loop's clock; None for never.
    """

    @property
    def is_open(self) -> bool: ...

    @property
    def has_ended(self) -> bool: ...

    @property
    def ends_stream(self) -> bool: ...

    @property
    def work(self) -> Work | None: ...

    @property
    def due(self) -> float | None: ...

    def complete(self, work: Work) -> None:
        """Go on with work that was done."""
        ...

    def tick(self, now: float) -> None:
        """Look at the time, by the loop's clock."""
        ...

    def receive(self, octets: bytes) -> None:
        """Take bytes from outside."""
        ...

    def receive_end(self) -> None:
        """Learn that no more bytes come from outside."""
        ...

    def read(self) -> bytes:
        """Return bytes for the guest."""
        ...

    def write(self, octets: bytes) -> None:
        """Take bytes of the guest."""
        ...

    def finish(self) -> None:
        """Learn that the guest sends no more."""
        ...

    def to_send(self) -> bytes:
        """Return bytes for outside."""
        ...


class Plain(Direct):
    """Nothing in between."""

    is_open = True
    ends_stream = True

    def __init__(self) -> None:
        self.has_ended = False
        self._inward: list[bytes] = []
        self._outward: list[bytes] = []

    def receive(self, octets: bytes) -> None:
        """Take bytes from outside."""
        self._inward.append(octets)

    def receive_end(self) -> None:
        """The end of the stream is the end of what is sent."""
        self.has_ended = True

    def read(self) -> bytes:
        """Return bytes for the guest."""
        return _taken(self._inward)

    def write(self, octets: bytes) -> None:
        """Take bytes of the guest."""
        self._outward.append(octets)

    def finish(self) -> None:
        """Nothing has to be said."""

    def to_send(self) -> bytes:
        """Return bytes for outside."""
        return _taken(self._outward)


def _taken(parts: list[bytes]) -> bytes:
    found = parts[0] if len(parts) == 1 else b"".join(parts)
    parts.clear()
    return found


class Tls(Direct):
    """TLS as a client, with the validation that `context` asks for (RFC 8446, RFC 9525).

    Args:
        context: of the standard library, as `tls_context` makes it.
        name: that the certificate must be for.
    """

    ends_stream = True

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.is_open = False
        self.has_ended = False
        self._inward: list[bytes] = []
        self._advance()

    def receive(self, octets: bytes) -> None:
        """Take bytes from outside; those after the end of TLS are nobody's, and kept nowhere."""
        if self.has_ended:
            return
        self._incoming.write(octets)
        self._advance()

    def receive_end(self) -> None:
        """Refuse an end that TLS has not announced: somebody may have cut the stream (RFC 8446 6.1)."""
        if not self.has_ended:
            raise NotServed("the server ended the connection without ending TLS")

    def read(self) -> bytes:
        """Return bytes for the guest."""
        return _taken(self._inward)

    def write(self, octets: bytes) -> None:
        """Take bytes of the guest."""
        view = memoryview(octets)
        while view:
            taken = self._calls(lambda: self._tls.write(view))  # noqa: B023 - called at once
            if not taken:
                raise NotServed("TLS with the server takes no bytes at present, expected a session that is open")
            view = view[taken:]

    def finish(self) -> None:
        """Say that no more will be sent."""
        self._calls(self._tls.unwrap)

    def to_send(self) -> bytes:
        """Return bytes for outside."""
        return self._outgoing.read()

    def _advance(self) -> None:
        if not self.is_open:
            self._calls(self._shake_hands)
        while self.is_open and not self.has_ended:
            found = self._calls(lambda: self._tls.read(_PIECE))
            if found is None:
                return
            if found:
                self._inward.append(found)
            else:
                self.has_ended = True

    def _shake_hands(self) -> None:
        self._tls.do_handshake()
        self.is_open = True

    def _calls(self, call: Callable[[], Result]) -> Result | None:
        try:
            return call()
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            self.has_ended = True
            return None
        except ssl.SSLCertVerificationError as error:
            raise NotServed(f"the server's certificate: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise NotServed(f"TLS with the server failed: {error.reason or error}") from error


def tls_context(authorities: str) -> ssl.SSLContext:
    """Return a context that validates certificates and names.

    Args:
        authorities: certificates to rest on, PEM; empty for those the host trusts.

    Raises:
        ssl.SSLError: they are none.
    """
    context = ssl.create_default_context(cadata=authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a server that begins anew takes no bytes meanwhile
    return context
