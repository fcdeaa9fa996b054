"""Layouts of the requests and replies of a writable file system, against include/uapi/linux/fuse.h."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from belljar.fs.fuse import protocol, writing
from belljar.fs.writable.tree import Attributes

NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name)
SHOWN = Attributes(7, 0o100644, 2, 1000, 1001, 0, 1025, 8, 1_700_000_000_000_000_123, -1, 5_000_000_006)


def test_sizes_are_those_of_the_kernel() -> None:
    sizes = {
        "fuse_setattr_in": (writing.SETATTR_IN.size, 88),
        "fuse_mknod_in": (writing.MKNOD_IN.size, 16),
        "fuse_mkdir_in": (writing.MKDIR_IN.size, 8),
        "fuse_rename_in": (writing.RENAME_IN.size, 8),
        "fuse_rename2_in": (writing.RENAME2_IN.size, 16),
        "fuse_link_in": (writing.LINK_IN.size, 8),
        "fuse_create_in": (writing.CREATE_IN.size, 16),
        "fuse_write_in": (writing.WRITE_IN.size, 40),
        "fuse_write_out": (writing.WRITE_OUT.size, 8),
        "fuse_setxattr_in (short)": (writing.SETXATTR_IN.size, 8),
        "fuse_getxattr_in": (writing.GETXATTR_IN.size, 8),
        "fuse_getxattr_out": (writing.GETXATTR_OUT.size, 8),
        "fuse_fallocate_in": (writing.FALLOCATE_IN.size, 32),
        "fuse_lseek_in": (writing.LSEEK_IN.size, 24),
        "fuse_lseek_out": (writing.LSEEK_OUT.size, 8),
        "fuse_copy_file_range_in": (writing.COPY_FILE_RANGE_IN.size, 56),
        "fuse_forget_in": (writing.FORGET_IN.size, 8),
        "fuse_batch_forget_in": (writing.BATCH_FORGET_IN.size, 8),
        "fuse_forget_one": (writing.FORGET_ONE.size, 16),
        "fuse_notify_inval_inode_out": (writing.NOTIFY_INVAL_INODE_OUT.size, 24),
        "fuse_entry_out": (writing.ENTRY_OUT.size, 128),
        "fuse_attr_out": (writing.ATTR_OUT.size, 104),
        "fuse_direntplus": (writing.DIRENTPLUS_OUT.size, protocol.DIRENTPLUS.size),
    }
    assert all(found == expected for found, expected in sizes.values()), sizes


def test_attributes_golden() -> None:
    attr = struct.pack(
        "<3Q3q10I", 7, 1025, 8, 1_700_000_000, -1, 5, 123, 999_999_999, 6, 0o100644, 2, 1000, 1001, 0, 4096, 0
    )  # fmt: skip
    forever = protocol.FOREVER_S
    assert writing.attributes_reply(SHOWN) == struct.pack("<QII", forever, 0, 0) + attr
    assert writing.entry_reply(SHOWN) == struct.pack("<QQQQII", 7, 0, forever, forever, 0, 0) + attr


@given(NAMES, st.integers(0, 1 << 62))
def test_a_listing_entry_is_an_entry_and_a_dirent(name: bytes, offset: int) -> None:
    whole = writing.direntplus(SHOWN, offset, name)
    assert whole == writing.entry_reply(SHOWN) + protocol.dirent(7, offset, name, 0o100644)


@given(NAMES, NAMES, st.binary(max_size=40))
def test_names_of_a_request(one: bytes, two: bytes, before: bytes) -> None:
    request = before + one + b"\0" + two + b"\0"
    assert writing.request_name(request, len(before)) == one
    assert writing.request_names(request, len(before)) == (one, two)


def test_notification_golden() -> None:
    assert writing.notify_inval_inode(5, 4096) == struct.pack("<IiQQqq", 40, 2, 0, 5, 4096, 0)
