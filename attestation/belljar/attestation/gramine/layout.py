"""SGX's structures byte by byte, little endian (Intel SDM volume 3D, chapter 37; Intel's DCAP quote library reference).

    report body, 384 bytes                          target info, 512 bytes
       0   16  CPU security version                    0   32  MRENCLAVE
      16    4  MISCSELECT                             32    8  attribute flags
      48    8  attribute flags                        40    8  XFRM
      56    8  XFRM                                   50    2  configuration's security version
      64   32  MRENCLAVE                              52    4  MISCSELECT
     128   32  MRSIGNER                               64   64  configuration id
     192   64  configuration id                        all others zero
     256    2  product id
     258    2  security version                     report, 432 bytes
     260    2  configuration's security version       0  384  report body
     320   64  report data                          384   32  key id
    all others zero                                 416   16  MAC

In come an enclave and 64 bytes; out come structures, and back. The debug flag is always set: nobody is to take these
for an enclave of the processor. Pure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.errors import EvidenceRefused

if TYPE_CHECKING:
    from belljar.attestation.dice.enclave import Enclave

BODY_BYTES, REPORT_BYTES, TARGET_INFO_BYTES, REPORT_DATA_BYTES = 384, 432, 512, 64
KEY_ID_BYTES, MAC_BYTES = 32, 16
INIT, DEBUG, MODE64BIT = 1, 2, 4
FLAGS = INIT | DEBUG | MODE64BIT
XFRM = 3  # x87 and SSE, the least there is
_BODY = struct.Struct("<16sI12x16xQQ32s32x32s32x64sHHH42x16x64s")
_TARGET = struct.Struct("<32sQQ2xHI8x64s384x")
MAX_PRODUCT_ID = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportBody:
    """What a report or quote says.

    Attributes:
        measurement: MRENCLAVE.
        signer: MRSIGNER; zeros where nobody signed.
        product_id: 0 to 65 535.
        svn: security version.
        flags: attribute flags.
        report_data: 64 bytes.
    """

    measurement: bytes
    signer: bytes
    product_id: int
    svn: int
    flags: int
    report_data: bytes

    def pack(self) -> bytes:
        """Return the 384 bytes."""
        return _BODY.pack(
            bytes(16), 0, self.flags, XFRM, self.measurement, self.signer, bytes(64), self.product_id, self.svn, 0,
            self.report_data,
        )  # fmt: skip

    @property
    def debug(self) -> bool:
        """Whether the debug flag is set."""
        return bool(self.flags & DEBUG)


def body_of(enclave: Enclave, report_data: bytes) -> ReportBody:
    """Return the body that stands for an enclave.

    Raises:
        EvidenceRefused: its product id has no place there, or the report data has not 64 bytes.
    """
    if enclave.product_id > MAX_PRODUCT_ID:
        raise EvidenceRefused(f"product id {enclave.product_id}: SGX's structures hold at most {MAX_PRODUCT_ID}")
    if len(report_data) != REPORT_DATA_BYTES:
        raise EvidenceRefused(f"report data of {len(report_data)} bytes, expected {REPORT_DATA_BYTES}")
    return ReportBody(
        measurement=enclave.measurement,
        signer=enclave.signer or bytes(32),
        product_id=enclave.product_id,
        svn=enclave.svn,
        flags=FLAGS,
        report_data=report_data,
    )


def unpack_body(content: bytes) -> ReportBody:
    """Return what 384 bytes say.

    Raises:
        EvidenceRefused: they are not what `pack` writes.
    """
    if len(content) != BODY_BYTES:
        raise EvidenceRefused(f"a report body of {len(content)} bytes, expected {BODY_BYTES}")
    found = _BODY.unpack(content)
    body = ReportBody(
        flags=found[2], measurement=found[4], signer=found[5], product_id=found[7], svn=found[8], report_data=found[10]
    )
    if body.pack() != content or body.flags != FLAGS:
        raise EvidenceRefused("a report body of another maker: fields that belljar leaves empty, or no debug flag")
    return body


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """For whom a report is made."""

    measurement: bytes
    flags: int

    def pack(self) -> bytes:
        """Return the 512 bytes."""
        return _TARGET.pack(self.measurement, self.flags, XFRM, 0, 0, bytes(64))


def target_info(enclave: Enclave) -> TargetInfo:
    """Return what others need to make a report for an enclave."""
    return TargetInfo(measurement=enclave.measurement, flags=FLAGS)


def unpack_target_info(content: bytes) -> TargetInfo:
    """Return the target in 512 bytes.

    Raises:
        EvidenceRefused: they are no target info of ours.
    """
    if len(content) != TARGET_INFO_BYTES:
        raise EvidenceRefused(f"target info of {len(content)} bytes, expected {TARGET_INFO_BYTES}")
    measurement, flags, *_ = _TARGET.unpack(content)
    found = TargetInfo(measurement=measurement, flags=flags)
    if found.pack() != content:
        raise EvidenceRefused("target info of another maker: fields that belljar leaves empty")
    return found
