"""`belljar run`: find or make the launch record, build the enclave, exit as its program did (IEEE 2952 5.1.3, B d).

Hot: the way from `execve` of belljar to the first byte of the guest. What is slow happens in a process of its own
(`processes/preparing.py`), when there is no record that holds.
"""

from __future__ import annotations

import os

from belljar.libos.enclave import EnclaveSpec, LibosError, Manner, ProgramNotStarted, Run, plan_here, run_enclave

from . import report
from .errors import LoaderError, ProgramNotExecutable, ProgramNotFound, UsageError
from .remembered import cache
from .remembered.history import History
from .remembered.record import Record, StaleRecord, check, decode, forget, remember_files
from .target import Target, check_name, parse_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .options import Parsed

_ENOENT = 2
_ENOTDIR = 20


def main(parsed: Parsed) -> int:
    """Run a program in an enclave; see `cli.py` for the options.

    Raises:
        LoaderError: nothing was run.
    """
    target = parse_words(parsed.words, parsed.options.get("signer", ""))
    if parsed.has("explain"):
        from .commands.derived import print_manifest

        return print_manifest(target)
    record = None if parsed.has("fresh") else _remembered(target)
    if record is None:
        record = _prepared(target, fresh=parsed.has("fresh"))
    spec = _complete(record, target)
    if parsed.has("dry-run"):
        history = History(cache.cache_folder(), record.key, spec)
        print(plan_here(spec, history.load()).describe())  # noqa: T201 - the result
        return 0
    if parsed.has("verbose"):
        report.note(f"measurement sha256:{spec.measurement.hex()}")
        if record.signer:
            report.note(f"signer {record.signer}")
    name = parsed.options.get("name")
    if name is not None:
        check_name(name)
    if parsed.has("detach"):
        from .processes.detached import run_detached

        return run_detached(name, lambda manner: _run(spec, record, manner, verbose=False))
    result = _result_descriptor(parsed)
    return _run(spec, record, Manner(name=name), verbose=parsed.has("verbose"), result=result)


def _result_descriptor(parsed: Parsed) -> int | None:
    """Return the descriptor for the result, closed to the program."""
    text = parsed.options.get("result")
    if text is None:
        return None
    try:
        os.set_inheritable(int(text), False)
    except (ValueError, OSError, OverflowError):
        raise UsageError(f"--result {text}: expected the number of an open descriptor") from None
    return int(text)


def _run(spec: EnclaveSpec, record: Record, manner: Manner, *, verbose: bool, result: int | None = None) -> int:
    history = History(cache.cache_folder(), record.key, spec)
    try:
        run = run_enclave(spec, history.load(), manner)
    except ProgramNotStarted as error:
        kind = ProgramNotFound if error.code in (_ENOENT, _ENOTDIR) else ProgramNotExecutable
        raise kind(f"{spec.executable}: cannot be executed in the enclave: {error}", hint=_hint(spec)) from error
    except LibosError as error:
        raise LoaderError(str(error), hint=error.hint) from error
    if run.outcome.reason == "integrity":
        forget(record)
    else:
        history.save(run.warmup)
        if (
            record.key[0] != "bundle"
        ):  # nothing a bundle serves can change what it is: changed files are found when read
            remember_files(record, run.opened)
    _report(run, record, verbose=verbose)
    if result is not None:
        from .commands.result import write_result

        write_result(result, run)
    return run.outcome.exit_code


def _hint(spec: EnclaveSpec) -> str:
    return f"is the interpreter of {spec.executable} in the enclave? Name it in the manifest: programs: [...]"


def _report(run: Run, record: Record, *, verbose: bool) -> None:
    outcome = run.outcome
    anew = "run it again, and it is measured anew: another enclave"
    if record.key[0] == "bundle":
        anew = f"belljar check {record.key[1]} names every file that is not as it was built"
    hint = anew if outcome.reason == "integrity" else None
    for note in outcome.notes:
        report.error(note, hint)
    if outcome.exit_code:
        for note in record.notes:
            report.note(f"note: {note}")
        if run.refused:
            from .commands.runs.explain import summary

            for line in summary(run.refused, run.name):
                report.note(line)
    if verbose:
        signal = "" if outcome.signal is None else f", signal {outcome.signal}"
        report.note(f"ended: {outcome.reason}{signal}, exit code {outcome.exit_code}")


def _remembered(target: Target) -> Record | None:
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


def _prepared(target: Target, *, fresh: bool) -> Record:
    """Have the record made by a process of its own, and return it.

    Raises:
        SystemExit: it failed, and has said why.
    """
    from .processes.preparing import prepare_elsewhere

    content, exit_code = prepare_elsewhere(target, fresh=fresh)
    if exit_code < 0:
        raise LoaderError(f"preparing the run was ended by signal {-exit_code}", hint="try again")
    if exit_code:
        raise SystemExit(exit_code)
    try:
        return decode(content, target.key())
    except StaleRecord as error:
        raise LoaderError("the launch record came out damaged") from error


def _complete(record: Record, target: Target) -> EnclaveSpec:
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
        from .patterns import matches

        for argument in extra:
            if not matches(pattern, argument):
                raise UsageError(f"argument {argument!r} does not match the manifest's pattern {pattern}")
