"""What a quote speaks of: an enclave's report (384 bytes) or a trust domain's (584, or 648 since TDX 1.5).

Offsets, all little endian. SGX: CPUSVN 0, MISCSELECT 16, attributes 48, MRENCLAVE 64, MRSIGNER 128, CONFIGID 192,
ISVPRODID 256, ISVSVN 258, CONFIGSVN 260, ISVFAMILYID 304, report data 320.
TDX: TEE TCB SVN 0, MRSEAM 16, MRSIGNERSEAM 64, SEAM attributes 112, TD attributes 120, XFAM 128, MRTD 136, MRCONFIGID
184, MROWNER 232, MROWNERCONFIG 280, RTMR0..3 328, report data 520; 1.5: TEE TCB SVN 2 584, MRSERVICETD 600.
In come bytes; out come values, or `EvidenceRefused`. All of it is signed, so reserved bytes are ignored. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from belljar.attestation.parsing.fields import Fields

SGX_BYTES, TDX10_BYTES, TDX15_BYTES = 384, 584, 648
_SGX_DEBUG = 0x02
_TD_UNTRUSTED = 0xFF  # bit 0 is DEBUG; the other bits of this byte would make a TD untrusted, too (TDX module spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxBody:
    """An enclave's report body."""

    cpu_svn: bytes
    misc_select: bytes
    attributes: bytes
    mrenclave: bytes
    mrsigner: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_ext_prod_id: bytes
    isv_family_id: bytes
    report_data: bytes

    @property
    def debug(self) -> bool:
        """Whether its owner may look inside."""
        return bool(self.attributes[0] & _SGX_DEBUG)


@dataclass(frozen=True, slots=True, kw_only=True)
class TdBody:
    """A trust domain's report body."""

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmrs: tuple[bytes, ...]
    report_data: bytes
    tee_tcb_svn2: bytes | None
    mrservicetd: bytes | None

    @property
    def debug(self) -> bool:
        """Whether the host may look inside."""
        return bool(self.td_attributes[0] & _TD_UNTRUSTED)


def parse_sgx(content: bytes, what: str = "SGX report body") -> SgxBody:
    """Return an enclave's report body.

    Raises:
        EvidenceRefused: it has another size.
    """
    fields = Fields(content, what, "little")
    cpu_svn, misc_select = fields.take(16, "CPUSVN"), fields.take(4, "MISCSELECT")
    fields.take(12, "reserved")
    isv_ext_prod_id, attributes = fields.take(16, "ISVEXTPRODID"), fields.take(16, "attributes")
    mrenclave = fields.take(32, "MRENCLAVE")
    fields.take(32, "reserved")
    mrsigner = fields.take(32, "MRSIGNER")
    fields.take(32, "reserved")
    config_id, isv_prod_id = fields.take(64, "CONFIGID"), fields.number(2, "ISVPRODID")
    isv_svn, config_svn = fields.number(2, "ISVSVN"), fields.number(2, "CONFIGSVN")
    fields.take(42, "reserved")
    isv_family_id, report_data = fields.take(16, "ISVFAMILYID"), fields.take(64, "report data")
    fields.end()
    return SgxBody(
        cpu_svn=cpu_svn,
        misc_select=misc_select,
        attributes=attributes,
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        config_id=config_id,
        isv_prod_id=isv_prod_id,
        isv_svn=isv_svn,
        config_svn=config_svn,
        isv_ext_prod_id=isv_ext_prod_id,
        isv_family_id=isv_family_id,
        report_data=report_data,
    )


def parse_td(content: bytes) -> TdBody:
    """Return a trust domain's report body, of TDX 1.0 or 1.5 by its size.

    Raises:
        EvidenceRefused: it has another size.
    """
    fields = Fields(content, "TDX report body", "little")
    tee_tcb_svn = fields.take(16, "TEE TCB SVN")
    mrseam, mrsignerseam = fields.take(48, "MRSEAM"), fields.take(48, "MRSIGNERSEAM")
    seam_attributes, td_attributes = fields.take(8, "SEAM attributes"), fields.take(8, "TD attributes")
    xfam, mrtd = fields.take(8, "XFAM"), fields.take(48, "MRTD")
    mrconfigid, mrowner = fields.take(48, "MRCONFIGID"), fields.take(48, "MROWNER")
    mrownerconfig = fields.take(48, "MROWNERCONFIG")
    rtmrs = tuple(fields.take(48, f"RTMR{index}") for index in range(4))
    report_data = fields.take(64, "report data")
    later = len(content) != TDX10_BYTES
    tee_tcb_svn2 = fields.take(16, "TEE TCB SVN 2") if later else None
    mrservicetd = fields.take(48, "MRSERVICETD") if later else None
    fields.end()
    return TdBody(
        tee_tcb_svn=tee_tcb_svn,
        mrseam=mrseam,
        mrsignerseam=mrsignerseam,
        seam_attributes=seam_attributes,
        td_attributes=td_attributes,
        xfam=xfam,
        mrtd=mrtd,
        mrconfigid=mrconfigid,
        mrowner=mrowner,
        mrownerconfig=mrownerconfig,
        rtmrs=rtmrs,
        report_data=report_data,
        tee_tcb_svn2=tee_tcb_svn2,
        mrservicetd=mrservicetd,
    )
