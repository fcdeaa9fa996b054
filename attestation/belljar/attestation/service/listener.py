"""The listening socket: so many exchanges at once, each in a thread with a deadline, TLS where there is a key.

In come a bound socket and what answers; nothing goes out but answers. The TLS handshake happens in the exchange's own
thread, under its deadline, so a silent stranger stops nobody. More connections than there are places wait in the
kernel's queue. `stop` ends the loop; what runs has until its deadline. An exchange that fails says so on stderr by kind
and nothing else: what strangers send has no place in logs.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from .answers import Answer, Question, refusal
from .connection import Exchange

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from .api import Service

PLACES = 16
DEADLINE_S = 20.0


class Listener:
    """Serves a socket until it is told to stop.

    Args:
        listening: a socket that listens; it is closed here.
        service: answers.
        tls: how to speak TLS; None for plain HTTP.
        say: tells the owner of the machine what went wrong.
    """

    def __init__(
        self,
        listening: socket.socket,
        service: Service,
        *,
        tls: ssl.SSLContext | None = None,
        say: Callable[[str], None],
        deadline_s: float = DEADLINE_S,
    ) -> None:
        listening.setblocking(False)  # who knocked may have gone again: then accept must not wait
        self._listening = listening
        self._service = service
        self._tls = tls
        self._say = say
        self._deadline_s = deadline_s
        self._places = threading.BoundedSemaphore(PLACES)
        self._wake, self._woken = socket.socketpair()

    def stop(self) -> None:
        """End the loop; may be called from a signal handler or another thread."""
        with suppress(OSError):
            self._wake.send(b"s")

    def serve(self) -> None:
        """Serve until told to stop, then wait for what runs."""
        try:
            while self._served_one():
                pass
        finally:
            self._listening.close()
            for _ in range(PLACES):
                self._places.acquire(timeout=self._deadline_s)
            self._wake.close()
            self._woken.close()

    def _served_one(self) -> bool:
        """Take the next connection; say whether to go on."""
        ready, _, _ = select.select([self._listening, self._woken], [], [])
        if self._woken in ready:
            return False
        if not self._places.acquire(timeout=0.5):  # so that stop is heard although all places are taken
            return True
        try:
            connection, _ = self._listening.accept()
            threading.Thread(target=self._exchange, args=(connection,), daemon=True).start()
        except BlockingIOError:
            self._places.release()
        except (OSError, RuntimeError) as error:  # out of descriptors or threads: others will end
            self._places.release()
            self._say(f"a connection could not be taken: {type(error).__name__}")
            time.sleep(0.1)
        return True

    def _exchange(self, plain: socket.socket) -> None:
        deadline = time.monotonic() + self._deadline_s
        connection = plain
        try:
            plain.settimeout(self._deadline_s)
            if self._tls is not None:
                connection = self._tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                connection.do_handshake()
            Exchange(connection, deadline, time.monotonic).serve(self._answered)
        except OSError:  # the other side has gone, is too slow, or speaks no TLS
            pass
        except Exception as error:  # noqa: BLE001 - a defect of ours, which must not end the service
            self._say(f"an exchange failed: {type(error).__name__}")
        finally:
            connection.close()
            self._places.release()

    def _answered(self, question: Question) -> Answer:
        try:
            return self._service.answer(question)
        except Exception as error:  # noqa: BLE001 - whatever it is, one request must not end the service
            self._say(f"a request could not be answered: {type(error).__name__}")
            return refusal(500, "the verifier failed: its owner is told why")
