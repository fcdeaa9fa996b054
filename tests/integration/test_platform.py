"""`belljar platform`: making, showing, handing out and renewing the root of trust of this machine."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.running import Belljar, has
from support.swtpm import needs_swtpm, swtpm


def told(belljar: Belljar, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(belljar("platform", *words, "--json").stdout)
    return found


def test_a_platform_is_made_once(belljar: Belljar) -> None:
    first = told(belljar, "init", "--dir", "p")
    assert first == told(belljar, "init", "--dir", "p") == told(belljar, "show", "--dir", "p")
    assert (first["kind"], first["simulated"], first["algorithm"], first["older"]) == ("soft", True, "ed25519", [])
    assert first["root"].startswith("sha256:")
    folder = belljar.folder / "p"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(item.stat().st_mode) for item in folder.iterdir()} == {0o600}


def test_it_is_kept_where_state_is_kept(belljar: Belljar) -> None:
    belljar.environment["XDG_STATE_HOME"] = str(belljar.folder / "state")
    done = belljar("platform", "init")
    assert (belljar.folder / "state/belljar/platform/soft.platform").exists()
    assert re.search("^simulated +yes$", done.stdout, re.MULTILINE)
    assert "soft is simulated: a secret in a file" in done.stderr


@pytest.mark.skipif(not has("openssl"), reason="openssl is not installed, which reads the root here")
def test_the_root_is_what_others_pin(belljar: Belljar) -> None:
    root = told(belljar, "init", "--dir", "p", "--algorithm", "es384")["root"]
    pem = belljar("platform", "root", "--dir", "p").stdout
    belljar("platform", "root", "--dir", "p", "-o", "root.pem")
    assert (belljar.folder / "root.pem").read_text() == pem
    key = subprocess.run(["openssl", "x509", "-pubkey", "-noout"], input=pem.encode(), capture_output=True, check=True)
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=key.stdout, capture_output=True, check=True
    ).stdout
    digest = subprocess.run(["sha256sum"], input=der, capture_output=True, check=True).stdout.split()[0].decode()
    assert root == f"sha256:{digest}"
    assert "exists already" in belljar("platform", "root", "--dir", "p", "-o", "root.pem", check=125).stderr


def test_rotating_renames_it_and_keeps_the_old_name(belljar: Belljar) -> None:
    before = told(belljar, "init", "--dir", "p")
    after = told(belljar, "rotate", "--dir", "p")
    assert after["older"] == [before["platform"]]
    assert after["root"] != before["root"]
    assert "pin the new root" in belljar("platform", "rotate", "--dir", "p").stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "expected one of init, show, root and rotate"),
        (("make",), 2, "expected one of init, show, root and rotate"),
        (("init", "x"), 2, "expected one of init, show, root and rotate"),
        (("show", "--dir", "none"), 125, "there is no platform"),
        (("rotate", "--dir", "none"), 125, "there is no soft platform to rotate"),
        (("init", "--platform", "sgx"), 2, "platform sgx, expected soft or tpm"),
        (("init", "--dir", "p", "--algorithm", "rsa"), 2, "unknown algorithm rsa"),
        (("init", "--dir", "p", "--platform", "tpm", "--tpm", "unix:/none"), 125, "unix:/none: No such file"),
        (("show", "--dir", "p", "--platform", "tsm"), 125, "/sys/kernel/config/tsm/report"),
    ],
)
def test_mistakes_are_named(belljar: Belljar, words: tuple[str, ...], code: int, message: str) -> None:
    done = belljar("platform", *words, check=code)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_platform_others_can_read_is_refused(belljar: Belljar) -> None:
    belljar("platform", "init", "--dir", "p")
    (belljar.folder / "p/soft.platform").chmod(0o644)
    done = belljar("platform", "show", "--dir", "p", check=125)
    assert "mode 644, expected 600: others may have read it" in done.stderr
    assert "hint: chmod 600" in done.stderr


@needs_swtpm
def test_a_tpm_can_be_the_platform(belljar: Belljar, tmp_path: Path) -> None:
    del tmp_path
    with swtpm() as made:
        first = told(belljar, "init", "--dir", "t", "--platform", "tpm", "--tpm", made.address)
        assert (first["kind"], first["simulated"], first["environment"]) == ("tpm", True, "tpm")
        assert told(belljar, "show", "--dir", "t", "--tpm", made.address) == first
        done = belljar("platform", "init", "--dir", "t", check=125)
        assert "holds a platform of another kind" in done.stderr
        done = belljar("platform", "rotate", "--dir", "t", check=125)
        assert "there is no soft platform to rotate" in done.stderr
