"""What `belljar doctor` says of trust: the root of trust that is there, the algorithms and their reviews (7.6.2 b).

The root is opened, as an enclave would; nothing is made. In comes today's date; out come findings and lines.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from belljar.attestation.errors import AttestationError
from belljar.attestation.platforms import REVIEWED_ALGORITHMS, Places, choose
from belljar.libos.examining import Finding, State
from belljar.libos.folders import platform_folder
from belljar.loader.commands.runs.table import aligned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from belljar.attestation.platforms import Reviewed

_NO_IDENTITY = "enclaves have no identity: no evidence, no sealed keys"


def root_of_trust() -> Finding:
    """Return what stands behind the identity of enclaves here."""
    folder = platform_folder()
    try:
        with choose(None, Places(state=folder, random=os.urandom)) as root:
            simulated, found = root.simulated, f"{root.kind}, {root.strength.partition(';')[0]}"
    except (AttestationError, OSError) as error:
        hint = getattr(error, "hint", None)
        return Finding(
            name="root of trust", state=State.MISSING, found=str(error), cost=_NO_IDENTITY,
            remedy=hint or "belljar platform show says more; belljar platform init makes one",
        )  # fmt: skip
    if not simulated:
        return Finding(name="root of trust", state=State.OK, found=found)
    return Finding(
        name="root of trust", state=State.DEGRADED, found=found,
        cost="evidence is simulated: verifiers refuse it unless their policy says insecure_allow_simulated",
        remedy="a TPM: belljar platform init --platform tpm",
    )  # fmt: skip


def algorithms(today: str, known: Iterable[Reviewed] = REVIEWED_ALGORITHMS) -> Finding:
    """Return whether every algorithm was looked at in time.

    Args:
        today: ISO 8601.
        known: those in use.
    """
    known = tuple(known)
    overdue = [item.name for item in known if item.review_by < today]
    found = f"{len(known)}, reviewed {min(item.reviewed for item in known)}, next by {min(i.review_by for i in known)}"
    if not overdue:
        return Finding(name="algorithms", state=State.OK, found=found)
    return Finding(
        name="algorithms", state=State.DEGRADED, found=found,
        cost=f"nobody has looked lately whether they still hold: {', '.join(overdue)}",
        remedy="a newer belljar: pip install --upgrade belljar",
    )  # fmt: skip


def algorithm_lines(known: Iterable[Reviewed] = REVIEWED_ALGORITHMS) -> list[str]:
    """Return a line for each algorithm, under a head."""
    head = ["ALGORITHM", "FOR", "DEFINED IN", "REVIEWED", "NEXT BY", "QUANTUM COMPUTERS"]
    rows = [
        [
            item.name, item.use, item.source, item.reviewed, item.review_by,
            "withstands" if item.withstands_quantum else "broken by",
        ]
        for item in known
    ]  # fmt: skip
    return aligned([head, *rows])


def algorithm_members(known: Iterable[Reviewed] = REVIEWED_ALGORITHMS) -> list[dict[str, object]]:
    """Return the algorithms as JSON has them."""
    return [asdict(item) for item in known]
