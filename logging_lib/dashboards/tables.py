"""Compute a panel's rows from the answer to its search: exactly the rows that its chart draws. Pure.

====================  ============================================================================
chart                 columns
====================  ============================================================================
line, area, bar       ``x`` (ISO 8601 or a value), ``series``, ``metric``, ``value``; with a band ``low``, ``high``
metric                ``metric``, ``value``; with a split also ``series``
pie                   ``series``, ``value``
heatmap               ``x``, ``y``, ``value``
table                 one column per split, one per metric, named by their labels
rates                 ``x``, ``series`` (the feature), ``value`` (a share), ``expected``
bins                  ``feature``, ``bin``, ``now``, ``before``, ``training`` (shares), ``distance``
events                ``_id``, ``_source`` and one column per field
====================  ============================================================================

A ``value`` is None if it is undefined: an average of nothing, a share of nothing.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from logging_lib.dashboards import formula as formulas
from logging_lib.dashboards.formula import Operation
from logging_lib.dashboards.queries import agg_name
from logging_lib.dashboards.selection import PanelSelection
from logging_lib.dashboards.spec import SERIES_CHARTS, TIME, Metric, Panel
from logging_lib.schema import tokens

Row = dict[str, Any]
Bucket = Mapping[str, Any]

Z = 1.96
"""A band of the mean's standard error is the mean ± 1.96 s/√n: about 95 % of such bands hold the true mean."""

LABELS = {
    "ml.model.name": "Model",
    "ml.model.version": "Version",
    "ml.model.role": "Role",
    "service.name": "Service",
    "host.name": "Host",
    "ml.prediction.label": "Prediction",
    "ml.prediction.bin": "Prediction",
    "error.type": "Reason",
    "ml.deadletter.stage": "Stage",
    "ml.check.unseen_values": "Feature = value",
    "ml.check.wrong_type_values": "Feature = value",
    "ml.text.oov_words": "Feature = word",
    "ml.input.bins": "Feature = bin",
    "ml.start.libraries": "Library = version",
    "ml.start.python": "Python",
    "service.version": "Code",
    "ml.health.dropped_reason": "Reason",
    "watch": "Watch",
    "model": "Model",
}
_NAMES = {
    "count": "Events",
    "documents": "Documents",
    "per_minute": "Per minute",
    "std": "Standard deviation",
}


class CutError(ValueError):
    """An answer lacks data that the panel needs; the message names the remedy."""


def label(name: str) -> str:
    """Return the name of a field on a page."""
    if name in LABELS:
        return LABELS[name]
    if name.startswith("ml.check."):
        return "Feature"
    last = name.rpartition(".")[2].replace("_", " ").lstrip("@")
    return last[:1].upper() + last[1:]


def metric_label(metric: Metric) -> str:
    """Return the name of a number on a page."""
    if metric.label:
        return metric.label
    formula = metric.parsed
    if isinstance(formula, Operation):
        if formula.name == "percentile":
            return f"p{formula.percentile:g}"
        return _NAMES.get(formula.name, formula.name.capitalize())
    return metric.formula or ""


def rows(
    panel: Panel,
    selection: PanelSelection,
    response: Mapping[str, Any],
    expected: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Compute the rows that a panel's chart draws.

    Args:
        response: the answer to ``queries.request``.
        expected: the answer to ``queries.expected_request``.

    Raises:
        CutError: the answer is truncated.
    """
    if panel.chart == "events":
        return [_build_event_row(panel, hit) for hit in response["hits"]["hits"]]
    aggs = response.get("aggregations")
    if aggs is None:  # no such index yet
        return []
    if panel.chart == "rates":
        return _build_rate_rows(panel, aggs, expected)
    if panel.chart == "bins":
        return _build_bin_rows(panel, aggs, expected)
    if panel.chart in SERIES_CHARTS or panel.chart == "heatmap":
        return [
            row
            for keys, bucket in _walk_splits(panel, aggs)
            for row in _build_series_rows(panel, selection, keys, bucket)
        ]
    if panel.chart == "table":
        return [
            _build_table_row(panel, selection, keys, bucket) for keys, bucket in _walk_splits(panel, aggs)
        ]
    metric_rows = []
    for keys, bucket in _walk_splits(panel, aggs):
        for metric in panel.numbers:
            row: Row = {"metric": metric_label(metric), "value": number(metric, bucket, selection)}
            if panel.chart == "pie":
                row = {"series": _join_keys(keys), "value": row["value"]}
            elif keys:
                row["series"] = _join_keys(keys)
            metric_rows.append(row)
    return metric_rows


def number(metric: Metric, bucket: Bucket, selection: PanelSelection) -> float | None:
    """Compute a metric's value in a bucket."""
    return formulas.value(metric.parsed, lambda operation: _read_operation(operation, bucket, selection))


def expected_rates(expected: Mapping[str, Any], check: str) -> dict[str, float]:
    """Return feature → the share of held-out training rows that failed the check, over all matching profiles."""
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for hit in expected["hits"]["hits"]:
        counts_by_feature = hit["_source"].get("expected", {}).get("checks", {}).get(check, {})
        for feature, expected_count in counts_by_feature.items():
            counts[feature][0] += expected_count["count"]
            counts[feature][1] += expected_count["rows"]
    return {feature: count / total for feature, (count, total) in counts.items() if total}


def expected_bins(expected: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return feature → bin → the share of training rows, over all matching profiles; bins as spelled in tokens."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for hit in expected["hits"]["hits"]:
        for feature, bins in hit["_source"].get("expected", {}).get("bins", {}).items():
            for name, count in bins.items():
                counts[feature][name] += count
    return {feature: _to_shares(bins) for feature, bins in counts.items()}


def natural_sort_key(text: str) -> tuple[Any, ...]:
    """Return the sort key of a bin: special ones first, then by the numbers in them."""
    is_interval = text.removeprefix("len:")[:1] in "[("
    first = re.search(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", text) if is_interval else None
    return (not text.startswith("!"), first is None, float(first[0]) if first else 0.0, text)


def _read_operation(operation: Operation, bucket: Bucket, selection: PanelSelection) -> float | None:
    aggregation = bucket[agg_name(operation)]
    if operation.where:
        aggregation = aggregation["of"]
    if operation.name in ("median", "percentile"):
        values: Any = aggregation["values"]
        value = next(iter(values.values() if isinstance(values, dict) else (v["value"] for v in values)))
    elif operation.name == "std":
        value = aggregation.get("std_deviation_sampling")
    else:
        value = aggregation["value"]
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return None
    return value / (selection.step_seconds / 60) if operation.name == "per_minute" else float(value)


def _walk_splits(panel: Panel, aggs: Bucket) -> Iterator[tuple[tuple[Any, ...], Bucket]]:
    def walk(place: int, keys: tuple[Any, ...], bucket: Bucket) -> Iterator[tuple[tuple[Any, ...], Bucket]]:
        if place == len(panel.splits):
            yield keys, bucket
            return
        for child_bucket in bucket[f"split{place}"]["buckets"]:
            yield from walk(place + 1, (*keys, key(child_bucket)), child_bucket)

    yield from walk(0, (), aggs)


def key(bucket: Bucket) -> Any:
    return bucket.get("key_as_string", bucket["key"])


def _build_series_rows(
    panel: Panel, selection: PanelSelection, keys: tuple[Any, ...], bucket: Bucket
) -> Iterator[Row]:
    x_buckets = bucket["x"]["buckets"]
    if panel.x != TIME:
        x_buckets = sorted(x_buckets, key=lambda x_bucket: natural_sort_key(str(key(x_bucket))))
    for x_bucket in x_buckets:
        x = _format_millis(x_bucket["key"]) if panel.x == TIME else str(key(x_bucket))
        for metric in panel.numbers:
            value = number(metric, x_bucket, selection)
            if panel.chart == "heatmap":
                yield {"x": x, "y": _join_keys(keys), "value": value}
                continue
            name = metric_label(metric)
            series = _join_keys((*keys, name) if keys and len(panel.numbers) > 1 else keys or (name,))
            row = {"x": x, "series": series, "metric": name, "value": value}
            if panel.band:
                row |= _compute_band(panel, x_bucket, value, selection)
            yield row


def _compute_band(panel: Panel, bucket: Bucket, mean: float | None, selection: PanelSelection) -> Row:
    field = panel.field or ""
    std = _read_operation(Operation("std", field), bucket, selection)
    n = _read_operation(Operation("documents", field), bucket, selection)
    if mean is None or std is None or not n:
        return {"low": None, "high": None}
    return {"low": mean - Z * std / math.sqrt(n), "high": mean + Z * std / math.sqrt(n)}


def _build_table_row(panel: Panel, selection: PanelSelection, keys: tuple[Any, ...], bucket: Bucket) -> Row:
    row: Row = {label(name): value for name, value in zip(panel.splits, keys, strict=True)}
    return row | {metric_label(metric): number(metric, bucket, selection) for metric in panel.numbers}


def _build_rate_rows(panel: Panel, aggs: Bucket, expected: Mapping[str, Any] | None) -> list[Row]:
    totals = {
        time_bucket["key"]: time_bucket["weight"]["value"] for time_bucket in aggs["all"]["x"]["buckets"]
    }
    usual_rates = {} if expected is None else expected_rates(expected, (panel.field or "").rpartition(".")[2])
    rate_rows = []
    for bucket in aggs["features"]["buckets"]:
        feature = str(bucket["key"])
        failed = {
            time_bucket["key"]: time_bucket["weight"]["value"] for time_bucket in bucket["x"]["buckets"]
        }
        for moment, total in totals.items():
            rate_rows.append(
                {
                    "x": _format_millis(moment),
                    "series": feature,
                    "value": failed.get(moment, 0.0) / total if total else None,
                    "expected": usual_rates.get(feature),
                }
            )
    return rate_rows


def _build_bin_rows(panel: Panel, aggs: Bucket, expected: Mapping[str, Any] | None) -> list[Row]:
    only_feature = None if panel.feature is None else tokens.escape(panel.feature)
    weights: dict[str, dict[str, dict[str, float]]] = {"now": {}, "before": {}}
    for when, by_feature in weights.items():
        if when not in aggs["when"]["buckets"]:
            continue
        bin_aggregation = aggs["when"]["buckets"][when]["bins"]
        if bin_aggregation.get("sum_other_doc_count"):
            raise CutError("there are too many bins for one search: choose a model or a feature")
        for bucket in bin_aggregation["buckets"]:
            feature, _, name = str(bucket["key"]).partition("=")
            if only_feature not in (None, feature):
                continue
            by_feature.setdefault(feature, {})[name] = bucket["weight"]["value"]
    training: Mapping[str, Mapping[str, float]] = {}
    if panel.training is not None and panel.feature is not None:
        training = {tokens.escape(panel.feature): panel.training}
    elif expected is not None:
        training = {tokens.escape(name): bins for name, bins in expected_bins(expected).items()}
    bin_rows = []
    for feature in sorted({*weights["now"], *weights["before"]}):
        now, before = (_to_shares(weights[when].get(feature, {})) for when in ("now", "before"))
        training_shares = training.get(feature)
        base = training_shares if training_shares is not None else before
        names = sorted({*now, *before, *(training_shares or {})}, key=natural_sort_key)
        distance = sum(abs(now.get(name, 0.0) - base.get(name, 0.0)) for name in names) / 2
        feature_name = tokens.split(feature + "=")[0]
        bin_rows += [
            {
                "feature": feature_name,
                "bin": tokens.split("=" + name)[1],
                "now": now.get(name, 0.0) if now else None,
                "before": before.get(name, 0.0) if before else None,
                "training": None if training_shares is None else training_shares.get(name, 0.0),
                "distance": distance if now and base else None,
            }
            for name in names
        ]
    return bin_rows


def _to_shares(counts: Mapping[str, float]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()} if total else {}


def _build_event_row(panel: Panel, hit: Mapping[str, Any]) -> Row:
    return {
        "_id": hit["_id"],
        "_source": hit["_source"],
        **{name: _find_value(hit["_source"], name.split(".")) for name in panel.columns},
    }


def _find_value(source: Any, path: Sequence[str]) -> Any:
    """Return a dotted field of a source; below the starred fields a key may contain dots itself."""
    if not path or not isinstance(source, Mapping):
        return source if not path else None
    for length in range(1, len(path) + 1):
        name = ".".join(path[:length])
        if name in source:
            value = _find_value(source[name], path[length:])
            if value is not None:
                return value
    return None


def _format_millis(millis: float) -> str:
    text = datetime.fromtimestamp(millis / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _join_keys(keys: Sequence[Any]) -> str:
    return " · ".join(map(str, keys))
