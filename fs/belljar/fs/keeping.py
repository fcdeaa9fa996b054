"""Door of this house to those who keep volumes: headers, key slots, resets of anchors, backups. Cold."""

from __future__ import annotations

from .errors import BackupRefused, CredentialRefused, VolumeCorrupt, VolumeRefused
from .volume.anchors.layout import Reset
from .volume.backup.layout import Backup, Digest
from .volume.backup.repository import Listed, Repository
from .volume.backup.restore import restore
from .volume.backup.source import Progress, Source
from .volume.backup.store import open_store
from .volume.backup.verify import Pruned, Verified, prune, verify
from .volume.backup.write import Written, back_up
from .volume.header.change import add_slot, remove_slot, replace_slot
from .volume.header.layout import HEADER_BYTES
from .volume.header.model import Header, Slot
from .volume.header.store import unverified_header
from .volume.header.unlock import Unlocked, format_header, unlock
from .volume.header.wipe import wipe_headers
from .volume.offline.check import Report
from .volume.portable import sync_folder, take_lock
from .volume.slots.key_file import MAX_FILE_BYTES, KeyFile
from .volume.slots.kinds import Credential, Enrolment, describe, kind_name
from .volume.slots.owner_keys import (
    NAMES,
    OwnerPrivateKey,
    generate_owner_key,
    load_owner_private,
    load_owner_public,
)
from .volume.slots.passphrase import MAX_PASSPHRASE_BYTES, Cost, Passphrase, passphrase_bytes
from .volume.slots.public_key import Owner, Recipient
from .volume.slots.sealed import SealedBy, Sealer
from .writable.tree import Attributes, Changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .writable.tree import WritableTree
else:  # a name for type checkers only
    WritableTree = None

__all__ = [
    "HEADER_BYTES",
    "MAX_FILE_BYTES",
    "MAX_PASSPHRASE_BYTES",
    "NAMES",
    "Attributes",
    "Backup",
    "BackupRefused",
    "Changes",
    "Cost",
    "Credential",
    "CredentialRefused",
    "Digest",
    "Enrolment",
    "Header",
    "KeyFile",
    "Listed",
    "Owner",
    "OwnerPrivateKey",
    "Passphrase",
    "Progress",
    "Pruned",
    "Recipient",
    "Report",
    "Repository",
    "Reset",
    "SealedBy",
    "Sealer",
    "Slot",
    "Source",
    "Unlocked",
    "Verified",
    "VolumeCorrupt",
    "VolumeRefused",
    "WritableTree",
    "Written",
    "add_slot",
    "back_up",
    "describe",
    "format_header",
    "generate_owner_key",
    "kind_name",
    "load_owner_private",
    "load_owner_public",
    "open_store",
    "passphrase_bytes",
    "prune",
    "remove_slot",
    "replace_slot",
    "restore",
    "sync_folder",
    "take_lock",
    "unlock",
    "unverified_header",
    "verify",
    "wipe_headers",
]
