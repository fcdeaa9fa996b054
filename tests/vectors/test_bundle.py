"""Golden vectors of the bundle format, written down from docs/formats/bundle.md and from nothing of our code.

The key is that of RFC 8032 7.1, test 1: Ed25519 is deterministic, so a signed bundle has one sequence of bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from belljar.attestation.keys import load_private
from belljar.libos.policy import make_policy
from belljar.loader.bundle.read import read_bundle
from belljar.loader.bundle.write import bundle_bytes
from belljar.loader.canonical import policy_digest
from belljar.loader.manifest.parse import parse_text
from belljar.loader.measure import measure_manifest
from belljar.loader.resolve import resolve
from belljar.loader.version import VERSION

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNER = "sha256:" + hashlib.sha256(bytes.fromhex("302a300506032b6570032100") + PUBLIC).hexdigest()
PKCS8 = (
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    "-----END PRIVATE KEY-----\n"
)
POLICY = "23a9a92440173e5863f0a8ff8d8719627836bbaab652077079c065ff24490f38"
MANIFEST = """\
belljar: 1
name: vector
argv: [/app/tool]
mounts:
  - {type: hashed, path: /app, source: app}
  - {type: host, path: /data, source: /usr}
system_calls: {deny: [kill]}
"""
FILES = Path(__file__).with_name("bundles")
"""Bundles of earlier versions: every later one must read them."""


def index_by_the_book() -> bytes:
    """Return the index of a folder that holds one executable file, `tool`; see test_index.py."""
    content = hashlib.sha256(b"#!/app/interpreter\n").digest()
    root = struct.pack("<IHBBQII", 0, 0, 2, 0, 1, 1, 0)
    tool = struct.pack("<IHBBQII", 0, 4, 1, 1, 19, 0, 0)
    body = root + tool + b"tool" + content
    header = struct.pack("<8sHHIIIQQ8x", b"BELLJIDX", 1, 1, 16384, 65536, 2, 4, 1)
    times = struct.pack("<qIIqII", 1_000_000_000, 0, 1, 2_000_000_000, 1, 1)
    return header + hashlib.sha256(body).digest() + body + times


def payload_by_the_book(version: str, policy: str) -> bytes:
    index = index_by_the_book()
    digest = hashlib.sha256(index[:80]).hexdigest()
    whole = hashlib.sha256(index).hexdigest()
    return (
        f'{{"belljar":"{version}","format":"belljar.bundle/1","hashed":[{{"index":{{"sha256":"{whole}","size":{len(index)}'
        '},"path":"/app","source":"app"}],"host":[{"path":"/data","source":"/usr"}],"manifest":{"arguments":{"rule":'
        '"none"},"argv":["/app/tool"],"environment":{"pass":[],"set":[["PATH","/usr/local/bin:/usr/bin:/bin"]]},'
        '"exec":"none","executable":"/app/tool","format":"belljar.manifest/1","integrity":"stop","limits":{"cpu_millis":null,'
        '"memory_bytes":null,"open_files":4096,"processes":1024,"run_time_ms":null},"mounts":[{"index":"sha256:'
        f'{digest}","path":"/app","type":"hashed"}},{{"executable":false,"path":"/data","type":"host","writable":false'
        '}],"name":"vector","network":"none","product_id":0,"security_version":0,"system_calls":{"allow":[],"deny":'
        f'["kill"],"policy":"sha256:{policy}"}},"user":{{"gid":1000,"home":"/tmp","name":"user","uid":1000}},'
        '"working_directory":"/app"}}'
    ).encode()


def signed_by_the_book(payload: bytes) -> bytes:
    """Return the COSE_Sign1, its CBOR by hand."""
    kind = b"application/vnd.belljar.bundle+json"
    headers = b"\xa4\x01\x32\x03\x78\x23" + kind + b"\x04\x58\x20" + bytes.fromhex(SIGNER[7:])
    headers += bytes.fromhex("0ea108a101a3010120062158 20") + PUBLIC
    protected = b"\x58" + bytes([len(headers)]) + headers
    content = b"\x59" + len(payload).to_bytes(2, "big") + payload
    to_be_signed = b"\x84\x6aSignature1" + protected + b"\x40" + content
    signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(to_be_signed)
    return b"\xd2\x84" + protected + b"\xa0" + content + b"\x58\x40" + signature


def bundle_by_the_book(*, signed: bool, version: str = "0.1.0", policy: str = POLICY) -> bytes:
    payload = payload_by_the_book(version, policy)
    body = signed_by_the_book(payload) if signed else payload
    index = index_by_the_book()
    size = 64 + len(body) + len(index)
    head = struct.pack("<8sHHIQ8x32s", b"BELLJBDL", 1, signed, len(body), size, hashlib.sha256(body).digest())
    return head + body + index


def made_by_us(folder: Path, *, signed: bool) -> bytes:
    (folder / "app").mkdir()
    (folder / "cache").mkdir()
    (folder / "app/tool").write_text("#!/app/interpreter\n")
    (folder / "app/tool").chmod(0o755)
    os.utime(folder / "app/tool", ns=(0, 2_000_000_000))
    os.utime(folder / "app", ns=(0, 1_000_000_000))
    resolved = resolve(parse_text(MANIFEST, name="vector", folder=str(folder)))
    key = load_private(PKCS8.encode()) if signed else None
    return bundle_bytes(measure_manifest(resolved, str(folder / "cache")), str(folder), key)


@pytest.mark.parametrize("signed", [False, True])
def test_what_we_write_is_what_the_document_says(tmp_path: Path, *, signed: bool) -> None:
    policy = policy_digest(make_policy(deny=("kill",))).hex()
    assert made_by_us(tmp_path, signed=signed) == bundle_by_the_book(signed=signed, version=VERSION, policy=policy)


@pytest.mark.parametrize(("name", "signed"), [("unsigned-0.1.0.bell", False), ("signed-0.1.0.bell", True)])
def test_a_bundle_of_an_earlier_version_is_read(name: str, *, signed: bool) -> None:
    path = FILES / name
    assert path.read_bytes() == bundle_by_the_book(signed=signed)
    bundle = read_bundle(str(path))
    assert bundle.signer == (SIGNER if signed else "")
    assert bundle.measurement == hashlib.sha256(bundle.canonical).digest()
    assert bundle.decided.pinned[0].source == str(FILES / "app")
    manifest = json.loads(payload_by_the_book("0.1.0", POLICY))["manifest"]
    assert bundle.members == manifest


def test_the_digests_of_these_vectors() -> None:
    digests = [hashlib.sha256(bundle_by_the_book(signed=signed)).hexdigest() for signed in (False, True)]
    assert digests == [
        "bd353279b7a3d0491316029e210cebfa2279261cb74a2a8c959199776eba578e",
        "41e5131546aa3920668ca5008ce4bc24daab9285afa5c97e0ef6898fab2f1a77",
    ]
