"""Make a launch record: everything slow about a run, done once.

In comes what is to be run (a manifest file or a command); out comes a `Record`, saved in the cache. `belljar run` calls
this in a process of its own, so that the process that becomes the supervisor stays small and never parsed anything.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from belljar.fs.measuring import stamp
from belljar.libos.enclave import (
    EnclaveSpec,
    GuestUser,
    HashedMount,
    HostMount,
    Identity,
    Limits,
    ScratchMount,
    VolumeMount,
)
from belljar.libos.policy import compile_policy, denied_calls

from .derive.command import derive_manifest
from .derive.links import trail
from .derive.needs import searched
from .manifest import model
from .manifest.parse import ParsedManifest, parse_file, parse_text
from .measure import Measured, measure_manifest
from .networks.forms import inward, outward
from .remembered import cache, programs
from .remembered.record import Record, encode
from .resolve import resolve
from .target import is_shown
from .version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from belljar.fs.measuring import Progress, Stamp
    from belljar.libos.policy import SyscallPolicy

    from .canonical import Decided
    from .target import Target

_EVERY_FILE = 1024  # trees up to so many files are compared file by file at every start
_TOP = 1  # of larger ones that programs bring, folders so deep
_SCRATCH_MODE = 0o1777


def parse_target(target: Target) -> ParsedManifest:
    """Return the manifest of a target: its file, or one derived for its command.

    Raises:
        ManifestError, ProgramNotFound, ProgramNotExecutable, LoaderError.
    """
    if target.manifest is not None:
        return parse_file(target.manifest)
    text = derive_manifest(target.command, target.folder)
    return parse_text(text, name="derived manifest", folder=target.folder)


def measure_target(target: Target, progress: Progress | None = None) -> Measured:
    """Parse, resolve and measure a target."""
    return measure_manifest(resolve(parse_target(target)), cache.cache_folder(), progress)


def prepare(target: Target, progress: Progress | None = None, *, fresh: bool = False) -> Record:
    """Make the record of a target and save it.

    Args:
        target: what is to be run: a manifest or a command.
        progress: told how far hashing is.
        fresh: look at every file of the programs, too.

    Raises:
        Everything that parsing, resolving and measuring raise; SandboxUnavailable without libseccomp.
    """
    started = time.time_ns()
    folder = cache.cache_folder()
    parsed = parse_target(target)
    names = parsed.manifest.programs
    remembered = None if fresh or not names else programs.load(folder, names)
    measured = measure_manifest(resolve(parsed, remembered), folder, progress, remembered)
    if remembered is None and names:
        trees = {t.where.path: (t.where.source, t.measured) for t in measured.trees if t.where.of_programs}
        programs.save(folder, names, measured.resolved.needs, trees)
    record = Record(
        key=target.key(),
        prepared_ns=started,
        inputs=tuple(_inputs(measured, target)),
        spec=_spec(measured.decided, measured.measurement, measured.policy, ""),
        passed=tuple(measured.decided.manifest.environment.pass_),
        arguments=_arguments(measured.decided.manifest),
        canonical=_around_argv(measured.decided.manifest, measured.canonical),
        signer="",
        notes=_notes(target),
    )
    _save(folder, record, _all_folders(measured))
    return record


def prepare_bundle(target: Target) -> Record:
    """Make the record of a bundle and save it. Files are not looked at: each is verified when it is served.

    Raises:
        BundleRefused: it is not what was built, cannot be run by this belljar, or has another signer.
        LoaderError: what it needs is not on this machine; SandboxUnavailable without libseccomp.
    """
    from .bundle.launch import open_for_launch

    started = time.time_ns()
    folder = cache.cache_folder()
    launch = open_for_launch(target.manifest or "", target.signer, folder)
    record = Record(
        key=target.key(),
        prepared_ns=started,
        inputs=launch.inputs,
        spec=_spec(launch.decided, launch.measurement, launch.policy, launch.signer),
        passed=tuple(launch.decided.manifest.environment.pass_),
        arguments=_arguments(launch.decided.manifest),
        canonical=_around_argv(launch.decided.manifest, launch.canonical),
        signer=launch.signer,
        notes=(),
    )
    _save(folder, record, {})
    return record


def _save(folder: str, record: Record, folders: dict[str, Stamp]) -> None:
    cache.prune(folder, record.prepared_ns / 1e9)
    try:
        cache.store(cache.folders_path(folder, record.key), folders)
        cache.write_whole(cache.record_path(folder, record.key), encode(record))
    except OSError:  # full or read-only: this run has its record, the next one makes it again
        pass


def _spec(decided: Decided, measurement: bytes, policy: SyscallPolicy, signer: str) -> EnclaveSpec:
    """Return the enclave that was decided: manifests and bundles come to their spec here, from what is measured."""
    manifest = decided.manifest
    limits = manifest.limits
    return EnclaveSpec(
        name=manifest.name or "",
        measurement=bytes(measurement),
        executable=decided.executable,
        argv=tuple(manifest.argv or ()),
        environment=tuple(sorted(decided.environment.items())),
        working_directory=decided.working_directory,
        user=GuestUser(uid=manifest.user.uid, gid=manifest.user.gid, name=manifest.user.name, home=manifest.user.home),
        hashed=tuple(
            HashedMount(path=tree.path, source=tree.source, index_path=tree.index_path, index_digest=tree.digest)
            for tree in decided.pinned
        ),
        host=tuple(
            HostMount(path=m.path, source=m.source, writable=m.writable, executable=m.insecure_executable)
            for m in manifest.mounts
            if isinstance(m, model.HostMount)
        ),
        scratch=tuple(
            ScratchMount(path=m.path, size_bytes=m.size, mode=_SCRATCH_MODE, executable=m.insecure_executable)
            for m in manifest.mounts
            if isinstance(m, model.TmpfsMount)
        ),
        volumes=tuple(
            VolumeMount(path=m.path, source=m.source, key=m.key, size_bytes=m.size, executable=m.insecure_executable)
            for m in manifest.mounts
            if isinstance(m, model.EncryptedMount)
        ),
        limits=Limits(
            memory_bytes=limits.memory,
            processes=limits.processes,
            open_files=limits.open_files,
            cpu_millis=limits.cpus,
            run_time_ms=limits.run_time,
        ),
        filters=compile_policy(policy),
        denied=denied_calls(policy),
        host_network=manifest.network.insecure_host,
        enterable=manifest.insecure_exec,
        stop_on_violation=not manifest.integrity.insecure_continue,
        identity=_identity(manifest, signer),
        inward=inward(manifest.network),
        outward=outward(manifest.network),
    )


def _identity(manifest: model.Manifest, signer: str) -> Identity:
    """Return what evidence says of an enclave; `signer` is "sha256:…", or empty for nobody."""
    return Identity(
        platform=manifest.attestation.platform,
        signer=bytes.fromhex(signer.removeprefix("sha256:")),
        product_id=manifest.product_id,
        security_version=manifest.security_version,
        runtime_version=VERSION,
    )


def _inputs(measured: Measured, target: Target) -> Iterator[tuple[str, Stamp]]:
    """Yield what every start looks at: manifests, programs and where they were looked for, small trees, whole.

    Of folders that programs bring only the folders: whoever installs files there replaces them. What a run uses of
    these and of large trees is added when it has used it (`record.remember_files`): a start costs what is used, not
    what exists.
    """
    resolved = measured.resolved
    folders = [folder for name in target.command[:1] for folder in searched(name)]
    manifests = [step for file in resolved.parsed.files for links, end in [trail(file)] for step in (*links, end)]
    for name in dict.fromkeys([*manifests, *sorted(resolved.needs.inputs), *folders]):
        yield name, stamp(os.lstat(name))
    for tree in measured.trees:
        below = _joiner(tree.where.source)
        small = len(tree.measured.files) <= _EVERY_FILE
        for path, listed in tree.measured.listed:
            if small or not tree.where.of_programs or path.count(b"/") < _TOP:
                yield below(path), listed
        if small and (tree.where.path == "/" or not tree.where.of_programs):
            for path, known in tree.measured.files:
                yield below(path), known


def _all_folders(measured: Measured) -> dict[str, Stamp]:
    return {
        _joiner(tree.where.source)(path): listed for tree in measured.trees for path, listed in tree.measured.listed
    }


def _joiner(source: str) -> Callable[[bytes], str]:
    return lambda path: os.path.join(source, os.fsdecode(path)) if path else source


def _arguments(manifest: model.Manifest) -> tuple[str, str]:
    rule = manifest.arguments
    return (rule, "") if isinstance(rule, str) else ("pattern", rule.pattern)


def _around_argv(manifest: model.Manifest, canonical: bytes) -> tuple[bytes, bytes]:
    """Split the canonical manifest around its argv, so that a derived one can be measured for other arguments."""
    from belljar.attestation.measurement import canonical_bytes

    argv = canonical_bytes([*(manifest.argv or [])])
    head, _, tail = canonical.partition(b'"argv":' + argv)
    return head + b'"argv":', tail


def _notes(target: Target) -> tuple[str, ...]:
    if target.manifest is not None or is_shown(target.folder):
        return ()
    what = f"the working directory {target.folder} is a home or system folder, so only files you name were brought in"
    return (f"{what}: run from a project's folder, or write a manifest",)
