"""Composing the guest's root from several sources and what lies between them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from belljar.fs.hashed.content import Source
from belljar.fs.hashed.tree import Tree, TreeConflict
from belljar.fs.hashed.usage import Usage
from support.trees import make_tree, opened


@pytest.fixture
def system(tmp_path: Path) -> Source:
    root = make_tree(tmp_path / "system", {"usr/lib/libc": b"c", "usr/bin/sh": b"sh", "lib": "usr/lib", "etc/x": b"x"})
    return opened(root, tmp_path / "system.index", "/")


@pytest.fixture
def app(tmp_path: Path) -> Source:
    return opened(make_tree(tmp_path / "app", {"app.py": b"1", "data/d": b"d"}), tmp_path / "app.index", "/srv/app")


def names(tree: Tree, path: str) -> list[str]:
    node = find(tree, path)
    assert node is not None
    return [name.decode() for name, _ in tree.children(node, 0, 1000)]


def find(tree: Tree, path: str) -> int | None:
    node: int | None = 1
    for part in path.split("/"):
        if part and node is not None:
            node = tree.child(node, part.encode())
    return node


def test_sources_are_mounted_where_they_belong(system: Source, app: Source) -> None:
    tree = Tree([("/", system), ("/srv/app", app)], directories=["/proc"], files={"/etc/passwd": b"root"}, links={})
    assert names(tree, "/") == ["etc", "lib", "proc", "srv", "usr"]
    assert names(tree, "/etc") == ["passwd", "x"]
    assert names(tree, "/srv/app") == ["app.py", "data"]
    assert find(tree, "/usr/lib/libc") is not None
    assert find(tree, "/usr/lib/none") is None


def test_every_node_knows_its_path(system: Source, app: Source) -> None:
    tree = Tree([("/", system), ("/srv/app", app)], directories=["/a/b"], files={"/etc/passwd": b""}, links={})
    for path in ("/", "/etc/passwd", "/etc/x", "/srv", "/srv/app", "/srv/app/data/d", "/a/b"):
        node = find(tree, path)
        assert node is not None
        assert tree.path(node) == path.encode()


def test_generated_files_hide_those_of_a_source(system: Source) -> None:
    tree = Tree([("/", system)], directories=[], files={"/etc/x": b"generated"}, links={"/etc/mtab": "/proc/mounts"})
    node = find(tree, "/etc/x")
    assert node is not None
    skeleton = tree.skeleton(node)
    assert skeleton is not None
    assert skeleton.content == b"generated"
    link = find(tree, "/etc/mtab")
    assert link is not None
    assert tree.target(link) == b"/proc/mounts"


def test_a_source_hides_what_another_has_there(tmp_path: Path, system: Source) -> None:
    inner = opened(make_tree(tmp_path / "inner", {"only": b""}), tmp_path / "inner.index", "/usr/lib")
    tree = Tree([("/usr/lib", inner), ("/", system)], directories=[], files={}, links={})
    assert names(tree, "/usr/lib") == ["only"]
    assert names(tree, "/usr") == ["bin", "lib"]


def test_a_file_can_be_a_source(tmp_path: Path, system: Source) -> None:
    path = make_tree(tmp_path / "one", {"script.py": b"print()"}) / "script.py"
    single = opened(path, tmp_path / "one.index", "/srv/script.py")
    tree = Tree([("/", system), ("/srv/script.py", single)], directories=[], files={}, links={})
    node = find(tree, "/srv/script.py")
    assert node is not None
    assert stat.S_ISREG(tree.attributes(node)[1])


def test_a_mount_behind_a_link_is_refused(system: Source) -> None:
    with pytest.raises(TreeConflict, match="/lib/x: lib is a link or file"):
        Tree([("/", system)], directories=["/lib/x"], files={}, links={})


def test_a_mount_below_a_file_is_refused(system: Source) -> None:
    with pytest.raises(TreeConflict, match="libc is a link or file"):
        Tree([("/", system)], directories=["/usr/lib/libc/x"], files={}, links={})


def test_attributes_are_those_of_a_read_only_tree(system: Source) -> None:
    tree = Tree([("/", system)], directories=["/proc"], files={}, links={})
    for path, mode in {"/": 0o40555, "/proc": 0o40555, "/etc/x": 0o100444, "/lib": 0o120777}.items():
        node = find(tree, path)
        assert node is not None
        assert tree.attributes(node)[1] == mode, path


def test_a_listing_shows_what_lookups_find(system: Source, app: Source) -> None:
    tree = Tree([("/", system), ("/srv/app", app)], directories=["/proc"], files={}, links={})
    for path in ("/", "/usr", "/srv/app"):
        node = find(tree, path)
        assert node is not None
        for name, attributes in tree.listing(node, 0, 100):
            child = tree.child(node, name)
            assert child is not None
            assert tree.attributes(child) == attributes


def test_listings_continue_where_they_stopped(tmp_path: Path) -> None:
    files: dict[str, bytes | str | None] = {f"{n:04}": b"" for n in range(2500)}
    tree = Tree(
        [("/", opened(make_tree(tmp_path / "many", files), tmp_path / "index", "/"))],
        directories=[],
        files={},
        links={},
    )
    node = 1
    seen: list[bytes] = []
    while part := tree.children(node, len(seen), 400):
        seen += [name for name, _ in part]
    assert seen == [name.encode() for name in sorted(files)]


def test_usage_says_what_to_ask_for_next_time(system: Source, app: Source) -> None:
    tree = Tree([("/", system), ("/srv/app", app)], directories=[], files={}, links={})
    usage = Usage()
    srv, script = find(tree, "/srv"), find(tree, "/srv/app/app.py")
    assert srv is not None
    assert script is not None
    usage.looked_up(1, b"srv")
    usage.looked_up(srv, b"nothing")
    usage.listed(srv)
    usage.read(script, 0, 1)
    source, entry = tree.place(script)
    assert usage.warmup(tree) == (
        ("/srv", "/srv/nothing"),
        ("/srv",),
        (("/srv/app/app.py", source, entry, (0, 1)),),
    )
