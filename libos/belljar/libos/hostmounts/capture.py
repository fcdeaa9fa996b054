"""Capture bind mounts of the host as detached mounts, while we can still see and reach them.

Where we are root, the supervisor does this and maps the owner of the source to the guest's user; elsewhere the guest's
side does it in its own user namespace, where ids are the caller's anyway.
"""

from __future__ import annotations

import os
from errno import EINVAL, EPERM

from belljar.libos import kernel

from .owners import owner_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.libos.plan.build import IdMap
    from belljar.libos.spec import HostMount


def capture(mount: HostMount, ids: IdMap | None = None) -> int:
    """Return a descriptor of a detached bind mount with the attributes of `mount`.

    Args:
        mount: what to bind.
        ids: the enclave's id map, to map the owner of the source to the guest's user; None to map nothing.

    Raises:
        OSError: the source is missing, or the kernel refused.
    """
    descriptor = kernel.open_tree(mount.source, kernel.OPEN_TREE_CLONE | kernel.AT_RECURSIVE)
    try:
        attributes = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
        if not mount.writable:
            attributes |= kernel.MOUNT_ATTR_RDONLY
        if not mount.executable:
            attributes |= kernel.MOUNT_ATTR_NOEXEC
        kernel.mount_setattr(descriptor, kernel.AT_RECURSIVE, attributes)
        if ids is not None:
            _map_owner(descriptor, mount.source, ids)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _map_owner(descriptor: int, source: str, ids: IdMap) -> None:
    namespace = owner_namespace(source, ids)
    try:
        kernel.mount_setattr(descriptor, 0, kernel.MOUNT_ATTR_IDMAP, namespace)
    except OSError as error:
        # A file system without id-mapped mounts: permission bits for others decide, as without us.
        if error.errno not in (EINVAL, EPERM):
            raise
    finally:
        os.close(namespace)
