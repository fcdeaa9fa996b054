"""`belljar platform init | show | root | rotate`: make, look at, hand out and renew the root of trust of this machine.

In comes a command line; out come what the platform is called and what a verifier pins. Nothing secret is ever printed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

from belljar.attestation.keys import ALGORITHM_NAMES
from belljar.attestation.platforms import (
    DEFAULT_TPM,
    SOFT_NAME,
    TPM_NAME,
    Birth,
    Places,
    RootOfTrust,
    TpmBirth,
    choose,
    connected,
    make_soft,
    make_tpm,
    rotate_soft,
)
from belljar.libos.folders import platform_folder
from belljar.loader import report
from belljar.loader.bundle.files import PUBLIC, create_file
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import LoaderError, UsageError

from .described import describe, pinned_pem, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.loader.options import Parsed

_USAGE = "belljar platform init, show, root or rotate"


def main(parsed: Parsed) -> int:
    """Do one of the four."""
    if len(parsed.words) != 1 or parsed.words[0] not in _ACTS:
        raise UsageError("expected one of init, show, root and rotate", hint=_USAGE)
    with loader_errors():
        _ACTS[parsed.words[0]](parsed)
    sys.stdout.flush()
    return 0


def _folder(parsed: Parsed) -> str:
    """Return where the platform is kept."""
    return os.path.abspath(parsed.options["dir"]) if parsed.has("dir") else platform_folder()


def _places(parsed: Parsed) -> Places:
    return Places(state=_folder(parsed), random=os.urandom, tpm=parsed.options.get("tpm", DEFAULT_TPM))


def _birth(parsed: Parsed) -> Birth:
    algorithm = parsed.options.get("algorithm", ALGORITHM_NAMES[0])
    if algorithm not in ALGORITHM_NAMES:
        raise UsageError(f"unknown algorithm {algorithm}, expected one of {', '.join(ALGORITHM_NAMES)}")
    return Birth(random=os.urandom, now=int(time.time()), algorithm=algorithm)


def _init(parsed: Parsed) -> None:
    kind = parsed.options.get("platform", "soft")
    if kind not in ("soft", "tpm"):
        raise UsageError(
            f"platform {kind}, expected soft or tpm", hint="tsm needs no init: the processor is there or not"
        )
    folder = _folder(parsed)
    other = SOFT_NAME if kind == "tpm" else TPM_NAME
    if os.path.lexists(os.path.join(folder, other)):
        raise LoaderError(f"{folder}: holds a platform of another kind", hint="choose another folder with --dir")
    if kind == "tpm":
        tpm = connected(_places(parsed).tpm)
        try:
            root: RootOfTrust = make_tpm(folder, tpm, TpmBirth(birth=_birth(parsed)))
        except BaseException:
            tpm.close()
            raise
    else:
        root = make_soft(folder, _birth(parsed))
    with root:
        _print(parsed, root)
        report.note(f"{root.kind} is {root.strength}")


def _show(parsed: Parsed) -> None:
    with choose(parsed.options.get("platform"), _places(parsed)) as root:
        _print(parsed, root)


def _root(parsed: Parsed) -> None:
    with choose(parsed.options.get("platform"), _places(parsed)) as root:
        pem = pinned_pem(root)
    if parsed.has("output"):
        create_file(parsed.options["output"], pem, PUBLIC)
    else:
        sys.stdout.write(pem.decode())


def _rotate(parsed: Parsed) -> None:
    folder = _folder(parsed)
    if not os.path.lexists(os.path.join(folder, SOFT_NAME)):
        raise LoaderError(
            f"{folder}: there is no soft platform to rotate", hint="a TPM's is made anew in another folder"
        )
    with rotate_soft(folder, _birth(parsed)) as root:
        _print(parsed, root)
        report.note("verifiers must pin the new root: belljar platform root; what the old one sealed still opens")


def _print(parsed: Parsed, root: RootOfTrust) -> None:
    told = describe(root)
    if parsed.has("json"):
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        sys.stdout.writelines(rows(told))


_ACTS: dict[str, Callable[[Parsed], None]] = {"init": _init, "show": _show, "root": _root, "rotate": _rotate}
