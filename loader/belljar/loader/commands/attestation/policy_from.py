"""`belljar policy from`: what bundles and manifests are expected to show, as a policy, or as CoRIM for others.

In come bundles that hold, manifests to measure, CoRIM files of `--corim`, and roots to pin; out comes text or CBOR.
What a policy from here does not ask, it says by name.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from cryptography import x509

from belljar.attestation.attesting import Purpose
from belljar.attestation.platforms import key_digest
from belljar.attestation.verifier import Draft, ReferenceValues, Tee, from_corim, policy_text, to_corim
from belljar.loader import report
from belljar.loader.bundle import layout
from belljar.loader.bundle.files import replace_file
from belljar.loader.bundle.read import read_bundle
from belljar.loader.errors import LoaderError, UsageError
from belljar.loader.manifest.model import EncryptedMount
from belljar.loader.prepare import measure_target
from belljar.loader.target import MANIFESTS, parse_words

from .sources import instances_of, read_bounded

if TYPE_CHECKING:
    from belljar.attestation.keys import SignerId
    from belljar.attestation.measurement import Measurement
    from belljar.loader.manifest.model import Manifest
    from belljar.loader.options import Parsed

_MAX_CORIM_BYTES = 1 << 20
_MAX_ROOT_BYTES = 64 * 1024
_TEES = {"soft": Tee.SOFT, "swtpm": Tee.TPM, "tpm": Tee.TPM}
_SIMULATED = frozenset({"soft", "swtpm"})
_CA = re.compile(r"Belljar platform CA \((soft|swtpm|tpm)\)")
_PCR = re.compile(r"((?:sha256|sha384|sha512):(?:\d|1\d|2[0-3]))=((?:[0-9a-fA-F]{2})+)")


def main(parsed: Parsed) -> int:
    """Write a policy or reference values."""
    if not parsed.words:
        raise UsageError(
            "expected bundles, manifests or reference values", hint="belljar policy from app.bell --root root.pem"
        )
    found = [_values(path) for path in parsed.words]
    values = tuple(value for one, _ in found for value in one)
    if parsed.has("corim"):
        _write(parsed, to_corim(parsed.options.get("id", values[0].name), values))
        return 0
    draft = _draft(parsed, values, volumes=all(volumes for _, volumes in found))
    _write(parsed, policy_text(draft).encode())
    return 0


def _draft(parsed: Parsed, values: tuple[ReferenceValues, ...], *, volumes: bool) -> Draft:
    roots: dict[Tee, list[bytes]] = {}
    kinds: set[str] = set()
    for path in parsed.each("root"):
        kind, digest = _root(path)
        kinds.add(kind)
        roots.setdefault(_TEES[kind], []).append(digest)
    if not roots:
        hint = "on the machine that attests: belljar platform root -o root.pem; then --root root.pem"
        raise UsageError("a policy pins the roots it trusts: expected --root FILE", hint=hint)
    if kinds & _SIMULATED and not parsed.has("allow-simulated"):
        names = " and ".join(sorted(kinds & _SIMULATED))
        report.note(f"note: {names} has no hardware behind it: this policy refuses its evidence; see --allow-simulated")
    return Draft(
        identifier=parsed.options.get("id", values[0].name),
        values=values,
        roots={tee: tuple(digests) for tee, digests in roots.items()},
        purposes=tuple(_purposes(parsed)),
        pcrs=_pcrs(parsed, roots),
        volumes=volumes,
        upgrades=parsed.has("upgrades"),
        allow_simulated=parsed.has("allow-simulated"),
        instances=instances_of(parsed),
    )


def _values(path: str) -> tuple[tuple[ReferenceValues, ...], bool]:
    """Return what a file says is expected, and whether it works on volumes."""
    if read_bounded_start(path).startswith(layout.MAGIC):
        bundle = read_bundle(path)
        signer = None if bundle.key is None else bundle.key.signer
        return _value(path, bundle.decided.manifest, bundle.measurement, signer)
    if path.endswith(MANIFESTS):
        measured = measure_target(parse_words([path]))
        return _value(path, measured.decided.manifest, measured.measurement, None)
    return from_corim(read_bounded(path, _MAX_CORIM_BYTES)), False


def _value(
    path: str, manifest: Manifest, measurement: Measurement, signer: SignerId | None
) -> tuple[tuple[ReferenceValues, ...], bool]:
    value = ReferenceValues(
        name=manifest.name or path,
        measurement=measurement,
        signer=signer,
        product_id=manifest.product_id,
        svn=manifest.security_version,
    )
    return (value,), any(isinstance(mount, EncryptedMount) for mount in manifest.mounts)


def read_bounded_start(path: str) -> bytes:
    """Return the first bytes of a file.

    Raises:
        LoaderError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(len(layout.MAGIC))
    except OSError as error:
        raise LoaderError(f"{path}: cannot be read: {error.strerror}") from error


def _root(path: str) -> tuple[str, bytes]:
    """Return of which kind a platform's root is, and its digest."""
    try:
        certificate = x509.load_pem_x509_certificate(read_bounded(path, _MAX_ROOT_BYTES))
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        kind = _CA.fullmatch(str(names[0].value)) if len(names) == 1 else None
        public = certificate.public_key()
    except ValueError as error:
        raise LoaderError(f"{path}: not a certificate in PEM", hint="belljar platform root -o root.pem") from error
    if kind is None:
        hint = "write policies for hardware by hand, from docs/formats/policy.md; belljar policy check reads them"
        raise LoaderError(f"{path}: not the root of a belljar platform", hint=hint)
    return kind[1], key_digest(public)


def _purposes(parsed: Parsed) -> list[Purpose]:
    words = parsed.each("purpose") or [Purpose.LOCAL.value]
    known = {one.value: one for one in Purpose}
    for word in words:
        if word not in known:
            raise UsageError(f"--purpose: got {word!r}, expected one of {', '.join(known)}")
    return [known[word] for word in words]


def _pcrs(parsed: Parsed, roots: dict[Tee, list[bytes]]) -> dict[str, bytes] | None:
    """Return what a TPM must quote; None where the policy shall not ask."""
    skip, words = parsed.has("insecure-skip-pcrs"), parsed.each("pcr")
    if Tee.TPM not in roots:
        if skip or words:
            raise UsageError("--pcr and --insecure-skip-pcrs are about TPMs, and no root is a TPM's")
        return None
    if skip is bool(words):
        hint = "tpm2_pcrread prints them; --insecure-skip-pcrs takes whatever the machine has booted"
        raise UsageError("the root is a TPM's: expected --pcr BANK:N=HEX or --insecure-skip-pcrs", hint=hint)
    found: dict[str, bytes] = {}
    for word in words:
        match = _PCR.fullmatch(word)
        if match is None:
            raise UsageError(f"--pcr: got {word[:80]!r}, expected such as sha256:8=HEX")
        found[match[1]] = bytes.fromhex(match[2])
    return None if skip else found


def _write(parsed: Parsed, content: bytes) -> None:
    path = parsed.options.get("output")
    if path is not None:
        replace_file(path, content)
        return
    if parsed.has("corim") and sys.stdout.isatty():
        raise UsageError("CoRIM is binary: expected -o FILE, or a pipe")
    sys.stdout.buffer.write(content)
