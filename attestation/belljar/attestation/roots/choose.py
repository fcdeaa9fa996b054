"""Choosing a root of trust: by name, or what is there, the strongest first.

In come a name and places; out comes a root, or the refusal that says what is missing. Nothing is made here: a
platform is made by `belljar platform init` (soft.py, tpm.py). What is not named is never simulated without being
asked: `soft` is only chosen where its file is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from belljar.attestation.errors import PlatformRefused
from belljar.attestation.tpm.client import Tpm
from belljar.attestation.tpm.transport import connect

from . import soft, tpm, tsm

if TYPE_CHECKING:
    from collections.abc import Callable

    from .root import RootOfTrust

KINDS = ("tsm", "tpm", "soft")
DEFAULT_TPM = "/dev/tpmrm0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where roots of trust are looked for.

    Attributes:
        state: folder of the files of `soft` and `tpm`.
        tpm: address of the TPM, see tpm/transport.py.
        tsm: folder of configfs-tsm.
        random: gives unpredictable bytes.
    """

    state: str
    random: Callable[[int], bytes]
    tpm: str = DEFAULT_TPM
    tsm: str = tsm.FOLDER


def choose(name: str | None, places: Places) -> RootOfTrust:
    """Return a root of trust.

    Args:
        name: one of `KINDS`; None for the strongest that is there.
        places: where to look.

    Raises:
        PlatformRefused: there is no such kind, or none that can be used.
    """
    if name is None:
        name = next((kind for kind in KINDS if _is_there(kind, places)), None)
        if name is None:
            raise PlatformRefused(f"{places.state}: there is no platform", hint="belljar platform init makes one")
    match name:
        case "soft":
            return soft.open_soft(places.state)
        case "tpm":
            return _opened_tpm(places)
        case "tsm":
            return tsm.open_tsm(tsm.Interface(random=places.random, folder=places.tsm))
        case _:
            raise PlatformRefused(f"platform {name}, expected one of {', '.join(KINDS)}")


def _opened_tpm(places: Places) -> RootOfTrust:
    found = connected(places.tpm)
    try:
        return tpm.open_tpm(places.state, found)
    except BaseException:
        found.close()
        raise


def _is_there(kind: str, places: Places) -> bool:
    if kind == "tsm":
        return os.path.isdir(places.tsm)
    return os.path.lexists(os.path.join(places.state, soft.NAME if kind == "soft" else tpm.NAME))


def connected(address: str) -> Tpm:
    """Return a TPM at an address, started and clean.

    Raises:
        PlatformRefused: it does not answer.
    """
    found = Tpm(connect(address), partial(connect, address))
    try:
        found.start()
    except BaseException:
        found.close()
        raise
    return found
