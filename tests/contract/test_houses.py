"""The order of the houses: imports run one way, and only through doors (docs/decisions/0001-layout.md)."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.source import HOUSES, ROOT, house_of, imported, in_checkout, modules

DOORS = {
    "fs": {
        "belljar.fs.errors",
        "belljar.fs.keeping",
        "belljar.fs.measuring",
        "belljar.fs.pseudo",
        "belljar.fs.serving",
        "belljar.fs.mounting",
        "belljar.fs.volumes",
    },
    "attestation": {
        "belljar.attestation.attesting",
        "belljar.attestation.channel",
        "belljar.attestation.cose",
        "belljar.attestation.errors",
        "belljar.attestation.keys",
        "belljar.attestation.measurement",
        "belljar.attestation.platforms",
        "belljar.attestation.serving",
        "belljar.attestation.verifier",
    },
    "libos": {
        "belljar.libos.enclave",
        "belljar.libos.errors",
        "belljar.libos.values",
        "belljar.libos.examining",
        "belljar.libos.folders",
        "belljar.libos.identity.root",
        "belljar.libos.lifecycle",
        "belljar.libos.policy",
        "belljar.libos.probing",
    },
    "loader": {"belljar.loader.api"},
}
"""What the other houses may import of each; everything else is behind its walls."""

pytestmark = pytest.mark.usefixtures("checkout")


@pytest.fixture(scope="module")
def checkout() -> None:
    in_checkout()


@pytest.mark.parametrize("house", HOUSES)
def test_imports_run_one_way_and_through_doors(house: str) -> None:
    below = HOUSES[: HOUSES.index(house)]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(house)
        for line, name in imported(path)
        if (other := house_of(name)) not in (None, house) and (other not in below or name not in DOORS[str(other)])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("house", HOUSES)
def test_every_door_is_a_file_its_readme_names(house: str) -> None:
    readme = (ROOT / house / "README.md").read_text()
    for door in DOORS[house]:
        name = door.rpartition(".")[2] + ".py"
        assert (ROOT / house / Path(*door.split("."))).with_suffix(".py").is_file()
        assert f"`{name}`" in readme, f"{house}/README.md does not name its door {name}"


@pytest.mark.parametrize("house", HOUSES)
def test_every_room_is_named_in_the_readme_of_its_house(house: str) -> None:
    readme = (ROOT / house / "README.md").read_text()
    rooms = {path.name for path in (ROOT / house / "belljar" / house).iterdir() if path.is_dir()}
    assert {room for room in rooms if f"`{room}/`" not in readme} <= {"__pycache__"}


def test_the_checkout_is_a_namespace_without_a_seal() -> None:
    assert not [house for house in HOUSES if (ROOT / house / "belljar" / "__init__.py").exists()]


def test_every_tool_knows_all_houses() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    hatch = project["hatch"]["build"]
    assert hatch["dev-mode-dirs"] == list(HOUSES)
    assert hatch["targets"]["wheel"]["packages"] == [f"{house}/belljar" for house in HOUSES]
    assert project["mypy"]["mypy_path"] == [*HOUSES, "tests"]
    assert project["pyright"]["extraPaths"] == [*HOUSES, "tests"]
    assert set(HOUSES) <= set(project["pyright"]["strict"])
    assert project["ruff"]["src"] == [*HOUSES, "tests"]
    assert project["ruff"]["namespace-packages"] == [f"{house}/belljar" for house in HOUSES]


@pytest.mark.parametrize("house", HOUSES)
def test_a_house_can_be_imported_without_those_above_it(house: str) -> None:
    above = HOUSES[HOUSES.index(house) + 1 :]
    names = [
        ".".join(path.relative_to(ROOT / house).with_suffix("").parts).removesuffix(".__init__")
        for path in modules(house)
    ]
    code = f"import sys\nfor name in {names!r}: __import__(name)\nprint(*[n for n in sys.modules if 'belljar.' in n])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not [name for name in done.stdout.split() if house_of(name) in above]
