"""What Intel writes into a PCK certificate: family, TCB, platform (Intel PCK certificate specification, 1.3.5).

    1.2.840.113741.1.13.1 = SEQUENCE OF SEQUENCE { OID, value }
        .1 PPID   .2 TCB: .1 to .16 SVNs, .17 PCESVN, .18 CPUSVN   .3 PCEID   .4 FMSPC   .5 type   .6 platform instance
        .7 configuration: .1 dynamic platform, .2 cached keys, .3 SMT

In comes a parsed certificate; out comes a `Pck`, or `EvidenceRefused`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.x509 import der

_ARC = bytes.fromhex("2a864886f84d010d01")  # 1.2.840.113741.1.13.1 in DER
_EXTENSION = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
_WHAT = "PCK certificate"
_COMPONENTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pck:
    """A PCK certificate as Intel means it.

    Attributes:
        key: P-256; signs reports of the quoting enclave.
        ppid: of the processor.
        platform_instance: of a platform of several processors, if it is one.
        fmspc: the processor's family, 6 bytes: which TCB info is about it.
        pce_id: 2 bytes.
        components: the 16 SVNs.
        pce_svn: of the provisioning certification enclave.
        smt: whether hyper-threading is on, where the certificate says so.
    """

    key: ec.EllipticCurvePublicKey
    ppid: bytes
    platform_instance: bytes | None
    fmspc: bytes
    pce_id: bytes
    components: tuple[int, ...]
    pce_svn: int
    smt: bool | None


def parse_pck(certificate: x509.Certificate) -> Pck:
    """Return what Intel wrote into a PCK certificate.

    Raises:
        EvidenceRefused: the extension is missing or malformed, or the key is of another kind.
    """
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise EvidenceRefused(f"{_WHAT}: got a key of kind {type(key).__name__}, expected P-256")
    try:
        found = certificate.extensions.get_extension_for_oid(_EXTENSION).value
    except x509.ExtensionNotFound as error:
        raise EvidenceRefused(f"{_WHAT}: got no SGX extension, expected {_EXTENSION.dotted_string}") from error
    if not isinstance(found, x509.UnrecognizedExtension):
        raise EvidenceRefused(f"{_WHAT}: its SGX extension is not raw")
    top = _members(der.only(found.value, der.SEQUENCE, _WHAT), _ARC)
    tcb = _members(_value(top, 2, der.SEQUENCE), _ARC + b"\x02")
    configuration = _members(_value(top, 7, der.SEQUENCE), _ARC + b"\x07") if 7 in top else {}
    return Pck(
        key=key,
        ppid=_octets(top, 1, 16),
        platform_instance=_octets(top, 6, 16) if 6 in top else None,
        fmspc=_octets(top, 4, 6),
        pce_id=_octets(top, 3, 2),
        components=tuple(_number(tcb, index + 1, 0xFF) for index in range(_COMPONENTS)),
        pce_svn=_number(tcb, 17, 0xFFFF),
        smt=_value(configuration, 3, der.BOOLEAN) != b"\0" if 3 in configuration else None,
    )


_Members = dict[int, tuple[int, bytes]]


def _members(content: bytes, arc: bytes) -> _Members:
    """Return (tag, value) of each member of a SEQUENCE by the last number of its OID."""
    found: _Members = {}
    for tag, member in der.values(content, _WHAT):
        pair = der.values(member, _WHAT) if tag == der.SEQUENCE else []
        if len(pair) != 2 or pair[0][0] != der.OID or pair[0][1][:-1] != arc:
            raise EvidenceRefused(f"{_WHAT}: its SGX extension has a member that is not an Intel OID and a value")
        number = pair[0][1][-1]
        if number in found:
            raise EvidenceRefused(f"{_WHAT}: its SGX extension has member {number} twice")
        found[number] = pair[1]
    return found


def _value(members: _Members, number: int, tag: int) -> bytes:
    found = members.get(number)
    if found is None or found[0] != tag:
        raise EvidenceRefused(f"{_WHAT}: member {number} is missing or of another type, expected {tag:#x}")
    return found[1]


def _octets(members: _Members, number: int, size: int) -> bytes:
    found = _value(members, number, der.OCTET_STRING)
    if len(found) != size:
        raise EvidenceRefused(f"{_WHAT}: member {number}: got {len(found)} bytes, expected {size}")
    return found


def _number(members: _Members, number: int, largest: int) -> int:
    found = int.from_bytes(_value(members, number, der.INTEGER), "big", signed=True)
    if not 0 <= found <= largest:
        raise EvidenceRefused(f"{_WHAT}: member {number}: got {found}, expected 0 to {largest}")
    return found
