"""A compiled Lens panel, read as Kibana reads it, draws the numbers of the panel's rows."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from logging_lib.dashboards import queries, tables
from logging_lib.dashboards.build import for_profile
from logging_lib.dashboards.kibana import lens, objects
from logging_lib.dashboards.selection import PanelSelection
from logging_lib.dashboards.spec import Dashboard, Panel
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.testing import streams
from tests.dashboards import lens_reader


def drawn_by_rows(panel: Panel, rows: list[dict[str, Any]]) -> list[float | None]:
    """The values of the rows, in the order of buckets and metrics."""
    if panel.chart == "table":
        return [row[tables.metric_label(metric)] for row in rows for metric in panel.numbers]
    if panel.band:
        return [value for row in rows for value in (row["value"], row["low"], row["high"])]
    return [row["value"] for row in rows]


def compiled(dashboards: list[Dashboard]) -> dict[tuple[str, str], dict[str, Any]]:
    """(dashboard, panel's title) → the Lens attributes in the NDJSON itself."""
    found = {}
    for line in objects.ndjson(objects.saved_objects(dashboards)).split("\n"):
        one = json.loads(line or "{}")
        if one.get("type") == "dashboard":
            for panel in json.loads(one["attributes"]["panelsJSON"]):
                if panel["type"] == "lens":
                    found[one["id"], panel["title"]] = panel["embeddableConfig"]["attributes"]
    return found


def test_every_lens_panel_draws_what_its_rows_say(
    filled: EmbeddedStore,
    selection: PanelSelection,
    shipped: list[Dashboard],
    maker: streams.DocumentGenerator,
) -> None:
    every = [*shipped, for_profile(maker.profile)]
    made = compiled(every)
    compared = 0
    start, end = selection.start, selection.end - timedelta(milliseconds=1)
    for one in every:
        for panel in one.panels:
            if panel.chart not in lens.CHARTS:
                continue
            indices, body = queries.request(panel, selection)
            rows = tables.rows(panel, selection, filled.search(indices, body))
            attributes = made[objects.dashboard_id(one.id), panel.title]
            asked = lens_reader.search(attributes, selection.step, start.isoformat(), end.isoformat())
            minutes = selection.step_seconds / 60
            theirs = lens_reader.numbers(attributes, filled.search(indices, asked), minutes)
            ours = drawn_by_rows(panel, rows)
            if panel.x != "time":  # Lens sorts by letters
                ours, theirs = sorted(map(str, ours)), sorted(map(str, theirs))
            assert len(theirs) == len(ours), (one.id, panel.title)
            for our, their in zip(ours, theirs, strict=True):
                assert their == pytest.approx(our), (one.id, panel.title)
            compared += len(ours)
    assert compared > 1500
