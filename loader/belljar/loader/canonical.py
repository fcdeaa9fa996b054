"""What of an enclave is measured: the members of the canonical resolved manifest (docs/formats/measurement.md).

In comes everything that was decided; out come plain values. Sources on the host are not among them: the same content in
another folder is the same enclave. A member that is added here changes every measurement. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.measurement import canonical_bytes

from .manifest.model import EncryptedMount, HashedMount, HostMount, TmpfsMount
from .networks.forms import measured_network

if TYPE_CHECKING:
    from belljar.attestation.measurement import Json
    from belljar.libos.policy import SyscallPolicy

    from .manifest.model import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A hashed mount and the index that pins it.

    Attributes:
        path: where in the guest.
        source: folder or file on the host.
        digest: of its index: 32 bytes.
        index_path: the file that holds the index.
    """

    path: str
    source: str
    digest: bytes
    index_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """An enclave with everything decided: what is measured, and what `prepare.py` makes a spec from.

    Attributes:
        manifest: with what it extends; its hashed mounts are in `pinned`.
        pinned: hashed mounts, those of programs too, in the order of their paths.
        environment: set variables.
        working_directory: guest path.
        executable: guest path of the program.
        policy: digest of the system call policy.
    """

    manifest: Manifest
    pinned: tuple[Pinned, ...]
    environment: dict[str, str]
    working_directory: str
    executable: str
    policy: bytes


def canonical_members(decided: Decided) -> dict[str, Json]:
    """Return what is measured.

    `attestation` is there only if it is not `auto`, and `gateway` only if the network opens something: manifests from
    before they had a meaning are the same enclaves.
    """
    manifest = decided.manifest
    rule = manifest.arguments
    calls = manifest.system_calls
    platform = manifest.attestation.platform
    attestation: dict[str, Json] = {} if platform == "auto" else {"attestation": {"platform": platform}}
    opened = measured_network(manifest.network)
    return {
        **attestation,
        **({"gateway": opened} if opened else {}),
        "argv": [*(manifest.argv or [])],
        "arguments": {"rule": rule} if isinstance(rule, str) else {"pattern": rule.pattern, "rule": "pattern"},
        "environment": {
            "pass": [*sorted(manifest.environment.pass_)],
            "set": [[name, value] for name, value in sorted(decided.environment.items())],
        },
        "exec": "any" if manifest.insecure_exec else "none",
        "executable": decided.executable,
        "integrity": "continue" if manifest.integrity.insecure_continue else "stop",
        "limits": {
            "cpu_millis": manifest.limits.cpus,
            "memory_bytes": manifest.limits.memory,
            "open_files": manifest.limits.open_files,
            "processes": manifest.limits.processes,
            "run_time_ms": manifest.limits.run_time,
        },
        "mounts": _mounts(decided),
        "name": manifest.name or "",
        "network": "host" if manifest.network.insecure_host else "none",
        "product_id": manifest.product_id,
        "security_version": manifest.security_version,
        "system_calls": {
            "allow": [*sorted(calls.insecure_allow)],
            "deny": [*sorted(calls.deny)],
            "policy": f"sha256:{decided.policy.hex()}",
        },
        "user": {
            "gid": manifest.user.gid,
            "home": manifest.user.home,
            "name": manifest.user.name,
            "uid": manifest.user.uid,
        },
        "working_directory": decided.working_directory,
    }


def _mounts(decided: Decided) -> list[Json]:
    """Return all mounts, sorted by path."""
    by_path: dict[str, Json] = {}
    for tree in decided.pinned:
        by_path[tree.path] = {"index": f"sha256:{tree.digest.hex()}", "path": tree.path, "type": "hashed"}
    for mount in decided.manifest.mounts:
        if isinstance(mount, HashedMount):
            continue
        row: dict[str, Json] = {"executable": mount.insecure_executable, "path": mount.path, "type": mount.type}
        if isinstance(mount, HostMount):
            row["writable"] = mount.writable
        if isinstance(mount, TmpfsMount | EncryptedMount):
            row["size"] = mount.size
        if isinstance(mount, EncryptedMount):
            row["key"] = mount.key
        by_path[mount.path] = row
    return [by_path[path] for path in sorted(by_path)]


def policy_digest(policy: SyscallPolicy) -> bytes:
    """Return a digest over every rule, so that a change of the default policy is a change of the measurement."""
    rows: list[Json] = [
        [section, name, error, [[*numbers] for numbers in compare]] for section, name, error, compare in policy.rows()
    ]
    return hashlib.sha256(canonical_bytes(rows)).digest()
