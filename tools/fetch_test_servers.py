"""``make servers``: fetch the servers that the tests start, once: Elasticsearch, JRuby and Chromium.

``make slow-servers`` (``--slow``) also fetches what only the slow tests start: an old Elasticsearch with Watcher.

Servers that this machine cannot run are listed with the reason. That is not a failure: their tests are skipped.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tests import browser, cache, elasticsearch_server, jruby, watcher_server
from tests.cache import Unavailable

LINE_SECONDS = 15.0
OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Fetchable:
    """A server to fetch; ``size`` is that of the download in bytes, None if only its client knows it."""

    name: str
    is_fetched: Callable[[], bool]
    fetch: Callable[[OnProgress], None]
    size: int | None


SERVERS = (
    Fetchable(
        "Elasticsearch",
        elasticsearch_server.is_fetched,
        elasticsearch_server.fetch,
        elasticsearch_server.PACKAGE.size,
    ),
    Fetchable("JRuby", jruby.is_fetched, jruby.fetch, jruby.SIZE),
    Fetchable("Chromium", lambda: browser.find() is not None, lambda _: browser.install(), None),
)
SLOW_SERVERS = (
    Fetchable("Watcher", watcher_server.is_fetched, watcher_server.fetch, watcher_server.PACKAGE.size),
)


def main(arguments: Sequence[str] = ()) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that Maven ends as well
    for server in (*SERVERS, *SLOW_SERVERS) if "--slow" in arguments else SERVERS:
        if server.is_fetched():
            continue
        try:
            with cache.lock():
                _fetch(server)
        except (Unavailable, OSError) as reason:
            print(f"{server.name} is left out, and tests that need it will be skipped: {reason}", flush=True)
    return 0


def _fetch(server: Fetchable) -> None:
    console = Console()
    print(f"{server.name} is not on this machine yet: fetching it, once ...", flush=True)
    if server.size is None:
        server.fetch(lambda _: None)
    elif not console.is_terminal:
        server.fetch(_Lines(server.name, server.size))
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            bar = progress.add_task(f"{server.name}", total=server.size)
            server.fetch(lambda size: progress.update(bar, completed=size))


class _Lines:
    """Progress for a log: a line for every tenth, and at least one every quarter of a minute."""

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self._tenth, self._at = -1, 0.0

    def __call__(self, done: int) -> None:
        tenth = done * 10 // self._size
        if tenth == self._tenth and time.monotonic() < self._at + LINE_SECONDS:
            return
        self._tenth, self._at = tenth, time.monotonic()
        megabytes = f"{done / 1e6:.0f} of {self._size / 1e6:.0f} MB"
        print(f"{self._name}: {megabytes}, {done / self._size:.0%}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
