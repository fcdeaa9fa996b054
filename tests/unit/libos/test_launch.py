"""How the supervisor leads a guest's side through its setup: messages of two processes, in any order."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from belljar.libos import control as messages
from belljar.libos.control import Control, control_pair
from belljar.libos.errors import SandboxUnavailable
from belljar.libos.supervisor.launch import Guest, _know_init


@pytest.fixture
def sides() -> Iterator[tuple[Guest, Control]]:
    """Yield a guest whose outer has ended already, and the guest's side of its control socket."""
    ours, theirs = control_pair()
    outer = os.fork()
    if outer == 0:
        os._exit(0)
    guest = Guest(ours, outer)
    yield guest, theirs
    guest.init = 0
    guest.end()
    theirs.close()


@pytest.mark.parametrize("first", ["init", "mounted"])
def test_init_may_speak_before_outer_has_named_it(sides: tuple[Guest, Control], first: str) -> None:
    guest, theirs = sides
    for kind in ["init", "mounted"] if first == "init" else ["mounted", "init"]:
        theirs.send(kind.encode(), *([b"4711"] if kind == "init" else []))
    early = _know_init(guest, gives=False)
    assert guest.init == 4711
    assert guest.outer == 0
    assert (early or guest.control.receive())[0] == messages.MOUNTED


def test_a_failure_that_comes_early_is_told(sides: tuple[Guest, Control]) -> None:
    guest, theirs = sides
    theirs.send(messages.MOUNTED)
    theirs.send(messages.FAILED, b"12", b"mount proc")
    theirs.send(messages.INIT, b"4711")
    early = _know_init(guest, gives=False)
    assert early is not None
    assert early[0] == messages.FAILED


def test_the_end_without_a_word_is_told(sides: tuple[Guest, Control]) -> None:
    guest, theirs = sides
    theirs.send(messages.FAILED, b"11", b"fork init: no")
    theirs.close()
    with pytest.raises(SandboxUnavailable, match="cannot build the enclave: fork init: no"):
        _know_init(guest, gives=False)
