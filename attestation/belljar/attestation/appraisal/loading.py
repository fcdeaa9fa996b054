"""A policy read from its text: every key known, every claim spoken of, or refused with the lines that are missing.

In comes YAML, or values a caller has; out comes a `Policy`, or `PolicyRefused`. Unset means refuse, and what a policy
leaves out it must leave out by name. Pure.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from belljar.attestation.claims import Purpose, Tee
from belljar.attestation.errors import PolicyRefused
from belljar.attestation.x509.roots import VENDOR_ROOTS

from .hardware import dcap_rules, snp_rules, tpm_rules, values
from .policy import CodeRule, DcapRules, Expectation, Policy, SnpRules, TaskRule, TpmRules
from .section import ANY, Hole, Section, one_of, scalar
from .tree import Members, Node, Scalar, from_plain, place, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
REQUIRABLE = (
    "data_consistency", "instance_id", "issued_at", "kernel", "measurement", "nonce", "product_id", "provider",
    "purpose", "report_data", "runtime", "signer", "svn", "task", "tcb_status",
)  # fmt: skip
_EXAMPLES = {
    Tee.SEV_SNP: "amd-snp: {max_vmpl: 0, min_tcb: {Milan: {bootloader: 4, tee: 0, snp: 24, microcode: 219}}}",
    Tee.TDX: "intel-tdx: {min_tcb_status: UpToDate, rtmrs: {0: [HEX], 1: [HEX], 2: [HEX], 3: [HEX]}}",
    Tee.SGX: "intel-sgx: {min_tcb_status: UpToDate}",
    Tee.TPM: "tpm: {pcrs: {'sha256:8': [HEX]}}",
}
_ROOT_EXAMPLES = {
    Tee.SOFT: "sha256:HEX",
    Tee.TPM: "sha256:HEX",
    Tee.SEV_SNP: "amd-milan, amd-genoa, amd-turin",
    Tee.TDX: "intel-sgx",
    Tee.SGX: "intel-sgx",
}
_MAX_AGE_S = 366 * 86400


def load_policy(text: str) -> Policy:
    """Return the policy in a text.

    Raises:
        PolicyRefused: it is malformed, contradicts itself, or leaves something out.
    """
    return _policy(read_yaml(text), hashlib.sha256(text.encode()).hexdigest())


def policy_from(values: Mapping[str, object]) -> Policy:
    """Return the policy in values that a caller has.

    Raises:
        PolicyRefused: as above.
    """
    tree = from_plain(values)
    return _policy(tree, hashlib.sha256(json.dumps(_spelled(tree), sort_keys=True).encode()).hexdigest())


def _spelled(node: Node) -> object:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Members):
        return {key: _spelled(item) for key, item in node.members.items()}
    return [_spelled(item) for item in node.items]


def _policy(node: Node, digest: str) -> Policy:
    holes: list[Hole] = []
    top = Section(node, "", holes)
    _check_version(top, node)
    tees = _tees(top)
    nonce, max_age_s = _freshness(top)
    policy = Policy(
        identifier=top.text("id") or f"sha256:{digest}",
        tees=tees,
        roots=_roots(top, tees),
        code=_code(top),
        nonce=nonce,
        max_age_s=max_age_s,
        purposes=_purposes(top),
        provider=_expectation(top, "provider"),
        instance=_expected(top, "instance") if top.get("instance") is not None else None,
        data_consistency=_expectation(top, "data_consistency"),
        task=_task(top),
        require=tuple(scalar(item, "require") for item in _requirable(top)),
        require_crls=_revocation(top),
        allow_simulated=top.flag("insecure_allow_simulated"),
        allow_debug=top.flag("insecure_allow_debug"),
        snp=_snp(top, tees),
        tdx=_dcap(top, tees, Tee.TDX),
        sgx=_dcap(top, tees, Tee.SGX),
        tpm=_tpm(top, tees),
    )
    top.end()
    if holes:
        names = ", ".join(hole.what for hole in holes)
        lines = "\n".join(hole.line for hole in holes)
        raise PolicyRefused(f"policy leaves out: {names}", hint=f"unset means refuse; add what you mean:\n{lines}")
    return policy


def _check_version(top: Section, node: Node) -> None:
    version = top.number("version")
    if version is None:
        top.hole("version", f"version: {VERSION}")
    elif version != VERSION:
        raise PolicyRefused(f"{place(node.line)}version: got {version}, expected {VERSION}")


def _tees(top: Section) -> frozenset[Tee]:
    found = top.each("tees")
    if found is None:
        top.hole("tees", "tees: [amd-snp]")
        return frozenset()
    choices = {tee.value: tee for tee in Tee}
    return frozenset(one_of(item, "tees", choices) for item in found)


def _roots(top: Section, tees: frozenset[Tee]) -> dict[Tee, frozenset[bytes]]:
    """Return the roots of each kind that is accepted; a root of one kind is none of another."""
    found = top.section("roots")
    if found is None:
        lines = ", ".join(f"{tee.value}: [{_ROOT_EXAMPLES[tee]}]" for tee in Tee if tee in tees)
        top.hole("roots", f"roots: {{{lines or 'amd-snp: [amd-milan]'}}}")
        return {}
    roots: dict[Tee, frozenset[bytes]] = {}
    for tee in (tee for tee in Tee if tee in tees):
        named = found.each(tee.value)
        if named is None:
            found.hole(tee.value, f"{tee.value}: [{_ROOT_EXAMPLES[tee]}]")
        roots[tee] = frozenset(_root(item, found.name(tee.value)) for item in named or ())
    if tees:
        found.end()
    return roots


def _root(node: Node, name: str) -> bytes:
    text = scalar(node, name)
    if text in VENDOR_ROOTS:
        return VENDOR_ROOTS[text]
    try:
        digest = bytes.fromhex(text.removeprefix("sha256:")) if text.startswith("sha256:") else b""
    except ValueError:
        digest = b""
    if len(digest) != 32:
        names = ", ".join(VENDOR_ROOTS)
        raise PolicyRefused(f"{place(node.line)}{name}: got {text[:80]!r}, expected one of {names}, or sha256:HEX")
    return digest


def _code(top: Section) -> tuple[CodeRule, ...] | None:
    if top.skipped("code"):
        return None
    found = top.each("code")
    if found is None:
        example = "code: [{measurement: HEX}]   # or [{signer: HEX, product_id: 0, min_svn: 0}]"
        top.hole("code", example, "insecure_skip_code")
        return ()
    return tuple(_code_rule(Section(item, f"code[{index}]", [])) for index, item in enumerate(found))


def _code_rule(section: Section) -> CodeRule:
    rule = CodeRule(
        measurement=section.octets("measurement"),
        signer=section.octets("signer"),
        product_id=section.number("product_id"),
        min_svn=section.number("min_svn"),
    )
    product = rule.product_id is not None or section.skipped("product_id")
    svn = rule.min_svn is not None or section.skipped("svn", "min_svn")
    section.end()
    if rule.measurement is None and not (rule.signer is not None and product and svn):
        wanted = "a measurement, or signer, product_id and min_svn"
        hint = "hardware that has no such number: insecure_skip_product_id: true, insecure_skip_svn: true"
        raise PolicyRefused(f"{place(section.line)}{section.path} leaves out {wanted}", hint=hint)
    return rule


def _freshness(top: Section) -> tuple[bool, int | None]:
    if top.skipped("freshness", "nonce", "max_age_s"):
        return False, None
    node = top.get("nonce")
    nonce = node is not None and one_of(node, "nonce", {"required": True})
    max_age_s = top.number("max_age_s", _MAX_AGE_S)
    if not nonce and max_age_s is None:
        top.hole("nonce", "nonce: required   # or max_age_s: 300", "insecure_skip_freshness")
    return nonce, max_age_s


def _purposes(top: Section) -> frozenset[Purpose] | None:
    if top.skipped("purpose"):
        return None
    found = top.each("purpose")
    if found is None:
        top.hole("purpose", f"purpose: [{Purpose.CHANNEL.value}]", "insecure_skip_purpose")
        return frozenset()
    choices = {purpose.value: purpose for purpose in Purpose}
    return frozenset(one_of(item, "purpose", choices) for item in found)


def _expectation(section: Section, key: str) -> Expectation | None:
    if section.skipped(key):
        return None
    return _expected(section, key, f"insecure_skip_{key}")


def _expected(section: Section, key: str, skip: str | None = None) -> Expectation:
    node = section.get(key)
    if node is None:
        section.hole(key, f"{key}: [HEX]   # or any", skip)
        return Expectation(values=frozenset(), anything=False)
    if isinstance(node, Scalar) and node.text == ANY:
        return Expectation(values=frozenset(), anything=True)
    return Expectation(values=values(node, section.name(key)), anything=False)


def _task(top: Section) -> TaskRule | None:
    if top.skipped("task"):
        return None
    found = top.section("task")
    if found is None:
        top.hole("task", "task: {argv: [HEX], environment: any}", "insecure_skip_task")
        nothing = Expectation(values=frozenset(), anything=False)
        return TaskRule(argv=nothing, environment=nothing)
    rule = TaskRule(argv=_expected(found, "argv"), environment=_expected(found, "environment"))
    found.end()
    return rule


def _requirable(top: Section) -> tuple[Node, ...]:
    found = top.each("require", empty=True) or ()
    for item in found:
        one_of(item, "require", dict.fromkeys(REQUIRABLE, True))
    return found


def _revocation(top: Section) -> bool:
    if top.skipped("revocation"):
        return False
    node = top.get("revocation")
    if node is None:
        top.hole("revocation", "revocation: required", "insecure_skip_revocation")
        return True
    return one_of(node, "revocation", {"required": True})


def _about(top: Section, tees: frozenset[Tee], tee: Tee) -> Section | None:
    """Return the section about a kind of hardware, which must be there if the kind is accepted, and only then."""
    found = top.section(tee.value)
    if found is None and tee in tees:
        top.hole(tee.value, _EXAMPLES[tee])
    if found is not None and tees and tee not in tees:
        raise PolicyRefused(f"{place(found.line)}{tee.value}: has rules, but is not among tees")
    return found


def _snp(top: Section, tees: frozenset[Tee]) -> SnpRules | None:
    found = _about(top, tees, Tee.SEV_SNP)
    return None if found is None else snp_rules(found)


def _dcap(top: Section, tees: frozenset[Tee], tee: Tee) -> DcapRules | None:
    found = _about(top, tees, tee)
    return None if found is None else dcap_rules(found, registers=tee is Tee.TDX)


def _tpm(top: Section, tees: frozenset[Tee]) -> TpmRules | None:
    found = _about(top, tees, Tee.TPM)
    return None if found is None else tpm_rules(found)
