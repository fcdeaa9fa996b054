"""Hostile programs: one for each promise of docs/threat-model.md. Each tries, and is refused, whoever runs it.

Every program prints what happened, as JSON: an errno's name, or "DONE". The outside is looked at afterwards.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import textwrap

import pytest

from support.running import PYTHON, Belljar

PRELUDE = '''
import ctypes, errno, json, mmap, os, platform, signal, socket, stat, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
found = {}
X86 = platform.machine() == "x86_64"

def call(number, *arguments):
    """Make a system call; the name of its errno, or DONE."""
    ctypes.set_errno(0)
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *wide)
    return "DONE" if result >= 0 else errno.errorcode[ctypes.get_errno()]

def attempt(name, action):
    """Do something; the name of its errno, or DONE."""
    try:
        action()
    except OSError as error:
        found[name] = errno.errorcode.get(error.errno, str(error))
    else:
        found[name] = "DONE"

def in_child(action):
    """Run something in a child; how the child ended."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def tell():
    print(json.dumps(found))
'''


def attack(belljar: Belljar, code: str, *, check: int | None = 0, timeout: float = 120) -> dict[str, str]:
    """Run a hostile program and return what happened."""
    program = PRELUDE + textwrap.dedent(code) + "\ntell()\n"
    done = belljar("run", "--", PYTHON, "-c", program, check=check, timeout=timeout)
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


SYSTEM_CALLS = {
    # name: (x86-64, aarch64, arguments, errno); numbers since Linux 5.1 are the same everywhere
    "mount": (165, 40, "b'none', b'/tmp', b'tmpfs', 0, 0", "EPERM"),
    "umount2": (166, 39, "b'/tmp', 2", "EPERM"),
    "pivot_root": (155, 41, "b'/tmp', b'/tmp'", "EPERM"),
    "chroot": (161, 51, "b'/tmp'", "EPERM"),
    "unshare user": (272, 97, "0x10000000", "EPERM"),
    "unshare mount": (272, 97, "0x20000", "EPERM"),
    "unshare time": (272, 97, "0x80", "EPERM"),
    "setns": (308, 268, "0, 0", "EPERM"),
    "clone user": (56, 220, "0x10000011, 0, 0, 0, 0", "EPERM"),
    "clone user, upper bits": (56, 220, "0x110000011, 0, 0, 0, 0", "EPERM"),
    "clone3": (435, 435, "bytes(88), 88", "ENOSYS"),
    "fsopen": (430, 430, "b'tmpfs', 0", "EPERM"),
    "fsmount": (432, 432, "0, 0, 0", "EPERM"),
    "open_tree": (428, 428, "-100, b'/', 1", "EPERM"),
    "move_mount": (429, 429, "-100, b'/', -100, b'/tmp', 0", "EPERM"),
    "mount_setattr": (442, 442, "-100, b'/', 0, bytes(32), 32", "EPERM"),
    "open_by_handle_at": (304, 265, "-100, bytes(64), 0", "EPERM"),
    "name_to_handle_at": (303, 264, "-100, b'/', bytes(64), bytes(8), 0", "EPERM"),
    "ptrace traceme": (101, 117, "0, 0, 0, 0", "EPERM"),
    "ptrace attach init": (101, 117, "16, 1, 0, 0", "EPERM"),
    "process_vm_readv": (310, 270, "1, 0, 0, 0, 0, 0", "EPERM"),
    "process_vm_writev": (311, 271, "1, 0, 0, 0, 0, 0", "EPERM"),
    "kcmp": (312, 272, "1, 2, 0, 0, 0", "EPERM"),
    "pidfd_getfd": (438, 438, "0, 0, 0", "EPERM"),
    "process_madvise": (440, 440, "0, 0, 0, 0, 0", "EPERM"),
    "io_uring_setup": (425, 425, "1, bytes(120)", "ENOSYS"),
    "io_uring_enter": (426, 426, "0, 0, 0, 0, 0", "ENOSYS"),
    "io_uring_register": (427, 427, "0, 0, 0, 0", "ENOSYS"),
    "bpf": (321, 280, "0, bytes(64), 64", "EPERM"),
    "perf_event_open": (298, 241, "bytes(128), 0, -1, -1, 0", "EPERM"),
    "userfaultfd": (323, 282, "0", "EPERM"),
    "userfaultfd, user mode only": (323, 282, "1", "EPERM"),
    "add_key": (248, 217, "b'user', b'x', b'y', 1, -3", "EPERM"),
    "request_key": (249, 218, "b'user', b'x', 0, -3", "EPERM"),
    "keyctl": (250, 219, "0, -3, 1", "EPERM"),
    "memfd_secret": (447, 447, "0", "ENOSYS"),
    "kexec_load": (246, 104, "0, 0, 0, 0", "EPERM"),
    "init_module": (175, 105, "0, 0, b''", "EPERM"),
    "finit_module": (313, 273, "0, b'', 0", "EPERM"),
    "delete_module": (176, 106, "b'x', 0", "EPERM"),
    "reboot": (169, 142, "0xfee1dead, 672274793, 0, 0", "EPERM"),
    "swapon": (167, 224, "b'/tmp/x', 0", "EPERM"),
    "acct": (163, 89, "0", "EPERM"),
    "quotactl": (179, 60, "0, 0, 0, 0", "EPERM"),
    "syslog": (103, 116, "3, bytes(64), 64", "EPERM"),
    "settimeofday": (164, 170, "bytes(16), 0", "EPERM"),
    "clock_settime": (227, 112, "0, bytes(16)", "EPERM"),
    "adjtimex": (159, 171, "bytes(256)", "EPERM"),
    "sethostname": (170, 161, "b'x', 1", "EPERM"),
    "fanotify_init": (300, 262, "0, 0", "EPERM"),
    "vmsplice": (278, 75, "0, 0, 0, 0", "EPERM"),
    "move_pages": (279, 239, "1, 0, 0, 0, 0, 0", "EPERM"),
    "personality ADDR_NO_RANDOMIZE": (135, 92, "0x40000", "ENOSYS"),
    "personality READ_IMPLIES_EXEC": (135, 92, "0x400000", "ENOSYS"),
    "statmount": (457, 457, "0, 0, 0, 0", "EPERM"),
    "listmount": (458, 458, "0, 0, 0, 0", "EPERM"),
    "openat2": (437, 437, "-100, b'/', bytes(24), 24", "ENOSYS"),
    "a number nobody has": (999, 999, "", "ENOSYS"),
    "setuid root": (105, 146, "0", "EPERM"),
    "setgroups": (116, 159, "1, bytes(4)", "EPERM"),
}
ALSO = {
    "statmount": "ENOSYS",  # an old libseccomp does not know it
    "listmount": "ENOSYS",
    "setuid root": "EINVAL",  # an ordinary user's enclave has no id 0 at all
}


def test_system_calls_that_escapes_are_made_of(anybody: Belljar) -> None:
    lines = [
        f"found[{name!r}] = call({x86} if X86 else {arm}{', ' + arguments if arguments else ''})"
        for name, (x86, arm, arguments, _) in SYSTEM_CALLS.items()
    ]
    found = attack(anybody, "\n".join(lines))
    expected = {name: row[3] for name, row in SYSTEM_CALLS.items()}
    expected |= {name: other for name, other in ALSO.items() if found[name] == other}
    assert found == expected


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other architectures have other foreign ABIs")
@pytest.mark.parametrize("way", ["int80", "x32"])
def test_foreign_abis_end_the_process(anybody: Belljar, way: str) -> None:
    """A 32-bit getpid by int 0x80, and an x32 call: each would pass a filter that only looks at numbers."""
    code = """
    def by_int80():
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20; int 0x80; ret
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        print(ctypes.CFUNCTYPE(ctypes.c_int)(address)(), flush=True)

    def by_x32():
        print(libc.syscall(ctypes.c_long(0x40000000 | 39)), flush=True)

    found["int80"] = in_child(by_int80)
    found["x32"] = in_child(by_x32)
    """
    assert attack(anybody, code)[way] == -31  # type: ignore[comparison-overlap]  # SIGSYS


def test_a_foreign_abi_is_told(belljar: Belljar) -> None:
    done = belljar.python("import ctypes; ctypes.CDLL(None).syscall(0x40000000 | 39)", check=None)
    if os.uname().machine == "x86_64":
        assert done.returncode == 128 + 31
        assert "made a system call of a foreign ABI" in done.stderr


def test_socket_families(anybody: Belljar) -> None:
    code = """
    for name, family, kind, protocol in (
        ("vsock", 40, 1, 0), ("alg", 38, 5, 0), ("packet", 17, 3, 0), ("xdp", 44, 3, 0), ("bluetooth", 31, 3, 0),
        ("can", 29, 3, 1), ("netlink audit", 16, 3, 9), ("netlink netfilter", 16, 3, 12), ("key", 15, 3, 2),
    ):
        attempt(name, lambda: socket.socket(family, kind, protocol))
    for family in (2, 10):
        attempt(f"raw {family}", lambda: socket.socket(family, socket.SOCK_RAW, 1))
    """
    found = attack(anybody, code)
    assert {error for name, error in found.items() if not name.startswith("raw")} == {"EAFNOSUPPORT"}
    assert {error for name, error in found.items() if name.startswith("raw")} == {"EPERM"}


def test_proc_tricks(anybody: Belljar) -> None:
    code = """
    for pid in ("1", "self/../1"):
        for name in ("mem", "environ", "maps", "root", "cwd", "exe", "fd", "task", "cmdline", "stat"):
            path = f"/proc/{pid}/{name}"
            folder = name in ("root", "cwd", "fd", "task")
            attempt(path, lambda: os.listdir(path) if folder else open(path, "rb").read(1))
    for path in ("sys/kernel/core_pattern", "sys/kernel/hostname", "sys/vm/drop_caches", "sys/kernel/sysrq",
                 "sys/kernel/modprobe", "sys/fs/binfmt_misc/register", "sys/kernel/ns_last_pid",
                 "sys/net/ipv4/ip_forward", "self/uid_map", "self/setgroups", "self/oom_score_adj"):
        attempt("write " + path, lambda: os.write(os.open("/proc/" + path, os.O_WRONLY), b"-999"))
    for path in ("sysrq-trigger", "kcore", "kmsg", "keys", "key-users", "timer_list", "kallsyms", "config.gz", "iomem",
                 "cmdline", "slabinfo", "vmallocinfo", "interrupts", "partitions", "diskstats", "locks", "modules"):
        try:
            found["read " + path] = open("/proc/" + path, "rb").read(1).decode() or "EMPTY"
        except OSError as error:
            found["read " + path] = errno.errorcode[error.errno]
    for path in ("acpi", "bus", "driver", "fs", "irq", "tty", "scsi", "asound", "pressure"):
        if os.path.isdir("/proc/" + path):
            found["list " + path] = "EMPTY" if set(os.listdir("/proc/" + path)) <= {".keep"} else "FULL"
    """
    found = attack(anybody, code)
    refused = {"EPERM", "EACCES", "ENOENT", "EROFS", "EMPTY", "EIO"}
    assert {name: what for name, what in found.items() if what not in refused} == {}


def test_the_guest_cannot_raise_its_own_worth(anybody: Belljar) -> None:
    code = """
    import resource
    attempt("oom", lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1000"))
    found["now"] = open("/proc/self/oom_score_adj").read().strip()
    attempt("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
    attempt("realtime", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6))
        found["processes"] = "DONE"
    except ValueError:  # what Python makes of EPERM
        found["processes"] = "EPERM"
    """
    found = attack(anybody, code)
    assert found.pop("now") == "1000"
    assert set(found.values()) <= {"EPERM", "EACCES"}


def test_programs_cannot_be_rewritten_through_proc(anybody: Belljar) -> None:
    code = """
    for path in ("/proc/self/exe", "/proc/self/map_files", sys.executable, os.__file__):
        attempt(path, lambda: os.open(path, os.O_WRONLY))
    attempt("root", lambda: open("/proc/self/root/new", "w"))
    attempt("cwd", lambda: open("/proc/self/cwd/new", "w"))
    """
    assert "DONE" not in attack(anybody, code).values()


def test_devices_cannot_be_made(anybody: Belljar) -> None:
    code = """
    for name, kind, number in (("null", stat.S_IFCHR, (1, 3)), ("mem", stat.S_IFCHR, (1, 1)),
                               ("disk", stat.S_IFBLK, (8, 0)), ("fuse", stat.S_IFCHR, (10, 229))):
        attempt(name, lambda: os.mknod(f"/tmp/{name}", kind | 0o666, os.makedev(*number)))
    for path in ("/dev/new", "/dev/fuse", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/ptp0"):
        attempt(path, lambda: os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
    """
    assert "DONE" not in attack(anybody, code).values()


def test_programs_written_to_scratch_space_do_not_run(anybody: Belljar) -> None:
    code = """
    import shutil, subprocess
    for folder in ("/tmp", "/dev/shm"):
        path = shutil.copy(sys.executable, folder + "/program")
        attempt(folder + " setuid", lambda: os.chmod(path, 0o6755))
        os.chmod(path, 0o755)
        attempt(folder, lambda: subprocess.run([path, "-c", "pass"]))
        found[folder + " mode"] = oct(os.stat(path).st_mode)
        shutil.copy("/bin/sh", folder + "/script")
    library = shutil.copy(next(l.split()[-1] for l in open("/proc/self/maps") if "libc.so" in l), "/tmp/lib.so")
    attempt("library", lambda: ctypes.CDLL(library))
    """
    found = attack(anybody, code)
    assert found["/tmp setuid"] == found["/dev/shm setuid"] == "EPERM"
    assert found["/tmp"] == found["/dev/shm"] == "EACCES"
    assert found["library"] != "DONE"


def test_a_setuid_program_gives_nothing(anybody: Belljar) -> None:
    code = """
    found["setuid in tree"] = str([p for d in ("/usr/bin", "/bin") for p in os.listdir(d)
                                   if os.stat(f"{d}/{p}").st_mode & 0o6000])
    status = open("/proc/self/status").read()
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"):
        found[name] = next(line.split()[1] for line in status.splitlines() if line.startswith(name + ":"))
    """
    found = attack(anybody, code)
    zero = "0" * 16
    assert found == {
        "setuid in tree": "[]",
        **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), zero),
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }


def test_signals_do_not_leave(anybody: Belljar) -> None:
    code = f"""
    for name, pid in (("host", {os.getpid()}), ("init", 1), ("everybody", -1)):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
            if name != "everybody":
                attempt(f"{{name}} {{number}}", lambda: os.kill(pid, number))
    attempt("everybody", lambda: in_child(lambda: os.kill(-1, 0)))
    found["init lives"] = str(os.path.exists("/proc/self/stat") and os.getppid())
    """
    found = attack(anybody, code)
    assert {found[f"host {n}"] for n in (9, 15, 19)} == {"ESRCH"}
    assert found["init lives"] == "1"


def test_abstract_sockets_of_the_host_are_out_of_reach(anybody: Belljar) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0belljar-{os.getpid()}")
        listener.listen()
        code = f"""
        attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0belljar-{os.getpid()}"))
        found["listed"] = str("belljar-{os.getpid()}" in open("/proc/net/unix").read())
        """
        assert attack(anybody, code) == {"abstract": "ECONNREFUSED", "listed": "False"}
        host_network = (
            "belljar: 1\nname: host\nextends: [minimal]\n"
            f"programs: [{PYTHON}]\nnetwork: {{insecure_host: true}}\nargv: [{PYTHON}, -c, code]\n"
        )
        program = PRELUDE + textwrap.dedent(code) + "\ntell()\n"
        manifest = host_network.replace("code]", json.dumps(program) + "]")
        (anybody.folder / "host.yaml").write_text(manifest)
        found = json.loads(anybody("run", "host.yaml").stdout)
        assert found["abstract"] == "EPERM", "with the host's network it is Landlock that says no"


def test_sysv_and_posix_queues_are_the_enclaves_own(anybody: Belljar) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    key = 0x62656C6C
    segment = libc.shmget(key, 4096, 0o1666)
    try:
        assert segment >= 0
        found = attack(anybody, f"found['segment'] = str(libc.shmget({key}, 4096, 0))")
        assert found["segment"] == "-1"
    finally:
        libc.shmctl(segment, 0, None)


def test_memory_of_a_neighbour_enclave_is_out_of_reach(anybody: Belljar) -> None:
    """Two enclaves at once see nothing of each other (5.1.2 a, 7.1 d)."""
    code = """
    import sys, os
    open("/tmp/mine", "w").write("secret"); open("/dev/shm/mine", "w").write("secret")
    print("ready", flush=True)
    sys.stdin.readline()
    """
    anybody.python("pass")
    first = anybody.start("run", "--", PYTHON, "-c", textwrap.dedent(code), stdin=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    try:
        code = "import os; print('mine' in os.listdir('/tmp'), os.listdir('/dev/shm'), os.path.exists('/proc/3'))"
        assert anybody.python(code).stdout == "False [] False\n"
    finally:
        first.communicate("done\n", timeout=30)


@pytest.mark.parametrize("stream", ["input", "output", "error"])
def test_a_folder_as_a_standard_stream_is_no_way_out(anybody: Belljar, stream: str) -> None:
    """With a host folder as a descriptor, openat() would reach everything below and above it."""
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    streams: dict[str, int] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    streams[{"input": "stdin", "output": "stdout", "error": "stderr"}[stream]] = descriptor
    try:
        command = anybody.command("run", "--", PYTHON, "-c", "import os; os.write(2, b'ran')")
        done = subprocess.run(
            command, env=anybody.environ(), cwd=anybody.folder, text=True, check=False,
            stdin=streams["stdin"], stdout=streams["stdout"], stderr=streams["stderr"],
        )  # fmt: skip
    finally:
        os.close(descriptor)
    assert done.returncode != 0
    assert not (done.stderr or "").endswith("ran")


def test_redirected_files_give_no_more_than_they_gave(anybody: Belljar) -> None:
    target = anybody.folder / "input"
    target.write_text("as it was")
    target.chmod(0o666)
    code = """
    attempt("write", lambda: os.write(os.open("/proc/self/fd/0", os.O_WRONLY), b"changed"))
    attempt("truncate", lambda: os.truncate("/proc/self/fd/0", 0))
    attempt("read", lambda: os.read(os.open("/proc/self/fd/0", os.O_RDONLY), 1))
    attempt("chmod", lambda: os.fchmod(0, 0o777))
    """
    program = PRELUDE + textwrap.dedent(code) + "\ntell()\n"
    with target.open() as stdin:
        done = subprocess.run(
            anybody.command("run", "--", PYTHON, "-c", program), stdin=stdin, env=anybody.environ(), cwd=anybody.folder,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["write"] == "EACCES"
    assert found["truncate"] == "EACCES"
    assert found["read"] == "DONE"
    assert target.read_text() == "as it was"


def test_a_fork_bomb_stays_small(anybody: Belljar) -> None:
    code = """
    import os, time
    def bomb():
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.05)
    bomb()
    """
    (anybody.folder / "m.yaml").write_text(
        f"belljar: 1\nname: bomb\nextends: [minimal]\nprograms: [{PYTHON}]\n"
        "limits: {processes: 50, run_time: 3s}\n"
        f"argv: [{PYTHON}, -c, {json.dumps(textwrap.dedent(code))}]\n"
    )
    anybody("run", "m.yaml", check=124)


def test_filling_every_writable_place_ends(anybody: Belljar) -> None:
    code = """
    for root, folders, files in os.walk("/", topdown=True):
        folders[:] = [f for f in folders if os.path.join(root, f) not in ("/proc", "/sys")]
        try:
            with open(os.path.join(root, "filler"), "wb") as file:
                while file.tell() < 400 << 20:
                    file.write(bytes(1 << 20))
            found[root] = "DONE"
        except OSError as error:
            found[root] = errno.errorcode[error.errno]
    """
    free = os.statvfs("/").f_bavail
    found = attack(anybody, code)
    places = {root for root, what in found.items() if what not in ("EROFS", "EACCES")}
    assert {"/tmp", "/dev/shm"} <= places
    assert all(place.startswith(("/tmp", "/dev/shm")) for place in places)
    assert found["/tmp"] == found["/dev/shm"] == "ENOSPC"
    assert abs(os.statvfs("/").f_bavail - free) < 200 << 8, "nothing of it on the host's disk"


def test_inodes_run_out_before_the_machine_does(anybody: Belljar) -> None:
    code = """
    made = 0
    try:
        while made < 3_000_000:
            os.close(os.open(f"/tmp/{made}", os.O_CREAT | os.O_WRONLY))
            made += 1
        found["inodes"] = "DONE"
    except OSError as error:
        found["inodes"] = errno.errorcode[error.errno]
    """
    assert attack(anybody, code, timeout=300)["inodes"] == "ENOSPC"
