"""The supervisor's end of the line to who gives sockets of the guest's network (guest/sockets.py).

One request at a time; in the gateway's thread only. The other side is our own code, and answers at once or is gone.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque

from .served import NotServed

_AT_ONCE = 8
_MAX_ANSWER = 16
_MAX_DESCRIPTORS = 32


class Sockets:
    """Makes connections to the guest.

    Args:
        line: our end of the line; it belongs to this object from here on.
    """

    def __init__(self, line: int) -> None:
        self._line = socket.socket(fileno=line)
        self._line.setblocking(False)
        self._asking = asyncio.Lock()
        self._refilling = asyncio.Lock()
        self._stock: deque[socket.socket] = deque()

    async def unconnected(self) -> socket.socket:
        """Return a TCP socket of the guest's network; it is the caller's.

        Raises:
            OSError: there is none to be had.
            NotServed: nobody gives sockets any more.
        """
        while not self._stock:
            await asyncio.shield(asyncio.ensure_future(self._refill()))
        return self._stock.popleft()

    async def _refill(self) -> None:
        async with self._refilling:  # of many who wait, the first fills: else each would, and the stock would never end
            if not self._stock:
                self._stock.extend(await self._ask(b"tcp %d" % _AT_ONCE))

    async def connected(self, path: str) -> socket.socket:
        """Return a socket that is connected to a path of the guest.

        Whoever gives up waiting must not mix up later answers, nor leak this one.

        Raises:
            OSError: nobody listens there.
            NotServed: nobody gives sockets any more.
        """
        asking = asyncio.ensure_future(self._ask(b"unix " + os.fsencode(path)))
        try:
            return (await asyncio.shield(asking))[0]
        except asyncio.CancelledError:
            asking.add_done_callback(_drop)
            raise

    async def _ask(self, request: bytes) -> list[socket.socket]:
        async with self._asking:
            try:
                await asyncio.get_running_loop().sock_sendall(self._line, request)
                answer, descriptors = await self._answer()
            except OSError as error:
                raise NotServed("nobody gives sockets of the enclave any more") from error
        if answer == b"0" and not descriptors:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))  # they came, and there was no room for them here
        code = int(answer or b"%d" % errno.EIO)
        if code:
            raise OSError(code, os.strerror(code))
        return [_owned(descriptor) for descriptor in descriptors]

    async def _answer(self) -> tuple[bytes, list[int]]:
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._line, _settle, readable)
        try:
            await readable
        finally:
            loop.remove_reader(self._line)
        answer, descriptors, _, _ = socket.recv_fds(self._line, _MAX_ANSWER, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        return answer, descriptors

    def close(self) -> None:
        """Let go of the line, which ends the other side, and of sockets in stock."""
        for made in self._stock:
            made.close()
        self._stock.clear()
        self._line.close()


def _settle(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


def _drop(asked: asyncio.Future[list[socket.socket]]) -> None:
    if not asked.cancelled() and asked.exception() is None:
        for made in asked.result():
            made.close()


def _owned(descriptor: int) -> socket.socket:
    made = socket.socket(fileno=descriptor)
    made.setblocking(False)
    return made
