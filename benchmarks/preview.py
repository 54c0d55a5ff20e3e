"""Dashboards of a million events without Kibana: every panel of each shipped dashboard, from the embedded store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson

from benchmarks import _events
from benchmarks._common import Result, frame
from logging_lib import content, profile
from logging_lib.dashboards import preview
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.store.embedded import EmbeddedStore

EVENTS = 1_000_000
BATCH = 50_000
GOAL = "<= 5 s for 1M events"


def run() -> Iterator[Result]:
    fitted = profile.fit(frame(20_000), model="m", version="1")
    lines = [orjson.loads(line) for line in _events.own(fitted, BATCH)]
    with EmbeddedStore(None) as store:
        started = time.perf_counter()
        for part in range(EVENTS // BATCH):
            for i, one in enumerate(lines):
                one["event"]["id"] = f"{part}-{i}"
            store.index("logs-ml.prediction-default", lines)
        store.index("ml-profiles", [profile.document(fitted)])
        now = datetime.now(UTC)
        known = preview.choices(store, now=now)
        yield Result(
            "preview_load", time.perf_counter() - started, "s", "reported: once, when the store is opened"
        )
        chosen = preview.selection({"model": "m"}, known, now=now)
        dashboards = load_dashboards(content.path("kibana_dashboards"))
        started = time.perf_counter()
        preview.prepare(store, dashboards)
        yield Result(
            "preview_prepare", time.perf_counter() - started, "s", "reported: once, when the page is served"
        )
        for dashboard in dashboards:
            started = time.perf_counter()
            views = [preview.panel_view(store, panel, chosen) for panel in dashboard.panels]
            seconds = time.perf_counter() - started
            assert not [view for view in views if view["kind"] == "error"], dashboard.id
            yield Result(f"preview_{dashboard.id}", seconds, "s", GOAL)
