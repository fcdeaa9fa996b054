"""Time single system calls; print the medians in microseconds."""

import json
import os
import statistics
import sys
import time

FILE = sys.executable
SOURCE = json.__file__
NULL = os.open("/dev/null", os.O_WRONLY)


def read_file():
    """Open, read and close."""
    descriptor = os.open(SOURCE, os.O_RDONLY)
    os.read(descriptor, 1024)
    os.close(descriptor)


def python_open():
    """Open as Python programs do, with its question whether this is a terminal."""
    with open(SOURCE, "rb") as file:
        file.read(1024)


CALLS = {
    "getppid": os.getppid,
    "stat": lambda: os.stat(FILE),
    "stat, not there": lambda: os.path.exists("/usr/lib/nothing/here"),
    "open, read 1 KiB, close": read_file,
    "open() and read 1 KiB": python_open,
    "write to /dev/null": lambda: os.write(NULL, b"x"),
}


def timed(call, count=2000):
    """Return microseconds per call."""
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count * 1e6


print(json.dumps({name: statistics.median(timed(call) for _ in range(5)) for name, call in CALLS.items()}))
