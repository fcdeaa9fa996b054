"""A Linux file system behaves so: the same cases on tmpfs, on the disk and on our mount must have the same results.

What stands beneath our mount is a row of `support.writable_trees.TREES`: the encrypted volume must do what the tree in
memory does.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator

import pytest

from support.behaviour import content, metadata, names, programs
from support.behaviour.cases import CASES, DISK
from support.mounting import Mounted, mounted
from support.writable_trees import DIFFERENT, TREES

MODULES = (content, metadata, names, programs)  # importing them fills the table of cases

Results = dict[str, dict[str, object]]


@pytest.fixture(scope="module", params=TREES)
def beneath(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def mount(beneath: str) -> Iterator[Mounted]:
    if os.geteuid() != 0:
        pytest.skip("not root: the cases have several users")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened here")
    with mounted(TREES[beneath]()) as shown:
        yield shown


@pytest.fixture(scope="module")
def results(mount: Mounted) -> Results:
    """What every case has on each file system."""
    with tempfile.TemporaryDirectory(prefix="belljar-disk-", dir="/var/tmp") as disk:
        os.chmod(disk, 0o755)
        printed = mount.python("-m", "support.behaviour", mount.fuse, mount.tmpfs, disk)
    found: Results = json.loads(printed)
    return {"fuse": found[mount.fuse], "tmpfs": found[mount.tmpfs], "disk": found[disk]}


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_behaves_as_linux_does(name: str, beneath: str, results: Results) -> None:
    expected = results["disk" if name in DISK else "tmpfs"][name]
    assert "Traceback" not in str(expected)
    assert results["fuse"][name] == DIFFERENT.get(beneath, {}).get(name, expected)
