"""Work that forks of a process share gives what one process gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from logging_lib.store.forkpool import map_forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are used on Linux only")


def test_results_come_in_the_order_of_the_items() -> None:
    """Whoever made them; what must be done here is."""
    results = map_forked(
        lambda number: (number * number, os.getpid()),
        range(50),
        here=lambda number: number % 7 == 0,
        processes=3,
    )
    assert [square for square, _ in results] == [number * number for number in range(50)]
    assert {process for _, process in results[::7]} == {os.getpid()}


def test_the_forks_do_their_share() -> None:
    """Two that wait for each other are two processes."""
    mine, theirs = os.pipe(), os.pipe()

    def met(place: int) -> bytes:
        (reading, _), (_, writing) = (mine, theirs) if place else (theirs, mine)
        os.write(writing, b"x")
        return os.read(reading, 1)

    try:
        assert map_forked(met, range(2), here=lambda place: False, processes=2) == [b"x", b"x"]
    finally:
        for end in (*mine, *theirs):
            os.close(end)


def after_a_fork_began(what: Callable[[], object]) -> Callable[[int], int]:
    """Work in which a fork takes one item, and this process waits for that before it takes any."""
    reading, writing = os.pipe()
    parent = os.getpid()

    def work(place: int) -> int:
        if os.getpid() == parent:
            os.read(reading, 1)
            os.close(reading)
            os.close(writing)
        else:
            os.write(writing, b"x")
            what()
        return place

    return work


def test_an_exception_in_a_fork_is_raised() -> None:
    """As if it were raised here."""

    def fail() -> None:
        raise LookupError("no such place")

    with pytest.raises(LookupError, match="no such place"):
        map_forked(after_a_fork_began(fail), range(2), here=lambda place: place == 1, processes=2)


def test_a_killed_fork_is_reported() -> None:
    """With the signal, and the likely cause."""
    work = after_a_fork_began(lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RuntimeError, match="ended with -9 before it was done; was memory short"):
        map_forked(work, range(2), here=lambda place: place == 1, processes=2)


def test_one_process_forks_nothing() -> None:
    """All is done here, in the order of the items."""
    done: list[int] = []
    map_forked(done.append, range(3), here=lambda place: place == 2, processes=1)
    assert done == [0, 1, 2]


def test_a_killed_fork_is_reported_beside_others_that_return_much() -> None:
    """Those wait until what they have is taken, and must not be waited for."""
    reading, writing = os.pipe()
    parent = os.getpid()

    def work(place: int) -> bytes:
        if os.getpid() == parent:
            os.read(reading, 1)
        elif place == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            os.write(writing, b"x")
        return b"x" * 500_000

    with pytest.raises(RuntimeError, match="ended with -9"):
        map_forked(work, range(3), here=lambda place: place == 2, processes=3)
    os.close(reading)
    os.close(writing)


LEFT = """
import os, signal, sys, time
from logging_lib.store.forkpool import map_forked

parent = os.getpid()

def work(place):
    if os.getpid() != parent:
        print(os.getpid(), flush=True)
        while os.getppid() == parent:
            time.sleep(0.01)
        return b"x" * 500_000
    sys.stdin.readline()
    os.kill(parent, signal.SIGKILL)

map_forked(work, range(20), here=lambda place: place == 0, processes=2)
"""


def test_a_fork_ends_when_the_first_process_was_killed() -> None:
    """It takes no further item, and what it has is for nobody."""
    process = subprocess.Popen(
        [sys.executable, "-c", LEFT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    fork = int(process.stdout.readline())
    process.communicate("\n")
    assert process.returncode == -signal.SIGKILL
    for _ in range(500):
        if not Path(f"/proc/{fork}").exists():
            return
        time.sleep(0.01)
    os.kill(fork, signal.SIGKILL)
    raise AssertionError("the fork lives on")


def test_one_process_does_everything_if_none_can_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "no more processes")

    monkeypatch.setattr(os, "fork", refused)
    assert map_forked(lambda place: place + 1, range(5), here=lambda place: False, processes=3) == [
        1,
        2,
        3,
        4,
        5,
    ]
