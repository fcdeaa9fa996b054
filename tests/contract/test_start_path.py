"""What a warm start may import: every module costs its time in every run (docs/decisions/0005-start-path.md)."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.running import Belljar

FORBIDDEN = frozenset(
    [
        "argparse",
        "asyncio",
        "cbor2",
        "cryptography",
        "ast",
        "contextlib",
        "ctypes.util",
        "dataclasses",
        "enum",
        "functools",
        "glob",
        "inspect",
        "json",
        "logging",
        "pathlib",
        "pathspec",
        "pickle",
        "pydantic",
        "pyseccomp",
        "random",
        "re",
        "shutil",
        "signal",
        "socket",
        "subprocess",
        "tempfile",
        "textwrap",
        "threading",
        "tqdm",
        "traceback",
        "typing",
        "urllib",
        "yaml",
    ]
)
PREPARING = (
    "belljar.attestation",
    "belljar.loader.bundle",
    "belljar.loader.prepare",
    "belljar.loader.manifest",
    "belljar.loader.derive",
    "belljar.fs.measuring",
)
MOST_STRANGERS = 60  # modules that are not ours; the interpreter brings about 30 of them
_CODE = """
import os, sys
sys.argv = ["belljar", "run", *{words!r}]
from belljar.loader import cli
keep = os._exit
def show(code):
    sys.stderr.write("\\n".join(["MODULES", *sys.modules]))
    keep(code)
os._exit = show
cli.console()
"""


@pytest.fixture(scope="module", params=["command", "signed bundle", "platform"])
def modules(request: pytest.FixtureRequest, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every module the supervisor of a warm run has imported when it ends."""
    folder = tmp_path_factory.mktemp("start")
    belljar = Belljar(cache=cache, folder=folder)
    words = ["--", "/bin/true"]
    if request.param == "platform":
        belljar.environment["XDG_STATE_HOME"] = str(folder)
        belljar("platform", "init")
    if request.param == "signed bundle":
        manifest = "belljar: 1\nname: app\nextends: [minimal]\nprograms: [/bin/true]\nargv: [/bin/true]\n"
        (folder / "app.yaml").write_text(manifest)
        signer = belljar("keygen").stdout.strip()
        belljar("build", "app.yaml", "--key", "signer.pem")
        words = ["--signer", signer, "app.bell"]
        time.sleep(2.1)  # a younger file is looked at again
    belljar("run", *words)
    code = _CODE.format(words=words)
    isolated = [
        sys.executable,
        "-S",
        "-c",
        f"import sys; sys.path = {sys.path!r}\n{code}",
    ]  # -S: no .pth files of others
    done = subprocess.run(isolated, cwd=folder, env=belljar.environ(), capture_output=True, text=True, check=True)
    return set(done.stderr.partition("MODULES\n")[2].split())


def test_a_warm_start_imports_nothing_expensive(modules: set[str]) -> None:
    assert "belljar.libos.enclave" in modules
    assert not modules & FORBIDDEN


def test_files_for_evidence_are_there_and_nothing_of_attestation_is(
    modules: set[str], request: pytest.FixtureRequest
) -> None:
    with_platform = "platform" in request.node.name
    assert ("belljar.libos.identity.guest_files" in modules) == with_platform
    assert not [name for name in modules if name.startswith("belljar.attestation")]


def test_an_enclave_that_opens_nothing_has_no_gateway(modules: set[str]) -> None:
    assert not [name for name in modules if name.startswith("belljar.libos.gateway") or name.endswith("guest.sockets")]


def test_a_warm_start_prepares_nothing(modules: set[str]) -> None:
    assert not [name for name in modules if name.startswith(PREPARING)]


def test_a_warm_start_imports_few_modules(modules: set[str]) -> None:
    ours = [name for name in modules if name.startswith("belljar")]
    assert len(modules) - len(ours) < MOST_STRANGERS, sorted(modules - set(ours))


def test_help_and_version_build_nothing() -> None:
    for word in ("--help", "--version"):
        code = f"import sys\nfrom belljar.loader.cli import main\nmain([{word!r}])\nprint(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not [name for name in done.stdout.split() if name.startswith(("belljar.fs", "belljar.libos.guest"))]
