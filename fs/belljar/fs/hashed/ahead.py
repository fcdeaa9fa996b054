"""Verify what the last run read before the guest asks for it, and hand it to the kernel's page cache.

In come the files of a `Warmup`; out go FUSE_NOTIFY_STORE messages. A thread of its own verifies while the enclave is
still being set up, and holds still while setup needs the interpreter; what it has verified is stored before the program
starts. What is stored was verified like everything else; what cannot be verified is left for the guest to ask for, and
to be refused.

Nothing may be stored while a program of the guest runs: the kernel waits for a page that somebody reads just now until
we have answered that read, and if we are killed in between, for ever. A test that kills a thousand supervisors found
it once (docs/decisions/0017-stored-before-the-program.md).
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from itertools import islice

from belljar.fs.errors import FsError
from belljar.fs.fuse import protocol

from . import layout
from .tree import node_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .content import Source
    from .usage import Usage

    Files = tuple[tuple[str, int, int, tuple[int, ...]], ...]
    Chunk = tuple[Source, int, int]

_MAX_READY = 128  # chunks held until somebody takes them: 8 MiB, and as much again once the program runs
_UNUSED_S = 2.0  # what no read has taken by then, none will: this run does not do what the last one did


class ReadAhead:
    """Reads ahead for one enclave.

    Args:
        sources: of the guest's tree; must stay open until `close`.
        files: (guest path, source number, entry, chunks) that the last run read, in that order.
        usage: told of every chunk that is stored: the guest can use it and nobody will hear of it.
    """

    def __init__(self, sources: list[Source], files: Files, usage: Usage) -> None:
        self._sources = sources
        self._usage = usage
        self._files = files
        self._closed = False
        self._chunks = self._verified()
        self._ready: list[Chunk] = []
        self._gate = allocate_lock()  # held by whoever wants this thread to stand still
        self._first = allocate_lock()  # held until the first chunks are verified
        self._decided = allocate_lock()  # held until `store` or `close`
        self._ended = allocate_lock()  # held while the thread lives
        self._over = allocate_lock()  # held until `close`
        self._over.acquire()
        self._decided.acquire()
        if files:
            self._first.acquire()
            self._ended.acquire()
            start_new_thread(self._run, ())

    def pause(self) -> None:
        """Stand still until `store`: requests are waiting that need the interpreter."""
        self._gate.acquire()

    def store(self, device: int, *, everything: bool) -> None:
        """Hand over what is verified. The kernel must have looked the files up; no program may run yet.

        Args:
            device: /dev/fuse.
            everything: verify all of it first, however long that takes.
        """
        self._gate.release()
        if everything:
            with self._first:
                pass
        for chunk in list(self._ready):
            self._store(device, chunk)
        if everything:
            for chunk in self._chunks:
                self._store(device, chunk)
        self._decided.release()

    def _store(self, device: int, chunk: Chunk) -> None:
        source, entry, number = chunk
        content = source.take_ready(entry, number)
        if content is None:
            return
        node = node_of(self._sources.index(source), entry)
        try:
            os.write(device, protocol.notify_store(node, number * layout.CHUNK_BYTES, content))
        except OSError:  # the kernel does not know the file, or forgot it: no loss
            return
        self._usage.read(node, number, number)

    def close(self) -> None:
        """End, and wait until that has happened."""
        self._closed = True
        for lock in (self._gate, self._decided, self._over):
            if lock.locked():
                lock.release()
        with self._ended:
            pass

    def _run(self) -> None:
        try:
            for chunk in islice(self._chunks, _MAX_READY):
                self._ready.append(chunk)
            self._first.release()
            self._decided.acquire()
            self._ready += islice(self._chunks, _MAX_READY)  # for reads that come
            if not self._over.acquire(timeout=_UNUSED_S):
                self._give_back()
        finally:
            if self._first.locked():
                self._first.release()
            self._ended.release()

    def _give_back(self) -> None:
        """Drop what nobody took, and return to the system what was used for the start: 4 of 13 MiB, measured."""
        for source, entry, number in self._ready:
            source.take_ready(entry, number)
        self._ready = []
        import ctypes  # 3 ms; runs that end sooner never come here

        try:
            ctypes.CDLL(None).malloc_trim(0)
        except AttributeError:  # another libc than glibc
            pass

    def _verified(self) -> Iterator[Chunk]:
        """Yield what is as it was measured, and now ready."""
        for _, number, entry, chunks in self._files:
            if number >= len(self._sources):
                return
            source = self._sources[number]
            for chunk in chunks:
                with self._gate:
                    pass
                if self._closed:
                    return
                try:
                    source.make_ready(entry, chunk)
                except FsError:
                    continue
                yield source, entry, chunk
