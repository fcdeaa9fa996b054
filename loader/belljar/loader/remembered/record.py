"""A launch record: everything a run needs, made once by `prepare.py`, read by every later run in a millisecond.

In comes what was resolved and measured; out come bytes, and back. A record says on which host files and environment it
depends; a run first looks whether those are as they were. What it does not look at, because the last runs did not use
it, is still verified by content when it is served, so a stale record can stop an enclave but never change one.
Hot.
"""

from __future__ import annotations

import os

from belljar.libos.enclave import SPEC_KINDS, EnclaveSpec, Value, of_plain
from belljar.loader.version import VERSION

from . import cache

FORMAT = f"{VERSION} record 7"  # another version may resolve, plan or measure in another way
RACY_NS = 2_000_000_000  # as belljar.fs.measuring: younger stamps do not prove that nothing changed
MAX_INPUTS = 20_000  # looking at more would cost more than it saves

TYPE_CHECKING = False
if TYPE_CHECKING:
    Stamp = tuple[int, int, int, int, int]


class StaleRecord(Exception):
    """A record is damaged, of another version, or something it depends on has changed."""


class Record(Value):
    """What a run needs.

    Attributes:
        key: what was asked for.
        prepared_ns: when, before anything was looked at.
        inputs: (host path, its stamp without following links): directories, programs, manifests, used files.
        spec: the enclave; its argv is the manifest's.
        passed: names of environment variables that come from the caller.
        arguments: "none", "any" or a regular expression for what a caller adds.
        canonical: canonical manifest before and after its argv; together with it they are what is measured.
        signer: who signed the bundle, as "sha256:…"; empty for what nobody signed.
        notes: what to tell a person when the run fails.
    """

    key: tuple[object, ...]
    prepared_ns: int
    inputs: tuple[tuple[str, Stamp], ...]
    spec: EnclaveSpec
    passed: tuple[str, ...]
    arguments: tuple[str, str]
    canonical: tuple[bytes, bytes]
    signer: str
    notes: tuple[str, ...]


_KINDS: dict[str, type[Value]] = {**SPEC_KINDS, Record.__name__: Record}


def encode(record: Record) -> bytes:
    """Return the bytes of a record."""
    return cache.dumps([FORMAT, record.inputs, record.replace(inputs=()).plain()])  # inputs are plain, and many


def decode(content: bytes, key: tuple[object, ...]) -> Record:
    """Return the record in `content`.

    Raises:
        StaleRecord: it is damaged, or made by another version or for another key.
    """
    known = cache.loads(content)
    if known is None or known[0] != FORMAT:
        raise StaleRecord
    try:
        record = of_plain(known[2], _KINDS)
    except (ValueError, KeyError) as error:
        raise StaleRecord from error
    if not isinstance(record, Record) or record.key != key:
        raise StaleRecord
    return record.replace(inputs=known[1])


def remember_files(record: Record, opened: dict[str, Stamp]) -> None:
    """Let later starts look at the files a run has read, and at the folders above them.

    The files were verified, so their stamps are good ones; the folders' are those they were measured with.
    """
    known = {path for path, _ in record.inputs}
    new = {path: stamp for path, stamp in opened.items() if path not in known}
    if not new or len(known) + len(new) > MAX_INPUTS:
        return
    folder = cache.cache_folder()
    try:
        measured: dict[str, Stamp] = cache.fetch(cache.folders_path(folder, record.key)) or {}
        for path in [*new]:
            above = os.path.dirname(path)
            while above in measured and above not in known and above not in new:
                new[above] = measured[above]
                above = os.path.dirname(above)
        cache.write_whole(
            cache.record_path(folder, record.key), encode(record.replace(inputs=(*record.inputs, *new.items())))
        )
    except OSError:  # the next run looks again
        pass


def forget(record: Record) -> None:
    """Have the next run look at every file: one was found changed."""
    folder = cache.cache_folder()
    names = [os.path.basename(cache.record_path(folder, record.key))]
    names += [name for name in os.listdir(folder) if name.startswith(cache.PROGRAMS)]
    for name in names:
        try:
            os.unlink(os.path.join(folder, name))
        except OSError:
            pass


def check(record: Record) -> None:
    """Look whether what a record depends on is as it was.

    Raises:
        StaleRecord: something changed, or changed so shortly before that nobody can tell.
    """
    youngest = record.prepared_ns - RACY_NS
    for path, known in record.inputs:
        try:
            status = os.lstat(path)
        except OSError as error:
            raise StaleRecord(path) from error
        found = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if found != known or status.st_ctime_ns >= youngest:
            raise StaleRecord(path)
