"""Volumes anchored by real roots of trust: a file, and a software TPM that several users share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from belljar.attestation.platforms import Birth, Places, TpmBirth, choose, connected, make_soft, make_tpm, rotate_soft
from belljar.fs.anchoring import anchors_folder
from belljar.fs.errors import VolumeRefused
from belljar.libos.folders import platform_folder
from belljar.libos.identity.anchors import volume_anchor
from support.anchoring import root
from support.swtpm import Swtpm, needs_swtpm, swtpm

VOLUME = b"v" * 16
BIRTH = Birth(random=os.urandom, now=1_795_000_000)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "belljar"


def used(*generations: int, named: str | None = None) -> None:
    with volume_anchor(named) as anchor:
        for generation in generations:
            anchor.advance(VOLUME, root(generation))


def refused(said: str) -> VolumeRefused:
    with volume_anchor() as anchor, pytest.raises(VolumeRefused, match=said) as caught:
        anchor.read(VOLUME)
    return caught.value


def verify_newest(generation: int) -> None:
    with volume_anchor() as anchor:
        assert anchor.read(VOLUME) == root(generation)


@pytest.mark.parametrize("environment", [{}, {"XDG_STATE_HOME": "/s"}, {"XDG_STATE_HOME": ""}])
def test_anchors_are_beside_the_platform(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", "/home/u")
    assert os.path.dirname(anchors_folder(os.environ, os.geteuid())) == os.path.dirname(platform_folder())


def test_a_soft_platform_tells_what_was_put_back_without_it(state: Path) -> None:
    make_soft(platform_folder(), BIRTH).close()
    used(1, 2)
    shutil.copytree(state, f"{state}.old")
    used(3)
    shutil.rmtree(state / "anchors")
    shutil.copytree(f"{state}.old/anchors", state / "anchors")
    refused("it is of counter value 1 and 2, expected 4")
    shutil.rmtree(state)
    shutil.copytree(f"{state}.old", state)
    verify_newest(2)  # what the documents say: nothing on this machine remembers more than its folder


def test_a_soft_platform_may_be_rotated_and_another_one_is_told(state: Path) -> None:
    make_soft(platform_folder(), BIRTH).close()
    used(1, 2)
    rotate_soft(platform_folder(), BIRTH).close()
    verify_newest(2)
    used(3)
    rotate_soft(platform_folder(), BIRTH).close()
    verify_newest(3)
    shutil.rmtree(state / "platform")
    make_soft(platform_folder(), BIRTH).close()
    error = refused("the anchor cannot be used: not written by this platform: its MAC does not hold")
    assert "belljar volume anchor --reset" in str(error.hint)
    with volume_anchor() as anchor:
        anchor.reset(VOLUME, root(3), reason="another platform", time_s=1)
    verify_newest(3)


def test_a_platform_that_is_damaged_is_told(state: Path) -> None:
    make_soft(platform_folder(), BIRTH).close()
    used(1)
    (state / "platform/soft.counter").unlink()
    error = refused("the platform that anchors volumes cannot be used: .*soft.counter: missing")
    assert error.hint == "put it back, or begin anew"


def test_a_folder_that_is_named_has_no_platform(state: Path, tmp_path: Path) -> None:
    make_soft(platform_folder(), BIRTH).close()
    used(1, named=str(tmp_path / "elsewhere"))
    assert not (tmp_path / "elsewhere/ledger").exists()
    used(1, named=str(state / "anchors"))
    assert (state / "anchors/ledger").exists()


def tpm_places(made: Swtpm, folder: str) -> Places:
    return Places(state=folder, random=os.urandom, tpm=made.address, tsm="/nowhere")


@needs_swtpm
def test_users_of_one_tpm_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with swtpm() as made:
        monkeypatch.setenv("BELLJAR_TPM", made.address)
        for name in ("one", "other"):
            monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / name))
            make_tpm(platform_folder(), connected(made.address), TpmBirth(birth=BIRTH)).close()
            with choose("tpm", tpm_places(made, platform_folder())) as found:
                assert found.count() == 0
        for generation in (1, 2, 3):
            for name in ("one", "other"):
                monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / name))
                used(generation)
        for name in ("one", "other"):
            monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / name))
            verify_newest(3)
            with choose("tpm", tpm_places(made, platform_folder())) as found:
                assert found.count() > 5


@needs_swtpm
def test_a_tpm_tells_whatever_was_put_back_but_its_own_state(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with swtpm() as made:
        monkeypatch.setenv("BELLJAR_TPM", made.address)
        make_tpm(platform_folder(), connected(made.address), TpmBirth(birth=BIRTH)).close()
        used(1, 2)
        shutil.copytree(state, f"{state}.old")
        used(3)
        shutil.rmtree(state)
        shutil.copytree(f"{state}.old", state)
        refused("where the platform's counter stands: one was put back")
        made.stop()
        error = refused("the platform that anchors volumes cannot be used: .*No such file or directory")
        assert "is swtpm running there" in str(error.hint)
