"""The ledger: what is put back together is noticed where the counter is not, and nothing foreign is believed."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume.anchor import Anchored
from belljar.fs.volume.anchors import ledger_layout as layout
from belljar.fs.volume.anchors.layout import sealed
from belljar.fs.volume.anchors.ledger_layout import Entry, Page, Standing
from belljar.fs.volume.anchors.platform import PlatformAnchor
from belljar.fs.volume.anchors.state_file import StateFile
from support.anchoring import KEY, CountingPlatform, root
from support.headers import checksummed

FIRST, SECOND = b"v" * 16, b"w" * 16
EVERY = int(os.environ.get("BELLJAR_FLIPS", "300")) > 4096
NUMBERS = st.integers(0, 2**64 - 1)
ENTRIES = st.lists(
    st.builds(
        Entry,
        volume_id=st.binary(min_size=16, max_size=16),
        standing=st.sampled_from(Standing),
        epoch=NUMBERS,
        anchored=st.builds(Anchored, NUMBERS, st.binary(min_size=32, max_size=32)),
    ),
    max_size=5,
    unique_by=lambda entry: entry.volume_id,
)


def used(folder: Path, platform: CountingPlatform | None, volume_id: bytes, *generations: int) -> None:
    """Mount, write, and end well."""
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        for generation in generations:
            anchor.advance(volume_id, root(generation))


def found(folder: Path, platform: CountingPlatform | None, volume_id: bytes = FIRST) -> Anchored | None:
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        return anchor.read(volume_id)


def refused(folder: Path, platform: CountingPlatform | None, said: str, volume_id: bytes = FIRST) -> None:
    """Neither reading nor writing goes, both for the same reason; the way on is told, and nothing was counted."""
    before = platform.value if platform else 0
    for act in (PlatformAnchor.read, PlatformAnchor.begin):
        with PlatformAnchor(str(folder), platform=platform) as anchor:
            with pytest.raises(VolumeRefused, match=said) as caught:
                act(anchor, volume_id)
            assert "belljar volume anchor --reset" in str(caught.value.hint)
    assert (platform.value if platform else 0) == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "anchors"


@pytest.fixture
def platform() -> CountingPlatform:
    return CountingPlatform()


@given(ENTRIES, NUMBERS)
def test_a_page_is_read_as_it_was_written(entries: list[Entry], value: int) -> None:
    entries.sort(key=lambda entry: entry.volume_id)
    page = Page(value=value, entries=tuple(entries))
    raw = layout.encode_page(page, KEY)
    assert layout.parse_page(raw, (b"n" * 32, KEY)) == page
    assert layout.parse_page(raw.ljust(layout.SLOT_BYTES, b"x"), (KEY,)) == page
    with pytest.raises(VolumeRefused, match="not written by this platform"):
        layout.parse_page(raw, (b"n" * 32,))


@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_any_bytes_are_refused(content: bytes, begins: bool, fit: bool) -> None:  # noqa: FBT001 -- hypothesis gives it
    raw = (layout.MAGIC + b"\1\0\1\0" if begins else b"") + content
    with pytest.raises(VolumeRefused):
        layout.parse_page(checksummed(raw) if fit else raw, (KEY,))


def test_every_flipped_bit_of_a_page_is_noticed() -> None:
    entry = Entry(volume_id=FIRST, standing=Standing.OPEN, epoch=7, anchored=root(3))
    raw = layout.encode_page(Page(value=9, entries=(entry,)), KEY)
    for at in range(len(raw)):
        for bit in range(8) if EVERY else (at % 8,):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit
            for content in (bytes(changed), checksummed(changed)):
                if content != raw:
                    with pytest.raises(VolumeRefused):
                        layout.parse_page(content, (KEY,))


def test_pages_with_mistakes_are_refused() -> None:
    entry = Entry(volume_id=SECOND, standing=Standing.OPEN, epoch=7, anchored=root(3))
    raw = layout.encode_page(Page(value=9, entries=(entry, replace(entry, volume_id=FIRST))), KEY)
    body, domain = raw[:-64], b"belljar volume ledger 1\0"
    unordered = body[:24] + body[96:] + body[24:96]
    for content, said in (
        (unordered, "not in order"),
        (body[:24] + body[24:96] * 2, "not in order"),
        (body[:40] + b"\x09\0" + body[42:], "says 9 of a volume, expected 1 to 4"),
        (body[:8] + b"\2" + body[9:], "format version 2, expected 1"),
    ):
        with pytest.raises(VolumeRefused, match=said):
            layout.parse_page(sealed(content, domain, KEY), (KEY,))


PARTS = ("container", "state", "ledger", "counter")


@pytest.mark.parametrize("put_back", range(16))
def test_only_everything_put_back_goes_unnoticed(tmp_path: Path, folder: Path, put_back: int) -> None:
    """All subsets of what an attacker may put back; a TPM's counter is never among them."""
    platform, parts = CountingPlatform(), {name for bit, name in enumerate(PARTS) if put_back & 1 << bit}
    used(folder, platform, FIRST, 1, 2, 3)
    shutil.copytree(folder, tmp_path / "old")
    counter = platform.value
    used(folder, platform, FIRST, 4, 5)
    for name, file in (("state", FIRST.hex()), ("ledger", "ledger")):
        if name in parts:
            shutil.copy(tmp_path / "old" / file, folder / file)
    if "counter" in parts:
        platform.value = counter
    container = root(3 if "container" in parts else 5)
    try:
        accepted = found(folder, platform) == container
    except VolumeRefused:
        accepted = False
    assert accepted == (parts in (set(), set(PARTS)))


def test_it_says_what_was_found_and_what_was_expected(tmp_path: Path, folder: Path, platform: CountingPlatform) -> None:
    used(folder, platform, FIRST, 1, 2)
    shutil.copytree(folder, tmp_path / "old")
    used(folder, platform, FIRST, 3)
    assert platform.value == 4  # each mount counts twice
    shutil.copy(tmp_path / "old" / FIRST.hex(), folder)
    refused(
        folder, platform, "was put back or replaced: found generation 2 of mount 1, expected generation 3, with which"
    )
    shutil.copy(tmp_path / "old/ledger", folder)
    refused(folder, platform, r"it is of counter value 1 and 2, expected 4, where the platform's counter stands")
    (folder / "ledger").unlink()
    refused(folder, platform, "ledger cannot be used: missing, and the platform's counter stands at 4: it was removed")
    (folder / "ledger").write_bytes(os.urandom(layout.FILE_BYTES))
    (folder / "ledger").chmod(0o600)
    refused(folder, platform, "neither slot is whole")


def test_a_ledger_of_one_step_before_or_never_counted_is_refused(folder: Path, platform: CountingPlatform) -> None:
    used(folder, platform, FIRST, 1)
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        anchor.advance(FIRST, root(2))
        during = (folder / "ledger").read_bytes()
    after = (folder / "ledger").read_bytes()
    (folder / "ledger").write_bytes(during)
    refused(folder, platform, "it is of counter value 2 and 3, expected 4")
    (folder / "ledger").write_bytes(after)
    platform.value = 3  # what was written before a crash, and then did not count
    assert found(folder, platform) == root(2)
    platform.value = 2
    refused(folder, platform, "it is of counter value 3 and 4, expected 2")


def test_a_state_file_that_is_gone_or_of_no_mount_is_refused(folder: Path, platform: CountingPlatform) -> None:
    used(folder, platform, FIRST, 1, 2)
    kept = (folder / FIRST.hex()).read_bytes()
    (folder / FIRST.hex()).unlink()
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        acts: tuple[Callable[[], object], ...] = (lambda: anchor.read(FIRST), lambda: anchor.advance(FIRST, root(1)))
        for act in acts:
            with pytest.raises(VolumeRefused, match="found no state file, expected generation 2, with which its last"):
                act()
        (folder / FIRST.hex()).write_bytes(kept)
        (folder / FIRST.hex()).chmod(0o600)
        assert anchor.read(FIRST) == root(2)
        anchor.forget(FIRST)
        anchor.forget(FIRST)
        assert anchor.read(FIRST) is None
    (folder / FIRST.hex()).write_bytes(kept)
    (folder / FIRST.hex()).chmod(0o600)
    refused(folder, platform, "found generation 2 of mount 1, expected none: the ledger of this platform does not know")


def test_within_a_mount_only_the_state_file_tells(tmp_path: Path, folder: Path, platform: CountingPlatform) -> None:
    """What the document says of a crash: what that mount wrote counts, or what it began with; nothing before that."""
    used(folder, platform, FIRST, 1)
    shutil.copytree(folder, tmp_path / "1")
    used(folder, platform, FIRST, 2)
    shutil.copytree(folder, tmp_path / "2")
    crashed = PlatformAnchor(str(folder), platform=platform)
    for generation in (3, 4):
        crashed.advance(FIRST, root(generation))
        shutil.copytree(folder, tmp_path / str(generation))
    for name, generation in (("4", 4), ("3", 3), ("2", 2)):
        shutil.copy(tmp_path / name / FIRST.hex(), folder)
        assert found(folder, platform) == root(generation)
    shutil.copy(tmp_path / "1" / FIRST.hex(), folder)
    with (
        PlatformAnchor(str(folder), platform=platform) as anchor,
        pytest.raises(VolumeRefused, match="expected generation 2 or what mount 5, which did not end, has written"),
    ):
        anchor.read(FIRST)


def test_a_branch_that_a_reset_left_does_not_come_back(
    tmp_path: Path, folder: Path, platform: CountingPlatform
) -> None:
    used(folder, platform, FIRST, 5, 6, 7)
    shutil.copytree(folder, tmp_path / "old")
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        anchor.reset(FIRST, root(5), reason="back", time_s=1)
        assert anchor.read(FIRST) == root(5)
    crashed = PlatformAnchor(str(folder), platform=platform)
    crashed.advance(FIRST, Anchored(6, b"other".ljust(32)))
    shutil.copy(tmp_path / "old" / FIRST.hex(), folder)  # generation 7 is higher, but of a mount before
    with PlatformAnchor(str(folder), platform=platform) as anchor, pytest.raises(VolumeRefused, match="put back"):
        anchor.read(FIRST)


def test_volumes_share_one_counter_and_do_not_disturb_each_other(folder: Path, platform: CountingPlatform) -> None:
    one, other = (PlatformAnchor(str(folder), platform=platform) for _ in range(2))
    one.advance(FIRST, root(1))
    other.advance(SECOND, root(1))
    one.advance(FIRST, root(2))
    one.close()
    other.advance(SECOND, root(2))
    assert found(folder, platform) == root(2)
    other.close()
    assert (found(folder, platform), found(folder, platform, SECOND)) == (root(2), root(2))
    assert platform.value == 4


def test_many_mounts_at_once_lose_nothing(folder: Path, platform: CountingPlatform) -> None:
    ids = [bytes([number]) * 16 for number in range(6)]
    failures: list[BaseException] = []

    def mount(volume_id: bytes) -> None:
        try:
            for generation in range(1, 5):
                used(folder, platform, volume_id, generation)
        except BaseException as error:  # noqa: BLE001 -- told below
            failures.append(error)

    threads = [threading.Thread(target=mount, args=(volume_id,)) for volume_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert {found(folder, platform, volume_id) for volume_id in ids} == {root(4)}
    assert platform.value == 6 * 4 * 2


def test_what_was_anchored_before_goes_on_once(tmp_path: Path, folder: Path, platform: CountingPlatform) -> None:
    used(folder, None, FIRST, 1, 2)
    with PlatformAnchor(str(folder)) as anchor:
        anchor.reset(FIRST, root(1), reason="before", time_s=1)
        anchor.advance(FIRST, root(2))
    used(folder, None, SECOND, 1)
    shutil.copytree(folder, tmp_path / "before")
    assert found(folder, platform) == root(2)
    assert not (folder / "ledger").exists()  # who only reads changes nothing
    used(folder, platform, SECOND, 2)
    assert found(folder, platform) == root(2)
    shutil.copy(tmp_path / "before" / SECOND.hex(), folder)
    refused(folder, platform, "found generation 1 without a platform key, expected generation 2", SECOND)
    used(folder, platform, FIRST, 3)
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        assert [reset.reason for reset in anchor.resets(FIRST)] == ["before"]
    shutil.copy(tmp_path / "before" / FIRST.hex(), folder)
    refused(folder, platform, "found generation 2 without a platform key, expected generation 3")
    used(tmp_path / "third", None, b"x" * 16, 4)
    shutil.copy(tmp_path / "third" / (b"x" * 16).hex(), folder)
    refused(folder, platform, "found generation 4 without a platform key, expected none", b"x" * 16)


def test_a_mount_from_before_the_platform_may_end_after_it_came(folder: Path, platform: CountingPlatform) -> None:
    with PlatformAnchor(str(folder)) as before:
        before.advance(FIRST, root(1))
        used(folder, platform, SECOND, 1)
        before.advance(FIRST, root(2))
    assert found(folder, platform) == root(2)
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        anchor.begin(FIRST)
        state = (folder / FIRST.hex()).read_bytes()
    assert 1 in (state[10], state[4096 + 10])  # written with a key
    refused(folder, None, "volumes were anchored by a platform that is not here now")


def test_a_rotated_platform_goes_on_and_another_one_does_not(folder: Path, platform: CountingPlatform) -> None:
    used(folder, platform, FIRST, 1, 2)
    platform.keys = (b"n" * 32, KEY)
    assert found(folder, platform) == root(2)
    used(folder, platform, FIRST, 3)
    assert found(folder, platform) == root(3)
    platform.keys = (b"z" * 32,)
    refused(folder, platform, "ledger cannot be used: not written by this platform: its MAC does not hold")
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        anchor.reset(FIRST, root(3), reason="another platform", time_s=1)
    assert found(folder, platform) == root(3)


def test_a_platform_that_does_not_answer_is_told(folder: Path, platform: CountingPlatform) -> None:
    used(folder, platform, FIRST, 1)
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        anchor.begin(FIRST)
        anchor.advance(FIRST, root(2))
        platform.available = False
        anchor.advance(FIRST, root(3))  # needs the key, not the platform
        said = "all that was written is kept, but not that it ended well: the platform does not answer"
        with pytest.raises(VolumeRefused, match=said) as caught:
            anchor.close()
        assert caught.value.hint == "is it plugged in?"
        with pytest.raises(VolumeRefused, match="the platform does not answer"):
            anchor.read(FIRST)
    platform.available = True
    assert found(folder, platform) == root(3)


def test_resetting_goes_on_whatever_was_put_back(tmp_path: Path, folder: Path, platform: CountingPlatform) -> None:
    used(folder, platform, FIRST, 1, 2)
    used(folder, platform, SECOND, 1)
    shutil.copytree(folder, tmp_path / "old")
    used(folder, platform, FIRST, 3)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "old", folder)
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        with pytest.raises(VolumeRefused, match="the reason of a reset has 0 bytes"):
            anchor.reset(FIRST, root(2), reason="", time_s=1)
        anchor.reset(FIRST, root(2), reason="restored", time_s=1)
    assert found(folder, platform) == root(2)
    refused(folder, platform, "expected none: the ledger of this platform does not know the volume", SECOND)
    (folder / SECOND.hex()).unlink()
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        anchor.reset(SECOND, root(1), reason="restored", time_s=1)
    assert (found(folder, platform), found(folder, platform, SECOND)) == (root(2), root(1))


def test_who_lost_everything_can_make_new_volumes(folder: Path, platform: CountingPlatform) -> None:
    used(folder, platform, FIRST, 1)
    shutil.rmtree(folder)
    used(folder, platform, SECOND, 1)
    assert found(folder, platform, SECOND) == root(1)


def test_a_tpm_begins_anywhere_and_others_may_count(folder: Path) -> None:
    platform = CountingPlatform(first=1000)
    used(folder, platform, FIRST, 1)
    assert platform.value == 1001
    assert found(folder, platform) == root(1)

    class Shared(CountingPlatform):
        def count_up(self) -> int:
            self.value += 2
            return self.value

    platform = Shared(value=1001)
    used(folder, platform, FIRST, 2)
    assert found(folder, platform) == root(2)

    class Backwards(CountingPlatform):
        def count_up(self) -> int:
            self.value -= 1
            return self.value

    platform = Backwards(value=platform.value)
    with (
        PlatformAnchor(str(folder), platform=platform) as anchor,
        pytest.raises(VolumeRefused, match="the platform's counter went back: found 1004, expected 1006"),
    ):
        anchor.begin(FIRST)


def test_volumes_that_are_gone_make_room(folder: Path, platform: CountingPlatform) -> None:
    used(folder, platform, FIRST, 1)
    entries = [
        Entry(volume_id=number.to_bytes(16, "big"), standing=Standing.CLOSED, epoch=1, anchored=root(1))
        for number in range(layout.MAX_ENTRIES)
    ]
    page = Page(value=platform.value, entries=tuple(entries))
    with (folder / "ledger").open("r+b") as file:
        file.seek(layout.slot_at(page.value))
        file.write(layout.encode_page(page, KEY))
    used(folder, platform, SECOND, 1)
    assert found(folder, platform, SECOND) == root(1)
    too_many = Page(value=1, entries=(*entries, replace(entries[0], volume_id=FIRST)))
    with pytest.raises(VolumeRefused, match="910 volumes are anchored on this platform, expected at most 909"):
        layout.encode_page(too_many, KEY)


def test_a_ledger_that_others_may_write_is_refused(folder: Path, platform: CountingPlatform) -> None:
    used(folder, platform, FIRST, 1)
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        for path, mode, what in ((folder / "ledger", 0o620, "file"), (folder, 0o750, "folder")):
            before = path.stat().st_mode
            path.chmod(mode)
            with pytest.raises(VolumeRefused, match=f"others may read or write the {what}"):
                anchor.read(FIRST)
            path.chmod(before)


def test_without_a_platform_nothing_is_opened_and_nothing_written(folder: Path) -> None:
    opened: list[str] = []

    class Watched(StateFile):
        def __init__(self, path: str, *, writable: bool) -> None:
            opened.append(Path(path).name)
            super().__init__(path, writable=writable)

    with PlatformAnchor(str(folder), open_file=Watched) as anchor:
        anchor.advance(FIRST, root(1))
        anchor.advance(FIRST, root(2))
    assert opened == [FIRST.hex()]
    assert [path.name for path in folder.iterdir()] == [FIRST.hex()]


@given(st.lists(st.sampled_from(["a", "ab", "00" * 16, "0" * 31 + "g", "A" * 32, "ledger"]), max_size=3))
@settings(max_examples=20, deadline=None)
def test_other_files_in_the_folder_are_left_alone(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder, platform = tmp_path_factory.mktemp("a") / "anchors", CountingPlatform()
    used(folder, None, FIRST, 1)
    for name in names:
        (folder / name).write_bytes(b"else")
    if "ledger" in names:  # of no platform's: its counter never counted
        (folder / "ledger").chmod(0o600)
    used(folder, platform, FIRST, 2)
    assert found(folder, platform) == root(2)
