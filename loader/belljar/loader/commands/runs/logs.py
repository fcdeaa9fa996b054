"""`belljar logs`: print what a detached program wrote."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from belljar.libos.lifecycle import ask, output_paths
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import LoaderError, UsageError

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_PAUSE_S = 0.1
_BLOCK = 1 << 16


def main(parsed: Parsed) -> int:
    """Print the kept output of a run; with --follow, also what comes until it ends."""
    if len(parsed.words) != 1:
        raise UsageError("expected the name of one run", hint="belljar ps --all lists them")
    name = parsed.words[0]
    with loader_errors():
        state = ask(name, "status")
        paths = output_paths(name)
        if not paths:
            raise LoaderError(f"{name}: its output went to whoever started it", hint="belljar run --detach keeps it")
        if len(paths) > 1:
            _copy(os.open(paths[0], os.O_RDONLY | os.O_CLOEXEC))
        newest = os.open(paths[-1], os.O_RDONLY | os.O_CLOEXEC)
        _copy(newest)
        while parsed.has("follow") and state["state"] != "ended":
            time.sleep(_PAUSE_S)
            newest = _follow(newest, paths[-1])
            state = ask(name, "status")
        _copy(newest)
    return 0


def _follow(descriptor: int, path: str) -> int:
    """Print what has come; return the descriptor to go on with: the file may have been put aside for a new one."""
    _copy(descriptor)
    try:
        new = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # just being put aside
        return descriptor
    if os.path.samestat(os.fstat(new), os.fstat(descriptor)):
        os.close(new)
        return descriptor
    _copy(descriptor)
    os.close(descriptor)
    return new


def _copy(descriptor: int) -> None:
    while block := os.read(descriptor, _BLOCK):
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
