"""The supervisor's side of attestation: asked from two threads, opens the root of trust when somebody asks. Warm.

In come a specification, when the program is about to start, and requests; out come bytes or a refusal. Nothing of
attestation is imported before the first request, which comes after the guest's side was forked: keys are only here.
"""

from __future__ import annotations

import time
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from belljar.libos.spec import EnclaveSpec

    from .evidence import Evidence, VolumeRoot

    Answer = TypeVar("Answer")

LOCAL = "local"
GUEST = "guest-data"
CHANNEL = "channel"
CERTIFICATE = "csr"


class NotAttested(Exception):
    """There is no evidence; the text says why, for a person."""


class Attestor:
    """Makes evidence of one run."""

    def __init__(self) -> None:
        self._spec: EnclaveSpec | None = None
        self._volumes: Callable[[], list[VolumeRoot]] = list
        self._evidence: Evidence | None = None
        self._lock = allocate_lock()
        self.roots: Callable[[], list[int]] = list

    def begin(
        self, spec: EnclaveSpec, volumes: Callable[[], list[VolumeRoot]] | None, roots: Callable[[], list[int]]
    ) -> None:
        """Learn what is about to run.

        Args:
            spec: with its caller's arguments and environment.
            volumes: gives the present roots of its volumes.
            roots: gives the host pids that all its processes are below.
        """
        self._spec = spec
        self._volumes = volumes or list
        self.roots = roots

    def token(self, purpose: str, nonce: bytes, body: bytes) -> bytes:
        """Return evidence as a CWT.

        Raises:
            NotAttested: there is none.
        """
        from belljar.attestation.attesting import Purpose

        return self._answer(
            lambda made: made.token(Purpose(purpose), nonce, body, now=int(time.time()), volumes=self._volumes())
        )

    def media_type(self) -> str:
        """Return the media type of tokens."""
        from .evidence import MEDIA_TYPE

        return MEDIA_TYPE

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote in DCAP's shape; raises NotAttested."""
        return self._answer(lambda made: made.quote(report_data, now=int(time.time())))

    def report(self, report_data: bytes, target: bytes) -> bytes:
        """Return a report of 432 bytes; raises NotAttested."""
        return self._answer(lambda made: made.report(report_data, target))

    def check_report(self, report: bytes) -> None:
        """Return if a report was made on this platform for this enclave; raises NotAttested."""
        self._answer(lambda made: made.check_report(report))

    def target(self) -> bytes:
        """Return this enclave's target info, 512 bytes; raises NotAttested."""
        return self._answer(lambda made: made.target())

    def identity(self) -> tuple[bytes, bytes, bytes]:
        """Return a TLS key of the guest's own, its certificate, and the chain: PEM; raises NotAttested."""
        return self._answer(lambda made: made.identity(now=int(time.time())))

    def key(self, name: str) -> bytes:
        """Return one of Gramine's two keys; raises NotAttested."""
        return self._answer(lambda made: made.key(name))

    def seal(self, secret: bytes, policy: str) -> bytes:
        """Return bytes of the program sealed, under `measurement` or `signer`; raises NotAttested."""
        return self._answer(lambda made: made.seal(secret, policy))

    def unseal(self, sealed: bytes) -> bytes:
        """Return what `seal` was given, now or in another run; raises NotAttested."""
        return self._answer(lambda made: made.unseal(sealed))

    def certifies(self) -> bool:
        """Say whether quotes can be made; raises NotAttested."""
        return self._answer(lambda made: made.certifies)

    def _answer(self, ask: Callable[[Evidence], Answer]) -> Answer:
        from belljar.attestation.errors import AttestationError

        from .root import NoIdentity

        with self._lock:
            try:
                return ask(self._opened())
            except (AttestationError, NoIdentity, OSError) as error:
                hint = getattr(error, "hint", None)
                raise NotAttested(f"{error}; {hint}" if hint else str(error)) from error

    def _opened(self) -> Evidence:
        """Return what answers, made now if nobody has asked before; a root that is not there may be there later."""
        from .evidence import Evidence
        from .root import NoIdentity, open_root

        if self._spec is None:
            raise NoIdentity("its program has not started")
        if self._evidence is None:
            root = open_root(self._spec.identity.platform, now=int(time.time()))
            try:
                self._evidence = Evidence(self._spec, root)
            except BaseException:
                root.close()
                raise
        return self._evidence

    def close(self) -> None:
        """Let go of the root of trust, if it was opened."""
        with self._lock:
            self._spec = None
            if self._evidence is not None:
                self._evidence.close()
                self._evidence = None
