"""RA-TLS at the gateway, for peers that know nothing better: a certificate with a quote of this enclave inside.

In come terms and what makes quotes; out come sessions. The key is made here, and never leaves the supervisor. The
certificate is made when the first connection comes, since only then the enclave can be asked, and made anew before its
quote ends. What all this lacks stands beside `Terms.insecure_ra_tls`; that it is used is measured.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from belljar.attestation.channel import Endpoint, Role, ra_tls_identity
from belljar.attestation.errors import AttestationError, RootCannot
from belljar.libos.identity.attestor import NotAttested

from .served import NotServed

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.channel import ChannelSession, Identity, Terms

_RENEWED_S = 12 * 3600  # the chain below a quote holds for seven days, of which six may have gone


class RatlsEndpoint:
    """One end of RA-TLS connections, as `Endpoint` is of channels.

    Args:
        role: on which side.
        terms: on what terms.
        quote: makes a quote over 64 bytes; it may raise `NotAttested`. May be slow.
        clock: seconds since 1970.
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
            NotServed: there is no evidence to be had.
        """
        with self._one_at_a_time:
            if self.is_due:
                now = self._clock()
                self._made = now + _RENEWED_S, Endpoint(self._role, self._terms, self._identity(int(now)))

    def _identity(self, now: int) -> Identity | None:
        """Return what is shown; None for a client without evidence, which a server that asks for some refuses."""
        try:
            return ra_tls_identity(self._evidence, now)
        except AttestationError as error:
            if self._role is Role.CLIENT:
                return None
            raise NotServed(f"no certificate with evidence can be made: {error}") from error

    def _evidence(self, report_data: bytes) -> bytes:
        try:
            return self._quote(report_data)
        except NotAttested as error:
            raise RootCannot(str(error)) from error

    def session(self, now: float, *, inline: bool = True) -> ChannelSession:
        """Return a session; `renew` has made what it needs."""
        if self._made is None:
            raise NotServed("there is no certificate yet")
        return self._made[1].session(now, inline=inline)
