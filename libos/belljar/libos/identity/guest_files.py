"""The guest's files for evidence: Gramine's /dev/attestation, and configfs-tsm's /sys/kernel/config/tsm/report. Warm.

In comes an `Attestor`; out comes a tree of pseudo files. What a process wrote to `user_report_data` and `target_info`
is its own, as in Gramine, where these belong to a process; entries of configfs-tsm belong to all, as in the kernel, and
`generation` tells who was raced. Semantics: libos/src/fs/dev/attestation.c of Gramine (buffers are padded with zeros or
cut, a key has 16 bytes or EACCES); Documentation/ABI/testing/configfs-tsm-report of Linux.
"""

from __future__ import annotations

from errno import EACCES, EINVAL

from belljar.fs.pseudo import PseudoFile, PseudoFolder

from .attestor import GUEST, NotAttested
from .processes import process_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .attestor import Attestor
    from .processes import Process

REPORT_DATA_BYTES, TARGET_BYTES, REPORT_BYTES, KEY_BYTES = 64, 512, 432, 16
MAX_PROCESSES = 1024  # whose bytes are kept; of more, those that wrote longest ago start anew
MAX_KEYS = 32
MAX_ENTRIES = 64
MAX_SECRET_BYTES, MAX_SEALED_BYTES = 32 << 10, 33 << 10
PROVIDER = b"belljar_guest\n"
_MAX_PRIVLEVEL = 3  # TSM_PRIVLEVEL_MAX
POLICIES = ("measurement", "signer")
_SPECIAL = ("_sgx_mrenclave", "_sgx_mrsigner")


def evidence_tree(attestor: Attestor, peers: PseudoFolder | None = None) -> PseudoFolder:
    """Return the tree: `attestation` for /dev/attestation, `report` for /sys/kernel/config/tsm/report.

    Args:
        attestor: who answers, of what its `begin` is told.
        peers: what the gateway says of who is connected; None without a gateway.
    """
    entries = PseudoFolder({}, make_folder=lambda _name: _Entry(attestor).folder(), most=MAX_ENTRIES)
    own = _Gramine(attestor).folder()
    own.children["identity"] = _identity(attestor)
    own.children["sealing"] = PseudoFolder({}, make_folder=lambda _name: _Sealing(attestor).folder(), most=MAX_ENTRIES)
    if peers is not None:
        own.children["peers"] = peers
    return PseudoFolder({"attestation": own, "report": entries})


def _identity(attestor: Attestor) -> PseudoFolder:
    """Return the files for programs that end TLS themselves: a key of theirs, and who answers for it."""

    def part(number: int) -> PseudoFile:
        return PseudoFile(lambda _pid: _asked(lambda: attestor.identity()[number]))

    return PseudoFolder({"key.pem": part(0), "cert.pem": part(1), "chain.pem": part(2)})


def _asked(ask: Callable[[], bytes]) -> bytes:
    """Return an answer, or EACCES where there is none: what Gramine gives its programs."""
    try:
        return ask()
    except NotAttested as error:
        raise OSError(EACCES, str(error)) from error


class _Gramine:
    """/dev/attestation."""

    def __init__(self, attestor: Attestor) -> None:
        self._attestor = attestor
        self._written: dict[Process, dict[str, bytes]] = {}
        self._keys: dict[str, bytes] = {}

    def folder(self) -> PseudoFolder:
        ask = self._attestor
        special = {name: self._special(name) for name in _SPECIAL}
        return PseudoFolder(
            {
                "attestation_type": PseudoFile(lambda _pid: _asked(self._type)),
                "user_report_data": self._own("user_report_data", REPORT_DATA_BYTES),
                "target_info": self._own("target_info", TARGET_BYTES),
                "my_target_info": PseudoFile(lambda _pid: _asked(ask.target)),
                "report": PseudoFile(self._report),
                "peer_report": PseudoFile(None, self._check, most=REPORT_BYTES, fresh=True),
                "quote": PseudoFile(lambda pid: _asked(lambda: ask.quote(self._report_data(pid)))),
                "eat": PseudoFile(self._eat),
                "keys": PseudoFolder({"default": self._key("default"), **special}, make_file=self._key, most=MAX_KEYS),
            }
        )

    def _type(self) -> bytes:
        return b"dcap" if self._attestor.certifies() else b"none"

    def _own(self, name: str, size: int) -> PseudoFile:
        """Return a file that keeps what each process wrote; it reads as empty, as Gramine's does."""

        def save(pid: int, content: bytes) -> None:
            process = process_of(pid, self._attestor.roots())
            written = {**self._written.pop(process, {}), name: content[:size].ljust(size, b"\0")}
            while len(self._written) >= MAX_PROCESSES:
                del self._written[next(iter(self._written))]
            self._written[process] = written

        return PseudoFile(lambda _pid: b"", save, most=1 << 16, fresh=True)

    def _of_process(self, pid: int) -> tuple[bytes, bytes]:
        written = self._written.get(process_of(pid, self._attestor.roots()), {})
        return written.get("user_report_data", bytes(REPORT_DATA_BYTES)), written.get(
            "target_info", bytes(TARGET_BYTES)
        )

    def _report_data(self, pid: int) -> bytes:
        return self._of_process(pid)[0]

    def _report(self, pid: int) -> bytes:
        report_data, target = self._of_process(pid)
        return _asked(lambda: self._attestor.report(report_data, target))

    def _check(self, _pid: int, content: bytes) -> None:
        """Refuse the report of another enclave that was not made here for this one."""

        def check() -> bytes:
            self._attestor.check_report(content)
            return b""

        _asked(check)

    def _eat(self, pid: int) -> bytes:
        report_data = self._report_data(pid)
        return _asked(lambda: self._attestor.token(GUEST, report_data, report_data))

    def _special(self, name: str) -> PseudoFile:
        return PseudoFile(lambda _pid: _asked(lambda: self._attestor.key(name)))

    def _key(self, name: str) -> PseudoFile:
        """Return the file of a key that programs of the enclave share; it ends with the enclave."""

        def save(_pid: int, content: bytes) -> None:
            if len(content) != KEY_BYTES:
                raise OSError(EACCES, "not 16 bytes")
            self._keys[name] = content

        return PseudoFile(lambda _pid: self._keys.get(name, b""), save, most=1 << 12)


class _Sealing:
    """One folder in /dev/attestation/sealing: a secret is written and read back sealed, or the other way round."""

    def __init__(self, attestor: Attestor) -> None:
        self._attestor = attestor
        self._policy = ""
        self._sealed = b""

    def folder(self) -> PseudoFolder:
        return PseudoFolder(
            {
                "policy": PseudoFile(None, self._choose, most=16, fresh=True),
                "secret": PseudoFile(self._unseal, self._seal, most=MAX_SECRET_BYTES, fresh=True),
                "sealed": PseudoFile(self._read, self._keep, most=MAX_SEALED_BYTES, fresh=True),
            }
        )

    def _choose(self, _pid: int, content: bytes) -> None:
        policy = content.decode("ascii", "replace").strip()
        if policy not in POLICIES:
            raise OSError(EINVAL, "not a policy")
        self._policy = policy

    def _seal(self, _pid: int, content: bytes) -> None:
        if not self._policy:
            raise OSError(EINVAL, "no policy")
        self._sealed = _asked(lambda: self._attestor.seal(content, self._policy))

    def _unseal(self, _pid: int) -> bytes:
        if not self._sealed:
            raise OSError(EINVAL, "nothing sealed")
        return _asked(lambda: self._attestor.unseal(self._sealed))

    def _read(self, _pid: int) -> bytes:
        return self._sealed

    def _keep(self, _pid: int, content: bytes) -> None:
        self._sealed = content


class _Entry:
    """One folder in /sys/kernel/config/tsm/report."""

    def __init__(self, attestor: Attestor) -> None:
        self._attestor = attestor
        self._inblob = b""
        self._generation = 0
        self._outblob: tuple[int, bytes] = (0, b"")

    def folder(self) -> PseudoFolder:
        return PseudoFolder(
            {
                "inblob": PseudoFile(None, self._ask, most=REPORT_DATA_BYTES),
                "outblob": PseudoFile(self._answer),
                "generation": PseudoFile(lambda _pid: b"%d\n" % self._generation),
                "provider": PseudoFile(lambda _pid: PROVIDER),
                "privlevel": PseudoFile(None, self._choose_level, most=16),
                "privlevel_floor": PseudoFile(lambda _pid: b"0\n"),
            }
        )

    def _ask(self, _pid: int, content: bytes) -> None:
        self._inblob = content
        self._generation += 1

    def _choose_level(self, _pid: int, content: bytes) -> None:
        """Take a level as the kernel does; there is one level here, so it changes nothing but the generation."""
        try:
            level = int(content.decode("ascii").strip(), 0)
        except ValueError:
            level = -1
        if not 0 <= level <= _MAX_PRIVLEVEL:
            raise OSError(EINVAL, "not a level")
        self._generation += 1

    def _answer(self, _pid: int) -> bytes:
        """Return evidence over 64 bytes; other lengths are refused, as sev_guest and tdx_guest do."""
        if len(self._inblob) != REPORT_DATA_BYTES:
            raise OSError(EINVAL, "inblob has not 64 bytes")
        if self._outblob[0] != self._generation:
            token = _asked(lambda: self._attestor.token(GUEST, self._inblob, self._inblob))
            self._outblob = self._generation, token
        return self._outblob[1]
