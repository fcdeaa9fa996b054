"""From a manifest file to a checked `Manifest`: read, fill in variables, validate, merge with what it extends.

In comes a path; out comes a `ParsedManifest`, or a `ManifestError` with every mistake and its place. Reads the manifest
files and nothing else of the host (but for what variables stand for).
"""

from __future__ import annotations

import difflib
import os
import stat
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from pydantic import ValidationError

from belljar.loader.errors import LoaderError, ManifestError, Problem

from .merge import merge
from .model import Manifest
from .opening import open_network
from .reader import MAX_BYTES, Document, Value, read_document
from .variables import Variables

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from .reader import Path

MAX_EXTENDS = 8
MAX_FILES = 64
BUILT_IN = ("minimal", "python")
_TAGS = ("hashed", "host", "tmpfs", "word", "mapping")  # parts of a place that pydantic adds
_EXPECTED = {
    "missing": "this key is missing",
    "string_type": "expected a text",
    "int_type": "expected a whole number",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "union_tag_not_found": "the key type is missing: expected hashed, host or tmpfs",
    "union_tag_invalid": "expected hashed, host or tmpfs",
}


_LIMITS = {
    "literal_error": "expected {expected}",
    "string_pattern_mismatch": "expected a text of the form {pattern}",
    "less_than_equal": "expected at most {le}",
    "greater_than_equal": "expected at least {ge}",
    "too_short": "expected at least {min_length} entry",
    "too_long": "expected at most {max_length} entries",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedManifest:
    """A manifest with everything it extends merged in.

    Attributes:
        manifest: what it says; sources are absolute.
        file: path of the outermost file, for messages.
        files: every file that was read and is measured, absolute, built-in ones left out.
        document: the outermost file as read, for the places of later findings.
        mounts: where each mount stands, by its path in the enclave: the file and its number there.
    """

    manifest: Manifest
    file: str
    files: tuple[str, ...]
    document: Document
    mounts: dict[str, tuple[Document, int]]

    def place(self, *path: str | int) -> str:
        """Return "file:line:column" of a value; of the nearest part around it if it comes from a base."""
        return self.document.place(path)

    def place_in(self, path: Path, text: str) -> str:
        """Return where a text stands in a list of the outermost file, or where the list does."""
        value: Value = self.document.value
        for part in path:
            value = value.get(str(part)) if isinstance(value, dict) else None
        return self.document.place((*path, value.index(text)) if isinstance(value, list) and text in value else path)

    def place_of_mount(self, path: str, *below: str) -> str:
        """Return where the mount at a guest path stands, or a key of it."""
        document, number = self.mounts[path]
        return document.place(("mounts", number, *below))


def parse_file(path: str) -> ParsedManifest:
    """Parse a manifest file and what it extends.

    Raises:
        ManifestError: the manifest is wrong, at these places.
        LoaderError: a file cannot be read, or a variable has no value here.
    """
    return _finish(path, _read(path), os.path.dirname(os.path.abspath(path)), [os.path.abspath(path)])


def parse_text(text: str, *, name: str, folder: str) -> ParsedManifest:
    """Parse a manifest that is not in a file.

    Args:
        text: the manifest.
        name: what to call it in messages.
        folder: what relative sources are relative to.

    Raises:
        ManifestError, LoaderError: as `parse_file`.
    """
    return _finish(name, text.encode(), folder, [])


def _finish(name: str, text: bytes, folder: str, files: list[str]) -> ParsedManifest:
    document = read_document(text, name)
    mounts: dict[str, tuple[Document, int]] = {}
    manifest = _with_bases(document, _Reading(folder, files, mounts), depth=0)
    missing = [key for key in ("name", "argv") if getattr(manifest, key) is None]
    if missing:
        raise ManifestError([Problem(document.place(()), f"the key {key} is missing") for key in missing])
    return ParsedManifest(manifest=manifest, file=name, files=tuple(files), document=document, mounts=mounts)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What reading one file with its bases fills in.

    Attributes:
        folder: of the file at hand.
        files: of all files so far.
        mounts: of all files so far.
    """

    folder: str
    files: list[str]
    mounts: dict[str, tuple[Document, int]]

    def at(self, folder: str) -> _Reading:
        return _Reading(folder, self.files, self.mounts)


def _with_bases(document: Document, reading: _Reading, *, depth: int) -> Manifest:
    manifest = _validate(document, reading)
    merged: Manifest | None = None
    for number, name in enumerate(manifest.extends):
        if depth >= MAX_EXTENDS or len(reading.files) > MAX_FILES:
            limits = f"{MAX_EXTENDS} manifests on top of each other, and {MAX_FILES} in all"
            message = f"expected at most {limits}: do two extend each other?"
            raise ManifestError([Problem(document.place(("extends", number)), message)])
        base = _base(name, document.place(("extends", number)), reading, depth)
        merged = base if merged is None else merge(merged, base)
    reading.mounts.update({mount.path: (document, number) for number, mount in enumerate(manifest.mounts)})
    return manifest if merged is None else merge(merged, manifest)


def _base(name: str, place: str, reading: _Reading, depth: int) -> Manifest:
    if name in BUILT_IN:
        text = resources.files("belljar.loader.manifest").joinpath("bases", f"{name}.yaml").read_bytes()
        return _with_bases(read_document(text, f"built-in {name}"), reading, depth=depth + 1)
    path = os.path.normpath(os.path.join(reading.folder, name))
    if not os.path.isfile(path):
        close = difflib.get_close_matches(name, BUILT_IN, 1, 0.5)
        hint = f"did you mean {close[0]}?" if close else f"built-in are {', '.join(BUILT_IN)}"
        raise ManifestError([Problem(place, f"no manifest {path}: {hint}")])
    reading.files.append(path)
    return _with_bases(read_document(_read(path), path), reading.at(os.path.dirname(path)), depth=depth + 1)


def _read(path: str) -> bytes:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # a fifo must not hold us
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise LoaderError(f"{path}: is no regular file, expected a manifest")
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise LoaderError(f"{path}: cannot read the manifest: {error.strerror}") from error


def _validate(document: Document, reading: _Reading) -> Manifest:
    folder = reading.folder
    value = _filled_in(document, document.value, (), Variables(folder))
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        raise ManifestError([_problem(document, details) for details in error.errors()]) from error
    network = open_network(document, manifest.network, reading.folder, reading.files)
    mounts = [
        mount if mount.type == "tmpfs" else mount.model_copy(update={"source": _absolute(folder, mount.source)})
        for mount in manifest.mounts
    ]
    changes: dict[str, object] = {"mounts": mounts} if mounts else {}
    if network is not manifest.network:
        changes["network"] = network
    if manifest.programs:
        changes["programs"] = [_program(folder, name) for name in manifest.programs]
    if manifest.argv and manifest.argv[0] in manifest.programs:
        changes["argv"] = [_program(folder, manifest.argv[0]), *manifest.argv[1:]]
    return manifest.model_copy(update=changes)


def _program(folder: str, name: str) -> str:
    """Return a program as it is named, unless that is a path relative to the manifest."""
    return _absolute(folder, name) if "/" in name else name


def _absolute(folder: str, source: str) -> str:
    return os.path.normpath(os.path.join(folder, os.path.expanduser(source)))


def _filled_in(document: Document, value: Value, path: Path, variables: Variables) -> Value:
    if isinstance(value, dict):
        return {key: _filled_in(document, item, (*path, key), variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled_in(document, item, (*path, number), variables) for number, item in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        try:
            return variables.expand(value)
        except LoaderError as error:
            raise ManifestError([Problem(document.place(path), str(error))], hint=error.hint) from error
    return value


def _problem(document: Document, details: ErrorDetails) -> Problem:
    """Say one of pydantic's errors in our words, with its place in the file."""
    path: Path = tuple(part for part in details["loc"] if part not in _TAGS)
    context = details.get("ctx", {})
    if details["type"] == "unknown_key":
        place = document.key_place((*path, str(context["key"])))
        within = ".".join(map(str, path))
        return Problem(place, details["msg"] + (f" (in {within})" if within else ""))
    return Problem(document.place(path), f"{'.'.join(map(str, path)) or 'manifest'}: {_message(details)}")


def _message(details: ErrorDetails) -> str:
    kind, context, found = details["type"], details.get("ctx", {}), details["input"]
    if kind in _LIMITS:
        return f"{_LIMITS[kind].format(**context)}, got {_shown(found)}"
    expected = _EXPECTED.get(kind)
    if expected is None:
        return details["msg"][:1].lower() + details["msg"][1:]
    if kind in ("missing", "union_tag_not_found"):
        return expected
    if kind == "union_tag_invalid":
        found = context.get("tag")
    return f"{expected}, got {_shown(found)}{_advice(kind, found)}"


def _advice(kind: str, found: object) -> str:
    """Return how to write what was probably meant."""
    if kind == "list_type" and isinstance(found, str):
        return f": write [{found[:60]}]"
    if kind == "string_type" and isinstance(found, int | float):
        return f': write "{str(found).lower()}"'
    return ""


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "a mapping" if isinstance(value, dict) else f"the number {value}"
