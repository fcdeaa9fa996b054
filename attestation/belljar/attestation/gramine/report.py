"""Local attestation: one enclave proves to another on the same machine who it is (IEEE 2952 7.3; SGX's EREPORT).

In come the maker, the target and 64 bytes; out comes a report whose MAC only the target can check. The key follows from
the platform's secret and from the target: the runtime derives it for the enclave that it is for, and for no other.

    report key = derive(salt = SHA-512("belljar.report/1" ‖ target's MRENCLAVE ‖ flags (8) ‖ key id (32)), "report key")
    MAC        = AES-128-CMAC(report key[:16], report body)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from belljar.attestation.crypto.compare import same
from belljar.attestation.errors import EvidenceRefused

from .layout import BODY_BYTES, KEY_ID_BYTES, REPORT_BYTES, ReportBody, body_of, target_info, unpack_body

if TYPE_CHECKING:
    from belljar.attestation.dice.enclave import Enclave
    from belljar.attestation.roots.root import RootOfTrust

    from .layout import TargetInfo

_SALT = b"belljar.report/1"
_INFO = b"belljar.report/1 key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What a report is made from.

    Attributes:
        maker: the enclave that proves who it is.
        target: who can check it.
        report_data: 64 bytes that go with it.
        key_id: 32 random bytes.
    """

    maker: Enclave
    target: TargetInfo
    report_data: bytes
    key_id: bytes


def make_report(root: RootOfTrust, request: ReportRequest) -> bytes:
    """Return a report of 432 bytes.

    Raises:
        EvidenceRefused: the maker does not fit into one, or a size is wrong.
        RootCannot: this kind of root derives no keys.
    """
    if len(request.key_id) != KEY_ID_BYTES:
        raise EvidenceRefused(f"a key id of {len(request.key_id)} bytes, expected {KEY_ID_BYTES}")
    body = body_of(request.maker, request.report_data).pack()
    return body + request.key_id + _mac(root, request.target, request.key_id, body)


def verify_report(root: RootOfTrust, report: bytes, reader: Enclave) -> ReportBody:
    """Return what a report says, once it was made on this platform for this reader.

    Raises:
        EvidenceRefused: it is malformed, for somebody else, or was made elsewhere.
        RootCannot: this kind of root derives no keys.
    """
    if len(report) != REPORT_BYTES:
        raise EvidenceRefused(f"a report of {len(report)} bytes, expected {REPORT_BYTES}")
    body, key_id = report[:BODY_BYTES], report[BODY_BYTES : BODY_BYTES + KEY_ID_BYTES]
    found = unpack_body(body)
    if not same(report[BODY_BYTES + KEY_ID_BYTES :], _mac(root, target_info(reader), key_id, body)):
        raise EvidenceRefused(
            "the report does not match its MAC: changed, made on another platform, or for another target"
        )
    return found


def _mac(root: RootOfTrust, target: TargetInfo, key_id: bytes, body: bytes) -> bytes:
    salt = hashlib.sha512(_SALT + target.measurement + target.flags.to_bytes(8, "little") + key_id).digest()
    mac = CMAC(AES(root.derive(salt, _INFO)[:16]))
    mac.update(body)
    return mac.finalize()
