"""The bytes of FUSE messages, against layouts computed by hand from include/uapi/linux/fuse.h."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from belljar.fs.fuse import protocol


def test_sizes_are_those_of_the_kernel() -> None:
    sizes = {
        "fuse_in_header": (protocol.IN_HEADER.size, 40),
        "fuse_out_header": (protocol.OUT_HEADER.size, 16),
        "fuse_init_out": (protocol.INIT_OUT.size, 64),
        "fuse_attr": (protocol.ATTR.size, 88),
        "fuse_entry_out": (protocol.ENTRY_HEAD.size + protocol.ATTR.size, 128),
        "fuse_attr_out": (protocol.ATTR_HEAD.size + protocol.ATTR.size, 104),
        "fuse_open_out": (protocol.OPEN_OUT.size, 16),
        "fuse_dirent": (protocol.DIRENT.size, 24),
        "fuse_direntplus": (protocol.DIRENTPLUS.size, 152),
        "fuse_statfs_out": (protocol.STATFS_OUT.size, 80),
        "fuse_notify_store_out": (protocol.NOTIFY_STORE_OUT.size, 24),
    }
    assert all(found == expected for found, expected in sizes.values()), sizes


def test_attributes_golden() -> None:
    packed = protocol.attributes(7, 0o100444, 1025, 1_700_000_000_000_000_123, 2)
    assert packed == struct.pack(
        "<6Q10I", 7, 1025, 3, *[1_700_000_000] * 3, *[123] * 3, 0o100444, 2, 0, 0, 0, 4096, 0
    )  # fmt: skip


def test_times_before_1970_travel_as_twos_complement() -> None:
    packed = protocol.attributes(1, 0o100444, 0, -1)
    seconds, nanoseconds = struct.unpack_from("<q", packed, 32)[0], struct.unpack_from("<I", packed, 52)[0]
    assert (seconds, nanoseconds) == (-1, 999_999_999)


@given(st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name), st.integers(0, 1 << 62))
def test_a_listing_entry_with_attributes_is_an_entry_and_a_dirent(name: bytes, offset: int) -> None:
    shown = (9, 0o40555, 12, 34, 1)
    whole = protocol.direntplus(offset, name, shown)
    assert whole == protocol.entry(9, protocol.attributes(*shown)) + protocol.dirent(9, offset, name, 0o40555)
    assert len(whole) % 8 == 0


def test_a_negative_entry_is_cacheable() -> None:
    node, _, valid, *_ = protocol.ENTRY_HEAD.unpack_from(protocol.NEGATIVE_ENTRY)
    assert (node, valid) == (0, protocol.FOREVER_S)
    assert len(protocol.NEGATIVE_ENTRY) == 128


def test_notify_store_golden() -> None:
    message = protocol.notify_store(5, 4096, b"abc")
    assert message == struct.pack("<IiQQQII", 43, 4, 0, 5, 4096, 3, 0) + b"abc"


@given(st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name))
def test_the_name_of_a_lookup(name: bytes) -> None:
    request = protocol.IN_HEADER.pack(40 + len(name) + 1, 1, 1, 1, 0, 0, 0, 0, 0) + name + b"\0"
    assert protocol.request_name(request) == name
