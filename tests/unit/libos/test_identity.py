"""Who asks, and what evidence says of an enclave: the parts that need no enclave."""

from __future__ import annotations

import hashlib
import os
import threading
from errno import ESRCH

import pytest

from belljar.libos.enclave import EnclaveSpec, GuestUser, Identity, Limits
from belljar.libos.identity.attestor import Attestor, NotAttested
from belljar.libos.identity.processes import process_of
from belljar.libos.identity.root import NoIdentity, commitment, enclave_of, open_root, task_of

IDENTITY = Identity(platform="none", signer=b"s" * 32, product_id=7, security_version=8, runtime_version="1")
SPEC = EnclaveSpec(
    name="app", measurement=b"m" * 32, executable="/x", argv=("/x", "é\udcff"),
    environment=(("B", "2"), ("A", "1")), working_directory="/",
    user=GuestUser(uid=1, gid=1, name="u", home="/"), hashed=(), host=(), scratch=(), volumes=(),
    limits=Limits(memory_bytes=None, processes=1, open_files=1, cpu_millis=None, run_time_ms=None),
    filters=(), denied=(), host_network=False, enterable=False, stop_on_violation=True, identity=IDENTITY,
)  # fmt: skip


def test_a_process_is_found_by_any_of_its_threads() -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(process_of(threading.get_native_id(), [os.getpid()])))
    thread.start()
    thread.join()
    own = process_of(os.getpid(), [os.getpid()])
    assert found == [own]
    assert own[0] == os.getpid()
    with pytest.raises(OSError, match="no such process") as refusal:
        process_of(1, [os.getpid()])
    assert refusal.value.errno == ESRCH


def test_an_enclave_is_what_its_specification_says() -> None:
    enclave = enclave_of(SPEC)
    assert (enclave.measurement, enclave.signer, enclave.product_id, enclave.svn) == (b"m" * 32, b"s" * 32, 7, 8)
    assert not enclave.debug
    assert enclave_of(SPEC.replace(enterable=True)).debug
    assert enclave_of(SPEC.replace(identity=IDENTITY.replace(signer=b""))).signer is None


def test_the_task_is_digested_as_the_program_finds_it() -> None:
    task = task_of(SPEC)
    assert task.argv == hashlib.sha256(b"/x\0\xc3\xa9\xff\0").digest()
    assert task.environment == hashlib.sha256(b"A=1\0B=2\0").digest()


def test_the_commitment_to_volumes_depends_on_each_part_and_on_no_order() -> None:
    one, other = ("/a", b"i" * 16, 3, b"d" * 32), ("/b", b"j" * 16, 4, b"e" * 32)
    assert commitment([]) is None
    assert commitment([one, other]) == commitment([other, one])
    changed = [("/c", *one[1:]), (one[0], b"x" * 16, *one[2:]), (*one[:2], 4, one[3]), (*one[:3], b"x" * 32)]
    assert len({commitment([row]) for row in [one, *changed]}) == 5
    wanted = hashlib.sha256(b"belljar.volumes/1\0\0\x02/a" + b"i" * 16 + bytes(7) + b"\x03" + b"d" * 32).digest()
    assert commitment([one]) == wanted


def test_none_means_none() -> None:
    with pytest.raises(NoIdentity, match="its manifest says attestation"):
        open_root("none", now=0)
    attestor = Attestor()
    with pytest.raises(NotAttested, match="its program has not started"):
        attestor.target()
    attestor.begin(SPEC, None, list)
    with pytest.raises(NotAttested, match="its manifest says attestation"):
        attestor.quote(bytes(64))
    attestor.close()
