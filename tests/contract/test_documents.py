"""Documents are part of the work: every command shown is run, every link leads somewhere."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.documents import anchors, files_and_commands, links, matches, pages
from support.running import SCRIPT, Belljar
from support.source import ROOT, in_checkout

PAGES = [str(page.relative_to(ROOT)) for page in pages(ROOT)]
SESSIONS = [page for page in PAGES if files_and_commands(ROOT / page)[1]]

pytestmark = pytest.mark.usefixtures("checkout")


@pytest.fixture(scope="module")
def checkout() -> None:
    in_checkout()


@pytest.fixture
def reader(belljar: Belljar) -> Iterator[Belljar]:
    """Somebody who follows a page from its first command: with no runs yet, and with none left at the end."""
    place = belljar.folder.parent
    (place / "bin").mkdir()
    (place / "bin/belljar").symlink_to(SCRIPT)
    path = f"{SCRIPT.parent}/no-python:{place}/bin:/usr/bin:/bin"
    belljar.environment |= {"PATH": path, "BELLJAR_RUNTIME_DIR": f"{place}/runs"}
    yield belljar
    for run in json.loads(belljar("ps", "--json").stdout):
        belljar("stop", "--time", "1", run["name"], check=None)


@pytest.mark.parametrize("page", SESSIONS)
def test_commands_print_what_the_page_says(reader: Belljar, page: str) -> None:
    files, commands = files_and_commands(ROOT / page)
    folder, environment = reader.folder, reader.environ()
    for name, content in files.items():
        (folder / name).write_text(content)
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command.words],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False, timeout=120,
        )  # fmt: skip
        assert matches(command.expected, done.stdout), (
            f"{page}:{command.line}: {command.words}\nexpected:\n{command.expected}\nprinted:\n{done.stdout}"
        )


def test_sessions_are_found() -> None:
    assert {"README.md", "docs/tutorial.md"} <= set(SESSIONS)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in links(ROOT / page):
        there = (ROOT / page).parent / target if target else ROOT / page
        assert there.exists(), f"{page} links to {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page} links to {target}#{anchor}"


def test_every_page_of_docs_is_on_the_map() -> None:
    text = "".join((ROOT / page).read_text() for page in ("docs/README.md", "docs/decisions/README.md"))
    missing = [page for page in PAGES if page.startswith("docs/") and Path(page).name not in text]
    assert not [page for page in missing if not page.endswith("README.md")]


def test_documents_named_in_the_code_exist() -> None:
    for house in ("fs", "attestation", "libos", "loader", "tests", "benchmarks"):
        for path in (ROOT / house).rglob("*.py"):
            for name in re.findall(r"\bdocs/[\w/.-]*\w", path.read_text()):
                assert (ROOT / name).exists(), f"{path} names {name}"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    blocks = re.findall(r"^```sh\n(.*?)\n```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert "pip install" in blocks[0]
    assert f"\n{blocks[1]}\n" in (ROOT / ".ci/run").read_text().replace("\n    ", "\n")


def test_the_first_command_of_the_readme_works_in_a_clean_clone(tmp_path: Path, belljar: Belljar) -> None:
    command = re.findall(r"^```sh\n(.*?)\n```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[0]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: nothing says which files belong to it")
    clone = tmp_path / "clone"
    for name in listed.stdout.decode().split("\0")[:-1]:
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["bash", "-c", command], cwd=clone, env={**belljar.environ(), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "42"
