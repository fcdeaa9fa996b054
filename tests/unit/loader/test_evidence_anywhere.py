"""Evidence is appraised on any system: without what only Linux has, a verdict and a signed result still come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from belljar.attestation.attesting import Enclave, Purpose
from belljar.attestation.keys import generate
from belljar.attestation.platforms import key_digest
from belljar.attestation.verifier import Draft, ReferenceValues, Tee, policy_text
from support.enclaves import evidence_of
from support.roots import FixedRoot

_LESS = """
import os, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("pread", "fdatasync", "SEEK_DATA", "SEEK_HOLE", "geteuid", "O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY",
             "O_NONBLOCK", "O_NOCTTY", "memfd_create"):
    delattr(os, name)
from belljar.loader.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_verdict_and_a_signed_result_where_linux_is_missing(tmp_path: Path) -> None:
    root = FixedRoot(b"u" * 32)
    enclave = Enclave(measurement=b"m" * 32, signer=None, product_id=0, svn=0, debug=False)
    values = ReferenceValues(name="app", measurement=b"m" * 32, signer=None, product_id=0, svn=0)
    draft = Draft(
        identifier="app", values=(values,), roots={Tee.SOFT: (key_digest(root.ca_key.public.key),)},
        purposes=(Purpose.LOCAL,), pcrs=None, volumes=False, upgrades=False, allow_simulated=True,
    )  # fmt: skip
    (tmp_path / "policy.yaml").write_text(policy_text(draft))
    (tmp_path / "evidence").write_bytes(evidence_of(enclave, root, b"n" * 32))
    (tmp_path / "verifier.pem").write_bytes(generate().pem())
    words = ["verify-evidence", "evidence", "--policy", "policy.yaml", "--nonce", (b"n" * 32).hex()]
    command = [sys.executable, "-c", _LESS, *words, "--ear", "result.jwt", "--key", "verifier.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accepted (warning)")
    assert (tmp_path / "result.jwt").read_text().count(".") == 2
