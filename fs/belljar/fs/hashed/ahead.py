"""Verify what the last run read before the guest asks for it, and hand it to the kernel's page cache.

In come the files of a `Warmup`; out go FUSE_NOTIFY_STORE messages. A thread of its own verifies while the enclave is
still being set up, holds still while setup needs the interpreter, then stores. What is stored was verified like
everything else; what cannot be verified is left for the guest to ask for, and to be refused.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from itertools import chain, islice

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

_MAX_READY = 128  # chunks held until they may be stored: 8 MiB


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
        self._device = -1
        self._closed = False
        self._gate = allocate_lock()  # held by whoever wants this thread to stand still
        self._decided = allocate_lock()  # held until `store` or `close`
        self._ended = allocate_lock()  # held while the thread lives
        self._decided.acquire()
        if files:
            self._ended.acquire()
            start_new_thread(self._run, ())

    def pause(self) -> None:
        """Stand still until `store`: requests are waiting that need the interpreter."""
        self._gate.acquire()

    def store(self, device: int) -> None:
        """Hand over what is verified, and go on. The kernel must have looked the files up by now.

        Args:
            device: /dev/fuse; duplicated here.
        """
        self._device = os.dup(device)
        self._gate.release()
        self._decided.release()

    def close(self) -> None:
        """End, and wait until that has happened."""
        self._closed = True
        for lock in (self._gate, self._decided):
            if lock.locked():
                lock.release()
        with self._ended:
            pass

    def _run(self) -> None:
        try:
            verified = self._verified()
            ready = list(islice(verified, _MAX_READY))
            self._decided.acquire()
            for source, entry, chunk in chain(ready, verified):
                content = source.take_ready(entry, chunk)
                if self._closed or content is None:  # None: the guest was faster
                    continue
                node = node_of(self._sources.index(source), entry)
                os.write(self._device, protocol.notify_store(node, chunk * layout.CHUNK_BYTES, content))
                self._usage.read(node, chunk, chunk)
        except OSError:  # the guest has gone, or the kernel has forgotten the file: both are no loss
            pass
        finally:
            if self._device >= 0:
                os.close(self._device)
            self._ended.release()

    def _verified(self) -> Iterator[tuple[Source, int, int]]:
        """Yield (source, entry, chunk) of what is as it was measured, and now ready."""
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
