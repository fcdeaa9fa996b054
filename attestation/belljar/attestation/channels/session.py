"""A channel without sockets, threads or clocks: bytes in, bytes out (IEEE 2952 5.2.2.2, 7.2.1).

In come bytes from the network and content of the application; out come bytes for the network and content. TLS is
shaken, both sides say hello, each proves what the other asks, each says its verdict; then content flows, and only then.
The server proves first: a client shows evidence or a token to nobody it has not accepted. Every failure is a
`ChannelRefused`: this side's reason in full, the other's as a word. After one, send what `to_send` gives, and close.

Evidence may take long to make and to judge. By default that happens inside `receive`; a caller with other things to
do asks for sessions that give such work away (`work`, `complete`).
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from belljar.attestation.errors import ChannelRefused

from .frames import MAX_DATA_BYTES, Frame, FrameReader, Kind, framed, header
from .tls import ALPN, HYBRID_GROUP, RECORD_BYTES, TlsEngine, public_key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .exchange import Exchange
    from .terms import Peer, Terms
    from .work import Work

_FED_BYTES = 4 * (RECORD_BYTES + 22)  # full records (RFC 8446 5.2)
_FIRST_PART = RECORD_BYTES - 4  # of a frame's content: what fills a TLS record together with the header


class ChannelSession:
    """One side of one channel; `Endpoint.session` makes it. Not for use by two threads at once.

    Args:
        terms: on what terms.
        engine: a TLS session that has not begun.
        exchange: of this session.
        deadline: by the caller's clock, for both verdicts.
        inline: whether slow work happens inside `receive`.
    """

    def __init__(self, terms: Terms, engine: TlsEngine, exchange: Exchange, *, deadline: float, inline: bool) -> None:
        self._terms = terms
        self._engine = engine
        self._exchange = exchange
        self._deadline = deadline
        self._inline = inline
        self._frames = FrameReader()
        self._shaken = False
        self._readable: deque[bytes] = deque()
        self._readable_bytes = 0
        self._unsent = 0
        self._finished = False
        self._peer_finished = False
        self._failure: ChannelRefused | None = None
        self._reattest_at: float | None = None
        self._answer_at: float | None = None
        engine.shake()  # a client's first bytes

    # what a caller asks

    @property
    def is_open(self) -> bool:
        """Whether both sides have accepted each other, and content may flow."""
        return self._exchange.agreed and self._failure is None

    @property
    def peer(self) -> Peer:
        """Who is on the other side.

        Raises:
            ChannelRefused: nobody knows yet, or the channel was given up.
        """
        self._alive()
        return self._exchange.peer()

    @property
    def at_end(self) -> bool:
        """Whether the other side has finished, and all it sent was read."""
        return self._peer_finished and not self._readable

    @property
    def is_over(self) -> bool:
        """Whether both sides have finished: nothing more will be sent or come."""
        return self._finished and self._peer_finished

    @property
    def wants_input(self) -> bool:
        """Whether there is room for what the other side sends; if not, leave it in the network."""
        return self._readable_bytes < self._terms.limits.buffer_bytes

    @property
    def readable(self) -> int:
        """How many bytes of content wait to be read."""
        return self._readable_bytes

    @property
    def room(self) -> int:
        """How many bytes `write` takes at present."""
        return max(0, self._terms.limits.buffer_bytes - self._unsent)

    @property
    def is_attesting_anew(self) -> bool:
        """Whether the other side was asked to attest anew, and has not been judged yet."""
        return self._exchange.agreed and self._exchange.outstanding

    @property
    def work(self) -> Work | None:
        """What is to be done elsewhere: `run` it in any thread, then `complete` it here; None if there is nothing."""
        return self._exchange.work

    @property
    def due(self) -> float | None:
        """When `tick` must be called, by the caller's clock; None if nothing is due, the past if it is to begin."""
        if self.is_over:
            return None
        if self._begins_to_count:
            return 0.0
        times = [self._reattest_at, self._answer_at, None if self._exchange.agreed else self._deadline]
        return min((time for time in times if time is not None), default=None)

    # the network

    def receive(self, content: bytes | memoryview) -> None:
        """Take bytes from the network; b"" when the connection below has ended.

        Raises:
            ChannelRefused: the channel is not opened, or is given up.
        """
        self._guarded(partial(self._received, content))

    def to_send(self) -> bytes:
        """Return all bytes for the network; also after a failure, so that the other side learns of it."""
        self._unsent = 0
        return self._engine.drain()

    def complete(self, work: Work) -> None:
        """Go on with what was done elsewhere.

        Raises:
            ChannelRefused: as by `receive`.
        """
        self._guarded(partial(self._completed, work))

    def tick(self, now: float) -> None:
        """Look at the time: call it when `due` says so, or every now and then.

        Raises:
            ChannelRefused: the other side takes too long.
        """
        self._guarded(partial(self._ticked, now))

    # the application

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Take content to send, and return how many bytes of it; 0 while there is no room.

        Raises:
            ChannelRefused: the channel is not open, or finished.
        """
        self._alive()
        if not self.is_open or self._finished:
            why = "this side has finished" if self._finished else "the channel is not open yet"
            raise ChannelRefused(f"nothing can be written: {why}")
        view = memoryview(content).cast("B")[: self.room]
        for start in range(0, len(view), MAX_DATA_BYTES):
            self._write_frame(view[start : start + MAX_DATA_BYTES])
        return len(view)

    def read(self, most: int = 1 << 16) -> bytes:
        """Return content that has come, at most so much; b"" if there is none at present.

        Raises:
            ChannelRefused: the channel was given up; what came before the network ended can still be read.
        """
        if not self._readable or (self._failure is not None and self._failure.code != "cut-short"):
            self._alive()
            return b""
        parts = [self._readable.popleft()]
        size = len(parts[0])
        while self._readable and size + len(self._readable[0]) <= most:
            parts.append(self._readable.popleft())
            size += len(parts[-1])
        found = parts[0] if len(parts) == 1 else b"".join(parts)
        if size > most:
            self._readable.appendleft(found[most:])
            found = found[:most]
        self._readable_bytes -= len(found)
        return found

    def finish(self) -> None:
        """Say that this side sends no more content; what the other sends still comes.

        Raises:
            ChannelRefused: the channel is not open.
        """
        self._alive()
        if not self.is_open:
            raise ChannelRefused("nothing can be finished: the channel is not open yet")
        if not self._finished:
            self._finished = True
            self._send(Kind.FINISH, b"")
            self._end_if_over()

    def reattest(self, now: float) -> None:
        """Have the other side attest anew, over this session and a new nonce; content goes on flowing.

        Raises:
            ChannelRefused: the channel is not open, or these terms ask for no evidence.
        """
        self._alive()
        if self.is_over:
            raise ChannelRefused("nothing to attest anew: both sides have finished")
        self._send(Kind.CHALLENGE, self._exchange.challenge())
        self._answer_at = now + self._terms.limits.answer_s
        self._reattest_at = None

    def abort(self, reason: str = "given-up") -> None:
        """Give the channel up and tell the other side; `to_send` has the words. Never raises.

        Args:
            reason: a short word.
        """
        if self._failure is None:
            self._part(ChannelRefused("this side gave the channel up", code=reason))

    # within

    def _alive(self) -> None:
        if self._failure is not None:
            raise self._failure.bare()

    def _guarded(self, step: Callable[[], None]) -> None:
        self._alive()
        try:
            step()
        except ChannelRefused as error:
            self._part(error)
            raise

    def _part(self, error: ChannelRefused) -> None:
        """Tell the other side, and end."""
        self._failure = error.bare()
        if self._shaken:
            try:
                self._tell(error)
            except ChannelRefused:
                pass  # the session below is broken: its alert says enough
            self._engine.close()

    def _tell(self, error: ChannelRefused) -> None:
        kind, body = self._exchange.parting(error)
        self._engine.write(framed(kind, body))

    def _received(self, content: bytes | memoryview) -> None:
        if not content:
            self._cut()
            return
        view = memoryview(content)
        for start in range(0, len(view), _FED_BYTES):  # what OpenSSL has once held, it keeps the memory for
            self._engine.feed(view[start : start + _FED_BYTES])
            if self._shaken or self._shake():
                self._pump()

    def _pump(self) -> None:
        """Take what TLS has."""
        while (chunk := self._engine.read()) is not None:
            if not chunk:
                self._cut()
                break
            if self._frames.passes(chunk):  # its first piece was looked at
                self._keep(chunk)
                continue
            for frame in self._frames.feed(chunk):
                self._take(frame)
        self._forward()

    def _keep(self, content: bytes) -> None:
        self._readable.append(content)
        self._readable_bytes += len(content)

    def _shake(self) -> bool:
        self._shaken = self._engine.shake()
        if self._shaken:
            self._check_session()
            self._begin()
            self._forward()
        return self._shaken

    def _begin(self) -> None:
        certificate = self._engine.peer_certificate()
        self._exchange.begin(self._engine, certificate, public_key_of(certificate))

    def _check_session(self) -> None:
        """Hold that TLS agreed on what it must."""
        if self._engine.protocol != ALPN:
            raise ChannelRefused(
                f"the other side does not speak {ALPN.decode()}", code="other-version",
                hint="is there an attested channel at this address?",
            )  # fmt: skip
        group = self._engine.group
        if group != HYBRID_GROUP and not self._terms.insecure_classical_group:
            raise ChannelRefused(
                f"key exchange {group}, expected {HYBRID_GROUP}", code="classical-group",
                hint="the other side's TLS is too old, or somebody between takes it away",
            )  # fmt: skip

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            if not self._exchange.agreed:
                raise ChannelRefused("data before both sides have agreed", code="malformed")
            if self._peer_finished:
                raise ChannelRefused("data after finish", code="malformed")
            self._keep(frame.body)
        elif frame.kind is Kind.FINISH:
            self._take_finish()
        else:
            self._exchange.take(frame)

    def _take_finish(self) -> None:
        if not self._exchange.agreed or self._peer_finished:
            raise ChannelRefused("finish before both sides have agreed, or again", code="malformed")
        self._peer_finished = True
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self.is_over:
            self._engine.close()

    def _cut(self) -> None:
        """Take that nothing more comes."""
        if self._peer_finished:
            return
        what = "what came may be cut short" if self._exchange.agreed else "before both sides had agreed"
        raise ChannelRefused(f"the other side has gone without finish: {what}", code="cut-short")

    def _completed(self, work: Work) -> None:
        self._exchange.complete(work)
        self._forward()

    def _forward(self) -> None:
        """Do what is to be done here, and send what came of it."""
        while self._inline and (work := self._exchange.work) is not None:
            work.run()
            self._exchange.complete(work)
        for kind, body in self._exchange.to_send():
            self._send(kind, body)
        if not self._exchange.outstanding:
            self._answer_at = None

    def _send(self, kind: Kind, body: bytes) -> None:
        self._engine.write(framed(kind, body))

    def _write_frame(self, part: memoryview) -> None:
        """Send a frame so that its TLS records are full, with a copy of the first one only."""
        self._engine.write(b"".join((header(Kind.DATA, len(part)), part[:_FIRST_PART])))
        if len(part) > _FIRST_PART:
            self._engine.write(part[_FIRST_PART:])
        self._unsent += len(part)

    def _ticked(self, now: float) -> None:
        if self.is_over:
            return
        if not self._exchange.agreed and now >= self._deadline:
            raise ChannelRefused("the other side has not proved itself in time", code="too-late")
        if self._answer_at is not None and now >= self._answer_at:
            raise ChannelRefused("the other side has not attested anew in time", code="too-late")
        if self._begins_to_count:
            self._reattest_at = now + (self._terms.limits.reattest_s or 0.0)
        elif self._reattest_at is not None and now >= self._reattest_at:
            self.reattest(now)

    @property
    def _begins_to_count(self) -> bool:
        """Whether the other side must attest anew after a time that nobody has begun to count."""
        counted = self._reattest_at is not None or self._answer_at is not None
        wanted = self._terms.limits.reattest_s is not None and self._terms.appraises is not None
        return wanted and self.is_open and not counted
