"""`soft`: a root of trust in a file. It simulates: whoever can read the file, or is root here, can be this platform.

In come a folder, a random source and the time; out comes a root whose secret lies in memory of its own. The file is
made on first use, whole or not at all, and only its owner can read it. A new generation (`rotate`) gives the platform
a new name, key and CA; what older generations sealed still opens, and nothing new is made with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from belljar.attestation.claims import Tee
from belljar.attestation.crypto.compare import same
from belljar.attestation.crypto.kdf import derive
from belljar.attestation.dice.certificate import (
    PlatformFacts,
    Validity,
    ca_certificate,
    layer_certificate,
    platform_certificate,
)
from belljar.attestation.dice.keypair import key_id, key_pair
from belljar.attestation.errors import PlatformRefused
from belljar.attestation.keys import DEFAULT_ALGORITHM, PublicKey, SigningKey, generate

from . import counter, layout
from .files import StateFolder, open_folder
from .memory import SecretMemory

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from belljar.attestation.dice.inputs import DiceInputs

    from .layout import Generation
    from .root import HardwareQuote, PlatformId

NAME = "soft.platform"
YEAR_S = 31_556_952
CERTIFICATE_YEARS = 10
_CLOCK_SKEW_S = 300
_STRENGTH = "simulated: a secret in a file, so whoever reads the file or is root on this machine can forge everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a new generation is made from.

    Attributes:
        random: gives unpredictable bytes, such as `os.urandom`.
        now: seconds since 1970.
        algorithm: of the platform's key and of everything below it.
    """

    random: Callable[[int], bytes]
    now: int
    algorithm: str = DEFAULT_ALGORITHM


class SoftRoot:
    """A root of trust in a file; see `RootOfTrust` for what each method does. Close it when done."""

    kind = "soft"
    tee = Tee.SOFT
    simulated = True

    def __init__(self, folder: StateFolder, memory: SecretMemory, generations: tuple[Generation, ...]) -> None:
        self._folder = folder
        self._memory = memory
        self.generations = generations
        self._key = self._checked_key()

    @property
    def strength(self) -> str:
        """One sentence, with what kind of memory the secret is in."""
        memory = {
            "memfd_secret": "memory that the kernel does not map",
            "locked": "memory that is not swapped",
            "ordinary": "ordinary memory, since this system locks none",
        }[self._memory.kind]
        return f"{_STRENGTH}; while in use it is in {memory}"

    @property
    def platform(self) -> PlatformId:
        """The newest generation's name."""
        return self.generations[0].platform

    @property
    def algorithm(self) -> str:
        """The algorithm of the platform's key and of everything below it."""
        return self.generations[0].algorithm

    @property
    def chain(self) -> tuple[bytes, ...]:
        """Certificates of the platform and of its CA."""
        newest = self.generations[0]
        return newest.certificate, newest.ca

    def derive(self, salt: bytes, info: bytes, *, platform: PlatformId | None = None) -> bytes:
        """Return 32 bytes that follow from the secret of one generation."""
        return derive(layout.SECRET_BYTES, self._secret(self._place(platform)), salt, info)

    def certify(self, inputs: DiceInputs, subject: PublicKey) -> bytes:
        """Return a layer's certificate, signed by the newest generation's key."""
        return layer_certificate(self._key, subject, inputs)

    def quote(self, report_data: bytes) -> HardwareQuote | None:  # noqa: ARG002 - the seam's: there is no hardware
        """Return None: there is no hardware."""
        return None

    def count(self) -> int:
        """Return the counter in the folder; copying the folder back sets it back, and nothing notices."""
        with self._folder.locked():
            return counter.read(self._folder, self._counter_key)

    def count_up(self) -> int:
        """Add one to the counter."""
        with self._folder.locked():
            value = counter.read(self._folder, self._counter_key) + 1
            counter.write(self._folder, self.platform, self._counter_key(self.platform), value)
            return value

    def close(self) -> None:
        """Zero the secret and let go of the folder."""
        self._memory.close()
        self._folder.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close."""
        self.close()

    def grown(self, birth: Birth) -> SoftRoot:
        """Return the root with a new newest generation, not stored yet; this one is not to be used any more."""
        if len(self.generations) == layout.MAX_GENERATIONS:
            self._memory.close()
            raise PlatformRefused(
                f"{self._folder.path}: {layout.MAX_GENERATIONS} generations, expected fewer to add one"
            )
        return _grown(self._folder, self._memory, self.generations, birth)

    def _secret(self, place: int) -> memoryview:
        start = layout.SECRETS + place * layout.SECRET_BYTES
        return self._memory.view[start : start + layout.SECRET_BYTES]

    def _place(self, platform: PlatformId | None) -> int:
        for place, item in enumerate(self.generations):
            if platform is None or same(platform, item.platform):
                return place
        name = (platform or b"").hex()
        raise PlatformRefused(f"this platform is {self.platform.hex()} and was never {name}")

    def _checked_key(self) -> SigningKey:
        """Return the platform's key, once it is the one that is certified."""
        newest = self.generations[0]
        key = key_pair(newest.algorithm, self._secret(0))
        if not same(key_id(key.public), newest.platform):
            raise PlatformRefused(f"{self._folder.path}/{NAME}: the secret is not that of the certified platform")
        return key

    def _counter_key(self, platform: PlatformId) -> bytes:
        return self.derive(b"", counter.INFO, platform=platform)

    def check(self) -> None:
        """Return if the platform file is not older than the counter; the folder's lock must be held.

        Raises:
            PlatformRefused: it was set back, or the counter is damaged.
        """
        counter.read(self._folder, self._counter_key)

    def store(self, *, replace: bool, value: int | None = None) -> None:
        """Write both files; the folder's lock must be held.

        Args:
            replace: whether a platform is there already: then its file goes first, or else the counter, so that a crash
                between the two never leaves a counter of a platform that does not exist.
            value: of the counter; None to keep what is there.
        """
        if value is None:
            value = counter.read(self._folder, self._counter_key)
        key = self._counter_key(self.platform)
        parts = layout.pack(self._memory.view[layout.SECRETS : layout.HEAD_BYTES - 4], self.generations)
        if not replace:
            counter.write(self._folder, self.platform, key, value)
        self._folder.write(NAME, parts, replace=replace)
        if replace:
            counter.write(self._folder, self.platform, key, value)


def open_soft(path: str) -> SoftRoot:
    """Return the platform in a folder.

    Raises:
        PlatformRefused: there is none, it is damaged or was set back, or others can read it.
    """
    folder = open_folder(path, create=False)
    try:
        with folder.locked():
            return _load(folder)
    except BaseException:
        folder.close()
        raise


def make_soft(path: str, birth: Birth) -> SoftRoot:
    """Return the platform in a folder, made if there is none: two that start at once end with the same one.

    Raises:
        PlatformRefused: it cannot be made, is damaged, or others can read it.
    """
    folder = open_folder(path, create=True)
    try:
        with folder.locked():
            if folder.holds(NAME):
                return _load(folder)
            made = _grown(folder, SecretMemory(layout.HEAD_BYTES), (), birth)
            made.store(replace=False, value=0)
            return made
    except BaseException:
        folder.close()
        raise


def rotate_soft(path: str, birth: Birth) -> SoftRoot:
    """Return the platform in a folder with a new newest generation; what the older ones sealed still opens.

    Raises:
        PlatformRefused: there is none, it has too many generations, or it cannot be written.
    """
    folder = open_folder(path, create=False)
    try:
        with folder.locked():
            older = _load(folder)
            made = older.grown(birth)
            made.store(replace=True)
            return made
    except BaseException:
        folder.close()
        raise


def _load(folder: StateFolder) -> SoftRoot:
    """Return the platform in a folder whose lock is held."""
    path = f"{folder.path}/{NAME}"
    fd = folder.open(NAME)
    if fd is None:
        raise PlatformRefused(f"{folder.path}: there is no platform", hint="belljar platform init makes one")
    memory = SecretMemory(layout.HEAD_BYTES)
    try:
        root = SoftRoot(folder, memory, _read(fd, memory, path))
        root.check()
    except BaseException:
        memory.close()
        raise
    return root


def _read(fd: int, memory: SecretMemory, path: str) -> tuple[Generation, ...]:
    with open(fd, "rb", buffering=0) as file:
        if file.readinto(memory.view) != layout.HEAD_BYTES:
            raise PlatformRefused(f"{path}: damaged: it is too short", hint="put it back from a backup")
        return layout.unpack(memory.view, file.read(layout.MAX_PUBLIC_BYTES + 1), path)


def _grown(folder: StateFolder, memory: SecretMemory, older: tuple[Generation, ...], birth: Birth) -> SoftRoot:
    """Return a root with one more secret in front of those in memory."""
    first, size = layout.SECRETS, layout.SECRET_BYTES
    end = first + layout.MAX_GENERATIONS * size
    try:
        memory.view[first + size : end] = bytes(memory.view[first : end - size])
        # 64 bytes of entropy make 32: the profile wants a secret conditioned from twice its size
        memory.view[first : first + size] = derive(size, birth.random(64), b"", b"belljar.uds/1")
        newest = _certified(key_pair(birth.algorithm, memory.view[first : first + size]), birth, folder.path)
        return SoftRoot(folder, memory, (newest, *older))
    except BaseException:
        memory.close()
        raise


def _certified(key: SigningKey, birth: Birth, name: str) -> Generation:
    """Return a new generation: its CA's key signs once and is forgotten."""
    validity = Validity(start=birth.now - _CLOCK_SKEW_S, end=birth.now + CERTIFICATE_YEARS * YEAR_S)
    authority = generate(birth.algorithm)
    ca = ca_certificate(authority, SoftRoot.kind, validity)
    certificate = platform_certificate(authority, ca, key.public, PlatformFacts(kind=SoftRoot.kind), validity)
    return layout.generation(birth.algorithm, certificate, ca, name)
