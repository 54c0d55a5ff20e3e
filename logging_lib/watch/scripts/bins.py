"""Count what ``ml-distribution`` compares: the expected rows and the observed events of each bin.

A watch with hundreds of bins and a dozen windows needs the same sums repeatedly, so they are cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from math import sqrt
from typing import NamedTuple

from logging_lib.profile.model import PREDICTION
from logging_lib.watch.scripts.common import JsonObject, encode_prefix, get_buckets, get_sampled_share

MAX_PREFIX = 129


class Ranks(NamedTuple):
    """The bins of a feature by rank, and the expected statistics of the ranks.

    Args:
        bins: each bin's rank (its ridit minus 1/2), with ``!below`` and ``!above`` at the ends.
        outer: the bins outside the middle half.
        mean: the mean of the squared rank.
        square_deviation: the standard deviation of the squared rank.
        deviation: the standard deviation of the rank.
        outer_share: the share of the outer bins.
    """

    bins: list[tuple[str, float]]
    outer: list[str]
    mean: float
    square_deviation: float
    deviation: float
    outer_share: float


class ExpectedBins:
    """The rows of each bin, of training or of earlier weeks.

    ``rows`` is their number in the ``ordinary`` bins, ``ordered`` their number in the bins that have an ``order``.

    Args:
        counts: the rows of each bin.
        order: the bins of a number or a text, from the lowest to the highest.
        labeled: the rows that have labels, if a row is in the bin of each of its labels; then ``is_multiple``.
    """

    def __init__(self, counts: Mapping[str, float], order: list[str], labeled: float | None = None) -> None:
        self.counts = counts
        self.order = order
        self.is_multiple = labeled is not None
        self.ordinary = [(name, counts[name]) for name in sorted(counts) if is_ordinary(name)]
        self.rows = sum([count for name, count in counts.items() if is_ordinary(name)])
        self.total = sum(counts.values())
        if labeled is not None:
            self.rows = self.total = labeled
        self.ordered = sum([counts.get(name, 0) for name in order])
        self._rare: dict[float, list[tuple[str, float]]] = {}

    def find_rare(self, share: float) -> list[tuple[str, float]]:
        """Return the ordinary bins that have no more than this share of the rows in such bins."""
        rare = self._rare.get(share)
        if rare is None:
            rows = self.rows
            rare = [(name, count) for name, count in self.ordinary if count / rows <= share] if rows else []
            self._rare[share] = rare
        return rare

    @cached_property
    def ranks(self) -> Ranks | None:
        """Return the ranks; None if all ranks are equal."""
        m = float(self.ordered)
        if m == 0 or len(self.order) < 4:
            return None
        below = mean = square = outer_share = 0.0
        bins = [("!below", -0.5)]
        outer = ["!below"]
        counts = self.counts
        for name in self.order:
            share = counts.get(name, 0) / m
            rank = below + 0.5 * share - 0.5
            below += share
            bins.append((name, rank))
            moment = share * rank * rank
            mean += moment
            square += moment * rank * rank
            if rank < -0.25 or rank > 0.25:
                outer.append(name)
                outer_share += share
        bins.append(("!above", below - 0.5))
        outer.append("!above")
        variance = square - mean * mean
        if variance <= 1e-12 or mean <= 1e-12:
            return None
        return Ranks(bins, outer, mean, sqrt(variance), sqrt(mean), outer_share)


class ObservedBins:
    """The events of each bin in one window, as stored after sampling; ``ordinary`` is the number in ordinary bins.

    Args:
        counts: the counts of ordinary bins, of ``!below`` and of ``!above``.
        labeled: the events that have labels, if an event is in the bin of each of its labels.
    """

    __slots__ = ("counts", "ordinary", "total")

    def __init__(self, counts: dict[str, float], labeled: float | None = None) -> None:
        self.counts = counts
        self.ordinary = self.total = sum(counts.values()) if labeled is None else labeled
        if "!below" in counts or "!above" in counts:
            self.ordinary = sum([weight for name, weight in counts.items() if is_ordinary(name)])

    def get_share(self, name: str) -> float:
        """Return a bin's share of the events in ordinary bins; 0 without any."""
        return self.counts.get(name, 0.0) / self.ordinary if self.ordinary > 0 else 0.0


class Features:
    """The compared parts of one model version: the features whose names fit into a token, and the prediction.

    Args:
        inputs, prediction: whether they are compared; a search asks for one of them or for both.
    """

    def __init__(self, profile: JsonObject, *, inputs: bool, prediction: bool) -> None:
        expected = profile["expected"]
        self.expected: dict[str, ExpectedBins] = {}
        self._named: dict[str, str] = {}
        for name in sorted(expected["bins"]) if inputs else ():
            prefix = encode_prefix(name)
            if len(prefix) <= MAX_PREFIX:
                self.expected[name] = ExpectedBins(expected["bins"][name], expected["order"].get(name, []))
                self._named[prefix] = name
        self._inputs = list(self.expected)
        outputs = expected.get("prediction")
        if prediction and outputs is not None:
            self.expected[PREDICTION] = ExpectedBins(outputs["bins"], outputs["order"], outputs.get("rows"))
        self._places: dict[str, tuple[str, str] | None] = {}

    def count_observed(self, bucket: JsonObject) -> dict[str, ObservedBins]:
        """Count each feature's bins in one window, from its aggregations ``inputs`` and ``prediction``."""
        return {
            name: ObservedBins(counts, self._count_labeled(name, bucket))
            for name, counts in self._count(bucket).items()
        }

    def _count_labeled(self, name: str, bucket: JsonObject) -> float | None:
        """Count the events with labels, if a feature has several: all but those without a list of labels."""
        if not self.expected[name].is_multiple:
            return None
        events = bucket["weight"]["value"]
        for token in get_buckets(bucket["prediction"], "prediction"):
            if token["key"] == "!missing" or token["key"] == "!type":
                events -= token["weight"]["value"]
        return float(max(0.0, events * get_sampled_share(bucket)))

    def _count(self, bucket: JsonObject) -> dict[str, dict[str, float]]:
        counts: dict[str, dict[str, float]] = {}
        sampled = get_sampled_share(bucket)
        if "inputs" in bucket:
            counts = {name: {} for name in self._inputs}
            places = self._places
            for token in get_buckets(bucket["inputs"], "inputs"):
                key = token["key"]
                place = places[key] if key in places else self._find_place(key)
                if place is not None:
                    name, label = place
                    counts[name][label] = token["weight"]["value"] * sampled
        if "prediction" in bucket and PREDICTION in self.expected:
            counts[PREDICTION] = {
                token["key"]: token["weight"]["value"] * sampled
                for token in get_buckets(bucket["prediction"], "prediction")
                if self._is_counted(PREDICTION, token["key"])
            }
        return counts

    def sum_weeks(
        self, weeks: list[JsonObject], window: str, min_events: float
    ) -> dict[str, ExpectedBins] | None:
        """Sum the same hours of earlier weeks; None if they had too few events."""
        sums: dict[str, dict[str, float]] = {}
        labeled: dict[str, float] = {}
        events = 0.0
        for version in weeks:
            bucket = version["windows"]["buckets"].get(window)
            if bucket is None:  # a day or longer is compared with training
                continue
            events += bucket["doc_count"]
            for name, counts in self._count(bucket).items():
                bins = sums.setdefault(name, {})
                rows = self._count_labeled(name, bucket)
                if rows is not None:
                    labeled[name] = labeled.get(name, 0.0) + rows
                # In a fixed order, because sums of fractions depend on the order.
                for label in counts if counts.keys() <= bins.keys() else sorted(counts):
                    bins[label] = bins.get(label, 0.0) + counts[label]
        if events <= 0 or events < min_events:
            return None
        return {
            name: ExpectedBins(bins, self.expected[name].order, labeled.get(name))
            for name, bins in sums.items()
        }

    def _find_place(self, token: str) -> tuple[str, str] | None:
        """Return the feature and the bin of a token, if it counts."""
        at = token.find("=") + 1
        name, label = self._named.get(token[:at]), token[at:]
        place = (name, label) if name is not None and self._is_counted(name, label) else None
        self._places[token] = place
        return place

    def _is_counted(self, name: str, label: str) -> bool:
        # Values beyond the ends of the range also have a place, for the spread; the other measures skip it.
        expected = self.expected[name]
        if label in expected.counts and is_ordinary(label):
            return True
        return bool(expected.order) and label in ("!below", "!above")


_CACHE: dict[tuple[int, bool, bool], tuple[JsonObject, Features]] = {}
_CACHE_SIZE = 32


def get_features(profile: JsonObject, *, inputs: bool, prediction: bool) -> Features:
    """Return the features of a profile; cached by document, since a replay uses the same one at every tick."""
    key = id(profile), inputs, prediction
    cached = _CACHE.get(key)
    if cached is None or cached[0] is not profile:
        if len(_CACHE) >= _CACHE_SIZE:
            _CACHE.clear()
        cached = _CACHE[key] = profile, Features(profile, inputs=inputs, prediction=prediction)
    return cached[1]


@lru_cache(maxsize=65536)
def is_ordinary(name: str) -> bool:
    """Return whether a bin is compared: missing and unseen values have their own watches."""
    return not name.startswith("oov:") and (not name.startswith("!") or name == "!other")
