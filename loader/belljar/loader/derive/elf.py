"""Which shared libraries a program or library needs: asked of the dynamic linker, which knows every rule of its own.

In comes an ELF file; out come the paths of its libraries and of the linker itself. `ld.so --list` maps the file and its
libraries; a hostile file can have it run code (DT_AUDIT, or a linker of its own), so it is asked confined.
"""

from __future__ import annotations

import os
import struct
import subprocess
from functools import cache

from belljar.libos.probing import probe

_ELF_MAGIC = b"\x7fELF"
_CLASS_64, _LITTLE_ENDIAN = 2, 1
_HEADER = struct.Struct("<16xHHIQQQIHHH")  # type machine version entry phoff shoff flags ehsize phentsize phnum
_PROGRAM_HEADER = struct.Struct("<IIQQQQ")  # type flags offset vaddr paddr filesz
_PT_INTERP = 3
_HEAD_BYTES = 4096
_PATIENCE_S = 30


def is_elf(path: str) -> bool:
    """Say whether a file starts like an ELF file; unreadable ones do not."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == _ELF_MAGIC
    except OSError:
        return False


def linker_of(path: str) -> str | None:
    """Return the dynamic linker an ELF program names (PT_INTERP), None for a library or a static program."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
            if head[:6] != _ELF_MAGIC + bytes((_CLASS_64, _LITTLE_ENDIAN)):
                return None
            _, _, _, _, table, _, _, _, size, count = _HEADER.unpack_from(head)
            for number in range(count):
                kind, _, offset, _, _, length = _PROGRAM_HEADER.unpack_from(head, table + number * size)
                if kind == _PT_INTERP:
                    file.seek(offset)
                    return os.fsdecode(file.read(min(length, _HEAD_BYTES)).rstrip(b"\0"))
    except (OSError, struct.error):  # unreadable, or no ELF file after all
        return None
    return None


@cache
def libraries(path: str, linker: str) -> tuple[str, ...]:
    """Return the shared libraries that `linker` would load for an ELF file, those it cannot find left out."""
    try:
        listed = probe([linker, "--list", path], patience_s=_PATIENCE_S, environment={})
    except (OSError, subprocess.SubprocessError):
        return ()
    found: list[str] = []
    for line in listed.splitlines():
        name = line.split("=>")[-1].rpartition("(")[0].strip()
        if name.startswith("/"):
            found.append(name)
    return tuple(found)
