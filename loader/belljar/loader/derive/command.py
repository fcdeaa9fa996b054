"""Derive a manifest for a command that has none.

In comes a command line and the folder it is run in; out comes the text of a manifest, which goes through the same
parser as one that a person wrote: what `--explain` prints is what runs. The folder is read-only, there is no network,
and the caller's environment stays outside but for a few names.
"""

from __future__ import annotations

import os

import yaml

from belljar.loader.errors import LoaderError
from belljar.loader.target import files_named, is_shown, name_of, passed_names, programs_named

from .elf import is_elf
from .needs import interpreters, locate

_EXCLUDED = (".git/", ".hg/", ".svn/")


def derive_manifest(command: tuple[str, ...], folder: str) -> str:
    """Return a manifest that runs `command` in `folder`.

    Raises:
        ProgramNotFound, ProgramNotExecutable: the command's program.
    """
    program = locate(command[0])
    manifest: dict[str, object] = {
        "belljar": 1,
        "name": name_of(command),
        "extends": ["minimal"],
        "programs": list(dict.fromkeys([program, "/bin/sh", *_named(command)])),
        "argv": [_quoted(command[0]), *map(_quoted, command[1:])],
        "environment": {"pass": list(passed_names())},
    }
    mounts = _mounts(command, folder)
    if mounts:
        manifest["mounts"] = mounts
    manifest["working_directory"] = _quoted(folder)
    head = f"# Derived by belljar for: {_one_line(command)}\n# Save it, change it, run it: belljar run app.yaml\n"
    return head + yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _named(command: tuple[str, ...]) -> list[str]:
    """Return what a shell or wrapper will run, as far as it can be run: the rest is left out, as a word of its own."""
    found: list[str] = []
    for path in programs_named(command):
        try:
            runs = is_elf(path) or all(os.access(interpreter, os.X_OK) for interpreter in interpreters(path))
        except (OSError, LoaderError):
            continue
        if runs:
            found.append(_quoted(path))
    return found


def _mounts(command: tuple[str, ...], folder: str) -> list[dict[str, object]]:
    shown = is_shown(folder)
    mounts = [{**_hashed(folder), "exclude": list(_EXCLUDED)}] if shown else []
    return mounts + [_hashed(path) for path in files_named(command, folder, shown=shown)]


def _hashed(path: str) -> dict[str, object]:
    return {"type": "hashed", "path": _quoted(path), "source": _quoted(path)}


def _quoted(text: str) -> str:
    """Return a text that stands for itself in a manifest: no variable."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise LoaderError(f"{text!r} is not UTF-8, and cannot be written in a manifest") from error
    return text.replace("${", "$${")


def _one_line(command: tuple[str, ...]) -> str:
    return " ".join(command).replace("\n", " ")[:200]
