"""Export logs as training data: served inputs with labels, checks and provenance, page by page, as Parquet or CSV.

A model that learns from the effects of an earlier model confirms itself. So each row says whether its event was
flagged by a check, came from a shadow model, or was influenced by a model (``labels.model_influenced``). Such rows
can be left out; the share of each kind is reported.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from logging_lib._util.formatting import list_values
from logging_lib._util.times import format_instant
from logging_lib.analysis.known_classes import KnownClasses, actual_of
from logging_lib.analysis.labels import LABELS
from logging_lib.analysis.samples import Selection, values_of
from logging_lib.profile.coerce import to_epoch
from logging_lib.profile.vectors import read_vector
from logging_lib.store.history import KINDS, STREAMS, scan_pages
from logging_lib.store.port import Store, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

PAGE: Final = 2000
LOOKED_AT: Final = 10_000
INFLUENCED: Final = "model_influenced"
MARKS: Final = ("flagged", "shadow", "influenced", "unlabelled")
FLAGS: Final = ("absent", "unseen", "out_of_range", "not_finite", "wrong_type", "unexpected", "oov")
"""The checks that flag an event by default; a missing value is ordinary for most models."""
_CHECKS: Final = ("missing", *FLAGS)
_TEXTS: Final = {
    "event.id": ("event", "id"), "ml.request.id": ("ml", "request", "id"), "ml.model.name": ("ml", "model", "name"),
    "ml.model.version": ("ml", "model", "version"), "ml.model.role": ("ml", "model", "role"),
    "ml.profile.id": ("ml", "profile", "id"), "ml.profile.status": ("ml", "profile", "status"),
    "ml.prediction.label": ("ml", "prediction", "label"),
}  # fmt: skip
_NUMBERS: Final = {
    "ml.sample.weight": ("ml", "sample", "weight"), "ml.prediction.value": ("ml", "prediction", "value"),
    "ml.prediction.score": ("ml", "prediction", "score"),
}  # fmt: skip
_FIELDS: Final = (
    "@timestamp", "event.id", "ml.request.id", "ml.model", "ml.profile", "ml.sample.weight", "ml.prediction",
    "ml.check", "labels", *(f"ml.input.{kind}" for kind in ("other", *KINDS)),
)  # fmt: skip


@dataclass
class Exported:
    """The result of an export: ``rows`` of ``events`` were written. ``marked`` counts events by mark, ``left_out``
    those that were left out; ``untyped`` features are only in the column ``ml.input.other``; ``unknown`` labels are
    of classes that the model does not have."""

    events: int = 0
    rows: int = 0
    marked: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    untyped: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, Any]:
        """Return the result as a JSON object; shares are of all selected events."""
        return {
            "events": self.events,
            "rows": self.rows,
            "left_out": sum(self.left_out.values()),
            "marks": {
                mark: {
                    "events": self.marked[mark],
                    "share": self.marked[mark] / self.events if self.events else 0.0,
                    "left_out": self.left_out[mark],
                }
                for mark in MARKS
            },
            "untyped": dict(self.untyped),
            "unknown_classes": dict(self.unknown),
        }


class _Writer(Protocol):
    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


def export(
    store: Store,
    selection: Selection,
    target: Path,
    *,
    now: datetime,
    kinds: Mapping[str, str] | None = None,
    leave_out: Iterable[str] = (),
    flags: Iterable[str] = FLAGS,
    influenced: str = INFLUENCED,
    new_classes: bool = False,
    advance: Callable[[int], None] = lambda number: None,
) -> Exported:
    """Write the selected predictions, oldest first; memory holds one page of them.

    Args:
        target: ``.parquet`` or ``.csv``; the file appears only when everything is written.
        now: the current time, recorded in the file.
        kinds: feature → kind, as in the profile; default: inferred from the first events.
        leave_out: marks whose events are not written: ``flagged``, ``shadow``, ``influenced``, ``unlabelled``.
        flags: the checks that flag an event.
        influenced: the ``labels.*`` key that marks an event: any value except ``false``, or ``KEY=VALUE``.
        new_classes: also write the file if no label is one of the model's classes.
        advance: called with the number of events that were processed.

    Raises:
        StoreError: no event is selected, or no label is one of the model's classes.
        ValueError: the format or a mark is unknown, or a feature has the name of one of our columns.
    """
    excluded = frozenset(leave_out)
    if unknown := excluded - set(MARKS):
        raise ValueError(f"cannot leave out {', '.join(sorted(unknown))}: there are {', '.join(MARKS)}")
    if target.suffix.lower() not in (".parquet", ".pq", ".csv"):
        raise ValueError(f"{target}: give a file named .parquet or .csv")
    features = dict(kinds) if kinds else _infer_kinds(store, selection)
    schema = _build_schema(features, {"selection": str(selection), "exported_at": format_instant(now)})
    result = Exported()
    flagging = frozenset(flags)
    scratch = target.with_name(target.name + ".part")
    classes, labeled = KnownClasses(store), 0
    writer = _open(scratch, schema, csv=target.suffix.lower() == ".csv")
    try:
        for page in scan_pages(store, STREAMS, selection.query(), source=_FIELDS, page=PAGE):
            sources = [hit["_source"] for hit in page]
            labels = _read_labels(store, sources)
            rows = []
            for source in sources:
                label = labels.get(source["event"]["id"])
                if label is not None:
                    labeled += 1
                    if classes.refuse(label, source["ml"]["model"]):
                        result.unknown[str(actual_of(label))] += 1
                row = _build_row(source, label, features, flagging, influenced, result)
                marks = [mark for mark in MARKS if row[mark]]
                result.events += 1
                result.marked.update(marks)
                if excluded_marks := [mark for mark in marks if mark in excluded]:
                    result.left_out[excluded_marks[0]] += 1
                    continue
                rows.append(row)
            if rows:
                writer.write(_build_batch(rows, schema))
            result.rows += len(rows)
            advance(len(page))
        writer.close()
        if not result.events:
            raise StoreError(f"no predictions found (selection: {selection})")
        if labeled == result.unknown.total() > 0 and not new_classes:
            raise StoreError(
                f"none of the {labeled:,} labels is a class of the model: "
                f"{list_values(map(repr, result.unknown), 10)}; ingest them as the model writes its classes, or "
                "export them with --new-classes"
            )
        scratch.replace(target)
    finally:
        writer.close()
        scratch.unlink(missing_ok=True)
    return result


def profile_kinds(store: Store, selection: Selection) -> dict[str, str]:
    """Return feature → kind from the published profiles of the selected versions, or an empty dict. A feature that
    versions disagree about is text."""
    from logging_lib.store.profiles import load_published

    keys = [
        (model, version)
        for model in values_of(store, selection, "model", max_values=100)
        for version in values_of(store, selection, "version", max_values=1000)
    ]
    kinds: dict[str, str] = {}
    for profile in load_published(store, keys):
        for name, feature in profile.features.items():
            kinds[name] = feature.kind if kinds.get(name, feature.kind) == feature.kind else "text"
    return kinds


def _infer_kinds(store: Store, selection: Selection) -> dict[str, str]:
    seen: dict[str, Counter[str]] = {}
    examined = 0
    for page in scan_pages(
        store, STREAMS, selection.query(), source=["ml.input"], newest_first=True, page=PAGE
    ):
        for hit in page:
            for kind in KINDS:
                for name in (hit["_source"]["ml"].get("input") or {}).get(kind) or ():
                    seen.setdefault(name, Counter())[kind] += 1
        examined += len(page)
        if examined >= LOOKED_AT:
            break
    if not examined:
        raise StoreError(f"no predictions found (selection: {selection})")
    return {name: kinds.most_common(1)[0][0] for name, kinds in sorted(seen.items())}


def _build_schema(features: Mapping[str, str], about: Mapping[str, str]) -> pa.Schema:
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    types = {
        "numeric": pa.float64(), "boolean": pa.bool_(), "date": moment, "vector": pa.list_(pa.float64()),
    }  # fmt: skip
    columns = [
        ("@timestamp", moment),
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.float64()) for name in _NUMBERS),
        ("ml.prediction.labels", pa.list_(pa.string())),
        ("ml.label.value", pa.float64()),
        ("ml.label.label", pa.string()),
        ("ml.label.labels", pa.list_(pa.string())),
        ("ml.label.at", moment),
        ("ml.check", pa.list_(pa.string())),
        *((mark, pa.bool_()) for mark in MARKS),
        ("ml.input.other", pa.string()),
    ]
    ours = {name for name, _ in columns}
    if clash := ours & features.keys():
        raise ValueError(f"a feature is named {sorted(clash)[0]!r}, as a column of the export is")
    columns += [(name, types.get(kind, pa.string())) for name, kind in features.items()]
    return pa.schema(columns, metadata={"logging_lib": json.dumps(dict(about))})


def _open(path: Path, schema: pa.Schema, *, csv: bool) -> _Writer:
    import pyarrow as pa

    if not csv:
        import pyarrow.parquet

        return _Parquet(pyarrow.parquet.ParquetWriter(path, schema, compression="zstd"))
    import pyarrow.csv

    lists = [i for i, column in enumerate(schema) if pa.types.is_list(column.type)]
    for i in lists:
        schema = schema.set(i, pa.field(schema.field(i).name, pa.string()))
    return _Csv(pyarrow.csv.CSVWriter(str(path), schema), schema)


class _Parquet:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()


class _Csv:
    """Writes CSV; lists become texts separated by spaces, and labels, which may contain spaces, JSON."""

    def __init__(self, writer: Any, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema

    def write(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        columns = [
            pa.array([_format_list(value, name) for value in column.to_pylist()], pa.string())
            if pa.types.is_list(column.type)
            else column
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _format_list(value: list[Any] | None, column: str) -> str | None:
    if column.startswith("ml.") and column.endswith(".labels"):
        return None if value is None else json.dumps(value, ensure_ascii=False)
    return " ".join(map(str, value or ()))


def _read_labels(store: Store, sources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return event.id → its latest label."""
    query = {
        "bool": {"filter": [{"terms": {"ml.prediction.id": [event["event"]["id"] for event in sources]}}]}
    }
    fields = ["@timestamp", "ml.prediction.id", "ml.label"]
    labels: dict[str, dict[str, Any]] = {}
    for page in scan_pages(store, LABELS, query, source=fields):
        for hit in page:
            source = hit["_source"]
            labels[source["ml"]["prediction"]["id"]] = {"at": source["@timestamp"], **source["ml"]["label"]}
    return labels


def _build_row(
    source: Mapping[str, Any],
    label: Mapping[str, Any] | None,
    features: Mapping[str, str],
    flags: frozenset[str],
    influenced: str,
    result: Exported,
) -> dict[str, Any]:
    ml = source["ml"]
    checks = ml.get("check") or {}
    failed = [f"{check}:{name}" for check in _CHECKS for name in _as_list(checks.get(check))]
    row: dict[str, Any] = {"@timestamp": _to_microseconds(source["@timestamp"])}
    for name, path in (*_TEXTS.items(), *_NUMBERS.items()):
        row[name] = _get_value(source, path)
    row["ml.prediction.labels"] = (ml.get("prediction") or {}).get("labels")
    for name in ("value", "label", "labels"):
        row[f"ml.label.{name}"] = None if label is None else label.get(name)
    row["ml.label.at"] = None if label is None else _to_microseconds(label["at"])
    row["ml.check"] = failed
    row["flagged"] = any(failure.partition(":")[0] in flags for failure in failed)
    row["shadow"] = row["ml.model.role"] == "shadow"
    row["influenced"] = _is_influenced(source.get("labels") or {}, influenced)
    row["unlabelled"] = label is None
    untyped: dict[str, Any] = {}
    for kind, name, value in _scan_inputs(ml.get("input") or {}):
        vector = read_vector(value) if kind == "other" and features.get(name) == "vector" else None
        if vector is not None:
            row[name] = vector
        elif features.get(name) == kind:
            row[name] = _to_microseconds(value) if kind == "date" else value
        else:
            untyped[name] = value
            if value is not None:
                result.untyped[name] += 1
    row["ml.input.other"] = json.dumps(untyped, default=str) if untyped else None
    return row


def _scan_inputs(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for kind in ("other", *KINDS):
        for name, value in (inputs.get(kind) or {}).items():
            yield kind, name, value


def _is_influenced(labels: Mapping[str, Any], mark: str) -> bool:
    key, sign, value = mark.removeprefix("labels.").partition("=")
    label = labels.get(key)
    if label is None:
        return False
    return str(label) == value if sign else str(label).lower() not in ("false", "0", "no", "")


def _build_batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pydict(
        {name: [row.get(name) for row in rows] for name in schema.names}, schema
    )


def _get_value(source: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        source = source.get(part) if isinstance(source, Mapping) else None
    return source


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _to_microseconds(value: Any) -> int | None:
    """Return microseconds since 1970."""
    seconds = to_epoch(value)
    return None if seconds is None else round(seconds * 1e6)
