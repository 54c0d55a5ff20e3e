"""From a stream's events to what the watches find: their searches' answers, counted five minutes at a time.

Every window of the shipped watches is a multiple of five minutes, so sums over cells of five minutes are exact.
The judging is done by the shipped scripts with the shipped watches' metadata;
``tests/watch/test_detection_bench.py`` sees that the embedded store's answers to the shipped searches lead to the
same findings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from benchmarks.detection.streams import MONDAY, WEEK, Array, Stream
from logging_lib import profile as profiles
from logging_lib._util import content
from logging_lib._util.times import format_instant, parse_duration
from logging_lib.watch.scripts import SCRIPTS

Document = dict[str, Any]
CELL = 300.0
DAY_CELLS = 288
OTHER = "next"
PERCENTS = (50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.5, 95.0, 97.5, 99.0)
CHECKS = {
    "na-spike": "missing",
    "oov-rise": "oov",
    "unseen-categories": "unseen",
    "out-of-range": "out_of_range",
}
SPECIAL = ("missing", "absent", "unseen", "below", "above", "nonfinite", "type")
WATCHES = (
    "input-drift",
    "latency-regression",
    "model-version",
    "na-spike",
    "no-traffic",
    "numeric-instability",
    "oov-rise",
    "out-of-range",
    "prediction-drift",
    "prediction-failures",
    "prediction-range",
    "spread-shift",
    "unchecked-events",
    "unseen-categories",
    "vanished-feature",
)


class Tokens:
    """All that is counted, numbered: (kind, name); the documents as lists of numbers."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], int] = {}
        self._lists: list[Array] = []
        self._values: list[float] = []

    def add(self, documents: Iterable[Document]) -> tuple[int, int]:
        """The range of the documents' numbers."""
        begin = len(self._lists)
        for document in documents:
            ml = document["ml"]
            found = [("event", "")]
            found += [("input", token) for token in ml["input"]["bins"]]
            for check, names in ml.get("check", {}).items():
                if check not in ("unseen_values",):
                    found += [(check, name) for name in names]
            if "bin" in ml.get("prediction", {}):
                found.append(("prediction", ml["prediction"]["bin"]))
            self._lists.append(np.array([self.numbers.setdefault(each, len(self.numbers)) for each in found]))
            value = ml.get("prediction", {}).get("value")
            self._values.append(float(value) if value is not None else np.nan)
        return begin, len(self._lists)

    def freeze(self) -> None:
        self.lengths = np.array([len(each) for each in self._lists])
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self.flat = np.concatenate(self._lists)
        self.values = np.array(self._values)
        self.by_kind: dict[str, list[tuple[str, int]]] = {}
        for (kind, name), number in self.numbers.items():
            self.by_kind.setdefault(kind, []).append((name, number))
        self.special = [
            (name, number) for name, number in self.by_kind["input"] if name.partition("=!")[2] in SPECIAL
        ]

    def of(self, documents: Array) -> tuple[Array, Array]:
        """(which of the given documents, token) for all their tokens."""
        lengths = self.lengths[documents]
        which = np.repeat(np.arange(len(documents)), lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return which, self.flat[self.starts[documents][which] + within]


@dataclass
class Events:
    """Ascending ``at``, seconds since the Monday; the documents' numbers; nanoseconds; of which version; failed."""

    at: Array
    documents: Array
    durations: Array
    other: Array
    failed: Array


class Counts:
    """The events from ``start`` on in cells of five minutes, summed up from there."""

    def __init__(self, tokens: Tokens, events: Events, start: float, end: float) -> None:
        self.start = np.floor(start / CELL) * CELL
        cells = int(np.ceil((end - self.start) / CELL)) + 1
        self.tokens = tokens
        self._events = events
        self.sums: dict[bool, Array] = {}
        for other in (False, True):
            chosen = events.other == other
            if other and not chosen.any():
                continue
            at, documents, failed = events.at[chosen], events.documents[chosen], events.failed[chosen]
            cell = np.minimum(((at - self.start) // CELL).astype(int), cells - 1)
            width = len(tokens.numbers) + 3
            which, token = tokens.of(documents)
            flat = np.bincount(cell[which] * width + token, minlength=cells * width).astype(float)
            table = flat.reshape(cells, width)
            values = np.nan_to_num(tokens.values[documents])
            known = ~np.isnan(tokens.values[documents])
            table[:, -3] = np.bincount(cell, weights=failed.astype(float), minlength=cells)
            table[:, -2] = np.bincount(cell, weights=known.astype(float), minlength=cells)
            table[:, -1] = np.bincount(cell, weights=values, minlength=cells)
            self.sums[other] = np.concatenate([np.zeros((1, width)), np.cumsum(table, axis=0)])

    def between(self, begin: float, end: float, *, other: bool = False) -> Array:
        """Sums over (begin, end], both multiples of five minutes."""
        table = self.sums[other]
        last = len(table) - 1
        first = int(np.clip(round((begin - self.start) / CELL), 0, last))
        final = int(np.clip(round((end - self.start) / CELL), 0, last))
        found: Array = table[final] - table[first]
        return found

    def timed(self, begin: float, end: float, *, other: bool = False) -> Array:
        events = self._events
        first, final = np.searchsorted(events.at, [begin, end])
        return events.durations[first:final][events.other[first:final] == other]


def shipped(watch: str) -> Document:
    found: Document = json.loads((content.path("watchers") / f"{watch}.json").read_text("utf-8"))
    return found


@dataclass
class Judge:
    """The shipped watches over the counts of one stream."""

    stream: Stream
    watches: dict[str, Document] = field(default_factory=lambda: {name: shipped(name) for name in WATCHES})

    def __post_init__(self) -> None:
        document = profiles.build_document(self.stream.profile)
        self._profiles = {"hits": {"hits": [{"_source": document}]}}
        self._baseline: tuple[float, Document | None] = (-1e18, None)
        self._every = {
            name: parse_duration(watch["trigger"]["schedule"]["interval"]).total_seconds()
            for name, watch in self.watches.items()
        }

    def is_due(self, watch: str, now: float) -> bool:
        return now % self._every[watch] == 0

    def findings(self, watch: str, counts: Counts, now: float) -> list[Document]:
        """What a watch finds at a tick; ``now`` in seconds since the Monday."""
        metadata = self.watches[watch]["metadata"]
        script = self.watches[watch]["input"]["chain"]["inputs"][-1]["result"]["transform"]["script"]["id"]
        payload: Document = {"profiles": self._profiles}
        windows = metadata.get("windows", [])
        if script == "ml-check-rate":
            if not self._may_fail(watch, metadata, counts, now):
                return []
            payload["window"] = self._answer(counts, watch, windows, now)
            if "baseline" in metadata:
                payload["baseline"] = self._before(watch, counts, now)
            payload |= dict.fromkeys(metadata.get("references", []), EMPTY)
        elif script == "ml-distribution":
            payload["window"] = self._answer(counts, watch, windows, now)
            for number, name in enumerate(metadata["references"], 1):
                at = now - number * WEEK
                early = at - seconds(windows[-2]) < counts.start
                payload[name] = EMPTY if early else self._answer(counts, watch, windows[:-1], at)
        elif script == "ml-latency":
            payload |= self._latency(counts, windows, now)
        elif script == "ml-versions":
            payload["window"] = self._versions(counts, now)
        else:
            payload |= self._traffic(counts, now)
        ctx = {
            "watch_id": watch,
            "metadata": metadata,
            "trigger": {"scheduled_time": format_instant(MONDAY + timedelta(seconds=now))},
            "payload": payload,
        }
        found: list[Document] = SCRIPTS[script](ctx, {})["findings"]
        return found

    def _may_fail(self, watch: str, metadata: Document, counts: Counts, now: float) -> bool:
        """Whether anything failed often enough in the longest window: without, no script finds anything."""
        for other in counts.sums:
            sums = counts.between(now - seconds(metadata["windows"][-1]), now, other=other)
            for kind in metadata.get("checks") or [metadata["check"]]:
                if any(
                    one["weight"]["value"] >= metadata["min_hits"]
                    for one in self._failing(kind, sums, counts)
                ):
                    return True
        return False

    def _failing(self, kind: str, sums: Array, counts: Counts) -> list[Document]:
        if kind == "outcome":
            return [_bucket("failure", sums[-3])] if sums[-3] else []
        if kind == "status":
            return []
        wanted = counts.tokens.by_kind.get(kind, [])
        if kind == "prediction":
            wanted = [each for each in wanted if each[0].startswith("!")]
        found = [_bucket(name, sums[number]) for name, number in wanted if sums[number] > 0]
        return sorted(found, key=lambda each: (-each["doc_count"], each["key"]))

    def _answer(self, counts: Counts, watch: str, windows: list[str], now: float) -> Document:
        versions = []
        metadata = self.watches[watch]["metadata"]
        event = counts.tokens.numbers["event", ""]
        for other in counts.sums:
            found = {}
            for window in windows:
                sums = counts.between(now - seconds(window), now, other=other)
                bucket = _bucket("", sums[event])
                if "measures" in metadata:
                    bucket |= self._distribution(watch, sums, counts)
                else:
                    for check in metadata.get("checks") or [metadata["check"]]:
                        name = check if "checks" in metadata else "features"
                        bucket[name] = _terms(self._failing(check, sums, counts))
                found[window] = bucket
            if found[windows[-1]]["doc_count"] > 0:
                versions.append({"key": self._version(other), "windows": {"buckets": found}})
        return _models(self.stream.model, versions)

    def _version(self, other: bool) -> str:
        return OTHER if other else self.stream.version

    def _distribution(self, watch: str, sums: Array, counts: Counts) -> Document:
        def tokens(named: list[tuple[str, int]]) -> Document:
            return _terms([_bucket(name, sums[number]) for name, number in named if sums[number] > 0])

        found: Document = {}
        if watch != "prediction-drift":
            found["inputs"] = tokens(counts.tokens.by_kind["input"])
        else:
            found["special"] = tokens(counts.tokens.special)
        if watch != "input-drift":
            found["prediction"] = tokens(counts.tokens.by_kind["prediction"])
        known = sums[-2]
        average = sums[-1] / known if known else None
        found["values"] = _terms([{"key": 1.0, "value": {"count": int(known), "avg": average}}])
        return found

    def _before(self, watch: str, counts: Counts, now: float) -> Document:
        metadata = self.watches[watch]["metadata"]
        sums = counts.between(now - seconds(metadata["baseline"]), now - seconds(metadata["windows"][-1]))
        version = _bucket(self.stream.version, sums[counts.tokens.numbers["event", ""]])
        for check in metadata.get("checks") or [metadata["check"]]:
            name = check if "checks" in metadata else "features"
            version[name] = _terms(self._failing(check, sums, counts))
        return _models(self.stream.model, [version])

    def _latency(self, counts: Counts, windows: list[str], now: float) -> Document:
        def timed(durations: Array) -> Document:
            percentiles = (
                np.percentile(durations, PERCENTS) if len(durations) else np.full(len(PERCENTS), np.nan)
            )
            values = {
                str(percent): float(value) for percent, value in zip(PERCENTS, percentiles, strict=True)
            }
            return {"timed": {"value": len(durations)}, "duration": {"values": values}, **BETWEEN}

        hour = now // 3600.0
        if self._baseline[0] != hour or self._baseline[1] is None:
            before = timed(counts.timed(now - 8 * 86400.0, now - seconds(windows[-1])))
            self._baseline = (hour, before)
        found = {window: timed(counts.timed(now - seconds(window), now)) for window in windows}
        version = {"key": self.stream.version, "windows": {"buckets": found}}
        past = {"aggregations": {"models": _terms([{"key": self.stream.model, **(self._baseline[1] or {})}])}}
        return {"window": _models(self.stream.model, [version]), "baseline": past}

    def _versions(self, counts: Counts, now: float) -> Document:
        event = counts.tokens.numbers["event", ""]
        versions = []
        for other in counts.sums:
            total, recent, before = (
                counts.between(begin, end, other=other)[event]
                for begin, end in ((now - 7200, now), (now - 900, now), (now - 7200, now - 3600))
            )
            if total > 0:
                wrong = total if other else 0.0
                parts = {"now": recent, "before": before, "mismatch": wrong}
                named = {name: {"weight": {"value": float(value)}} for name, value in parts.items()}
                versions.append({**_bucket(self._version(other), total), **named})
        return _models(self.stream.model, versions)

    def _traffic(self, counts: Counts, now: float) -> Document:
        event = counts.tokens.numbers["event", ""]

        def answer(at: float) -> Document:
            weight = sum(counts.between(at - 3600, at, other=other)[event] for other in counts.sums)
            stamp = (MONDAY + timedelta(seconds=at)).timestamp() * 1000
            known = {"value": stamp} if weight else {"value": None}
            recent = {"weight": {"value": float(weight)}, "newest": known, "ingested": known}
            last = {"value": stamp, "value_as_string": format_instant(MONDAY + timedelta(seconds=at))}
            return {
                "aggregations": {
                    "models": _terms([{"key": self.stream.model, "recent": recent, "last": last}])
                }
            }

        weeks = {
            f"week{k}": answer(now - k * WEEK) for k in (1, 2, 3) if now - k * WEEK - 3600 >= counts.start
        }
        return {"window": answer(now), **{f"week{k}": weeks.get(f"week{k}", EMPTY) for k in (1, 2, 3)}}


_AT = {"value": 0.0, "value_as_string": "2018-01-01T00:00:00.000Z"}
BETWEEN: Document = {"first": _AT, "last": _AT}
EMPTY: Document = {"aggregations": {"models": {"buckets": []}}}
_SECONDS: dict[str, float] = {}


def seconds(window: str) -> float:
    if window not in _SECONDS:
        _SECONDS[window] = parse_duration(window).total_seconds()
    return _SECONDS[window]


def _bucket(key: str, count: float) -> Document:
    return {"key": key, "doc_count": int(count), "weight": {"value": float(count)}, **BETWEEN}


def _terms(found: list[Document]) -> Document:
    return {"sum_other_doc_count": 0, "buckets": found}


def _models(name: str, versions: list[Document]) -> Document:
    return {
        "aggregations": {"models": _terms([{"key": name, "versions": _terms(versions)}] if versions else [])}
    }
