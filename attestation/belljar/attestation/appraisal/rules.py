"""The rules that every kind of evidence is held against: kind, code, freshness, purpose, machine, data, task, honesty.

In come verified claims and a policy; every rule is looked at, none stops the others, so that one verdict names every
cause. Nothing here is about one kind of hardware: that is in hardware_rules.py. Bytes are compared in constant time.
Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.attestation.claims import Tee
from belljar.attestation.crypto.compare import same

from .vector import (
    APPROVED,
    ISOLATED_MEMORY,
    UNAVAILABLE_CONFIGURATION,
    UNRECOGNISED,
    UNRECOGNISED_CODE,
    UNSAFE_HARDWARE,
    VISIBLE_MEMORY,
    Aspect,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from belljar.attestation.claims import Claims

    from .bench import Asked, Bench, Challenge
    from .policy import CodeRule, Expectation

CLOCK_SKEW_S = 60  # how far an attester's clock may be ahead of ours
REPORT_DATA_BYTES = 64
_ENCRYPTED_MEMORY = (Tee.SEV_SNP, Tee.TDX, Tee.SGX)


def among(found: bytes | None, values: Iterable[bytes]) -> bool:
    """Say whether a value is one of several, without telling by time which."""
    if found is None:
        return False
    return sum(same(found, value) for value in values) > 0


def listed(values: Iterable[bytes]) -> str:
    """Return values as a step prints them."""
    return " or ".join(sorted(value.hex() for value in values)) or "nothing"


def judge_common(asked: Asked, bench: Bench) -> None:
    """Look at every rule that is not about one kind of hardware."""
    _kind(asked, bench)
    _code(asked, bench)
    _freshness(asked, bench)
    _bound(asked, bench)
    _purpose(asked, bench)
    claims, policy = asked.claims, asked.policy
    _expected(bench, Aspect.INSTANCE_IDENTITY, "provider", claims.provider, policy.provider)
    _instance(asked, bench)
    _expected(bench, Aspect.FILE_SYSTEM, "data_consistency", claims.data_consistency, policy.data_consistency)
    _task(asked, bench)
    _honesty(asked, bench)
    if claims.platform.get("revocation-lists") is False:
        _revocation(asked, bench)
    for name in policy.require:
        found = getattr(claims, name)
        bench.rule(
            Aspect.CONFIGURATION, f"{name} is there", "there" if found is not None else None, "there",
            passed=found is not None, failure=UNAVAILABLE_CONFIGURATION,
        )  # fmt: skip


def _kind(asked: Asked, bench: Bench) -> None:
    tee, wanted = asked.claims.tee, asked.policy.tees
    kinds = " or ".join(sorted(kind.value for kind in wanted))
    bench.rule(Aspect.HARDWARE, "kind of TEE", tee.value, kinds, passed=tee in wanted, failure=UNRECOGNISED)


def _code(asked: Asked, bench: Bench) -> None:
    rules = asked.policy.code
    if rules is None:
        bench.skip(Aspect.EXECUTABLES, "code", "insecure_skip_code")
        return
    claims = asked.claims
    found = f"measurement {claims.measurement.hex()}"
    if claims.signer is not None:
        found += f", signer {claims.signer.hex()}, product {claims.product_id}, svn {claims.svn}"
    expected = " or ".join(map(_described, rules)) or "nothing"
    passed = any(_matches(rule, claims) for rule in rules)
    bench.rule(Aspect.EXECUTABLES, "code", found, expected, passed=passed, failure=UNRECOGNISED_CODE)


def _described(rule: CodeRule) -> str:
    words: list[str] = []
    if rule.measurement is not None:
        words.append(f"measurement {rule.measurement.hex()}")
    if rule.signer is not None:
        words.append(f"signer {rule.signer.hex()}")
    if rule.product_id is not None:
        words.append(f"product {rule.product_id}")
    if rule.min_svn is not None:
        words.append(f"svn at least {rule.min_svn}")
    return ", ".join(words)


def _matches(rule: CodeRule, claims: Claims) -> bool:
    return (
        (rule.measurement is None or among(claims.measurement, (rule.measurement,)))
        and (rule.signer is None or among(claims.signer, (rule.signer,)))
        and (rule.product_id is None or claims.product_id == rule.product_id)
        and (rule.min_svn is None or (claims.svn is not None and claims.svn >= rule.min_svn))
    )


def _freshness(asked: Asked, bench: Bench) -> None:
    claims, policy = asked.claims, asked.policy
    if not policy.nonce and policy.max_age_s is None:
        bench.skip(Aspect.INSTANCE_IDENTITY, "freshness", "insecure_skip_freshness")
    if policy.nonce:
        wanted = asked.challenge.nonce
        found = claims.nonce if claims.nonce is not None else claims.report_data
        passed = wanted is not None and answers(claims, asked.challenge)
        expected = "a challenge, but none was asked" if wanted is None else wanted
        bench.rule(Aspect.INSTANCE_IDENTITY, "nonce", found, expected, passed=passed, failure=UNRECOGNISED)
    if policy.max_age_s is not None:
        age = None if claims.issued_at is None else asked.now - claims.issued_at
        passed = age is not None and -CLOCK_SKEW_S <= age <= policy.max_age_s
        shown = "no time in the evidence" if age is None else f"{age} s"
        expected = f"{-CLOCK_SKEW_S} to {policy.max_age_s} s"
        bench.rule(Aspect.INSTANCE_IDENTITY, "age", shown, expected, passed=passed, failure=UNRECOGNISED)


def answers(claims: Claims, challenge: Challenge) -> bool:
    """Say whether evidence answers a challenge.

    Where the format has a field for it, that field is the nonce. Where there is only report data, that is the nonce and
    zeros behind it; or it is the report data that the verifier expects, which it made of the nonce.
    """
    if challenge.nonce is None:
        return False
    if claims.nonce is not None:
        return same(claims.nonce, challenge.nonce)
    found = claims.report_data or b""
    if challenge.report_data is not None:
        return same(found, challenge.report_data)
    return same(found, challenge.nonce) or same(found, challenge.nonce.ljust(REPORT_DATA_BYTES, b"\0"))


def _bound(asked: Asked, bench: Bench) -> None:
    """Judge what the evidence binds, where the verifier says what that is."""
    wanted = asked.challenge.report_data
    if wanted is not None:
        found = asked.claims.report_data
        passed = found is not None and same(found, wanted)
        bench.rule(Aspect.INSTANCE_IDENTITY, "report data", found, wanted, passed=passed, failure=UNRECOGNISED)


def _purpose(asked: Asked, bench: Bench) -> None:
    wanted = asked.policy.purposes
    if wanted is None:
        bench.skip(Aspect.CONFIGURATION, "purpose", "insecure_skip_purpose")
        return
    purpose = asked.claims.purpose
    words = " or ".join(sorted(one.value for one in wanted))
    found = None if purpose is None else purpose.value
    bench.rule(Aspect.CONFIGURATION, "purpose of the report data", found, words, passed=purpose in wanted)


def _expected(bench: Bench, aspect: Aspect, name: str, found: bytes | None, wanted: Expectation | None) -> None:
    if wanted is None:
        bench.skip(aspect, name, f"insecure_skip_{name}")
        return
    passed = found is not None if wanted.anything else among(found, wanted.values)
    expected = "anything, but there" if wanted.anything else listed(wanted.values)
    failure = UNRECOGNISED if aspect is Aspect.INSTANCE_IDENTITY else UNSAFE_HARDWARE  # 32: unrecognised, for files
    bench.rule(aspect, name, found, expected, passed=passed, failure=failure)


def _instance(asked: Asked, bench: Bench) -> None:
    """Judge which run it is: runs of one enclave on one machine differ in nothing else."""
    wanted, found = asked.policy.instance, asked.claims.instance_id
    if wanted is not None:
        _expected(bench, Aspect.INSTANCE_IDENTITY, "instance", found, wanted)
    elif found is not None:
        bench.trail.note("instance", found, "any run", passed=True)


def _task(asked: Asked, bench: Bench) -> None:
    wanted, task = asked.policy.task, asked.claims.task
    if wanted is None:
        bench.skip(Aspect.CONFIGURATION, "task", "insecure_skip_task")
        return
    argv, environment = (task.argv, task.environment) if task is not None else (None, None)
    for name, found, expectation in (("argv", argv, wanted.argv), ("environment", environment, wanted.environment)):
        passed = found is not None if expectation.anything else among(found, expectation.values)
        expected = "anything, but there" if expectation.anything else listed(expectation.values)
        bench.rule(Aspect.CONFIGURATION, f"task: {name}", found, expected, passed=passed)


def _revocation(asked: Asked, bench: Bench) -> None:
    """Judge a chain for which nobody publishes revocation lists: it is revoked by no longer pinning its root."""
    if asked.policy.require_crls:
        found, expected = "a chain without lists", "lists, or insecure_skip_revocation"
        bench.rule(Aspect.INSTANCE_IDENTITY, "revocation", found, expected, passed=False, failure=UNRECOGNISED)
    else:
        bench.skip(Aspect.INSTANCE_IDENTITY, "revocation", "insecure_skip_revocation")


def _honesty(asked: Asked, bench: Bench) -> None:
    """Judge what evidence says against itself: simulated, or open to its owner."""
    claims, policy = asked.claims, asked.policy
    passed = policy.allow_simulated or not claims.simulated
    expected = "False, or True by insecure_allow_simulated" if policy.allow_simulated else False
    bench.rule(Aspect.HARDWARE, "simulated", claims.simulated, expected, passed=passed, failure=UNRECOGNISED)
    debug = claims.debug
    if claims.simulated and policy.allow_simulated:
        debug = bool(claims.platform.get("debug-enclave", debug))  # what is simulated is open anyway: judge the enclave
    passed = policy.allow_debug or not debug
    expected = "False, or True by insecure_allow_debug" if policy.allow_debug else False
    opaque = VISIBLE_MEMORY if claims.debug else APPROVED
    bench.rule(Aspect.CONFIGURATION, "debug", debug, expected, passed=passed)
    if claims.simulated:
        bench.grade(Aspect.HARDWARE, UNSAFE_HARDWARE)
    if claims.tee in _ENCRYPTED_MEMORY:
        bench.grade(Aspect.RUNTIME_OPAQUE, ISOLATED_MEMORY if claims.simulated else opaque)
