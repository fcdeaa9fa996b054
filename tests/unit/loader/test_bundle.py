"""The reader of bundles: what is changed, cut, added or made up is refused with a reason, never with a traceback."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belljar.attestation.keys import SigningKey, generate
from belljar.loader.bundle import layout
from belljar.loader.bundle.files import create_file, replace_file
from belljar.loader.bundle.launch import check_policy
from belljar.loader.bundle.payload import absolute_in, decode_payload, relative_to
from belljar.loader.bundle.read import Bundle, read_bundle
from belljar.loader.bundle.signers import check_signer, expected_signer
from belljar.loader.bundle.write import bundle_bytes
from belljar.loader.errors import BundleRefused, LoaderError, UsageError
from belljar.loader.manifest.parse import parse_text
from belljar.loader.measure import measure_manifest
from belljar.loader.resolve import resolve
from support.bundles import altered, join, split

KEY = generate()
MANIFEST = """\
belljar: 1
name: small
argv: [/app/tool, --quiet]
arguments: {pattern: "[a-z]+"}
environment: {set: {B: two}, pass: [TERM]}
limits: {memory: 64MiB, cpus: 1.5, run_time: 2m}
mounts:
  - {type: hashed, path: /app, source: app}
  - {type: host, path: /data, source: data}
  - {type: tmpfs, path: /work, size: 1MiB}
system_calls: {deny: [kill]}
"""


KNOWN = st.sampled_from(["format", "belljar", "hashed", "host", "manifest", "index", "path", "source"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("belljar.bundle/1"),
    lambda inner: st.lists(inner) | st.dictionaries(KNOWN, inner),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bundle")
    (place / "app/sub").mkdir(parents=True)
    (place / "data").mkdir()
    (place / "cache").mkdir()
    (place / "app/tool").write_text("#!/app/interpreter\n")
    (place / "app/tool").chmod(0o755)
    (place / "app/sub/file").write_bytes(bytes(70_000))
    (place / "app/link").symlink_to("tool")
    return place


def made(folder: Path, key: SigningKey | None) -> bytes:
    resolved = resolve(parse_text(MANIFEST, name="small", folder=str(folder)))
    return bundle_bytes(measure_manifest(resolved, str(folder / "cache")), str(folder), key)


@pytest.fixture(scope="module")
def unsigned(folder: Path) -> bytes:
    return made(folder, None)


@pytest.fixture(scope="module")
def signed(folder: Path) -> bytes:
    return made(folder, KEY)


def read(folder: Path, content: bytes) -> Bundle:
    path = folder / "app.bell"
    path.write_bytes(content)
    return read_bundle(str(path))


def refused(folder: Path, content: bytes) -> str:
    """Return why a bundle is refused."""
    with pytest.raises(BundleRefused) as caught:
        read(folder, content)
    return str(caught.value).removeprefix(f"{folder}/app.bell: ")


def test_what_was_built_can_be_read(folder: Path, unsigned: bytes, signed: bytes) -> None:
    for content, key in ((unsigned, None), (signed, KEY)):
        bundle = read(folder, content)
        assert bundle.signer == ("" if key is None else f"sha256:{key.public.signer.hex()}")
        assert [tree.source for tree in bundle.decided.pinned] == [str(folder / "app")]
        assert [entry.path for entry in bundle.entries[0]] == [b"", b"link", b"sub", b"tool", b"sub/file"]
        assert (
            bundle.canonical
            == json.dumps(bundle.members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        )
        check_policy(bundle)


def test_the_same_input_is_the_same_unsigned_bundle(folder: Path, unsigned: bytes) -> None:
    assert made(folder, None) == unsigned


def test_every_bit_of_the_header_matters(folder: Path, unsigned: bytes, signed: bytes) -> None:
    for content in (unsigned, signed):
        for bit in range(8 * layout.HEADER.size):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            assert refused(folder, bytes(damaged))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_other_bit_matters_too(folder: Path, unsigned: bytes, signed: bytes, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from([unsigned, signed]))
    bit = data.draw(st.integers(8 * layout.HEADER.size, 8 * len(content) - 1))
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    assert refused(folder, bytes(damaged))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_cut_and_every_appendix_is_refused(
    folder: Path, unsigned: bytes, signed: bytes, data: st.DataObject
) -> None:
    content = data.draw(st.sampled_from([unsigned, signed]))
    assert refused(folder, content[: data.draw(st.integers(0, len(content) - 1))])
    assert "followed by something else" in refused(folder, content + data.draw(st.binary(min_size=1, max_size=9)))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), start=st.sampled_from([b"", b"BELLJBDL", b"BELLJBDL\x01\x00\x00\x00"]))
def test_any_bytes_are_refused(folder: Path, content: bytes, start: bytes) -> None:
    assert refused(folder, start + content)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_any_json_is_refused_as_payload(value: object) -> None:
    with pytest.raises(BundleRefused):
        decode_payload(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("length", "why"),
    [
        (0, "does not begin with BELLJBDL"),
        (7, "does not begin with BELLJBDL"),
        (63, "truncated: 63 bytes, expected at least 64"),
        (64, "is truncated: 64 bytes, expected"),
        (100, "is truncated: 100 bytes"),
        (-1, "is truncated"),
    ],
)
def test_what_is_said_of_a_cut_bundle(folder: Path, signed: bytes, length: int, why: str) -> None:
    assert why in refused(folder, signed[:length])


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (8, 2, "bundle of version 2, expected 1"),
        (10, 4, "the header is damaged: flags 0x4"),
        (10, 1, "the signature cannot be read"),
        (15, 0xFF, "the header is damaged: a payload of"),
        (20, 1, "is truncated"),
        (24, 1, "the header is damaged"),
        (40, 0, "does not have the digest that the header holds"),
        (70, 0, "does not have the digest that the header holds"),
    ],
)
def test_what_is_said_of_a_damaged_bundle(folder: Path, unsigned: bytes, at: int, value: int, why: str) -> None:
    assert why in refused(folder, unsigned[:at] + bytes([value]) + unsigned[at + 1 :])


def test_a_damaged_index_is_named(folder: Path, unsigned: bytes) -> None:
    assert "the index of /app is damaged" in refused(folder, unsigned[:-1] + b"\xff")


def test_a_signed_payload_is_not_read_as_an_unsigned_one(folder: Path, signed: bytes) -> None:
    _, body, indexes = split(signed)
    assert "the payload cannot be read" in refused(folder, join(body, indexes, signed=False))


def change(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(members: dict[str, Any]) -> None:
        at: Any = members
        for part in path[:-1]:
            at = at[part]
        at[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("alter", "why"),
    [
        (change("format", value="belljar.bundle/2"), "format 'belljar.bundle/2', expected 'belljar.bundle/1'"),
        (change("more", value=1), "has the members"),
        (change("manifest", value=[]), "has the members"),
        (change("hashed", 0, "index", "size", value=True), "has True bytes"),
        (change("hashed", 0, "index", "size", value=layout.MAX_INDEX_BYTES + 1), "expected 1 to"),
        (change("hashed", 0, "index", "size", value=300), "its payload speaks of"),
        (change("hashed", 0, "index", "sha256", value="0" * 64), "the index of /app is damaged"),
        (change("hashed", 0, "index", "sha256", value="A" * 64), "one canonical form"),
        (change("hashed", 0, "index", "more", value=1), "not described by"),
        (change("hashed", 0, "source", value="../x"), "not a plain path"),
        (change("hashed", 0, "source", value=""), "not a plain path"),
        (change("hashed", 0, "source", value="a//b"), "not a plain path"),
        (change("hashed", 0, "source", value=7), "a path is a int"),
        (change("hashed", 0, "path", value="/other"), "cannot be read"),
        (change("hashed", value=None), "cannot be read"),
        (change("host", value=[]), "cannot be read"),
        (change("host", 0, "more", value=1), "canonical form"),
        (change("host", 0, "path", value="/other"), "cannot be read"),
        (change("manifest", "format", value="belljar.manifest/2"), "expected 'belljar.manifest/1'"),
        (change("manifest", "name", value="Not A Name"), "the manifest cannot be used: name"),
        (change("manifest", "argv", value=[]), "the manifest cannot be used: argv"),
        (change("manifest", "argv", value=[1]), "the manifest cannot be used: argv.0"),
        (change("manifest", "limits", "processes", value=True), "the manifest cannot be used: limits.processes"),
        (change("manifest", "limits", "cpu_millis", value=1), "the manifest cannot be used"),
        (change("manifest", "user", "uid", value=70000), "the manifest cannot be used: user.uid"),
        (change("manifest", "mounts", 1, "path", value="/proc/x"), "cannot be"),
        (change("manifest", "mounts", 0, "path", value="../app"), "cannot be"),
        (change("manifest", "mounts", 0, "index", value="sha256:" + "0" * 64), "is not the measured one"),
        (change("manifest", "mounts", 2, "size", value=True), "cannot be used"),
        (change("manifest", "mounts", 2, "type", value="bind"), "cannot be used"),
        (change("manifest", "network", value="nobody's"), "not in the form that is measured: see network"),
        (change("manifest", "exec", value="some"), "not in the form that is measured: see exec"),
        (change("manifest", "integrity", value=True), "not in the form that is measured: see integrity"),
        (change("manifest", "executable", value="a\0b"), "expected a path"),
        (change("manifest", "environment", "set", value=[["B", "1"], ["B", "2"]]), "see environment"),
        (change("manifest", "environment", "set", value=[["B"]]), "cannot be read"),
        (change("manifest", "environment", "set", value=[["B=", "1"]]), "cannot be used: environment.set"),
        (change("manifest", "system_calls", "policy", value="sha256:xyz"), "cannot be read"),
        (change("manifest", "more", value=1), "see more"),
        (lambda members: members["manifest"].pop("user"), "cannot be read"),
        (lambda members: members["manifest"]["mounts"].reverse(), "see mounts"),
        (lambda members: members["manifest"]["mounts"].pop(0), "those that have an index"),
        (lambda members: members["manifest"]["mounts"].pop(1), "those that have a source"),
        (lambda members: members["hashed"].append(members["hashed"][0]), "not in the order"),
    ],
)
def test_a_made_up_payload_is_refused_also_when_it_is_signed(
    folder: Path, unsigned: bytes, alter: Callable[[dict[str, Any]], None], why: str
) -> None:
    for key in (None, KEY):
        assert why in refused(folder, altered(unsigned, alter, key))


def test_deep_json_is_refused(folder: Path, unsigned: bytes) -> None:
    body = b"[" * 100_000 + b"]" * 100_000
    assert "cannot be read" in refused(folder, join(body, b"", signed=False))
    assert unsigned


def test_a_policy_of_another_version_is_told(folder: Path, unsigned: bytes) -> None:
    digest = "sha256:" + "0" * 64
    content = altered(unsigned, change("manifest", "system_calls", "policy", value=digest))
    bundle = read(folder, altered(content, change("belljar", value="9.9")))
    with pytest.raises(BundleRefused, match=r"built by belljar 9\.9, whose system call policy") as caught:
        check_policy(bundle)
    assert "build it again" in str(caught.value.hint)


def test_who_signed_it(folder: Path, unsigned: bytes, signed: bytes) -> None:
    other = f"sha256:{generate().public.signer.hex()}"
    mine = f"sha256:{KEY.public.signer.hex()}"
    check_signer(read(folder, signed), mine)
    with pytest.raises(BundleRefused, match=f"signed by {mine}, expected {other}"):
        check_signer(read(folder, signed), other)
    with pytest.raises(BundleRefused, match="not signed"):
        check_signer(read(folder, unsigned), mine)
    (folder / "key.pem").write_bytes(KEY.public.pem())
    assert expected_signer(str(folder / "key.pem")) == KEY.public.signer


@pytest.mark.parametrize("text", ["sha256:", "sha256:12", "sha256:" + "G" * 64, "sha256:" + "A" * 64])
def test_a_signer_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="64 digits"):
        expected_signer(text)


@pytest.mark.parametrize("kind", ["fifo", "folder", "nothing"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "app.bell"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(LoaderError, match="not a regular file" if kind != "nothing" else "No such file"):
        read_bundle(str(path))


@pytest.mark.parametrize(
    ("folder_name", "source", "written"),
    [
        ("/a", "/a", "."),
        ("/a", "/a/b", "b"),
        ("/a", "/ab", "/ab"),
        ("/a/b", "/a", "/a"),
        ("/", "/usr", "/usr"),
    ],
)
def test_sources_below_the_bundle_move_with_it(folder_name: str, source: str, written: str) -> None:
    assert relative_to(folder_name, source) == written
    assert absolute_in(folder_name, written) == source


def test_files_are_put_in_place_whole(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert Path(path).read_bytes() == b"two"
    create_file(f"{path}.key", b"secret", 0o600)
    assert stat.S_IMODE(os.stat(f"{path}.key").st_mode) == 0o600
    with pytest.raises(LoaderError, match="exists already, and a key is never overwritten"):
        create_file(f"{path}.key", b"other", 0o600)
    with pytest.raises(LoaderError, match="cannot be written"):
        replace_file(str(tmp_path / "absent/file"), b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "file.key"]
