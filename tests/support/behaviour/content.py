"""Cases on content: reading, writing, holes, allocation, copies, mappings, direct access."""

from __future__ import annotations

import mmap
import os
import random
import threading

from .cases import MIB, called, case, disk_case, get, in_child, outcome, put

KEEP, PUNCH, COLLAPSE, ZERO = 1, 2, 8, 16


def allocated(fd: int, mode: int, offset: int, length: int) -> object:
    import ctypes

    return called("fallocate", fd, mode, ctypes.c_long(offset), ctypes.c_long(length))


def opened(name: str, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    return os.open(name, flags, 0o644)


def pattern(length: int) -> bytes:
    return bytes((number * 7 + number // 251) & 0xFF for number in range(length))


@case
def appending() -> object:
    put("a", b"12345")
    one, two = (opened("a", os.O_WRONLY | os.O_APPEND) for _ in range(2))
    os.write(one, b"a")
    os.write(two, b"b")
    in_child(lambda: os.write(one, b"c"))
    os.pwrite(two, b"d", 0)  # Linux appends all the same
    os.ftruncate(one, 3)
    os.write(two, b"e")
    return [get("a"), os.fstat(one).st_size, os.lseek(two, 0, os.SEEK_CUR)]


@case
def appending_from_several_processes() -> object:
    put("log")
    fd = opened("log", os.O_WRONLY | os.O_APPEND)
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            own = opened("log", os.O_WRONLY | os.O_APPEND)
            for _ in range(100):
                os.write(own, b"%d" % number * 99 + b"\n")
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    os.close(fd)
    lines = get("log").splitlines()
    return [len(lines), {len(line) for line in lines}, {len(set(line)) for line in lines}]


@case
def writing_only() -> object:
    put("a", pattern(10_000))
    fd = opened("a", os.O_WRONLY)
    os.pwrite(fd, b"X" * 10, 4090)
    os.pwrite(fd, b"Y", 9_999)
    os.pwrite(fd, b"Z", 20_000)
    found = [outcome(os.read, fd, 1), os.fstat(fd).st_size]
    os.close(fd)
    return [found, get("a")]


@case
def reading_only() -> object:
    put("a", b"x")
    fd = opened("a", os.O_RDONLY)
    found = [
        outcome(os.write, fd, b"y"),
        outcome(os.ftruncate, fd, 0),
        os.pread(fd, 5, 5),
        outcome(os.pread, fd, 1, -1),
    ]
    os.close(fd)
    return [found, get("a"), outcome(os.read, opened(".", os.O_RDONLY), 1)]


@case
def truncating_on_open() -> object:
    put("a", b"long text")
    first = opened("a", os.O_RDONLY)
    second = opened("a", os.O_WRONLY | os.O_TRUNC)
    found = [os.fstat(first).st_size, os.pread(first, 9, 0)]
    os.write(second, b"new")
    return [*found, os.pread(first, 9, 0), os.fstat(first).st_size, outcome(os.truncate, ".", 0)]


@case
def truncating() -> object:
    put("a", pattern(200_000))
    os.truncate("a", 70_001)
    shorter = get("a")
    os.truncate("a", 150_000)
    fd = opened("a")
    os.ftruncate(fd, 3 * MIB)
    os.pwrite(fd, b"end", 3 * MIB - 3)
    os.ftruncate(fd, 100_000)
    os.ftruncate(fd, 100_010)
    wrong = [outcome(os.truncate, "a", -1), outcome(os.truncate, "x", 1), outcome(os.ftruncate, opened(".", 0), 1)]
    return [shorter == pattern(70_001), get("a") == pattern(70_001) + bytes(30_009), wrong]


@case
def holes() -> object:
    fd = opened("a")
    os.pwrite(fd, b"middle", 2 * MIB)
    os.ftruncate(fd, 6 * MIB)
    found = [os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 0, os.SEEK_HOLE), outcome(os.lseek, fd, 3 * MIB, os.SEEK_DATA)]
    found += [outcome(os.lseek, fd, 6 * MIB, os.SEEK_HOLE), outcome(os.lseek, fd, 7 * MIB, os.SEEK_DATA)]
    found += [2 * MIB < os.lseek(fd, 2 * MIB, os.SEEK_HOLE) <= 3 * MIB, os.lseek(fd, 2 * MIB + 3, os.SEEK_DATA)]
    os.pwrite(fd, b"unwritten yet", 4 * MIB)
    found += [os.lseek(fd, 3 * MIB, os.SEEK_DATA), os.lseek(fd, 5 * MIB, os.SEEK_HOLE)]
    os.fsync(fd)
    found += [
        os.fstat(fd).st_blocks * 512 < MIB,
        os.lseek(fd, -1, os.SEEK_END),
        outcome(os.lseek, fd, -1, os.SEEK_DATA),
    ]
    return [found, get("a") == bytes(2 * MIB) + b"middle" + bytes(2 * MIB - 6) + b"unwritten yet" + bytes(2 * MIB - 13)]


@case
def many_look_for_holes_at_once() -> object:
    fd = opened("a")
    os.ftruncate(fd, 8 * MIB)
    found: list[int] = []

    def look(number: int) -> None:
        own = opened("a")
        for _ in range(5):
            os.pwrite(own, b"x", (number % 8) * MIB)
            found.append(os.lseek(own, (number % 8) * MIB, os.SEEK_DATA) // MIB)
        os.close(own)

    threads = [threading.Thread(target=look, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


@case
def very_long_sparse_files() -> object:
    fd = opened("a")
    os.ftruncate(fd, 1 << 42)
    os.pwrite(fd, b"far", 1 << 41)
    found = [os.fstat(fd).st_size, os.lseek(fd, 0, os.SEEK_DATA), os.pread(fd, 5, (1 << 41) - 1)]
    os.ftruncate(fd, 5)
    return [*found, get("a"), outcome(os.lseek, fd, 0, os.SEEK_DATA)]


@case
def allocating() -> object:
    fd = opened("a")
    os.write(fd, pattern(300_000))
    results = [allocated(fd, 0, 0, 400_000), os.fstat(fd).st_size, allocated(fd, KEEP, 0, MIB), os.fstat(fd).st_size]
    results += [allocated(fd, PUNCH | KEEP, 65_536, 131_072), allocated(fd, PUNCH | KEEP, 250_001, 10)]
    results += [allocated(fd, PUNCH | KEEP, 399_990, MIB), allocated(fd, PUNCH, 0, 1), allocated(fd, 0, 0, 0)]
    results += [allocated(fd, 0, -1, 5), allocated(opened("a", os.O_RDONLY), 0, 0, 5), os.fstat(fd).st_size]
    expected = bytearray(pattern(300_000) + bytes(100_000))
    expected[65_536:196_608] = bytes(131_072)
    expected[250_001:250_011] = bytes(10)
    return [results, get("a") == bytes(expected)]


@case
def a_reservation_is_counted() -> object:
    fd = opened("a")
    results = [allocated(fd, KEEP, MIB, MIB)]
    os.fsync(fd)
    return [*results, os.fstat(fd).st_size, os.fstat(fd).st_blocks * 512 >= MIB]


@disk_case
def zeroing() -> object:
    fd = opened("a")
    os.write(fd, pattern(100_000))
    results = [allocated(fd, ZERO, 10, 70_000), allocated(fd, ZERO | KEEP, 99_990, 1000), os.fstat(fd).st_size]
    results += [allocated(fd, ZERO, 99_000, 70_000), os.fstat(fd).st_size]
    expected = pattern(10) + bytes(70_000) + pattern(100_000)[70_010:99_000] + bytes(70_000)
    return [results, get("a") == expected]


@case
def punching_what_is_not_written_back() -> object:
    fd = opened("a")
    os.write(fd, pattern(3 * MIB))
    allocated(fd, PUNCH | KEEP, MIB, MIB)
    found = [os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, MIB, os.SEEK_DATA), os.pread(fd, 10, MIB - 5)]
    os.pwrite(fd, b"again", MIB + 100)
    return [*found, os.pread(fd, 7, MIB + 99), get("a")[2 * MIB :] == pattern(3 * MIB)[2 * MIB :]]


@disk_case
def copying_ranges() -> object:
    put("a", pattern(300_000))
    source, target, log = opened("a"), opened("b"), opened("c", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.pwrite(source, b"fresh", 70_000)
    os.pwrite(target, b"dirty" * 2000, 0)
    copy = os.copy_file_range
    results = [
        copy(source, target, 100_000, 65_000, 5_000),
        copy(source, target, 99, 299_990),
        os.fstat(target).st_size,
    ]
    results += [outcome(copy, source, target, 9, 300_000), outcome(copy, source, source, 100, 0, 50)]
    results += [outcome(copy, source, log, 9), outcome(copy, source, opened(".", os.O_RDONLY), 9)]
    results += [copy(source, source, 1000, 0, 500_000), os.fstat(source).st_size]
    whole = bytearray(pattern(300_000))
    whole[70_000:70_005] = b"fresh"
    return [
        results,
        get("b")[5000:] == bytes(whole[70_000:165_000]) + bytes(0),
        get("b")[:20],
        get("a")[500_000:501_000],
    ]


@case
def mapping() -> object:
    put("a", pattern(100_000))
    fd = opened("a")
    with mmap.mmap(fd, 100_000) as shared:
        shared[70_000:70_003] = b"map"
        seen = [os.pread(fd, 5, 69_999)]
        os.pwrite(fd, b"file", 5)
        seen.append(shared[4:10])
        shared[99_999] = 1
        shared.flush()
        seen.append(get("a")[-1:])
        child = in_child(lambda: (shared.__setitem__(0, 7), shared[4:10])[1])
        seen += [child, os.pread(fd, 1, 0)]
        shared.resize(200_000)
        shared[150_000] = 9
    os.close(fd)
    with open("a", "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as private:
        private[0] = 99
        seen += [private[:1], get("a")[:1]]
    return [seen, len(get("a")), get("a")[149_999:150_002]]


@case
def a_mapping_outlives_descriptor_and_name() -> object:
    put("a", pattern(10_000))
    fd = opened("a")
    shared = mmap.mmap(fd, 10_000)
    os.close(fd)
    os.link("a", "b")
    os.unlink("a")
    shared[:4] = b"live"
    shared.close()
    return [get("b")[:6]]


@case
def a_mapping_of_a_hole() -> object:
    fd = opened("a")
    os.ftruncate(fd, MIB)
    with mmap.mmap(fd, MIB) as shared:
        first = shared[500_000:500_004]
        shared[500_000] = 5
    os.fsync(fd)
    return [first, get("a")[499_999:500_002], os.fstat(fd).st_size]


@disk_case
def direct_access() -> object:
    fd = opened("a", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    with mmap.mmap(-1, 2 * MIB) as aligned:
        aligned[:] = pattern(4096) * 512
        written = os.pwritev(fd, [aligned], 0)
        cached = opened("a")
        os.pwrite(cached, b"cached", 4096)
        aligned[:] = bytes(2 * MIB)
        count = os.preadv(fd, [aligned], 0)
        return [written, count, aligned[4096:4104], aligned[-3:], os.fstat(fd).st_size, get("a")[MIB : MIB + 9]]


@case
def vectors_and_pipes() -> object:
    fd = opened("a")
    os.pwritev(fd, [b"ab", b"cd", b"e" * 5000], 3)
    os.lseek(fd, 0, os.SEEK_SET)
    out = opened("b")
    sent = os.sendfile(out, fd, 0, 6000)
    reader, writer = os.pipe()
    spliced = os.splice(fd, writer, 100, 2)
    os.close(writer)
    return [sent, spliced, os.read(reader, 200), get("b") == get("a")]


@case
def making_durable() -> object:
    fd = opened("a", os.O_RDWR | os.O_CREAT | os.O_SYNC)
    folder = opened(".", os.O_RDONLY)
    os.write(fd, b"x")
    results = [outcome(os.fsync, fd), outcome(os.fdatasync, fd), outcome(os.fsync, folder), called("syncfs", folder)]
    os.sync()
    return [*results, outcome(os.fsync, opened("a", os.O_RDONLY))]


@case
def random_access_within_one_file() -> object:
    dice = random.Random(5)  # noqa: S311 - dice
    expected = bytearray()
    fd = opened("a")
    for _ in range(300):
        offset, length = dice.randrange(300_000), dice.randrange(1, 40_000)
        piece = dice.randbytes(length)
        expected.extend(bytes(max(0, offset + length - len(expected))))
        expected[offset : offset + length] = piece
        os.pwrite(fd, piece, offset)
        if dice.random() < 0.1:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return [get("a") == bytes(expected)]
