"""What Intel says about processors and its own enclaves: TCB info and QE identity, verified and read (PCS API v4).

Each is a JSON object signed over its very bytes by a certificate "Intel SGX TCB Signing", directly below Intel's root.
The signature is verified before a byte is read. In come `Collateral` and a time; out come `TcbInfo` and `QeIdentity`,
or `EvidenceRefused`. A stale or a future object is refused. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from belljar.attestation.claims import TcbStatus
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.parsing.objects import Object
from belljar.attestation.x509.certificate import parse_crl
from belljar.attestation.x509.chain import Chain, Material, common_name, parsed, verify_chain

from .signatures import holds

if TYPE_CHECKING:
    from belljar.attestation.evidence import Collateral, Endorsements, Trust
    from belljar.attestation.steps import Trail

TCB_SIGNER = "Intel SGX TCB Signing"
_TCB_INFO_VERSION, _QE_IDENTITY_VERSION = 3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One row of Intel's list: what a platform must have at least to be so.

    Attributes:
        sgx: 16 SVNs; empty in a list of enclaves.
        tdx: 16 SVNs; empty in a list for SGX.
        pce_svn: of the provisioning certification enclave.
        isv_svn: of an enclave or a TDX module.
        status: what a platform of this level is.
        advisories: that apply to it.
        date: until when known problems are cured at this level.
    """

    sgx: tuple[int, ...] = ()
    tdx: tuple[int, ...] = ()
    pce_svn: int = 0
    isv_svn: int = 0
    status: TcbStatus
    advisories: tuple[str, ...]
    date: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleIdentity:
    """Which TDX modules are Intel's: `id` is empty for the one of TDX 1.0."""

    id: str
    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbInfo:
    """What Intel says about a family of processors."""

    id: str
    fmspc: bytes
    pce_id: bytes
    evaluation: int
    modules: tuple[ModuleIdentity, ...]
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QeIdentity:
    """Which quoting enclaves are Intel's."""

    id: str
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isv_prod_id: int
    evaluation: int
    levels: tuple[Level, ...]


def verify_collateral(
    collateral: Collateral, endorsements: Endorsements, trust: Trust, trail: Trail
) -> tuple[TcbInfo, QeIdentity, Chain]:
    """Return what Intel says, once its signatures and dates have held.

    Raises:
        EvidenceRefused: a certificate, a signature or a date does not hold, or an object is malformed.
    """
    certificates = parsed(collateral.tcb_chain, "TCB signing chain")
    if not certificates:
        raise EvidenceRefused("TCB signing chain: got no certificates, expected the signer's first")
    crls = tuple(parse_crl(der) for der in endorsements.crls)
    material = Material(what="TCB signing chain", certificates=certificates[1:], crls=crls)
    chain = verify_chain(certificates[0], material, trust, trail)
    name = common_name(chain.leaf)
    direct = len(chain.certificates) == 2
    trail.check(
        "TCB signing chain: signer", name, f"{TCB_SIGNER}, below the root", passed=direct and name == TCB_SIGNER
    )
    key = chain.leaf.public_key()
    for what, content, signature in (
        ("TCB info", collateral.tcb_info, collateral.tcb_info_signature),
        ("QE identity", collateral.qe_identity, collateral.qe_identity_signature),
    ):
        held = isinstance(key, ec.EllipticCurvePublicKey) and holds(key, signature, content)
        trail.check(f"{what}: signature", "holds" if held else "does not hold", "holds", passed=held)
    info = Object.parse(collateral.tcb_info, "TCB info")
    identity = Object.parse(collateral.qe_identity, "QE identity")
    _check_dates(info, "TCB info", trust.now, trail)
    _check_dates(identity, "QE identity", trust.now, trail)
    return _tcb_info(info), _qe_identity(identity), chain


def _check_dates(found: Object, what: str, now: int, trail: Trail) -> None:
    issued, until = found.moment("issueDate"), found.moment("nextUpdate")
    first, last, at = (datetime.fromtimestamp(moment, UTC) for moment in (issued, until, now))
    span = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    trail.check(f"{what}: in date", f"{at:%Y-%m-%d %H:%M:%S}", span, passed=issued <= now < until)


def _version(found: Object, wanted: int) -> None:
    version = found.number("version")
    if version != wanted:
        raise EvidenceRefused(f"{found.path}.version: got {version}, expected {wanted}")


def _tcb_info(found: Object) -> TcbInfo:
    _version(found, _TCB_INFO_VERSION)
    kind = found.text("id")
    if found.number("tcbType") != 0:
        raise EvidenceRefused(f"{found.path}.tcbType: got {found.number('tcbType')}, expected 0")
    modules = []
    if kind == "TDX":
        modules = [_module(found.member("tdxModule"), first=True)]
        modules += [
            _module(item) for item in (found.objects("tdxModuleIdentities") if "tdxModuleIdentities" in found else [])
        ]
    return TcbInfo(
        id=kind,
        fmspc=found.octets("fmspc", 6),
        pce_id=found.octets("pceId", 2),
        evaluation=found.number("tcbEvaluationDataNumber"),
        modules=tuple(modules),
        levels=tuple(_platform_level(item, kind) for item in found.objects("tcbLevels")),
    )


def _module(found: Object, *, first: bool = False) -> ModuleIdentity:
    return ModuleIdentity(
        id="" if first else found.text("id"),
        mrsigner=found.octets("mrsigner", 48),
        attributes=found.octets("attributes", 8),
        attributes_mask=found.octets("attributesMask", 8),
        levels=() if first else _enclave_levels(found),
    )


def _platform_level(found: Object, kind: str) -> Level:
    tcb = found.member("tcb")
    return Level(
        sgx=_components(tcb, "sgxtcbcomponents"),
        tdx=_components(tcb, "tdxtcbcomponents") if kind == "TDX" else (),
        pce_svn=tcb.number("pcesvn", 0xFFFF),
        status=_status(found),
        advisories=found.texts("advisoryIDs"),
        date=found.moment("tcbDate"),
    )


def _components(tcb: Object, name: str) -> tuple[int, ...]:
    found = tuple(item.number("svn", 0xFF) for item in tcb.objects(name))
    if len(found) != 16:
        raise EvidenceRefused(f"{tcb.path}.{name}: got {len(found)} components, expected 16")
    return found


def _enclave_levels(found: Object) -> tuple[Level, ...]:
    return tuple(
        Level(
            isv_svn=item.member("tcb").number("isvsvn", 0xFFFF),
            status=_status(item),
            advisories=item.texts("advisoryIDs"),
            date=item.moment("tcbDate"),
        )
        for item in found.objects("tcbLevels")
    )


def _status(found: Object) -> TcbStatus:
    text = found.text("tcbStatus")
    try:
        return TcbStatus(text)
    except ValueError as error:
        names = ", ".join(status.value for status in TcbStatus)
        raise EvidenceRefused(f"{found.path}.tcbStatus: got {text[:80]!r}, expected one of {names}") from error


def _qe_identity(found: Object) -> QeIdentity:
    _version(found, _QE_IDENTITY_VERSION)
    return QeIdentity(
        id=found.text("id"),
        misc_select=found.octets("miscselect", 4),
        misc_select_mask=found.octets("miscselectMask", 4),
        attributes=found.octets("attributes", 16),
        attributes_mask=found.octets("attributesMask", 16),
        mrsigner=found.octets("mrsigner", 32),
        isv_prod_id=found.number("isvprodid", 0xFFFF),
        evaluation=found.number("tcbEvaluationDataNumber"),
        levels=_enclave_levels(found),
    )
