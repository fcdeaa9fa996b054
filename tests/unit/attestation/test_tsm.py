"""configfs-tsm: reports from a tree that behaves as the kernel documents it; there was no such hardware to try."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from belljar.attestation.claims import Claims, Purpose, Tee
from belljar.attestation.dice.enclave import Enclave
from belljar.attestation.eat.attester import Request, Run, make_evidence
from belljar.attestation.eat.verify import EatFormat, Expected, verify_evidence
from belljar.attestation.errors import EvidenceRefused, PlatformRefused, RootCannot
from belljar.attestation.evidence import Endorsements, Trust
from belljar.attestation.roots.choose import Places, choose
from belljar.attestation.roots.soft import Birth, make_soft
from belljar.attestation.roots.tsm import MAX_REPORT_BYTES, HostFiles, Interface, TsmReport, open_tsm, report
from belljar.attestation.sealing import Policy, Sealer
from belljar.attestation.steps import Trail

NOW = 1_795_000_000
ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
RUN = Run(enclave=ENCLAVE, instance=b"i" * 16, runtime="belljar", runtime_version="1", kernel="Linux 6")
REQUEST = Request(nonce=b"n" * 32, purpose=Purpose.CHANNEL, body=b"binder", now=NOW)
EXPECTED = Expected(nonce=REQUEST.nonce, purpose=REQUEST.purpose, body=REQUEST.body)
FOLDER = "/sys/kernel/config/tsm/report"
REPORT = b"report over "


def _no_second_writer(tree: ConfigfsTree) -> None:
    del tree


class ConfigfsTree:
    """The tree in memory: writes of 1 to 64 bytes to `inblob` count `generation` up, `outblob` needs one before."""

    def __init__(self) -> None:
        self.provider = b"sev_guest\n"
        self.auxiliary: bytes | None = b"certificates"
        self.content: Callable[[bytes], bytes] = lambda written: REPORT + written
        self.intrude: Callable[[ConfigfsTree], None] = _no_second_writer
        self.folders: dict[str, list[bytes]] = {}
        self.made = 0
        self.missing = False
        self.garbled = False

    def make(self, path: str) -> None:
        if self.missing:
            raise OSError(errno.ENOENT, "missing")
        assert path not in self.folders
        assert path.startswith(FOLDER)
        self.folders[path] = []
        self.made += 1

    def write(self, path: str, content: bytes) -> None:
        folder, _, name = path.rpartition("/")
        assert name == "inblob"
        if not 0 < len(content) <= 64:
            raise OSError(errno.EINVAL, "size")
        self.folders[folder].append(content)

    def read(self, path: str, limit: int) -> bytes:
        folder, _, name = path.rpartition("/")
        writes = self.folders[folder]
        if name == "generation":
            return b"many\n" if self.garbled else f"{len(writes)}\n".encode()
        if name == "provider":
            return self.provider
        if name == "outblob":
            if not writes:
                raise OSError(errno.EINVAL, "no inblob")
            content = self.content(writes[-1])
            self.intrude(self)
            return content[: limit + 1]
        if name == "auxblob" and self.auxiliary is not None:
            return self.auxiliary
        raise FileNotFoundError(errno.ENOENT, name)

    def remove(self, path: str) -> None:
        del self.folders[path]


@pytest.fixture
def tree() -> ConfigfsTree:
    return ConfigfsTree()


def interface(tree: ConfigfsTree) -> Interface:
    return Interface(random=os.urandom, folder=FOLDER, files=tree)


def test_a_report_is_what_the_tree_holds(tree: ConfigfsTree) -> None:
    assert report(interface(tree), b"d" * 64) == TsmReport(
        provider="sev_guest", content=REPORT + b"d" * 64, auxiliary=b"certificates"
    )
    tree.auxiliary = None
    assert report(interface(tree), b"d" * 64).auxiliary == b""
    assert tree.folders == {}
    assert tree.made == 2


@pytest.mark.parametrize(("provider", "tee"), [(b"sev_guest\n", Tee.SEV_SNP), (b"tdx_guest\n", Tee.TDX)])
def test_a_root_is_what_its_provider_says(tree: ConfigfsTree, provider: bytes, tee: Tee) -> None:
    tree.provider = provider
    with open_tsm(interface(tree)) as root:
        assert (root.kind, root.tee, root.simulated, root.chain) == ("tsm", tee, False, ())
        assert "not tried on hardware" in root.strength
        quote = root.quote(b"d" * 64)
    assert quote is not None
    assert quote.content == REPORT + b"d" * 64


def test_a_root_says_what_it_cannot(tree: ConfigfsTree) -> None:
    root = open_tsm(interface(tree))
    for act in (
        lambda: root.derive(b"", b""),
        root.count,
        root.count_up,
        lambda: Sealer(root=root, enclave=ENCLAVE, random=os.urandom).seal(b"x", Policy.SIGNER),
    ):
        with pytest.raises(RootCannot, match="configfs-tsm"):
            act()
    with pytest.raises(PlatformRefused, match="63 bytes of report data, expected 64"):
        root.quote(bytes(63))


def test_a_report_that_somebody_else_wrote_to_is_made_again(tree: ConfigfsTree) -> None:
    intruders = [b"x"]

    def intrude(tree: ConfigfsTree) -> None:
        if intruders:
            next(iter(tree.folders.values())).append(intruders.pop())

    tree.intrude = intrude
    assert report(interface(tree), b"d" * 64).content == REPORT + b"d" * 64
    assert tree.made == 2


def test_a_report_that_is_always_raced_for_is_refused(tree: ConfigfsTree) -> None:
    tree.intrude = lambda tree: next(iter(tree.folders.values())).append(b"x")
    with pytest.raises(PlatformRefused, match="somebody else writes to our reports"):
        report(interface(tree), b"d" * 64)

    def busy(written: bytes) -> bytes:
        del written
        raise OSError(errno.EWOULDBLOCK, "generation changed")

    tree.content = busy
    with pytest.raises(PlatformRefused, match="somebody else writes to our reports"):
        report(interface(tree), b"d" * 64)
    assert tree.folders == {}


def test_answers_that_are_none_are_refused(tree: ConfigfsTree) -> None:
    tree.content = lambda _: bytes(MAX_REPORT_BYTES + 5)
    with pytest.raises(PlatformRefused, match="outblob: more than 32768 bytes"):
        report(interface(tree), b"d" * 64)
    tree.content = lambda _: b""
    with pytest.raises(PlatformRefused, match="an empty report"):
        report(interface(tree), b"d" * 64)
    with pytest.raises(PlatformRefused, match="Invalid argument"):
        report(interface(tree), bytes(65))
    tree.garbled = True
    with pytest.raises(PlatformRefused, match="generation: not a number"):
        report(interface(tree), b"d" * 64)
    tree.missing = True
    with pytest.raises(PlatformRefused, match="No such file or directory") as caught:
        report(interface(tree), b"d" * 64)
    assert "Linux 6.7" in str(caught.value.hint)
    assert tree.folders == {}


def test_a_provider_that_is_unknown_or_changes_is_refused(tree: ConfigfsTree) -> None:
    root = open_tsm(interface(tree))
    tree.provider = b"tdx_guest\n"
    with pytest.raises(PlatformRefused, match="provider tdx_guest, expected sev_guest"):
        root.quote(bytes(64))
    tree.provider = b"\xff_guest\n"
    with pytest.raises(PlatformRefused, match="expected one of sev_guest, tdx_guest"):
        open_tsm(interface(tree))


# --- evidence


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Reads the reports of the tree above, for the seam alone: the house has rooms of its own for real ones."""

    name: str = "test reports"
    media_types: frozenset[str] = frozenset({"application/vnd.amd.snp-report"})

    def recognises(self, evidence: bytes) -> bool:
        return evidence.startswith(REPORT)

    def verify(self, evidence: bytes, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
        trail.check("report", evidence[: len(REPORT)], REPORT, passed=evidence.startswith(REPORT))
        assert endorsements.certificates == (b"certificates",)
        return Claims(
            tee=Tee.SEV_SNP, format="test", measurement=b"h" * 48, debug=False, simulated=False,
            root=next(iter(trust.roots)), report_data=evidence[len(REPORT) :], provider=b"chip",
        )  # fmt: skip


FORMATS = EatFormat(platforms={"application/vnd.amd.snp-report": Reports()})
TRUST = Trust(roots=frozenset({b"r" * 32}), now=NOW)


def test_evidence_rests_on_the_report(tree: ConfigfsTree) -> None:
    evidence = make_evidence(open_tsm(interface(tree)), RUN, REQUEST)
    claims = verify_evidence(evidence, EXPECTED, TRUST, formats=FORMATS)
    assert (claims.tee, claims.simulated, claims.debug, claims.provider) == (Tee.SEV_SNP, False, False, b"chip")
    assert claims.measurement == ENCLAVE.measurement
    assert claims.platform["hardware-measurement"] == b"h" * 48


def test_a_report_over_something_else_vouches_for_nothing(tree: ConfigfsTree) -> None:
    root = open_tsm(interface(tree))
    tree.content = lambda written: REPORT + written[:-1] + b"x"
    with pytest.raises(EvidenceRefused, match="key and nonce in the quote"):
        verify_evidence(make_evidence(root, RUN, REQUEST), EXPECTED, TRUST, formats=FORMATS)


# --- this system's files, and choosing


def test_files_of_this_system_are_read_to_a_limit(tmp_path: Path) -> None:
    files = HostFiles()
    files.make(str(tmp_path / "r"))
    (tmp_path / "r/inblob").touch()
    files.write(str(tmp_path / "r/inblob"), b"x" * 64)
    assert files.read(str(tmp_path / "r/inblob"), 64) == b"x" * 64
    assert len(files.read(str(tmp_path / "r/inblob"), 10)) == 11
    (tmp_path / "r/inblob").unlink()
    files.remove(str(tmp_path / "r"))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="the soft platform needs owners and modes of POSIX systems")
def test_the_strongest_that_is_there_is_chosen(tmp_path: Path) -> None:
    places = Places(state=str(tmp_path / "p"), random=os.urandom, tpm="unix:/none", tsm=str(tmp_path / "none"))
    with pytest.raises(PlatformRefused, match="there is no platform") as caught:
        choose(None, places)
    assert caught.value.hint == "belljar platform init makes one"
    make_soft(places.state, Birth(random=os.urandom, now=NOW)).close()
    with choose(None, places) as root, choose("soft", places) as named:
        assert root.kind == named.kind == "soft"
    (tmp_path / "p/tpm.platform").touch(0o600)
    with pytest.raises(PlatformRefused, match="unix:/none: No such file"):
        choose(None, places)
    for name, message in (("tsm", "No such file"), ("sgx", "platform sgx, expected one of tsm, tpm, soft")):
        with pytest.raises(PlatformRefused, match=message):
            choose(name, places)
