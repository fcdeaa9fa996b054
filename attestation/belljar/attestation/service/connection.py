"""One HTTP/1.1 request on one connection, with a bound on everything: bytes, head, body, time; then closed.

In comes a connected socket; out goes one answer. h11 reads and writes HTTP; what is here is what it leaves to its
caller. One request for each connection leaves nothing to disagree about where a request ends (RFC 9112 11.2). The
deadline is for the whole exchange, so nobody holds a place by sending a byte now and then.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11

from .answers import Answer, Question, ServiceRefused, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 2 << 20  # evidence of 1 MiB in base64, and endorsements
_AT_ONCE = 64 * 1024
_AT_ONCE_OF_HEAD = 2048  # h11 looks at the limit only while a head is incomplete
_PARTING_S = 1.0
_TARGET = re.compile(rb"/[\x21-\x7e]{0,1023}")
_BEARER = re.compile(rb"[Bb]earer ([A-Za-z0-9._~+/=-]{1,256})")


class _TooLarge(ServiceRefused):
    status = 413


class _Malformed(ServiceRefused):
    """What h11 refuses, with the status it suggests."""

    def __init__(self, error: h11.RemoteProtocolError) -> None:
        super().__init__(f"not a request of HTTP/1.1: {error}")
        self.status = error.error_status_hint  # type: ignore[misc] # the instance's own, in place of the class's


class Exchange:
    """One request and its answer.

    Args:
        connection: it is used here only; the caller closes it.
        deadline: by `clock`, in seconds.
        clock: monotonic.
    """

    def __init__(self, connection: socket.socket, deadline: float, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._deadline = deadline
        self._clock = clock
        self._bodiless = False  # HEAD asks for everything but the body
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    def serve(self, answer: Callable[[Question], Answer]) -> None:
        """Read the request, send the answer, and part.

        Raises:
            OSError: the other side has gone, or is too slow.
        """
        try:
            given = answer(self._question())
        except ServiceRefused as error:
            given = refusal(error.status, str(error), error.hint)
        self._send(given)
        self._part()

    def hurry(self, most_s: float = 3600.0) -> None:
        """Give the socket what is left of the time.

        Raises:
            TimeoutError: nothing is left.
        """
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError("the exchange took too long")
        self._connection.settimeout(min(left, most_s))

    def _question(self) -> Question:
        request = self._event()
        if not isinstance(request, h11.Request):
            raise ConnectionError("the other side has gone")
        self._bodiless = request.method == b"HEAD"
        target = request.target
        if not _TARGET.fullmatch(target):
            raise ServiceRefused(f"target: got {target[:80]!r}, expected a path of at most 1024 characters")
        tokens = [value for name, value in request.headers if name == b"authorization"]
        match = _BEARER.fullmatch(tokens[0]) if len(tokens) == 1 else None
        self._check_announced(request)
        return Question(
            method=request.method.decode(),
            path=target.decode().partition("?")[0],
            token=match[1].decode() if match else None,
            body=self._body(),
        )

    def _check_announced(self, request: h11.Request) -> None:
        """Refuse a body that says it is too large before reading any of it."""
        for name, value in request.headers:
            if name == b"content-length" and int(value) > MAX_BODY_BYTES:
                raise _TooLarge(f"the body has {value.decode()[:20]} bytes, expected at most {MAX_BODY_BYTES}")

    def _body(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while isinstance(event := self._event(), h11.Data):
            size += len(event.data)
            if size > MAX_BODY_BYTES:
                raise _TooLarge(f"the body has more than {MAX_BODY_BYTES} bytes")
            parts.append(bytes(event.data))
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionError("the other side has gone")
        return b"".join(parts)

    def _event(self) -> h11.Event | type[h11.PAUSED]:
        """Return the next part of the request."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise _Malformed(error) from error
            if not isinstance(event, type) or event is not h11.NEED_DATA:
                return event  # type: ignore[return-value] # NEED_DATA is what the line above leaves out
            if self._http.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self.hurry()
            head = self._http.their_state is h11.IDLE
            self._http.receive_data(self._connection.recv(_AT_ONCE_OF_HEAD if head else _AT_ONCE))

    def _send(self, given: Answer) -> None:
        headers = [
            ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
            ("Connection", "close"),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if given.status != HTTPStatus.NO_CONTENT:
            headers += [("Content-Type", given.media_type), ("Content-Length", str(len(given.body)))]
        if given.status == HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", 'Bearer realm="belljar verifier"'))
        reason = HTTPStatus(given.status).phrase.encode()
        self._write(h11.Response(status_code=given.status, headers=headers, reason=reason))
        if not self._bodiless:
            self._write(h11.Data(data=given.body))
        self._write(h11.EndOfMessage())

    def _write(self, event: h11.Event) -> None:
        content = self._http.send(event)
        if content:
            self.hurry()
            self._connection.sendall(content)

    def _part(self) -> None:
        """Read what still comes for a moment, or closing would reset the connection and take the answer with it."""
        if isinstance(self._connection, ssl.SSLSocket):
            self.hurry(_PARTING_S)
            self._connection.unwrap()
            return
        self._connection.shutdown(socket.SHUT_WR)
        until = self._clock() + _PARTING_S
        left = MAX_BODY_BYTES
        while left > 0 and self._clock() < until:
            self.hurry(_PARTING_S)
            received = len(self._connection.recv(_AT_ONCE))
            left -= received
            if not received:
                return
