"""`belljar run --explain`: print the manifest that a command would run with, ready to be saved."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from belljar.loader import report
from belljar.loader.derive.command import derive_manifest
from belljar.loader.derive.needs import find_needs
from belljar.loader.errors import UsageError
from belljar.loader.manifest.parse import parse_text

if TYPE_CHECKING:
    from belljar.loader.target import Target


def print_manifest(target: Target) -> int:
    """Print the derived manifest on stdout, and what its programs bring with them as comments."""
    if target.is_bundle:
        raise UsageError(f"{target.manifest} is a bundle: its manifest is shown by belljar inspect")
    if target.manifest is not None:
        raise UsageError(f"{target.manifest} is a manifest already: --explain derives one for a command")
    text = derive_manifest(target.command, target.folder)
    parsed = parse_text(text, name="derived manifest", folder=target.folder)
    needs = find_needs(parsed.manifest.programs)
    sys.stdout.write(text)
    sys.stdout.write(f"# The programs bring {len(needs.files)} files and links of their own")
    sys.stdout.write(", and these folders:\n" if needs.folders else "\n")
    sys.stdout.writelines(f"#   {folder}\n" for folder in sorted(needs.folders))
    sys.stdout.flush()
    report.note("nothing was run; save this and run it with: belljar run app.yaml")
    return 0
