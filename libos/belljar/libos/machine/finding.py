"""What a probe says: the seam between probes and those who show what they found."""

from __future__ import annotations

from enum import StrEnum

from belljar.libos.values import Value


class State(StrEnum):
    """How something of this machine is, seen from an enclave.

    OK: as it should be. DEGRADED: there, but less than it could be. MISSING: not there.
    """

    OK = "ok"
    DEGRADED = "degraded"
    MISSING = "missing"


class Finding(Value):
    """What one probe found.

    Attributes:
        name: what was looked at.
        state: how it is.
        found: what there is.
        cost: what it costs in protection, function or speed; empty if nothing.
        remedy: what to do about it, as a command where there is one; empty if nothing can be done.
        required: no enclave can run while this is missing.
    """

    name: str
    state: State
    found: str
    cost: str = ""
    remedy: str = ""
    required: bool = False
