"""A quote in the shape of DCAP's version 3, rooted in our platform and not in the processor (Intel's DCAP reference).

       0    2  version 3            48  384  report body (layout.py), the debug flag set
       2    2  key type 2           432    4  length of what follows
       4    4  zero                 436   64  signature over 0..431 by the attestation key, r ‖ s
       8    2  QE version 0         500   64  attestation key, x ‖ y on P-256
      10    2  PCE version 0        564  384  report body that certifies it: report data SHA-256(key ‖ auth) ‖ zeros
      12   16  vendor: ours         948   64  signature over that by the leaf of the chain
      28   20  zeros               1012    2  length of auth, 32; auth; 2 type 5; 4 length; chain in PEM

Scripts that slice it find MRENCLAVE at 112, MRSIGNER at 176 and report data at 368, as in a real one. A DCAP verifier
refuses it, rightly: vendor and root are not Intel's. `verify_quote` is for those who pin our root. Report data is
what the program gave, unseparated, so this format is never evidence for an attested channel or a key; in RA-TLS
certificates, which know no better, it is (claims.py).
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from belljar.attestation.algorithms import ALGORITHMS
from belljar.attestation.dice.certificate import Validity, evidence_certificate
from belljar.attestation.dice.chain import VerifiedChain, verify_chain
from belljar.attestation.dice.enclave import shown_enclave
from belljar.attestation.dice.inputs import ATTEST_INFO
from belljar.attestation.dice.keypair import key_pair
from belljar.attestation.errors import EvidenceRefused, RootCannot, SignatureRefused
from belljar.attestation.keys import SigningKey, generate

from .layout import BODY_BYTES, FLAGS, ReportBody, body_of, unpack_body

if TYPE_CHECKING:
    from belljar.attestation.dice.enclave import Enclave
    from belljar.attestation.evidence import Trust
    from belljar.attestation.roots.root import RootOfTrust
    from belljar.attestation.steps import Trail

PREFIX_BYTES = 432
MAX_QUOTE_BYTES = 1 << 16
VENDOR = bytes.fromhex("1a5d6c7e90f34b0fa1e7c2c60b7e11a4")  # ours: not Intel's, so that nobody takes it for one
_HEADER = struct.Struct("<HHIHH16s20x")
_AUTH_BYTES, _PEM_CHAIN, _ES256 = 32, 5, "es256"
_SIG, _KEY, _QE, _QE_SIG, _AUTH = 436, 500, 564, 948, 1012
_END = _AUTH + 2 + _AUTH_BYTES + 6
_BEGIN_LINE, _END_LINE = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_VALIDITY_S, _SKEW_S = 7 * 24 * 3600, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoter:
    """What makes the quotes of one run.

    Attributes:
        enclave: whose.
        key: the attestation key.
        certified: everything from the length of auth on, and the QE's report and signature before it.
    """

    enclave: Enclave
    key: SigningKey
    certified: bytes

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote over 64 bytes of the program's.

        Raises:
            EvidenceRefused: they are not 64, or the enclave does not fit into a report.
        """
        header = _HEADER.pack(3, 2, 0, 0, 0, VENDOR)
        prefix = header + body_of(self.enclave, report_data).pack()
        follows = self.key.sign(prefix) + _point(self.key) + self.certified
        return prefix + len(follows).to_bytes(4, "little") + follows


def quoter(root: RootOfTrust, enclave: Enclave, now: int) -> Quoter:
    """Return what makes quotes of an enclave; its certificate holds for seven days.

    Raises:
        RootCannot: this kind of root certifies no keys.
    """
    if not root.chain:
        raise RootCannot(f"{root.kind} certifies no keys, and a quote needs a chain", hint="use the file eat")
    layer = key_pair(root.algorithm, root.derive(enclave.inputs.attest_salt, ATTEST_INFO))
    leaf, key = generate(_ES256), generate(_ES256)
    validity = Validity(start=now - _SKEW_S, end=now + _VALIDITY_S)
    chain = (
        evidence_certificate(layer, leaf.public, validity), root.certify(enclave.inputs, layer.public), *root.chain,
    )  # fmt: skip
    pem = _pem(chain)
    auth = bytes(_AUTH_BYTES)
    report = _certifying(_point(key) + auth).pack()
    lengths = len(auth).to_bytes(2, "little") + auth + _PEM_CHAIN.to_bytes(2, "little") + len(pem).to_bytes(4, "little")
    return Quoter(enclave=enclave, key=key, certified=report + leaf.sign(report) + lengths + pem)


def _certifying(content: bytes) -> ReportBody:
    """Return the body that stands where the quoting enclave's is: it binds the attestation key."""
    digest = hashlib.sha256(content).digest()
    return ReportBody(
        measurement=bytes(32), signer=bytes(32), product_id=0, svn=0, flags=FLAGS, report_data=digest + bytes(32)
    )


def _point(key: SigningKey) -> bytes:
    return key.public.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedQuote:
    """What a quote says, and the chain it rests on."""

    body: ReportBody
    chain: VerifiedChain


def verify_quote(quote: bytes, trust: Trust, trail: Trail) -> VerifiedQuote:
    """Return what a quote says.

    Raises:
        EvidenceRefused: it is malformed, not rooted in a pinned platform, or not of the enclave it names.
    """
    trail.check("size of the quote", len(quote), f"{_END} to {MAX_QUOTE_BYTES}",
                passed=_END < len(quote) <= MAX_QUOTE_BYTES)  # fmt: skip
    trail.equal("header of the quote", quote[:48], _HEADER.pack(3, 2, 0, 0, 0, VENDOR))
    _check_lengths(quote, trail)
    chain = verify_chain(_certificates(quote[_END:]), trust, trail)
    trail.check("algorithm of the leaf", chain.key.algorithm.name, _ES256, passed=chain.key.algorithm.name == _ES256)
    _signed("certifying report", chain.key.key, quote[_QE_SIG:_AUTH], quote[_QE:_QE_SIG], trail)
    auth = quote[_AUTH + 2 : _AUTH + 2 + _AUTH_BYTES]
    trail.equal("certifying report", quote[_QE:_QE_SIG], _certifying(quote[_KEY:_QE] + auth).pack())
    _signed("quote", _public(quote[_KEY:_QE]), quote[_SIG:_KEY], quote[:PREFIX_BYTES], trail)
    body = unpack_body(quote[48 : 48 + BODY_BYTES])
    trail.equal("enclave in quote and certificates", quote[48:PREFIX_BYTES],
                body_of(shown_enclave(chain.layer), body.report_data).pack())  # fmt: skip
    return VerifiedQuote(body=body, chain=chain)


def brought_certificate(quote: bytes) -> bytes:
    """Return the last certificate that a quote brings, DER: to look at, never to trust.

    Raises:
        EvidenceRefused: its chain is malformed, or it brings none.
    """
    chain = _certificates(quote[_END:])
    if not chain:
        raise EvidenceRefused("the quote brings no chain")
    return chain[-1]


def _check_lengths(quote: bytes, trail: Trail) -> None:
    found = (
        int.from_bytes(quote[432:436], "little"),
        int.from_bytes(quote[_AUTH : _AUTH + 2], "little"),
        int.from_bytes(quote[_END - 6 : _END - 4], "little"),
        int.from_bytes(quote[_END - 4 : _END], "little"),
    )
    wanted = (len(quote) - _SIG, _AUTH_BYTES, _PEM_CHAIN, len(quote) - _END)
    trail.check("lengths and type in the quote", found, wanted, passed=found == wanted)


def _certificates(pem: bytes) -> tuple[bytes, ...]:
    """Return the DER of a chain in PEM, in its one spelling; what it holds is looked at later."""
    found: list[bytes] = []
    for part in pem.removesuffix(b"\n").split(b"\n" + _END_LINE):
        try:
            found.append(base64.b64decode(part.replace(_BEGIN_LINE, b"").replace(b"\n", b""), validate=True))
        except ValueError as error:
            raise EvidenceRefused("the quote's chain is not PEM") from error
    chain = tuple(found[:-1])
    if _pem(chain) != pem:
        raise EvidenceRefused("the quote's chain is not in the one spelling of PEM")
    return chain


def _pem(chain: tuple[bytes, ...]) -> bytes:
    """Return certificates in PEM: lines of 64 letters (RFC 7468)."""
    lines: list[bytes] = []
    for text in (base64.b64encode(der) for der in chain):
        lines += [_BEGIN_LINE, *(text[start : start + 64] for start in range(0, len(text), 64)), _END_LINE]
    return b"".join(line + b"\n" for line in lines)


def _public(point: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    except ValueError as error:
        raise EvidenceRefused("the quote's attestation key is not on P-256") from error


def _signed(name: str, key: object, signature: bytes, message: bytes, trail: Trail) -> None:
    holds = isinstance(key, ec.EllipticCurvePublicKey)
    if isinstance(key, ec.EllipticCurvePublicKey):
        try:
            ALGORITHMS[_ES256].verify(key, signature, message)
        except SignatureRefused:
            holds = False
    trail.check(f"signature of the {name}", "holds" if holds else "does not hold", "holds", passed=holds)
