"""Work shared among this process and forks of it: they have all that it has read, without a copy."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST = 4  # each process keeps what it makes of the events: more of them need more memory than they save time


def processes() -> int:
    """How many may work at once: one where no process can be forked safely, as beside other threads."""
    if sys.platform != "linux" or threading.active_count() > 1:
        return 1
    return min(MOST, len(os.sched_getaffinity(0)))


def shared(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    here: Callable[[Item], bool],
    processes: int,
) -> list[Result]:
    """The results of the items, in their order; the process that is free takes the next item.

    Args:
        here: whether an item must not be done by a fork: an open database does not survive it.
        processes: this one counts.

    Raises:
        RuntimeError: a fork was ended before it was done, by the system's lack of memory, say.
    """
    first = [place for place, item in enumerate(items) if here(item)]
    rest = [place for place, item in enumerate(items) if not here(item)]
    count = min(processes - 1, len(rest))
    if count < 1:
        return [work(item) for item in items]
    context = multiprocessing.get_context("fork")
    taken = context.Value("i", 0)

    def done(places: Iterator[int]) -> list[tuple[int, Result]]:
        return [(place, work(items[place])) for place in places]

    def next_ones() -> Iterator[int]:
        while True:
            with taken.get_lock():
                number = taken.value
                taken.value += 1
            if number >= len(rest):
                return
            yield rest[number]

    def fork(pipe: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # this process ends its forks
        try:
            pipe.send(done(next_ones()))
        except Exception as error:  # noqa: BLE001 - it is raised again where it can be told
            pipe.send(error)

    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    forks = [context.Process(target=fork, args=(there,), daemon=True) for _, there in pipes]
    gc.collect()
    gc.freeze()  # a collection in a fork would touch, and so copy, all that is shared
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a database's idle threads are not forked
            for process in forks:
                process.start()
        for _, there in pipes:
            there.close()
        found = done(iter(first)) + done(next_ones())
        for (pipe, _), process in zip(pipes, forks, strict=True):
            found += _received(pipe, process)
    finally:
        gc.unfreeze()
        for process in forks:
            process.kill()
            process.join()
    return [result for _, result in sorted(found, key=lambda each: each[0])]


def _received(pipe: Any, process: Any) -> list[tuple[int, Any]]:
    try:
        answer = pipe.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"a process of this one ended with {process.exitcode} before it was done; was memory short?"
        ) from None
    if isinstance(answer, Exception):
        raise answer
    found: list[tuple[int, Any]] = answer
    return found
