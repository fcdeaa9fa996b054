"""The directory of one run, and all directories: who runs, who ran, and nobody who does not (IEEE 2952 5.5.1 a, e).

    NAME/control   the supervisor's socket: whoever can connect to it has proof that the run is alive
    NAME/output    what a detached program wrote; `output.1` is what came before
    NAME/ended     how it ended, as JSON: kept for detached runs, and for runs that were refused something

A directory without a living supervisor and without `ended` is a trace of a death: whoever sees it, removes it. Every
step holds without a lock, because files are removed through a descriptor of the directory they were seen in. Hot.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET, socket
from errno import EEXIST, ENOTEMPTY

from belljar.libos.errors import NameTaken, SandboxUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CONTROL = "control"
ENDED = "ended"
OUTPUT = "output"
_NEW = ".new-"  # plus the pid of who makes it
_BACKLOG = 16
_MOST_ENDED = 20


class RunDirectory:
    """The directory of a run that is ours.

    Attributes:
        name: what the run is called; unique among living runs of this user.
        path: where the directory is.
        descriptor: the open directory.
        listener: the socket that answers, not blocking.
    """

    def __init__(self, folder: str, wanted: str, *, exact: bool, tell: Callable[[str], None]) -> None:
        """Claim a name.

        Args:
            folder: what `runs_folder` returned.
            wanted: the name; a number is added if it is taken.
            exact: refuse instead.
            tell: told of every path before something is there.

        Raises:
            NameTaken: an enclave of that name is running.
            SandboxUnavailable: the directory cannot be made.
        """
        fresh = os.path.join(folder, f"{_NEW}{os.getpid()}")
        tell(fresh)
        try:
            os.mkdir(fresh, 0o700)
            self.descriptor = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
            self.listener.bind(_socket_path(self.descriptor))
            self.listener.listen(_BACKLOG)
            self.name = _claim(folder, fresh, wanted, exact=exact, tell=tell)
        except NameTaken:
            _empty(self.descriptor)
            os.rmdir(fresh)
            raise
        except OSError as error:
            raise SandboxUnavailable(f"{folder}: cannot make the directory of a run: {error.strerror}") from error
        self.path = os.path.join(folder, self.name)

    def keep(self, content: bytes) -> None:
        """Leave word of how the run ended. Failing to is no failure of the run."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            descriptor = os.open(f"{ENDED}.new", flags, 0o600, dir_fd=self.descriptor)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.rename(f"{ENDED}.new", ENDED, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except OSError:
            pass
        _forget_oldest(os.path.dirname(self.path))

    def close(self) -> None:
        """Remove the directory, but for what `keep` left."""
        self.listener.close()
        remove(self.descriptor, self.path)
        os.close(self.descriptor)


def _claim(folder: str, fresh: str, wanted: str, *, exact: bool, tell: Callable[[str], None]) -> str:
    name, number = wanted, 1
    while True:
        tell(os.path.join(folder, name))
        try:
            os.rename(fresh, os.path.join(folder, name))
        except OSError as error:
            if error.errno not in (EEXIST, ENOTEMPTY):
                raise
        else:
            return name
        if remove_dead(os.path.join(folder, name), whole=True):
            continue
        if exact:
            raise NameTaken(name)
        number += 1
        name = f"{wanted}-{number}"


def _socket_path(directory: int) -> str:
    """Return the path of the socket through a descriptor: a socket's own path may have 107 bytes only."""
    return f"/proc/self/fd/{directory}/{CONTROL}"


def connect(directory: int) -> socket | None:
    """Return a connection to the supervisor of a run, or None if it has none any more.

    Raises:
        TimeoutError: there is one, but it does not take connections.
    """
    client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    client.setblocking(False)
    try:
        client.connect(_socket_path(directory))
    except BlockingIOError as error:
        client.close()
        raise TimeoutError("its supervisor does not answer") from error
    except OSError:  # nobody listens, or there is no socket any more
        client.close()
        return None
    return client


def is_alive(directory: int) -> bool:
    """Say whether a run has a supervisor."""
    try:
        client = connect(directory)
    except TimeoutError:
        return True
    if client is not None:
        client.close()
    return client is not None


def remove(directory: int, path: str, *, whole: bool = False) -> None:
    """Remove what a dead run left in an open directory, and the directory: `path` may be another's by now.

    Args:
        directory: the open directory.
        path: where it was.
        whole: also what is kept of runs that have ended.
    """
    try:
        names = os.listdir(directory)
    except OSError:
        return
    kept = not whole and ENDED in names
    try:
        for name in names:
            if not kept or name == CONTROL:
                os.unlink(name, dir_fd=directory)
        if not kept:
            os.rmdir(path)
    except OSError:  # somebody else is removing it, too, or has made a new one
        pass


def _empty(directory: int) -> None:
    for name in os.listdir(directory):
        os.unlink(name, dir_fd=directory)


def remove_dead(path: str, *, whole: bool = False) -> bool:
    """Remove the directory of a run that has no supervisor any more; say whether it had none."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        if is_alive(directory):
            return False
        remove(directory, path, whole=whole)
    finally:
        os.close(directory)
    return True


def names(folder: str) -> list[str]:
    """Return the names of runs that live or are kept, sorted, after removing the traces of those that died."""
    found: list[str] = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.startswith("."):
            if name.startswith(_NEW) and not os.path.exists(f"/proc/{name.removeprefix(_NEW)}"):
                remove_dead(path, whole=True)
        elif not remove_dead(path) or os.path.exists(os.path.join(path, ENDED)):
            found.append(name)
    return found


def _forget_oldest(folder: str) -> None:
    """Keep so many runs that have ended, the youngest."""
    ended: list[tuple[int, str]] = []
    for name in os.listdir(folder):
        try:
            ended.append((os.stat(os.path.join(folder, name, ENDED)).st_mtime_ns, name))
        except OSError:  # it lives, or has just gone
            continue
    for _, name in sorted(ended)[:-_MOST_ENDED]:
        remove_dead(os.path.join(folder, name), whole=True)
