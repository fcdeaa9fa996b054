"""Judge a manifest that is well formed: what is risky, what will surprise, what hides what.

In come a parsed manifest and what it resolves to; out come findings with their place. Looks at the host's files, but
changes nothing and runs nothing.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pathspec import GitIgnoreSpec

from belljar.loader.find import unmeasured

from .model import EncryptedMount, HashedMount, HostMount, TmpfsMount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from belljar.loader.measure import Measured

    from .model import Mount
    from .parse import ParsedManifest

ERROR = "error"
WARNING = "warning"
NOTE = "note"

_SECRET_NAME = re.compile(r"(?i)(secret|token|passw|credential|private_?key|api_?key|access_?key)")
_SECRET_VALUE = re.compile(r"-----BEGIN|^(AKIA|ASIA)[0-9A-Z]{16}$|^gh[pousr]_[A-Za-z0-9]{20,}$|^eyJ[\w-]+\.eyJ")
_RANDOM_LENGTH = 24  # shorter texts have too little in them to tell words from keys
_RANDOM_BITS = 4.0  # bits per character: hexadecimal keys have 3.5 to 4, base64 more, words less
_VERSION_CONTROL = (".git", ".hg", ".svn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something to know about a manifest.

    Attributes:
        level: "error", "warning" or "note".
        place: "file:line:column".
        message: what was found, and why it matters.
    """

    level: str
    place: str
    message: str


def judge(parsed: ParsedManifest, measured: Measured) -> list[Finding]:
    """Return everything there is to say about a manifest, in the order of the file."""
    found = [
        *_insecure(parsed),
        *_environment(parsed),
        *_mounts(parsed),
        *_program(parsed, measured),
        *_trees(parsed, measured),
    ]
    return sorted(found, key=lambda finding: _line(finding.place))


def _line(place: str) -> tuple[int, int]:
    _, line, column = place.rsplit(":", 2)
    return int(line), int(column)


def _insecure(parsed: ParsedManifest) -> Iterator[Finding]:
    """Name the keys in use that give protection away."""
    manifest = parsed.manifest
    if manifest.network.insecure_host:
        place = parsed.place("network", "insecure_host")
        yield Finding(level=NOTE, place=place, message="insecure: the program has the host's network")
    yield from _insecure_network(parsed)
    if manifest.integrity.insecure_continue:
        place = parsed.place("integrity", "insecure_continue")
        message = "insecure: the enclave goes on when a host file is not what was measured"
        yield Finding(level=NOTE, place=place, message=message)
    if manifest.insecure_exec:
        message = "insecure: whoever runs the enclave can start other programs in it, and see all of it"
        yield Finding(level=NOTE, place=parsed.place("insecure_exec"), message=message)
    for name in manifest.system_calls.insecure_allow:
        place = parsed.place_in(("system_calls", "insecure_allow"), name)
        message = f"insecure: the system call {name} is allowed, with any arguments"
        yield Finding(level=NOTE, place=place, message=message)


def _insecure_network(parsed: ParsedManifest) -> Iterator[Finding]:
    network = parsed.manifest.network
    lists = ("listen", network.listen), ("connect", network.connect), ("internet", network.internet)
    messages = {
        "insecure_plain": "insecure: bytes pass without TLS and without attestation",
        "insecure_ra_tls": "insecure: a certificate with evidence shows that an enclave once had its key, not when",
        "insecure_private": "insecure: the name may lead into private networks, and to this machine",
    }
    for name, entries in lists:
        for number, entry in enumerate(entries):
            for key, message in messages.items():
                if getattr(entry, key, False):
                    place = parsed.place("network", name, number, key)
                    yield Finding(level=NOTE, place=place, message=message)


def _environment(parsed: ParsedManifest) -> Iterator[Finding]:
    for name, value in parsed.manifest.environment.set.items():
        if _SECRET_NAME.search(name) or _SECRET_VALUE.search(value) or _looks_random(value):
            message = f"{name} looks like a secret: manifests are measured and shown to others, pass it another way"
            yield Finding(level=WARNING, place=parsed.place("environment", "set", name), message=message)


def _looks_random(value: str) -> bool:
    if len(value) < _RANDOM_LENGTH or any(c in value for c in " /:,;"):
        return False
    counts = Counter(value).values()
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts)
    return bits >= _RANDOM_BITS and any(c.isdigit() for c in value)


def _program(parsed: ParsedManifest, measured: Measured) -> Iterator[Finding]:
    message = unmeasured(measured.resolved, measured.trees, measured.decided.executable)
    if message:
        yield Finding(level=WARNING, place=parsed.place("argv"), message=message)


def _mounts(parsed: ParsedManifest) -> Iterator[Finding]:
    for mount in parsed.manifest.mounts:
        place = parsed.place_of_mount(mount.path)
        others = parsed.manifest.mounts
        for message in (*_permissions(mount), *_hidden_by(mount, others), *_volumes_in(mount, others)):
            yield Finding(level=WARNING, place=place, message=message)


def _permissions(mount: Mount) -> Iterator[str]:
    writable = isinstance(mount, TmpfsMount | EncryptedMount) or (isinstance(mount, HostMount) and mount.writable)
    if writable and not isinstance(mount, HashedMount) and mount.insecure_executable:
        yield f"{mount.path} is writable and executable: programs nobody measured can run"
    if not isinstance(mount, TmpfsMount) and _world_writable(mount.source):
        yield f"{mount.source} can be written by every user of this machine"


def _hidden_by(mount: Mount, mounts: Sequence[Mount]) -> Iterator[str]:
    for outer in mounts:
        if isinstance(outer, HashedMount | HostMount) and mount.path.startswith(outer.path.rstrip("/") + "/"):
            hidden = os.path.join(outer.source, os.path.relpath(mount.path, outer.path))
            if _holds_something(hidden):
                yield f"the mount at {mount.path} hides {hidden}"


def _volumes_in(mount: Mount, mounts: Sequence[Mount]) -> Iterator[str]:
    """Say which volumes, or the keys beside them, a tree of the host shows to the program."""
    if not isinstance(mount, HashedMount | HostMount):
        return
    for volume in mounts:
        if isinstance(volume, EncryptedMount) and volume.key != "ephemeral" and _shows(mount, volume.source):
            yield f"{mount.path} shows {volume.source}, the volume of {volume.path}: exclude it, and its key"


def _shows(mount: HashedMount | HostMount, path: str) -> bool:
    below = os.path.relpath(path, mount.source)
    if below.startswith(".."):
        return False
    if isinstance(mount, HostMount):
        return True
    included = mount.include is None or GitIgnoreSpec.from_lines(mount.include).match_file(below)
    return included and not GitIgnoreSpec.from_lines(mount.exclude).match_file(below)


def _world_writable(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _holds_something(path: str) -> bool:
    if os.path.isdir(path):
        return bool(os.listdir(path))
    return os.path.exists(path)


def _trees(parsed: ParsedManifest, measured: Measured) -> Iterator[Finding]:
    for tree in measured.trees:
        if tree.where.path not in parsed.mounts:  # a program's own
            continue
        place = parsed.place_of_mount(tree.where.path, "source")
        for left in tree.measured.left_out[:3]:
            message = f"{left.decode(errors='backslashreplace')} is a socket, fifo or device: it is not in the tree"
            yield Finding(level=NOTE, place=place, message=message)
        kept = {folder.decode(errors="replace").split("/")[-1] for folder, _ in tree.measured.listed}
        for name in _VERSION_CONTROL:
            if name in kept:
                message = f"holds {name}: exclude it, or every commit is another enclave"
                yield Finding(level=NOTE, place=place, message=message)
        writable = _writable_below(tree.where.source, [folder for folder, _ in tree.measured.listed if folder])
        if writable:
            yield Finding(
                level=WARNING, place=place, message=f"{writable} can be written by every user of this machine"
            )


def _writable_below(source: str, folders: list[bytes]) -> str | None:
    paths = (os.path.join(source, os.fsdecode(folder)) for folder in folders)
    return next((path for path in paths if _world_writable(path)), None)
