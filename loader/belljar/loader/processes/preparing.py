"""Prepare a run in a process of its own, with a progress bar: `python -m … PARENT FD HOW SIGNER WORDS…`.

The caller's side (`prepare_elsewhere`) is hot; the other side imports whatever it needs. What it makes comes back
through a pipe, so it works where no cache can be written; what it has to say goes to stderr.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.loader.target import Target


_FRESH = "fresh"
_USUAL = "usual"


def prepare_elsewhere(target: Target, *, fresh: bool) -> tuple[bytes, int]:
    """Return (encoded record, 0), or (whatever, exit code) if the other process failed and said why."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    words = [target.manifest] if target.manifest is not None else ["--", *target.command]
    # -P: the folder we stand in must not be able to bring modules of its own.
    command = [
        sys.executable,
        "-P",
        "-m",
        __spec__.name,
        str(os.getpid()),
        str(writer),
        _FRESH if fresh else _USUAL,
        target.signer,
        *words,
    ]
    quiet = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    try:
        pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=quiet)
        os.close(writer)
        parts: list[bytes] = []
        while part := os.read(reader, 1 << 20):
            parts.append(part)
    finally:
        os.close(reader)
    return b"".join(parts), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(words: list[str]) -> int:
    """Make a record and write it to the descriptor that the words name."""
    from belljar.libos.probing import end_with_parent
    from belljar.loader import report
    from belljar.loader.commands.errors import loader_errors
    from belljar.loader.commands.progress import hashing_progress
    from belljar.loader.errors import LoaderError
    from belljar.loader.prepare import prepare, prepare_bundle
    from belljar.loader.remembered.record import encode
    from belljar.loader.target import parse_words

    parent, descriptor, how, signer, *wanted = words
    end_with_parent(int(parent))
    try:
        with loader_errors(), hashing_progress() as progress:
            target = parse_words(wanted, signer)
            fresh = how == _FRESH
            record = prepare_bundle(target) if target.is_bundle else prepare(target, progress, fresh=fresh)
    except LoaderError as error:
        report.error(str(error), error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    try:
        with os.fdopen(int(descriptor), "wb") as pipe:
            pipe.write(encode(record))
    except BrokenPipeError:  # who asked has gone
        return LoaderError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
