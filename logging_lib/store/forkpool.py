"""Share work among this process and its forks, which see everything that it has read without a copy."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_PLACE_BYTES = 4  # bytes of a place
_QUEUE_CAPACITY = 16_000  # places that a pipe takes at once
MAX_PROCESSES = (
    4  # each process keeps what it makes of the events: more of them need more memory than they save time
)


def available_processes() -> int:
    """Return how many processes may work at once: one if forking is not safe, as with other threads running."""
    if sys.platform != "linux" or threading.active_count() > 1 or multiprocessing.current_process().daemon:
        return 1
    return min(MAX_PROCESSES, len(os.sched_getaffinity(0)))


def map_forked(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    here: Callable[[Item], bool],
    processes: int,
) -> list[Result]:
    """Return the results of the items, in their order; the next free process takes the next item.

    Args:
        here: whether this process must do an item, because an open database does not survive a fork.
        processes: the number of processes including this one; there are fewer if the system refuses more.

    Raises:
        RuntimeError: a fork ended before it was done, for lack of memory, for example.
    """
    first = [place for place, item in enumerate(items) if here(item)]
    rest = [place for place, item in enumerate(items) if not here(item)]
    count = min(processes - 1, len(rest))
    if count < 1 or len(rest) > _QUEUE_CAPACITY:
        return [work(item) for item in items]

    def done(places: Iterable[int]) -> list[tuple[int, Result]]:
        return [(place, work(items[place])) for place in places]

    waiting, parent = _queue_places(rest), os.getpid()
    forks: list[_Fork] = []
    gc.collect()
    gc.freeze()  # a collection in a fork would touch, and so copy, everything that is shared
    try:
        for _ in range(count):
            fork = _fork(lambda: done(_next_places(waiting, parent)), forks)
            if fork is None:
                break
            forks.append(fork)
        numbered_results = done(first) + done(_next_places(waiting, parent))
        for fork in forks:
            numbered_results += _receive(fork)
    finally:
        gc.unfreeze()
        os.close(waiting)
        for fork in forks:
            fork.process.kill()
            fork.process.join()
            fork.results.close()
    return [result for _, result in sorted(numbered_results, key=lambda numbered: numbered[0])]


def _queue_places(places: Sequence[int]) -> int:
    """Return a pipe to read places from: the system gives each place to one reader, and no lock can be left
    behind."""
    reading, writing = os.pipe()
    os.write(writing, b"".join(place.to_bytes(_PLACE_BYTES, "big") for place in places))
    os.close(writing)
    return reading


def _next_places(waiting: int, parent: int) -> Iterator[int]:
    """Yield places that no process has taken; stop in a fork whose first process is gone."""
    while parent in (os.getpid(), os.getppid()) and (place := os.read(waiting, _PLACE_BYTES)):
        yield int.from_bytes(place, "big")


@dataclass(frozen=True)
class _Fork:
    process: Any
    results: Any


def _fork(work: Callable[[], Any], others: Sequence[_Fork]) -> _Fork | None:
    """Start a process that does the work and sends its result; return None if the system refuses one."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def run() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends its forks
        here.close()  # so that the end of the first process is an error to `send`
        for other in others:
            other.results.close()
        try:
            answer = work()
        except Exception as error:  # noqa: BLE001 - it is raised again in the first process
            answer = error
        with suppress(OSError):
            there.send(answer)

    process = context.Process(target=run, daemon=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a database's idle threads are not forked
            process.start()
    except OSError:
        here.close()
        return None
    finally:
        there.close()
    return _Fork(process, here)


def _receive(fork: _Fork) -> list[tuple[int, Any]]:
    try:
        answer = fork.results.recv()
    except EOFError:
        fork.process.join()
        raise RuntimeError(
            f"a process of this one ended with {fork.process.exitcode} before it was done; was memory short?"
        ) from None
    if isinstance(answer, Exception):
        raise answer
    numbered_results: list[tuple[int, Any]] = answer
    return numbered_results
