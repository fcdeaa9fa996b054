"""Every manifest in `manifests/` runs its real program, unmodified, and belljar check finds nothing to warn of."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.running import PYTHON, SCRIPT, Belljar

MANIFESTS = Path(__file__).parents[2] / "manifests"
EXPECTED = {
    "stdlib": "6 the\n3 on\n3 just\n",
    "console-script": "SELECT a,\n       b\nFROM t\nWHERE a = 1\n  AND b IN\n    (SELECT c\n     FROM u)",
    "numpy-pandas": (
        "       count  mean\nsite              \nnorth      2   2.0\nsouth      1  10.0\nsolution 2.0 3.0\n"
    ),
    "flask-gunicorn": '200 {"hello":"from inside","worker":true}\ngunicorn ended with 0\n',
    "multiprocessing": "1229 primes\n2000 additions\n",
    "sqlite": "wal\n400 19800\nok\n",
    "encrypted-volume": "1 2000\nok\n",
    "coreutils": "['4', 'fish']\n['8', 'words.txt']\n",
}
SERVICES = {"attested-service"}
"""They run until they are stopped: tests/integration/test_gateway_programs.py has them."""


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Return what makes a virtual environment for a requirements file; each is made once."""
    made: dict[str, Path] = {}

    def make(requirements: Path) -> Path:
        key = requirements.read_text()
        if key not in made:
            folder = tmp_path_factory.mktemp("venv")
            subprocess.run([PYTHON, "-m", "venv", str(folder)], check=True, capture_output=True)
            pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, "-r", str(requirements)], check=True, capture_output=True)
            made[key] = folder
        return made[key]

    return make


def prepared(belljar: Belljar, name: str, environment: Callable[[Path], Path]) -> Belljar:
    requirements = MANIFESTS / name / "requirements.txt"
    if requirements.exists():
        belljar.environment["VIRTUAL_ENV"] = str(environment(requirements))
    else:
        belljar.environment["PATH"] = f"{Path(PYTHON).parent}:/usr/bin:/bin"
    folder = belljar.folder
    belljar.folder = MANIFESTS / name
    if name == "encrypted-volume":
        make_volume(belljar, folder)
    return belljar


def make_volume(belljar: Belljar, folder: Path) -> None:
    """Make the volume of a manifest as manifests/README.md says, in a copy of its folder."""
    belljar.folder = folder / "copy"
    shutil.copytree(MANIFESTS / "encrypted-volume", belljar.folder, ignore=shutil.ignore_patterns("data.vol*"))
    lines = [line for line in (MANIFESTS / "README.md").read_text().splitlines() if "data.vol" in line]
    make = " ".join(lines).partition("&&")[2].rpartition("&& belljar run app.yaml &&")[0]
    environment = {**belljar.environ(), "PATH": f"{SCRIPT.parent}:/usr/bin:/bin"}
    subprocess.run(["sh", "-ec", make], cwd=belljar.folder, env=environment, check=True, capture_output=True)


def test_every_folder_is_expected() -> None:
    assert {path.parent.name for path in MANIFESTS.glob("*/app.yaml")} == {*EXPECTED, *SERVICES}


@pytest.mark.parametrize("name", EXPECTED)
def test_it_runs(belljar: Belljar, environment: Callable[[Path], Path], name: str) -> None:
    done = prepared(belljar, name, environment)("run", "app.yaml", timeout=300)
    assert done.stdout == EXPECTED[name]
    assert done.stderr == ""


@pytest.mark.parametrize("name", [*EXPECTED, *SERVICES])
def test_there_is_nothing_to_warn_of(belljar: Belljar, environment: Callable[[Path], Path], name: str) -> None:
    done = prepared(belljar, name, environment)("check", "app.yaml")
    assert done.stdout == "1 manifest(s), 0 problem(s), 0 note(s)\n"


def test_what_is_in_a_volume_is_there_at_the_next_run(belljar: Belljar, environment: Callable[[Path], Path]) -> None:
    ready = prepared(belljar, "encrypted-volume", environment)
    assert [ready("run", "app.yaml").stdout.split()[0] for _ in range(3)] == ["1", "2", "3"]


def test_a_package_of_the_environment_can_be_used_without_a_manifest(
    belljar: Belljar, environment: Callable[[Path], Path]
) -> None:
    venv = environment(MANIFESTS / "console-script/requirements.txt")
    script = belljar("run", "--", str(venv / "bin/sqlformat"), "-", stdin="select 1").stdout
    module = belljar("run", "--", str(venv / "bin/python"), "-m", "sqlparse", "-", stdin="select 1").stdout
    assert script == module == "select 1"
    assert sys.version_info >= (3, 11)
