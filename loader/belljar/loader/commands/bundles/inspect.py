"""`belljar inspect`: show what is in a bundle, once it has been found to hold."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

from belljar.loader import report
from belljar.loader.bundle.read import Bundle, read_bundle
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import UsageError
from belljar.loader.manifest.model import FROM_HOST, EncryptedMount, HostMount, TmpfsMount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from belljar.loader.manifest.model import Manifest
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Show one bundle."""
    if len(parsed.words) != 1:
        raise UsageError("expected one bundle: belljar inspect app.bell")
    with loader_errors():
        bundle = read_bundle(parsed.words[0])
    if parsed.has("canonical"):
        sys.stdout.buffer.write(bundle.canonical)
    elif parsed.has("json"):
        sys.stdout.write(json.dumps(describe(bundle), indent=2) + "\n")
    else:
        rows = list(_rows(bundle))
        width = max(len(name) for name, _ in rows)
        sys.stdout.writelines(f"{name:<{width}}  {report.printable(value)}\n" for name, value in rows)
    return 0


def describe(bundle: Bundle) -> dict[str, object]:
    """Return what is in a bundle as plain values; also what `belljar measure --json` prints of one."""
    return {
        "measurement": f"sha256:{bundle.measurement.hex()}",
        "name": bundle.decided.manifest.name,
        "executable": bundle.decided.executable,
        "signer": bundle.signer or None,
        "algorithm": None if bundle.key is None else bundle.key.algorithm.name,
        "belljar": bundle.belljar,
        "trees": [
            {
                "path": tree.path,
                "source": tree.source,
                "index": f"sha256:{tree.digest.hex()}",
                "entries": len(entries),
                "size_bytes": sum(entry.size for entry in entries),
            }
            for tree, entries in zip(bundle.decided.pinned, bundle.entries, strict=True)
        ],
        "host": [
            {"path": mount.path, "source": mount.source}
            for mount in bundle.decided.manifest.mounts
            if isinstance(mount, FROM_HOST)
        ],
        "manifest": bundle.members,
    }


def _rows(bundle: Bundle) -> Iterator[tuple[str, str]]:
    decided, manifest = bundle.decided, bundle.decided.manifest
    signer = f"{bundle.signer} ({bundle.key.algorithm.name})" if bundle.key is not None else "none: not signed"
    yield "measurement", f"sha256:{bundle.measurement.hex()}"
    yield "signer", signer
    yield "name", manifest.name or "none"
    yield "product id", str(manifest.product_id)
    yield "security version", str(manifest.security_version)
    yield "built by", f"belljar {bundle.belljar}"
    yield "program", shlex.join(manifest.argv or [])
    rule = manifest.arguments
    yield "arguments", rule if isinstance(rule, str) else f"those that match {rule.pattern}"
    for name, value in sorted(decided.environment.items()):
        yield "variable", f"{name}={value}"
    if manifest.environment.pass_:
        yield "passed variables", " ".join(manifest.environment.pass_)
    yield "working directory", decided.working_directory
    yield "user", f"{manifest.user.name} ({manifest.user.uid}:{manifest.user.gid})"
    yield from _mounts(bundle)
    yield from _limits(manifest)
    yield "network", "of the host: insecure" if manifest.network.insecure_host else "none"
    if manifest.insecure_exec:
        yield "exec", "other programs may be started from outside: insecure"
    if manifest.integrity.insecure_continue:
        yield "integrity", "goes on when a file is not what was measured: insecure"
    calls = manifest.system_calls
    changed = [f"allow {name}" for name in calls.insecure_allow] + [f"deny {name}" for name in calls.deny]
    yield "system calls", ", ".join(["default policy", *changed])


def _mounts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    for tree, entries in zip(bundle.decided.pinned, bundle.entries, strict=True):
        size = sum(entry.size for entry in entries)
        yield "hashed", f"{tree.path} from {tree.source}: {len(entries)} entries, {_size(size)}"
    for mount in bundle.decided.manifest.mounts:
        if isinstance(mount, HostMount):
            rights = [" writable"] * mount.writable + [" executable"] * mount.insecure_executable
            yield "host", f"{mount.path} from {mount.source}{','.join(rights)}"
        elif isinstance(mount, EncryptedMount):
            limit = "" if mount.size is None else f" of at most {_size(mount.size)}"
            runs = " executable" * mount.insecure_executable
            yield "encrypted", f"{mount.path} from {mount.source}{limit}, opened by its {mount.key}{runs}"
        elif isinstance(mount, TmpfsMount):
            yield "tmpfs", f"{mount.path} of {_size(mount.size)}{' executable' * mount.insecure_executable}"


def _limits(manifest: Manifest) -> Iterator[tuple[str, str]]:
    limits = manifest.limits
    if limits.memory is not None:
        yield "memory", _size(limits.memory)
    yield "processes", str(limits.processes)
    yield "open files", str(limits.open_files)
    if limits.cpus is not None:
        yield "cpus", f"{limits.cpus / 1000:g}"
    if limits.run_time is not None:
        yield "run time", f"{limits.run_time / 1000:g}s"


def _size(size_bytes: int) -> str:
    value, units = float(size_bytes), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.4g} {units[0]}"
