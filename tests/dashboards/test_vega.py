"""The panels that Vega draws: rendered, with a store's answer where Kibana would ask."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import vl_convert

from logging_lib.dashboards import queries, tables, vega
from logging_lib.dashboards.selection import PanelSelection
from logging_lib.dashboards.spec import Panel
from logging_lib.store.duckdb.store import EmbeddedStore

OLDEST = "5.8"
"""Of Vega-Lite: Kibana 8.15 has 5.5, and this is the oldest that can be had here."""
PROFILES: dict[str, Any] = {"query": {"term": {"deployed": True}}, "_source": ["expected.rates"]}


def drawn(
    panel: Panel, store: EmbeddedStore, selection: PanelSelection, chosen: str | None = None
) -> list[str]:
    """What a screen reader hears of each mark."""
    made = json.loads(vega.spec(panel))
    answers = {"logs-ml.prediction-*": store.search(*queries.request(panel, selection))}
    answers["ml-profiles*"] = store.search("ml-profiles", PROFILES)

    def answered(node: Any) -> Any:
        if isinstance(node, dict):
            if isinstance(node.get("url"), dict):
                return {"values": [answers[node["url"]["index"]]]}
            return {key: answered(value) for key, value in node.items()}
        return [answered(one) for one in node] if isinstance(node, list) else node

    made = answered(made)
    if chosen is not None:
        made["hconcat"][0]["params"][0]["value"] = [{"feature": chosen}]
    svg = vl_convert.vegalite_to_svg(json.dumps(made), vl_version=OLDEST)
    return re.findall(r'aria-label="([^"]*)"', svg)


def test_the_search_has_kibanas_placeholders(selection: PanelSelection) -> None:
    panel = Panel(title="x", chart="rates", field="ml.check.missing", expected="missing")
    served, expected = json.loads(vega.spec(panel))["layer"]
    body = served["data"]["url"]["body"]
    assert body["query"]["bool"]["must"] == ["%dashboard_context-must_clause%"]
    assert body["query"]["bool"]["filter"] == [
        "%dashboard_context-filter_clause%",
        {"range": {"@timestamp": {"gte": {"%timefilter%": "min"}, "lt": {"%timefilter%": "max"}}}},
    ]
    over_time = body["aggs"]["features"]["aggs"]["x"]["date_histogram"]
    assert over_time["fixed_interval"] == {"%autointerval%": 60}
    assert over_time["extended_bounds"] == {"min": {"%timefilter%": "min"}, "max": {"%timefilter%": "max"}}
    assert expected["data"]["url"]["index"] == "ml-profiles*"
    assert "2000-01" not in vega.spec(panel)


def test_lines_are_drawn_beside_those_of_training(filled: EmbeddedStore, selection: PanelSelection) -> None:
    panel = Panel(title="x", chart="rates", field="ml.check.missing", expected="missing")
    heard = drawn(panel, filled, replace(selection, interval="10m"))
    assert any("income, expected" in one and "share in training: 2." in one for one in heard)
    assert any("time: " in one and "Feature: income" in one for one in heard)


def test_bins_of_a_clicked_feature_are_the_rows(filled: EmbeddedStore, selection: PanelSelection) -> None:
    panel = Panel(title="x", chart="bins")
    half = replace(selection, start=selection.start + timedelta(hours=1))
    heard = drawn(panel, filled, half, chosen="home")
    rows = tables.rows(panel, half, filled.search(*queries.request(panel, half)))
    for row in rows:
        if row["feature"] == "home":
            for when, column in (("now", "now"), ("week before", "before")):
                # Vega writes the share as a percentage with one decimal.
                shown = f"share: {row[column] * 100:.1f}%; bin: {row['bin']}; when: {when}"
                assert any(shown in one for one in heard), (shown, heard)
    distances = {row["feature"]: row["distance"] for row in rows}
    for feature, distance in distances.items():
        assert any(f"distance: {distance * 100:.1f}%; feature: {feature}" in one for one in heard), feature


def test_a_feature_is_shown_against_its_training(filled: EmbeddedStore, selection: PanelSelection) -> None:
    panel = Panel(
        title="x",
        chart="bins",
        feature="home",
        training={"RENT": 0.4, "OWN": 0.5, "!missing": 0.1, "a%3Db": 0.0},
    )
    heard = drawn(panel, filled, replace(selection, model="loans"))
    assert any("share: 50.0%; bin: OWN" in one for one in heard)
    assert any("bin: a=b" in one for one in heard)
    assert any("bin: !unseen" in one for one in heard)


@pytest.mark.parametrize("chart", ["rates", "bins"])
def test_nothing_is_drawn_of_an_answer_without_an_index(chart: Any, selection: PanelSelection) -> None:
    """Elasticsearch leaves the aggregations out where no index matches."""

    class Empty(EmbeddedStore):
        def search(self, *arguments: Any, **options: Any) -> dict[str, Any]:
            return {"hits": {"hits": []}}

    field = "ml.check.missing" if chart == "rates" else None
    panel = Panel(title="x", chart=chart, field=field, expected="missing" if field else None)
    with Empty(None) as store:
        heard = drawn(panel, store, selection)
    assert not any("share:" in one for one in heard)


def test_a_panel_that_vega_cannot_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="not drawn by Vega"):
        vega.spec(Panel(title="x", chart="line", metric="count"))
