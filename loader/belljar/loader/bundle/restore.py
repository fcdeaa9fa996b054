"""Bring a canonical manifest back to what was decided, so that what is signed is what runs.

In come the members of a bundle's canonical manifest and its sources; out comes a `Decided`. The manifest's own model
checks every value, as if a person had written it; then the canonical form is made anew and must be the same bytes. What
this version would not write, it does not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from belljar.attestation.measurement import FORMAT, Json, NotCanonical, canonical_bytes
from belljar.loader.canonical import Decided, Pinned, canonical_members
from belljar.loader.errors import BundleRefused
from belljar.loader.manifest.model import FROM_HOST, MANIFEST_VERSION, GuestPath, Manifest
from belljar.loader.networks.forms import manifest_network, not_measured

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX = "sha256:"
_guest_path: TypeAdapter[str] = TypeAdapter(GuestPath)


def restore(
    members: dict[str, Json], hashed: Mapping[str, str], host: Mapping[str, str], network: Mapping[str, str]
) -> Decided:
    """Return what a canonical manifest says.

    Args:
        members: of the canonical manifest.
        hashed: guest path -> source of every hashed mount, in their order.
        host: the same of every other mount that has a source.
        network: what the network says and is not measured, by its place.

    Raises:
        BundleRefused: it is not a canonical manifest of this version.
    """
    if members.get("format") != FORMAT:
        raise BundleRefused(f"the manifest is of format {members.get('format')!r}, expected {FORMAT!r}")
    try:
        decided = _decided(members, hashed, host, network)
        again: dict[str, Json] = {**canonical_members(decided), "format": FORMAT}
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleRefused(f"the manifest cannot be used: {place}: {first['msg']}") from error
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, NotCanonical) as error:
        raise BundleRefused(f"the manifest cannot be read: {type(error).__name__}: {error}") from error
    for name in sorted({*members, *again}):
        if canonical_bytes(members.get(name)) != canonical_bytes(again.get(name)):  # in Python, True == 1
            raise BundleRefused(f"the manifest is not in the form that is measured: see {name}")
    if {m.path for m in decided.manifest.mounts if isinstance(m, FROM_HOST)} != set(host):
        raise BundleRefused("the host mounts of the manifest are not those that have a source")
    if not_measured(decided.manifest.network) != dict(network):
        raise BundleRefused("the addresses of the bundle are not those of its manifest's network")
    if [tree.path for tree in decided.pinned] != list(hashed):
        raise BundleRefused("the hashed mounts of the manifest are not those that have an index")
    return decided


def _decided(
    members: dict[str, Any], hashed: Mapping[str, str], host: Mapping[str, str], network: Mapping[str, str]
) -> Decided:
    return Decided(
        manifest=Manifest.model_validate(_manifest(members, host, network)),
        pinned=tuple(
            Pinned(
                path=_guest_path.validate_python(mount["path"]),
                source=hashed[mount["path"]],
                digest=_digest(mount["index"]),
                index_path="",
            )
            for mount in members["mounts"]
            if mount["type"] == "hashed"
        ),
        environment=dict(members["environment"]["set"]),
        working_directory=members["working_directory"],
        executable=_program(members["executable"]),
        policy=_digest(members["system_calls"]["policy"]),
    )


def _manifest(members: dict[str, Any], host: Mapping[str, str], network: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest as a person would have written it."""
    rule, limits, calls = members["arguments"], members["limits"], members["system_calls"]
    cpus, run_time = limits["cpu_millis"], limits["run_time_ms"]
    return {
        "belljar": MANIFEST_VERSION,
        "name": members["name"] or None,
        "product_id": members["product_id"],
        "security_version": members["security_version"],
        "argv": members["argv"],
        "arguments": {"pattern": rule["pattern"]} if rule["rule"] == "pattern" else rule["rule"],
        "environment": {"set": dict(members["environment"]["set"]), "pass": members["environment"]["pass"]},
        "working_directory": members["working_directory"],
        "user": members["user"],
        "mounts": [_mount(mount, host) for mount in members["mounts"] if mount["type"] != "hashed"],
        "limits": {
            "memory": limits["memory_bytes"],
            "processes": limits["processes"],
            "open_files": limits["open_files"],
            "cpus": None if cpus is None else cpus / 1000,
            "run_time": None if run_time is None else f"{run_time}ms",
        },
        "system_calls": {"insecure_allow": calls["allow"], "deny": calls["deny"]},
        "network": {
            "insecure_host": members["network"] == "host",
            **manifest_network(members.get("gateway", {}), network),
        },
        "insecure_exec": members["exec"] == "any",
        "attestation": members.get("attestation", {}),
        "integrity": {"insecure_continue": members["integrity"] == "continue"},
    }


def _mount(mount: dict[str, Any], host: Mapping[str, str]) -> dict[str, Any]:
    named = {"type": mount["type"], "path": mount["path"], "insecure_executable": mount["executable"]}
    if mount["type"] == "host":
        return {**named, "source": host[mount["path"]], "writable": mount["writable"]}
    if mount["type"] == "encrypted":
        return {**named, "source": host[mount["path"]], "key": mount["key"], "size": mount["size"]}
    return {**named, "size": mount["size"]}


def _digest(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix(_PREFIX))


def _program(path: object) -> str:
    if not isinstance(path, str) or not path or "\0" in path:
        raise BundleRefused(f"the manifest has the executable {path!r}, expected a path")
    return path
