"""What a person asked to run: a manifest file, a script, or a command. Hot: no import that costs."""

from __future__ import annotations

import os

from belljar.libos.enclave import Value

from .errors import LoaderError, UsageError

MANIFESTS = (".yaml", ".yml")
_BUNDLE = ".bell"
_SCRIPT = ".py"
_PASSED = ("TERM", "COLORTERM", "NO_COLOR", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "COLUMNS", "LINES")
_PASSED_PYTHON = ("PYTHONPATH", "PYTHONHOME", "PYTHONUNBUFFERED", "PYTHONUTF8", "PYTHONHASHSEED", "PYTHONWARNINGS")
_DEPENDS_ON = ("PATH", "HOME", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE")
_SYSTEM_FOLDERS = frozenset(
    f"/{name}"
    for name in (
        "", "bin", "boot", "etc", "home", "lib", "media", "mnt", "opt", "root", "run", "sbin", "srv", "tmp", "usr",
        "usr/local", "var", "var/lib", "var/tmp",
    )
)  # fmt: skip
_SHELLS = ("sh", "bash", "dash", "ksh", "zsh")
_WRAPPERS = ("env", "ionice", "nice", "nohup", "setsid", "stdbuf", "taskset", "timeout", "xargs")
_SHELL_SIGNS = str.maketrans(dict.fromkeys(";|&(){}<>`\"'$=\n\t", " "))
_MADE_ANEW = ("/dev/", "/proc/", "/sys/")  # every enclave has its own
_MAX_NAME = 40


class Target(Value):
    """What is to be run.

    Attributes:
        manifest: absolute path of a manifest file or a bundle, or None.
        command: the command without a manifest; empty otherwise.
        folder: the working directory of the caller.
        extra: arguments that the caller adds to the argv of the manifest.
        signer: who must have signed the bundle: "sha256:…", the absolute path of a key file, or "" for anybody.
    """

    manifest: str | None
    command: tuple[str, ...]
    folder: str
    extra: tuple[str, ...]
    signer: str = ""

    @property
    def is_bundle(self) -> bool:
        """Whether a bundle is to be run: it needs nothing of the caller's surroundings."""
        return self.manifest is not None and self.manifest.endswith(_BUNDLE)

    def key(self) -> tuple[object, ...]:
        """Return what a launch record is kept under.

        Of a command only its program and the files it names are in it: a run fills other arguments in, and measures
        them (`run.py`).
        """
        if self.is_bundle:
            return ("bundle", self.manifest, self.signer)
        surroundings = tuple(os.environ.get(name) for name in _DEPENDS_ON)
        if self.manifest is not None:
            return ("manifest", surroundings, self.manifest)
        return (
            "command",
            surroundings,
            self.folder,
            self.command[0],
            name_of(self.command),
            files_named(self.command, self.folder, shown=is_shown(self.folder)),
            programs_named(self.command),
        )


def parse_words(words: list[str], signer: str = "") -> Target:
    """Return what the words of a command line ask for: `-- COMMAND…`, `SCRIPT.py …` or `MANIFEST.yaml [--] …`.

    Args:
        words: of the command line; a bundle stands where a manifest may.
        signer: value of --signer, which only a bundle can meet.

    Raises:
        UsageError: there is nothing to run.
    """
    try:
        folder = os.getcwd()
    except OSError as error:
        raise LoaderError(f"the working directory cannot be used: {error.strerror}") from error
    if signer and not (words and words[0].endswith(_BUNDLE)):
        raise UsageError("--signer asks who signed a bundle", hint="expected a bundle: belljar run --signer … app.bell")
    if words[:1] == ["--"] and len(words) > 1:
        return Target(manifest=None, command=tuple(words[1:]), folder=folder, extra=())
    if not words or words == ["--"]:
        hint = "belljar run -- python3 app.py, belljar run app.py, or belljar run app.yaml"
        raise UsageError("nothing to run", hint=hint)
    first, rest = words[0], words[1:]
    if first.endswith((*MANIFESTS, _BUNDLE)):
        path = os.path.normpath(os.path.join(folder, first))
        extra = rest[1:] if rest[:1] == ["--"] else rest
        if any(word.partition("=")[0] == "--signer" for word in rest[:1]):  # the program would get it, and nobody check
            raise UsageError("--signer stands behind the bundle", hint=f"belljar run --signer … {first}")
        if signer and not signer.startswith("sha256:"):
            signer = os.path.normpath(os.path.join(folder, signer))
        return Target(manifest=path, command=(), folder=folder, extra=tuple(extra), signer=signer)
    if first.endswith(_SCRIPT):
        if not os.path.isfile(os.path.join(folder, first)):
            raise UsageError(f"{first}: no such script")
        return Target(manifest=None, command=(_interpreter(), first, *rest), folder=folder, extra=())
    runs = _on_path(first) is not None
    hint = (
        "to run a command, put -- before it: belljar run -- COMMAND…"
        if runs
        else "expected APP.yaml, APP.bell, SCRIPT.py or -- COMMAND…"
    )
    raise UsageError(f"{first}: neither a manifest, a bundle nor a Python script", hint=hint)


def _interpreter() -> str:
    """Return the interpreter for a script: of the active virtual environment, else of PATH."""
    environment = os.environ.get("VIRTUAL_ENV")
    candidate = os.path.join(environment, "bin", "python") if environment else ""
    return candidate if candidate and os.access(candidate, os.X_OK) else "python3"


def passed_names() -> tuple[str, ...]:
    """Return the names of the caller's variables that a derived manifest lets through, if they are set.

    Whether they are is not asked here: the names are measured, and must not depend on who asks.
    """
    return (*_PASSED, *_PASSED_PYTHON)


def name_of(command: tuple[str, ...]) -> str:
    """Return what to call the enclave: the script if there is one, else the program."""
    script = next((word for word in command[1:] if word.endswith(_SCRIPT) and not word.startswith("-")), command[0])
    stem = os.path.splitext(os.path.basename(script))[0].lower()
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in stem)[:_MAX_NAME]
    return plain.strip("-") or "enclave"


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a run.

    Raises:
        UsageError: says what it may be.
    """
    plain = name.isascii() and name.replace("-", "").isalnum() and name == name.lower() and not name.startswith("-")
    if not plain or len(name) > _MAX_NAME:
        raise UsageError(f"name {name!r}: expected up to {_MAX_NAME} lower-case letters, digits and dashes")


def is_shown(folder: str) -> bool:
    """Say whether a working directory is brought into the enclave: not a home, not a folder of the system."""
    home = os.path.realpath(os.path.expanduser("~"))
    place = os.path.realpath(folder)
    of_system = place in _SYSTEM_FOLDERS or place.startswith((*_MADE_ANEW, "/etc/", "/boot/"))
    return not of_system and place != home and os.path.dirname(place) not in ("/home", os.path.dirname(home))


def files_named(command: tuple[str, ...], folder: str, *, shown: bool) -> tuple[str, ...]:
    """Return arguments that name existing files which do not come with the working directory: scripts and inputs.

    Args:
        command: program and arguments.
        folder: the working directory.
        shown: whether that is brought in whole.
    """
    found: list[str] = []
    below = folder.rstrip("/") + "/"
    for word in command[1:]:
        path = os.path.normpath(os.path.join(folder, word)) if word and not word.startswith("-") else ""
        known = (shown and path.startswith(below)) or path.startswith(_MADE_ANEW)
        if path and not known and os.path.isfile(path):
            found.append(path)
    return tuple(dict.fromkeys(found))


def programs_named(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the programs that a shell or a wrapper is told to run: `sh -c "ls | wc"`, `env A=1 python3 …`.

    Any word that is a program on the PATH counts: one too many is only measured, one too few would not be found.
    """
    name = os.path.basename(command[0])
    if name in _SHELLS:
        words = _shell_text(command).translate(_SHELL_SIGNS).split()
    else:
        words = list(command[1:]) if name in _WRAPPERS else []
    found = (_on_path(word) for word in words)
    return tuple(dict.fromkeys(path for path in found if path))


def _shell_text(command: tuple[str, ...]) -> str:
    """Return what stands behind the option -c, alone or among others (`bash -ec TEXT`)."""
    for at, option in enumerate(command[:-1]):
        if at and option.startswith("-") and not option.startswith("--") and "c" in option:
            return command[at + 1]
    return ""


def _on_path(word: str) -> str | None:
    if "/" in word:
        folders = [os.path.dirname(word)] if word.startswith("/") else []
    else:
        folders = [folder for folder in os.environ.get("PATH", "").split(":") if folder.startswith("/")]
    for folder in folders:
        path = os.path.join(folder, os.path.basename(word))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None
