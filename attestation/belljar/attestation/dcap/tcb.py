"""Which row of Intel's list a platform is in, and what that makes of it (Intel DCAP Quote Verification Library, 4.2.5).

1. the list is about this family of processors and this PCE; 2. the first level is taken that the platform reaches with
every SVN; 3. for TDX the module must be one of Intel's, and has levels of its own; 4. the quoting enclave likewise; 5.
the worst of them counts. In come parsed values; out comes a `Standing`, or `EvidenceRefused`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.claims import TcbStatus

from .bodies import SgxBody, TdBody

if TYPE_CHECKING:
    from belljar.attestation.steps import Trail

    from .collateral import Level, ModuleIdentity, QeIdentity, TcbInfo
    from .pck import Pck

_OUTDATED = {TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED}
_CONFIGURATION = {
    TcbStatus.CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
}
_HARDENING = {TcbStatus.SW_HARDENING_NEEDED, TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a platform stands by Intel's list."""

    status: TcbStatus
    advisories: tuple[str, ...]
    date: int
    evaluation: int


def judge(
    info: TcbInfo, identity: QeIdentity, pck: Pck, bodies: tuple[SgxBody | TdBody, SgxBody], trail: Trail
) -> Standing:
    """Return how the platform of a quote stands.

    Args:
        info: about its processors.
        identity: of its quoting enclave.
        pck: its PCK certificate.
        bodies: what the quote speaks of, and the quoting enclave's report.
        trail: where the steps are written.

    Raises:
        EvidenceRefused: the list is about something else, or the platform, module or enclave is in none of its rows.
    """
    body, enclave = bodies
    kind, enclave_id = ("TDX", "TD_QE") if isinstance(body, TdBody) else ("SGX", "QE")
    trail.check("TCB info: about", info.id, kind, passed=info.id == kind)
    trail.check("TCB info: FMSPC", pck.fmspc, info.fmspc, passed=pck.fmspc == info.fmspc)
    trail.check("TCB info: PCE id", pck.pce_id, info.pce_id, passed=pck.pce_id == info.pce_id)
    trail.check("QE identity: about", identity.id, enclave_id, passed=identity.id == enclave_id)
    _check_enclave(identity, enclave, trail)
    rows = [_platform(info, pck, body, trail), _by_svn("quoting enclave", identity.levels, enclave.isv_svn, trail)]
    module = _module(info, body, trail) if isinstance(body, TdBody) else None
    if module is not None:
        rows.append(module)
    status = worst([row.status for row in rows])
    trail.note("TCB status", status.value, "judged by the policy", passed=True)
    return Standing(
        status=status,
        advisories=tuple(dict.fromkeys(advisory for row in rows for advisory in row.advisories)),
        date=min(row.date for row in rows),
        evaluation=min(info.evaluation, identity.evaluation),
    )


def worst(statuses: list[TcbStatus]) -> TcbStatus:
    """Return what several statuses make together: what one needs, all need."""
    found = set(statuses)
    if TcbStatus.REVOKED in found:
        return TcbStatus.REVOKED
    outdated, configuration = bool(found & _OUTDATED), bool(found & _CONFIGURATION)
    if outdated:
        return TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED if configuration else TcbStatus.OUT_OF_DATE
    if configuration:
        both = bool(found & _HARDENING)
        return TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED if both else TcbStatus.CONFIGURATION_NEEDED
    return TcbStatus.SW_HARDENING_NEEDED if found & _HARDENING else TcbStatus.UP_TO_DATE


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(one & other for one, other in zip(value, mask, strict=True))


def _check_enclave(identity: QeIdentity, enclave: SgxBody, trail: Trail) -> None:
    trail.equal("quoting enclave: MRSIGNER", enclave.mrsigner, identity.mrsigner)
    prod_id = enclave.isv_prod_id
    trail.check("quoting enclave: ISVPRODID", prod_id, identity.isv_prod_id, passed=prod_id == identity.isv_prod_id)
    trail.equal(
        "quoting enclave: MISCSELECT",
        _masked(enclave.misc_select[::-1], identity.misc_select_mask),  # a number, written big endian in the JSON
        _masked(identity.misc_select, identity.misc_select_mask),
    )
    trail.equal(
        "quoting enclave: attributes",
        _masked(enclave.attributes, identity.attributes_mask),
        _masked(identity.attributes, identity.attributes_mask),
    )


def _reaches(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return all(one >= other for one, other in zip(found, wanted, strict=True))


def _platform(info: TcbInfo, pck: Pck, body: SgxBody | TdBody, trail: Trail) -> Level:
    """Return the first level that the platform reaches."""
    own = tuple(body.tee_tcb_svn) if isinstance(body, TdBody) else ()
    first = 2 if own and own[1] else 0  # from module version 1 on, its first two SVNs are judged by its own identity
    rows = [
        level
        for level in info.levels
        if _reaches(pck.components, level.sgx)
        and pck.pce_svn >= level.pce_svn
        and _reaches(own[first:], level.tdx[first:])
    ]
    found = f"SVNs {pck.components} {own} PCE {pck.pce_svn}"
    trail.check("platform TCB level", found, f"one of {len(info.levels)} levels", passed=bool(rows))
    trail.note("platform TCB", rows[0].status.value, "judged by the policy", passed=True)
    return rows[0]


def _by_svn(what: str, levels: tuple[Level, ...], svn: int, trail: Trail) -> Level:
    rows = [level for level in levels if svn >= level.isv_svn]
    wanted = ", ".join(str(level.isv_svn) for level in levels)
    trail.check(f"{what}: SVN", svn, f"at least one of {wanted or 'none'}", passed=bool(rows))
    trail.note(f"{what}: TCB", rows[0].status.value, "judged by the policy", passed=True)
    return rows[0]


def _module(info: TcbInfo, body: TdBody, trail: Trail) -> Level | None:
    """Return the level of the TDX module; None for version 0, which is judged with the platform."""
    version = body.tee_tcb_svn[1]
    wanted = f"TDX_{version:02X}" if version else ""
    found = [module for module in info.modules if module.id.upper() == wanted]
    known = ", ".join(module.id or "TDX_00" for module in info.modules)
    trail.check("TDX module: version", wanted or "TDX_00", f"one of {known}", passed=bool(found))
    _check_module(found[0], body, trail)
    return _by_svn("TDX module", found[0].levels, body.tee_tcb_svn[0], trail) if version else None


def _check_module(module: ModuleIdentity, body: TdBody, trail: Trail) -> None:
    trail.equal("TDX module: MRSIGNERSEAM", body.mrsignerseam, module.mrsigner)
    trail.equal(
        "TDX module: SEAM attributes",
        _masked(body.seam_attributes, module.attributes_mask),
        _masked(module.attributes, module.attributes_mask),
    )
