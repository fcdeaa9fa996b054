"""Seal the namespace: a built wheel gets `belljar/__init__.py`, the checkout never has one.

A stray `belljar/__init__.py` anywhere on `sys.path` would hide a namespace package, even from a later entry; a
regular package is immune. See docs/decisions/0001-layout.md.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SealNamespace(BuildHookInterface[Any]):
    """Make `belljar` a regular package in real wheels, and leave the editable install a plain namespace."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":  # not "editable"
            build_data["force_include"]["loader/package_init.py"] = "belljar/__init__.py"
