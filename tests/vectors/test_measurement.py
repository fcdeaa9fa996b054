"""Golden vectors of the measurement: a manifest and its tree have this identity on every machine."""

from __future__ import annotations

import hashlib
import json
import struct

from support.running import Belljar

MANIFEST = """\
belljar: 1
name: vector
product_id: 7
security_version: 3
argv: [/app/tool, --quiet]
arguments: {pattern: "[a-z]+"}
environment: {set: {B: two, A: "é"}, pass: [TERM, LANG]}
limits: {memory: 64MiB, cpus: 1.5, run_time: 2m, processes: 9, open_files: 99}
mounts:
  - {type: hashed, path: /app, source: app}
  - {type: tmpfs, path: /work, size: 1MiB}
system_calls: {deny: [kill]}
"""
CANONICAL = (
    '{"arguments":{"pattern":"[a-z]+","rule":"pattern"},"argv":["/app/tool","--quiet"],"environment":{"pass":['
    '"LANG","TERM"],"set":[["A","é"],["B","two"],["PATH","/usr/local/bin:/usr/bin:/bin"]]},"exec":"none","exec'
    'utable":"/app/tool","format":"belljar.manifest/1","integrity":"stop","limits":{"cpu_millis":1500,"memory_'
    'bytes":67108864,"open_files":99,"processes":9,"run_time_ms":120000},"mounts":[{"index":"sha256:741815fa37'
    'ce876de7c0da9eb7e9ea1c682a92a73b5a4ed6aca3a25a2760d216","path":"/app","type":"hashed"},{"executable":fals'
    'e,"path":"/work","size":1048576,"type":"tmpfs"}],"name":"vector","network":"none","product_id":7,"securit'
    'y_version":3,"system_calls":{"allow":[],"deny":["kill"],"policy":"sha256:23a9a92440173e5863f0a8ff8d871962'
    '7836bbaab652077079c065ff24490f38"},"user":{"gid":1000,"home":"/tmp","name":"user","uid":1000},"working_di'
    'rectory":"/app"}'
)
MEASUREMENT = "sha256:668d2f3f293536bab7947d523e81178094ba8fc19f7b2e1cc734843d43caed67"


def test_a_manifest_has_this_measurement_on_every_machine(belljar: Belljar) -> None:
    (belljar.folder / "app").mkdir()
    (belljar.folder / "app/tool").write_text("#!/app/interpreter\n")
    (belljar.folder / "app/tool").chmod(0o755)
    (belljar.folder / "m.yaml").write_text(MANIFEST)
    assert belljar("measure", "--canonical", "m.yaml").stdout == CANONICAL
    assert belljar("measure", "m.yaml").stdout == f"{MEASUREMENT}\n"


def test_the_measurement_is_the_sha256_of_the_canonical_manifest() -> None:
    assert f"sha256:{hashlib.sha256(CANONICAL.encode()).hexdigest()}" == MEASUREMENT


def test_the_canonical_manifest_is_what_any_json_library_writes() -> None:
    """RFC 8785 is Python's own JSON with sorted keys, as long as there are no fractions and keys are ASCII."""
    written = json.dumps(json.loads(CANONICAL), separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    assert written == CANONICAL


def test_the_index_in_it_is_of_the_tree() -> None:
    """The tree is one executable file: by docs/formats/index.md, with nothing of our code."""
    content = hashlib.sha256(b"#!/app/interpreter\n").digest()
    root = struct.pack("<IHBBQII", 0, 0, 2, 0, 1, 1, 0)
    tool = struct.pack("<IHBBQII", 0, 4, 1, 1, 19, 0, 0)
    header = struct.pack("<8sHHIIIQQ8x", b"BELLJIDX", 1, 1, 16384, 65536, 2, 4, 1)
    digest = hashlib.sha256(header + hashlib.sha256(root + tool + b"tool" + content).digest()).hexdigest()
    assert json.loads(CANONICAL)["mounts"][0]["index"] == f"sha256:{digest}"
