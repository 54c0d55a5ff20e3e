"""Each panel of each dashboard shows what pandas computes on the same documents.

Percentiles are exact in the embedded store, which the preview and the report ask; Elasticsearch estimates them
(``test_stores``).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from logging_lib._util import content
from logging_lib.dashboards import queries, tables
from logging_lib.dashboards.build import for_profile
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.dashboards.selection import PanelSelection
from logging_lib.dashboards.spec import Dashboard, Panel
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.testing import streams
from tests.dashboards.by_pandas import Panels
from tests.dashboards.conftest import Documents

SHIPPED = [
    pytest.param(panel, id=f"{one.id}: {panel.title}")
    for one in load_dashboards(content.path("kibana_dashboards"))
    for panel in one.panels
    if panel.chart != "text"
]
CHOSEN: dict[str, dict[str, Any]] = {
    "everything": {},
    "a shadow, the second hour": {"model": "loans", "version": "2", "role": "shadow", "hours": (1, 2)},
    "a feature, by quarters of an hour": {"model": "loans", "feature": "income", "interval": "15m"},
}


@pytest.fixture(scope="module")
def computed(documents: Documents) -> Panels:
    return Panels(documents)


@pytest.mark.parametrize("chosen", CHOSEN)
@pytest.mark.parametrize("panel", SHIPPED)
def test_every_shipped_panel_shows_the_expected_numbers(
    panel: Panel, chosen: str, filled: EmbeddedStore, computed: Panels, selection: PanelSelection
) -> None:
    compare(panel, choice(selection, **CHOSEN[chosen]), filled, computed)


def test_every_panel_of_a_models_own_dashboard_shows_the_expected_numbers(
    filled: EmbeddedStore, computed: Panels, selection: PanelSelection, maker: streams.DocumentGenerator
) -> None:
    own: Dashboard = for_profile(maker.profile)
    for panel in own.panels:
        if panel.chart != "text":
            for chosen in ("everything", "a shadow, the second hour"):
                compare(panel, choice(selection, **CHOSEN[chosen]), filled, computed)


def choice(
    selection: PanelSelection, *, hours: tuple[int, int] | None = None, **given: Any
) -> PanelSelection:
    if hours is not None:
        start, end = (selection.start + timedelta(hours=one) for one in hours)
        given |= {"start": start, "end": end}
    return replace(selection, **given)


def compare(panel: Panel, chosen: PanelSelection, store: EmbeddedStore, computed: Panels) -> None:
    if panel.chart not in ("rates", "bins"):  # others narrow their splits by the feature, or their events
        chosen = replace(chosen, feature=None)
    asked = queries.expected_request(panel, chosen)
    found = tables.rows(
        panel,
        chosen,
        store.search(*queries.shared_request(panel, chosen)),
        store.search(*asked) if asked else None,
    )
    expected = computed.rows(panel, chosen)
    if panel.chart == "bins":  # in the order of their numbers
        found, expected = (
            sorted(rows, key=lambda row: (row["feature"], row["bin"])) for rows in (found, expected)
        )
    if panel.chart == "events":  # those of one moment have no order
        assert [row["@timestamp"] for row in found] == [row["@timestamp"] for row in expected]
        known = {row["_id"]: row for row in computed.rows(panel.model_copy(update={"size": 1000}), chosen)}
        found = [{name: value for name, value in row.items() if name != "_source"} for row in found]
        expected = [known[row["_id"]] for row in found]
    assert len(found) == len(expected)
    for our, theirs in zip(found, expected, strict=True):
        assert our == {
            name: pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
            for name, value in theirs.items()
        }
