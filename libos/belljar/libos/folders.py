"""Folders that belong to one user alone: caches, runtime directories. Hot.

In come places to try; out comes the first that is ours, writable, and that nobody but root and we can put another in
the place of.
"""

from __future__ import annotations

import os

from .errors import SandboxUnavailable


def private_folder(places: list[str]) -> str | None:
    """Return the first of `places` (absolute paths) that can be used, made with mode 0700 if it does not exist."""
    for place in places:
        if os.path.isabs(place) and _usable(place):
            return place
    return None


def _usable(folder: str) -> bool:
    """Say whether a folder is ours and writable, and nobody else can put another in its place.

    Every folder above it counts: who may rename one of them decides what is found below.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        place: str = os.path.realpath(folder)
        if not _is_ours(place) or not os.access(place, os.W_OK):
            return False
        while place != "/":
            place = os.path.dirname(place)
            if not _keeps_its_entries(place):
                return False
    except OSError:
        return False
    return True


def _is_ours(folder: str) -> bool:
    status = os.lstat(folder)
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _keeps_its_entries(folder: str) -> bool:
    """Say whether only root and we can rename what is in a folder: in a sticky one, everybody only their own."""
    status = os.lstat(folder)
    return status.st_uid in (0, os.geteuid()) and (not status.st_mode & 0o022 or bool(status.st_mode & 0o1000))


def runs_folder() -> str:
    """Return the folder of all runs of this user; BELLJAR_RUNTIME_DIR names another.

    Raises:
        SandboxUnavailable: there is no place where it could be.
    """
    uid = os.geteuid()
    wanted = os.environ.get("BELLJAR_RUNTIME_DIR")
    usual = "/run/belljar" if uid == 0 else f"/run/user/{uid}/belljar"
    places = [wanted] if wanted else [usual, f"/tmp/belljar-{uid}/runs"]  # noqa: S108 - checked to be ours alone
    folder = private_folder(places)
    if folder is None:
        raise SandboxUnavailable(
            f"no folder for running enclaves: {' and '.join(places)} cannot be used",
            hint="set BELLJAR_RUNTIME_DIR to the absolute path of a folder that only you can write",
        )
    return folder


def platform_folder() -> str:
    """Return where the root of trust of this machine is kept: root's for all, others' at home.

    It is not made here, and not looked at: who opens it does.
    """
    if os.geteuid() == 0 and "XDG_STATE_HOME" not in os.environ:
        return "/var/lib/belljar/platform"
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "belljar/platform")
