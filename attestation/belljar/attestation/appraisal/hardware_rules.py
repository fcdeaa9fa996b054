"""The rules about one kind of hardware each: TCB, privilege level, registers, PCRs.

In come verified claims and the policy's section about their kind; steps go to the bench. A kind without a section is
refused. Where hardware only vouches for the key of our own evidence, what it says stands under names that begin with
`hardware-`, and its own measurement must be one the policy names: else any guest could claim to be any code. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.attestation.claims import Tee

from .rules import among, listed
from .vector import UNAVAILABLE_CONFIGURATION, UNRECOGNISED_CODE, UNSAFE_HARDWARE, Aspect

if TYPE_CHECKING:
    from belljar.attestation.claims import Claims, ClaimValue

    from .bench import Asked, Bench
    from .policy import DcapRules, SnpRules, TpmRules

_MEASURED = (Tee.SEV_SNP, Tee.TDX, Tee.SGX)


def said(claims: Claims, name: str) -> ClaimValue:
    """Return what the hardware says, by itself or as what vouches for our own evidence."""
    found = claims.platform
    return found[name] if name in found else found.get(f"hardware-{name}")


def judge_hardware(asked: Asked, bench: Bench) -> None:
    """Look at the rules about the kind of hardware that made the evidence."""
    claims, policy = asked.claims, asked.policy
    _below(asked, bench)
    if claims.tee is Tee.SEV_SNP and policy.snp is not None:
        _snp(claims, policy.snp, bench)
    elif claims.tee is Tee.TDX and policy.tdx is not None:
        _dcap(claims, policy.tdx, bench)
        _rtmrs(claims, policy.tdx, bench)
    elif claims.tee is Tee.SGX and policy.sgx is not None:
        _dcap(claims, policy.sgx, bench)
    elif claims.tee is Tee.TPM and policy.tpm is not None:
        _tpm(claims, policy.tpm, bench)
    elif claims.tee is not Tee.SOFT:
        bench.rule(Aspect.HARDWARE, f"rules about {claims.tee.value}", None, "a section of the policy", passed=False)


def _below(asked: Asked, bench: Bench) -> None:
    """Judge the measurement of the machine below, where it vouches for our own evidence."""
    found = asked.claims.platform.get("hardware-measurement")
    if found is None or asked.claims.tee not in _MEASURED:
        return  # a TPM's PCRs have rules of their own
    rules = {Tee.SEV_SNP: asked.policy.snp, Tee.TDX: asked.policy.tdx, Tee.SGX: asked.policy.sgx}[asked.claims.tee]
    wanted: frozenset[bytes] = frozenset() if rules is None else rules.platform_measurements
    passed = isinstance(found, bytes) and among(found, wanted)
    expected = listed(wanted) if wanted else "one of platform_measurements, of which the policy has none"
    bench.rule(
        Aspect.EXECUTABLES,
        "measurement of the machine below",
        found,
        expected,
        passed=passed,
        failure=UNRECOGNISED_CODE,
    )


def _snp(claims: Claims, rules: SnpRules, bench: Bench) -> None:
    product = str(said(claims, "product"))
    if rules.min_tcb is None:
        bench.skip(Aspect.HARDWARE, "SNP TCB", "insecure_skip_tcb")
    else:
        known = product in rules.min_tcb
        names = " or ".join(sorted(rules.min_tcb))
        bench.rule(Aspect.HARDWARE, "SNP product", product, names, passed=known, failure=UNSAFE_HARDWARE)
        for name, least in rules.min_tcb.get(product, {}).items():
            found = said(claims, f"reported_tcb_{name}")
            passed = isinstance(found, int) and found >= least
            name = f"SNP reported TCB: {name}"  # noqa: PLW2901 - the step's name
            bench.rule(Aspect.HARDWARE, name, found, f"at least {least}", passed=passed, failure=UNSAFE_HARDWARE)
    vmpl = said(claims, "vmpl")
    passed = isinstance(vmpl, int) and vmpl <= rules.max_vmpl
    bench.rule(Aspect.CONFIGURATION, "SNP VMPL", vmpl, f"at most {rules.max_vmpl}", passed=passed)
    for name, allowed in (("smt", rules.allow_smt), ("migrate_ma", rules.allow_migration)):
        found = said(claims, f"policy_{name}")
        expected = "True or False" if allowed else False
        bench.rule(Aspect.CONFIGURATION, f"SNP policy: {name}", found, expected, passed=allowed or found is False)
    if rules.require_single_socket:
        found = said(claims, "policy_single_socket")
        bench.rule(Aspect.CONFIGURATION, "SNP policy: single socket", found, expected=True, passed=found is True)


def _dcap(claims: Claims, rules: DcapRules, bench: Bench) -> None:
    if rules.min_tcb_status is None:
        bench.skip(Aspect.HARDWARE, "TCB status", "insecure_skip_tcb")
        return
    status, worst = claims.tcb_status, rules.min_tcb_status
    found = "none: no collateral was given" if status is None else status.value
    passed = status is not None and status.rank <= worst.rank
    bench.rule(Aspect.HARDWARE, "TCB status", found, f"{worst.value} or better", passed=passed, failure=UNSAFE_HARDWARE)
    if status is not None and status.rank:
        bench.grade(Aspect.HARDWARE, UNSAFE_HARDWARE)
    others = sorted(set(claims.advisories) - rules.allowed_advisories)
    allowed = ", ".join(sorted(rules.allowed_advisories)) or "none"
    words = ", ".join(claims.advisories) or "none"
    bench.rule(Aspect.HARDWARE, "advisories", words, allowed, passed=not others, failure=UNSAFE_HARDWARE)
    if rules.min_evaluation:
        number = said(claims, "tcb_evaluation")
        passed = isinstance(number, int) and number >= rules.min_evaluation
        least = f"at least {rules.min_evaluation}"
        bench.rule(Aspect.HARDWARE, "TCB evaluation number", number, least, passed=passed, failure=UNSAFE_HARDWARE)


def _rtmrs(claims: Claims, rules: DcapRules, bench: Bench) -> None:
    if rules.rtmrs is None:
        bench.skip(Aspect.EXECUTABLES, "RTMRs", "insecure_skip_rtmrs")
        return
    for number in range(4):
        if number not in rules.rtmrs:
            bench.skip(Aspect.EXECUTABLES, f"RTMR{number}", f"insecure_skip_rtmr{number}")
            continue
        found, wanted = said(claims, f"rtmr{number}"), rules.rtmrs[number]
        passed = isinstance(found, bytes) and among(found, wanted)
        name = f"RTMR{number}"
        bench.rule(Aspect.EXECUTABLES, name, found, listed(wanted), passed=passed, failure=UNRECOGNISED_CODE)


def _tpm(claims: Claims, rules: TpmRules, bench: Bench) -> None:
    if rules.pcrs is None:
        bench.skip(Aspect.EXECUTABLES, "PCRs", "insecure_skip_pcrs")
        return
    for name, wanted in rules.pcrs.items():
        found = said(claims, name)
        passed = isinstance(found, bytes) and among(found, wanted)
        failure = UNAVAILABLE_CONFIGURATION if found is None else UNRECOGNISED_CODE
        bench.rule(Aspect.EXECUTABLES, f"PCR {name}", found, listed(wanted), passed=passed, failure=failure)
