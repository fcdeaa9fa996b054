"""A quote's frame: header, body, and the signatures that lead from it to a PCK certificate (Intel DCAP, appendix A).

    header  0 version 3, 4 or 5   2 kind of attestation key (2: P-256)   4 TEE (0 SGX, 0x81 TDX)   8 two SVNs (v3)
            12 vendor of the quoting enclave [16]   28 user data [20]
    v5      u16 body type (1 SGX, 2 TDX 1.0, 3 TDX 1.5), u32 size
    body    see bodies.py
    u32     size of all that follows
            signature [64], attestation key [64]
    v4, v5  u16 6, u32 size of what follows
            report of the quoting enclave [384], its signature by the PCK key [64], u16 size and authentication data,
            u16 5, u32 size and the PCK chain in PEM
    zeros   some quoting services return their whole buffer

In come bytes; out comes a `Quote`, or `EvidenceRefused`. Sizes must fit exactly; the zeros behind are signed by nobody,
so nothing else may stand there. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.parsing.fields import Fields

from .bodies import SGX_BYTES, TDX10_BYTES, TDX15_BYTES, SgxBody, TdBody, parse_sgx, parse_td

MAX_QUOTE_BYTES = 64 * 1024  # captured ones have 5 KiB, nearly all of it the PCK chain
MAX_CHAIN_BYTES = 32 * 1024
MAX_PADDING_BYTES = 1024  # captured: 70
MAX_AUTH_BYTES = 1024  # Intel's quoting enclave has 32
_HEADER_BYTES = 48
_VERSIONS = (3, 4, 5)
_P256 = 2
_SGX, _TDX = 0x00, 0x81
_INTEL = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_BODY_TYPES = {1: (_SGX, SGX_BYTES), 2: (_TDX, TDX10_BYTES), 3: (_TDX, TDX15_BYTES)}
_PCK_CHAIN, _QE_REPORT = 5, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotingEnclave:
    """Who made the quote, and what vouches for it."""

    report: bytes
    signature: bytes
    auth: bytes
    pck_chain: bytes

    @property
    def body(self) -> SgxBody:
        """Its report, parsed."""
        return parse_sgx(self.report, "report of the quoting enclave")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A quote; signatures are r and s of 32 bytes each, keys x and y."""

    version: int
    user_data: bytes
    body: SgxBody | TdBody
    signed: bytes
    signature: bytes
    attestation_key: bytes
    quoting_enclave: QuotingEnclave


def parse_quote(content: bytes) -> Quote:
    """Return the parts of a quote.

    Raises:
        EvidenceRefused: it is malformed, of another version, or signed in another way.
    """
    if len(content) > MAX_QUOTE_BYTES:
        raise EvidenceRefused(f"quote: got {len(content)} bytes, expected at most {MAX_QUOTE_BYTES}")
    fields = Fields(content, "quote", "little")
    version, tee = _header(fields)
    user_data = fields.take(20, "user data")
    if version == 5:
        tee, size = _body_type(fields, tee)
    else:
        size = SGX_BYTES if tee == _SGX else TDX10_BYTES
    raw = fields.take(size, "body")
    signed = content[: fields.offset]
    auth = Fields(fields.sized(4, MAX_QUOTE_BYTES, "signatures"), "quote signatures", "little")
    _padding(fields, len(content))
    signature, key = auth.take(64, "signature"), auth.take(64, "attestation key")
    enclave = _quoting_enclave(_opened(auth) if version > 3 else auth)
    auth.end()
    return Quote(
        version=version,
        user_data=user_data,
        body=parse_sgx(raw) if tee == _SGX else parse_td(raw),
        signed=signed,
        signature=signature,
        attestation_key=key,
        quoting_enclave=enclave,
    )


def _padding(fields: Fields, size: int) -> None:
    """Read what a TDX quoting service leaves of its buffer: zeros, and nothing but zeros."""
    left = size - fields.offset
    if left > MAX_PADDING_BYTES:
        raise EvidenceRefused(f"quote: {left} bytes follow its signatures, expected at most {MAX_PADDING_BYTES} zeros")
    fields.zeros(left, "padding")


def _header(fields: Fields) -> tuple[int, int]:
    version = fields.number(2, "version")
    if version not in _VERSIONS:
        raise EvidenceRefused(f"quote: got version {version}, expected one of {_VERSIONS}")
    fields.expect(_P256, 2, "kind of attestation key (2 is ECDSA P-256)")
    tee = fields.number(4, "TEE")
    if tee not in ((_SGX,) if version == 3 else (_SGX, _TDX)):
        raise EvidenceRefused(f"quote: TEE: got {tee:#x}, expected 0 (SGX) or, from version 4, 0x81 (TDX)")
    fields.take(4, "SVNs")
    vendor = fields.take(16, "vendor")
    if vendor != _INTEL:
        raise EvidenceRefused(f"quote: vendor of the quoting enclave: got {vendor.hex()}, expected {_INTEL.hex()}")
    return version, tee


def _body_type(fields: Fields, tee: int) -> tuple[int, int]:
    kind = fields.number(2, "body type")
    if kind not in _BODY_TYPES or _BODY_TYPES[kind][0] != tee:
        raise EvidenceRefused(f"quote: body type: got {kind} for TEE {tee:#x}, expected 1 (SGX), 2 or 3 (TDX)")
    fields.expect(_BODY_TYPES[kind][1], 4, "body size")
    return _BODY_TYPES[kind]


def _opened(auth: Fields) -> Fields:
    """Return what is inside of certification data of type 6, which must be all there is."""
    auth.expect(_QE_REPORT, 2, "kind of certification data")
    inner = Fields(auth.sized(4, MAX_QUOTE_BYTES, "certification data"), "certification data", "little")
    auth.end()
    return inner


def _quoting_enclave(fields: Fields) -> QuotingEnclave:
    report, signature = fields.take(SGX_BYTES, "report"), fields.take(64, "signature of the report")
    auth = fields.sized(2, MAX_AUTH_BYTES, "authentication data")
    fields.expect(_PCK_CHAIN, 2, "kind of certification data (5 is a PCK chain)")
    chain = fields.sized(4, MAX_CHAIN_BYTES, "PCK chain")
    fields.end()
    return QuotingEnclave(report=report, signature=signature, auth=auth, pck_chain=chain)
