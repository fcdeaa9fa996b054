"""Map the owner of a host directory to the guest's user, for one mount only (MOUNT_ATTR_IDMAP, Linux 5.12).

As root, guest ids are host ids that own nothing. Without a mapping, a guest could not even write into a folder that the
caller gave it. The mapping holds on that mount alone: everywhere else the guest stays nobody.
"""

from __future__ import annotations

import os

from belljar.libos import kernel
from belljar.libos.interfaces import write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.libos.plan.build import IdMap


def owner_namespace(source: str, ids: IdMap) -> int:
    """Return a descriptor of a user namespace that maps the owner of `source` to the guest's user.

    Raises:
        OSError: the source is missing, or the kernel refused.
    """
    status = os.stat(source)
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.unshare(kernel.CLONE_NEWUSER)
            os.write(ready[1], b".")
            os.close(done[1])
            os.read(done[0], 1)  # until the parent has what it wants, or is dead
        finally:
            os._exit(0)
    os.close(ready[1])
    os.close(done[0])
    try:
        if not os.read(ready[0], 1):
            raise OSError(1, "cannot create a user namespace for the mount", source)
        write_text(f"/proc/{pid}/uid_map", f"{status.st_uid} {ids.uids[-1][1]} 1\n")
        write_text(f"/proc/{pid}/gid_map", f"{status.st_gid} {ids.gids[-1][1]} 1\n")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready[0])
        os.close(done[1])
        os.waitpid(pid, 0)
