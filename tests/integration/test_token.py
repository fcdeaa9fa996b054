"""`belljar token`: a secret that is shown once, and a line that lets its holder in."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

from belljar.attestation.channel import read_token, read_tokens
from belljar.loader.commands.tokens import add_line
from support.gateways import Written, with_platform
from support.running import Belljar


def test_a_token_is_printed_once_and_its_hash_is_kept(belljar: Belljar) -> None:
    done = belljar("token", "alice", "--into", "tokens")
    path = belljar.folder / "tokens"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = read_token(done.stdout)
    assert (done.stderr, token in path.read_text()) == ("", False)
    assert read_tokens(path.read_text()).holder(token.encode()) == "alice"
    belljar("token", "bob", "--into", "tokens", "-o", "bob.token")
    other = belljar.folder / "bob.token"
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    assert read_tokens(path.read_text()).holder(read_token(other.read_text()).encode()) == "bob"
    assert "add to the file of tokens: sha256:" in belljar("token", "carol").stderr


def test_what_would_be_lost_or_doubled_is_refused(belljar: Belljar) -> None:
    belljar("token", "alice", "--into", "tokens", "-o", "alice.token")
    before = (belljar.folder / "tokens").read_bytes()
    for words, code, message in (
        (["alice", "--into", "tokens", "-o", "again"], 125, "there is a token of alice already"),
        (["bob", "--into", "tokens", "-o", "alice.token"], 125, "alice.token: exists already"),
        (["b b", "--into", "tokens"], 125, "expected 1 to 64 letters, digits or ._@-"),
        (["bob", "--into", "none/tokens"], 125, "none/tokens: cannot be written"),
        (["bob", "--into", "/dev/null"], 125, "is no regular file"),
        ([], 2, "expected a name"),
    ):
        done = belljar("token", *words, check=code)
        assert (message in done.stderr, done.stdout) == (True, ""), done.stderr
        assert "Traceback" not in done.stderr
    assert (belljar.folder / "tokens").read_bytes() == before
    assert not (belljar.folder / "again").exists()
    (belljar.folder / "wild").write_text("anybody\n")
    assert "wild" not in belljar("token", "bob", "--into", "wild", check=125).stdout
    (belljar.folder / "tokens").chmod(0o622)
    assert "chmod 600 tokens" in belljar("token", "bob", "--into", "tokens", check=125).stderr
    (belljar.folder / "link").symlink_to("tokens")
    belljar("token", "bob", "--into", "link", check=125)


def names(text: str) -> list[str]:
    return text.split()


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "tokens")
    every = [f"name{number}" for number in range(40)]
    threads = [threading.Thread(target=add_line, args=(path, name, names)) for name in every]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names((tmp_path / "tokens").read_text())) == sorted(every)


def test_a_file_without_its_last_end_of_line_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("one")
    add_line(str(path), "two", names)
    assert path.read_text() == "one\ntwo\n"


def test_a_full_disk_leaves_the_file_as_it_was(belljar: Belljar) -> None:
    belljar("token", "alice", "--into", "tokens")
    before = (belljar.folder / "tokens").read_bytes()
    belljar.prefix = ["prlimit", f"--fsize={len(before) + 20}"]
    done = belljar("token", "bob", "--into", "tokens", check=125)
    assert (done.stdout, "tokens: cannot be written: No space left" in done.stderr) == ("", True), done.stderr
    assert (belljar.folder / "tokens").read_bytes() == before


def test_a_listener_takes_who_has_it(belljar: Belljar) -> None:
    with_platform(belljar)
    token = belljar("token", "alice", "--into", "tokens").stdout.strip()
    network = 'listen: [{outside: "127.0.0.1:0", guest: 8080, tokens: tokens}]'
    written = Written(belljar, "guarded", network=network).write()
    with written.running() as enclave, enclave.connect(token=token) as channel:
        channel.sendall(b"x")
        assert channel.recv(1) == b"x"
    assert token not in enclave.said
