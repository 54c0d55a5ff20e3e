"""What ``ml-distribution`` counts: by feature the rows that a bin is expected to have, and the events it has.

A watch with hundreds of bins and a dozen windows asks for the same sums over and over: they are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from math import sqrt
from typing import NamedTuple

from logging_lib.watch.scripts.common import Given, buckets, kept_share, prefix_of

PREDICTION = "(prediction)"
MAX_PREFIX = 129


class Ranks(NamedTuple):
    """Each bin's rank (its ridit, less 1/2), ``!below`` and ``!above`` at the ends; ``outer``: the bins outside the
    middle half. What is expected: ``mean`` and standard deviation ``off`` of the squared rank, standard deviation
    ``side`` of the rank, share ``usual`` of the outer bins."""

    bins: list[tuple[str, float]]
    outer: list[str]
    mean: float
    off: float
    side: float
    usual: float


class Expected:
    """Rows a bin, of training or of earlier weeks: ``rows`` in the bins that are ``ordinary``, ``ordered`` in those
    that are in an ``order``."""

    def __init__(self, counts: Mapping[str, float], order: list[str]) -> None:
        self.counts = counts
        self.order = order
        self.ordinary = [(name, counts[name]) for name in sorted(counts) if is_ordinary(name)]
        self.rows = sum([count for name, count in counts.items() if is_ordinary(name)])
        self.ordered = sum([counts.get(name, 0) for name in order])
        self._rare: dict[float, list[tuple[str, float]]] = {}

    def rare(self, share: float) -> list[tuple[str, float]]:
        """The ordinary bins that have no more than this share of the rows in such bins."""
        found = self._rare.get(share)
        if found is None:
            rows = self.rows
            found = [(name, count) for name, count in self.ordinary if count / rows <= share] if rows else []
            self._rare[share] = found
        return found

    @cached_property
    def ranks(self) -> Ranks | None:
        """None where no rank can be told from another."""
        m = float(self.ordered)
        if m == 0 or len(self.order) < 4:
            return None
        below = mean = square = usual = 0.0
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
                usual += share
        bins.append(("!above", below - 0.5))
        outer.append("!above")
        variance = square - mean * mean
        if variance <= 1e-12 or mean <= 1e-12:
            return None
        return Ranks(bins, outer, mean, sqrt(variance), sqrt(mean), usual)


class Observed:
    """Events a bin in one window, as many as the sampling left; ``ordinary``: those in ordinary bins.

    Args:
        counts: of ordinary bins, of ``!below`` and of ``!above``.
    """

    __slots__ = ("counts", "ordinary", "total")

    def __init__(self, counts: dict[str, float]) -> None:
        self.counts = counts
        self.ordinary = self.total = sum(counts.values())
        if "!below" in counts or "!above" in counts:
            self.ordinary = sum([weight for name, weight in counts.items() if is_ordinary(name)])

    def share(self, name: str) -> float:
        """Of the ordinary bins' events; 0 without any."""
        return self.counts.get(name, 0.0) / self.ordinary if self.ordinary > 0 else 0.0


class Features:
    """What is judged of one model version: each feature whose name is not too long for a token, by name, and the
    prediction.

    Args:
        inputs, prediction: whether they are judged; a search asks for one of them or for both.
    """

    def __init__(self, profile: Given, *, inputs: bool, prediction: bool) -> None:
        expected = profile["expected"]
        self.expected: dict[str, Expected] = {}
        self._named: dict[str, str] = {}
        for name in sorted(expected["bins"]) if inputs else ():
            prefix = prefix_of(name)
            if len(prefix) <= MAX_PREFIX:
                self.expected[name] = Expected(expected["bins"][name], expected["order"].get(name, []))
                self._named[prefix] = name
        self._inputs = list(self.expected)
        outputs = expected.get("prediction")
        if prediction and outputs is not None:
            self.expected[PREDICTION] = Expected(outputs["bins"], outputs["order"])
        self._places: dict[str, tuple[str, str] | None] = {}

    def observed(self, bucket: Given) -> dict[str, Observed]:
        """Each feature in one window, by its aggregations ``inputs`` and ``prediction``."""
        return {name: Observed(counts) for name, counts in self._counted(bucket).items()}

    def _counted(self, bucket: Given) -> dict[str, dict[str, float]]:
        made: dict[str, dict[str, float]] = {}
        kept = kept_share(bucket)
        if "inputs" in bucket:
            made = {name: {} for name in self._inputs}
            places = self._places
            for token in buckets(bucket["inputs"], "inputs"):
                key = token["key"]
                place = places[key] if key in places else self._place(key)
                if place is not None:
                    name, label = place
                    made[name][label] = token["weight"]["value"] * kept
        if "prediction" in bucket and PREDICTION in self.expected:
            made[PREDICTION] = {
                token["key"]: token["weight"]["value"] * kept
                for token in buckets(bucket["prediction"], "prediction")
                if self._counts(PREDICTION, token["key"])
            }
        return made

    def usual(self, weeks: list[Given], window: str, min_events: float) -> dict[str, Expected] | None:
        """What the same hours of earlier weeks let expect; None where they had too few events."""
        sums: dict[str, dict[str, float]] = {}
        events = 0.0
        for version in weeks:
            bucket = version["windows"]["buckets"][window]
            events += bucket["doc_count"]
            for name, counts in self._counted(bucket).items():
                known = sums.setdefault(name, {})
                # In an order of their own, as sums of fractions depend on it.
                for label in counts if counts.keys() <= known.keys() else sorted(counts):
                    known[label] = known.get(label, 0.0) + counts[label]
        if events <= 0 or events < min_events:
            return None
        return {name: Expected(known, self.expected[name].order) for name, known in sums.items()}

    def _place(self, token: str) -> tuple[str, str] | None:
        """The feature and the bin of a token, if it counts."""
        at = token.find("=") + 1
        name, label = self._named.get(token[:at]), token[at:]
        place = (name, label) if name is not None and self._counts(name, label) else None
        self._places[token] = place
        return place

    def _counts(self, name: str, label: str) -> bool:
        # Beyond the ends of the range is a place, too, for the spread; the other measures leave it out.
        expected = self.expected[name]
        if label in expected.counts and is_ordinary(label):
            return True
        return bool(expected.order) and label in ("!below", "!above")


_KNOWN: dict[tuple[int, bool, bool], tuple[Given, Features]] = {}
_MOST_KNOWN = 32


def features_of(profile: Given, *, inputs: bool, prediction: bool) -> Features:
    """See ``Features``; the same one for the same document, as a replay has it at every tick."""
    key = id(profile), inputs, prediction
    known = _KNOWN.get(key)
    if known is None or known[0] is not profile:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        known = _KNOWN[key] = profile, Features(profile, inputs=inputs, prediction=prediction)
    return known[1]


@lru_cache(maxsize=65536)
def is_ordinary(name: str) -> bool:
    """A missing or an unseen value has a watch of its own."""
    return not name.startswith("oov:") and (not name.startswith("!") or name == "!other")
