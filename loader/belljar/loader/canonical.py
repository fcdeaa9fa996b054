"""What of an enclave is measured: the members of the canonical resolved manifest (docs/formats/measurement.md).

In come a resolved manifest and its trees; out come plain values. Sources on the host are not among them: the same
content in another folder is the same enclave. A member that is added here changes every measurement. Pure.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from belljar.attestation.measurement import canonical_bytes

if TYPE_CHECKING:
    from belljar.attestation.measurement import Json
    from belljar.libos.policy import SyscallPolicy

    from .resolve import Resolved
    from .trees import Tree


def canonical_members(
    resolved: Resolved, trees: tuple[Tree, ...], executable: str, policy: SyscallPolicy
) -> dict[str, Json]:
    """Return what is measured."""
    manifest = resolved.manifest
    rule = manifest.arguments
    calls = manifest.system_calls
    return {
        "argv": [*(manifest.argv or [])],
        "arguments": {"rule": rule} if isinstance(rule, str) else {"pattern": rule.pattern, "rule": "pattern"},
        "environment": {
            "pass": [*sorted(manifest.environment.pass_)],
            "set": [[name, value] for name, value in sorted(resolved.environment.items())],
        },
        "exec": "any" if manifest.insecure_exec else "none",
        "executable": executable,
        "integrity": "continue" if manifest.integrity.insecure_continue else "stop",
        "limits": {
            "cpu_millis": manifest.limits.cpus,
            "memory_bytes": manifest.limits.memory,
            "open_files": manifest.limits.open_files,
            "processes": manifest.limits.processes,
            "run_time_ms": manifest.limits.run_time,
        },
        "mounts": _mounts(resolved, trees),
        "name": manifest.name or "",
        "network": "host" if manifest.network.insecure_host else "none",
        "product_id": manifest.product_id,
        "security_version": manifest.security_version,
        "system_calls": {
            "allow": [*sorted(calls.insecure_allow)],
            "deny": [*sorted(calls.deny)],
            "policy": f"sha256:{_policy_digest(policy)}",
        },
        "user": {
            "gid": manifest.user.gid,
            "home": manifest.user.home,
            "name": manifest.user.name,
            "uid": manifest.user.uid,
        },
        "working_directory": resolved.working_directory,
    }


def _mounts(resolved: Resolved, trees: tuple[Tree, ...]) -> list[Json]:
    """Return all mounts, sorted by path."""
    by_path: dict[str, Json] = {}
    for tree in trees:
        index = f"sha256:{tree.measured.index.digest.hex()}"
        by_path[tree.where.path] = {"index": index, "path": tree.where.path, "type": "hashed"}
    for host in resolved.host:
        executable = host.insecure_executable
        by_path[host.path] = {"executable": executable, "path": host.path, "type": "host", "writable": host.writable}
    for tmpfs in resolved.scratch:
        executable = tmpfs.insecure_executable
        by_path[tmpfs.path] = {"executable": executable, "path": tmpfs.path, "size": tmpfs.size, "type": "tmpfs"}
    return [by_path[path] for path in sorted(by_path)]


def _policy_digest(policy: SyscallPolicy) -> str:
    """Return a digest over every rule, so that a change of the default policy is a change of the measurement."""
    rows: list[Json] = [
        [section, name, error, [[*numbers] for numbers in compare]] for section, name, error, compare in policy.rows()
    ]
    return hashlib.sha256(canonical_bytes(rows)).hexdigest()
