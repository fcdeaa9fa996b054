"""The attestation report of SEV-SNP, 1184 bytes, little endian (AMD 56860, ATTESTATION_REPORT).

    000 version   004 guest SVN    008 policy    010 family id   020 image id   030 VMPL   034 signature algorithm
    038 current TCB   040 platform   048 flags: 0 author key, 1 chip id masked, 2..4 signing key   050 report data [64]
    090 measurement [48]   0c0 host data [32]   0e0 digest of id key [48]   110 digest of author key [48]
    140 report id [32]   160 that of its migration agent [32]   180 reported TCB   188 CPU family, model, stepping (v3)
    1a0 chip id [64]   1e0 committed TCB   1e8 versions of firmware   1f0 launch TCB   1f8, 200 mitigations (v5)
    2a0 signature over all before: r [72], s [72], zeros

In come bytes; out comes a `Report`, or `EvidenceRefused`. Reserved bytes before the signature are signed and ignored;
those behind it are signed by nobody, so they must be zero. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.parsing.fields import Fields

REPORT_BYTES = 1184
SIGNED_BYTES = 0x2A0
VERSIONS = (2, 3, 4, 5)
_ECDSA_P384_SHA384 = 1
_FIRST_WITH_CPU, _FIRST_WITH_MITIGATIONS = 3, 5
_NUMBER_BYTES = 72  # r and s have 48 bytes, in fields of 72
SIGNING_KEYS = {0: "VCEK", 1: "VLEK", 7: "none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """Which processor: CPUID family, model, stepping."""

    family: int
    model: int
    stepping: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report says; TCBs as the 8 bytes they are, whose order depends on the processor's generation."""

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    platform_info: int
    author_key: bool
    masked_chip: bool
    signing_key: str
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    cpu: Cpu | None
    chip_id: bytes
    current_tcb: bytes
    reported_tcb: bytes
    committed_tcb: bytes
    launch_tcb: bytes
    launch_mitigations: int | None
    current_mitigations: int | None
    signed: bytes
    r: int
    s: int


def parse_report(content: bytes) -> Report:
    """Return what a report says.

    Raises:
        EvidenceRefused: it has another size or version, another kind of signature, or bytes set that nobody signed.
    """
    if len(content) != REPORT_BYTES:
        raise EvidenceRefused(f"SNP report: got {len(content)} bytes, expected {REPORT_BYTES}")
    fields = Fields(content, "SNP report", "little")
    version = fields.number(4, "version")
    if version not in VERSIONS:
        raise EvidenceRefused(f"SNP report: got version {version}, expected one of {VERSIONS}")
    front = {"guest_svn": fields.number(4, "guest SVN"), "policy": fields.number(8, "policy")}
    family_id, image_id = fields.take(16, "family id"), fields.take(16, "image id")
    vmpl = fields.number(4, "VMPL")
    fields.expect(_ECDSA_P384_SHA384, 4, "signature algorithm (1 is ECDSA P-384 with SHA-384)")
    current_tcb, platform_info = fields.take(8, "current TCB"), fields.number(8, "platform")
    flags = fields.number(4, "flags")
    fields.take(4, "reserved")
    body = _Body(fields, version)
    r, s = _signature(fields)
    return Report(
        version=version,
        guest_svn=front["guest_svn"],
        policy=front["policy"],
        family_id=family_id,
        image_id=image_id,
        vmpl=vmpl,
        platform_info=platform_info,
        author_key=bool(flags & 1),
        masked_chip=bool(flags & 2),
        signing_key=SIGNING_KEYS.get(flags >> 2 & 7, "reserved"),
        current_tcb=current_tcb,
        report_data=body.report_data,
        measurement=body.measurement,
        host_data=body.host_data,
        id_key_digest=body.id_key_digest,
        author_key_digest=body.author_key_digest,
        report_id=body.report_id,
        reported_tcb=body.reported_tcb,
        cpu=body.cpu,
        chip_id=body.chip_id,
        committed_tcb=body.committed_tcb,
        launch_tcb=body.launch_tcb,
        launch_mitigations=body.launch_mitigations,
        current_mitigations=body.current_mitigations,
        signed=content[:SIGNED_BYTES],
        r=r,
        s=s,
    )


class _Body:
    """The middle of a report, from report data to the mitigations."""

    __slots__ = (
        "author_key_digest", "chip_id", "committed_tcb", "cpu", "current_mitigations", "host_data", "id_key_digest",
        "launch_mitigations", "launch_tcb", "measurement", "report_data", "report_id", "reported_tcb",
    )  # fmt: skip

    def __init__(self, fields: Fields, version: int) -> None:
        self.report_data = fields.take(64, "report data")
        self.measurement = fields.take(48, "measurement")
        self.host_data = fields.take(32, "host data")
        self.id_key_digest = fields.take(48, "digest of the id key")
        self.author_key_digest = fields.take(48, "digest of the author key")
        self.report_id = fields.take(32, "report id")
        fields.take(32, "report id of the migration agent")
        self.reported_tcb = fields.take(8, "reported TCB")
        cpu = Cpu(family=fields.number(1, "family"), model=fields.number(1, "model"), stepping=fields.number(1, "step"))
        self.cpu = cpu if version >= _FIRST_WITH_CPU else None
        fields.take(21, "reserved")
        self.chip_id = fields.take(64, "chip id")
        self.committed_tcb = fields.take(8, "committed TCB")
        fields.take(8, "versions of the firmware")
        self.launch_tcb = fields.take(8, "launch TCB")
        launch, current = fields.number(8, "launch mitigations"), fields.number(8, "current mitigations")
        known = version >= _FIRST_WITH_MITIGATIONS
        self.launch_mitigations = launch if known else None
        self.current_mitigations = current if known else None
        fields.take(SIGNED_BYTES - fields.offset, "reserved")


def _signature(fields: Fields) -> tuple[int, int]:
    r, s = fields.number(_NUMBER_BYTES, "r"), fields.number(_NUMBER_BYTES, "s")
    fields.zeros(REPORT_BYTES - fields.offset, "what follows the signature")
    fields.end()
    return r, s
