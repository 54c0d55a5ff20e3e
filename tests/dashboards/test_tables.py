"""A panel's numbers are those that pandas computes on the same events."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from logging_lib.dashboards import queries, tables
from logging_lib.dashboards.selection import PanelSelection, last, seconds
from logging_lib.dashboards.spec import Panel
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.dashboards.conftest import Documents


def rows(store: Any, selection: PanelSelection, **given: Any) -> list[dict[str, Any]]:
    panel = Panel.model_validate({"title": "x", **given})
    answer = store.search(*queries.request(panel, selection))
    asked = queries.expected_request(panel, selection)
    return tables.rows(panel, selection, answer, store.search(*asked) if asked else None)


@pytest.fixture(scope="module")
def frame(documents: Documents) -> pd.DataFrame:
    """The predictions, one row each."""
    made = []
    for target, document in documents:
        if target.startswith("logs-ml.prediction"):
            ml = document["ml"]
            made.append(
                {
                    "at": pd.Timestamp(document["@timestamp"]),
                    "model": ml["model"]["name"],
                    "role": ml["model"]["role"],
                    "weight": ml["sample"]["weight"],
                    "failed": document["event"]["outcome"] == "failure",
                    "ns": document["event"].get("duration"),
                    "value": ml.get("prediction", {}).get("value"),
                    "missing": set(ml.get("check", {}).get("missing", ())),
                    "bins": ml.get("input", {}).get("bins", []),
                }
            )
    return pd.DataFrame(made)


def test_counts_are_sums_of_weights(
    filled: EmbeddedStore, selection: PanelSelection, frame: pd.DataFrame
) -> None:
    (one,) = rows(filled, selection, chart="metric", metric="count")
    assert one == {"metric": "Events", "value": frame["weight"].sum()}
    assert one["value"] > len(frame)


def test_a_share_is_a_ratio_of_weights(
    filled: EmbeddedStore, selection: PanelSelection, frame: pd.DataFrame
) -> None:
    found = rows(
        filled, selection, chart="table", split=["ml.model.name", "ml.model.role"],
        where={"failed": {"event.outcome": "failure"}},
        metrics=[{"label": "n", "metric": "count"}, {"label": "share", "formula": "count(failed) / count()"}],
    )  # fmt: skip
    for row in found:
        part = frame[(frame["model"] == row["Model"]) & (frame["role"] == row["Role"])]
        assert row["n"] == part["weight"].sum()
        assert row["share"] == pytest.approx((part["weight"] * part["failed"]).sum() / part["weight"].sum())
    assert {(row["Model"], row["Role"]) for row in found} == set(
        zip(frame["model"], frame["role"], strict=True)
    )


def test_lines_have_a_point_in_each_bucket(
    filled: EmbeddedStore, selection: PanelSelection, frame: pd.DataFrame
) -> None:
    found = rows(
        filled, replace(selection, interval="10m", model="loans"), chart="line", metric="average",
        field="ml.prediction.value", band=True,
    )  # fmt: skip
    by_time = frame[frame["model"] == "loans"].set_index("at")["value"].resample("10min")
    stats = by_time.agg(["mean", "std", "count"])
    assert [pd.Timestamp(row["x"]) for row in found] == list(stats.index)
    for row, (_, expected) in zip(found, stats.iterrows(), strict=True):
        error = 1.96 * expected["std"] / math.sqrt(expected["count"])
        assert row["value"] == pytest.approx(expected["mean"])
        assert row["low"] == pytest.approx(expected["mean"] - error)
        assert row["high"] == pytest.approx(expected["mean"] + error)


def test_throughput_is_per_minute(
    filled: EmbeddedStore, selection: PanelSelection, frame: pd.DataFrame
) -> None:
    found = rows(filled, replace(selection, interval="30m"), chart="area", metric="per_minute")
    assert [row["value"] for row in found] == [
        pytest.approx(total / 30) for total in frame.set_index("at")["weight"].resample("30min").sum()
    ]


def test_percentiles_are_over_documents(
    filled: EmbeddedStore, selection: PanelSelection, frame: pd.DataFrame
) -> None:
    (one,) = rows(
        filled, selection, chart="metric", metric="percentile", percentile=95, field="event.duration"
    )
    assert one["value"] == pytest.approx(frame["ns"].quantile(0.95), rel=0.01)


def test_rates_by_feature_have_all_events_below_the_line(
    filled: EmbeddedStore, selection: PanelSelection, frame: pd.DataFrame, documents: Documents
) -> None:
    """Also for the chosen feature alone; the dashed line is the profile's."""
    chosen = replace(selection, interval="1h", model="loans")
    found = rows(filled, chosen, chart="rates", field="ml.check.missing", expected="missing")
    assert found == rows(
        filled, replace(chosen, feature="income"), chart="rates", field="ml.check.missing", expected="missing"
    )
    part = frame[frame["model"] == "loans"].set_index("at")
    part = part.assign(
        hit=[weight * ("income" in one) for weight, one in zip(part["weight"], part["missing"], strict=True)]
    )
    hourly = part[["hit", "weight"]].resample("1h").sum()
    assert [row["value"] for row in found] == [pytest.approx(v) for v in hourly["hit"] / hourly["weight"]]
    rate = documents[0][1]["expected"]["checks"]["missing"]["income"]
    assert {row["expected"] for row in found} == {rate["count"] / rate["rows"]}
    assert rows(filled, replace(chosen, feature="none"), chart="rates", field="ml.check.missing") == []


def test_bins_are_shown_now_and_in_the_week_before(
    filled: EmbeddedStore, selection: PanelSelection, frame: pd.DataFrame
) -> None:
    half = selection.start + timedelta(hours=1)
    chosen = replace(selection, start=half, model="loans", feature="home")
    found = {row["bin"]: row for row in rows(filled, chosen, chart="bins", expected="bins")}
    part = frame[frame["model"] == "loans"]
    for name, times in (("now", part["at"] >= half), ("before", part["at"] < half)):
        counts = part[times].explode("bins").groupby("bins")["weight"].sum()
        counts = counts[counts.index.str.startswith("home=")]
        for token, share in (counts / counts.sum()).items():
            assert found[str(token).removeprefix("home=")][name] == pytest.approx(share)
    assert found["!unseen"]["training"] == 0
    assert sum(row["training"] for row in found.values()) == pytest.approx(1)
    assert {row["feature"] for row in found.values()} == {"home"}
    assert 0 < found["RENT"]["distance"] < 1


def test_controls_narrow_what_is_counted(
    filled: EmbeddedStore, selection: PanelSelection, frame: pd.DataFrame
) -> None:
    for given, expected in (
        ({"model": "churn"}, frame["model"] == "churn"),
        ({"role": "shadow"}, frame["role"] == "shadow"),
        ({"service": "nobody"}, frame["model"] == ""),
        (
            {"start": selection.start + timedelta(hours=1)},
            frame["at"] >= selection.start + timedelta(hours=1),
        ),
    ):
        (one,) = rows(filled, replace(selection, **given), chart="metric", metric="count")
        assert one["value"] == frame[expected]["weight"].sum()
    letters = {"chart": "metric", "dataset": "deadletter", "metric": "count"}
    assert rows(filled, replace(selection, role="shadow"), **letters) == rows(filled, selection, **letters)


def test_alerts_are_those_that_the_runner_sent(filled: EmbeddedStore, selection: PanelSelection) -> None:
    """A chosen model narrows them, too."""
    sent_alerts = {
        "chart": "table",
        "dataset": "alert",
        "filter": {"record": "alert"},
        "split": ["watch", "model"],
    }
    sent_alerts |= {"metrics": [{"label": "Alerts", "metric": "count"}]}
    assert rows(filled, selection, **sent_alerts) == [{"Watch": "na-spike", "Model": "loans", "Alerts": 3}]
    assert rows(filled, replace(selection, model="loans", version="1"), **sent_alerts) != []
    assert rows(filled, replace(selection, model="churn"), **sent_alerts) == []


def test_an_empty_store_shows_nothing_and_breaks_nothing(selection: PanelSelection) -> None:
    with EmbeddedStore(None) as store:
        assert {row["value"] for row in rows(store, selection, chart="line", metric="count")} == {0}
        assert rows(store, selection, chart="rates", field="ml.check.missing", expected="missing") == []
        assert rows(store, selection, chart="bins", expected="bins") == []
        assert rows(store, selection, chart="events", columns=["@timestamp"]) == []


def test_more_bins_than_an_answer_holds_are_an_error(selection: PanelSelection) -> None:
    panel = Panel(title="x", chart="bins")
    when = {"bins": {"buckets": [], "sum_other_doc_count": 3}}
    answer = {"aggregations": {"when": {"buckets": {"now": when, "before": when}}}}
    with pytest.raises(tables.CutError, match="choose a model or a feature"):
        tables.rows(panel, selection, answer)


def test_a_selection_chooses_its_interval(selection: PanelSelection) -> None:
    assert selection.step == "5m"
    assert last("7d", selection.end).step == "3h"
    assert last("90d", selection.end).step == "7d"
    assert seconds("2w") == 1_209_600
    with pytest.raises(ValueError, match="is not an interval"):
        seconds("0m")
    with pytest.raises(ValueError, match="is not before"):
        PanelSelection(selection.end, selection.start)
    with pytest.raises(ValueError, match="time zone"):
        PanelSelection(selection.start.replace(tzinfo=None), selection.end)


def test_bins_are_sorted_by_their_numbers() -> None:
    names = ["[10,20)", "[-5,2.5)", "RENT", "!missing", "[1e3,2e3]", "[2.5,10)", "OWN"]
    assert sorted(names, key=tables.natural_sort_key) == [
        *("!missing", "[-5,2.5)", "[2.5,10)", "[10,20)", "[1e3,2e3]", "OWN", "RENT"),
    ]
