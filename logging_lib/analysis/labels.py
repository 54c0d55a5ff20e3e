"""Join labels that arrive late, from files and streams, with the predictions they are about.

Elasticsearch has no join, so a label event contains a copy of its prediction. There is one label event for each
prediction of the request: live and shadow, of every version. Its id is derived from the prediction and the actual
value, so repeated work is stored once, and a run that was stopped can be started again. A changed actual value is a
new event; readers take the latest.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import orjson

from logging_lib._util.times import format_instant
from logging_lib.analysis.known_classes import KnownClasses, actual_of
from logging_lib.analysis.samples import Selection
from logging_lib.logger.event import CachedPrediction, build_label
from logging_lib.logger.output import OutputEncoder
from logging_lib.profile.coerce import NA_VALUES, category_text, is_null, parse_scalar, to_python
from logging_lib.profile.model import Feature
from logging_lib.profile.separators import find_separator, is_csv, open_binary
from logging_lib.profile.timestamps import parse_timestamp
from logging_lib.schema import DEFAULT_NAMESPACE, data_stream
from logging_lib.schema.fields import load
from logging_lib.store.history import STREAMS, scan_pages
from logging_lib.store.port import Store

Item = TypeVar("Item")
LABELS: Final = "logs-ml.label-*"
CHUNK: Final = 1000
_FIRST_ROWS: Final = 100
_NUMBERS: Final = OutputEncoder(None)
_CLASSES: Final = OutputEncoder(Feature("output", "category"))
_LABELS: Final = OutputEncoder(Feature("output", "category", multiple=True))
_PREDICTION: Final = (
    "@timestamp", "event.id", "ml.model", "ml.profile.id", "ml.request.id", "ml.prediction", "ml.sample.weight",
    "ml.subject.hash", "service.name", "service.environment",
)  # fmt: skip
_LABEL: Final = (
    "@timestamp",
    "ml.model.name",
    "ml.request.id",
    "ml.label.value",
    "ml.label.label",
    "ml.label.labels",
)
_NA: Final = frozenset(NA_VALUES)


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a file's columns; ``event`` holds the prediction's event.id, if requests have no id."""

    request: str = "request_id"
    actual: str = "actual"
    timestamp: str = "timestamp"
    model: str = "model"
    event: str = "event_id"


@dataclass(frozen=True, slots=True)
class Label:
    """The actual value of one row, for a request or for an event: a number, a class, or a list of labels."""

    actual: Any
    at: str
    model: str | None
    request: str | None
    event: str | None = None


@dataclass
class Done:
    """Counts of processed rows.

    Attributes:
        rows: rows that were read.
        joined: label events written with their prediction.
        known: label events that were already stored.
        waiting: rows whose prediction is not stored yet; labels from outside are stored without it.
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
    """Yield the rows of a ``.csv`` or ``.tsv`` (also ``.gz``), ``.parquet`` or ``.jsonl`` file, one by one.

    Raises:
        ValueError: the file has another format, or a line is not a JSON object.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if is_csv(path):
        separator = find_separator(path)
        with open_binary(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
            yield from csv.DictReader(text, delimiter=separator)
    elif suffixes[-1:] in ([".parquet"], [".pq"]):
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=CHUNK):
                yield from batch.to_pylist()
    elif suffixes[-1:] in ([".jsonl"], [".ndjson"], [".json"]):
        with path.open("rb") as file:
            yield from _parse_lines(file, str(path))
    else:
        raise ValueError(f"{path}: unknown format; give a .csv, .parquet or .jsonl file, or - for JSON lines")


def check_columns(
    rows: Iterable[Mapping[str, Any]], columns: Columns, source: str
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows after checking that one of the first ones has the columns that a label needs.

    Raises:
        ValueError: no row has them; names the columns that exist, and the option that selects one.
    """
    remaining = iter(rows)
    first = list(islice(remaining, _FIRST_ROWS))
    keys = dict.fromkeys(key for row in first for key in row)
    listed = ", ".join(map(str, list(keys)[:20]))
    if first and columns.actual not in keys:
        raise ValueError(
            f"{source}: there is no column {columns.actual!r}; columns: {listed}; name that of the actual "
            "values with --actual"
        )
    if first and columns.request not in keys and columns.event not in keys:
        raise ValueError(
            f"{source}: has neither {columns.request!r} nor {columns.event!r}; columns: {listed}; say which column "
            "it is with --request-id or --event-id"
        )
    yield from first
    yield from remaining


def lines_of(stream: IO[bytes]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield JSON lines as they arrive: lists of the lines available without waiting for more."""
    read = getattr(stream, "read1", stream.read)
    remainder, number = b"", 0
    while block := read(1 << 16):
        *complete, remainder = (remainder + block).split(b"\n")
        yield list(_parse_lines(complete, "standard input", number))
        number += len(complete)
    if remainder.strip():
        yield list(_parse_lines([remainder], "standard input", number))


def ingest(
    store: Store,
    rows: Iterable[Mapping[str, Any]],
    *,
    now: datetime,
    model: str | None = None,
    columns: Columns | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    new_classes: bool = False,
    advance: Callable[[int], None] = lambda number: None,
) -> Done:
    """Write label events for actual values from outside.

    A label is refused if its class is not in the model's published profile: it is usually another spelling, and
    would count as a wrong answer. Of several labels, one must be in the profile.

    Args:
        rows: each has the request's id and the actual value (several labels are a list, or JSON of one) and,
            optionally, the model and the time at which the value became known.
        now: the time used for rows without one.
        model: the model of rows that name none. Without it, a label whose prediction is not stored yet is refused.
        namespace: the namespace of the label stream.
        new_classes: also write labels of classes that the model does not have.
        advance: called with the number of rows that were processed.
    """
    outcome = Done()
    names = columns or Columns()
    classes = KnownClasses(None if new_classes else store)
    for chunk in chunks(rows):
        labels = []
        for row in chunk:
            outcome.rows += 1
            label = _read_label(row, names, model, now)
            if isinstance(label, str):
                outcome.refused.append((f"row {outcome.rows}", label))
            else:
                labels.append(label)
        _write(store, labels, outcome, classes, now=now, namespace=namespace, keep=True)
        advance(len(chunk))
    store.refresh()
    return outcome


def join(
    store: Store,
    *,
    now: datetime,
    selection: Selection | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    new_classes: bool = False,
    advance: Callable[[int], None] = lambda number: None,
) -> Done:
    """Join the store's labels with predictions that have no label event yet: the service had forgotten the
    prediction, it arrived later, or a shadow model answered as well.

    A label is refused for the same reasons as by ``ingest``, because only its prediction says which
    model version it is about.

    Args:
        selection: selects labels by model and time.
        new_classes: also join labels of classes that the model does not have.
        advance: called with the number of labels that were processed.
    """
    outcome = Done()
    classes = KnownClasses(None if new_classes else store)
    query = (selection or Selection()).query()
    for page in scan_pages(store, LABELS, query, source=_LABEL, page=CHUNK):
        labels = []
        for hit in page:
            ml = hit["_source"]["ml"]
            request, actual = (ml.get("request") or {}).get("id"), actual_of(ml.get("label") or {})
            if request is not None and actual is not None:
                labels.append(Label(actual, hit["_source"]["@timestamp"], ml["model"]["name"], request))
        outcome.rows += len(page)
        _write(store, labels, outcome, classes, now=now, namespace=namespace, keep=False)
        advance(len(page))
    store.refresh()
    return outcome


def chunks(items: Iterable[Item], size: int = CHUNK) -> Iterator[list[Item]]:
    """Yield lists of up to ``size`` items, like ``itertools.batched`` of Python 3.12."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def _parse_lines(lines: Iterable[bytes], source: str, before: int = 0) -> Iterator[Mapping[str, Any]]:
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


def _read_label(row: Mapping[str, Any], names: Columns, model: str | None, now: datetime) -> Label | str:
    """Read the row's label, or say what is wrong with it."""
    actual = to_python(row.get(names.actual))
    if names.actual not in row:
        return f"there is no column {names.actual!r}; name it with --actual"
    if isinstance(actual, list | tuple | set | frozenset) or hasattr(actual, "tolist"):
        actual = _read_list(actual)
    elif is_null(actual) or (isinstance(actual, str) and actual.strip() in _NA):
        return f"{names.actual} is empty"
    if not isinstance(actual, str | int | float | list):
        return f"{names.actual} is neither a number, a class nor a list of labels: {row[names.actual]!r:.60}"
    request, event = (_text(row.get(name)) for name in (names.request, names.event))
    if request is None and event is None:
        return f"has neither {names.request!r} nor {names.event!r}; say which column it is with --request-id"
    at = to_python(row.get(names.timestamp))
    moment = now if is_null(at) or at == "" else parse_timestamp(at)
    if moment is None:
        return f"{names.timestamp}: {at!r:.60} is not a time; give ISO 8601 or a number since 1970"
    return Label(actual, format_instant(moment), _text(row.get(names.model)) or model, request, event)


def _read_list(values: Any) -> list[str] | None:
    """Read several labels, sorted, each once; None if one of them is no label."""
    items = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(items, list | tuple | set | frozenset):
        return None
    texts = [category_text(to_python(item)) for item in items if isinstance(item, str | int | float)]
    labels = {text for text in texts if text is not None}
    return None if len(texts) < len(items) or None in texts else sorted(labels)


def _text(value: Any) -> str | None:
    return None if is_null(value) else category_text(to_python(value)) or None


def _write(
    store: Store,
    labels: list[Label],
    outcome: Done,
    classes: KnownClasses,
    *,
    now: datetime,
    namespace: str,
    keep: bool,
) -> None:
    """Write label events for all predictions of these labels; without any, the label alone if ``keep``."""
    if not labels:
        return
    by_request: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for hit in _find_predictions(store, labels):
        source = hit["_source"]
        by_request.setdefault(("event", source["event"]["id"]), []).append(source)
        if request := (source["ml"].get("request") or {}).get("id"):
            by_request.setdefault(("request", request), []).append(source)
    events: dict[str, dict[str, Any]] = {}
    latest: dict[tuple[str, str], str] = {}  # (prediction, time) → the label event
    refused: list[tuple[dict[str, Any], str]] = []  # the event that would be written, and why it is not
    for label in labels:
        key = ("event", label.event) if label.event is not None else ("request", label.request or "")
        sources = [
            source
            for source in by_request.get(key, ())
            if label.model is None or source["ml"]["model"]["name"] == label.model
        ]
        refusals = []
        for source in sources:
            event = build_joined_event(label, source)
            reason = classes.refuse(event["ml"]["label"], source["ml"]["model"])
            if (
                isinstance(label.actual, list)
                and (source["ml"].get("prediction") or {}).get("value") is not None
            ):
                reason = f"{label.actual!r:.60} are several labels, and the prediction is a number"
            if reason:
                refusals.append((event, reason))
                continue
            identity = event["event"]["id"]
            earlier = latest.setdefault((source["event"]["id"], label.at), identity)
            if keep and earlier != identity and events.pop(earlier, None) is not None:
                outcome.refused.append(
                    (
                        label.request or label.event or "",
                        "another row says otherwise of the same time: the last one counts",
                    )
                )
            latest[source["event"]["id"], label.at] = identity
            events[identity] = event
        if refusals and len(refusals) == len(sources):
            refused.append(refusals[0])
        if not sources:
            outcome.waiting += 1
            if keep and label.model is None:
                outcome.refused.append(
                    (
                        label.request or label.event or "",
                        "no such prediction, and no model is named: give --model",
                    )
                )
            elif keep and label.request is not None:
                event = build_unjoined_event(label)
                events[event["event"]["id"]] = event
    indexed = _find_indexed(store, [*events.values(), *(event for event, _ in refused)])
    for event, reason in refused:
        if event["event"]["id"] in indexed or _key(event) in indexed:  # kept before, by another rule
            outcome.known += 1
        else:
            about = (event["ml"].get("request") or {}).get("id") or event["ml"]["prediction"]["id"]
            outcome.refused.append((about, reason))
    new = [
        event for identity, event in events.items() if identity not in indexed and _key(event) not in indexed
    ]
    result = store.index(data_stream("ml.label", namespace), new, now=now)
    failed = {identity for identity, _ in result.failed}
    written = sum(event["ml"]["label"]["joined"] for event in new if event["event"]["id"] not in failed)
    outcome.joined += written - min(written, result.duplicates)
    outcome.known += len(events) - len(new) + result.duplicates
    outcome.refused += result.failed
    store.refresh()


def build_joined_event(label: Label, prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Build the event of a label with a stored prediction; pure."""
    ml = prediction["ml"]
    output = ml.get("prediction") or {}
    actual: Any = label.actual
    if "labels" in output or isinstance(actual, list):
        actual, reader = _split_labels(actual), _LABELS
    elif "label" in output:
        text = category_text(actual) if isinstance(actual, str) and actual == output["label"] else None
        actual, reader = text or category_text(parse_scalar(actual)) or str(actual), _CLASSES
    else:
        actual, reader = parse_scalar(actual), _NUMBERS
    cached = CachedPrediction(prediction["event"]["id"], prediction["@timestamp"], output)
    fields = build_label(actual, cached, reader, label.at)
    for key in ("sample", "subject", "profile", "request"):
        if ml.get(key):
            fields[key] = ml[key]
    event = _build_event(label, ml["model"], fields, f"{cached.event_id}")
    if prediction.get("service"):
        event["service"] = prediction["service"]
    return event


def _split_labels(actual: Any) -> Any:
    """Return the labels of a text that is a JSON list, as a CSV file has them; anything else is one label."""
    try:
        labels = _read_list(orjson.loads(actual)) if isinstance(actual, str) else None
    except orjson.JSONDecodeError:
        labels = None
    return actual if labels is None else labels


def build_unjoined_event(label: Label) -> dict[str, Any]:
    """Build the event of a label whose prediction is not stored; pure."""
    reader = _LABELS if isinstance(label.actual, list) else _NUMBERS
    fields = build_label(parse_scalar(label.actual), None, reader, label.at)
    fields["request"] = {"id": label.request}
    return _build_event(label, {"name": label.model}, fields, f"request {label.request}")


def _build_event(
    label: Label, model: Mapping[str, Any], fields: Mapping[str, Any], about: str
) -> dict[str, Any]:
    schema = load()
    actual = actual_of(fields["label"])
    content = orjson.dumps(
        [model.get("name"), about, actual if isinstance(actual, str | list) else float(actual)]
    )
    return {
        "@timestamp": label.at,
        "message": "label",
        "ecs": {"version": schema.ecs_version},
        "event": {
            "id": f"label-{blake2b(content, digest_size=16).hexdigest()}",
            "kind": "event",
            "dataset": "ml.label",
        },
        "ml": {"schema_version": schema.schema_version, "model": dict(model), **fields},
    }


def _key(event: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the prediction and its actual value, regardless of who wrote the event."""
    actual = actual_of(event["ml"]["label"])
    return (
        (event["ml"].get("prediction") or {}).get("id", ""),
        tuple(actual) if isinstance(actual, list) else actual,
    )


def _find_predictions(store: Store, labels: list[Label]) -> Iterator[dict[str, Any]]:
    """Find the predictions of these requests and events."""
    for name, values in (
        ("ml.request.id", {label.request for label in labels if label.event is None and label.request}),
        ("event.id", {label.event for label in labels if label.event}),
    ):
        if values:
            query = {"bool": {"filter": [{"terms": {name: sorted(values)}}]}}
            for page in scan_pages(store, STREAMS, query, source=_PREDICTION):
                yield from page


def _find_indexed(store: Store, events: Iterable[Mapping[str, Any]]) -> set[Any]:
    """Find the ids of these events that are indexed, and the (prediction, actual) pairs that others wrote."""
    event_list = list(events)
    if not event_list:
        return set()
    ids = sorted(event["event"]["id"] for event in event_list)
    predictions = sorted({key for event in event_list if (key := _key(event)[0])})
    clauses = [{"terms": {"event.id": ids}}]
    if predictions:
        clauses.append({"terms": {"ml.prediction.id": predictions}})
    query = {"bool": {"should": clauses, "minimum_should_match": 1}}
    indexed: set[Any] = set()
    for page in scan_pages(store, LABELS, query, source=["event.id", "ml.prediction.id", "ml.label"]):
        for hit in page:
            source = hit["_source"]
            indexed.add(source["event"]["id"])
            if _key(source)[0]:
                indexed.add(_key(source))
    return indexed
