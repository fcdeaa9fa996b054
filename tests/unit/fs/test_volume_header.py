"""The header of a volume: nothing but its writer's bytes is believed, and a crash at any byte leaves one copy."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.fs.errors import CredentialRefused, VolumeRefused
from belljar.fs.volume.header import layout
from belljar.fs.volume.header.change import add_slot, remove_slot, replace_slot
from belljar.fs.volume.header.encode import encode_copy
from belljar.fs.volume.header.model import Header, Slot
from belljar.fs.volume.header.parse import parse_copy
from belljar.fs.volume.header.store import read_copies, unverified_header
from belljar.fs.volume.header.unlock import format_header, mac_key, unlock
from belljar.fs.volume.header.wipe import wipe_headers
from belljar.fs.volume.slots.key_file import KeyFile
from support.headers import KEY_FILE, MemoryRegion, checksummed, counted_random, crashes, passphrase

FLIPS = int(os.environ.get("BELLJAR_FLIPS", "300"))
"""How many bits are flipped, 524288 at most; crashes are at so many places as well."""

SLOTS = st.builds(
    Slot,
    number=st.integers(0, layout.SLOTS - 1),
    kind=st.integers(1, 65535),
    label=st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=20).filter(
        lambda label: not label or label.isprintable()
    ),
    parameters=st.binary(max_size=layout.MAX_PARAMETER_BYTES),
    wrapped=st.binary(min_size=60, max_size=60),
)
HEADERS = st.builds(
    Header,
    volume_id=st.binary(min_size=16, max_size=16),
    generation=st.integers(1, layout.MAX_GENERATION),
    created_s=st.integers(0, layout.MAX_GENERATION),
    slots=st.lists(SLOTS, max_size=6, unique_by=lambda slot: slot.number).map(
        lambda slots: tuple(sorted(slots, key=lambda slot: slot.number))
    ),
)


def made(*, slots: int = 1) -> MemoryRegion:
    """Return a volume's header that the key file opens."""
    region = MemoryRegion()
    with format_header(region, KEY_FILE, label="first", created_s=7, random=counted_random()) as unlocked:
        for number in range(1, slots):
            other = KeyFile(content=bytes([number]) * 32)
            unlocked = add_slot(region, unlocked, other, label=f"of {number}", random=counted_random(b"add"))  # noqa: PLW2901 -- the same key, which is closed once
    region.writes.clear()
    return region


@given(HEADERS)
@settings(max_examples=60)
def test_a_header_is_read_as_it_was_written(header: Header) -> None:
    raw = encode_copy(header, bytes(32))
    assert len(raw) == layout.COPY_BYTES
    assert parse_copy(raw) == header


@given(HEADERS, st.integers(0, layout.CHECKSUM_AT - 1), st.integers(1, 255))
@settings(max_examples=150)
def test_one_header_has_one_encoding(header: Header, at: int, change: int) -> None:
    raw = bytearray(encode_copy(header, bytes(32)))
    raw[at] ^= change
    try:
        parsed = parse_copy(checksummed(raw))
    except VolumeRefused:
        return
    again = encode_copy(parsed, bytes(32))
    assert again[: layout.MAC_AT] == bytes(raw[: layout.MAC_AT])


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(content: bytes) -> None:
    region = MemoryRegion(content=bytearray(content))
    with pytest.raises(VolumeRefused, match="not a volume, or its header is destroyed: copy 0: "):
        unlock(region, KEY_FILE)


def places() -> list[tuple[int, int]]:
    """Return (byte, bit) to flip within a copy: first those that mean something, then any."""
    chosen = random.Random(4)  # noqa: S311 -- which bits to flip is no secret
    used = [*range(56), *range(256, 256 + 200), *range(layout.MAC_AT, layout.COPY_BYTES)]
    chosen.shuffle(used)
    return [(at, chosen.randrange(8)) for at in [*used, *chosen.choices(range(layout.COPY_BYTES), k=FLIPS)][:FLIPS]]


def test_a_flipped_bit_in_one_copy_is_healed_and_in_both_refused() -> None:
    original = made(slots=2)
    whole = bytes(original.content)
    for at, bit in places():
        for copies in ((0,), (1,), (0, 1)):
            region = original.copied()
            for copy in copies:
                region.content[copy * layout.COPY_BYTES + at] ^= 1 << bit
            if len(copies) == 1:
                with unlock(region, KEY_FILE) as unlocked:
                    assert "damaged" in unlocked.notes[0]
                assert bytes(region.content) == whole
            else:
                with pytest.raises(VolumeRefused, match="not a volume, or its header is destroyed"):
                    unlock(region, KEY_FILE)
                assert not region.writes


def test_a_changed_bit_whose_checksum_was_made_to_fit_is_refused() -> None:
    original = made(slots=2)
    for at, bit in places():
        if at >= layout.CHECKSUM_AT:
            continue
        raw = bytearray(original.content[: layout.COPY_BYTES])
        raw[at] ^= 1 << bit
        region = MemoryRegion(content=bytearray(checksummed(raw) * 2))
        with pytest.raises(VolumeRefused):
            unlock(region, KEY_FILE)
        assert not region.writes


def test_one_copy_changed_with_its_checksum_made_to_fit_is_healed_from_the_other() -> None:
    original = made(slots=2)
    raw = bytearray(original.content[: layout.COPY_BYTES])
    raw[256 + layout.SLOT_BYTES + 17] ^= 1  # the label of another slot: ours still opens, the MAC does not hold
    for copy in (0, 1):
        region = original.copied()
        start = copy * layout.COPY_BYTES
        region.content[start : start + layout.COPY_BYTES] = checksummed(raw)
        with unlock(region, KEY_FILE) as unlocked:
            assert unlocked.notes == (f"copy {copy} of the header was of generation 2",)
        assert bytes(region.content) == bytes(original.content)


@pytest.mark.parametrize("change", ["add", "remove", "replace"])
def test_a_crash_at_any_byte_of_a_change_leaves_the_header_before_or_after(change: str) -> None:
    region = made(slots=3)
    before = bytes(region.content)
    with unlock(region, KEY_FILE) as unlocked:
        old = unlocked.header
        if change == "add":
            new = add_slot(region, unlocked, KeyFile(content=b"n" * 32), random=counted_random(b"n")).header
        elif change == "remove":
            new = remove_slot(region, unlocked, number=2).header
        else:
            new = replace_slot(region, unlocked, KeyFile(content=b"n" * 32), number=2, random=counted_random()).header
    assert [write is None for write in region.writes] == [False, True, False, True]
    done = bytes(region.content)
    for content in crashes(before, region.writes, max(1, 131072 // FLIPS)):
        crashed = MemoryRegion(content=bytearray(content))
        with unlock(crashed, KEY_FILE) as unlocked:
            assert unlocked.header in (old, new)
            expected = before if unlocked.header == old else done
        assert bytes(crashed.content) == expected


@given(st.lists(st.booleans(), min_size=128, max_size=128), st.sampled_from([0, 1]))
@settings(max_examples=40)
def test_sectors_that_reach_the_disk_in_any_order_leave_one_copy(reached: list[bool], which: int) -> None:
    region = made(slots=3)
    content = bytearray(region.content)
    with unlock(region, KEY_FILE) as unlocked:
        old, new = unlocked.header, remove_slot(region, unlocked, number=1).header
    writes = [write for write in region.writes if write is not None]
    for offset, raw in writes[:which]:
        content[offset : offset + len(raw)] = raw
    offset, raw = writes[which]
    for sector, arrived in enumerate(reached):
        if arrived:
            content[offset + sector * 512 : offset + sector * 512 + 512] = raw[sector * 512 : sector * 512 + 512]
    with unlock(MemoryRegion(content=content), KEY_FILE) as unlocked:
        assert unlocked.header in (old, new)


def test_a_change_after_a_crash_never_overwrites_the_only_whole_copy_first() -> None:
    for damaged in (0, 1):
        region = made(slots=2)
        region.content[damaged * layout.COPY_BYTES + 300] ^= 1
        with unlock(region, KEY_FILE, writable=False) as unlocked:
            assert not region.writes
            remove_slot(region, unlocked, number=1)
        first = next(write for write in region.writes if write)
        assert first[0] == damaged * layout.COPY_BYTES


def test_reading_only_heals_nothing() -> None:
    region = made()
    region.content[100] ^= 1
    with unlock(region, KEY_FILE, writable=False) as unlocked:
        assert unlocked.notes == ("copy 0 of the header was damaged: its checksum does not hold",)
    assert not region.writes


def test_slots_are_added_listed_replaced_and_removed() -> None:
    region = made()
    with unlock(region, KEY_FILE) as first:
        second = add_slot(region, first, passphrase(), label="Müller's laptop", random=os.urandom)
        assert [slot.label for slot in unverified_header(region).slots] == ["first", "Müller's laptop"]
        key = bytes(first.key.view())
        with unlock(region, passphrase()) as opened:
            assert (bytes(opened.key.view()), opened.slot, opened.notes) == (key, 1, ())
        third = replace_slot(region, second, passphrase(b"new"), number=1, random=os.urandom)
        assert third.header.slot(1).label == "Müller's laptop"
        with pytest.raises(CredentialRefused):
            unlock(region, passphrase())
        with unlock(region, passphrase(b"new")) as opened:
            assert bytes(opened.key.view()) == key
        fourth = remove_slot(region, third, number=0)
        assert first.header.slot(0).wrapped not in bytes(region.content)
        with pytest.raises(CredentialRefused, match="the volume has no key-file slot to try"):
            unlock(region, KEY_FILE)
        with pytest.raises(VolumeRefused, match="key slot 1 is the last one: without it nobody can open the volume"):
            remove_slot(region, fourth, number=1)
        assert not remove_slot(region, fourth, number=1, even_the_last=True).header.slots
        with pytest.raises(VolumeRefused, match="key slot 5 is not in use"):
            remove_slot(region, fourth, number=5)


def test_there_are_32_slots_and_the_33rd_is_refused() -> None:
    region = made(slots=32)
    assert len(unverified_header(region).slots) == 32
    with unlock(region, KEY_FILE) as unlocked, pytest.raises(VolumeRefused, match="all 32 key slots are in use"):
        add_slot(region, unlocked, KEY_FILE, random=os.urandom)


@pytest.mark.parametrize(
    ("label", "said"), [("x" * 65, "65 bytes"), ("a\nb", "do not print"), ("\x1b[2J", "not print")]
)
def test_a_label_that_would_not_print_on_a_line_is_refused(label: str, said: str) -> None:
    with pytest.raises(VolumeRefused, match=said):
        format_header(MemoryRegion(), KEY_FILE, label=label, created_s=0, random=os.urandom)


def test_a_slot_moved_to_another_place_or_volume_does_not_open() -> None:
    ours, theirs = made(slots=2), MemoryRegion()
    with format_header(theirs, KEY_FILE, created_s=7, random=os.urandom) as unlocked:
        stolen = read_copies(ours).whole[0].header.slot(0)
        for number in (0, 3):
            header = replace(unlocked.header, slots=(replace(stolen, number=number),))
            raw = encode_copy(header, mac_key(unlocked.key, unlocked.volume_id))
            region = MemoryRegion(content=bytearray(raw * 2))
            with pytest.raises(CredentialRefused, match="wrong, or the slots were changed, which cannot be told apart"):
                unlock(region, KEY_FILE)


def test_two_headers_of_one_generation_are_refused() -> None:
    region = made(slots=3)
    with unlock(region, KEY_FILE) as unlocked:
        one, other = region.copied(), region.copied()
        remove_slot(one, unlocked, number=1)
        remove_slot(other, unlocked, number=2)
    one.content[: layout.COPY_BYTES] = other.content[: layout.COPY_BYTES]
    with pytest.raises(VolumeRefused, match="two different headers of generation 4: it was tampered with"):
        unlock(one, KEY_FILE)


def test_a_version_of_tomorrow_is_named() -> None:
    raw = bytearray(made().content[: layout.COPY_BYTES])
    raw[8] = 2
    with pytest.raises(VolumeRefused, match="format version 2, expected 1") as caught:
        unlock(MemoryRegion(content=bytearray(checksummed(raw) * 2)), KEY_FILE)
    assert caught.value.hint == "it was made by a newer belljar"


def test_a_slot_of_a_kind_of_tomorrow_is_carried_along() -> None:
    region = made()
    with unlock(region, KEY_FILE) as unlocked:
        unknown = Slot(number=9, kind=77, label="later", parameters=b"?", wrapped=bytes(60))
        raw = encode_copy(unlocked.header.with_slot(unknown), mac_key(unlocked.key, unlocked.volume_id))
    region.content[:] = raw * 2
    with unlock(region, KEY_FILE) as unlocked:
        assert add_slot(region, unlocked, KEY_FILE, random=os.urandom).header.slot(9) == unknown


def test_destroying_leaves_no_slot_and_says_what_it_cannot_promise() -> None:
    region = made()
    region.content += b"tree"
    volume_id = unverified_header(region).volume_id
    record = json.loads(wipe_headers(region, volume_id, time_s=9, random=counted_random()))
    assert bytes(region.content) == bytes(layout.HEADER_BYTES) + b"tree"
    assert [write and len(write[1]) for write in region.writes] == [
        layout.HEADER_BYTES,
        None,
        layout.HEADER_BYTES,
        None,
    ]
    assert (record["volume"], record["time_s"]) == (volume_id.hex(), 9)
    assert record["overwritten"][0]["passes"] == ["random", "zero"]
    assert any("flash" in limit for limit in record["not_promised"])
    with pytest.raises(VolumeRefused, match="not a volume"):
        unlock(region, KEY_FILE)
