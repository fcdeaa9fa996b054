"""Doors without an enclave: floods in one burst, mistakes of whoever serves, and how many connections fit a process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.libos.gateway.doors import Door, Visit, fitting, left
from belljar.libos.gateway.journal import Counts, Journal
from belljar.libos.spec import Traffic

PATIENCE_S = 20


def traffic(connections: int) -> Traffic:
    return Traffic(connections=connections, idle_ms=60_000, handshake_ms=10_000)


async def _silent(_visit: Visit) -> None:
    await asyncio.sleep(PATIENCE_S)


async def _mistaken(_visit: Visit) -> None:
    raise KeyError("\x1b[31mwhat a peer sent")


def knocked(
    serve: Callable[[Visit], Awaitable[None]], knocks: int, connections: int
) -> tuple[dict[str, object], int, str]:
    """Knock so often before the door is opened; return what it counts, how many are left, and the journal."""
    reader, writer = os.pipe()
    counts, journal = Counts(), Journal(writer)

    async def knock() -> tuple[dict[str, object], int]:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        listener.setblocking(False)
        door = Door("door", listener, traffic(connections), serve, (counts, journal))
        knocking = [socket.create_connection(listener.getsockname()) for _ in range(knocks)]
        door.open()
        for _ in range(PATIENCE_S * 100):
            await asyncio.sleep(0.01)
            if counts.accepted == knocks:
                break
        await asyncio.sleep(0.01)
        found, there = counts.fields(), door.visits
        for one in knocking:
            one.close()
        await door.close(drain_s=0)
        return found, there

    found, there = asyncio.run(knock())
    journal.close()
    os.close(writer)
    with os.fdopen(reader) as lines:
        return found, there, lines.read()


@pytest.mark.parametrize("connections", [1, 2, 31, 64])
def test_who_is_cut_before_its_turn_keeps_no_place(connections: int) -> None:
    found, there, said = knocked(_silent, 100, connections)
    assert (there, found["open"], found["refused"]) == (connections, connections, 100 - connections)
    assert "connections already" not in said


def test_a_mistake_ends_one_connection_and_is_told_in_plain_words() -> None:
    found, there, said = knocked(_mistaken, 3, 8)
    assert (there, found["open"], found["refused"]) == (0, 0, 3)
    assert said.count("a mistake of the gateway: KeyError(") == 3
    assert "\x1b" not in said


@settings(max_examples=50)
@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=8), st.integers(-100, 100_000))
def test_limits_fit_the_descriptors_there_are(wanted: list[int], descriptors: int) -> None:
    found = [one.connections for one in fitting([traffic(count) for count in wanted], descriptors)]
    assert all(1 <= one <= count for one, count in zip(found, wanted, strict=True))
    assert 3 * sum(found) <= max(descriptors, 3 * len(wanted)) + 3 * len(wanted)
    if 3 * sum(wanted) <= descriptors:
        assert found == wanted


def test_some_descriptors_are_left_for_files() -> None:
    assert left() < os.sysconf("SC_OPEN_MAX")
