"""Two enclaves beside each other: which input made their measurements differ.

In come bundles or manifests; out come changes: of members of the canonical manifest, of files of hashed mounts, of the
signer. Times and places on the host are not among them, since nothing measures them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from belljar.loader.canonical import canonical_members

from .read import entries_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from belljar.attestation.measurement import Json
    from belljar.fs.measuring import Entry
    from belljar.loader.measure import Measured

    from .read import Bundle

_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two enclaves.

    Attributes:
        members: of the canonical manifest.
        signer: "sha256:…", empty if nobody signed; None for a manifest, which nobody can sign.
        trees: guest path -> what the index there names.
    """

    members: dict[str, object]
    signer: str | None
    trees: dict[str, Sequence[Entry]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One input that changed.

    Attributes:
        what: "manifest", "file" or "signer".
        mount: guest path of the hashed mount of a file; empty otherwise.
        name: member of the canonical manifest, or path below the mount.
        change: "added", "removed" or "changed".
        old: value before, of members and signers.
        new: value after.
    """

    what: str
    mount: str
    name: str
    change: str
    old: object = None
    new: object = None


def side_of_bundle(bundle: Bundle) -> Side:
    """Return a bundle as one side."""
    trees = {tree.path: entries for tree, entries in zip(bundle.decided.pinned, bundle.entries, strict=True)}
    return Side(members=bundle.members, signer=bundle.signer, trees={**trees})


def side_of_manifest(measured: Measured) -> Side:
    """Return a measured manifest as one side."""
    indexes = {tree.where.path: tree.measured.index for tree in measured.trees}
    return Side(
        members={**canonical_members(measured.decided)},
        signer=None,
        trees={path: entries_of(index.content, index.digest) for path, index in indexes.items()},
    )


def changes(old: Side, new: Side) -> list[Change]:
    """Return everything that changed from one side to the other: manifest, files, signer."""
    before, after = _flat(old.members), _flat(new.members)
    found = [
        _member(name, before.get(name, _ABSENT), after.get(name, _ABSENT))
        for name in sorted({*before, *after})
        if before.get(name, _ABSENT) != after.get(name, _ABSENT)
    ]
    for path in sorted({*old.trees} & {*new.trees}):
        found += _files(path, old.trees[path], new.trees[path])
    if old.signer is not None and new.signer is not None and old.signer != new.signer:
        found.append(
            Change(
                what="signer", mount="", name="signer", change="changed", old=old.signer or None, new=new.signer or None
            )
        )
    return found


def _member(name: str, old: object, new: object) -> Change:
    change = "added" if old is _ABSENT else "removed" if new is _ABSENT else "changed"
    return Change(
        what="manifest",
        mount="",
        name=name,
        change=change,
        old=None if old is _ABSENT else old,
        new=None if new is _ABSENT else new,
    )


def _flat(members: dict[str, object]) -> dict[str, object]:
    """Return the members with a name for each: `limits.memory_bytes`, `environment.set.PATH`, `mounts./app.type`.

    Index digests are left out: the files tell what they would, and a mount that is not on both sides has a type.
    """
    environment = cast("dict[str, Json]", members["environment"])
    pairs = cast("list[list[str]]", environment["set"])
    mounts = cast("list[dict[str, Json]]", members["mounts"])
    named: dict[str, object] = {
        **members,
        "environment": {"pass": environment["pass"], "set": {name: value for name, value in pairs}},  # noqa: C416 - typed
        "mounts": {
            str(mount["path"]): {key: value for key, value in mount.items() if key not in ("path", "index")}
            for mount in mounts
        },
    }
    named.pop("format", None)
    return dict(_walk("", named))


def _walk(above: str, members: dict[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in members.items():
        if isinstance(value, dict):
            yield from _walk(f"{above}{name}.", cast("dict[str, object]", value))
        else:
            yield f"{above}{name}", value


def _files(mount: str, old: Sequence[Entry], new: Sequence[Entry]) -> list[Change]:
    before, after = ({entry.path: entry for entry in side} for side in (old, new))
    found: list[Change] = []
    for path in sorted({*before, *after}):
        if before.get(path) == after.get(path):
            continue
        change = "added" if path not in before else "removed" if path not in after else "changed"
        found.append(Change(what="file", mount=mount, name=path.decode(errors="backslashreplace"), change=change))
    return found
