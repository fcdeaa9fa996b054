"""A policy written from reference values: text that loads, says what it asks, and names what it does not (7.2.2).

In comes a `Draft`; out comes YAML with a comment at every choice. It is loaded once before it is given away, so what is
handed out can be used. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.claims import Tee
from belljar.attestation.errors import PolicyRefused

from .loading import load_policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from belljar.attestation.claims import Purpose

    from .reference import ReferenceValues

_TEES = frozenset({Tee.SOFT, Tee.TPM})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a policy shall say.

    Attributes:
        identifier: its name.
        values: the builds it takes.
        roots: what it pins, for `soft` and `tpm`.
        purposes: what evidence may be for.
        pcrs: what a TPM must quote, by bank and number; None where it shall not ask.
        volumes: whether the builds work on volumes, so that the evidence must say which state.
        upgrades: whether later versions of the same signer and product are taken, too.
        allow_simulated: whether evidence without hardware behind it is.
        instances: the runs it takes; empty for any.
    """

    identifier: str
    values: tuple[ReferenceValues, ...]
    roots: Mapping[Tee, tuple[bytes, ...]]
    purposes: tuple[Purpose, ...]
    pcrs: Mapping[str, bytes] | None
    volumes: bool
    upgrades: bool
    allow_simulated: bool
    instances: tuple[bytes, ...] = ()


def policy_text(draft: Draft) -> str:
    """Return a policy.

    Raises:
        PolicyRefused: upgrades are asked for where nobody signed; a kind needs rules that this cannot write; a name or
            value has no place in a policy.
    """
    if not draft.roots or not _TEES.issuperset(draft.roots):
        raise PolicyRefused("policy: got roots of hardware, or none, expected those of soft or tpm platforms")
    text = "".join(f"{line}\n" for line in _lines(draft))
    load_policy(text)
    return text


def _lines(draft: Draft) -> Iterator[str]:
    tees = sorted(draft.roots, key=lambda tee: tee.value)
    yield "version: 1"
    yield f"id: {_quoted(draft.identifier)}"
    yield f"tees: [{', '.join(tee.value for tee in tees)}]"
    yield "roots:"
    for tee in tees:
        yield f"  {tee.value}: [{', '.join(f'sha256:{digest.hex()}' for digest in draft.roots[tee])}]"
    yield "code:   # any of these"
    for value in draft.values:
        yield from _code(value, upgrades=draft.upgrades)
    yield "nonce: required"
    yield f"purpose: [{', '.join(purpose.value for purpose in draft.purposes)}]"
    yield "provider: any   # any platform below these roots"
    if draft.instances:
        yield f"instance: [{', '.join(one.hex() for one in draft.instances)}]   # no other run of it"
    if draft.volumes:
        yield "data_consistency: any   # whichever state of its volumes, but the evidence says which"
    else:
        yield "insecure_skip_data_consistency: true   # whichever data they work on"
    yield "task: {argv: any, environment: any}   # what they were started with is there, whatever it is"
    yield "insecure_skip_revocation: true   # platforms have no revocation lists: unpin the root instead"
    if Tee.TPM in draft.roots:
        yield from _tpm(draft.pcrs)
    if draft.allow_simulated:
        yield "insecure_allow_simulated: true   # no hardware behind it: whoever owns the machine can forge this"


def _code(value: ReferenceValues, *, upgrades: bool) -> Iterator[str]:
    comment = _quoted(value.name)
    if not upgrades:
        yield f"  - measurement: {value.measurement.hex()}   # {comment}, svn {value.svn}"
        return
    rule = value.upgradable_rule()
    if rule is None or rule.signer is None:
        raise PolicyRefused(f"{value.name}: nobody signed it, so no later version can be told to be its own",
                            hint="sign it: belljar build … --key signer.pem")  # fmt: skip
    yield f"  - signer: {rule.signer.hex()}   # {comment} and later"
    yield f"    product_id: {rule.product_id}"
    yield f"    min_svn: {rule.min_svn}"


def _quoted(text: str) -> str:
    """Return a name so that it can end no line, in a value or a comment: names come from strangers' files, too."""
    return json.dumps(text.encode("ascii", "replace").decode())


def _tpm(pcrs: Mapping[str, bytes] | None) -> Iterator[str]:
    if pcrs is None:
        yield "tpm: {insecure_skip_pcrs: true}   # whatever the machine has booted into"
        return
    yield "tpm:"
    yield "  pcrs:"
    for name, value in pcrs.items():
        yield f"    '{name}': [{value.hex()}]"
