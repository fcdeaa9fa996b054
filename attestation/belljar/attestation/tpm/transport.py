"""How commands reach a TPM: a socket of swtpm, or the kernel's /dev/tpmrm0.

In comes an address, `unix:/path`, `tcp:host:port` or the path of a device; out comes something that sends one command
and returns one answer. Answers are bounded by what a TPM may send and by time. Behind a socket there is no resource
manager: `shared` says so, and the client cleans up after whoever was killed before it.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from typing import Protocol

from belljar.attestation.errors import PlatformRefused

MAX_ANSWER_BYTES = 4096  # TPM2_PT_MAX_RESPONSE_SIZE of every TPM there is
_HEADER_BYTES = 10
TIMEOUT_S = 60.0  # an RSA key on a slow chip takes 30


class Transport(Protocol):
    """A way to a TPM."""

    @property
    def shared(self) -> bool:
        """Whether somebody keeps what is loaded here apart from what others load."""
        ...

    def transact(self, command: bytes) -> bytes:
        """Return the answer to a command.

        Raises:
            PlatformRefused: there is none in time, or it is too long.
        """
        ...

    def close(self) -> None:
        """Let go of the way."""
        ...


class SocketTransport:
    """Raw commands over a stream, as `swtpm socket --server type=unixio` and `type=tcp` take them."""

    shared = False

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def transact(self, command: bytes) -> bytes:
        """Send a command and return its answer."""
        try:
            self._connection.sendall(command)
            header = self._read(_HEADER_BYTES)
            size = int.from_bytes(header[2:6], "big")
            if not _HEADER_BYTES <= size <= MAX_ANSWER_BYTES:
                raise PlatformRefused(f"the TPM announces {size} bytes, expected {_HEADER_BYTES} to {MAX_ANSWER_BYTES}")
            return header + self._read(size - _HEADER_BYTES)
        except TimeoutError as error:
            hint = "a software TPM serves one client at a time: is somebody else connected?"
            raise PlatformRefused("the TPM does not answer in time", hint=hint) from error
        except OSError as error:
            raise PlatformRefused(f"the TPM does not answer: {error}") from error

    def _read(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            part = self._connection.recv(size - len(content))
            if not part:
                raise PlatformRefused("the TPM hung up")
            content += part
        return content

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class DeviceTransport:
    """The kernel's device with a resource manager: one write, one read."""

    shared = True

    def __init__(self, descriptor: int, timeout_s: float) -> None:
        self._descriptor = descriptor
        self._timeout_s = timeout_s

    def transact(self, command: bytes) -> bytes:
        """Write a command and return its answer."""
        try:
            os.write(self._descriptor, command)
            if not select.select([self._descriptor], [], [], self._timeout_s)[0]:
                raise PlatformRefused(f"the TPM does not answer within {self._timeout_s:.0f} seconds")
            return os.read(self._descriptor, MAX_ANSWER_BYTES)
        except OSError as error:
            raise PlatformRefused(f"the TPM does not answer: {os.strerror(error.errno or 0)}") from error

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)


def connect(address: str, timeout_s: float = TIMEOUT_S) -> Transport:
    """Return a way to the TPM at an address.

    Args:
        address: as above.
        timeout_s: how long one answer may take.

    Raises:
        PlatformRefused: there is none.
    """
    kind, _, rest = address.partition(":")
    try:
        if kind == "unix":
            return _connected(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), rest, timeout_s)
        if kind == "tcp":
            host, _, port = rest.rpartition(":")
            return SocketTransport(socket.create_connection((host, int(port)), timeout_s))
        return DeviceTransport(_device(address), timeout_s)
    except ValueError as error:
        raise PlatformRefused(f"{address}: expected unix:/path, tcp:host:port or a device", hint=None) from error
    except OSError as error:
        hint = "is swtpm running there, or may this user use the device (group tss)?"
        raise PlatformRefused(f"{address}: {os.strerror(error.errno or 0)}", hint=hint) from error


def _connected(connection: socket.socket, path: str, timeout_s: float) -> Transport:
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return SocketTransport(connection)


def _device(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    if not stat.S_ISCHR(os.fstat(fd).st_mode):
        os.close(fd)
        raise PlatformRefused(f"{path}: not a device", hint="expected /dev/tpmrm0, unix:/path or tcp:host:port")
    return fd
