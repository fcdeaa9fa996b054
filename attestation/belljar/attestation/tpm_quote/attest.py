"""TPMS_ATTEST as TPM2_Quote makes it, big endian (TPM 2.0 Library part 2, 10.12.12; part 3, 18.4).

    ff544347 ("ÿTCG", which no other signature of a restricted key can begin with)   8018 (quote)
    qualified signer   extra data: both a u16 size and that many bytes
    clock u64, reset count u32, restart count u32, safe u8   firmware version u64
    u32 count of: hash u16, u8 size and bit map of PCRs      PCR digest: u16 size and that many bytes

In come bytes; out comes an `Attest`, or `EvidenceRefused`. All of it is signed. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.parsing.fields import Fields

MAGIC = 0xFF544347
QUOTE = 0x8018
MAX_ATTEST_BYTES = 1024  # captured: 145 with a nonce of 32 bytes
MAX_NAME_BYTES = 66  # hash number and a SHA-512
MAX_EXTRA_BYTES = 66  # TPMs take 64; a qualifying digest may bring its hash number
MAX_BANKS = 4
PCR_COUNT = 24
_WHAT = "TPM quote"
HASHES = {0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}  # TPM_ALG_ID; SHA-1 is not among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """PCRs of one hash that were quoted, lowest first."""

    hash: str
    pcrs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attest:
    """What a quote says."""

    signer_name: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware: int
    banks: tuple[Bank, ...]
    pcr_digest: bytes


def parse_attest(content: bytes) -> Attest:
    """Return what a quote says.

    Raises:
        EvidenceRefused: it is malformed, or no quote.
    """
    if len(content) > MAX_ATTEST_BYTES:
        raise EvidenceRefused(f"{_WHAT}: got {len(content)} bytes, expected at most {MAX_ATTEST_BYTES}")
    fields = Fields(content, _WHAT, "big")
    fields.expect(MAGIC, 4, "magic")
    fields.expect(QUOTE, 2, "type (0x8018 is a quote)")
    name = fields.sized(2, MAX_NAME_BYTES, "qualified signer")
    extra = fields.sized(2, MAX_EXTRA_BYTES, "extra data")
    clock, resets, restarts = fields.number(8, "clock"), fields.number(4, "reset count"), fields.number(4, "restarts")
    safe, firmware = fields.number(1, "safe"), fields.number(8, "firmware version")
    if safe > 1:
        raise EvidenceRefused(f"{_WHAT}: safe: got {safe}, expected 0 or 1")
    banks = _banks(fields)
    digest = fields.sized(2, 64, "PCR digest")
    fields.end()
    return Attest(
        signer_name=name,
        extra_data=extra,
        clock=clock,
        reset_count=resets,
        restart_count=restarts,
        safe=bool(safe),
        firmware=firmware,
        banks=banks,
        pcr_digest=digest,
    )


def _banks(fields: Fields) -> tuple[Bank, ...]:
    count = fields.number(4, "count of banks")
    if not 1 <= count <= MAX_BANKS:
        raise EvidenceRefused(f"{_WHAT}: got {count} banks, expected 1 to {MAX_BANKS}")
    found: list[Bank] = []
    for _ in range(count):
        number = fields.number(2, "hash of a bank")
        if number not in HASHES:
            raise EvidenceRefused(f"{_WHAT}: got a bank of hash {number:#06x}, expected SHA-256, SHA-384 or SHA-512")
        bits = fields.sized(1, 4, "selection of PCRs")
        pcrs = tuple(index for index in range(8 * len(bits)) if bits[index // 8] >> index % 8 & 1)
        if not pcrs or pcrs[-1] >= PCR_COUNT:
            raise EvidenceRefused(f"{_WHAT}: got PCRs {pcrs}, expected some of 0 to {PCR_COUNT - 1}")
        found.append(Bank(hash=HASHES[number], pcrs=pcrs))
    if len({bank.hash for bank in found}) != len(found):
        raise EvidenceRefused(f"{_WHAT}: got a bank twice")
    return tuple(found)
