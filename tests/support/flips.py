"""Every way to flip one bit of a case: in the evidence, and in each part of its endorsements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .evidence import Case


def parts(case: Case) -> dict[str, bytes]:
    """Return everything of a case that comes from elsewhere, by name."""
    found = {"evidence": case.evidence}
    endorsements = case.endorsements
    for field in ("certificates", "crls"):
        found |= {f"{field}.{index}": content for index, content in enumerate(getattr(endorsements, field))}
    if (collateral := endorsements.collateral) is not None:
        for field in ("tcb_info", "tcb_info_signature", "qe_identity", "qe_identity_signature"):
            found[f"collateral.{field}"] = getattr(collateral, field)
        found |= {f"collateral.tcb_chain.{index}": content for index, content in enumerate(collateral.tcb_chain)}
    return found


def changed(case: Case, part: str, content: bytes) -> Case:
    """Return a case with another content of a part."""
    if part == "evidence":
        return case.but(evidence=content)
    field, _, rest = part.partition(".")
    if field != "collateral":
        items = list(getattr(case.endorsements, field))
        items[int(rest)] = content
        return case.but(endorsements=_but(case.endorsements, field, tuple(items)))
    collateral = case.endorsements.collateral
    assert collateral is not None
    if rest.startswith("tcb_chain."):
        chain = list(collateral.tcb_chain)
        chain[int(rest.rpartition(".")[2])] = content
        other = replace(collateral, tcb_chain=tuple(chain))
    else:
        other = _but(collateral, rest, content)
    return case.but(endorsements=replace(case.endorsements, collateral=other))


def _but(value: Any, field: str, content: object) -> Any:
    return replace(value, **{field: content})


def flips(case: Case, count: int | None) -> Iterator[tuple[str, int, Case]]:
    """Yield (part, bit, case with that bit flipped): all bits, or about `count` for each part, spread evenly."""
    for part, content in parts(case).items():
        bits = 8 * len(content)
        stride = 1 if count is None else max(1, bits // count | 1)  # odd, so that every place in a byte is met
        for bit in range(0, bits, stride):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            yield part, bit, changed(case, part, bytes(flipped))
