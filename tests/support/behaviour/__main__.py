"""Run every case below each of the folders given, and print {folder: {case: result}} as JSON.

Each case gets an empty folder as its working directory. What it raises is a result, too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback

from . import content, metadata, names, programs
from .cases import CASES, as_json

_CASE_S = 60


def main(roots: list[str]) -> None:
    """Run all cases and print their results."""
    assert all(module.__doc__ for module in (content, metadata, names, programs))  # importing them fills the table
    os.umask(0o022)
    print(json.dumps({root: {name: _result(root, name) for name in CASES} for root in roots}))


def _result(root: str, name: str) -> object:
    folder = os.path.join(root, name)
    os.mkdir(folder)
    os.chdir(folder)
    signal.alarm(_CASE_S)
    try:
        return as_json(CASES[name]())
    except Exception:  # noqa: BLE001 - whatever it is, it is compared
        return traceback.format_exc(limit=-3)
    finally:
        os.umask(0o022)
        signal.alarm(0)


main(sys.argv[1:])
