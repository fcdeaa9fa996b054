"""Talk TCP to another process over loopback; print megabytes per second and microseconds."""

import json
import os
import socket
import statistics
import sys
import time

TOTAL = int(sys.argv[1])
TRIPS = int(sys.argv[2])
CHUNK = 1 << 16


def serve(listener):
    """Swallow what the first connection sends, echo the second's bytes, close all others at once."""
    first, _ = listener.accept()
    while first.recv(CHUNK):
        pass
    first.close()
    second, _ = listener.accept()
    second.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while byte := second.recv(1):
        second.send(byte)
    while True:
        listener.accept()[0].close()


def throughput(address):
    """Return megabytes per second, until the other side has read the last byte."""
    block = bytes(CHUNK)
    with socket.create_connection(address) as connection:
        started = time.perf_counter()
        for _ in range(TOTAL // CHUNK):
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        return TOTAL / (time.perf_counter() - started) / 1e6


def round_trip(address):
    """Return the median microseconds of one byte there and back."""
    times = []
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(TRIPS):
            started = time.perf_counter()
            connection.send(b"x")
            connection.recv(1)
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def connection(address):
    """Return the median microseconds from nothing to a connection that has ended."""
    times = []
    for _ in range(max(1, TRIPS // 10)):
        started = time.perf_counter()
        with socket.create_connection(address) as made:
            made.recv(1)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


listener = socket.create_server(("127.0.0.1", 0), backlog=128)
server = os.fork()
if server == 0:
    serve(listener)
there = listener.getsockname()
found = {
    "throughput, MB/s": throughput(there),
    "round trip, µs": round_trip(there),
    "connection, µs": connection(there),
}
os.kill(server, 9)
os.waitpid(server, 0)
print(json.dumps(found))
