"""Work over what is in memory, spread over copies of this process: nothing is sent to them, they have it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

T = TypeVar("T")
_WIDTH: Final = 2  # bytes of a unit's number; a pipe takes 64 KiB at once
_MOST: Final = 2**15


def available() -> int:
    """The cores that this process may use; 1 where it cannot be copied safely."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def spread(
    work: Callable[[int], T], units: Sequence[int], *, here: Sequence[int] = (), processes: int
) -> dict[int, T]:
    """The results of ``work`` for each unit: the same, and as good as in the same time, whoever did it.

    Each process takes the next unit that nobody has taken. What a copy does not bring, because it was killed or
    its results cannot be sent, is done here: so whatever is wrong with a unit is raised here.

    Args:
        work: must not use what a copy of the process does not have: its threads and its connections.
        units: in the order in which they are begun: those that take long first.
        here: units that only this process can do; it does them first.
        processes: how many work, this one included.
    """
    copies = min(processes, available(), len(units) + bool(here)) - 1
    if copies < 1 or len(units) > _MOST:
        return {unit: work(unit) for unit in (*here, *units)}
    tickets, filling = os.pipe()
    try:
        os.write(filling, b"".join(place.to_bytes(_WIDTH, "big") for place in range(len(units))))
    finally:
        os.close(filling)  # before any copy is made: so the pipe ends with its last ticket
    found: dict[int, T] = {}
    try:
        with _copied(lambda: {unit: work(unit) for unit in _taken(units, tickets)}, copies) as answers:
            found |= {unit: work(unit) for unit in chain(here, _taken(units, tickets))}
            for answer in answers:
                found |= _received(answer)
    finally:
        os.close(tickets)
    return found | {unit: work(unit) for unit in units if unit not in found}


def _taken(units: Sequence[int], tickets: int) -> Iterator[int]:
    while ticket := os.read(tickets, _WIDTH):
        yield units[int.from_bytes(ticket, "big")]


@contextmanager
def _copied(do: Callable[[], Any], copies: int) -> Iterator[list[Connection]]:
    """Copies of this process that do something and send what came of it; they end with the block."""
    context = multiprocessing.get_context("fork")
    processes: list[Any] = []
    answers: list[Connection] = []
    gc.collect()
    gc.freeze()  # a collection would write to all that there is, and so copy it
    try:
        for _ in range(copies):
            answer, sending = context.Pipe(duplex=False)
            process = context.Process(target=_copy, args=(do, sending), daemon=True)
            with warnings.catch_warnings():
                # Threads are lost in a copy. It is told to use none: see ``spread``.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            sending.close()
            processes.append(process)
            answers.append(answer)
        yield answers
    finally:
        gc.unfreeze()
        for process in processes:
            process.terminate()
            process.join()
        for answer in answers:
            answer.close()


def _copy(do: Callable[[], Any], sending: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that was copied ends its copies
    with suppress(Exception):  # what is not brought is done over there, where its error is raised
        sending.send(do())


def _received(answer: Connection) -> dict[int, Any]:
    try:
        found: dict[int, Any] = answer.recv()
    except (EOFError, OSError):
        return {}
    return found
