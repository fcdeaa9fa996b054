"""What programs of the host need to run in an enclave: files by name, and whole folders.

In come programs; out come `Needs`: the files (with every link on the way) and the folders to bring in. A program is
followed through its shebang, its dynamic linker and libraries, and, if it is a Python interpreter, into its standard
library, its packages and its virtual environment.
"""

from __future__ import annotations

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from belljar.loader.errors import LoaderError, ProgramNotExecutable, ProgramNotFound

from . import elf
from .interpreter import Interpreter, ask
from .links import trail

_PYTHON = re.compile(r"(python|pypy)[0-9.]*")
_MAX_SCRIPTS = 4  # a script whose interpreter is a script …: as the kernel, BINPRM_MAX_RECURSION
_MAX_SHEBANG_BYTES = 512

_COMMON_FILES = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/openssl.cnf",
    "/usr/lib/ssl/openssl.cnf",
    "/usr/lib/ssl/cert.pem",
)
_COMMON_FOLDERS = ("/usr/lib/locale/C.utf8", "/usr/share/zoneinfo", "/lib/terminfo")
_TERMINALS = ("d/dumb", "l/linux", "s/screen-256color", "t/tmux-256color", "v/vt100", "x/xterm", "x/xterm-256color")
_LOADED_BY_NAME = ("libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")


class Needs:
    """What to bring into an enclave.

    Attributes:
        files: absolute paths of files and links, without links in their folders.
        folders: absolute paths of folders to bring in whole, none inside of another, without links.
        programs: where each named program ends up: name -> absolute path as a person would call it.
        inputs: host files and folders whose change may change all this.
        left_out: folders inside of `folders` that no program of these can see.
    """

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.folders: list[str] = []
        self.programs: dict[str, str] = {}
        self.inputs: set[str] = set()
        self.left_out: set[str] = set()

    def add_file(self, path: str) -> str:
        """Bring in a file and the links on the way to it; return where it really is.

        Raises:
            ProgramNotFound: it does not exist.
        """
        links, end = trail(path)
        self.files.update(links)
        if os.path.isdir(end):
            self.add_folder(end)
        else:
            self.files.add(end)
        return end

    def add_folder(self, path: str) -> None:
        """Bring in a folder whole, with the links on the way to it."""
        links, end = trail(path)
        self.files.update(links)
        if not any(end == known or end.startswith(known + "/") for known in self.folders):
            self.folders = [known for known in self.folders if not known.startswith(end + "/")] + [end]

    def covers(self, path: str) -> bool:
        """Say whether a folder that is brought in holds `path`."""
        return any(path.startswith(folder + "/") for folder in self.folders)


def find_needs(programs: list[str]) -> Needs:
    """Return what `programs` need, each a name on the PATH or a path.

    Raises:
        ProgramNotFound: there is no such program.
        ProgramNotExecutable: it is a file that cannot be executed.
    """
    needs = Needs()
    for name in programs:
        path = locate(name)
        if path.endswith("/shims/" + os.path.basename(path)) and _PYTHON.fullmatch(os.path.basename(path)):
            path = ask(path).executable  # a shim of pyenv or asdf is a script that finds the interpreter
        needs.programs[name] = path
        needs.inputs.update(searched(name))
        _add_program(needs, path, depth=0)
    if programs:
        _add_common(needs)
    return needs


def locate(name: str) -> str:
    """Return the absolute path of a program, links not resolved.

    Raises:
        ProgramNotFound, ProgramNotExecutable: as `find_needs`.
    """
    path = os.path.abspath(name) if "/" in name else shutil.which(name)
    if path is None or not os.path.exists(path):
        where = "" if "/" in name else " on the PATH"
        raise ProgramNotFound(f"{name}: no such program{where}")
    if not os.path.isfile(path):
        kind = "a directory" if os.path.isdir(path) else "no regular file"
        raise ProgramNotExecutable(f"{name}: is {kind}, expected a program")
    if not os.access(path, os.X_OK):
        hint = f"chmod +x {name}, or run it with its interpreter"
        raise ProgramNotExecutable(f"{name}: is not executable", hint=hint)
    return path


def searched(name: str) -> list[str]:
    """Return the folders of the PATH in which a program found tomorrow would come before, or replace, today's."""
    found = shutil.which(name) if "/" not in name else None
    folders: list[str] = []
    for folder in os.environ.get("PATH", "").split(":") if found else []:
        if os.path.isdir(folder):
            folders.append(os.path.realpath(folder))
        if folder == os.path.dirname(found or ""):
            break
    return folders


def _add_program(needs: Needs, path: str, *, depth: int) -> None:
    end = needs.add_file(path)
    needs.inputs.update([*trail(path)[0], end])  # also links: one may be pointed elsewhere
    if elf.is_elf(end):
        _add_elf(needs, end)
        if _PYTHON.fullmatch(os.path.basename(path)) or _PYTHON.fullmatch(os.path.basename(end)):
            _add_python(needs, ask(path))
        return
    if depth >= _MAX_SCRIPTS:
        raise ProgramNotExecutable(f"{path}: more than {_MAX_SCRIPTS} scripts interpret each other")
    for interpreter in interpreters(end):
        _add_program(needs, interpreter, depth=depth + 1)


def interpreters(path: str) -> list[str]:
    """Return the interpreter of a script, and what /usr/bin/env would find for it.

    Raises:
        ProgramNotExecutable, ProgramNotFound: it cannot be read, names no interpreter, or one that is not there.
    """
    try:
        with open(path, "rb") as file:
            first = file.read(_MAX_SHEBANG_BYTES).split(b"\n", 1)[0]
    except OSError as error:
        raise ProgramNotExecutable(f"{path}: cannot be read: {error.strerror}") from error
    if not first.startswith(b"#!") or not first[2:].split():
        raise ProgramNotExecutable(f"{path}: is neither an ELF program nor a script with a #! line")
    interpreter, *arguments = os.fsdecode(first[2:]).split()
    if os.path.basename(interpreter) != "env" or not arguments:
        return [interpreter]
    name = next((word for word in arguments if not word.startswith("-") and "=" not in word), None)
    return [interpreter] if name is None else [interpreter, locate(name)]


def _add_elf(needs: Needs, path: str) -> None:
    linker = elf.linker_of(path)
    if linker is None or not os.path.exists(linker):
        return
    needs.add_file(linker)
    found = elf.libraries(path, linker)
    for library in found:
        needs.add_file(library)
    for folder in {os.path.dirname(library) for library in found if "libc.so" in library}:
        for name in _LOADED_BY_NAME:
            if os.path.exists(os.path.join(folder, name)):
                needs.add_file(os.path.join(folder, name))


def _add_python(needs: Needs, interpreter: Interpreter) -> None:
    for command in (interpreter.executable, interpreter.base):
        needs.inputs.add(needs.add_file(command))
    needs.inputs.update(path for path in _configuration(interpreter) if os.path.exists(path))
    folders = [*interpreter.library, *interpreter.path]
    if interpreter.in_environment:
        folders.append(interpreter.prefix)
    if interpreter.in_environment:
        needs.left_out.update(_others_packages(interpreter))
    before = set(needs.folders)
    for folder in folders:
        if os.path.isdir(folder):
            needs.add_folder(folder)
        elif os.path.isfile(folder):  # a zip on sys.path
            needs.add_file(folder)
    linker = elf.linker_of(os.path.realpath(interpreter.executable))
    for folder in set(needs.folders) - before:
        _add_contents(needs, folder, linker)


def _others_packages(interpreter: Interpreter) -> list[str]:
    """Return the packages of the base interpreter, unless its virtual environment shows them, too."""
    seen = [os.path.realpath(path) for path in interpreter.path]
    found: list[str] = []
    for folder in interpreter.library:
        for name in ("site-packages", "dist-packages"):
            packages = os.path.join(os.path.realpath(folder), name)
            if os.path.isdir(packages) and not any(f"{path}/".startswith(f"{packages}/") for path in seen):
                found.append(packages)
    return found


def _configuration(interpreter: Interpreter) -> list[str]:
    return [os.path.join(interpreter.prefix, "pyvenv.cfg"), *interpreter.path]


def _add_contents(needs: Needs, folder: str, linker: str | None) -> None:
    """Bring in what a folder of packages needs from outside: libraries of its extensions, targets of its links."""
    extensions: list[str] = []
    for place, below, names in os.walk(folder):
        below[:] = [name for name in below if os.path.join(place, name) not in needs.left_out]
        for name in names:
            path = os.path.join(place, name)
            if os.path.islink(path):
                _add_link_target(needs, path)
            elif ".so" in name and elf.is_elf(path):
                extensions.append(path)
    if linker is None:
        return
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for found in pool.map(partial(elf.libraries, linker=linker), extensions):
            for library in found:
                if not needs.covers(os.path.realpath(library)):
                    needs.add_file(library)


def _add_link_target(needs: Needs, path: str) -> None:
    try:
        target = os.path.realpath(path, strict=True)
    except OSError:  # dangling on the host: so it is in the guest
        return
    if os.path.isfile(target) and not needs.covers(target):
        needs.add_file(path)


def _add_common(needs: Needs) -> None:
    """Bring in the few files of /etc and /usr/share that programs look for without being linked to them."""
    terminals = [os.path.join("/usr/share/terminfo", name) for name in _TERMINALS]
    for path in (*_COMMON_FILES, *_COMMON_FOLDERS, *terminals):
        if os.path.exists(path):
            try:
                needs.add_file(path)
            except LoaderError:  # gone between the two looks
                continue
