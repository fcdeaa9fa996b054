"""The sections of a policy about one kind of hardware each: read, with holes noted.

In come sections; out come the rules of policy.py. A kind that the policy accepts must have its section. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from belljar.attestation.claims import TcbStatus
from belljar.attestation.errors import PolicyRefused
from belljar.attestation.snp.generations import GENERATIONS

from .policy import DcapRules, SnpRules, TpmRules
from .section import Section, items, octets, one_of, scalar
from .tree import place

if TYPE_CHECKING:
    from .tree import Node

_STATUSES = {status.value: status for status in TcbStatus if status is not TcbStatus.REVOKED}
_ADVISORY = re.compile(r"INTEL-(SA|DOC)-\d{5}")
_PCR = re.compile(r"(sha256|sha384|sha512):(\d|1\d|2[0-3])")
_MAX_VMPL = 3
_RTMRS = ("0", "1", "2", "3")


def snp_rules(section: Section) -> SnpRules:
    """Return the section `amd-snp`."""
    max_vmpl = section.number("max_vmpl", _MAX_VMPL)
    if max_vmpl is None:
        section.hole("max_vmpl", "max_vmpl: 0")
    rules = SnpRules(
        min_tcb=_min_tcb(section),
        max_vmpl=max_vmpl or 0,
        allow_smt=section.flag("allow_smt"),
        allow_migration=section.flag("allow_migration"),
        require_single_socket=section.flag("require_single_socket"),
        platform_measurements=_platform_measurements(section, 48),
    )
    section.end()
    return rules


def _platform_measurements(section: Section, size: int) -> frozenset[bytes]:
    node = section.get("platform_measurements")
    return frozenset() if node is None else values(node, section.name("platform_measurements"), size)


def _min_tcb(section: Section) -> dict[str, dict[str, int]] | None:
    if section.skipped("tcb", "min_tcb"):
        return None
    found = section.section("min_tcb")
    if found is None:
        example = "min_tcb: {Milan: {bootloader: 4, tee: 0, snp: 24, microcode: 219}}"
        section.hole("min_tcb", example, "insecure_skip_tcb")
        return {}
    result: dict[str, dict[str, int]] = {}
    for generation in GENERATIONS:
        numbers = found.section(generation.name)
        if numbers is None:
            continue
        wanted = {name: numbers.number(name, 255) for name, _ in generation.tcb}
        for name in (name for name, number in wanted.items() if number is None):
            numbers.hole(name, f"{name}: 0")
        numbers.end()
        result[generation.name] = {name: number or 0 for name, number in wanted.items()}
    found.end()
    if not result:
        raise PolicyRefused(f"{place(found.line)}{found.path}: names no product, so nothing could satisfy it")
    return result


def dcap_rules(section: Section, *, registers: bool) -> DcapRules:
    """Return the section `intel-sgx` or `intel-tdx`.

    Args:
        section: it.
        registers: whether there are runtime measurement registers, which must be spoken of.
    """
    skipped = section.skipped("tcb", "min_tcb_status", "allowed_advisories", "min_evaluation")
    node = None if skipped else section.get("min_tcb_status")
    if node is None and not skipped:
        section.hole("min_tcb_status", "min_tcb_status: UpToDate", "insecure_skip_tcb")
    worst = TcbStatus.UP_TO_DATE if node is None else one_of(node, section.name("min_tcb_status"), _STATUSES)
    advisories = () if skipped else section.each("allowed_advisories", empty=True) or ()
    rules = DcapRules(
        min_tcb_status=None if skipped else worst,
        allowed_advisories=frozenset(_advisory(item) for item in advisories),
        min_evaluation=0 if skipped else section.number("min_evaluation") or 0,
        rtmrs=_rtmrs(section) if registers else None,
        platform_measurements=_platform_measurements(section, 48 if registers else 32),
    )
    section.end()
    return rules


def _advisory(node: Node) -> str:
    text = scalar(node, "allowed_advisories")
    if not _ADVISORY.fullmatch(text):
        raise PolicyRefused(f"{place(node.line)}allowed_advisories: got {text[:40]!r}, expected such as INTEL-SA-00615")
    return text


def _rtmrs(section: Section) -> dict[int, frozenset[bytes]] | None:
    """Return the registers the policy speaks of; those it does not, it must not leave out by accident."""
    if section.skipped("rtmrs"):
        return None
    found = section.section("rtmrs")
    if found is None:
        section.hole("rtmrs", "rtmrs: {0: [HEX], 1: [HEX], 2: [HEX], 3: [HEX]}", "insecure_skip_rtmrs")
        return {}
    result: dict[int, frozenset[bytes]] = {}
    for key in _RTMRS:
        if found.skipped(f"rtmr{key}", key):
            continue
        node = found.get(key)
        if node is None:
            found.hole(key, f"{key}: [HEX]", f"insecure_skip_rtmr{key}")
        else:
            result[int(key)] = values(node, found.name(key), 48)
    found.end()
    return result


def tpm_rules(section: Section) -> TpmRules:
    """Return the section `tpm`."""
    if section.skipped("pcrs"):
        section.end()
        return TpmRules(pcrs=None)
    found = section.section("pcrs")
    if found is None:
        section.hole("pcrs", "pcrs: {'sha256:8': [HEX]}", "insecure_skip_pcrs")
        return TpmRules(pcrs={})
    pcrs: dict[str, frozenset[bytes]] = {}
    for key in found.every():
        node = found.get(key)
        if not _PCR.fullmatch(key):
            raise PolicyRefused(f"{place(found.line)}{found.name(key)}: expected a bank and a number, such as sha256:8")
        if node is not None:
            pcrs[key] = values(node, found.name(key), {"sha256": 32, "sha384": 48, "sha512": 64}[key.partition(":")[0]])
    section.end()
    return TpmRules(pcrs=pcrs)


def values(node: Node, name: str, size: int | None = None) -> frozenset[bytes]:
    """Return the byte strings of a list.

    Raises:
        PolicyRefused: one is malformed, or of another size.
    """
    found: set[bytes] = set()
    for item in items(node, name):
        value = octets(item, name)
        if size is not None and len(value) != size:
            raise PolicyRefused(f"{place(item.line)}{name}: got {len(value)} bytes, expected {size}")
        found.add(value)
    return frozenset(found)
