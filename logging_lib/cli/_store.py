"""Opening stores and filling them, for the command groups that need one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from logging_lib import profile
from logging_lib.capture import reading
from logging_lib.capture.checks import Checker
from logging_lib.normalize import Checks, DeadLetter, Event, normalize_line
from logging_lib.store.embedded import EmbeddedStore
from logging_lib.store.port import Store, StoreError
from logging_lib.watch.times import format_instant, parse_instant

_BATCH = 10_000


def open_store(directory: Path | None, *, read_only: bool = False) -> Store:
    """The embedded store over a folder, or in memory.

    Raises:
        StoreError: when the folder does not exist: an empty store would answer that all is well.
    """
    if directory is not None and not directory.is_dir():
        raise StoreError(f"{directory}: no such folder; give the folder that the events were stored in")
    return EmbeddedStore(directory, read_only=read_only)


def publish(store: Store, files: Iterable[Path]) -> None:
    """Put profiles where watches look for them.

    Raises:
        ProfileError: when a file is no profile.
        StoreError: when the store refuses one.
    """
    documents = [profile.document(profile.load(file)) for file in files]
    if documents:
        result = store.index("ml-profiles", documents)
        if result.failed:
            raise StoreError(f"ml-profiles: {result.failed[0][0]}: {result.failed[0][1]}")


@dataclass
class Loaded:
    """What ``load`` found: events by stream, the span of their arrival, and what was refused, by reason."""

    events: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None


def load(
    store: Store,
    paths: Iterable[Path],
    *,
    now: datetime | None = None,
    profiles: Iterable[profile.Profile] = (),
    keep_refused: bool = False,
) -> Loaded:
    """Put the events of JSON-lines files into a store.

    Args:
        paths: files, or folders of ``*.jsonl``.
        now: when they arrive; default: each at its ``event.ingested``, or where it has none when it happened.
        profiles: foreign events of their models are checked against them.
        keep_refused: put what is refused into the dead-letter stream, too.

    Raises:
        FileNotFoundError: naming the path that holds no events.
    """
    loaded = Loaded()
    checkers = {(p.model, p.version): Checker(p, foreign=True) for p in profiles}
    waiting: dict[str, list[Mapping[str, Any]]] = {}
    for made in _normalized(paths, now, lambda model, version: checkers.get((model, version))):
        if isinstance(made, DeadLetter):
            loaded.refused[made.reason] += 1
            if not keep_refused:
                continue
        target, document = _arrived(made.document, now, loaded)
        batch = waiting.setdefault(target, [])
        batch.append(document)
        if len(batch) >= _BATCH:
            _index(store, target, batch, loaded)
            batch.clear()
    for target, batch in waiting.items():
        _index(store, target, batch, loaded)
    store.refresh()
    return loaded


def _normalized(paths: Iterable[Path], now: datetime | None, checks: Checks) -> Iterator[Event | DeadLetter]:
    for file in reading.files(paths):
        for line in reading.lines(file):
            yield normalize_line(line, now=now, checks=checks)


def _arrived(document: dict[str, Any], now: datetime | None, loaded: Loaded) -> tuple[str, dict[str, Any]]:
    event = document["event"]
    arrived = now or parse_instant(event.get("ingested") or document["@timestamp"])
    event["ingested"] = format_instant(arrived)
    loaded.first = arrived if loaded.first is None else min(loaded.first, arrived)
    loaded.last = arrived if loaded.last is None else max(loaded.last, arrived)
    return f"logs-{event['dataset']}-default", document


def _index(store: Store, target: str, batch: list[Mapping[str, Any]], loaded: Loaded) -> None:
    if batch:
        result = store.index(target, batch)
        loaded.events += result.created if "deadletter" not in target else 0
        loaded.refused.update(reason for _, reason in result.failed)
        if result.duplicates:
            loaded.refused["duplicate"] += result.duplicates
