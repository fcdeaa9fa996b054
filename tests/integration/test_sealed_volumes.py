"""Volumes that only an enclave opens: upgrades keep their data, and nobody else gets it (IEEE 2952 5.1.2 e, 7.5 e)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from support.running import PYTHON, Belljar

COUNT = """\
import os
n = int(open("/state/n").read()) if os.path.exists("/state/n") else 0
open("/state/n", "w").write(str(n + 1))
print(n)
"""
MANIFEST = """\
belljar: 1
name: app
product_id: {product}
security_version: {version}
extends: [minimal]
programs: [{python}]
argv: [{python}, -S, -E, /app/run.py]
mounts:
  - {{type: hashed, path: /app, source: app}}
  - {{type: encrypted, path: /state, source: state.vol, key: "sealed:{policy}"}}
"""

Built = Callable[..., str]


@pytest.fixture
def sealing(belljar: Belljar) -> Belljar:
    """Belljar with a state folder and a platform of its own, and a program that counts its runs."""
    belljar.environment["XDG_STATE_HOME"] = str(belljar.folder / "state")
    belljar("platform", "init")
    (belljar.folder / "app").mkdir()
    (belljar.folder / "app/run.py").write_text(COUNT)
    return belljar


@pytest.fixture
def built(sealing: Belljar) -> Built:
    """Build a bundle of one version, signed, and return its name."""

    def build(version: int, *, signer: str = "one", policy: str = "signer", product: int = 7) -> str:
        if not (sealing.folder / f"{signer}.pem").exists():
            sealing("keygen", "-o", f"{signer}.pem")
        name = f"{signer}-{product}-{version}"
        text = MANIFEST.format(python=PYTHON, version=version, policy=policy, product=product)
        (sealing.folder / f"{name}.yaml").write_text(text)
        sealing("build", f"{name}.yaml", "-o", f"{name}.bell", "--key", f"{signer}.pem")
        return f"{name}.bell"

    return build


def refused(belljar: Belljar, bundle: str) -> str:
    done = belljar("run", bundle, check=125)
    assert "volume at /state: the sealing key opens no key slot" in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_newer_version_of_the_signer_opens_and_nobody_else(sealing: Belljar, built: Built) -> None:
    first, second = built(1), built(2)
    missing = sealing("run", first, check=125).stderr
    container = f"{sealing.folder}/state.vol"
    assert f"hint: belljar volume create --sealed signer --for {sealing.folder}/{first} {container}" in missing
    missing = sealing("run", first.replace(".bell", ".yaml"), check=125).stderr
    assert f"hint: belljar volume create --sealed signer --for APP.bell {container}" in missing
    sealing("volume", "create", "--sealed", "signer", "--for", first, "state.vol")
    slots = json.loads(sealing("volume", "slots", "--json", "state.vol").stdout)["slots"]
    assert [(slot["kind"], slot["details"]) for slot in slots] == [("sealed", "sealed by signer")]
    assert [sealing("run", bundle).stdout for bundle in (first, second, second)] == ["0\n", "1\n", "2\n"]
    assert "sealed for signer" in refused(sealing, built(2, signer="other"))
    assert "sealed for product 7, this is 8" in refused(sealing, built(2, product=8))
    assert "nobody signed this enclave" in refused(sealing, first.replace(".bell", ".yaml"))


def test_an_older_version_does_not_open_what_a_newer_sealed(sealing: Belljar, built: Built) -> None:
    first, second = built(1), built(2)
    sealing("volume", "create", "--sealed", "signer", "--for", second, "state.vol")
    assert sealing("run", second).stdout == "0\n"
    assert "sealed by security version 2, this is 1" in refused(sealing, first)


def test_sealed_to_the_measurement_it_is_for_one_enclave(sealing: Belljar, built: Built) -> None:
    first, second = built(1, policy="measurement"), built(2, policy="measurement")
    sealing("volume", "create", "--sealed", "measurement", "--for", first, "state.vol")
    assert sealing("run", first).stdout == "0\n"
    assert "sealed for measurement" in refused(sealing, second)


def test_another_platform_does_not_open_it_and_a_rotated_one_does(sealing: Belljar, built: Built) -> None:
    bundle = built(1)
    sealing("volume", "create", "--sealed", "signer", "--for", bundle, "state.vol")
    sealing("platform", "rotate")
    assert sealing("run", bundle).stdout == "0\n"
    sealing.environment["XDG_STATE_HOME"] = str(sealing.folder / "elsewhere")
    sealing("platform", "init")
    assert "sealed on platform" in refused(sealing, bundle)


def test_mistakes_are_named(sealing: Belljar, built: Built) -> None:
    built(1)
    (sealing.folder / "k").write_bytes(bytes(32))
    for words, code, message in [
        (("--sealed", "signer"), 2, "--sealed, but not for whom"),
        (("--sealed", "owner", "--for", "one-7-1.yaml"), 2, "--sealed owner: expected signer or measurement"),
        (("--for", "one-7-1.yaml", "--key-file", "k"), 2, "--for says whom a slot is sealed for"),
        (("--sealed", "signer", "--for", "one-7-1.yaml"), 125, "cannot seal: policy signer, but nobody signed"),
        (("--sealed", "signer", "--for", "none.bell"), 125, "none.bell"),
    ]:
        done = sealing("volume", "create", *words, "state.vol", check=code)
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not (sealing.folder / "state.vol").exists()
