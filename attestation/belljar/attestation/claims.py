"""What evidence says once it has been verified: one set of claims for every kind of hardware and for none (7.2.3 a-f).

Every verifier of evidence ends in `Claims`; the appraisal policy reads nothing else. A claim that a kind of evidence
cannot make is None: whether that is enough is for the policy to say, and unset means refuse. Values only: nothing here
reads bytes or judges. `plain` gives the claims as JSON has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import cast

ClaimValue = None | bool | int | str | bytes | tuple["ClaimValue", ...]
Plain = None | bool | int | str | list["Plain"] | dict[str, "Plain"]


class Tee(Enum):
    """What kind of environment made the evidence."""

    SOFT = "soft"
    TPM = "tpm"
    SEV_SNP = "amd-snp"
    TDX = "intel-tdx"
    SGX = "intel-sgx"


class Purpose(Enum):
    """What report data was made for: evidence for one use is none for another."""

    GUEST = "guest-data"  # a program's own bytes
    CHANNEL = "channel"
    KEY_RELEASE = "key-release"
    CSR = "csr"
    LOCAL = "local"


class TcbStatus(Enum):
    """How a platform's firmware stands by its maker's own list (Intel's words; the others map to them), worst last."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"

    @property
    def rank(self) -> int:
        """Place in the order above: 0 is best."""
        return tuple(TcbStatus).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a task was started with (7.2.3 f).

    Attributes:
        argv: SHA-256 of its argument vector, as the evidence profile encodes it.
        environment: SHA-256 of its environment, likewise.
    """

    argv: bytes
    environment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What one piece of evidence says; byte strings are digests or raw identifiers as the format carries them.

    Attributes:
        tee: what made it.
        format: which format it came in, with its version, such as `sev-snp-report-v3` or `belljar-eat-v1`.
        measurement: of the code: Belljar's measurement, SNP MEASUREMENT, MRTD, MRENCLAVE, TPM PCR digest (7.2.3 a).
        signer: who answers for the code: signer id, MRSIGNER, SNP id-key digest (7.2.3 b).
        product_id: the signer's number for the product (7.2.3 c).
        svn: the product's security version number.
        provider: which machine: chip id, platform instance id, digest of the attestation key (7.2.3 d).
        root: SHA-256 of the SubjectPublicKeyInfo of the pinned root that all this rests on.
        debug: whether an owner of the machine may look inside.
        simulated: whether no hardware stands behind it.
        report_data: the bytes the attester bound in, as carried: 64 with hardware.
        nonce: the verifier's challenge where the format has a field for it; None where it is in `report_data`.
        purpose: what `report_data` was made for; None where the format cannot say.
        data_consistency: commitment to the data the enclave works on: roots of its volumes (7.2.3 e).
        task: what it was started with (7.2.3 f).
        runtime: name and version of what runs the code.
        kernel: of the operating system below.
        instance_id: of this one run.
        issued_at: when the evidence was made, in seconds since 1970, by the attester's clock.
        tcb_status: how the platform's firmware stands; None where nothing was given to judge it by.
        advisories: security advisories that apply to this platform.
        platform: everything else the format says, by the format's own names.
    """

    tee: Tee
    format: str
    measurement: bytes
    debug: bool
    simulated: bool
    root: bytes
    signer: bytes | None = None
    product_id: int | None = None
    svn: int | None = None
    provider: bytes | None = None
    report_data: bytes | None = None
    nonce: bytes | None = None
    purpose: Purpose | None = None
    data_consistency: bytes | None = None
    task: Task | None = None
    runtime: str | None = None
    kernel: str | None = None
    instance_id: bytes | None = None
    issued_at: int | None = None
    tcb_status: TcbStatus | None = None
    advisories: tuple[str, ...] = ()
    platform: Mapping[str, ClaimValue] = field(default_factory=dict[str, ClaimValue])

    def plain(self) -> dict[str, Plain]:
        """Return the claims that are set as JSON has them: bytes in hexadecimal, names as above."""
        found = {item.name: _plain(getattr(self, item.name)) for item in fields(self)}
        return {name: value for name, value in found.items() if value not in (None, [], {})}


def _plain(value: object) -> Plain:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Task):
        return {"argv": value.argv.hex(), "environment": value.environment.hex()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{type(value).__name__} in claims")
