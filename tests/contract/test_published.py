"""What others rely on: the schema, the exit codes, the help, the wheel."""

from __future__ import annotations

import ast
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from belljar.libos import outcome
from belljar.loader.commands.table import COMMANDS
from support.running import Belljar
from support.source import HOUSES, ROOT, in_checkout


@pytest.fixture
def checkout() -> None:
    in_checkout()


@pytest.mark.usefixtures("checkout")
def test_the_published_schema_is_the_models_own(belljar: Belljar) -> None:
    assert (ROOT / "docs/manifest.schema.json").read_text() == belljar("schema").stdout


@pytest.mark.usefixtures("checkout")
def test_every_key_of_the_schema_is_in_the_manifest_reference(belljar: Belljar) -> None:
    text = (ROOT / "docs/reference/manifest.md").read_text()
    missing = [key for key in _keys(json.loads(belljar("schema").stdout)) if f"`{key}`" not in text]
    assert not missing


def _keys(schema: object) -> set[str]:
    if isinstance(schema, list):
        return {key for item in schema for key in _keys(item)}
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", ())) | {key for item in schema.values() for key in _keys(item)}


def test_exit_codes_are_told_apart() -> None:
    codes = {name: value for name, value in vars(outcome).items() if name.startswith("EXIT_")}
    assert len(set(codes.values())) == len(codes)
    assert set(codes.values()) == {124, 125, 126, 127, 128}


@pytest.mark.usefixtures("checkout")
def test_every_exit_code_is_in_the_reference() -> None:
    text = (ROOT / "docs/reference/exit-codes.md").read_text()
    for name, value in vars(outcome).items():
        if name.startswith("EXIT_"):
            assert f"| {value}" in text


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_that_names_its_options(belljar: Belljar, command: object) -> None:
    assert isinstance(command, type(COMMANDS[0]))
    text = belljar(command.name, "--help").stdout
    assert text.startswith(f"usage: belljar {command.name}")
    assert not [option.name for option in command.options if f"--{option.name}" not in text]
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.usefixtures("checkout")
def test_every_command_and_option_is_in_the_reference() -> None:
    text = (ROOT / "docs/reference/command-line.md").read_text()
    for command in COMMANDS:
        assert f"## `belljar {command.name}`" in text
        for option in command.options:
            assert f"`--{option.name}`" in text


@pytest.mark.usefixtures("checkout")
def test_the_wheel_holds_every_file_of_the_houses_and_a_seal(installed: Path) -> None:
    site = next(installed.parent.parent.glob("lib/python3*/site-packages"))
    there = {str(path.relative_to(site)) for path in (site / "belljar").rglob("*") if path.is_file()}
    listed = subprocess.run(
        ["git", "ls-files", *(f"{house}/belljar" for house in HOUSES)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout: nothing says which files belong to it")
    tree = {name.partition("/")[2] for name in listed.stdout.split()}
    assert {name for name in there if "__pycache__" not in name} == tree | {"belljar/__init__.py"}
    assert ast.get_docstring(ast.parse((site / "belljar/__init__.py").read_text()))


@pytest.mark.usefixtures("checkout")
def test_a_stray_package_cannot_hide_an_installed_belljar(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "belljar").mkdir()
    (tmp_path / "belljar/__init__.py").write_text("raise SystemExit('strangers')\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import belljar.loader; print(belljar.__file__)"
    python = installed.with_name("python")
    done = subprocess.run([python, "-c", code], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert str(tmp_path) not in done.stdout


@pytest.mark.usefixtures("checkout")
def test_an_sdist_builds_the_same_wheel(tmp_path: Path) -> None:
    """`python -m build` makes the wheel from the sdist: what the sdist lacks, the wheel would, too."""
    python = Path(__import__("sys").executable)
    subprocess.run([python, "-m", "build", "--outdir", tmp_path, ROOT], check=True, capture_output=True, timeout=300)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    for house in HOUSES:
        missing = [
            path
            for path in (ROOT / house / "belljar").rglob("*.py")
            if str(path.relative_to(ROOT / house)) not in names
        ]
        assert not missing
    assert list(tmp_path.glob("*.tar.gz"))
