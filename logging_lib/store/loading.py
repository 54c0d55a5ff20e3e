"""Load the events of files into a store: normalize them and set the time at which each arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

from logging_lib import profile
from logging_lib._util.times import format_instant, parse_instant
from logging_lib.logger import jsonlines
from logging_lib.logger.checks import Checker
from logging_lib.logger.jsonlines import Line
from logging_lib.normalize import MAX_AHEAD, Aliases, Checks, DeadLetter, normalize_line, refuse
from logging_lib.normalize.containers import join_lines
from logging_lib.schema import DEFAULT_NAMESPACE, data_stream
from logging_lib.store import mapping
from logging_lib.store.duckdb.files import OWN_FILE
from logging_lib.store.port import IndexResult

_BATCH = 10_000
_PROGRESS_LINES = 1000
_FIRST_LINES = 200
_ENOUGH_LINES = 5
"""In a file with fewer lines, a single damaged line may be the whole content."""
_NO_EVENT = frozenset(("not_json", "not_an_object", "no_model", "no_inputs"))


class JsonLinesWriter:
    """A writer of events as lines into the folder of an embedded store; it keeps only hashes of ids in memory.

    Use it as a context manager, and open an ``EmbeddedStore`` afterwards to read the events.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._seen: set[int] = set()

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        if target not in self._files:
            (self._folder / target).mkdir(exist_ok=True)
            self._files[target] = (self._folder / target / OWN_FILE).open("ab")
        lines = []
        received = 0
        for document in documents:
            received += 1
            mark = hash((target, document["event"]["id"]))
            if mark not in self._seen:
                self._seen.add(mark)
                lines.append(mapping.dumps(document) + b"\n")
        self._files[target].writelines(lines)
        return IndexResult(len(lines), received - len(lines))

    def refresh(self) -> None:
        for file in self._files.values():
            file.flush()

    def __enter__(self) -> JsonLinesWriter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for file in self._files.values():
            file.close()


class EventSink(Protocol):
    """The destination of ``load``: a store, or a ``JsonLinesWriter``."""

    def index(
        self, target: str, documents: Iterable[Mapping[str, Any]], *, now: datetime | None = None
    ) -> IndexResult: ...

    def refresh(self) -> None: ...


@dataclass
class LoadSummary:
    """The result of a load: the numbers of events, and of refused lines by reason."""

    events: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def reject_other_files(paths: Iterable[Path], aliases: Aliases | None = None) -> None:
    """Check by their first lines that files may contain events, before anything is written.

    Raises:
        FileNotFoundError: a path has no events; the message names it.
        ValueError: no file has an event among its first lines, and they have several; the message names their
            content.
    """
    reasons: Counter[str] = Counter()
    files = jsonlines.find_files(paths)
    for file in files:
        for line in islice(jsonlines.read_lines(file), _FIRST_LINES):
            normalized = normalize_line(line, aliases=aliases)
            if not isinstance(normalized, DeadLetter) or normalized.reason not in _NO_EVENT:
                return
            reasons[normalized.document["error"]["message"]] += 1
    if reasons.total() >= _ENOUGH_LINES:
        names = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
        lines = f"the first {reasons.total()} lines"
        raise ValueError(
            f"{names}: holds no events: none of {lines} is one ({reasons.most_common(1)[0][0]}); nothing was "
            "indexed. If events begin later, give the file without these lines"
        )


def load(
    store: EventSink,
    paths: Iterable[Path],
    *,
    now: datetime | None = None,
    profiles: Iterable[profile.Profile] = (),
    aliases: Aliases | None = None,
    keep_refused: bool = False,
    namespace: str = DEFAULT_NAMESPACE,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> LoadSummary:
    """Load the events of JSON-lines files into a store.

    Args:
        paths: files, or folders of ``*.jsonl``.
        now: when the events arrive; default: each at its ``event.ingested``, or at its own time without one.
        profiles: events of other loggers about their models are checked against them.
        aliases: where events of other loggers hold what the built-in names do not find.
        keep_refused: also store refused lines, in the dead-letter stream.
        namespace: the namespace of the data streams.
        progress: called with the bytes that were read and the bytes of all files.

    Raises:
        FileNotFoundError: a path has no events; the message names it.
    """
    loaded = LoadSummary()
    checkers = {(p.model, p.version): Checker(p, foreign=True) for p in profiles}
    waiting: dict[str, list[Mapping[str, Any]]] = {}
    dead_letters = data_stream("ml.deadletter", namespace) if keep_refused else None
    present = datetime.now(UTC)
    for document, arrived in _normalize_files(
        paths, now, present, lambda model, version: checkers.get((model, version)), aliases, progress
    ):
        if isinstance(document, DeadLetter):
            loaded.refused[document.reason] += 1
            if not keep_refused:
                continue
            document = document.document
        event = document["event"]
        event["ingested"] = format_instant(arrived)
        target = data_stream(event["dataset"], namespace)
        batch = waiting.setdefault(target, [])
        batch.append(document)
        if len(batch) >= _BATCH:
            _index_batch(store, target, batch, loaded, dead_letters)
            batch.clear()
    for target, batch in waiting.items():
        _index_batch(store, target, batch, loaded, dead_letters)
    store.refresh()
    return loaded


def _normalize_files(
    paths: Iterable[Path],
    now: datetime | None,
    present: datetime,
    checks: Checks,
    aliases: Aliases | None,
    progress: Callable[[int, int], object],
) -> Iterator[tuple[dict[str, Any] | DeadLetter, datetime]]:
    """Yield each line's event or dead letter, and the time of its arrival."""
    files = jsonlines.find_files(paths)
    sizes = [file.stat().st_size for file in files]
    for number, file in enumerate(files):
        for count, line in enumerate(join_lines(jsonlines.read_lines(file))):
            if count % _PROGRESS_LINES == 0:
                progress(sum(sizes[:number]) + line.offset, sum(sizes))
            normalized = normalize_line(line, now=now, checks=checks, aliases=aliases)
            if isinstance(normalized, DeadLetter):
                yield normalized, now or present
            elif now is not None:
                yield normalized.document, now
            else:
                arrived = _arrival_time(normalized.document, line, present)
                yield (
                    (arrived, present) if isinstance(arrived, DeadLetter) else (normalized.document, arrived)
                )


def _arrival_time(document: Mapping[str, Any], line: Line, present: datetime) -> datetime | DeadLetter:
    """Return when an event of the past arrived, or a dead letter if its times are not valid."""
    try:
        happened_at = parse_instant(document["@timestamp"])
    except ValueError:
        return _refuse_line(line, "timestamp", f"@timestamp is {document['@timestamp']!r:.80}")
    ingested = document["event"].get("ingested")
    try:
        if ingested is not None and not isinstance(ingested, str):
            raise ValueError(ingested)
        arrived = happened_at if ingested is None else parse_instant(ingested)
    except ValueError:
        return _refuse_line(
            line, "ingested", f"event.ingested is {ingested!r:.80}, which is not an ISO 8601 time"
        )
    if max(happened_at, arrived) > present + MAX_AHEAD:
        return _refuse_line(
            line, "future", f"{max(happened_at, arrived).isoformat()} is more than a day ahead"
        )
    return arrived


def _refuse_line(line: Line, reason: str, message: str) -> DeadLetter:
    letter = refuse(line.data, reason, message)
    letter.document["log"] = {"file": {"path": str(line.path)}, "offset": line.offset}
    return letter


def _index_batch(
    store: EventSink,
    target: str,
    batch: list[Mapping[str, Any]],
    loaded: LoadSummary,
    dead_letters: str | None,
) -> None:
    """Index a batch; store refused events as dead letters if there is a stream for them."""
    if not batch:
        return
    result = store.index(target, batch)
    if "deadletter" not in target:
        loaded.events += result.created
        if result.duplicates:
            loaded.refused["duplicate"] += result.duplicates
    if dead_letters is None or target == dead_letters:
        loaded.refused.update(reason for _, reason in result.failed)
        return
    by_id = {document["event"]["id"]: document for document in batch}
    letters = [
        refuse(by_id[identity], "mapping", reason, stage="index").document
        for identity, reason in result.failed
    ]
    for letter in letters:
        letter["@timestamp"] = letter["event"]["ingested"] = format_instant(datetime.now(UTC))
    if letters:
        loaded.refused["mapping"] += len(letters)
        store.index(dead_letters, letters)
