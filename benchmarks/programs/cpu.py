"""Compute; print the fastest times in milliseconds."""

import json
import math
import sys
import time

SIZE = int(sys.argv[1])


def loops():
    """Whole numbers."""
    total = 0
    for number in range(SIZE):
        total = (total * 31 + number) & 0xFFFFFFFF
    return total


def floats():
    """Real numbers."""
    return sum(math.sqrt(number) * 0.5 for number in range(SIZE))


def containers():
    """Dicts, lists and strings: what most programs do."""
    words = [str(number % 1000) for number in range(SIZE)]
    counts = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def calls():
    """Function calls and objects."""

    class Point:
        def __init__(self, x):
            self.x = x

        def moved(self):
            return Point(self.x + 1)

    point = Point(0)
    for _ in range(SIZE):
        point = point.moved()
    return point


def memory():
    """Large allocations: page faults."""
    return sum(len(bytearray(1 << 20)) for _ in range(max(1, SIZE // 2000)))


def timed(work):
    """Return milliseconds of the fastest of five: what disturbs only adds."""
    best = math.inf
    for _ in range(5):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best * 1000


WORK = {"loops": loops, "floats": floats, "dicts and strings": containers, "calls": calls, "new memory": memory}
print(json.dumps({name: timed(work) for name, work in WORK.items()}))
