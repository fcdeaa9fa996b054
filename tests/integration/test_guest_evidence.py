"""Evidence asked for inside of an enclave, with nothing but files, and verified outside (5.1.3, 7.2.3, 7.3)."""

from __future__ import annotations

import base64
import hashlib
import json
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from belljar import guest
from belljar.attestation.attesting import EatFormat, Expected, Purpose, report_data, verify_evidence
from belljar.attestation.evidence import Trust
from belljar.attestation.gramine.quote import verify_quote
from belljar.attestation.platforms import SOFT_NAME, TPM_NAME
from belljar.attestation.roots.tpm import MEDIA_TYPE
from belljar.attestation.steps import Trail
from belljar.attestation.tpm_quote.verify import TpmFormat
from belljar.attestation.verifier import Challenge, Endorsements, Verifier, policy_from
from belljar.libos.identity import presence
from belljar.libos.lifecycle import NotAnswered, open_run
from support.running import PYTHON, Belljar
from support.swtpm import needs_swtpm, swtpm

GRAMINE = """\
# As written for Gramine: nothing of belljar is known here.
import base64, json, os, sys

A = "/dev/attestation/"
with open(A + "attestation_type") as f:
    kind = f.read()
with open(A + "user_report_data", "wb") as f:
    f.write(b"hello from the enclave")
with open(A + "quote", "rb") as f:
    quote = f.read()
with open(A + "my_target_info", "rb") as f:
    target = f.read()
with open(A + "target_info", "wb") as f:
    f.write(target)
with open(A + "report", "rb") as f:
    report = f.read()
with open(A + "keys/_sgx_mrenclave", "rb") as f:
    key = f.read()
with open(A + "keys/default", "wb") as f:
    f.write(bytes(range(16)))
with open(A + "keys/default", "rb") as f:
    shared = f.read()
with open(A + "eat", "rb") as f:
    eat = f.read()
told = {"type": kind, "names": sorted(os.listdir(A)), "key": len(key), "shared": shared.hex(),
        "report": report.hex(), "quote": quote.hex(), "eat": eat.hex(), "target": len(target)}
print(json.dumps(told))
"""

TSM = """\
# As written for Linux's configfs-tsm.
import json, os, tempfile

entry = tempfile.mkdtemp(prefix="entry-", dir="/sys/kernel/config/tsm/report")
nonce = bytes(range(64))
with open(f"{entry}/inblob", "wb") as f:
    f.write(nonce)
with open(f"{entry}/outblob", "rb") as f:
    first = f.read()
with open(f"{entry}/outblob", "rb") as f:
    second = f.read()
generation = int(open(f"{entry}/generation").read())
provider = open(f"{entry}/provider").read().strip()
names = sorted(os.listdir(entry))
os.rmdir(entry)
print(json.dumps({"outblob": first.hex(), "same": first == second, "generation": generation, "provider": provider,
                  "names": names, "left": os.listdir("/sys/kernel/config/tsm/report")}))
"""


def at_home(belljar: Belljar, *, platform: bool = True) -> Belljar:
    """Give belljar a state folder of its own, and a platform."""
    belljar.environment["XDG_STATE_HOME"] = str(belljar.folder / "state")
    if platform:
        belljar("platform", "init")
    return belljar


def folder_of(belljar: Belljar) -> str:
    return f"{belljar.environment['XDG_STATE_HOME']}/belljar/platform"


def trust_of(belljar: Belljar) -> Trust:
    root = json.loads(belljar("platform", "show", "--json").stdout)["root"]
    pin = bytes.fromhex(root.removeprefix("sha256:"))
    return Trust(roots=frozenset({pin}), now=int(time.time()), require_crls=False)


def measured(belljar: Belljar, *words: str) -> bytes:
    return bytes.fromhex(belljar("measure", *words).stdout.strip().removeprefix("sha256:"))


def written(belljar: Belljar, code: str, more: str = "", name: str = "app") -> str:
    """Write a manifest that runs a script, and return its name."""
    (belljar.folder / name).mkdir(exist_ok=True)
    (belljar.folder / name / "run.py").write_text(textwrap.dedent(code))
    (belljar.folder / f"{name}.yaml").write_text(
        f"belljar: 1\nname: {name}\nproduct_id: 3\nsecurity_version: 9\nextends: [minimal]\nprograms: [{PYTHON}]\n"
        f"argv: [{PYTHON}, -S, -E, /app/run.py]\n{more}mounts:\n  - {{type: hashed, path: /app, source: {name}}}\n"
    )
    return f"{name}.yaml"


def answered(belljar: Belljar, code: str, more: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(belljar("run", written(belljar, code, more)).stdout)
    return found


def test_the_names_of_platforms_are_attestations_own() -> None:
    assert presence.FILES == (SOFT_NAME, TPM_NAME)


def test_a_script_for_gramine_runs_unchanged_and_its_quote_verifies(belljar: Belljar) -> None:
    at_home(belljar)
    told = answered(belljar, GRAMINE)
    wanted = {"attestation_type", "keys", "my_target_info", "quote", "report", "target_info", "user_report_data"}
    assert (told["type"], set(told["names"])) == ("dcap", wanted | {"eat", "identity", "peer_report", "sealing"})
    assert (told["key"], told["target"], told["shared"]) == (16, 512, bytes(range(16)).hex())
    said = b"hello from the enclave".ljust(64, b"\0")
    quote, trust, measurement = bytes.fromhex(told["quote"]), trust_of(belljar), measured(belljar, "app.yaml")
    assert (quote[112:144], quote[368:432]) == (measurement, said)
    body = verify_quote(quote, trust, Trail()).body
    assert (body.measurement, body.report_data, body.product_id, body.svn) == (measurement, said, 3, 9)
    assert bytes.fromhex(told["report"])[320:384] == said
    expected = Expected(nonce=said, purpose=Purpose.GUEST, body=said)
    claims = verify_evidence(bytes.fromhex(told["eat"]), expected, trust, formats=EatFormat())
    assert (claims.measurement, claims.svn, claims.simulated) == (measurement, 9, True)
    argv = b"".join(word + b"\0" for word in (PYTHON.encode(), b"-S", b"-E", b"/app/run.py"))
    assert claims.task is not None
    assert claims.task.argv == hashlib.sha256(argv).digest()


def test_a_policy_takes_what_it_names_and_nothing_else(belljar: Belljar) -> None:
    at_home(belljar)
    code = """
    open("/dev/attestation/user_report_data", "wb").write(b"c" * 64)
    print(open("/dev/attestation/eat", "rb").read().hex())
    """
    token = bytes.fromhex(belljar("run", written(belljar, code)).stdout)
    (pin,) = trust_of(belljar).roots
    told: dict[str, object] = {
        "version": 1, "id": "guest", "tees": ["soft"], "roots": {"soft": [f"sha256:{pin.hex()}"]}, "nonce": "required",
        "code": [{"measurement": measured(belljar, "app.yaml").hex()}], "purpose": ["guest-data"],
        "insecure_allow_simulated": True, "insecure_allow_debug": True,
        **{f"insecure_skip_{claim}": True for claim in ("revocation", "provider", "data_consistency", "task")},
    }  # fmt: skip

    def accepted(challenge: bytes = b"c" * 64, **changes: object) -> bool:
        return Verifier(formats=(EatFormat(),)).verify(
            token, endorsements=Endorsements(), policy=policy_from({**told, **changes}), now=int(time.time()),
            challenge=Challenge(nonce=challenge, report_data=report_data(Purpose.GUEST, b"c" * 64)),
        ).accepted  # fmt: skip

    assert accepted()
    assert not accepted(b"d" * 64)
    assert not accepted(code=[{"measurement": "00" * 32}])
    assert not accepted(insecure_allow_simulated=False)
    assert not accepted(purpose=["channel"])


def test_a_script_for_configfs_tsm_runs_unchanged(anybody: Belljar) -> None:
    at_home(anybody)
    told = answered(anybody, TSM)
    assert (told["provider"], told["generation"], told["same"], told["left"]) == ("belljar_guest", 1, True, [])
    assert told["names"] == ["generation", "inblob", "outblob", "privlevel", "privlevel_floor", "provider"]
    nonce = bytes(range(64))
    expected = Expected(nonce=nonce, purpose=Purpose.GUEST, body=nonce)
    claims = verify_evidence(bytes.fromhex(told["outblob"]), expected, trust_of(anybody), formats=EatFormat())
    assert claims.measurement == measured(anybody, "app.yaml")


def test_processes_do_not_change_each_others_quotes(belljar: Belljar) -> None:
    code = """
    import json, os, threading
    A = "/dev/attestation/"

    def quoted():
        with open(A + "quote", "rb") as f:
            return f.read()[368:432]

    def write(text):
        with open(A + "user_report_data", "wb") as f:
            f.write(text)

    def child(number, barrier):
        fresh = quoted() == bytes(64)
        own = bytes([number]) * 64
        write(own)
        os.write(barrier, b"x")
        good = all(quoted() == own for _ in range(10))
        os._exit(0 if fresh and good else 1)

    write(b"P" * 64)
    ready, barrier = os.pipe()
    children = []
    for number in range(1, 4):
        pid = os.fork()
        if not pid:
            child(number, barrier)
        children.append(pid)
    for _ in children:
        os.read(ready, 1)
    mine = quoted() == b"P" * 64
    results = [os.waitpid(pid, 0)[1] for pid in children]
    seen = []
    threading.Thread(target=lambda: seen.append(quoted())).start()
    while not seen: pass
    print(json.dumps({"children": results, "mine": mine and quoted() == b"P" * 64, "thread": seen[0] == b"P" * 64}))
    """
    told = answered(at_home(belljar), code)
    assert told == {"children": [0, 0, 0], "mine": True, "thread": True}


def test_what_a_guest_does_wrong_is_an_error_and_bounded(belljar: Belljar) -> None:
    code = """
    import errno, json, os
    A, R = "/dev/attestation/", "/sys/kernel/config/tsm/report/"
    told = {}

    def tried(name, act):
        try:
            told[name] = act()
        except OSError as error:
            told[name] = errno.errorcode[error.errno]

    def wrote(path, content, offset=0):
        fd = os.open(path, os.O_WRONLY)
        try:
            return os.pwrite(fd, content, offset)
        finally:
            os.close(fd)

    def read(path):
        with open(path, "rb") as f:
            return len(f.read())

    tried("unsigned", lambda: read(A + "keys/_sgx_mrsigner"))
    tried("write a quote", lambda: wrote(A + "quote", b"x"))
    tried("write a special key", lambda: wrote(A + "keys/_sgx_mrenclave", b"x" * 16))
    tried("short key", lambda: wrote(A + "keys/default", b"x" * 15))
    tried("giant write", lambda: wrote(A + "user_report_data", bytes(1 << 20)) <= 1 << 16)
    tried("far write", lambda: wrote(A + "user_report_data", b"x", 1 << 40))
    tried("long data are cut", lambda: wrote(A + "user_report_data", b"y" * 100))
    tried("cut", lambda: open(A + "quote", "rb").read()[368:432] == b"y" * 64)
    tried("bad target", lambda: wrote(A + "target_info", b"x" * 512))
    tried("report", lambda: read(A + "report"))
    tried("remove", lambda: os.unlink(A + "quote"))
    tried("rename", lambda: os.rename(A + "quote", A + "other"))
    tried("link", lambda: os.symlink(A + "quote", A + "other"))
    tried("new file", lambda: wrote(A + "other", b"x"))
    tried("mode", lambda: os.chmod(A + "quote", 0o777))
    tried("read far", lambda: os.pread(os.open(A + "quote", os.O_RDONLY), 10, 1 << 40).hex())

    def made():
        for number in range(1000):
            os.mkdir(f"{R}{number}")

    tried("many entries", made)
    told["entries"] = len(os.listdir(R))
    tried("no inblob", lambda: read(R + "0/outblob"))
    tried("short inblob", lambda: wrote(R + "0/inblob", b"x" * 63))
    tried("short outblob", lambda: read(R + "0/outblob"))
    tried("long inblob", lambda: wrote(R + "0/inblob", b"x" * 65))
    tried("read inblob", lambda: read(R + "0/inblob"))
    tried("level", lambda: wrote(R + "0/privlevel", b"4"))
    tried("good level", lambda: wrote(R + "0/privlevel", b"0x3"))
    tried("file in an entry", lambda: os.close(os.open(R + "0/more", os.O_CREAT | os.O_WRONLY)))
    tried("deep", lambda: os.mkdir(R + "0/deep"))
    tried("long name", lambda: os.mkdir(R + "n" * 65))
    kept = os.open(R + "1/provider", os.O_RDONLY)
    tried("in use", lambda: os.rmdir(R + "1"))
    tried("gone but open", lambda: os.read(kept, 20).decode())
    tried("rmdir twice", lambda: os.rmdir(R + "1"))
    tried("remove the root", lambda: os.rmdir("/dev/attestation/keys"))

    def keys():
        for number in range(1000):
            with open(f"{A}keys/k{number}", "wb") as f:
                f.write(bytes(16))

    tried("many keys", keys)
    S = A + "sealing/one/"
    os.mkdir(S)
    tried("unseal nothing", lambda: read(S + "secret"))
    tried("no policy", lambda: wrote(S + "secret", b"x"))
    tried("bad policy", lambda: wrote(S + "policy", b"anybody"))
    tried("unsigned policy", lambda: wrote(S + "policy", b"signer") and wrote(S + "secret", b"x"))
    tried("sealed", lambda: wrote(S + "policy", b"measurement") and wrote(S + "secret", b"hidden"))

    def giant():
        with open(S + "secret", "wb") as f:
            f.write(bytes(40_000))

    tried("giant secret", giant)
    wrote(S + "secret", b"hidden")
    sealed = open(S + "sealed", "rb").read()
    tried("unsealed", lambda: open(S + "secret", "rb").read().decode())
    tried("changed", lambda: wrote(S + "sealed", sealed[:-1] + bytes([sealed[-1] ^ 1])) and read(S + "secret"))
    told["keys"] = len(os.listdir(A + "keys"))

    def opened():
        for _ in range(3000):
            os.open(A + "my_target_info", os.O_RDONLY)

    tried("many open", opened)
    os.closerange(3, 4096)
    tried("still there", lambda: read(A + "my_target_info"))
    print(json.dumps(told))
    """
    told = answered(at_home(belljar), code)
    assert told == {
        "unsigned": "EACCES", "write a quote": "EACCES", "write a special key": "EACCES", "short key": "EACCES",
        "giant write": True, "far write": "EFBIG", "long data are cut": 100, "cut": True, "bad target": 512,
        "report": "EACCES", "remove": "EPERM",
        "rename": "EPERM", "link": "EPERM", "new file": "ENOENT", "mode": "EPERM",
        "read far": "",
        "many entries": "ENOSPC", "entries": 64, "no inblob": "EINVAL", "short inblob": 63, "short outblob": "EINVAL",
        "long inblob": "EFBIG", "read inblob": "EACCES", "level": "EINVAL", "good level": 3,
        "file in an entry": "EACCES", "deep": "EPERM", "long name": "EINVAL", "in use": None,
        "gone but open": "belljar_guest\n", "rmdir twice": "ENOENT", "remove the root": "EPERM", "many keys": "ENOSPC",
        "unseal nothing": "EINVAL", "no policy": "EINVAL", "bad policy": "EINVAL", "unsigned policy": "EACCES",
        "giant secret": "EFBIG", "sealed": 6, "unsealed": "hidden", "changed": "EACCES",
        "keys": 35, "many open": "EMFILE", "still there": 512,
    }  # fmt: skip


def test_the_library_for_guests(belljar: Belljar) -> None:
    at_home(belljar)
    code = """
    import guest, json, threading

    def quoted(byte, found):
        found.append(all(guest.quote(byte)[368:432] == byte.ljust(64, b"\\0") for _ in range(5)))

    found = []
    threads = [threading.Thread(target=quoted, args=(bytes([n]), found)) for n in range(1, 4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    who = guest.identity()
    try:
        guest.sealing_key("signer")
    except guest.NotAttested as error:
        refused = str(error)
    print(json.dumps({
        "found": found, "measurement": who.measurement.hex(), "signer": who.signer, "svn": who.security_version,
        "product": who.product_id, "key": len(guest.sealing_key("measurement")), "secret": guest.secret().hex(),
        "sealed": guest.unseal(guest.seal(b"a secret", "measurement")).decode(),
        "refused": refused, "evidence": guest.evidence(b"g" * 64).hex()}))
    """
    (belljar.folder / "app").mkdir()
    (belljar.folder / "app/guest.py").write_bytes(Path(guest.__file__).read_bytes())
    told = answered(belljar, code)
    assert told["found"] == [True] * 3
    assert bytes.fromhex(told["measurement"]) == measured(belljar, "app.yaml")
    assert (told["signer"], told["svn"], told["product"], told["key"], told["secret"]) == (None, 9, 3, 16, "")
    assert told["sealed"] == "a secret"
    assert told["refused"] == "key _sgx_mrsigner: Permission denied"
    expected = Expected(nonce=b"g" * 64, purpose=Purpose.GUEST, body=b"g" * 64)
    verify_evidence(bytes.fromhex(told["evidence"]), expected, trust_of(belljar), formats=EatFormat())


def test_two_enclaves_of_one_machine_attest_each_other(belljar: Belljar) -> None:
    """Local attestation (5.2.2.1): a report for one target is taken there, and nowhere else."""
    at_home(belljar)
    teller = """
    import guest, sys
    print(guest.report(b"from the teller", bytes.fromhex(sys.stdin.read())).hex())
    """
    asker = """
    import guest, sys
    if len(sys.argv) < 2:
        print(open("/dev/attestation/my_target_info", "rb").read().hex())
    for word in sys.argv[1:]:
        try:
            who, data = guest.check_report(bytes.fromhex(word))
            print(who.measurement.hex(), data[:15].decode())
        except guest.NotAttested as error:
            print(error)
    """
    for name, code in (("teller", teller), ("asker", asker), ("other", asker)):
        (belljar.folder / name).mkdir()
        (belljar.folder / name / "guest.py").write_bytes(Path(guest.__file__).read_bytes())
        written(belljar, code, "arguments: any\n", name)
    target = belljar("run", "asker.yaml").stdout
    report = belljar("run", "teller.yaml", stdin=target).stdout.strip()
    changed = report[:100] + ("0" if report[100] != "0" else "1") + report[101:]
    told = belljar("run", "asker.yaml", report, changed).stdout.splitlines()
    assert told == [f"{measured(belljar, 'teller.yaml').hex()} from the teller", "the report: Permission denied"]
    assert belljar("run", "other.yaml", report).stdout == "the report: Permission denied\n"


def test_without_a_platform_there_are_no_files_and_none_is_made(belljar: Belljar) -> None:
    at_home(belljar, platform=False)
    code = "import os; print(os.path.exists('/dev/attestation'), os.path.exists('/sys/kernel/config'))"
    assert belljar("run", written(belljar, code)).stdout == "False False\n"
    assert not Path(folder_of(belljar)).exists()


def test_a_manifest_can_ask_for_a_platform_or_for_none(belljar: Belljar) -> None:
    at_home(belljar, platform=False)
    code = "import os; print(os.path.exists('/dev/attestation') and open('/dev/attestation/attestation_type').read())"
    assert belljar("run", written(belljar, code, "attestation: {platform: soft}\n")).stdout == "dcap\n"
    assert Path(folder_of(belljar), SOFT_NAME).exists()
    identities = {measured(belljar, "app.yaml")}
    assert belljar("run", written(belljar, code, "attestation: {platform: none}\n")).stdout == "False\n"
    identities.add(measured(belljar, "app.yaml"))
    written(belljar, code)
    identities.add(measured(belljar, "app.yaml"))
    assert len(identities) == 3
    done = belljar("run", written(belljar, code, "attestation: {platform: sgx}\n"), check=None)
    assert "app.yaml:8:" in done.stderr
    assert "attestation.platform: expected 'auto', 'soft', 'tpm', 'tsm' or 'none', got the text 'sgx'" in done.stderr


def test_a_platform_that_cannot_be_opened_is_an_error_in_the_guest_and_named_outside(belljar: Belljar) -> None:
    at_home(belljar)
    Path(folder_of(belljar), SOFT_NAME).chmod(0o644)
    code = """
    try:
        open("/dev/attestation/quote")
    except PermissionError as error:
        print("refused")
    """
    assert belljar("run", written(belljar, code)).stdout == "refused\n"


class TestFromOutside:
    """The request `evidence` to a running enclave."""

    def test_it_is_answered_for_the_purpose_local_only(self, belljar: Belljar, monkeypatch: pytest.MonkeyPatch) -> None:
        at_home(belljar)
        monkeypatch.setenv("BELLJAR_RUNTIME_DIR", belljar.environ()["BELLJAR_RUNTIME_DIR"])
        written(belljar, "import time; time.sleep(60)")
        belljar("run", "--detach", "--name", "evident", "app.yaml")
        try:
            nonce = bytes(range(32))
            told = self.asked({"nonce": nonce.hex(), "purpose": "local"})
            assert str(told["media_type"]).startswith("application/eat+cwt")
            evidence = base64.b64decode(str(told["evidence"]))
            expected = Expected(nonce=nonce, purpose=Purpose.LOCAL, body=b"")
            claims = verify_evidence(evidence, expected, trust_of(belljar), formats=EatFormat())
            assert claims.measurement == measured(belljar, "app.yaml")
            cases: list[tuple[dict[str, object], str]] = [
                ({"nonce": nonce.hex(), "purpose": "channel"}, "purpose: got 'channel', expected 'local'"),
                ({"nonce": nonce.hex()}, "purpose: got 'None', expected 'local'"),
                ({"nonce": "0123", "purpose": "local"}, "nonce: expected 8 to 64 bytes in hexadecimal"),
                ({"nonce": ["x"], "purpose": "local"}, "nonce: expected 8 to 64 bytes in hexadecimal"),
                ({"nonce": "xy" * 32, "purpose": "local"}, "nonce: expected 8 to 64 bytes in hexadecimal"),
            ]
            for fields, message in cases:
                with pytest.raises(NotAnswered, match=message):
                    self.asked(fields)
        finally:
            belljar("stop", "--time", "0", "evident", check=None)

    def test_why_there_is_none_is_said(self, belljar: Belljar, monkeypatch: pytest.MonkeyPatch) -> None:
        at_home(belljar, platform=False)
        monkeypatch.setenv("BELLJAR_RUNTIME_DIR", belljar.environ()["BELLJAR_RUNTIME_DIR"])
        for name, more, message in [
            ("bare", "", "no evidence: .*there is no platform; belljar platform init makes one"),
            ("mute", "attestation: {platform: none}\n", "no evidence: its manifest says attestation: {platform: none}"),
        ]:
            written(belljar, "import time; time.sleep(60)", more)
            belljar("run", "--detach", "--name", name, "app.yaml")
            try:
                with pytest.raises(NotAnswered, match=message):
                    self.asked({"nonce": "00" * 8, "purpose": "local"}, name)
            finally:
                belljar("stop", "--time", "0", name, check=None)

    @staticmethod
    def asked(fields: dict[str, object], run: str = "evident") -> dict[str, object]:
        with open_run(run) as found:
            assert not isinstance(found, dict)
            return found.ask("evidence", fields, patience_s=60)[0]


@needs_swtpm
def test_a_tpm_can_stand_behind_it(belljar: Belljar) -> None:
    at_home(belljar, platform=False)
    with swtpm() as made:
        belljar("platform", "init", "--platform", "tpm", "--tpm", made.address)
        belljar.environment["BELLJAR_TPM"] = made.address
        code = """
        import os
        entry = "/sys/kernel/config/tsm/report/one"
        os.mkdir(entry)
        open(f"{entry}/inblob", "wb").write(b"t" * 64)
        print(open(f"{entry}/outblob", "rb").read().hex())
        """
        token = bytes.fromhex(belljar("run", written(belljar, code)).stdout)
        root = json.loads(belljar("platform", "show", "--json", "--tpm", made.address).stdout)["root"]
    pin = bytes.fromhex(root.removeprefix("sha256:"))
    trust = Trust(roots=frozenset({pin}), now=int(time.time()), require_crls=False)
    expected = Expected(nonce=b"t" * 64, purpose=Purpose.GUEST, body=b"t" * 64)
    formats = EatFormat(platforms={MEDIA_TYPE: TpmFormat()})
    claims = verify_evidence(token, expected, trust, formats=formats)
    assert (claims.tee.value, claims.simulated) == ("tpm", True)
