"""Read and write the kernel's text interfaces: files of /proc, /sys and cgroups. Hot."""

from __future__ import annotations

import os


def read_text(path: str) -> str:
    """Return all of a file, or nothing if it cannot be read: machines differ in what they have."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def write_text(path: str, text: str) -> None:
    """Write a setting with one write(2), which is how the kernel takes it.

    Raises:
        OSError: the kernel refused.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
