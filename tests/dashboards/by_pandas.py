"""A panel's rows computed by pandas from the raw documents: read off its spec, with nothing of what makes the
search or reads its answer."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from logging_lib.dashboards.selection import PanelSelection
from logging_lib.dashboards.spec import Exists, Filter, Metric, Not, Panel, Range
from logging_lib.dashboards.tables import label, metric_label
from logging_lib.schema.fields import load

Row = dict[str, Any]
WEEK = timedelta(days=7)
CONTROLS = {
    "model": "ml.model.name", "version": "ml.model.version", "role": "ml.model.role", "service": "service.name",
}  # fmt: skip


class Panels:
    """What panels show of documents, (data stream, document) each."""

    def __init__(self, documents: list[tuple[str, dict[str, Any]]]) -> None:
        self._frames: dict[str, pd.DataFrame] = {}
        self._profiles = [document for target, document in documents if target == "ml-profiles"]
        for dataset in ("prediction", "label", "health", "deadletter", "start", "alert"):
            target = "ml-watch-state" if dataset == "alert" else f"logs-ml.{dataset}-"
            found = [document for name, document in documents if name.startswith(target)]
            frame = pd.json_normalize(found)
            frame["at"] = pd.to_datetime(frame["@timestamp"], format="ISO8601", utc=True)
            frame["weight"] = frame.get("ml.sample.weight", pd.Series(1.0, frame.index)).fillna(1.0)
            if dataset not in ("prediction", "label"):
                frame["weight"] = 1.0
            self._frames[dataset] = frame

    def rows(self, panel: Panel, selection: PanelSelection) -> list[Row]:
        frame = self._frames[panel.dataset]
        frame = frame[matches(frame, panel.filter)]
        for control, name in CONTROLS.items():
            wanted = getattr(selection, control)
            field = load().field(name)
            assert field is not None
            if panel.dataset == "alert":
                name = "model" if control == "model" else ""
            elif f"ml.{panel.dataset}" not in field.datasets:
                name = ""
            if wanted is not None and name:
                frame = frame[matches(frame, {name: wanted})]
        now = frame[(frame["at"] >= selection.start) & (frame["at"] < selection.end)]
        if panel.chart == "events":
            return list(self._events(panel, now))
        if panel.chart == "rates":
            return list(self._rates(panel, selection, now))
        if panel.chart == "bins":
            before = frame[(frame["at"] >= selection.start - WEEK) & (frame["at"] < selection.start)]
            return list(self._bins(panel, selection, now, before))
        return list(self._numbers(panel, selection, now))

    def _numbers(self, panel: Panel, selection: PanelSelection, frame: pd.DataFrame) -> Iterator[Row]:
        for keys, part in split(frame, panel.splits, panel.size):
            if panel.chart == "table":
                yield {
                    **{label(name): key for name, key in zip(panel.splits, keys, strict=True)},
                    **{metric_label(one): value(one, part, panel, selection) for one in panel.numbers},
                }
            elif panel.chart in ("metric", "pie"):
                for one in panel.numbers:
                    row: Row = {"value": value(one, part, panel, selection)}
                    if keys:
                        row["series"] = " · ".join(keys)
                    yield row if panel.chart == "pie" else {"metric": metric_label(one), **row}
            else:
                for x, bucket in buckets(part, selection) if panel.x == "time" else by_value(part, panel):
                    for one in panel.numbers:
                        yield self._point(panel, selection, keys, x, one, bucket)

    def _point(
        self,
        panel: Panel,
        selection: PanelSelection,
        keys: tuple[str, ...],
        x: str,
        one: Metric,
        bucket: pd.DataFrame,
    ) -> Row:
        found = value(one, bucket, panel, selection)
        if panel.chart == "heatmap":
            return {"x": x, "y": " · ".join(keys), "value": found}
        name = metric_label(one)
        series = [*keys, name] if keys and len(panel.numbers) > 1 else list(keys) or [name]
        row: Row = {"x": x, "series": " · ".join(series), "metric": name, "value": found}
        if panel.band:
            values = numbers(bucket, panel.field or "")
            error = 1.96 * values.std() / math.sqrt(len(values)) if len(values) > 1 else None
            row["low"], row["high"] = (None, None) if error is None else (found - error, found + error)
        return row

    def _rates(self, panel: Panel, selection: PanelSelection, frame: pd.DataFrame) -> Iterator[Row]:
        totals = dict(buckets(frame, selection))
        check = (panel.field or "").rpartition(".")[2]
        for (feature,), part in split(frame, (panel.field or "",), panel.size):
            if selection.feature not in (None, feature):
                continue
            usual = [
                one["expected"]["checks"][check][feature]
                for one in self._profiles_of(selection)
                if panel.expected and feature in one["expected"]["checks"].get(check, {})
            ]
            total = sum(one["rows"] for one in usual)
            for x, bucket in buckets(part, selection):
                of = totals[x]["weight"].sum()
                yield {
                    "x": x,
                    "series": feature,
                    "value": bucket["weight"].sum() / of if of else None,
                    "expected": sum(one["count"] for one in usual) / total if total else None,
                }

    def _bins(
        self, panel: Panel, selection: PanelSelection, now: pd.DataFrame, before: pd.DataFrame
    ) -> Iterator[Row]:
        def shares(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
            if "ml.input.bins" not in frame or frame.empty:
                return {}
            tokens = frame[["weight", "ml.input.bins"]].explode("ml.input.bins").dropna()
            tokens[["feature", "bin"]] = tokens["ml.input.bins"].str.split("=", n=1, expand=True)
            counts = tokens.groupby(["feature", "bin"])["weight"].sum()
            parts = counts / counts.groupby("feature").transform("sum")
            found: dict[str, dict[str, float]] = {}
            for (feature, name), share in parts.items():
                found.setdefault(feature, {})[name] = share
            return found

        seen, earlier = shares(now), {} if panel.training is not None else shares(before)
        chosen = panel.feature or selection.feature
        for feature in sorted({*seen, *earlier}):
            if chosen not in (None, feature):
                continue
            trained: dict[str, float] | None = None
            if panel.training is not None:
                trained = dict(panel.training)
            elif panel.expected:
                counts = pd.Series(dtype=float)
                for one in self._profiles_of(selection):
                    counts = counts.add(
                        pd.Series(one["expected"]["bins"].get(feature, {}), dtype=float), fill_value=0
                    )
                trained = (counts / counts.sum()).to_dict() if counts.sum() else None
            base = trained if trained is not None else earlier.get(feature, {})
            table = pd.DataFrame(
                {"now": seen.get(feature, {}), "before": earlier.get(feature, {}), "training": trained or {}},
                dtype=float,
            ).fillna(0.0)
            moved = (table["now"] - table["training" if trained is not None else "before"]).abs().sum() / 2
            for name, line in table.iterrows():
                yield {
                    "feature": feature,
                    "bin": name,
                    "now": line["now"] if feature in seen else None,
                    "before": line["before"] if feature in earlier else None,
                    "training": line["training"] if trained is not None else None,
                    "distance": moved if feature in seen and base else None,
                }

    def _events(self, panel: Panel, frame: pd.DataFrame) -> Iterator[Row]:
        newest = frame.sort_values("at", ascending=False, kind="stable").head(panel.size)
        for _, event in newest.iterrows():
            yield {
                "_id": event["event.id"],
                **{
                    name: None if name not in event or absent(event[name]) else event[name]
                    for name in panel.columns
                },
            }

    def _profiles_of(self, selection: PanelSelection) -> list[dict[str, Any]]:
        return [
            one
            for one in self._profiles
            if selection.model in (None, one["ml"]["model"]["name"])
            and (
                one["deployed"]
                if selection.version is None
                else selection.version == one["ml"]["model"]["version"]
            )
        ]


def split(
    frame: pd.DataFrame, names: tuple[str, ...], size: int
) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """The documents of each value, the heaviest first; one with several values is in each of theirs."""
    if not names:
        yield (), frame
        return
    if names[0] not in frame:
        return
    values = frame[names[0]].map(lambda one: [] if absent(one) else one if isinstance(one, list) else [one])
    pairs = frame[["weight"]].assign(key=values).explode("key").dropna(subset="key")
    pairs["key"] = pairs["key"].map(lambda one: str(one).lower() if isinstance(one, bool) else str(one))
    weights = pairs.groupby("key")["weight"].sum()
    for key in sorted(weights.index, key=lambda one: (-weights[one], one))[:size]:
        part = frame.loc[pairs.index[pairs["key"] == key]]
        for rest, below in split(part, names[1:], size):
            yield (key, *rest), below


def buckets(frame: pd.DataFrame, selection: PanelSelection) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every bucket of time from the start to the end, those without documents too."""
    step = pd.Timedelta(seconds=selection.step_seconds)
    first, last = (
        pd.Timestamp(at).floor(step) for at in (selection.start, selection.end - timedelta(milliseconds=1))
    )
    places = frame["at"].dt.floor(step)
    for moment in pd.date_range(first, last, freq=step):
        yield moment.strftime("%Y-%m-%dT%H:%M:%S.000Z"), frame[places == moment]


def by_value(frame: pd.DataFrame, panel: Panel) -> Iterator[tuple[str, pd.DataFrame]]:
    for (key,), part in split(frame, (panel.x,), panel.size):
        yield key, part


def value(metric: Metric, frame: pd.DataFrame, panel: Panel, selection: PanelSelection) -> float | None:
    """A metric's number; None where there is none."""
    if metric.formula is None:
        arguments = [metric.field, metric.percentile]
        return operation(metric.metric or "", [one for one in arguments if one], frame, panel, selection)

    def read(node: ast.AST) -> float | None:
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, int | float)
            return float(node.value)
        if isinstance(node, ast.BinOp):
            left, right = read(node.left), read(node.right)
            if left is None or right is None or (isinstance(node.op, ast.Div) and right == 0):
                return None
            apply: dict[type, Callable[[float, float], float]] = {
                ast.Div: lambda a, b: a / b, ast.Mult: lambda a, b: a * b,
                ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b,
            }  # fmt: skip
            return apply[type(node.op)](left, right)
        assert isinstance(node, ast.Call)
        name = ast.unparse(node.func)
        if name == "sqrt":
            inner = read(node.args[0])
            return None if inner is None else math.sqrt(inner)
        return operation(name, [ast.unparse(one) for one in node.args], frame, panel, selection)

    return read(ast.parse(metric.formula, mode="eval").body)


def operation(
    name: str, arguments: list[Any], frame: pd.DataFrame, panel: Panel, selection: PanelSelection
) -> float | None:
    if arguments and arguments[-1] in panel.where:
        frame = frame[matches(frame, panel.where[arguments[-1]])]
        arguments = arguments[:-1]
    if name in ("count", "per_minute"):
        total = float(frame["weight"].sum())
        return total if name == "count" else total / (selection.step_seconds / 60)
    if name == "unique":
        return float(frame[arguments[0]].nunique()) if arguments[0] in frame else 0.0
    values = numbers(frame, arguments[0])
    if name == "sum":
        return float(values.sum())
    if values.empty or (name == "std" and len(values) < 2):
        return None
    if name in ("median", "percentile"):
        return float(values.quantile(0.5 if name == "median" else float(arguments[1]) / 100))
    return float(getattr(values, {"average": "mean"}.get(name, name))())


def numbers(frame: pd.DataFrame, name: str) -> pd.Series:
    """A field's values as numbers."""
    if name not in frame:
        return pd.Series(dtype=float)
    return frame[name].explode().dropna().astype(float)


def matches(frame: pd.DataFrame, given: Filter) -> Any:
    """Which documents a filter lets pass."""
    chosen = np.ones(len(frame), bool)
    for name, wanted in given.items():
        column = frame[name] if name in frame else pd.Series(None, frame.index, dtype=object)
        chosen &= np.array([holds(one, wanted) for one in column], bool)
    return chosen


def holds(one: Any, wanted: Any) -> bool:
    if isinstance(wanted, Exists):
        return absent(one) != wanted.exists
    if isinstance(wanted, Not):
        return not holds(one, wanted.not_)
    if absent(one):
        return False
    listed = one if isinstance(one, list) else [one]
    if isinstance(wanted, Range):
        limits = wanted.model_dump(exclude_none=True)
        compare = {"gt": np.greater, "gte": np.greater_equal, "lt": np.less, "lte": np.less_equal}
        return any(all(compare[name](each, limit) for name, limit in limits.items()) for each in listed)
    return any(each in listed for each in (wanted if isinstance(wanted, list) else [wanted]))


def absent(one: Any) -> bool:
    return not one if isinstance(one, list) else one is None or (isinstance(one, float) and math.isnan(one))
