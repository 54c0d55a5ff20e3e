"""Read joined tables from a store: predictions with their labels, and live beside shadow predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from logging_lib._util.times import format_instant
from logging_lib.analysis.labels import LABELS, chunks
from logging_lib.analysis.samples import Selection
from logging_lib.profile.coerce import category_text, to_python
from logging_lib.schema import tokens
from logging_lib.store.history import STREAMS, inputs_of, output_of, scan_pages
from logging_lib.store.port import Store, StoreError

if TYPE_CHECKING:
    import pandas as pd
if TYPE_CHECKING:
    from logging_lib.analysis.shadow import Shadow


def read(
    store: Store,
    selection: Selection,
    *,
    by: str | None = None,
    max_labels: int = 1_000_000,
    filters: Sequence[Mapping[str, Any]] = (),
) -> pd.DataFrame:
    """Read the joined labels as a DataFrame, for each prediction the label that became known last.

    Args:
        selection: model, version, role, and the time at which the label became known; ``where`` may name a
            ``labels.*`` key of the label events.
        by: adds the column ``segment``: ``version``, ``role``, a ``labels.*`` key, or a feature of the prediction.
        max_labels: the number of label events to read, the latest ones.
        filters: further queries that the label events must match.

    Returns:
        Columns ``prediction``, ``actual`` (several labels are a tuple), ``score``, ``scores``, ``expected_error``,
        ``weight``, ``delay`` (s), ``model``, ``version``, ``role``, ``at``, ``predicted_at``, ``prediction_id``,
        ``changed`` (an earlier label was different), and ``segment``.

    Raises:
        StoreError: there are no joined labels.
    """
    import pandas as pd

    query = {"bool": {"filter": [selection.query(), {"term": {"ml.label.joined": True}}, *filters]}}
    rows: dict[str, dict[str, Any]] = {}
    fields = ["@timestamp", "event.id", "ml", "labels", "service"]
    for page in scan_pages(store, LABELS, query, source=fields, newest_first=True, page=5000):
        for hit in page:
            row = _build_row(hit["_source"], by)
            latest = rows.setdefault(row["prediction_id"] or hit["_source"]["event"]["id"], row)
            latest["changed"] = latest["changed"] or latest["actual"] != row["actual"]
        if len(rows) >= max_labels:
            break
    if not rows:
        raise StoreError(
            f"no joined labels found (selection: {selection}); ingest some: logging-lib labels ingest FILE, "
            "then join: logging-lib labels join"
        )
    if by is not None and all(row["segment"] is None for row in rows.values()):
        _add_segments(store, rows, by)
    return pd.DataFrame(list(rows.values()))


def _build_row(source: Mapping[str, Any], by: str | None) -> dict[str, Any]:
    ml = source["ml"]
    prediction, label = ml.get("prediction") or {}, ml["label"]
    row = {
        "prediction": _read_output(prediction),
        "actual": _read_output(label),
        "score": prediction.get("score"),
        "scores": prediction.get("scores"),
        "weight": (ml.get("sample") or {}).get("weight", 1.0),
        "delay": label.get("delay"),
        "model": ml["model"]["name"],
        "version": ml["model"].get("version", ""),
        "role": ml["model"].get("role", "live"),
        "at": source["@timestamp"],
        "predicted_at": prediction.get("timestamp"),
        "expected_error": prediction.get("expected_error"),
        "prediction_id": prediction.get("id"),
        "changed": False,
    }
    if by is not None:
        identity = {name: row[name] for name in ("model", "version", "role")}
        name = by.removeprefix("labels.")
        row["segment"] = identity.get(by) or ((source.get("labels") or {}).get(name) if by != name else None)
    return row


def _read_output(output: Mapping[str, Any]) -> Any:
    """Return the class of an output, its sorted labels as a tuple, or its number."""
    if (labels := output.get("labels")) is not None:
        return tuple(sorted(set(labels)))
    return output.get("label") or output_of(output)


def _add_segments(store: Store, rows: Mapping[str, dict[str, Any]], by: str) -> None:
    """Add the segment of each label, from its prediction's inputs or ``labels.*``."""
    name = by.removeprefix("labels.")
    for ids in chunks(row["prediction_id"] for row in rows.values() if row["prediction_id"]):
        query = {"bool": {"filter": [{"terms": {"event.id": ids}}]}}
        for page in scan_pages(store, STREAMS, query, source=["event.id", "ml.input", "labels"]):
            for hit in page:
                source = hit["_source"]
                values = (
                    (source.get("labels") or {}) if by != name else inputs_of(source["ml"].get("input") or {})
                )
                rows[source["event"]["id"]]["segment"] = category_text(to_python(values.get(name)))


def share(store: Store, selection: Selection, model: str, version: str) -> dict[str, Any]:
    """Count the predictions made in the selection's time, and those of them that have a label, by weight.

    Returns:
        ``predictions``, ``labelled`` and ``share``.
    """
    scope = replace(selection, model=model, version=version)
    weight = {"weight": {"sum": {"field": "ml.sample.weight", "missing": 1}}}
    total = store.search(STREAMS, {"size": 0, "query": scope.query(), "aggs": weight})
    bounds = {
        bound: format_instant(moment)
        for bound, moment in (("gte", scope.since), ("lt", scope.until))
        if moment is not None
    }
    filters = [replace(scope, since=None, until=None).query(), {"term": {"ml.label.joined": True}}]
    if bounds:
        filters.append({"range": {"ml.prediction.timestamp": bounds}})
    # A changed label is a further event of the same prediction.
    distinct = {"labelled": {"cardinality": {"field": "ml.prediction.id", "precision_threshold": 40_000}}}
    counts = store.search(
        LABELS, {"size": 0, "query": {"bool": {"filter": filters}}, "aggs": {**distinct, **weight}}
    )
    predictions = round(total["aggregations"]["weight"]["value"] or 0)
    labelled = counts["aggregations"]["labelled"]["value"]
    return {
        "predictions": predictions,
        "labelled": labelled,
        "share": labelled / predictions if predictions else None,
    }


MAX_REQUESTS: Final = 1_000_000
_SOURCE: Final = (
    "ml.request.id", "ml.model.version", "ml.prediction", "event.duration", "ml.input.bins",
    "ml.input.category", "ml.input.boolean", "labels", "service.version", "host.name",
)  # fmt: skip


class _Answer(NamedTuple):
    """An output, its duration in milliseconds, and ``field=value`` of everything its request belongs to."""

    output: Any
    score: Any
    milliseconds: float | None
    slices: list[str]


_Answers = dict[str, _Answer]


def shadow(store: Store, selection: Selection, *, max_rows: int = MAX_REQUESTS) -> list[Shadow]:
    """Compare each shadow version with each live version that answered the same requests.

    Args:
        selection: selects requests; its role and version are ignored.
        max_rows: the number of shadow predictions to read, the latest ones.

    Raises:
        StoreError: there are no shadow predictions, or none for a request that the live model answered as well.
    """
    import pandas as pd

    from logging_lib.analysis.shadow import compare_answers

    scope = replace(selection, version=None)
    shadows, lives = (
        _read_answers(store, replace(scope, role=role), max_rows) for role in ("shadow", "live")
    )
    if not shadows:
        raise StoreError(f"no predictions found (selection: {replace(scope, role='shadow')})")
    actuals = _read_actuals(store, scope)
    comparisons = []
    for version, answers in shadows.items():
        for live_version, live_answers in lives.items():
            pairs = [(live_answers[request], answer, request) for request, answer in answers.items()
                     if request in live_answers]  # fmt: skip
            columns = {
                "live": [live.output for live, _, _ in pairs],
                "shadow": [other.output for _, other, _ in pairs],
                "live_score": [live.score for live, _, _ in pairs],
                "shadow_score": [other.score for _, other, _ in pairs],
                "live_ms": [live.milliseconds for live, _, _ in pairs],
                "shadow_ms": [other.milliseconds for _, other, _ in pairs],
                "actual": [actuals.get(request) for _, _, request in pairs],
                "slices": [live.slices or other.slices for live, other, _ in pairs],
            }
            frame = pd.DataFrame({name: pd.Series(values) for name, values in columns.items()})
            frame = frame.dropna(subset=["live", "shadow"], how="all")
            if frame[["live", "shadow"]].isna().any(axis=1).all():
                continue
            comparisons.append(
                compare_answers(
                    frame,
                    live=live_version,
                    shadow=version,
                    only_live=len(live_answers) - len(pairs),
                    only_shadow=len(answers) - len(pairs),
                )
            )
    if not comparisons:
        raise StoreError(
            f"{STREAMS}: no request was answered by both the live and the shadow model: do both log the same "
            "request_id?"
        )
    return comparisons


def _read_answers(store: Store, selection: Selection, max_answers: int) -> dict[str, _Answers]:
    """Return version → request → its answer, the latest first."""
    answers: dict[str, _Answers] = {}
    names: dict[str, str] = {}  # many events share a slice, so each text is kept once
    number = 0
    for source in _scan_events(store, STREAMS, selection.query(), _SOURCE):
        ml = source["ml"]
        request = (ml.get("request") or {}).get("id")
        if request is None:
            continue
        duration = (source.get("event") or {}).get("duration")
        output = ml.get("prediction") or {}
        answer = _Answer(
            _to_comparable(output),
            output.get("score"),
            None if duration is None else duration / 1e6,
            [names.setdefault(name, name) for name in _list_slices(source)],
        )
        answers.setdefault(ml["model"]["version"], {}).setdefault(request, answer)
        number += 1
        if number >= max_answers:
            break
    return answers


def _to_comparable(output: Mapping[str, Any]) -> Any:
    """Return an output; several labels as one text, because two answers agree if all of their labels do."""
    if output.get("labels") is not None:
        return ", ".join(sorted(set(output["labels"]))) or "(no label)"
    return output_of(output)


def _list_slices(source: Mapping[str, Any]) -> Iterator[str]:
    """Yield ``field=value`` of an event's bins (of its categories if no profile made any), and of its origin."""
    inputs = source["ml"].get("input") or {}
    bins = inputs.get("bins")
    if bins:
        yield from bins
    else:
        for kind in ("category", "boolean"):
            for name, value in (inputs.get(kind) or {}).items():
                if (text := category_text(value)) is not None:
                    yield tokens.token(name, text)
    for key, value in (source.get("labels") or {}).items():
        yield tokens.token(f"labels.{key}", str(value))
    for group, key in (("service", "version"), ("host", "name")):
        if (value := (source.get(group) or {}).get(key)) is not None:
            yield tokens.token(f"{group}.{key}", str(value))


def _read_actuals(store: Store, selection: Selection) -> dict[str, Any]:
    """Return request → actual value; the latest, if there are several."""
    query = Selection(model=selection.model).query()
    actuals: dict[str, Any] = {}
    for source in _scan_events(
        store, LABELS, query, ("ml.request.id", "ml.label.value", "ml.label.label", "ml.label.labels")
    ):
        request = (source["ml"].get("request") or {}).get("id")
        if request is not None:
            actuals.setdefault(request, _to_comparable(source["ml"].get("label") or {}))
    return actuals


def _scan_events(
    store: Store, indices: str, query: Mapping[str, Any], fields: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    for page in scan_pages(store, indices, query, source=fields, newest_first=True, page=5000):
        yield from (hit["_source"] for hit in page)
