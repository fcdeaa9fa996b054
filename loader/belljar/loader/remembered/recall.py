"""Find the launch record of a target if it still holds, and fill in what its caller brings. Hot.

In comes a target; out come its record and the enclave to run. What a caller may add, the manifest says.
"""

from __future__ import annotations

import os

from belljar.loader.errors import UsageError

from . import cache
from .record import Record, StaleRecord, check, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.libos.enclave import EnclaveSpec
    from belljar.loader.target import Target


def recall(target: Target) -> Record | None:
    """Return the record of earlier runs, if it still holds."""
    key = target.key()
    try:
        descriptor = os.open(cache.record_path(cache.cache_folder(), key), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        record = decode(os.read(descriptor, os.fstat(descriptor).st_size), key)
        check(record)
    except StaleRecord:
        return None
    finally:
        os.close(descriptor)
    return record if all(os.path.exists(mount.index_path) for mount in record.spec.hashed) else None


def complete(record: Record, target: Target) -> EnclaveSpec:
    """Fill in what this caller brings: arguments, and the values of variables that pass."""
    spec = record.spec
    if target.manifest is None:
        if target.command != spec.argv:
            spec = spec.replace(argv=target.command, measurement=_measure(record, target.command))
    elif target.extra:
        _check_arguments(record.arguments, target.extra)
        spec = spec.replace(argv=(*spec.argv, *target.extra))
    passed = tuple((name, os.environ[name]) for name in record.passed if name in os.environ)
    return spec.replace(environment=(*spec.environment, *passed)) if passed else spec


def _measure(record: Record, argv: tuple[str, ...]) -> bytes:
    """Return the measurement of a derived manifest with another argv: the one part that the record leaves open."""
    import hashlib

    from belljar.attestation.measurement import NotCanonical, canonical_bytes

    head, tail = record.canonical
    try:
        return hashlib.sha256(head + canonical_bytes([*argv]) + tail).digest()
    except NotCanonical as error:
        raise UsageError(f"an argument cannot be measured: {error}", hint="expected UTF-8") from error


def _check_arguments(rule: tuple[str, str], extra: tuple[str, ...]) -> None:
    kind, pattern = rule
    if kind == "none":
        raise UsageError(
            f"the manifest takes no arguments, got {' '.join(extra)}", hint="allow them in the manifest: arguments: any"
        )
    if kind == "pattern":
        from belljar.loader.patterns import matches

        for argument in extra:
            if not matches(pattern, argument):
                raise UsageError(f"argument {argument!r} does not match the manifest's pattern {pattern}")
