"""Fill in `${name}`, so that one manifest works on another machine.

In come texts of a manifest and the folder it stands in; out come texts without variables. A variable is looked up when
it is used, so a manifest that does not name a virtual environment does not need one. `$${` stands for `${`.
"""

from __future__ import annotations

import difflib
import os
import re
from typing import TYPE_CHECKING

from belljar.loader.derive.interpreter import current_environment, current_python
from belljar.loader.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")  # $${ is a plain ${, whatever follows


class Variables:
    """The variables of one manifest file.

    Args:
        manifest_dir: folder of the file, absolute.
    """

    def __init__(self, manifest_dir: str) -> None:
        self._known: dict[str, Callable[[], str]] = {
            "manifest_dir": lambda: manifest_dir,
            "home": lambda: os.path.expanduser("~"),
            "python": current_python,
            "venv": current_environment,
        }

    def expand(self, text: str) -> str:
        """Return `text` with its variables filled in.

        Raises:
            LoaderError: a variable is unknown, or has no value here.
        """
        return _REFERENCE.sub(self._value, text)

    def _value(self, match: re.Match[str]) -> str:
        name: str | None = match[1]
        if name is None:
            return "${"
        if name not in self._known:
            close = difflib.get_close_matches(name, self._known, 1, 0.5)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(self._known)}"
            raise LoaderError(f"unknown variable ${{{name}}}: {hint}", hint="write $${ for a plain ${")
        return self._known[name]()
