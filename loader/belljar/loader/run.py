"""`belljar run`: find or make the launch record, build the enclave, exit as its program did (IEEE 2952 5.1.3, B d).

Hot: the way from `execve` of belljar to the first byte of the guest. What is slow happens in a process of its own
(`processes/preparing.py`), when there is no record that holds.
"""

from __future__ import annotations

import os

from belljar.libos.enclave import (
    Caller,
    EnclaveSpec,
    LibosError,
    Manner,
    ProgramNotStarted,
    Run,
    VolumeMount,
    plan_here,
    run_enclave,
)

from . import report
from .errors import LoaderError, ProgramNotExecutable, ProgramNotFound, UsageError
from .remembered import cache
from .remembered.history import History
from .remembered.recall import complete, recall
from .remembered.record import Record, StaleRecord, decode, forget, remember_files
from .target import Target, check_name, parse_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.keeping import Credential

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
    record = None if parsed.has("fresh") else recall(target)
    if record is None:
        record = _prepared(target, fresh=parsed.has("fresh"))
    spec = complete(record, target)
    if parsed.has("listen"):
        from .networks.elsewhere import listening_at

        spec = listening_at(spec, parsed.each("listen"))
    if parsed.has("dry-run"):
        history = History(cache.cache_folder(), record.key, spec)
        print(plan_here(spec, history.load()).describe())  # noqa: T201 - the result
        return 0
    if parsed.has("verbose"):
        say_start(spec, record)
    name = parsed.options.get("name")
    if name is not None:
        check_name(name)
    if parsed.has("detach"):
        from .processes.detached import run_detached

        return run_detached(name, lambda manner: _run(spec, record, manner, verbose=False))
    result = result_descriptor(parsed)
    return _run(spec, record, Manner(name=name), verbose=parsed.has("verbose"), result=result)


def result_descriptor(parsed: Parsed) -> int | None:
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
    run = run_recorded(spec, history, manner)
    say_end(run, record, verbose=verbose)
    keep(run, record, history)
    if result is not None:
        from .commands.result import write_result

        write_result(result, run)
    return run.outcome.exit_code


def run_recorded(spec: EnclaveSpec, history: History, manner: Manner, caller: Caller | None = None) -> Run:
    """Run an enclave to its end.

    Raises:
        LoaderError: its program never ran.
        NotCommissioned: the caller does not want it.
    """
    try:
        return run_enclave(spec, history.load(), manner, caller, lambda mount: _credential_of(spec, mount))
    except ProgramNotStarted as error:
        kind = ProgramNotFound if error.code in (_ENOENT, _ENOTDIR) else ProgramNotExecutable
        raise kind(f"{spec.executable}: cannot be executed in the enclave: {error}", hint=_hint(spec)) from error
    except LibosError as error:
        raise LoaderError(str(error), hint=error.hint) from error


def _credential_of(spec: EnclaveSpec, mount: VolumeMount) -> Credential:
    from .commands.volumes.keys.credentials import credential_of_mount

    return credential_of_mount(spec, mount)


def keep(run: Run, record: Record, history: History) -> None:
    """Remember what later runs of the record gain from."""
    if run.outcome.reason == "integrity":
        forget(record)
        return
    history.save(run.warmup)
    if record.key[0] != "bundle":  # nothing it serves can change what it is: changed files are found when read
        remember_files(record, run.opened)


def _hint(spec: EnclaveSpec) -> str:
    return f"is the interpreter of {spec.executable} in the enclave? Name it in the manifest: programs: [...]"


def say_start(spec: EnclaveSpec, record: Record) -> None:
    """Say what is about to run."""
    report.note(f"measurement sha256:{spec.measurement.hex()}")
    if record.signer:
        report.note(f"signer {record.signer}")


def say_end(run: Run, record: Record, *, verbose: bool) -> None:
    """Say what a person should know of how a run ended."""
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
