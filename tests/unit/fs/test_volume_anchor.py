"""The platform's anchor: it never goes back, no crash loses it, and nothing foreign is believed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume.anchor import Anchor, Anchored
from belljar.fs.volume.anchors import layout
from belljar.fs.volume.anchors.layout import Reset, State
from belljar.fs.volume.anchors.platform import PlatformAnchor, anchors_folder
from belljar.fs.volume.anchors.state_file import StateFile
from support.anchoring import KEY, CountingPlatform
from support.headers import checksummed, crashes

VOLUME = b"v" * 16
EVERY = int(os.environ.get("BELLJAR_FLIPS", "300")) > 4096
ROOTS = st.builds(Anchored, st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))


def root(generation: int) -> Anchored:
    return Anchored(generation, hashlib.sha256(generation.to_bytes(8, "little")).digest())


def recording(writes: list[tuple[int, bytes] | None]) -> Callable[..., StateFile]:
    class Recorded(StateFile):
        def pwrite(self, content: bytes, offset: int) -> None:
            writes.append((offset, content))
            super().pwrite(content, offset)

        def sync(self) -> None:
            writes.append(None)
            super().sync()

    return Recorded


@given(ROOTS, st.integers(1, 2**63 - 1), st.integers(0, 2**60), st.sampled_from([None, KEY]))
def test_a_state_is_read_as_it_was_written(anchored: Anchored, sequence: int, resets: int, key: bytes | None) -> None:
    state = State(sequence=sequence, anchored=anchored, resets=resets, epoch=sequence if key else 0)
    raw = layout.encode_state(VOLUME, state, key)
    assert len(raw) == layout.RECORD_BYTES
    keys = (b"n" * 32, key) if key else ()
    assert layout.parse_state(raw, VOLUME, keys) == state
    with pytest.raises(ValueError, match="epoch"):
        layout.encode_state(VOLUME, state, None if key else KEY)


@given(
    ROOTS,
    ROOTS,
    st.integers(1, 2**60),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60),
)
def test_a_reset_is_read_as_it_was_written(before: Anchored, after: Anchored, number: int, reason: str) -> None:
    reset = Reset(number=number, before=before, after=after, time_s=number, reason=reason)
    assert layout.parse_reset(layout.encode_reset(VOLUME, reset, KEY), VOLUME, (KEY,)) == reset


@given(st.binary(max_size=600), st.booleans())
def test_any_bytes_are_refused(content: bytes, fit: bool) -> None:  # noqa: FBT001 -- hypothesis gives it
    raw = checksummed(content.ljust(512, b"\0")[:512]) if fit else content
    for parse in (layout.parse_state, layout.parse_reset):
        with pytest.raises(VolumeRefused):
            parse(raw, VOLUME, ())


@pytest.mark.parametrize("key", [None, KEY])
def test_every_flipped_bit_of_a_record_is_noticed(key: bytes | None) -> None:
    raw = layout.encode_state(VOLUME, State(sequence=4, anchored=root(9), resets=1, epoch=3 if key else 0), key)
    keys = (key,) if key else ()
    for at in range(len(raw)):
        for bit in range(8) if EVERY else (at % 8,):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit
            with pytest.raises(VolumeRefused):
                layout.parse_state(bytes(changed), VOLUME, keys)
            if key is not None and at < 480:
                try:  # without its flag it is one without a key, which the ledger refuses
                    assert layout.parse_state(checksummed(changed), VOLUME, keys).epoch == 0
                except VolumeRefused:
                    continue


@pytest.mark.parametrize("bound", [False, True])
def test_what_was_anchored_is_there_in_the_next_process(tmp_path: Path, bound: bool) -> None:  # noqa: FBT001 -- pytest
    folder = str(tmp_path / "anchors")
    platform = CountingPlatform() if bound else None
    with PlatformAnchor(folder, platform=platform) as anchor:
        assert anchor.read(VOLUME) is None
        for generation in (1, 2, 3, 7):
            anchor.advance(VOLUME, root(generation))
            assert anchor.read(VOLUME) == root(generation)
        anchor.advance(VOLUME, root(7))
        assert anchor.read(b"w" * 16) is None
    with PlatformAnchor(folder, platform=platform) as anchor:
        seam: Anchor = anchor
        assert seam.read(VOLUME) == root(7)
    assert (tmp_path / "anchors").stat().st_mode & 0o777 == 0o700
    (file,) = (path for path in (tmp_path / "anchors").iterdir() if path.name != "ledger")
    assert (file.name, file.stat().st_mode & 0o777, file.stat().st_size) == (VOLUME.hex(), 0o600, layout.LOG_AT) or (
        file.stat().st_size == layout.FILE_BYTES
    )


def test_it_does_not_go_back_and_does_not_fork(tmp_path: Path) -> None:
    with PlatformAnchor(str(tmp_path / "a")) as anchor:
        anchor.advance(VOLUME, root(5))
        anchor.advance(VOLUME, root(6))
        for older in (root(5), Anchored(6, b"other".ljust(32))):
            with pytest.raises(VolumeRefused, match="stands at generation 6 and does not go back to") as caught:
                anchor.advance(VOLUME, older)
            assert "anchor it anew" in str(caught.value.hint)
        assert anchor.read(VOLUME) == root(6)


def test_a_reset_goes_back_and_is_logged(tmp_path: Path) -> None:
    folder, platform = str(tmp_path / "a"), CountingPlatform()
    with PlatformAnchor(folder, platform=platform) as anchor:
        assert anchor.resets(VOLUME) == ()
        anchor.advance(VOLUME, root(9))
        for number in range(70):
            anchor.reset(VOLUME, root(70 - number), reason=f"restored backup {number}", time_s=number)
    with PlatformAnchor(folder, platform=platform) as anchor:
        assert anchor.read(VOLUME) == root(1)
        log = anchor.resets(VOLUME)
        assert [reset.number for reset in log] == list(range(7, 71))
        assert (log[-1].before, log[-1].after, log[-1].reason) == (root(2), root(1), "restored backup 69")
        for reason in ("", "two\nlines", "x" * 300):
            with pytest.raises(VolumeRefused, match="the reason of a reset has"):
                anchor.reset(VOLUME, root(3), reason=reason, time_s=0)
        anchor.advance(VOLUME, root(2))
        assert len(anchor.resets(VOLUME)) == 64


@pytest.mark.parametrize("what", ["advance", "reset"])
@pytest.mark.parametrize("earlier", [1, 2, 3])
def test_a_crash_at_any_byte_leaves_the_root_before_or_after(tmp_path: Path, what: str, earlier: int) -> None:
    folder = tmp_path / "a"
    writes: list[tuple[int, bytes] | None] = []
    with PlatformAnchor(str(folder), open_file=recording(writes)) as anchor:
        for generation in range(10, 10 + earlier):
            anchor.advance(VOLUME, root(generation))
        anchor.settle(VOLUME)
        file = folder / VOLUME.hex()
        before, old = file.read_bytes(), anchor.read(VOLUME)
        writes.clear()
        if what == "advance":
            anchor.advance(VOLUME, root(20))
            anchor.settle(VOLUME)
        else:
            anchor.reset(VOLUME, root(20), reason="because", time_s=1)
        assert [write is None for write in writes] == [False, True] * (1 if what == "advance" else 2)
    seen = set()
    for content in crashes(before.ljust(layout.FILE_BYTES, b"\0"), writes, 1 if EVERY else 7):
        file.write_bytes(content)
        with PlatformAnchor(str(folder)) as anchor:
            found = anchor.read(VOLUME)
            assert found in (old, root(20))
            seen.add(found)
            assert len(anchor.resets(VOLUME)) == (what == "reset" and found == root(20))
            anchor.advance(VOLUME, root(21))
            assert anchor.read(VOLUME) == root(21)
    assert seen == {old, root(20)}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 511))
@settings(max_examples=25, deadline=None)
def test_random_histories_end_where_they_should(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("anchor") / "a"
    writes: list[tuple[int, bytes] | None] = []
    before = now = 0
    with PlatformAnchor(str(folder), open_file=recording(writes)) as anchor:
        for step in steps:
            before = now
            now += step
            anchor.advance(VOLUME, root(now))
    file = folder / VOLUME.hex()
    last = [write for write in writes if write]
    if last:  # the last write is torn: what was there before is anchored, or the new one where the cut changes nothing
        raw = bytearray(file.read_bytes())
        offset, _ = last[-1]
        raw[offset + cut : offset + 512] = bytes(512 - cut)
        file.write_bytes(raw)
        with PlatformAnchor(str(folder)) as anchor:
            assert anchor.read(VOLUME) in (root(before), root(now))


def damaged(tmp_path: Path, content: bytes, platform: CountingPlatform | None = None) -> PlatformAnchor:
    folder = tmp_path / "a"
    with PlatformAnchor(str(folder), platform=platform) as anchor:
        anchor.advance(VOLUME, root(1))
    (folder / VOLUME.hex()).write_bytes(content)
    return PlatformAnchor(str(folder), platform=platform)


def test_a_damaged_file_is_refused_with_the_remedy_and_can_be_replaced_on_purpose(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"x" * 100, bytes(layout.FILE_BYTES), os.urandom(layout.FILE_BYTES))):
        with damaged(tmp_path / str(number), content) as anchor:
            said = "the anchor cannot be used: neither slot is whole"
            with pytest.raises(VolumeRefused, match=said) as caught:
                anchor.read(VOLUME)
            assert "belljar volume" in str(caught.value.hint)
            with pytest.raises(VolumeRefused, match=said):
                anchor.advance(VOLUME, root(2))
            anchor.reset(VOLUME, root(2), reason="file was lost", time_s=3)
            assert anchor.read(VOLUME) == root(2)
            assert anchor.resets(VOLUME)[0].before == Anchored(0, bytes(32))
        assert (tmp_path / str(number) / "a" / f"{VOLUME.hex()}.damaged").read_bytes() == content


def state(volume_id: bytes, sequence: int, generation: int, key: bytes | None) -> bytes:
    made = State(sequence=sequence, anchored=root(generation), resets=0, epoch=1 if key else 0)
    return layout.encode_state(volume_id, made, key)


@pytest.mark.parametrize(
    ("content", "key", "said"),
    [
        (state(b"w" * 16, 2, 1, None), None, "is of volume 77"),
        (state(VOLUME, 2, 1, None), KEY, "found generation 1 without a platform key, expected generation 1"),
        (state(VOLUME, 2, 1, KEY).ljust(4096, b"\0") + state(VOLUME, 3, 1, None), KEY, "not of one history"),
        (state(VOLUME, 2, 1, KEY), None, "written with a platform key"),
        (state(VOLUME, 2, 1, b"q" * 32), KEY, "not written by this platform: its MAC does not hold"),
        (state(VOLUME, 3, 1, None), None, "slot 0 holds the record of the other slot"),
        (state(VOLUME, 2, 1, None).ljust(4096, b"\0") + state(VOLUME, 7, 1, None), None, "not of one history"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes, key: bytes | None, said: str) -> None:
    platform = CountingPlatform(key) if key else None
    with damaged(tmp_path, content, platform) as anchor, pytest.raises(VolumeRefused, match=said):
        anchor.read(VOLUME)


def test_what_others_may_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    file = folder / VOLUME.hex()
    with PlatformAnchor(str(folder)) as anchor:
        anchor.advance(VOLUME, root(1))
        anchor.close()
        file.chmod(0o660)
        with pytest.raises(VolumeRefused, match=r"others may read or write the file \(mode 660\), expected 600"):
            anchor.read(VOLUME)
        with pytest.raises(VolumeRefused, match="others may read or write the file"):
            anchor.reset(VOLUME, root(1), reason="no way around", time_s=0)
        file.chmod(0o600)
        folder.chmod(0o755)
        with pytest.raises(VolumeRefused, match="others may read or write the folder"):
            anchor.advance(VOLUME, root(2))
        folder.chmod(0o700)
        file.rename(folder / "elsewhere")
        file.symlink_to(folder / "elsewhere")
        with pytest.raises(OSError, match="symbolic link"):
            anchor.read(VOLUME)


def test_two_mounts_of_one_volume_do_not_share_an_anchor(tmp_path: Path) -> None:
    folder = str(tmp_path / "a")
    with PlatformAnchor(folder) as one, PlatformAnchor(folder) as other:
        one.advance(VOLUME, root(1))
        one.advance(VOLUME, root(2))
        assert other.read(VOLUME) == root(2)
        with pytest.raises(VolumeRefused, match="another process advances this anchor: the volume, or a copy of it"):
            other.advance(VOLUME, root(3))
        one.close()
        other.advance(VOLUME, root(3))


def test_a_destroyed_volume_is_forgotten(tmp_path: Path) -> None:
    with PlatformAnchor(str(tmp_path / "a")) as anchor:
        anchor.advance(VOLUME, root(1))
        anchor.advance(VOLUME, root(2))
        anchor.forget(VOLUME)
        assert anchor.read(VOLUME) is None
        anchor.forget(VOLUME)


def test_where_anchors_are_kept() -> None:
    assert anchors_folder({"HOME": "/home/u"}, 0) == "/var/lib/belljar/anchors"
    assert anchors_folder({"HOME": "/home/u", "XDG_STATE_HOME": "/s"}, 0) == "/s/belljar/anchors"
    assert anchors_folder({"HOME": "/home/u"}, 7) == "/home/u/.local/state/belljar/anchors"
    assert anchors_folder({"HOME": "/home/u", "XDG_STATE_HOME": "/s"}, 7) == "/s/belljar/anchors"


@pytest.mark.parametrize("failed", [OSError(5, "Input/output error"), ValueError("closed")])
def test_a_sync_behind_that_fails_is_done_again_with_its_write(tmp_path: Path, failed: Exception) -> None:
    events: list[str] = []

    class Failing(StateFile):
        def pwrite(self, content: bytes, offset: int) -> None:
            events.append("write")
            super().pwrite(content, offset)

        def sync(self) -> None:
            events.append("sync")
            if events.count("sync") == 1:
                raise failed

    with PlatformAnchor(str(tmp_path / "a"), open_file=Failing) as anchor:
        anchor.advance(VOLUME, root(1))
        anchor.advance(VOLUME, root(2))
        anchor.settle(VOLUME)
        anchor.settle(VOLUME)
    assert events == ["write", "sync", "write", "sync"]


def test_without_a_thread_the_writer_waits_itself(tmp_path: Path) -> None:
    """`belljar volume` by a user who may have no more processes; it must neither hang nor skip the sync."""
    code = (
        "import _thread, sys\n"
        "def none(*_): raise RuntimeError('can not start new thread')\n"
        "_thread.start_new_thread = none\n"
        "from belljar.fs.volume.anchor import Anchored\n"
        "from belljar.fs.volume.anchors.platform import PlatformAnchor\n"
        "with PlatformAnchor(sys.argv[1]) as anchor:\n"
        "    for generation in (1, 2, 3):\n"
        "        anchor.advance(b'v' * 16, Anchored(generation, bytes(32)))\n"
        "        anchor.settle(b'v' * 16)\n"
        "    print(anchor.read(b'v' * 16).generation)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "3\n"
