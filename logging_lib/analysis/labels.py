"""The truth that comes late: label events from files and streams, joined with the predictions they are about.

A label event has the prediction copied in, since Elasticsearch has no join; one for each prediction of the request,
live and shadow, of every version. Its id is made of the prediction and the truth, so whatever is done twice is
stored once: a run that was stopped is simply started again. A truth that changed is a new event; readers take
the latest.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import orjson

from logging_lib._util.times import format_instant, parse_instant
from logging_lib.analysis.samples import Selection
from logging_lib.logger.event import CachedPrediction, OutputEncoder, build_label
from logging_lib.profile.coerce import NA_VALUES, category_text, is_null, parse_scalar, to_python
from logging_lib.profile.model import Feature
from logging_lib.schema import DEFAULT_NAMESPACE, data_stream
from logging_lib.schema.fields import load
from logging_lib.store.history import STREAMS, output_of, scan_pages
from logging_lib.store.port import Store

Item = TypeVar("Item")
LABELS: Final = "logs-ml.label-*"
CHUNK: Final = 1000
_NUMBERS: Final = OutputEncoder(None)
_CLASSES: Final = OutputEncoder(Feature("output", "category"))
_PREDICTION: Final = (
    "@timestamp", "event.id", "ml.model", "ml.profile.id", "ml.request.id", "ml.prediction", "ml.sample.weight",
    "ml.subject.hash", "service.name", "service.environment",
)  # fmt: skip
_LABEL: Final = ("@timestamp", "ml.model.name", "ml.request.id", "ml.label.value", "ml.label.label")
_NA: Final = frozenset(NA_VALUES)


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a file are called; ``event``: with the prediction's event.id, if requests have none."""

    request: str = "request_id"
    actual: str = "actual"
    timestamp: str = "timestamp"
    model: str = "model"
    event: str = "event_id"


@dataclass(frozen=True, slots=True)
class Truth:
    """One row: a truth about a request, or about one event."""

    actual: Any
    at: str
    model: str | None
    request: str | None
    event: str | None = None


@dataclass
class Done:
    """What became of the rows.

    Attributes:
        rows: that were read.
        joined: label events written with their prediction.
        known: that were there already.
        waiting: rows whose prediction is not there (yet); kept without it where they came from outside.
        refused: (row or id, reason).
    """

    rows: int = 0
    joined: int = 0
    known: int = 0
    waiting: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "joined": self.joined,
            "known": self.known,
            "waiting": self.waiting,
            "refused": [{"what": what, "reason": reason} for what, reason in self.refused],
        }


def rows_of(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a ``.csv`` (or ``.csv.gz``), ``.parquet`` or ``.jsonl`` file, one after the other.

    Raises:
        ValueError: another format, or a line that is no JSON object.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if ".csv" in suffixes:
        with (
            gzip.open(path, "rb") if suffixes[-1] == ".gz" else path.open("rb") as file,
            io.TextIOWrapper(file, "utf-8-sig", newline="") as text,
        ):
            yield from csv.DictReader(text)
    elif suffixes[-1:] in ([".parquet"], [".pq"]):
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=CHUNK):
                yield from batch.to_pylist()
    elif suffixes[-1:] in ([".jsonl"], [".ndjson"], [".json"]):
        with path.open("rb") as file:
            yield from _parsed(file, str(path))
    else:
        raise ValueError(f"{path}: unknown format; give a .csv, .parquet or .jsonl file, or - for JSON lines")


def lines_of(stream: IO[bytes]) -> Iterator[list[Mapping[str, Any]]]:
    """JSON lines as they arrive: a list of what is there, without waiting for more."""
    read = getattr(stream, "read1", stream.read)
    rest, number = b"", 0
    while block := read(1 << 16):
        *whole, rest = (rest + block).split(b"\n")
        yield list(_parsed(whole, "standard input", number))
        number += len(whole)
    if rest.strip():
        yield list(_parsed([rest], "standard input", number))


def ingest(
    store: Store,
    rows: Iterable[Mapping[str, Any]],
    *,
    now: datetime,
    model: str | None = None,
    columns: Columns | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    advance: Callable[[int], None] = lambda number: None,
) -> Done:
    """Write label events for truths that came from outside.

    Args:
        rows: each with the request's id and the truth, and, where it has them, the model and when it became known.
        now: the time of those that do not say when.
        model: of the rows that name none. Without it a label whose prediction is not there yet cannot be kept.
        namespace: of the label stream.
        advance: called with the number of rows that were processed.
    """
    done = Done()
    names = columns or Columns()
    for chunk in chunks(rows):
        truths = []
        for row in chunk:
            done.rows += 1
            made = _truth(row, names, model, now)
            if isinstance(made, str):
                done.refused.append((f"row {done.rows}", made))
            else:
                truths.append(made)
        _write(store, truths, done, now=now, namespace=namespace, keep=True)
        advance(len(chunk))
    store.refresh()
    return done


def join(
    store: Store,
    *,
    now: datetime,
    selection: Selection | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    advance: Callable[[int], None] = lambda number: None,
) -> Done:
    """Join the labels of the store with predictions that they have no event for: because the service had
    forgotten the prediction, because it arrived later, or because a shadow model answered, too.

    Args:
        selection: of the labels, by model and time.
        advance: called with the number of labels that were processed.
    """
    done = Done()
    query = (selection or Selection()).query()
    for page in scan_pages(store, LABELS, query, source=_LABEL, page=CHUNK):
        truths = []
        for hit in page:
            ml = hit["_source"]["ml"]
            request, actual = (ml.get("request") or {}).get("id"), output_of(ml.get("label") or {})
            if request is not None and actual is not None:
                truths.append(Truth(actual, hit["_source"]["@timestamp"], ml["model"]["name"], request))
        done.rows += len(page)
        _write(store, truths, done, now=now, namespace=namespace, keep=False)
        advance(len(page))
    store.refresh()
    return done


def chunks(items: Iterable[Item], size: int = CHUNK) -> Iterator[list[Item]]:
    """Lists of up to ``size`` items, as ``itertools.batched`` of Python 3.12."""
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def _parsed(lines: Iterable[bytes], source: str, before: int = 0) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, before + 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{source}: line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{source}: line {number}: expected an object, found {type(row).__name__}")
        yield row


def _truth(row: Mapping[str, Any], names: Columns, model: str | None, now: datetime) -> Truth | str:
    """The row's truth, or what is wrong with it."""
    actual = to_python(row.get(names.actual))
    if names.actual not in row:
        return f"has no column {names.actual!r}; say which it is with --actual"
    if is_null(actual) or (isinstance(actual, str) and actual.strip() in _NA):
        return f"{names.actual} is empty"
    if not isinstance(actual, str | int | float):
        return f"{names.actual} is neither a number nor a class: {actual!r:.60}"
    request, event = (_text(row.get(name)) for name in (names.request, names.event))
    if request is None and event is None:
        return f"has neither {names.request!r} nor {names.event!r}; say which column it is with --request-id"
    at = to_python(row.get(names.timestamp))
    try:
        if is_null(at) or at == "":
            moment = now
        elif isinstance(at, datetime):
            moment = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        else:
            moment = parse_instant(str(at))
    except ValueError:
        return f"{names.timestamp}: {at!r:.60} is no ISO 8601 time"
    return Truth(actual, format_instant(moment), _text(row.get(names.model)) or model, request, event)


def _text(value: Any) -> str | None:
    return None if is_null(value) else category_text(to_python(value)) or None


def _write(
    store: Store, truths: list[Truth], done: Done, *, now: datetime, namespace: str, keep: bool
) -> None:
    """Label events for all predictions of these truths; where there is none, one without where ``keep``."""
    if not truths:
        return
    by_request: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for hit in _found(store, truths):
        source = hit["_source"]
        by_request.setdefault(("event", source["event"]["id"]), []).append(source)
        if request := (source["ml"].get("request") or {}).get("id"):
            by_request.setdefault(("request", request), []).append(source)
    wanted: dict[str, dict[str, Any]] = {}
    said: dict[tuple[str, str], str] = {}  # (prediction, time) → the label event
    for truth in truths:
        key = ("event", truth.event) if truth.event is not None else ("request", truth.request or "")
        sources = [
            source
            for source in by_request.get(key, ())
            if truth.model is None or source["ml"]["model"]["name"] == truth.model
        ]
        for source in sources:
            event = joined(truth, source)
            identity = event["event"]["id"]
            before = said.setdefault((source["event"]["id"], truth.at), identity)
            if keep and before != identity and wanted.pop(before, None) is not None:
                done.refused.append(
                    (
                        truth.request or truth.event or "",
                        "another row says otherwise of the same time: the last one counts",
                    )
                )
            said[source["event"]["id"], truth.at] = identity
            wanted[identity] = event
        if not sources:
            done.waiting += 1
            if keep and truth.model is None:
                done.refused.append(
                    (
                        truth.request or truth.event or "",
                        "no such prediction, and no model is named: give --model",
                    )
                )
            elif keep and truth.request is not None:
                event = unjoined(truth)
                wanted[event["event"]["id"]] = event
    there = _there(store, wanted.values())
    new = [event for identity, event in wanted.items() if identity not in there and _key(event) not in there]
    result = store.index(data_stream("ml.label", namespace), new, now=now)
    failed = {identity for identity, _ in result.failed}
    written = sum(event["ml"]["label"]["joined"] for event in new if event["event"]["id"] not in failed)
    done.joined += written - min(written, result.duplicates)
    done.known += len(wanted) - len(new) + result.duplicates
    done.refused += result.failed
    store.refresh()


def joined(truth: Truth, prediction: Mapping[str, Any]) -> dict[str, Any]:
    """The label event of a truth about a stored prediction event; pure."""
    ml = prediction["ml"]
    output = ml.get("prediction") or {}
    actual: Any = truth.actual
    if "label" in output:
        text = category_text(actual) if isinstance(actual, str) and actual == output["label"] else None
        actual, reader = text or category_text(parse_scalar(actual)) or str(actual), _CLASSES
    else:
        actual, reader = parse_scalar(actual), _NUMBERS
    known = CachedPrediction(prediction["event"]["id"], prediction["@timestamp"], output)
    made = build_label(actual, known, reader, truth.at)
    for key in ("sample", "subject", "profile", "request"):
        if ml.get(key):
            made[key] = ml[key]
    event = _event(truth, ml["model"], made, f"{known.event_id}")
    if prediction.get("service"):
        event["service"] = prediction["service"]
    return event


def unjoined(truth: Truth) -> dict[str, Any]:
    """The label event of a truth whose prediction is not known; pure."""
    made = build_label(parse_scalar(truth.actual), None, _NUMBERS, truth.at)
    made["request"] = {"id": truth.request}
    return _event(truth, {"name": truth.model}, made, f"request {truth.request}")


def _event(truth: Truth, model: Mapping[str, Any], made: Mapping[str, Any], about: str) -> dict[str, Any]:
    schema = load()
    actual = output_of(made["label"])
    content = orjson.dumps([model.get("name"), about, actual if isinstance(actual, str) else float(actual)])
    return {
        "@timestamp": truth.at,
        "message": "label",
        "ecs": {"version": schema.ecs_version},
        "event": {
            "id": f"label-{blake2b(content, digest_size=16).hexdigest()}",
            "kind": "event",
            "dataset": "ml.label",
        },
        "ml": {"schema_version": schema.schema_version, "model": dict(model), **made},
    }


def _key(event: Mapping[str, Any]) -> tuple[str, Any]:
    """A prediction and a truth about it, whoever wrote the event."""
    return (event["ml"].get("prediction") or {}).get("id", ""), output_of(event["ml"]["label"])


def _found(store: Store, truths: list[Truth]) -> Iterator[dict[str, Any]]:
    """The predictions of these requests and events."""
    for name, values in (
        ("ml.request.id", {truth.request for truth in truths if truth.event is None and truth.request}),
        ("event.id", {truth.event for truth in truths if truth.event}),
    ):
        if values:
            query = {"bool": {"filter": [{"terms": {name: sorted(values)}}]}}
            for page in scan_pages(store, STREAMS, query, source=_PREDICTION):
                yield from page


def _there(store: Store, events: Iterable[Mapping[str, Any]]) -> set[Any]:
    """Ids of these events that are there, and (prediction, truth) of those that others wrote."""
    given = list(events)
    if not given:
        return set()
    ids = sorted(event["event"]["id"] for event in given)
    about = sorted({key for event in given if (key := _key(event)[0])})
    either = [{"terms": {"event.id": ids}}]
    if about:
        either.append({"terms": {"ml.prediction.id": about}})
    query = {"bool": {"should": either, "minimum_should_match": 1}}
    found: set[Any] = set()
    for page in scan_pages(store, LABELS, query, source=["event.id", "ml.prediction.id", "ml.label"]):
        for hit in page:
            source = hit["_source"]
            found.add(source["event"]["id"])
            if _key(source)[0]:
                found.add(_key(source))
    return found
