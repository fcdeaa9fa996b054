"""Mounts of a manifest: what each kind shows, allows and refuses (IEEE 2952 4.1, Annex B b)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import textwrap
from pathlib import Path

import pytest

from support.running import PYTHON, Belljar
from support.trees import make_tree


def write(belljar: Belljar, mounts: str, code: str, more: str = "") -> None:
    (belljar.folder / "m.yaml").write_text(
        f"belljar: 1\nname: mounts\nextends: [minimal]\nprograms: [{PYTHON}]\nworking_directory: /\n{more}"
        f"argv: [{PYTHON}, -c, {json.dumps(textwrap.dedent(code))}]\nmounts:\n{mounts}"
    )


def run(belljar: Belljar, mounts: str, code: str, more: str = "") -> str:
    write(belljar, mounts, code, more)
    return belljar("run", "m.yaml").stdout


def exchange(belljar: Belljar, mode: int = 0o755) -> Path:
    """Make a folder that belongs to whoever runs belljar."""
    out = belljar.folder / "out"
    out.mkdir(mode=mode)
    if os.geteuid() == 0:
        owner = belljar.folder.stat().st_uid
        os.chown(out, owner, owner)
    return out


class TestHost:
    def test_is_read_only_by_default(self, anybody: Belljar) -> None:
        make_tree(anybody.folder, {"out/file": b"content"})
        code = """
        print(open("/data/file").read())
        try:
            open("/data/file", "w")
        except OSError as error:
            print(error.strerror)
        """
        assert run(anybody, "  - {type: host, path: /data, source: out}\n", code) == "content\nRead-only file system\n"

    def test_writable_files_belong_to_who_owns_the_folder(self, anybody: Belljar) -> None:
        out = exchange(anybody, 0o700)
        code = """
        import os
        open("/data/made", "w").write("by the guest")
        os.mkdir("/data/folder")
        print(os.stat("/data").st_uid, os.stat("/data/made").st_uid, os.getuid())
        """
        said = run(anybody, "  - {type: host, path: /data, source: out, writable: true}\n", code)
        assert said == "1000 1000 1000\n"
        made = out / "made"
        assert made.read_text() == "by the guest"
        assert made.stat().st_uid == out.stat().st_uid
        assert (out / "folder").stat().st_uid == out.stat().st_uid

    def test_of_another_user(self, belljar: Belljar) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can give folders away")
        out = belljar.folder / "out"
        out.mkdir()
        os.chown(out, 4321, 8765)
        out.chmod(0o700)
        said = run(
            belljar,
            "  - {type: host, path: /data, source: out, writable: true}\n",
            "import os; open('/data/x', 'w'); print(os.stat('/data').st_uid, os.stat('/data').st_gid)",
        )
        assert said == "1000 1000\n"
        status = (out / "x").stat()
        assert (status.st_uid, status.st_gid) == (4321, 8765)

    def test_nothing_setuid_can_be_left_behind(self, anybody: Belljar) -> None:
        out = exchange(anybody)
        code = """
        import os
        open("/data/x", "w").close()
        for act in (lambda: os.chmod("/data/x", 0o4755), lambda: os.chmod("/data/x", 0o2755),
                    lambda: os.close(os.open("/data/y", os.O_CREAT | os.O_WRONLY, 0o4755)),
                    lambda: os.mknod("/data/z", 0o104755)):
            try:
                act()
            except OSError as error:
                print(error.strerror)
        """
        said = run(anybody, "  - {type: host, path: /data, source: out, writable: true}\n", code)
        assert said == "Operation not permitted\n" * 4
        assert not any(path.stat().st_mode & 0o6000 for path in out.iterdir())

    @pytest.mark.parametrize("executable", ["false", "true"])
    def test_runs_programs_only_if_it_is_said(self, anybody: Belljar, executable: str) -> None:
        tool = anybody.folder / "tools/tool"
        make_tree(anybody.folder, {"tools/tool": b"#!/bin/sh\necho ran\n"})
        tool.chmod(0o755)
        code = "import subprocess\ntry: subprocess.run('/tools/tool')\nexcept OSError as e: print(e.strerror)"
        mount = f"  - {{type: host, path: /tools, source: tools, insecure_executable: {executable}}}\n"
        write(anybody, mount, code)
        text = (anybody.folder / "m.yaml").read_text().replace(f"[{PYTHON}]", f"[{PYTHON}, /bin/sh]")
        (anybody.folder / "m.yaml").write_text(text)
        assert anybody("run", "m.yaml").stdout == ("ran\n" if executable == "true" else "Permission denied\n")

    def test_a_single_file(self, anybody: Belljar) -> None:
        make_tree(anybody.folder, {"settings": b"x=1"})
        assert run(
            anybody, "  - {type: host, path: /etc/settings, source: settings}\n", "print(open('/etc/settings').read())"
        ) == "x=1\n"  # fmt: skip

    def test_changes_are_seen_on_both_sides(self, anybody: Belljar) -> None:
        out = exchange(anybody)
        (out / "ask").write_text("")
        code = """
        import time
        open("/data/ready", "w").write("1")
        while not open("/data/ask").read():
            time.sleep(0.05)
        print("asked")
        """
        write(anybody, "  - {type: host, path: /data, source: out, writable: true}\n", code)
        process = anybody.start("run", "m.yaml")
        while not (out / "ready").exists():
            assert process.poll() is None, process.communicate()
        (out / "ask").write_text("now")
        assert process.communicate(timeout=30)[0] == "asked\n"

    def test_below_scratch_space(self, anybody: Belljar) -> None:
        make_tree(anybody.folder, {"out/file": b"host"})
        mounts = "  - {type: host, path: /tmp/deep/er, source: out}\n"
        assert run(anybody, mounts, "print(open('/tmp/deep/er/file').read())") == "host\n"

    def test_a_missing_source_is_named(self, anybody: Belljar) -> None:
        write(anybody, "  - {type: host, path: /data, source: nowhere}\n", "pass")
        done = anybody("run", "m.yaml", check=125)
        assert re.search(r"m.yaml:\d+:\d+: \S*/nowhere: no such file or directory", done.stderr)


class TestHashed:
    def test_patterns(self, belljar: Belljar) -> None:
        make_tree(belljar.folder, {"src/a.py": b"", "src/b.txt": b"", "src/sub/c.py": b"", "src/skip/d.py": b""})
        code = "import os; print(sorted(f for _, _, fs in os.walk('/app') for f in fs))"
        mount = "  - {type: hashed, path: /app, source: src, include: ['*.py'], exclude: [skip/]}\n"
        assert run(belljar, mount, code) == "['a.py', 'c.py']\n"

    def test_links_and_empty_folders(self, belljar: Belljar) -> None:
        make_tree(
            belljar.folder,
            {"src/a": b"content", "src/to-a": "a", "src/void": None, "src/out": "/etc/passwd", "src/no": "x"},
        )
        code = """
        import os
        print(open("/app/to-a").read(), os.readlink("/app/to-a"), os.listdir("/app/void"))
        print(open("/app/out").readline().strip(), os.path.lexists("/app/no"), os.path.exists("/app/no"))
        """
        assert run(belljar, "  - {type: hashed, path: /app, source: src}\n", code) == (
            "content a []\nroot:x:0:0:root:/:/bin/sh True False\n"
        )

    def test_hard_links_are_one_file(self, belljar: Belljar) -> None:
        make_tree(belljar.folder, {"src/a": b"content"})
        os.link(belljar.folder / "src/a", belljar.folder / "src/b")
        code = "import os; a, b = os.stat('/app/a'), os.stat('/app/b'); print(a.st_ino == b.st_ino, a.st_nlink)"
        assert run(belljar, "  - {type: hashed, path: /app, source: src}\n", code) == "True 2\n"

    def test_modes_and_times(self, belljar: Belljar) -> None:
        make_tree(belljar.folder, {"src/a": b"", "src/b": b""})
        (belljar.folder / "src/a").chmod(0o700)
        os.utime(belljar.folder / "src/b", ns=(0, 1_234_567_890_123_456_789))
        code = """
        import os
        print(oct(os.stat("/app/a").st_mode), oct(os.stat("/app/b").st_mode), os.stat("/app/b").st_mtime_ns)
        """
        expected = "0o100555 0o100444 1234567890123456789\n"
        assert run(belljar, "  - {type: hashed, path: /app, source: src}\n", code) == expected

    def test_names_that_are_no_text(self, belljar: Belljar) -> None:
        (belljar.folder / "src").mkdir()
        Path(os.fsdecode(os.fsencode(belljar.folder) + b"/src/\xff\xfe")).write_bytes(b"odd")
        code = "import os; print(os.listdir(b'/app'), open(b'/app/\\xff\\xfe').read())"
        assert run(belljar, "  - {type: hashed, path: /app, source: src}\n", code) == "[b'\\xff\\xfe'] odd\n"

    def test_large_and_sparse_files(self, belljar: Belljar) -> None:
        (belljar.folder / "src").mkdir()
        with (belljar.folder / "src/big").open("wb") as file:
            file.write(b"start")
            file.seek(30 << 20)
            file.write(b"end")
        code = """
        import hashlib, os
        with open("/app/big", "rb") as file:
            print(hashlib.sha256(file.read()).hexdigest())
        f = os.open("/app/big", os.O_RDONLY)
        print(os.pread(f, 10, 0), os.pread(f, 10, 30 << 20), os.lseek(f, 0, os.SEEK_END))
        """
        digest = hashlib.sha256((belljar.folder / "src/big").read_bytes()).hexdigest()
        said = run(belljar, "  - {type: hashed, path: /app, source: src}\n", code)
        assert said == f"{digest}\nb'start\\x00\\x00\\x00\\x00\\x00' b'end' {(30 << 20) + 3}\n"

    def test_a_folder_with_many_entries(self, belljar: Belljar) -> None:
        make_tree(belljar.folder, {f"src/{n:05}": b"" for n in range(3000)})
        code = "import os; n = os.listdir('/app'); print(len(n), len(set(n)), os.path.exists('/app/02999'))"
        assert run(belljar, "  - {type: hashed, path: /app, source: src}\n", code) == "3000 3000 True\n"

    def test_it_says_how_big_it_is_and_that_it_is_full(self, belljar: Belljar) -> None:
        make_tree(belljar.folder, {"src/big": bytes(range(256)) * 4096})
        code = "import shutil; d = shutil.disk_usage('/app'); print(d.total >= 1 << 20, d.used == d.total, d.free)"
        assert run(belljar, "  - {type: hashed, path: /app, source: src}\n", code) == "True True 0\n"

    def test_a_whole_root(self, belljar: Belljar) -> None:
        """Without programs, a tree can be the root itself: here a static folder with nothing but data."""
        make_tree(belljar.folder, {"root/etc/own": b"mine", "root/srv/x": b"x"})
        (belljar.folder / "m.yaml").write_text(
            "belljar: 1\nname: root\nargv: [/none]\nmounts: [{type: hashed, path: /, source: root}]\n"
        )
        done = belljar("run", "m.yaml", check=127)
        assert "/none: no such program in the enclave" in done.stderr

    def test_a_root_and_programs_are_one_too_many(self, belljar: Belljar) -> None:
        make_tree(belljar.folder, {"root/x": b""})
        write(belljar, "  - {type: hashed, path: /, source: root}\n", "pass")
        done = belljar("run", "m.yaml", check=125)
        assert "m.yaml:8:5: a mount at / and programs: expected one of them" in done.stderr

    def test_a_mount_behind_a_link_is_refused(self, belljar: Belljar) -> None:
        make_tree(belljar.folder, {"src/x": b""})
        write(belljar, "  - {type: hashed, path: /lib/x, source: src}\n", "pass")
        done = belljar("run", "m.yaml", check=125)
        assert "/lib/x: lib is a link or file in the hashed tree, not a directory" in done.stderr


class TestTmpfs:
    def test_it_does_not_hide_the_programs_below_it(self, belljar: Belljar) -> None:
        with tempfile.TemporaryDirectory(prefix="belljar-test-", dir="/tmp") as name:
            shutil.copy("/bin/echo", f"{name}/echo")
            text = f"belljar: 1\nname: below\nextends: [minimal]\nprograms: [{name}/echo]\nargv: [{name}/echo, here]\n"
            (belljar.folder / "m.yaml").write_text(text)
            assert belljar("run", "m.yaml").stdout == "here\n"

    def test_size_and_kind(self, belljar: Belljar) -> None:
        code = """
        import os
        s = os.statvfs("/cache")
        print(s.f_blocks * s.f_frsize >> 20, bool(s.f_flag & os.ST_NOEXEC), bool(s.f_flag & os.ST_NOSUID))
        open("/cache/x", "w").write("written")
        print(open("/cache/x").read())
        """
        mount = "  - {type: tmpfs, path: /cache, size: 5MiB}\n"
        assert run(belljar, mount, code) == "5 True True\nwritten\n"

    def test_executable(self, belljar: Belljar) -> None:
        code = """
        import os, shutil, subprocess, sys
        shutil.copy(sys.executable, "/cache/python")
        print(subprocess.run(["/cache/python", "-c", "print('ran')"], capture_output=True, text=True).stdout)
        """
        mount = "  - {type: tmpfs, path: /cache, size: 64MiB, insecure_executable: true}\n"
        assert run(belljar, mount, code) == "ran\n\n"


class TestUsers:
    def test_any_name_and_number(self, anybody: Belljar) -> None:
        code = (
            "import os, pwd; u = pwd.getpwuid(os.getuid()); print(u.pw_name, u.pw_uid, u.pw_gid, u.pw_dir, os.getgid())"
        )
        user = "user: {name: www-data, uid: 33, gid: 34, home: /var/www}\n"
        assert run(anybody, "  - {type: tmpfs, path: /x}\n", code, user) == "www-data 33 34 /var/www 34\n"

    def test_root_of_its_own_world(self, anybody: Belljar) -> None:
        code = """
        import os
        print(os.getuid(), open("/proc/self/uid_map").read().split()[0])
        for act in (lambda: os.mkdir("/new"), lambda: os.chown("/tmp", 1, 1), lambda: os.setuid(5)):
            try:
                act()
            except OSError as error:
                print(error.strerror)
        """
        user = "user: {name: root, uid: 0, gid: 0, home: /}\n"
        lines = run(anybody, "  - {type: tmpfs, path: /x}\n", code, user).splitlines()
        assert lines[0] == "0 0"
        assert len(lines) == 4

    def test_on_the_host_it_is_never_root(self, belljar: Belljar) -> None:
        if os.geteuid() != 0:
            pytest.skip("not root")
        code = "print('ready', flush=True); input()"
        write(belljar, "  - {type: tmpfs, path: /x}\n", code, "user: {name: root, uid: 0, gid: 0, home: /}\n")
        process = belljar.start("run", "m.yaml", stdin=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        init = next(int(pid) for pid in children if "init" in Path(f"/proc/{pid}/comm").read_text())
        program = int(Path(f"/proc/{init}/task/{init}/children").read_text())
        uids = {Path(f"/proc/{pid}").stat().st_uid for pid in (init, program)}
        status = Path(f"/proc/{program}/status").read_text()
        process.communicate("\n", timeout=30)
        assert all(uid >= 0x70000000 for uid in uids - {0}), "a process that cannot be looked into shows as root's"
        assert all(
            int(line.split()[1]) >= 0x70000000 for line in status.splitlines() if line.startswith(("Uid", "Gid"))
        )


def test_the_hosts_network_by_an_insecure_key(belljar: Belljar) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = (
            f"import socket; print(socket.create_connection(('127.0.0.1', {server.getsockname()[1]})).getpeername()[0])"
        )
        assert run(belljar, "  - {type: tmpfs, path: /x}\n", code, "network: {insecure_host: true}\n") == "127.0.0.1\n"


def test_system_calls_of_the_manifest(belljar: Belljar) -> None:
    code = """
    import os, errno
    try:
        os.kill(os.getpid(), 0)
    except OSError as error:
        print(errno.errorcode[error.errno])
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    print(libc.ptrace(0, 0, 0, 0))
    """
    more = "system_calls: {deny: [kill], insecure_allow: [ptrace]}\n"
    assert run(belljar, "  - {type: tmpfs, path: /x}\n", code, more) == "EPERM\n0\n"
    done = run_error(belljar, "system_calls: {deny: [kil]}\n")
    assert "m.yaml:6:23: unknown system call kil" in done


def run_error(belljar: Belljar, more: str) -> str:
    write(belljar, "  - {type: tmpfs, path: /x}\n", "pass", more)
    return belljar("run", "m.yaml", check=125).stderr


def test_variables_that_pass(belljar: Belljar) -> None:
    belljar.environment.update(PASSED="yes", OTHER="no")
    code = "import os; print(os.environ.get('PASSED'), os.environ.get('OTHER'), os.environ.get('SET'))"
    more = "environment: {set: {SET: value}, pass: [PASSED, MISSING]}\n"
    assert run(belljar, "  - {type: tmpfs, path: /x}\n", code, more) == "yes None value\n"
