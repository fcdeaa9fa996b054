"""The codec of attested channels, and the terms they are made on (docs/formats/channel.md; IEEE 2952 5.2.2.2, 5.3.3).

In come entries of the specification and what makes this enclave's evidence; out come endpoints, of which each
connection gets a session. Keys are made here, in the supervisor, and never leave it. What is slow about a session,
making and judging evidence, is given away as `work`. Entries with `insecure_ra_tls` get ends of RA-TLS, which
give sessions alike.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from belljar.attestation.channel import (
    ChannelRefused,
    Endpoint,
    Limits,
    RatlsEndpoint,
    Role,
    Terms,
    appraises_by,
    load_authorities,
    read_token,
    read_tokens,
)
from belljar.attestation.errors import AttestationError, RootCannot
from belljar.attestation.verifier import Message, endorsements_in, load_policy
from belljar.libos.errors import SandboxUnavailable
from belljar.libos.identity.attestor import CHANNEL, NotAttested
from belljar.libos.spec import RA_TLS

from .served import NotServed

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from belljar.attestation.channel import Appraises, Attests, ChannelSession, Peer, Tokens, Work
    from belljar.libos.identity.attestor import Attestor
    from belljar.libos.spec import Inward, Outward

    from .codecs import Work as AnyWork

Told = TypeVar("Told")
_MAX_FILE_BYTES = 1 << 20
_PIECE = 256 << 10


class Channel:
    """One attested channel as a codec.

    Args:
        session: that has not begun.
    """

    ends_stream = False

    def __init__(self, session: ChannelSession) -> None:
        self._session = session
        self._outward: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Whether both sides have accepted each other."""
        return self._session.is_open

    @property
    def has_ended(self) -> bool:
        """Whether the other side has finished, and all of it was read."""
        return self._session.at_end

    @property
    def work(self) -> Work | None:
        """What is to be done in another thread."""
        return self._session.work

    @property
    def due(self) -> float | None:
        """When something is to be done, or must have come."""
        return self._session.due

    @property
    def peer(self) -> Peer:
        """Who is on the other side of an open channel."""
        return self._session.peer

    def complete(self, work: AnyWork) -> None:
        """Go on with what was done."""
        own = self._session.work
        if own is work and own is not None:
            _told(lambda: self._session.complete(own))

    def tick(self, now: float) -> None:
        """Look at the time."""
        _told(lambda: self._session.tick(now))

    def receive(self, octets: bytes) -> None:
        """Take bytes from outside."""
        _told(lambda: self._session.receive(octets))

    def receive_end(self) -> None:
        """Learn that no more bytes come: refused, unless the other side has finished."""
        _told(lambda: self._session.receive(b""))

    def read(self) -> bytes:
        """Return bytes for the guest."""
        parts: list[bytes] = []
        while part := _told(lambda: self._session.read(_PIECE)):
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, octets: bytes) -> None:
        """Take bytes of the guest; the session takes as much as its buffer, so that is emptied between."""
        view = memoryview(octets)
        while view:
            view = view[_told(lambda: self._session.write(view)) :]  # noqa: B023 - called at once
            if view:
                self._outward.append(self._session.to_send())

    def finish(self) -> None:
        """Say that no more will be sent."""
        _told(self._session.finish)

    def to_send(self) -> bytes:
        """Return bytes for outside."""
        self._outward.append(self._session.to_send())
        found = self._outward[0] if len(self._outward) == 1 else b"".join(self._outward)
        self._outward.clear()
        return found


def _told(call: Callable[[], Told]) -> Told:
    try:
        return call()
    except ChannelRefused as refused:
        raise NotServed(f"{refused}; {refused.hint}" if refused.hint else str(refused)) from refused


def server_endpoint(inward: Inward, attestor: Attestor) -> Endpoint | RatlsEndpoint:
    """Return the endpoint of an address outside.

    Raises:
        SandboxUnavailable: a file of the entry cannot be read, or says something else than it must.
    """

    def make() -> Endpoint | RatlsEndpoint:
        in_certificates = inward.security == RA_TLS
        terms = Terms(
            appraises=_appraises(inward.policy, inward.endorsements),
            attests=None if in_certificates else _attests(attestor),
            tokens=_tokens(inward.tokens),
            authorities=load_authorities(inward.authorities.encode()) if inward.authorities else (),
            limits=_limits(inward),
            insecure_ra_tls=in_certificates,
        )
        return RatlsEndpoint(Role.SERVER, terms, _quotes(attestor)) if in_certificates else Endpoint(Role.SERVER, terms)

    return _made(inward.outside, make)


def client_endpoint(outward: Outward, attestor: Attestor) -> Endpoint | RatlsEndpoint:
    """Return the endpoint for connections to another enclave; raises as `server_endpoint`."""

    def make() -> Endpoint | RatlsEndpoint:
        in_certificates = outward.security == RA_TLS
        terms = Terms(
            appraises=_appraises(outward.policy, outward.endorsements),
            attests=None if in_certificates else _attests(attestor),
            token=read_token(_text(outward.token)) if outward.token else None,
            authorities=load_authorities(outward.authorities.encode()) if outward.authorities else (),
            limits=_limits(outward),
            insecure_ra_tls=in_certificates,
        )
        return RatlsEndpoint(Role.CLIENT, terms, _quotes(attestor)) if in_certificates else Endpoint(Role.CLIENT, terms)

    return _made(outward.outside, make)


def _made(name: str, make: Callable[[], Endpoint | RatlsEndpoint]) -> Endpoint | RatlsEndpoint:
    try:
        return make()
    except AttestationError as error:
        raise SandboxUnavailable(f"the channel at {name}: {error}", hint=error.hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SandboxUnavailable(f"the channel at {name}: {error}") from error


async def session_of(endpoint: Endpoint | RatlsEndpoint, threads: ThreadPoolExecutor) -> Channel:
    """Return a new channel; its clock is that of the running loop, and what is slow is done by `threads`.

    Raises:
        NotServed: there is no evidence to show.
    """
    loop = asyncio.get_running_loop()
    if isinstance(endpoint, RatlsEndpoint) and endpoint.is_due:
        try:
            await loop.run_in_executor(threads, endpoint.renew)
        except AttestationError as error:
            raise NotServed(str(error)) from error
    return Channel(endpoint.session(loop.time(), inline=False))


def _appraises(policy: str, endorsements: tuple[str, ...]) -> Appraises | None:
    if not policy:
        return None
    return appraises_by(load_policy(policy), endorsements_in(_bytes(path) for path in endorsements))


def _attests(attestor: Attestor) -> Attests:
    def attest(nonce: bytes, body: bytes) -> Message:
        try:
            token = attestor.token(CHANNEL, nonce, body)
        except NotAttested as error:
            raise RootCannot(str(error)) from error
        return Message(content=token, media_type=attestor.media_type())

    return attest


def _quotes(attestor: Attestor) -> Callable[[bytes], bytes]:
    def quote(report_data: bytes) -> bytes:
        try:
            return attestor.quote(report_data)
        except NotAttested as error:
            raise RootCannot(str(error)) from error

    return quote


def _tokens(path: str) -> Tokens | None:
    return read_tokens(_text(path)) if path else None


def _limits(entry: Inward | Outward) -> Limits:
    every = entry.reattest_ms / 1000 if entry.reattest_ms else None
    return Limits(handshake_s=entry.traffic.handshake_ms / 1000, reattest_s=every)


def _text(path: str) -> str:
    return _bytes(path).decode()


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise OSError(f"{path}: more than {_MAX_FILE_BYTES} bytes")
    return content
