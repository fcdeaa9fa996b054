"""Who runs an enclave, and when: mostly whoever builds it, at once; of an enclave kept ready, somebody who comes later.

The seam between building and running. In comes a finished enclave; out comes a `Commission`: the part of a run that
only its caller knows. Nothing of it is needed before the program starts, and nothing of it may change what was built.
"""

from __future__ import annotations

from .values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .manner import Manner
    from .spec import EnclaveSpec

    class Caller(Protocol):
        """Somebody who will say what an enclave that is being built shall run."""

        def fileno(self) -> int:
            """Return a descriptor that becomes readable when the caller is there; -1 if it always was."""
            ...

        def stand_ready(self) -> None:
            """Learn that the enclave stands. Called only if the caller is not there yet."""
            ...

        def commission(self) -> Commission:
            """Return what shall run. Descriptors 0, 1 and 2 are the program's from here on.

            Raises:
                NotCommissioned: nobody will: the enclave is to be given up.
            """
            ...


class NotCommissioned(Exception):
    """An enclave that was kept ready is not needed, or not good any more."""


class Commission(Value):
    """What a caller brings to an enclave.

    Attributes:
        spec: the enclave with this caller's arguments and environment; in all else what was built.
        manner: what the run is called, and where its output goes.
        line: a descriptor that becomes readable when the caller has gone; -1 if the caller is this process.
    """

    spec: EnclaveSpec
    manner: Manner
    line: int = -1


def shell_of(spec: EnclaveSpec) -> EnclaveSpec:
    """Return a specification without what a caller brings: two with the same shell differ in nothing that is built."""
    return spec.replace(argv=(), environment=(), measurement=b"")


class Present:
    """The usual caller: it has said everything before the enclave was built."""

    def __init__(self, spec: EnclaveSpec, manner: Manner) -> None:
        self._commission = Commission(spec=spec, manner=manner)

    def fileno(self) -> int:
        """Return -1: here all along."""
        return -1

    def stand_ready(self) -> None:
        """Do nothing."""

    def commission(self) -> Commission:
        """Return what was said."""
        return self._commission
