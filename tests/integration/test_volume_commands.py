"""Volumes from the command line: prepared, read, kept, gone back with, restored and destroyed without a sandbox."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from support.running import Belljar

KEY = ("--key-file", "key")
ANCHORS = ("--anchors", "anchors")
OPEN = (*KEY, *ANCHORS)


@pytest.fixture
def volume(belljar: Belljar) -> Path:
    """An empty volume, in the folder belljar runs in."""
    (belljar.folder / "key").write_bytes(os.urandom(64))
    belljar("volume", "create", *OPEN, "--label", "first", "state.vol")
    return belljar.folder / "state.vol"


def make_tree(folder: Path) -> Path:
    tree = folder / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "file").write_bytes(os.urandom(200_000))
    (tree / "small").write_text("small")
    os.link(tree / "small", tree / "sub/again")
    (tree / "link").symlink_to("/etc/passwd")
    (tree / "dangling").symlink_to("nowhere/at all")
    with (tree / "sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
        file.truncate(9_000_000)
    os.mkfifo(tree / "fifo")
    (tree / "file").chmod(0o4751)
    (tree / "sub").chmod(0o510)
    for name in ("file", "small", "sub", "."):
        os.utime(tree / name, ns=(1_000_000_001, 2_000_000_002))
    os.utime(tree / "link", ns=(3, 4), follow_symlinks=False)
    return tree


def shape(tree: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in [tree, *sorted(tree.rglob("*"))]:
        status = path.lstat()
        content = os.fsencode(os.readlink(path)) if path.is_symlink() else b""
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        found[str(path.relative_to(tree))] = (status.st_mode & ~0o6000, status.st_mtime_ns, content)
    return found


def loaded(text: str) -> Any:
    return json.loads(text)


def test_a_tree_goes_in_and_comes_out_as_it_was(belljar: Belljar, volume: Path) -> None:
    tree = make_tree(belljar.folder)
    try:
        os.setxattr(tree / "file", "user.origin", b"here")
        kept = True
    except OSError:
        kept = False
    said = loaded(belljar("volume", "put", *OPEN, "--json", "state.vol", "tree", "/").stdout)
    assert said["left_out"] == []
    belljar("volume", "get", *OPEN, "state.vol", "/tree", "out")
    out = belljar.folder / "out"
    assert shape(out) == shape(tree)
    assert (out / "small").stat().st_ino == (out / "sub/again").stat().st_ino
    assert (out / "sparse").stat().st_blocks < (out / "sparse").stat().st_size // 512 // 10
    assert not kept or os.getxattr(out / "file", "user.origin") == b"here"
    assert belljar("volume", "cat", *OPEN, "state.vol", "tree/small", "/tree//small").stdout == "smallsmall"
    rows = loaded(belljar("volume", "ls", *OPEN, "-R", "--json", "state.vol").stdout)
    assert {row["path"] for row in rows} == {"tree"} | {f"tree/{name}" for name in shape(tree) if name != "."}
    assert {(row["uid"], row["gid"]) for row in rows} == {(1000, 1000)}
    assert next(row for row in rows if row["path"] == "tree/link")["target"] == "/etc/passwd"
    assert "sound: " in belljar("volume", "check", *OPEN, "state.vol").stdout
    assert b"small" not in volume.read_bytes()


def test_nothing_is_overwritten_unless_asked_and_a_failed_put_changes_nothing(belljar: Belljar, volume: Path) -> None:
    assert volume.is_file()
    (belljar.folder / "a").write_text("one")
    (belljar.folder / "tree").mkdir()
    (belljar.folder / "tree/b").write_text("b")
    belljar("volume", "put", *OPEN, "state.vol", "a", "tree", "/")
    (belljar.folder / "a").write_text("two")
    (belljar.folder / "tree/c").write_text("c")
    failed = belljar("volume", "put", *OPEN, "state.vol", "tree/c", "a", "/", check=125)
    assert "a: a is already in the volume" in failed.stderr
    assert "--replace replaces files" in failed.stderr
    assert "c" not in belljar("volume", "ls", *OPEN, "state.vol").stdout.split()
    belljar("volume", "put", *OPEN, "--replace", "state.vol", "a", "tree", "/")
    assert belljar("volume", "cat", *OPEN, "state.vol", "a", "tree/b", "tree/c").stdout == "twobc"
    (belljar.folder / "there").mkdir()
    belljar("volume", "get", *OPEN, "state.vol", "a", "there")
    again = belljar("volume", "get", *OPEN, "state.vol", "a", "there", check=125)
    assert "there/a: already there, and nothing is overwritten" in again.stderr
    whole = belljar("volume", "put", *OPEN, "state.vol", ".", "/all", check=125)
    assert "state.vol: the volume cannot go into itself" in whole.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("get", "state.vol", "../x"), "a path in a volume cannot hold .."),
        (("cat", "state.vol", "/nothing"), "/nothing: not in the volume"),
        (("cat", "state.vol", "/"), "/: not a file"),
        (("put", "state.vol", "key", "/none/key"), "none: not in the volume"),
        (("snapshot", "--delete", "state.vol", "x"), "x: there is no snapshot of that name"),
        (("rollback", "state.vol", "x"), "x: there is no snapshot of that name"),
        (("ls", "--snapshot", "x", "state.vol"), "x: there is no snapshot of that name"),
        (("stat", "key"), "not a volume, or its header is destroyed"),
        (("stat", "none"), "none: No such file or directory"),
    ],
)
def test_what_cannot_be_is_said(belljar: Belljar, volume: Path, words: tuple[str, ...], said: str) -> None:
    assert volume.is_file()
    name, *rest = words
    done = belljar("volume", name, *OPEN, *rest, check=125)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_snapshot_is_read_and_gone_back_to(belljar: Belljar, volume: Path) -> None:
    assert volume.is_file()
    (belljar.folder / "a").write_text("before")
    belljar("volume", "put", *OPEN, "state.vol", "a", "/")
    belljar("volume", "snapshot", *OPEN, "state.vol", "first")
    assert (
        "there is a snapshot of that name"
        in belljar("volume", "snapshot", *OPEN, "state.vol", "first", check=125).stderr
    )
    (belljar.folder / "a").write_text("after")
    belljar("volume", "put", *OPEN, "--replace", "state.vol", "a", "/")
    assert belljar("volume", "cat", *OPEN, "--snapshot", "first", "state.vol", "a").stdout == "before"
    assert belljar("volume", "cat", *OPEN, "state.vol", "a").stdout == "after"
    belljar("volume", "rollback", *OPEN, "state.vol", "first")
    assert belljar("volume", "cat", *OPEN, "state.vol", "a").stdout == "before"
    names = loaded(belljar("volume", "snapshot", *OPEN, "--json", "state.vol").stdout)
    assert [each["name"] for each in names] == ["first"]
    belljar("volume", "snapshot", *OPEN, "--delete", "state.vol", "first")
    assert loaded(belljar("volume", "snapshot", *OPEN, "--json", "state.vol").stdout) == []


def test_a_backup_is_restored_and_counts_only_when_its_owner_says_so(belljar: Belljar, volume: Path) -> None:
    first = loaded(belljar("volume", "backup", "--json", "state.vol", "backups").stdout)
    (belljar.folder / "a").write_text("later")
    for name in ("a", "key"):  # two commits: the one after the anchored root would count as cut off by a crash
        belljar("volume", "put", *OPEN, "state.vol", name, "/")
    belljar("volume", "backup", "--keep", "2", "state.vol", "backups")
    now = volume.read_bytes()
    belljar("volume", "restore", "--backup", first["backup"][:12], "backups", "old.vol")
    refused = belljar("volume", "ls", *OPEN, "old.vol", check=125)
    assert "the volume went back in time" in refused.stderr
    belljar("volume", "restore", "--replace", "backups", "state.vol")
    assert volume.read_bytes() == now
    assert belljar("volume", "cat", *OPEN, "state.vol", "a").stdout == "later"
    shown = belljar("volume", "anchor", *OPEN, "--reset", "we want the old one", "old.vol").stdout
    assert "we want the old one" in shown
    assert belljar("volume", "ls", *OPEN, "old.vol").stdout == ""
    assert "the volume was forked" in belljar("volume", "ls", *OPEN, "state.vol", check=125).stderr
    assert len(loaded(belljar("volume", "backup", "--list", "--json", "backups").stdout)) == 2
    belljar("volume", "backup", "--keep", "1", "state.vol", "backups")
    assert "sound: 1 backups" in belljar("volume", "backup", "--verify", "backups").stdout
    block = next((belljar.folder / "backups/blocks").rglob("?" * 64))
    block.write_bytes(block.read_bytes()[:-1] + b"!")
    assert "is damaged" in belljar("volume", "backup", "--verify", "backups", check=125).stderr


def test_a_volume_of_another_platform_is_refused_until_anchored(belljar: Belljar, volume: Path) -> None:
    assert volume.is_file()
    elsewhere = (*KEY, "--anchors", "elsewhere")
    assert "never seen this volume" in belljar("volume", "ls", *elsewhere, "state.vol", check=125).stderr
    assert "never anchored on this platform" in belljar("volume", "anchor", *elsewhere, "state.vol").stdout
    belljar("volume", "anchor", *elsewhere, "--reset", "moved here", "state.vol")
    belljar("volume", "ls", *elsewhere, "state.vol")


def test_slots_open_for_those_they_were_made_for(belljar: Belljar, volume: Path) -> None:
    (belljar.folder / "pass").write_text("correct horse battery staple\n")
    belljar("volume", "keygen", "-o", "owner.pem")
    belljar("volume", "slots", *KEY, "--add", "--new-recipient", "owner.pub.pem", "--label", "owner", "state.vol")
    belljar("volume", "rekey", *KEY, "--new-passphrase-file", "pass", "state.vol")
    slots = loaded(belljar("volume", "slots", "--json", "state.vol").stdout)["slots"]
    assert [(slot["kind"], slot["label"]) for slot in slots] == [("passphrase", "first"), ("public-key", "owner")]
    assert "the volume has no key-file slot to try" in belljar("volume", "stat", *OPEN, "state.vol", check=125).stderr
    belljar("volume", "stat", "--owner-key", "owner.pem", *ANCHORS, "state.vol")
    belljar.environment["BELLJAR_PASSPHRASE_FILE"] = "pass"  # noqa: S105 -- the name of a file
    belljar("volume", "stat", *ANCHORS, "state.vol")
    del belljar.environment["BELLJAR_PASSPHRASE_FILE"]
    nobody = belljar("volume", "stat", *ANCHORS, "state.vol", check=125)
    assert "no passphrase was given, and there is no terminal to ask on" in nobody.stderr
    (belljar.folder / "pass").write_text("wrong")
    wrong = belljar("volume", "stat", "--passphrase-file", "pass", *ANCHORS, "state.vol", check=125)
    assert "it is wrong, or the slots were changed, which cannot be told apart" in wrong.stderr
    belljar("volume", "slots", "--owner-key", "owner.pem", "--remove", "0", "state.vol")
    last = belljar("volume", "slots", "--owner-key", "owner.pem", "--remove", "1", "state.vol", check=125)
    assert "key slot 1 is the last one" in last.stderr
    assert volume.is_file()


def test_a_damaged_header_is_healed_and_said(belljar: Belljar, volume: Path) -> None:
    whole = volume.read_bytes()
    volume.write_bytes(whole[:300] + b"x" + whole[301:])
    said = belljar("volume", "slots", *KEY, "--add", "--new-key-file", "key", "state.vol").stderr
    assert "copy 0 of the header was damaged: its checksum does not hold; healed" in said
    assert "healed" not in belljar("volume", "stat", *OPEN, "state.vol").stderr


def test_a_volume_in_use_is_left_alone(belljar: Belljar, volume: Path) -> None:
    with volume.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for words in (("ls", *OPEN), ("put", *OPEN), ("check", *OPEN), ("destroy", "--yes", *ANCHORS), ("backup",)):
            rest = {"put": ["state.vol", "key", "/"], "backup": ["state.vol", "backups"]}.get(words[0], ["state.vol"])
            done = belljar("volume", *words, *rest, check=125)
            assert "mounted writable" in done.stderr or "the volume is in use" in done.stderr
    belljar("volume", "ls", *OPEN, "state.vol")


def test_what_is_intact_is_saved_into_a_new_volume(belljar: Belljar, volume: Path) -> None:
    (belljar.folder / "a").write_text("kept")
    (belljar.folder / "b").write_bytes(os.urandom(300_000))
    belljar("volume", "put", *OPEN, "state.vol", "a", "b", "/")
    whole = volume.read_bytes()
    at = len(whole) - 100_000
    volume.write_bytes(whole[:at] + bytes(8192) + whole[at + 8192 :])
    found = belljar("volume", "check", *OPEN, "state.vol", check=1)
    assert "findings: generation" in found.stdout
    saved = loaded(belljar("volume", "check", *OPEN, "--json", "--repair", "new.vol", "state.vol", check=1).stdout)
    assert saved["lost"]
    assert belljar("volume", "cat", *OPEN, "new.vol", "a").stdout == "kept"


def test_a_destroyed_volume_is_gone_and_recorded(belljar: Belljar, volume: Path) -> None:
    (belljar.folder / "copy.vol").hardlink_to(volume)
    (belljar.folder / "letter").write_text("not a volume" * 20000)
    asked = belljar("volume", "destroy", *ANCHORS, "state.vol", check=2)
    assert "state.vol would be destroyed for ever" in asked.stderr
    assert "not a volume" in belljar("volume", "destroy", "--yes", *ANCHORS, "letter", check=125).stderr
    assert (belljar.folder / "letter").exists()
    for name, why in (("letter", "letter: exists already"), ("no/where", "no/where: cannot be made: No such file")):
        said = belljar("volume", "destroy", "--yes", *ANCHORS, "--record", name, "state.vol", check=125).stderr
        assert why in said
        assert "nothing was destroyed" in said
    assert belljar("volume", "ls", *OPEN, "state.vol").returncode == 0
    belljar("volume", "destroy", "--yes", *ANCHORS, "--record", "record.json", "state.vol")
    assert not volume.exists()
    assert (belljar.folder / "copy.vol").read_bytes() == b""
    assert loaded((belljar.folder / "record.json").read_text())["format"] == "belljar.volume-destroyed/1"
    assert list((belljar.folder / "anchors").iterdir()) == []


def test_the_commands_explain_themselves(belljar: Belljar) -> None:
    assert "belljar volume create" in belljar("volume", check=2).stdout
    assert "belljar volume create" in belljar("volume", "help").stdout
    assert "usage: belljar volume ls [OPTIONS] VOLUME [PATH]" in belljar("volume", "ls", "--help").stdout
    assert "unknown command volume lss" in belljar("volume", "lss", check=2).stderr
    assert "expected one of them" in belljar("volume", "stat", *KEY, "--passphrase-fd", "0", "x", check=2).stderr
    assert "expected one volume, got 0 words" in belljar("volume", "create", *KEY, check=2).stderr
    assert "--owner me: expected two numbers" in belljar("volume", "create", "--owner", "me", "x", check=2).stderr


def test_every_key_can_be_replaced(belljar: Belljar, volume: Path) -> None:
    (belljar.folder / "kept").write_bytes(os.urandom(200_000))
    (belljar.folder / "pass").write_text("correct horse battery staple\n")
    belljar("volume", "put", *OPEN, "state.vol", "kept", "/")
    before = volume.read_bytes()
    belljar("volume", "snapshot", *OPEN, "state.vol", "old")
    refused = belljar("volume", "rekey", "--data", *OPEN, "state.vol", check=125)
    assert "has 1 snapshots, which would not be taken along" in refused.stderr
    belljar("volume", "snapshot", *OPEN, "--delete", "state.vol", "old")
    left = belljar.folder / "state.vol.rekeyed"
    left.touch()
    assert "one that was killed left" in belljar("volume", "rekey", "--data", *OPEN, "state.vol", check=125).stderr
    left.unlink()
    said = json.loads(
        belljar("volume", "rekey", "--data", "--json", *OPEN, "--new-passphrase-file", "pass", "state.vol").stdout
    )
    assert said["copied"] == 1
    assert said["volume"] != said["replaced"]
    opened = ("--passphrase-file", "pass", *ANCHORS)
    belljar("volume", "get", *opened, "state.vol", "/kept", "again")
    assert (belljar.folder / "again").read_bytes() == (belljar.folder / "kept").read_bytes()
    assert "sound" in belljar("volume", "check", *opened, "state.vol").stdout
    assert "no key-file slot" in belljar("volume", "stat", *OPEN, "state.vol", check=125).stderr
    (belljar.folder / "old.vol").write_bytes(before)
    assert "never seen this volume" in belljar("volume", "ls", *OPEN, "old.vol", check=125).stderr
    assert not (belljar.folder / "state.vol.rekeyed").exists()
