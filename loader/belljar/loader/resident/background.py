"""Start a launcher that outlives whoever starts it. Hot: runs with BELLJAR_LAUNCHER=auto come through here."""

from __future__ import annotations

import os
import sys

IDLE_S = 900.0


def start_in_background(words: tuple[str, ...] = ("--idle", f"{IDLE_S:g}")) -> int:
    """Start `belljar serve` in a session of its own, with nothing of ours but the environment; return its pid."""
    # -P: the folder we stand in must not be able to bring modules of its own.
    command = [sys.executable, "-P", "-m", "belljar.loader.cli", "serve", *words]
    streams = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=streams, setsid=True)
