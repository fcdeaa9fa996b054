"""The rules about one kind of hardware each: TCB, privilege level, registers, PCRs.

In come verified claims and the policy's section about their kind; steps go to the bench. A kind without a section is
refused. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.attestation.claims import Tee

from .rules import among, listed
from .vector import UNAVAILABLE_CONFIGURATION, UNRECOGNISED_CODE, UNSAFE_HARDWARE, Aspect

if TYPE_CHECKING:
    from belljar.attestation.claims import Claims

    from .bench import Asked, Bench
    from .policy import DcapRules, SnpRules, TpmRules


def judge_hardware(asked: Asked, bench: Bench) -> None:
    """Look at the rules about the kind of hardware that made the evidence."""
    claims, policy = asked.claims, asked.policy
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


def _snp(claims: Claims, rules: SnpRules, bench: Bench) -> None:
    said = claims.platform
    product = str(said.get("product"))
    if rules.min_tcb is None:
        bench.skip(Aspect.HARDWARE, "SNP TCB", "insecure_skip_tcb")
    else:
        known = product in rules.min_tcb
        names = " or ".join(sorted(rules.min_tcb))
        bench.rule(Aspect.HARDWARE, "SNP product", product, names, passed=known, failure=UNSAFE_HARDWARE)
        for name, least in rules.min_tcb.get(product, {}).items():
            found = said.get(f"reported_tcb_{name}")
            passed = isinstance(found, int) and found >= least
            name = f"SNP reported TCB: {name}"  # noqa: PLW2901 - the step's name
            bench.rule(Aspect.HARDWARE, name, found, f"at least {least}", passed=passed, failure=UNSAFE_HARDWARE)
    vmpl = said.get("vmpl")
    passed = isinstance(vmpl, int) and vmpl <= rules.max_vmpl
    bench.rule(Aspect.CONFIGURATION, "SNP VMPL", vmpl, f"at most {rules.max_vmpl}", passed=passed)
    for name, allowed in (("smt", rules.allow_smt), ("migrate_ma", rules.allow_migration)):
        found = said.get(f"policy_{name}")
        expected = "True or False" if allowed else False
        bench.rule(Aspect.CONFIGURATION, f"SNP policy: {name}", found, expected, passed=allowed or found is False)
    if rules.require_single_socket:
        found = said.get("policy_single_socket")
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
        number = claims.platform.get("tcb_evaluation")
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
        found, wanted = claims.platform.get(f"rtmr{number}"), rules.rtmrs[number]
        passed = isinstance(found, bytes) and among(found, wanted)
        name = f"RTMR{number}"
        bench.rule(Aspect.EXECUTABLES, name, found, listed(wanted), passed=passed, failure=UNRECOGNISED_CODE)


def _tpm(claims: Claims, rules: TpmRules, bench: Bench) -> None:
    if rules.pcrs is None:
        bench.skip(Aspect.EXECUTABLES, "PCRs", "insecure_skip_pcrs")
        return
    for name, wanted in rules.pcrs.items():
        found = claims.platform.get(name)
        passed = isinstance(found, bytes) and among(found, wanted)
        failure = UNAVAILABLE_CONFIGURATION if found is None else UNRECOGNISED_CODE
        bench.rule(Aspect.EXECUTABLES, f"PCR {name}", found, listed(wanted), passed=passed, failure=failure)
