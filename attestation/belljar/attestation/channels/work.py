"""What a session wants done that may take long: evidence made or judged.

In comes a call that touches nothing of the session, and returns what the session then does with the outcome. `run`
may happen in any thread, once; whatever fails is kept until the session takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.attestation.errors import AttestationError, ChannelRefused

if TYPE_CHECKING:
    from collections.abc import Callable


class Work:
    """One piece of work.

    Args:
        call: does it, and returns how the session goes on.
        code: the word for the other side if it fails.
        what: what then failed, for this side.
    """

    __slots__ = ("_call", "_code", "_failure", "_then", "_what")

    def __init__(self, call: Callable[[], Callable[[], None]], *, code: str, what: str) -> None:
        self._call = call
        self._code = code
        self._what = what
        self._then: Callable[[], None] | None = None
        self._failure: AttestationError | OSError | None = None

    def run(self) -> None:
        """Do it; never raises what evidence or a root of trust may lead to."""
        try:
            self._then = self._call()
        except (AttestationError, OSError) as error:  # a root's device or file may fail, too
            self._failure = error

    def proceed(self) -> None:
        """Go on in the session's own thread.

        Raises:
            ChannelRefused: it failed.
        """
        if self._then is None:
            failure = self._failure
            code = failure.code if isinstance(failure, ChannelRefused) else self._code
            hint = getattr(failure, "hint", None)
            raise ChannelRefused(f"{self._what}: {failure or 'not done'}", code=code, hint=hint) from failure
        self._then()
