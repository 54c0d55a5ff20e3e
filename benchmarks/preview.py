"""Dashboards of a million events without Kibana: from a store's folder to every panel of each dashboard."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import _history
from benchmarks._common import Result
from logging_lib._util import content
from logging_lib.dashboards import preview
from logging_lib.dashboards.build import for_profile
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.dashboards.page import render_preview
from logging_lib.store.duckdb.store import EmbeddedStore

EVENTS = 1_000_000
GOAL = "<= 5 s for 1M events"


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="logging-lib-bench-") as folder:
        made = _history.write(Path(folder), EVENTS)
        dashboards = [*load_dashboards(content.path("kibana_dashboards")), for_profile(made)]
        started, used = time.perf_counter(), time.process_time()
        with EmbeddedStore(folder, read_only=True) as opened:
            store = preview.CachingStore(opened)
            preview.prepare(store, dashboards)
            now = datetime.now(UTC)
            known = preview.choices(store, now=now)
            render_preview(dashboards, known)
            waited, worked = time.perf_counter() - started, time.process_time() - used
            yield Result("preview_start", waited, "s", "once, before the page is served")
            yield Result("preview_start_cpu", worked, "s", "the same, of the processor's time")
            for dashboard in dashboards:
                store.refresh()
                started = time.perf_counter()
                known = preview.choices(store, now=now)
                chosen = preview.selection({"model": _history.MODEL}, known, now=now)
                views = [preview.panel_view(store, panel, chosen) for panel in dashboard.panels]
                seconds = time.perf_counter() - started
                failed = [view for view in views if view["kind"] == "error"]
                assert not failed, (dashboard.id, failed)
                name = dashboard.id if dashboard.id.isalpha() else "model"
                yield Result(f"preview_{name}", seconds, "s", GOAL)
