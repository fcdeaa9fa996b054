"""`tsm`: what the processor of a confidential machine says, through configfs (Linux, testing/configfs-tsm).

In come 64 bytes; out comes a report of SEV-SNP or TDX, whichever `provider` names. A folder is made for each report and
removed again; `generation` must be the number of our writes, or somebody else wrote as well. This root derives nothing
and certifies nothing: its report over a run's key is all that stands behind that key. Written after the kernel's
documentation and tested against a folder that behaves so; no such hardware was there to try it on.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from belljar.attestation.claims import Tee
from belljar.attestation.errors import PlatformRefused, RootCannot
from belljar.attestation.keys import DEFAULT_ALGORITHM

from .root import HardwareQuote, PlatformId

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from belljar.attestation.dice.inputs import DiceInputs
    from belljar.attestation.keys import PublicKey

FOLDER = "/sys/kernel/config/tsm/report"
MAX_REPORT_BYTES = 32 * 1024  # TSM_REPORT_OUTBLOB_MAX
_MAX_TEXT_BYTES = 4096
REPORT_DATA_BYTES = 64
_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Provider:
    tee: Tee
    media_type: str
    strength: str


_PROVIDERS = {
    "sev_guest": _Provider(
        tee=Tee.SEV_SNP,
        media_type="application/vnd.amd.snp-report",
        strength="AMD SEV-SNP: this machine's memory is encrypted and measured by the processor; not tried on hardware",
    ),
    "tdx_guest": _Provider(
        tee=Tee.TDX,
        media_type="application/vnd.intel.tdx-quote",
        strength="Intel TDX: this machine's memory is encrypted and measured by the processor; not tried on hardware",
    ),
}


class TsmRoot:
    """A root of trust in the processor; see `RootOfTrust` for what each method does."""

    kind = "tsm"
    simulated = False
    algorithm = DEFAULT_ALGORITHM
    chain: tuple[bytes, ...] = ()
    platform = PlatformId(bytes(20))  # the report names the processor; nothing below it has a name

    def __init__(self, interface: Interface, provider: str) -> None:
        if provider not in _PROVIDERS:
            raise PlatformRefused(f"{interface.folder}: provider {provider}, expected one of {', '.join(_PROVIDERS)}")
        self._interface = interface
        self._name = provider
        self._provider = _PROVIDERS[provider]

    @property
    def tee(self) -> Tee:
        """The kind of environment that evidence names."""
        return self._provider.tee

    @property
    def strength(self) -> str:
        """One sentence."""
        return self._provider.strength

    def derive(self, salt: bytes, info: bytes, *, platform: PlatformId | None = None) -> bytes:  # noqa: ARG002 - the seam's
        """Refuse: configfs-tsm derives no keys."""
        raise RootCannot("configfs-tsm derives no keys, so nothing can be sealed", hint="use a key broker, or a TPM")

    def certify(self, inputs: DiceInputs, subject: PublicKey) -> bytes:  # noqa: ARG002 - the seam's
        """Refuse: the report vouches for keys."""
        raise RootCannot("configfs-tsm certifies no keys: its report vouches for them")

    def quote(self, report_data: bytes) -> HardwareQuote | None:
        """Return the processor's report over 64 bytes."""
        if len(report_data) != REPORT_DATA_BYTES:
            raise PlatformRefused(f"{len(report_data)} bytes of report data, expected {REPORT_DATA_BYTES}")
        found = report(self._interface, report_data)
        if found.provider != self._name:
            raise PlatformRefused(f"{self._interface.folder}: provider {found.provider}, expected {self._name}")
        return HardwareQuote(media_type=self._provider.media_type, content=found.content, auxiliary=found.auxiliary)

    def count(self) -> int:
        """Refuse: there is no counter."""
        raise RootCannot("configfs-tsm has no counter", hint="use a key broker, or a TPM")

    def count_up(self) -> int:
        """Refuse: there is no counter."""
        raise RootCannot("configfs-tsm has no counter", hint="use a key broker, or a TPM")

    def close(self) -> None:
        """There is nothing to let go of."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """There is nothing to let go of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TsmReport:
    """What `outblob`, `provider` and `auxblob` held."""

    provider: str
    content: bytes
    auxiliary: bytes


class Files(Protocol):
    """The few things that are done with configfs; paths are whole, errors are OSError."""

    def make(self, path: str) -> None:
        """Make a folder; its files come with it."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Write a file in one write: `inblob` takes no second."""
        ...

    def read(self, path: str, limit: int) -> bytes:
        """Return a file's content, at most one byte more than the limit."""
        ...

    def remove(self, path: str) -> None:
        """Remove a folder; its files go with it."""
        ...


class HostFiles:
    """Those of this system."""

    def make(self, path: str) -> None:
        """Make a folder."""
        os.mkdir(path)

    def write(self, path: str, content: bytes) -> None:
        """Write a file in one write."""
        fd = os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            os.write(fd, content)
        finally:
            os.close(fd)

    def read(self, path: str, limit: int) -> bytes:
        """Return a file's content."""
        found = b""
        with open(path, "rb", buffering=0) as file:
            while part := file.read(limit + 1 - len(found)):
                found += part
        return found

    def remove(self, path: str) -> None:
        """Remove a folder."""
        os.rmdir(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Where reports are made.

    Attributes:
        random: names a folder for each, 8 bytes at a time.
        folder: of the interface.
        files: how it is reached.
    """

    random: Callable[[int], bytes]
    folder: str = FOLDER
    files: Files = field(default_factory=HostFiles)


def open_tsm(interface: Interface) -> TsmRoot:
    """Return the processor's root, once it has made a report: `provider` can be read from nothing less.

    Raises:
        PlatformRefused: there is no such interface, or it does not answer as it should.
    """
    return TsmRoot(interface, report(interface, bytes(REPORT_DATA_BYTES)).provider)


def report(interface: Interface, report_data: bytes) -> TsmReport:
    """Return a report over at most 64 bytes; one whose folder somebody else wrote to is made again.

    Raises:
        PlatformRefused: there is no such interface, or it does not answer as it should.
    """
    files, folder = interface.files, interface.folder
    for _ in range(_TRIES):
        path = f"{folder}/belljar-{interface.random(8).hex()}"
        try:
            files.make(path)
        except OSError as error:
            hint = "expected Linux 6.7 or newer in a confidential machine, and configfs mounted"
            raise PlatformRefused(f"{folder}: {os.strerror(error.errno or 0)}", hint=hint) from error
        try:
            found = _made(files, path, report_data)
        except OSError as error:
            raise PlatformRefused(f"{path}: {os.strerror(error.errno or 0)}") from error
        finally:
            files.remove(path)
        if found is not None:
            return found
    raise PlatformRefused(f"{folder}: somebody else writes to our reports")


def _made(files: Files, path: str, report_data: bytes) -> TsmReport | None:
    """Return the report of one folder, or None where somebody else wrote between."""
    before = _number(files, path)
    files.write(f"{path}/inblob", report_data)
    try:
        content = _read(files, f"{path}/outblob", MAX_REPORT_BYTES)
        auxiliary = _auxiliary(files, path)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EWOULDBLOCK):
            return None
        raise
    provider = _read(files, f"{path}/provider", _MAX_TEXT_BYTES).decode("ascii", "replace").strip()
    if _number(files, path) != before + 1:
        return None
    if not content:
        raise PlatformRefused(f"{path}: an empty report")
    return TsmReport(provider=provider, content=content, auxiliary=auxiliary)


def _auxiliary(files: Files, path: str) -> bytes:
    """Return `auxblob`, empty where the provider has none."""
    try:
        return _read(files, f"{path}/auxblob", MAX_REPORT_BYTES)
    except FileNotFoundError:
        return b""


def _number(files: Files, path: str) -> int:
    text = _read(files, f"{path}/generation", _MAX_TEXT_BYTES).strip()
    if not text.isdigit() or len(text) > 18:
        raise PlatformRefused(f"{path}/generation: not a number")
    return int(text)


def _read(files: Files, path: str, limit: int) -> bytes:
    found = files.read(path, limit)
    if len(found) > limit:
        raise PlatformRefused(f"{path}: more than {limit} bytes")
    return found
