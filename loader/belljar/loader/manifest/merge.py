"""Merge a manifest with the one it extends. Pure.

What the later one says wins. Mappings are merged key by key; `programs`, `mounts`, what the network opens and the
lists of names are added up, and a mount replaces an earlier one at the same path. `argv` is one thing and is replaced
as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .model import Manifest

    AnySection = TypeVar("AnySection", bound=BaseModel)

_ADDED_UP = frozenset({"programs", "pass_", "insecure_allow", "deny"})
_LISTED = frozenset({"listen", "connect", "internet"})
_SECTIONS = frozenset({"environment", "user", "limits", "system_calls", "network", "integrity", "attestation"})


def merge(base: Manifest, later: Manifest) -> Manifest:
    """Return `base` with everything `later` says put over it."""
    changes = _changes(base, later)
    for name in _SECTIONS & later.model_fields_set:
        section = getattr(base, name)
        changes[name] = section.model_copy(update=_changes(section, getattr(later, name)))
    if "mounts" in later.model_fields_set:
        by_path = {mount.path: mount for mount in (*base.mounts, *later.mounts)}
        changes["mounts"] = list(by_path.values())
    changes["extends"] = []
    return base.model_copy(update=changes)


def _changes(base: BaseModel, later: BaseModel) -> dict[str, object]:
    changes: dict[str, object] = {}
    for name in later.model_fields_set:
        new = getattr(later, name)
        if name in _LISTED:
            changes[name] = [*getattr(base, name), *new]
        elif name in _ADDED_UP:
            changes[name] = list(dict.fromkeys([*getattr(base, name), *new]))
        elif name == "set":
            changes[name] = {**getattr(base, name), **new}
        else:
            changes[name] = new
    return changes
