"""Which server a guest that speaks TLS itself is about to name: its ClientHello is read, and nothing answered.

The standard library's own TLS reads it: a server without a certificate, stopped as soon as it knows the name (RFC 6066,
3). In come the first bytes of the guest; out comes the name. It proves what the guest says, not what the server does.
"""

from __future__ import annotations

import ssl

from .served import NotServed

MAX_HELLO_BYTES = 64 << 10


class Hello:
    """Reads one ClientHello, as it comes in pieces."""

    def __init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = self._note
        self._incoming = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, ssl.MemoryBIO(), server_side=True)
        self._seen = False
        self._name: str | None = None
        self._size = 0

    def _note(self, _tls: object, name: str | None, _context: object) -> int:
        self._seen, self._name = True, name
        return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR  # stop here: nobody sees this alert

    def receive(self, octets: bytes) -> str | None:
        """Take bytes, and return the name as soon as it is known; None if more bytes are needed.

        Raises:
            NotServed: this is no ClientHello, or one that names no server.
        """
        self._size += len(octets)
        if self._size > MAX_HELLO_BYTES:
            raise NotServed(f"the program sent {MAX_HELLO_BYTES} bytes and no end of a ClientHello")
        self._incoming.write(octets)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError as error:
            if not self._seen:
                raise NotServed("the program did not begin with TLS, expected a ClientHello") from error
        if self._name is None:
            raise NotServed("the program's ClientHello names no server (SNI)")
        return self._name
