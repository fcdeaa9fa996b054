"""Evidence captured on real machines, where it is: /work/shared/vectors, or wherever BELLJAR_CAPTURED says."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from belljar.attestation.dcap.wire import parse_collateral, pem_as_der
from belljar.attestation.evidence import Endorsements
from belljar.attestation.x509.roots import VENDOR_ROOTS

from .evidence import DCAP, RATLS, SNP, TPM, Case

FOLDER = Path(os.environ.get("BELLJAR_CAPTURED", "/work/shared/vectors"))
JUNE_2025 = 1_751_000_000  # inside of the dates of the captured collateral
MARCH_2026 = 1_772_400_000

NAMES = (
    "snp-v2-vcek", "snp-v3-vlek", "sgx-v3", "tdx-v4", "tdx-v4-debug", "tdx-v5", "ra-tls-gramine", "ra-tls-intel", "tpm",
)  # fmt: skip


def read(name: str) -> bytes:
    """Return a captured file."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"no captured evidence at {path}: set BELLJAR_CAPTURED")
    return path.read_bytes()


def captured(name: str) -> Case:
    """Return a captured piece of evidence with all that belongs to it."""
    makers = {"snp": _snp, "sgx": _dcap, "tdx": _dcap, "ra-": _ratls, "tpm": _tpm}
    return makers[name[:3]](name)


def _snp(name: str) -> Case:
    ask, ark, asvk = pem_as_der(read("snp/milan.pem"), "milan.pem")
    report, leaf, middle = {
        "snp-v2-vcek": ("test-report.bin", "test-vcek.der", ask),
        "snp-v3-vlek": ("test-vlek-report.bin", "test-vlek.der", asvk),
    }[name]
    return Case(
        name=name, kind=SNP, evidence=read(f"snp/{report}"), roots=frozenset({VENDOR_ROOTS["amd-milan"]}),
        endorsements=Endorsements(certificates=(read(f"snp/{leaf}"), middle, ark)), now=JUNE_2025, require_crls=False,
    )  # fmt: skip


def _dcap(name: str) -> Case:
    path, collateral, now = {
        "sgx-v3": ("sgx/ph-sgx_quote", "sgx/ph-sgx_quote_collateral.json", JUNE_2025),
        "tdx-v4": ("tdx/ph-tdx_quote", "tdx/ph-tdx_quote_collateral.json", JUNE_2025),
        "tdx-v4-debug": ("tdx/tdx_quote_4.dat", None, JUNE_2025),
        "tdx-v5": ("tdx/gtg-quote_v5_sample.dat", None, MARCH_2026),
    }[name]
    endorsements = parse_collateral(read(collateral)) if collateral else Endorsements()
    return Case(
        name=name, kind=DCAP, evidence=read(path), endorsements=endorsements,
        roots=frozenset({VENDOR_ROOTS["intel-sgx"]}), now=now, require_crls=collateral is not None,
    )  # fmt: skip


def _ratls(name: str) -> Case:
    path = {"ra-tls-gramine": "gramine", "ra-tls-intel": "intel-sgxsdk"}[name]
    return Case(
        name=name, kind=RATLS, evidence=read(f"ratls/{path}-cert.pem"), endorsements=Endorsements(),
        roots=frozenset({VENDOR_ROOTS["intel-sgx"]}), now=JUNE_2025, require_crls=False,
    )  # fmt: skip


def _tpm(name: str) -> Case:
    evidence = read("tpm/tpm_evidence.json")
    key = base64.b64decode(json.loads(evidence)["ak_public"])
    return Case(
        name=name, kind=TPM, evidence=evidence, endorsements=Endorsements(),
        roots=frozenset({hashlib.sha256(key).digest()}), now=JUNE_2025,
    )  # fmt: skip
