"""Interpret a classic BPF program as seccomp does (include/uapi/linux/filter.h, kernel/seccomp.c)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

RET_KILL_PROCESS = 0x80000000
RET_ERRNO = 0x00050000
RET_NOTIFY = 0x7FC00000
RET_ALLOW = 0x7FFF0000
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003, "arm": 0x40000028}

_LD_W_ABS, _LD_IMM, _ALU_AND, _RET_K = 0x20, 0x00, 0x54, 0x06
_JA, _JEQ, _JGT, _JGE, _JSET = 0x05, 0x15, 0x25, 0x35, 0x45
_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Verdict:
    """What a filter says: an action, and the errno if it is one."""

    action: int

    @property
    def allowed(self) -> bool:
        return self.action == RET_ALLOW

    @property
    def killed(self) -> bool:
        return self.action == RET_KILL_PROCESS

    @property
    def handed_over(self) -> bool:
        """Whether the supervisor decides; it always says EPERM."""
        return self.action == RET_NOTIFY

    @property
    def errno(self) -> int | None:
        return self.action & 0xFFFF if self.action & 0xFFFF0000 == RET_ERRNO else None


def run(program: bytes, number: int, arch: int, arguments: tuple[int, ...] = ()) -> int:
    """Return the raw result of a program for one system call."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<iIQ6Q", number if number < 1 << 31 else number - (1 << 32), arch, 0, *padded)
    instructions = list(struct.iter_unpack("<HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, k = instructions[at]
        at += 1
        if code == _LD_W_ABS:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif code == _LD_IMM:
            accumulator = k
        elif code == _ALU_AND:
            accumulator &= k
        elif code == _RET_K:
            return int(k)
        elif code == _JA:
            at += k
        else:
            taken = {
                _JEQ: accumulator == k,
                _JGT: accumulator > k,
                _JGE: accumulator >= k,
                _JSET: bool(accumulator & k),
            }[code]
            at += if_true if taken else if_false


def verdict(programs: tuple[bytes, ...], number: int, arch: int, arguments: tuple[int, ...] = ()) -> Verdict:
    """Return what the kernel does when several filters were loaded in this order."""
    result = RET_ALLOW
    for program in reversed(programs):  # the youngest is asked first, and wins a draw
        found = run(program, number, arch, arguments)
        if _rank(found) < _rank(result):
            result = found
    return Verdict(result)


def _rank(action: int) -> int:
    signed = action & 0xFFFF0000
    return signed - (1 << 32) if signed & 0x80000000 else signed
