"""What a relying party asks of an attester, as values: everything is said, nothing is left to a default (7.2.2, 7.2.3).

In come the values that loading.py read; `None` means that the policy skips a claim on purpose, by a key whose name
begins with `insecure_`, or that it is one of the few optional ones. The keys, one by one: docs/formats/policy.md. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from belljar.attestation.claims import Purpose, TcbStatus, Tee


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRule:
    """One kind of code that is acceptable: by measurement, or by who signs it; what is None is not asked."""

    measurement: bytes | None
    signer: bytes | None
    product_id: int | None
    min_svn: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a claim must be: one of some values, or there at all where `anything` is set."""

    values: frozenset[bytes]
    anything: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRule:
    """What a task must have been started with."""

    argv: Expectation
    environment: Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpRules:
    """What a report of SEV-SNP must say.

    Attributes:
        min_tcb: by product name, the least of each number; a product that is not named is refused.
        max_vmpl: the highest privilege level number that may have asked for the report; 0 is the most privileged.
        allow_smt: whether the guest may run beside other threads of its core.
        allow_migration: whether a migration agent may move it.
        require_single_socket: whether it must be bound to one socket.
        platform_measurements: of the machine, where it vouches for our own evidence; empty refuses such evidence.
    """

    min_tcb: Mapping[str, Mapping[str, int]] | None
    max_vmpl: int
    allow_smt: bool
    allow_migration: bool
    require_single_socket: bool
    platform_measurements: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class DcapRules:
    """What a quote of SGX or TDX must say.

    Attributes:
        min_tcb_status: the worst that is still acceptable.
        allowed_advisories: that may apply to the platform.
        min_evaluation: how new Intel's list must be, by its number.
        rtmrs: by number, which values of a runtime measurement register are acceptable; TDX only.
        platform_measurements: as above.
    """

    min_tcb_status: TcbStatus | None
    allowed_advisories: frozenset[str]
    min_evaluation: int
    rtmrs: Mapping[int, frozenset[bytes]] | None
    platform_measurements: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmRules:
    """What a TPM must quote: by bank and number, such as `sha256:8`, which values are acceptable."""

    pcrs: Mapping[str, frozenset[bytes]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """An appraisal policy.

    Attributes:
        identifier: its name, or the digest of its text.
        tees: kinds of environment that are acceptable.
        roots: by kind, SHA-256 of SubjectPublicKeyInfo of the keys that may end a chain: who answers for one kind of
            environment must not be able to make evidence of another.
        code: any of these; None where the policy does not ask who the code is.
        nonce: whether the evidence must answer the verifier's own challenge.
        max_age_s: how old evidence may be, seconds.
        purposes: what report data must have been made for.
        provider: which machines.
        instance: which runs; None takes any run of what else is asked, since a run has no name before it begins.
        data_consistency: which data.
        task: what it was started with.
        require: names of claims that must be there, whatever they are.
        require_crls: whether every chain must be looked up in revocation lists.
        allow_simulated: whether evidence without hardware behind it is acceptable.
        allow_debug: whether an enclave whose owner may look inside is acceptable.
    """

    identifier: str
    tees: frozenset[Tee]
    roots: Mapping[Tee, frozenset[bytes]]
    code: tuple[CodeRule, ...] | None
    nonce: bool
    max_age_s: int | None
    purposes: frozenset[Purpose] | None
    provider: Expectation | None
    instance: Expectation | None
    data_consistency: Expectation | None
    task: TaskRule | None
    require: tuple[str, ...]
    require_crls: bool
    allow_simulated: bool
    allow_debug: bool
    snp: SnpRules | None
    tdx: DcapRules | None
    sgx: DcapRules | None
    tpm: TpmRules | None

    def pinned_to(self, instances: frozenset[bytes]) -> Policy:
        """Return the same policy, for some runs alone; those it names itself stay the only ones."""
        own = self.instance
        values = instances if own is None or own.anything else instances & own.values
        return replace(self, instance=Expectation(values=values, anything=False))
