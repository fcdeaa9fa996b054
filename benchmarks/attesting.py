"""Evidence: how much of it one core makes, verifies and appraises per second: `attestation`.

Everything is in one process, as in a supervisor or a verifier. The ways are roots of trust: `soft` by algorithm, and a
TPM in software, where each piece of evidence has a quote of the TPM. Recorded evidence of hardware is verified beside
another verifier of the same quotes, where that is installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cryptography import x509

from belljar.attestation.attesting import (
    Attester,
    Enclave,
    Purpose,
    Request,
    Run,
    Sealer,
    Task,
    attest,
    quoter,
    report_data,
)
from belljar.attestation.attesting import Policy as SealPolicy
from belljar.attestation.evidence import Trust
from belljar.attestation.platforms import (
    Birth,
    RootOfTrust,
    TpmBirth,
    connected,
    key_digest,
    make_soft,
    make_tpm,
)
from belljar.attestation.steps import Trail
from belljar.attestation.verifier import (
    FORMATS,
    Challenge,
    Draft,
    Endorsements,
    ReferenceValues,
    load_policy,
    parse_collateral,
    policy_text,
    verify,
)
from belljar.attestation.x509.roots import VENDOR_ROOTS

from .bench import Bench
from .rounds import Numbers, Table, interleave

_ALGORITHMS = ("ed25519", "es256", "es384", "ml-dsa-65")
_NONCE = bytes(range(32))
_CAPTURED = Path(os.environ.get("BELLJAR_CAPTURED", "/work/shared/vectors"))
_JUNE_2025 = 1_751_000_000  # inside of the dates of the captured collateral
_QUOTES = {"SGX v3": "sgx/ph-sgx_quote", "TDX v4": "tdx/ph-tdx_quote"}
_ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
_TIMEOUT_S = 10


def attestation(bench: Bench) -> list[Table]:
    """Measure evidence of our own on every root of trust, and recorded evidence of hardware."""
    own = Table("attestation: own evidence, one core", "per second", "none in the design", more_is_better=True)
    with ExitStack() as stack:
        ways = {f"soft, {name}": _soft(stack, name) for name in _ALGORITHMS}
        if shutil.which("swtpm"):
            ways["tpm (swtpm), es256"] = _tpm(stack)
        else:
            bench.note("attestation: swtpm left out: it is not installed (apt-get install swtpm)")
        measured = {way: _Work(root).measure(0.02 if bench.small else 0.3) for way, root in ways.items()}
        interleave(own, measured, bench.few(4))
    return [own, *_hardware(bench)]


def _soft(stack: ExitStack, algorithm: str) -> RootOfTrust:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-platform-"))
    return stack.enter_context(make_soft(folder, Birth(random=os.urandom, now=int(time.time()), algorithm=algorithm)))


def _tpm(stack: ExitStack) -> RootOfTrust:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-tpm-"))
    address = stack.enter_context(_swtpm(Path(folder)))
    birth = Birth(random=os.urandom, now=int(time.time()), algorithm="es256")
    return stack.enter_context(make_tpm(f"{folder}/platform", connected(address), TpmBirth(birth=birth)))


@contextmanager
def _swtpm(folder: Path) -> Iterator[str]:
    (folder / "state").mkdir()
    server = f"type=unixio,path={folder}/s"
    words = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}/state", "--server", server]
    process = subprocess.Popen([*words, "--flags", "not-need-init"])
    try:
        until = time.monotonic() + _TIMEOUT_S
        while not (folder / "s").exists() and time.monotonic() < until:
            time.sleep(0.01)
        yield f"unix:{folder}/s"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=_TIMEOUT_S)


class _Work:
    """What is done with one root of trust."""

    def __init__(self, root: RootOfTrust) -> None:
        self._root = root
        self._now = int(time.time())
        self._attester = self._begun()
        self._quoter = quoter(root, _ENCLAVE, self._now)
        self._sealer = Sealer(root=root, enclave=_ENCLAVE, random=os.urandom)
        self._sealed = self._sealer.seal(b"k" * 32, SealPolicy.SIGNER)
        self._evidence = self._cwt()
        self._policy = load_policy(policy_text(self._draft()))

    def measure(self, seconds: float) -> Callable[[], Numbers]:
        """Return what measures each kind of work for so long."""
        kinds: dict[str, Callable[[], object]] = {
            "identity of a new run": self._begun,
            "evidence (CWT)": self._cwt,
            "evidence (JWT)": lambda: self._attester.jwt(self._request()),
            "verified and appraised": self._appraised,
            "quote in DCAP's shape": lambda: self._quoter.quote(b"d" * 64),
            "sealed": lambda: self._sealer.seal(b"k" * 32, SealPolicy.SIGNER),
            "unsealed": lambda: self._sealer.unseal(self._sealed),
        }
        return lambda: {kind: _per_second(work, seconds) for kind, work in kinds.items()}

    def _begun(self) -> Attester:
        task = Task(argv=hashlib.sha256(b"app").digest(), environment=hashlib.sha256(b"").digest())
        run = Run(
            enclave=_ENCLAVE, instance=b"i" * 16, runtime="belljar", runtime_version="1", kernel="Linux", task=task
        )  # fmt: skip
        return attest(self._root, run)

    def _request(self) -> Request:
        return Request(nonce=_NONCE, purpose=Purpose.LOCAL, body=b"", now=self._now)

    def _cwt(self) -> bytes:
        return self._attester.cwt(self._request())

    def _draft(self) -> Draft:
        pinned = key_digest(x509.load_der_x509_certificate(self._root.chain[-1]).public_key())
        values = ReferenceValues(name="app", measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3)
        return Draft(
            identifier="bench", values=(values,), roots={self._root.tee: (pinned,)}, purposes=(Purpose.LOCAL,),
            pcrs=None, volumes=False, upgrades=False, allow_simulated=True,
        )  # fmt: skip

    def _appraised(self) -> None:
        challenge = Challenge(nonce=_NONCE, report_data=report_data(Purpose.LOCAL, b""))
        verdict = verify(
            self._evidence, endorsements=Endorsements(), policy=self._policy, challenge=challenge, now=self._now
        )  # fmt: skip
        assert verdict.accepted, verdict.steps


def _hardware(bench: Bench) -> list[Table]:
    """Verify recorded quotes with their collateral: signatures, chains, CRLs, QE identity, TCB level."""
    table = Table("attestation: recorded quotes verified, one core", "per second", "none in the design", True)
    if not _CAPTURED.is_dir():
        bench.note(f"attestation: recorded evidence left out: no {_CAPTURED} (BELLJAR_CAPTURED)")
        return []
    makers: dict[str, Callable[[str], Callable[[], object]]] = {"belljar": _verifies}
    if importlib.util.find_spec("dcap_qvl"):
        makers["dcap-qvl (Rust)"] = _oracle_verifies
    else:
        bench.note("attestation: dcap-qvl left out: it is not installed (pip install dcap-qvl)")
    seconds = 0.02 if bench.small else 0.5

    def measured(make: Callable[[str], Callable[[], object]]) -> Callable[[], Numbers]:
        return lambda: {name: _per_second(make(path), seconds) for name, path in _QUOTES.items()}

    interleave(table, {way: measured(make) for way, make in makers.items()}, bench.few(4))
    return [table]


def _verifies(path: str) -> Callable[[], object]:
    evidence = (_CAPTURED / path).read_bytes()
    endorsements = parse_collateral((_CAPTURED / f"{path}_collateral.json").read_bytes())
    trust = Trust(roots=frozenset({VENDOR_ROOTS["intel-sgx"]}), now=_JUNE_2025, require_crls=True)
    kind = next(one for one in FORMATS if one.recognises(evidence))
    return lambda: kind.verify(evidence, endorsements=endorsements, trust=trust, trail=Trail())


def _oracle_verifies(path: str) -> Callable[[], object]:
    dcap_qvl = importlib.import_module("dcap_qvl")  # it has no types
    evidence = (_CAPTURED / path).read_bytes()
    collateral = dcap_qvl.QuoteCollateralV3.from_json((_CAPTURED / f"{path}_collateral.json").read_text())
    return lambda: dcap_qvl.verify(evidence, collateral, _JUNE_2025)


def _per_second(work: Callable[[], object], seconds: float) -> float:
    """Return how often something can be done in a second."""
    work()
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        work()
        done += 1
    return done / (time.perf_counter() - started)
