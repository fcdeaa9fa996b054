"""Cases with several processes and special files: execution, fifos, sockets, devices."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading

from .cases import case, get, in_child, outcome, put


@case
def executing() -> object:
    put("script", b"#!/bin/sh\necho from $0 $1\n")
    os.chmod("script", 0o755)
    shutil.copy("/bin/true", "true")
    put("plain", b"#!/bin/sh\n")
    writer = os.open("true", os.O_RDWR)
    busy = outcome(subprocess.run, ["./true"], check=False)
    os.close(writer)
    return [
        subprocess.run(["./script", "x"], capture_output=True, check=True).stdout,
        subprocess.run(["./true"], check=True).returncode,
        busy,
        outcome(subprocess.run, ["./plain"], check=False),
    ]


@case
def fifos() -> object:
    os.mkfifo("p", 0o600)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(get("p")))
    thread.start()
    put("p", b"through a fifo")
    thread.join()
    nobody = outcome(os.open, "p", os.O_WRONLY | os.O_NONBLOCK)
    os.link("p", "q")
    os.unlink("p")
    return [answers, nobody, os.stat("q").st_nlink, oct(os.stat("q").st_mode), outcome(os.mkfifo, "q")]


@case
def unix_sockets() -> object:
    server = socket.socket(socket.AF_UNIX)
    server.bind("s")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("s")
    client.send(b"hello")
    client.close()
    received = server.accept()[0].recv(10)
    again = outcome(socket.socket(socket.AF_UNIX).bind, "s")
    os.rename("s", "t")
    moved = outcome(socket.socket(socket.AF_UNIX).connect, "t")
    server.close()
    return [received, again, moved, oct(os.stat("t").st_mode), outcome(socket.socket(socket.AF_UNIX).connect, "t")]


@case
def device_nodes() -> object:
    return [
        outcome(os.mknod, "null", 0o020666, os.makedev(1, 3)),
        outcome(os.mknod, "file", 0o100640),
        outcome(os.mknod, "typeless", 0o644),
        {name: oct(os.stat(name).st_mode) for name in sorted(os.listdir())},
    ]


@case
def trees() -> object:
    for number in range(10):
        os.makedirs(f"a/{number}/deep/er")
        put(f"a/{number}/deep/f", b"%d" % number * 1000)
        os.symlink("deep/f", f"a/{number}/s")
    shutil.copytree("a", "b", symlinks=True)
    shutil.rmtree("a/3")
    os.rename("a", "c")
    shutil.move("c/4", "b/new")
    walked = [(top, sorted(folders), sorted(files)) for top, folders, files in sorted(os.walk("."))]
    text = sorted(get(os.path.join(top, name)) for top, _, files in walked for name in files if name == "f")
    shutil.rmtree("b")
    return [walked, [len(part) for part in text], sorted(os.listdir("c"))]


@case
def threads_make_and_remove() -> object:
    wrong: list[object] = []

    def work(name: str) -> None:
        try:
            for number in range(100):
                put(f"{name}-{number}", name.encode())
                os.rename(f"{name}-{number}", f"{name}+{number}")
                if get(f"{name}+{number}") != name.encode():
                    wrong.append(number)
                if number % 2:
                    os.unlink(f"{name}+{number}")
        except OSError as error:
            wrong.append(str(error))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [wrong, len(os.listdir())]


@case
def processes_race_for_a_name() -> object:
    def attempt() -> int:
        return sum(
            isinstance(outcome(os.open, f"lock{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY), int)
            for number in range(100)
        )

    children = [threading.Thread(target=lambda: won.append(in_child(attempt))) for _ in range(3)]
    won: list[int] = []
    for child in children:
        child.start()
    for child in children:
        child.join()
    return [sum(won), len(os.listdir())]


@case
def a_killed_writer() -> object:
    child = os.fork()
    if child == 0:
        with open("a", "wb", buffering=0) as file:
            file.write(b"x" * 100_000)
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    return [len(get("a"))]
