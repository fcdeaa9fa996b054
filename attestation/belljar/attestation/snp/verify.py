"""SEV-SNP evidence verified in numbered steps, from the report up to AMD's root.

1. the report parses (report.py); 2. a VCEK or VLEK, as the report asks for, is among the endorsements; 3. its chain
over ASK or ASVK ends in a pinned ARK; 4. the processor is of the certificate's generation; 5. the certificate's TCB is
the reported one; 6. the chip id is the certificate's (VCEK); 7. the report's signature holds.
What the guest's policy allows, how new the TCB is and who the guest is are the appraisal policy's business. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from belljar.attestation.claims import Claims, ClaimValue, Tee
from belljar.attestation.x509.certificate import parse_crl
from belljar.attestation.x509.chain import Material, parsed, verify_chain

from .extensions import ChipCertificate, chip_certificate, is_chip_certificate
from .generations import is_of, tcb_numbers
from .report import REPORT_BYTES, Report, parse_report
from .table import parse_table

if TYPE_CHECKING:
    from cryptography import x509

    from belljar.attestation.evidence import Endorsements, Trust
    from belljar.attestation.steps import Trail

_DEBUG, _MIGRATE, _SMT, _SINGLE_SOCKET = 1 << 19, 1 << 18, 1 << 16, 1 << 20
_ALWAYS_SET = 1 << 17
_DER = b"\x30"  # how a certificate begins, and no table does: GUIDs of AMD's begin otherwise


class SnpFormat:
    """Reports of SEV-SNP, raw."""

    name = "sev-snp-report"
    media_types = frozenset({"application/vnd.amd.snp-report"})

    def recognises(self, evidence: bytes) -> bool:
        """Say whether the bytes have a report's size, and a version and signature algorithm of small numbers."""
        return len(evidence) == REPORT_BYTES and evidence[1:4] == bytes(3) and evidence[0x35:0x38] == bytes(3)

    def verify(self, evidence: bytes, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
        """Return what a report says, once all steps held.

        Raises:
            EvidenceRefused: a step failed.
        """
        report = parse_report(evidence)
        trail.note("SNP report: layout", f"version {report.version}", "version 2 to 5", passed=True)
        ders, lists = _gathered(endorsements)
        certificates = parsed(ders, "endorsements")
        crls = tuple(parse_crl(der) for der in lists)
        chip = _chosen(report, tuple(filter(is_chip_certificate, certificates)), trail)
        material = Material(
            what=f"{chip.kind} chain", certificates=certificates, crls=crls, leaf_revocable=False
        )  # AMD revokes ASKs and ASVKs only
        chain = verify_chain(chip.certificate, material, trust, trail)
        _check_chip(report, chip, trail)
        return _claims(report, chip, chain.root)


def _gathered(endorsements: Endorsements) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return certificates and lists; a table of a host among the certificates is taken apart."""
    certificates: list[bytes] = []
    crls = [*endorsements.crls]
    for content in endorsements.certificates:
        if content[:1] == _DER:
            certificates.append(content)
        else:
            inner, lists = parse_table(content)
            certificates += inner
            crls += lists
    return tuple(certificates), tuple(crls)


def _chosen(report: Report, candidates: tuple[x509.Certificate, ...], trail: Trail) -> ChipCertificate:
    """Return the certificate of the kind that the report asks for whose key signed it."""
    wanted = report.signing_key
    trail.check("SNP report: signing key", wanted, "VCEK or VLEK", passed=wanted in ("VCEK", "VLEK"))
    chips = [chip for chip in map(chip_certificate, candidates) if chip.kind == wanted]
    trail.check(f"{wanted} certificate", f"{len(chips)} among the endorsements", "one", passed=bool(chips))
    signed = [chip for chip in chips if _signature_holds(report, chip.key)]
    trail.check("SNP report: signature", "holds" if signed else "does not hold", "holds", passed=bool(signed))
    return signed[0]


def _signature_holds(report: Report, key: ec.EllipticCurvePublicKey) -> bool:
    try:
        key.verify(encode_dss_signature(report.r, report.s), report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        return False
    return True


def _check_chip(report: Report, chip: ChipCertificate, trail: Trail) -> None:
    generation = chip.generation
    if report.cpu is not None:
        found = f"family {report.cpu.family:#x} model {report.cpu.model:#x}"
        trail.check("SNP report: processor", found, generation.name, passed=is_of(report.cpu, generation))
    reported = tcb_numbers(report.reported_tcb, generation)
    trail.check("SNP report: reported TCB", reported, f"the certificate's {chip.tcb}", passed=reported == chip.tcb)
    if chip.chip_id is not None:
        trail.check("SNP report: chip id shown", not report.masked_chip, expected=True, passed=not report.masked_chip)
        trail.equal("SNP report: chip id", report.chip_id, chip.chip_id.ljust(64, b"\0"))
    fixed = bool(report.policy & _ALWAYS_SET)
    trail.check("SNP report: policy bit 17", fixed, expected=True, passed=fixed)


def _claims(report: Report, chip: ChipCertificate, root: bytes) -> Claims:
    return Claims(
        tee=Tee.SEV_SNP,
        format=f"sev-snp-report-v{report.version}",
        measurement=report.measurement,
        signer=report.id_key_digest if any(report.id_key_digest) else None,
        svn=report.guest_svn,
        provider=chip.chip_id or (chip.csp or "").encode(),
        root=root,
        debug=bool(report.policy & _DEBUG),
        simulated=False,
        report_data=report.report_data,
        platform=_platform(report, chip),
    )


def _platform(report: Report, chip: ChipCertificate) -> dict[str, ClaimValue]:
    tcbs = {"reported": report.reported_tcb, "current": report.current_tcb, "committed": report.committed_tcb,
            "launch": report.launch_tcb}  # fmt: skip
    numbers: dict[str, ClaimValue] = {
        f"{kind}_tcb_{name}": number
        for kind, tcb in tcbs.items()
        for name, number in tcb_numbers(tcb, chip.generation).items()
    }
    return numbers | {
        "product": chip.generation.name,
        "signing_key": chip.kind,
        "csp": chip.csp,
        "policy": report.policy,
        "policy_abi_major": report.policy >> 8 & 0xFF,
        "policy_abi_minor": report.policy & 0xFF,
        "policy_smt": bool(report.policy & _SMT),
        "policy_migrate_ma": bool(report.policy & _MIGRATE),
        "policy_single_socket": bool(report.policy & _SINGLE_SOCKET),
        "platform_info": report.platform_info,
        "vmpl": report.vmpl,
        "family_id": report.family_id,
        "image_id": report.image_id,
        "host_data": report.host_data,
        "author_key_digest": report.author_key_digest if report.author_key else None,
        "report_id": report.report_id,
        "launch_mitigations": report.launch_mitigations,
        "current_mitigations": report.current_mitigations,
    }
