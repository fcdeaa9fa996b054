"""The bytes of a volume behind its header, shared by every room here; documented in docs/formats/volume.md.

    0        header, two copies (docs/formats/volume-header.md; not ours)
    131072   root slot 0      one root record of 4096 bytes each; generation n stands in slot n mod 2
    135168   root slot 1
    139264   blocks of 4096 bytes: nodes of the tree and chunks of content, all of it ciphertext

Everything is big endian, so that keys sort as the numbers in them do.
"""

from __future__ import annotations

from struct import Struct

MAGIC = b"BELLJVOL"
VERSION = 1
AES_256_GCM = 1  # algorithm numbers: HKDF-SHA-256 with AES-256-GCM; another one gets a new number
ALGORITHMS = {AES_256_GCM: "AES-256-GCM"}

BLOCK_BYTES = 4096
HEADER_BYTES = 131072
ROOT_OFFSETS = (131072, 135168)
FIRST_BLOCK = 34  # what lies before it is header and root slots
CHUNK_BYTES = 65536
CHUNK_BITS = 16
CHUNK_BLOCKS = CHUNK_BYTES // BLOCK_BYTES
TAG_BYTES = 16
EPOCH_BYTES = 16
ID_BYTES = 16
KEY_BYTES = 32
MAX_USES = 1 << 32  # invocations per epoch: NIST SP 800-38D 8.3 allows as many per key; the counter has 32 bits

NODE_BYTES = 16384  # a node is at most this long, and at least one block
NODE_HEAD = Struct(">BxH")  # level count; then lengths of keys, lengths of values (leaves), keys, values
BLOCKS_PER_NODE = NODE_BYTES // BLOCK_BYTES
MIN_NODE_BYTES = 4096  # a smaller one is joined with a neighbour where both fit well
JOINED_NODE_BYTES = 12288
MAX_LEVEL = 16
POINTER = Struct(">QHQ16sI16s")  # block blocks generation epoch counter tag
POINTER_BYTES = POINTER.size  # 54

GROUP_BLOCKS = 16384  # one bitmap: 64 MiB of container in 2 KiB
BITMAP_BYTES = GROUP_BLOCKS // 8

KEY_HEAD = Struct(">QB")  # object kind
KEY_NUMBER = Struct(">QBQ")  # object kind number
OBJECT_VOLUME = 0
KIND_SNAPSHOT = 1  # (0, kind, name)
KIND_BITMAP = 2  # (0, kind, group)
KIND_ORPHAN = 3  # (0, kind, inode)
KIND_INODE = 16  # (inode, kind)
KIND_TARGET = 17  # (inode, kind)
KIND_INLINE = 18  # (inode, kind)
KIND_XATTR = 19  # (inode, kind, name)
KIND_ENTRY = 20  # (inode, kind, cookie)
KIND_EXTENT = 21  # (inode, kind, chunk number)
KIND_END = 255

INODE = Struct(">IIIIIIQQQqqq")  # mode nlink uid gid rdev flags size blocks parent atime mtime ctime
FLAG_INLINE = 1  # the beginning of the content is in the tree
FLAG_XATTR = 2  # there are, or were, extended attributes
ENTRY = Struct(">QB")  # inode, S_IFMT >> 12; then the name
SNAPSHOT = Struct(">Q54sBQQQqB")  # generation root level next_ino inodes used time_ns lineage
ROOT_HEAD = Struct(">8sHHI16sI28x")  # magic version algorithm slot epoch counter
ROOT_BODY = Struct(">Q32s54sBQQQQq")  # generation previous root level next_ino inodes used end time_ns
ROOT_BODY_BYTES = BLOCK_BYTES - ROOT_HEAD.size - TAG_BYTES

MAX_INLINE = 2048
MAX_NAME = 255  # NAME_MAX
MAX_TARGET = 4095  # PATH_MAX, less its NUL
MAX_XATTR = 4096  # as ext4: one block
MAX_LINKS = 65000  # as ext4
MAX_FILE = (1 << 63) - 1
COOKIE_SLOTS = 8  # names of one directory whose hashes of 60 bits are equal: one in 10^6 directories of 10^6 names
ROOT_INO = 1


def number_key(thing: int, kind: int, number: int) -> bytes:
    """Return the key (object, kind, number)."""
    return KEY_NUMBER.pack(thing, kind, number)


def head_key(thing: int, kind: int, rest: bytes = b"") -> bytes:
    """Return the key (object, kind, rest)."""
    return KEY_HEAD.pack(thing, kind) + rest
