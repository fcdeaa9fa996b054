"""Evidence files as a running enclave would answer, made by the library on a soft platform in a folder."""

from __future__ import annotations

import hashlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from belljar.attestation.attesting import Enclave, Purpose, Request, Run, Task, make_evidence
from belljar.attestation.platforms import RootOfTrust, open_soft
from belljar.libos.runs.desk import Desk
from belljar.libos.runs.directory import RunDirectory
from belljar.loader.bundle.read import read_bundle


def enclave_of(bundle: Path) -> Enclave:
    """Return who the enclave of a bundle is."""
    found = read_bundle(str(bundle))
    manifest = found.decided.manifest
    return Enclave(
        measurement=found.measurement,
        signer=None if found.key is None else found.key.signer,
        product_id=manifest.product_id,
        svn=manifest.security_version,
        debug=False,
    )


def evidence_of(enclave: Enclave, root: RootOfTrust, nonce: bytes, purpose: Purpose = Purpose.LOCAL) -> bytes:
    """Return fresh evidence of a run of an enclave."""
    task = Task(argv=hashlib.sha256(b"argv").digest(), environment=hashlib.sha256(b"environment").digest())
    run = Run(
        enclave=enclave,
        instance=os.urandom(16),
        runtime="belljar",
        runtime_version="0.1",
        kernel="Linux 6.12",
        task=task,
    )
    return make_evidence(root, run, Request(nonce=nonce, purpose=purpose, body=b"", now=int(time.time())))


def write_evidence(target: Path, bundle: Path, platform: Path, nonce: bytes, purpose: Purpose = Purpose.LOCAL) -> None:
    """Write fresh evidence of a bundle's enclave to a file that anybody may read."""
    with open_soft(str(platform)) as root:
        target.write_bytes(evidence_of(enclave_of(bundle), root, nonce, purpose))
    target.chmod(0o644)


@contextmanager
def answering(folder: Path, name: str, answer: Callable[[dict[str, object]], dict[str, object]]) -> Iterator[None]:
    """Be a run's supervisor that answers requests, until the block ends: the real directory, socket and desk.

    Args:
        folder: of all runs.
        name: of this one.
        answer: given a request's fields, with what to do as "do", returns the answer's; a `Refused` is passed on.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = RunDirectory(str(folder), name, exact=True, tell=lambda _: None)
    desk = Desk(directory.listener, lambda what, fields, _: (answer({**fields, "do": what}), []))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            for descriptor in select.select(desk.watched(), [], [], 0.05)[0]:
                desk.ready(descriptor)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        desk.close(None)
        directory.close()
