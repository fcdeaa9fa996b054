"""Ask a Python interpreter where it lives and what it can import, by running it, confined, on the host.

In comes a command; out comes what that interpreter says of itself. Asking is the only way that is right for virtual
environments, editable installs, user sites and shims such as pyenv's alike. While it answers it can change nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

from belljar.libos.probing import probe
from belljar.loader.errors import LoaderError, ProgramNotFound

_PROBE = """
import json, sys, sysconfig
paths = sysconfig.get_paths()
print(json.dumps({
    "executable": sys.executable, "prefix": sys.prefix, "base_prefix": sys.base_prefix,
    "path": [p for p in sys.path if p],
    "library": sorted({paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"]}),
    "base": getattr(sys, "_base_executable", sys.executable),
}))
"""
_PATIENCE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """What an interpreter says of itself.

    Attributes:
        executable: absolute path, links not resolved.
        base: the interpreter a virtual environment was made from.
        prefix: `sys.prefix`.
        base_prefix: `sys.base_prefix`.
        path: `sys.path` without empty entries.
        library: folders of the standard library and of installed packages.
    """

    executable: str
    base: str
    prefix: str
    base_prefix: str
    path: tuple[str, ...]
    library: tuple[str, ...]

    @property
    def in_environment(self) -> bool:
        """Whether it belongs to a virtual environment."""
        return self.prefix != self.base_prefix


@cache
def ask(command: str) -> Interpreter:
    """Run an interpreter and return what it says of itself.

    Raises:
        LoaderError: it does not answer as an interpreter does.
    """
    try:
        said = json.loads(probe([command, "-B", "-c", _PROBE], patience_s=_PATIENCE_S))
        return Interpreter(
            executable=said["executable"],
            base=said["base"],
            prefix=said["prefix"],
            base_prefix=said["base_prefix"],
            path=tuple(said["path"]),
            library=tuple(said["library"]),
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise LoaderError(f"{command}: does not run as a Python interpreter: {' '.join(last)}") from error
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise LoaderError(f"{command}: does not answer as a Python interpreter does: {error}") from error


def current_python() -> str:
    """Return the interpreter a person means by `python`: of the active virtual environment, else of PATH.

    Raises:
        ProgramNotFound: there is none.
    """
    environment = os.environ.get("VIRTUAL_ENV")
    if environment:
        candidate = os.path.join(environment, "bin", "python")
        if os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which("python3") or shutil.which("python")
    if found is None:
        raise ProgramNotFound("no python3 on the PATH", hint="install one, or name it: programs: [/path/to/python3]")
    return ask(os.path.abspath(found)).executable


def current_environment() -> str:
    """Return the folder of the virtual environment that `current_python` belongs to.

    Raises:
        LoaderError: it belongs to none.
    """
    interpreter = ask(current_python())
    if not interpreter.in_environment:
        raise LoaderError(
            "${venv} is used, but no virtual environment is active", hint="activate one: . path/to/venv/bin/activate"
        )
    return interpreter.prefix
