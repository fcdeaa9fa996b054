"""One end of RA-TLS connections for as long as it likes: its certificate is made when it is needed, and made anew.

In come terms and what makes quotes; out come sessions, as `Endpoint` gives them. The first certificate waits for the
first connection, since some enclaves can be asked for quotes only once they run. What all this lacks stands beside
`Terms.insecure_ra_tls`. Clock and quotes are arguments.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from belljar.attestation.errors import AttestationError, ChannelRefused

from .binding import Role
from .endpoint import Endpoint
from .ratls import ra_tls_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from .identity import Identity
    from .session import ChannelSession
    from .terms import Terms

_RENEWED_S = 12 * 3600  # the chain below a quote of ours holds for seven days, of which six may have gone


class RatlsEndpoint:
    """One end of RA-TLS connections, as `Endpoint` is of channels.

    Args:
        role: on which side.
        terms: on what terms.
        quote: makes a quote over 64 bytes; it may raise `AttestationError`. May be slow.
        clock: seconds since 1970.

    Raises:
        ChannelRefused: the terms leave open who the server is, or contradict the role.
    """

    def __init__(
        self, role: Role, terms: Terms, quote: Callable[[bytes], bytes], *, clock: Callable[[], float] = time.time
    ) -> None:
        terms.check(role)
        self._role = role
        self._terms = terms
        self._quote = quote
        self._clock = clock
        self._one_at_a_time = threading.Lock()
        self._made: tuple[float, Endpoint] | None = None

    @property
    def is_due(self) -> bool:
        """Whether `renew` must come before the next session."""
        return self._made is None or self._clock() >= self._made[0]

    def renew(self) -> None:
        """Make a key and its certificate, if they are due; may be slow, and is called from any thread.

        Raises:
            AttestationError: a server has no evidence to show.
        """
        with self._one_at_a_time:
            if self.is_due:
                now = self._clock()
                self._made = now + _RENEWED_S, Endpoint(self._role, self._terms, self._identity(int(now)))

    def _identity(self, now: int) -> Identity | None:
        """Return what is shown; None for a client without evidence, which a server that asks for some refuses."""
        try:
            return ra_tls_identity(self._quote, now)
        except AttestationError as error:
            if self._role is Role.CLIENT:
                return None
            raise ChannelRefused(f"no certificate with evidence can be made: {error}", hint=error.hint) from error

    def session(self, now: float, *, inline: bool = True) -> ChannelSession:
        """Return a session; `renew` has made what it needs.

        Args:
            now: by the clock that `ChannelSession.tick` is given.
            inline: whether evidence is judged inside of `receive`; else by who asks for `work`.

        Raises:
            ChannelRefused: it has not.
        """
        if self._made is None:
            raise ChannelRefused("there is no certificate with evidence yet", hint="renew() makes it")
        return self._made[1].session(now, inline=inline)
