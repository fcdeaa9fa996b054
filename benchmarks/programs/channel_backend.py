"""The server behind every proxy of `channel`: sends, swallows or echoes as a client asks; prints its port."""

import socket
import threading

CHUNK = bytes(1 << 17)


def serve(connection):
    """Read `d` or `u` and a count of 8 bytes, or `e`: send so much, swallow so much, or echo until the end."""
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = connection.recv(1)
        if asked == b"e":
            while part := connection.recv(4096):
                connection.sendall(part)
            return
        left = int.from_bytes(exactly(connection, 8), "big")
        while left > 0:
            if asked == b"d":
                part = CHUNK[: min(left, len(CHUNK))]
                connection.sendall(part)
            else:
                part = connection.recv(1 << 17)
                if not part:
                    return
            left -= len(part)
        connection.sendall(b".")


def exactly(connection, count):
    """Return so many bytes."""
    found = b""
    while len(found) < count and (part := connection.recv(count - len(found))):
        found += part
    return found


listening = socket.create_server(("127.0.0.1", 0), backlog=512)
print(listening.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
