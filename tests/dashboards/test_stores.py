"""What each shipped panel stands for is asked of both stores, and must return data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from logging_lib.dashboards import queries, tables
from logging_lib.dashboards.build import for_profile
from logging_lib.dashboards.kibana import objects
from logging_lib.dashboards.selection import PanelSelection
from logging_lib.dashboards.spec import Dashboard, Panel
from logging_lib.logger.checks import VALUE_FIELDS
from logging_lib.store.connection import Connection
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import Store
from logging_lib.watch.testing import streams
from tests.dashboards.conftest import Documents, fill
from tests.store import elastic

# Estimated by Elasticsearch (t-digest), exact in the embedded store.
ESTIMATED = {"median", "percentile"}
LABELS = ("x", "y", "series", "metric", "feature", "bin", "training", "expected")


@pytest.fixture(scope="module")
def panels(shipped: list[Dashboard], maker: streams.DocumentGenerator) -> list[tuple[str, Panel]]:
    """The shipped ones, and those of a model's own dashboard."""
    every = [*shipped, for_profile(maker.profile)]
    return [(one.id, panel) for one in every for panel in one.panels if panel.chart != "text"]


def answer(store: Store, panel: Panel, selection: PanelSelection) -> list[dict[str, Any]]:
    expected = queries.expected_request(panel, selection)
    found = store.search(*expected) if expected else None
    return tables.rows(panel, selection, store.search(*queries.request(panel, selection)), found)


def has_data(panel: Panel, rows: list[dict[str, Any]]) -> bool:
    labels = {*LABELS, *(tables.label(name) for name in panel.splits)}
    return any(value is not None for row in rows for name, value in row.items() if name not in labels)


def test_every_panel_returns_data(
    filled: EmbeddedStore, selection: PanelSelection, panels: list[tuple[str, Panel]]
) -> None:
    silent = [
        f"{name}: {panel.title}"
        for name, panel in panels
        if not has_data(panel, answer(filled, panel, selection))
    ]
    assert silent == []


def test_every_panel_is_sensible_without_events(
    selection: PanelSelection, panels: list[tuple[str, Panel]]
) -> None:
    with EmbeddedStore(None) as store:
        for _, panel in panels:
            for row in answer(store, panel, selection):
                assert not any(value for name, value in row.items() if name not in LABELS)


def test_a_period_without_events_is_not_an_error(
    filled: EmbeddedStore, selection: PanelSelection, panels: list[tuple[str, Panel]]
) -> None:
    before = replace(
        selection, start=selection.start.replace(year=2010), end=selection.end.replace(year=2011)
    )
    for _, panel in panels:
        for row in answer(filled, panel, before):
            assert not any(value for name, value in row.items() if name not in LABELS)


@pytest.mark.elasticsearch
def test_both_stores_give_the_same_rows(
    filled: EmbeddedStore,
    elasticsearch: Connection,
    selection: PanelSelection,
    documents: Documents,
    panels: list[tuple[str, Panel]],
) -> None:
    store = elastic.store(elasticsearch)
    namespace = f"test{uuid4().hex[:12]}"
    events = [one for one in documents if one[0].startswith("logs-")]
    fill(store, events, rename=lambda target: target.replace("default", namespace))
    here = replace(selection, namespace="default")
    there = replace(selection, namespace=namespace)
    for name, panel in panels:
        if panel.dataset == "alert":  # its index has no namespaces
            continue
        asked = panel.model_copy(update={"expected": None})
        ours, theirs = answer(filled, asked, here), answer(store, asked, there)
        if panel.chart == "events":  # those of one moment have no order of their own
            assert len(ours) == len(theirs), (name, panel.title)
            continue
        estimated = {one.name for one in queries.operations(panel)} & ESTIMATED
        assert [sorted(row) for row in ours] == [sorted(row) for row in theirs], (name, panel.title)
        for our, their in zip(ours, theirs, strict=True):
            for key, value in our.items():
                if isinstance(value, float) and their[key] is not None:
                    close = pytest.approx(value, rel=0.2 if estimated else 1e-5, abs=1e-6)
                    assert their[key] == close, (name, panel.title, our, their)
                else:
                    assert their[key] == value, (name, panel.title, our, their)


@pytest.mark.elasticsearch
def test_the_runtime_field_names_the_features_that_failed(
    elasticsearch: Connection, documents: Documents
) -> None:
    """The control of Kibana's dashboards; at most a hundred a document, which is what a runtime field holds."""
    store = elastic.store(elasticsearch)
    namespace = f"test{uuid4().hex[:12]}"
    target = f"logs-ml.prediction-{namespace}"
    predictions = [document for name, document in documents if name.startswith("logs-ml.prediction")][:300]
    many = {**predictions[0], "event": {**predictions[0]["event"], "id": "many"}}
    many = {**many, "ml": {**many["ml"], "check": {"missing": [f"f{i}" for i in range(150)]}}}
    fill(store, [(target, one) for one in (*predictions, many)])
    expected: dict[str, int] = {}
    for one in predictions:
        checks = one["ml"].get("check", {})
        names = {name for field, found in checks.items() if field not in VALUE_FIELDS for name in found}
        for name in names:
            expected[name] = expected.get(name, 0) + 1
    body = {
        "size": 0,
        "runtime_mappings": {
            objects.FAILED: {"type": "keyword", "script": {"source": objects.failed_script()}}
        },
        "aggs": {"names": {"terms": {"field": objects.FAILED, "size": 1000}}},
    }
    found = elasticsearch.call("POST", f"/{target}/_search", body)["aggregations"]["names"]["buckets"]
    counts = {bucket["key"]: bucket["doc_count"] for bucket in found}
    assert {name: count for name, count in counts.items() if not name.startswith("f")} == expected
    assert sum(name.startswith("f") for name in counts) == 100
