"""The Prometheus metrics of the predictions: counters, a histogram, and statistics of the last minutes.

Each process keeps two windows of the outputs, which alternate every ``WINDOW_SECONDS`` of wall-clock time. Together
they cover one to two windows, in a form that processes can add up (moments, extremes and bins). Moments are
relative to a shift that all processes share, so that no digits are lost in the sums.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from logging_lib.logger.checks import VALUE_FIELDS
from logging_lib.profile.model import Profile

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

    from logging_lib.logger.spool import Spool


WINDOW_SECONDS = 60
WINDOWS = 2
Bin = tuple[float, float]


@dataclass
class OutputWindow:
    """One window of one process: sums of (value - shift), and the number of values by bin (low, high].

    ``started`` is in seconds since 1970.
    """

    started: float = 0.0
    shift: float = 0.0
    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    bins: dict[Bin, float] = field(default_factory=dict)

    def add(self, value: float, edges: Bin) -> None:
        """Add one output, which is in the bin between ``edges``."""
        offset = value - self.shift
        self.count += 1
        self.total += offset
        self.squares += offset * offset
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.bins[edges] = self.bins.get(edges, 0.0) + 1

    def merge(self, other: OutputWindow) -> None:
        """Add the values of another window with the same shift."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        for edges, count in other.bins.items():
            self.bins[edges] = self.bins.get(edges, 0.0) + count


def find_window(now: float) -> tuple[int, float]:
    """Find the index of the window that a time (seconds since 1970) belongs to, and when the window began."""
    period = int(now // WINDOW_SECONDS)
    return period % WINDOWS, float(period * WINDOW_SECONDS)


def find_bin(value: float, edges: tuple[float, ...]) -> Bin:
    """Find the edges around a value, infinite beyond the first and the last; a bin includes its upper edge."""
    position = bisect_left(edges, value)
    return (
        edges[position - 1] if position else -math.inf,
        edges[position] if position < len(edges) else math.inf,
    )


def summarize(windows: Iterable[OutputWindow], *, now: float) -> Mapping[str, float]:
    """Compute ``count``, ``mean``, ``median``, ``min``, ``max`` and the sample's ``stddev`` over all fresh windows.

    The median is interpolated within its bin, between the bin's edges or the extremes, so its error is less than
    the bin's width. If there are no events, only ``count`` is returned; if there is one, ``stddev`` is omitted.
    """
    fresh = [window for window in windows if now - window.started < WINDOWS * WINDOW_SECONDS]
    total = OutputWindow(shift=fresh[0].shift if fresh else 0.0)
    for window in fresh:
        total.merge(window)
    if not total.count:
        return {"count": 0.0}
    mean = total.total / total.count
    summary = {
        "count": total.count,
        "mean": total.shift + mean,
        "median": _median(total),
        "min": total.low,
        "max": total.high,
    }
    if total.count > 1:
        spread = max(0.0, total.squares - total.count * mean * mean)
        summary["stddev"] = math.sqrt(spread / (total.count - 1))
    return summary


def _median(window: OutputWindow) -> float:
    half_count, count_below = sum(window.bins.values()) / 2, 0.0
    for (low, high), count in sorted(window.bins.items()):
        if count_below + count >= half_count:
            low, high = max(window.low, low), min(window.high, high)
            return low + (max(high, low) - low) * (half_count - count_below) / count
        count_below += count
    return window.high


OTHER_CLASS: Final = "other"
MAX_CLASSES: Final = 50
MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
DURATIONS: Final = (.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)  # fmt: skip
_STEPS: Final = tuple(m * 10.0**e for e in range(-4, 7) for m in (1, 2, 5))
VALUES: Final = (*(-step for step in reversed(_STEPS)), 0.0, *_STEPS)
"""The bin edges for outputs of a model without a profile."""
_MODEL = ("model", "version", "role")
_STATE = "ml_prediction_window_state"
_MAX_REASONS = 20
_log = logging.getLogger("logging_lib")


class PredictionMetrics:
    """The Prometheus metrics of one model's events.

    Args:
        profile: provides the names of the features, the classes, and the bins of the outputs.
        clock: returns seconds since 1970.

    Raises:
        ModuleNotFoundError: prometheus_client is not installed.
    """

    def __init__(
        self,
        *,
        model: str,
        version: str,
        role: str,
        profile: Profile | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        names = (model, version, role)
        output = profile.prediction if profile is not None else None
        numeric = output is not None and output.kind == "numeric" and len(output.edges) > 1
        edges = tuple(dict.fromkeys(output.edges)) if output is not None and numeric else VALUES
        shift = output.moments.mean if output is not None and numeric and output.moments else 0.0
        self._features = frozenset(profile.features) if profile is not None else frozenset()
        classes = output.values if output is not None and output.kind in ("category", "boolean") else {}
        self._classes = frozenset(list(classes)[:MAX_CLASSES])
        self._clock = clock
        self._names = names
        self._edges, self._shift = edges, shift
        self._series: dict[tuple[Any, ...], Any] = {}
        self._families = _metric_families()
        self._histogram = _value_histogram(names, edges)
        self._warned = False
        self._spool: Spool | None = None
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[int, OutputWindow] = {}
        self._counted: dict[str, int] = {}

    def follow_spool(self, spool: Spool) -> None:
        """Count the events that this spool drops."""
        self._spool = spool
        self._families["dropped"].labels(
            "disk_budget"
        )  # created now, so that the first dropped event shows as an increase

    def observe(self, event: Mapping[str, Any]) -> None:
        """Count one prediction event, before it is sampled; it never raises."""
        try:
            self._observe(event)
        except Exception as error:  # noqa: BLE001 - such as a full disk for the multiprocess files
            if not self._warned:
                _log.warning("metrics are incomplete: %r", error)
            self._warned = True

    def _observe(self, event: Mapping[str, Any]) -> None:
        event_fields, ml = event["event"], event["ml"]
        self._get_series("outcomes", event_fields["outcome"]).inc()
        duration = event_fields.get("duration")
        if duration is not None:
            self._get_series("duration").observe(duration / 1e9)
        for check, features in (ml.get("check") or {}).items():
            if check not in VALUE_FIELDS:
                for name in features:
                    label_value = name if name in self._features else OTHER_CLASS
                    self._get_series("checks", check, label_value).inc()
        output = ml.get("prediction") or {}
        value, label = output.get("value"), output.get("label")
        if isinstance(value, int | float) and math.isfinite(value):
            self._histogram.observe(value)
            self._add_to_window(float(value))
            labels: list[str] = []
        else:
            labels = output.get("labels", []) if label is None else [label]
        for label_value in {label if label in self._classes else OTHER_CLASS for label in labels}:
            self._get_series("classes", label_value).inc()
        if self._spool is not None and self._spool.dropped:
            self._count_dropped(self._spool)

    def _add_to_window(self, value: float) -> None:
        index, started = find_window(self._clock())
        edges = find_bin(value, self._edges)
        with self._lock:
            window = self._windows.get(index)
            if window is None or window.started != started:
                for old_edges in window.bins if window is not None else ():
                    self._set_state(index, _bin_name(old_edges), 0.0)
                window = self._windows[index] = OutputWindow(started, self._shift)
                self._set_state(index, "shift", self._shift)
                self._set_state(index, "started", started)
            window.add(value, edges)
            self._set_state(index, "count", window.count)
            self._set_state(index, "total", window.total)
            self._set_state(index, "squares", window.squares)
            self._set_state(index, _bin_name(edges), window.bins[edges])
            if window.low == value:
                self._set_state(index, "low", value)
            if window.high == value:
                self._set_state(index, "high", value)

    def _set_state(self, index: int, name: str, value: float) -> None:
        self._get_series("state", str(index), name).set(value)

    def _get_series(self, family: str, *labels: str) -> Any:
        """Return the series with these labels from a cache: the label set is bounded, and the look-up is faster."""
        series = self._series.get((family, *labels))
        if series is None:
            series = self._series[(family, *labels)] = self._families[family].labels(*self._names, *labels)
        return series

    def _count_dropped(self, spool: Spool) -> None:
        for reason, count in list(spool.dropped.items()):
            increase = count - self._counted.get(reason, 0)
            if increase > 0:
                self._counted[reason] = count
                label_value = reason if len(self._counted) <= _MAX_REASONS else OTHER_CLASS
                self._families["dropped"].labels(label_value).inc(increase)


@cache
def _metric_families() -> dict[str, Any]:
    """Create the families that all models of the process share; the collector hides the state of the windows."""
    from prometheus_client import Counter, Gauge, Histogram

    return {
        "outcomes": Counter("ml_predictions", "Predictions.", (*_MODEL, "outcome"), registry=None),
        "duration": Histogram(
            "ml_prediction_duration_seconds", "How long predictions took.", _MODEL,
            buckets=DURATIONS, registry=None,
        ),
        "checks": Counter(
            "ml_check_failures", "Inputs that failed a check against the profile.", (*_MODEL, "check", "feature"),
            registry=None,
        ),
        "classes": Counter("ml_prediction_classes", "Predictions by class.", (*_MODEL, "class"), registry=None),
        "dropped": Counter("ml_spool_dropped", "Events that could not be kept.", ("reason",), registry=None),
        "state": Gauge(
            _STATE, "The last windows of each process.", (*_MODEL, "slot", "field"),
            registry=None, multiprocess_mode="all",
        ),
    }  # fmt: skip


_histograms: dict[tuple[str, ...], Any] = {}


def _value_histogram(names: tuple[str, str, str], edges: tuple[float, ...]) -> Any:
    """Create the histogram of a model version, in its own family of the same name, because its bins differ."""
    from prometheus_client import Histogram

    if names not in _histograms:
        family = Histogram(
            "ml_prediction_value", "Outputs, in the profile's bins.", _MODEL, buckets=edges, registry=None
        )
        _histograms[names] = family.labels(*names)
        _histograms[(*names, "family")] = family
    return _histograms[names]


def build_collector() -> Collector:
    """Build the collector of this process, or of all in multiprocess mode; it computes summaries when scraped."""
    return _PredictionCollector(time.time)


class _PredictionCollector:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        yield from derive_summaries(self._families(), now=self._clock())

    def _families(self) -> Iterator[Metric]:
        if os.environ.get(MULTIPROCESS):
            from prometheus_client.multiprocess import MultiProcessCollector
            from prometheus_client.registry import CollectorRegistry

            yield from MultiProcessCollector(CollectorRegistry()).collect()  # type: ignore[no-untyped-call]
            return
        for family in _metric_families().values():
            yield from family.collect()
        merged: Metric | None = None
        for key, family in list(_histograms.items()):
            if key[-1] == "family" and len(key) > len(_MODEL):
                for metric in family.collect():
                    if merged is None:
                        merged = metric
                    else:
                        merged.samples.extend(metric.samples)
        if merged is not None:
            yield merged


def derive_summaries(families: Iterator[Metric], *, now: float) -> Iterator[Metric]:
    """Replace the family that holds the state of the windows with ``ml_prediction_window_*`` summaries."""
    from prometheus_client.metrics_core import GaugeMetricFamily

    windows: defaultdict[tuple[str, ...], dict[tuple[str, str], OutputWindow]] = defaultdict(dict)
    for family in families:
        if family.name != _STATE:
            yield family
            continue
        for sample in family.samples:
            model = tuple(sample.labels[name] for name in _MODEL)
            key = (sample.labels.get("pid", ""), sample.labels["slot"])
            _set_field(windows[model].setdefault(key, OutputWindow()), sample.labels["field"], sample.value)
    summaries = {
        name: GaugeMetricFamily(
            f"ml_prediction_window_{name}",
            f"{text} of the outputs in the last one to two minutes.",
            labels=_MODEL,
        )
        for name, text in _TEXTS.items()
    }
    for model, model_windows in sorted(windows.items()):
        for name, value in summarize(model_windows.values(), now=now).items():
            summaries[name].add_metric(model, value)
    yield from (family for family in summaries.values() if family.samples)


_TEXTS: Final = {"count": "Number", "mean": "Mean", "median": "Median", "min": "Minimum", "max": "Maximum",
                 "stddev": "Sample standard deviation"}  # fmt: skip


def _bin_name(edges: Bin) -> str:
    return f"bin:{edges[0]!r}:{edges[1]!r}"


def _set_field(window: OutputWindow, name: str, value: float) -> None:
    kind, _, edges = name.partition(":")
    if kind == "bin":
        low, _, high = edges.partition(":")
        window.bins[float(low), float(high)] = value
    else:
        setattr(window, name, value)
