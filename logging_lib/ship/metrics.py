"""The Prometheus metrics of spools and their shippers, and the registry of an endpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from logging_lib.logger import metrics
from logging_lib.logger.segments import DEAD_LETTERS, list_segments
from logging_lib.ship.spool_reader import STATE, ShipperState, load_state

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector, CollectorRegistry


def build_registry(*spools: str | Path) -> CollectorRegistry:
    """Build an endpoint's registry: the metrics of predictions, of the service, and of the health of these spools.

    In multiprocess mode (``PROMETHEUS_MULTIPROC_DIR``) it covers all processes, otherwise only this one.

    Raises:
        ModuleNotFoundError: prometheus_client is not installed.
    """
    from prometheus_client import REGISTRY
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(metrics.build_collector())
    if not os.environ.get(metrics.MULTIPROCESS):
        registry.register(_ForwardingCollector(REGISTRY))
    if spools:
        registry.register(SpoolCollector(*spools))
    return registry


class _ForwardingCollector:
    def __init__(self, source: Collector) -> None:
        self._source = source

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._source.collect()


class SpoolCollector:
    """A collector of the backlog and the shipper's counters of spools, read from their folders for all processes.

    Args:
        clock: returns seconds since 1970.
    """

    def __init__(self, *spools: str | Path, clock: Callable[[], float] = time.time) -> None:
        self._spools = [Path(spool) for spool in spools]
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        labels = ("spool",)
        gauges = {
            name: GaugeMetricFamily(name, text, labels=labels)
            for name, text in (
                ("ml_spool_backlog_bytes", "What is not acknowledged yet."),
                (
                    "ml_spool_oldest_seconds",
                    "Since the oldest segment with something not acknowledged was written to.",
                ),
                ("ml_spool_disk_free_bytes", "Free on the file system that holds the spool."),
                ("ml_shipper_last_seen_seconds", "Since the shipper last wrote down what was acknowledged."),
            )
        }
        counters = {
            name: CounterMetricFamily(name, text, labels=labels)
            for name, text in (
                ("ml_shipper_shipped", "Events that the receiver acknowledged."),
                ("ml_shipper_dead_lettered", "Events that the receiver refused for good."),
                ("ml_shipper_duplicates", "Events that the receiver had already."),
                ("ml_shipper_retries", "Deliveries that were repeated."),
            )
        }
        now = self._clock()
        for spool in self._spools:
            state = load_state(spool)
            name = [str(spool)]
            size, oldest = _measure_backlog(spool, state)
            gauges["ml_spool_backlog_bytes"].add_metric(name, size)
            gauges["ml_spool_oldest_seconds"].add_metric(name, max(0.0, now - oldest) if oldest else 0.0)
            if spool.is_dir():
                disk = os.statvfs(spool)
                gauges["ml_spool_disk_free_bytes"].add_metric(name, disk.f_bavail * disk.f_frsize)
            if (spool / STATE).exists():
                gauges["ml_shipper_last_seen_seconds"].add_metric(name, max(0.0, now - state.updated))
            counters["ml_shipper_shipped"].add_metric(name, state.shipped)
            counters["ml_shipper_dead_lettered"].add_metric(name, state.dead_lettered)
            counters["ml_shipper_duplicates"].add_metric(name, state.duplicates)
            counters["ml_shipper_retries"].add_metric(name, state.retries)
        yield from gauges.values()
        yield from counters.values()


def _measure_backlog(spool: Path, state: ShipperState) -> tuple[int, float | None]:
    """Return the number of unacknowledged bytes and the time of the last write to their oldest segment.

    No file is read.
    """
    size, oldest = 0, None
    for path in (spool / DEAD_LETTERS, *list_segments(spool)):
        try:
            unread = path.stat().st_size - state.offsets.get(path.name, 0)
        except FileNotFoundError:  # shipped and deleted in the meantime
            continue
        if unread > 0:
            size += unread
            if oldest is None and path.name != DEAD_LETTERS:
                oldest = path.stat().st_mtime
    return size, oldest
