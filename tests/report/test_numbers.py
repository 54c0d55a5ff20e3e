"""Every number of a report equals what pandas computes of the same events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from logging_lib import PredictionProcessor, profile
from logging_lib.report import markdown
from logging_lib.report.model import ModelReport
from logging_lib.report.page import render_page
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.report.conftest import SCRIPT, START, Document, fill, labels, report_of


@pytest.fixture(scope="module")
def frame(live: list[Document]) -> pd.DataFrame:
    rows = [
        {
            "time": pd.Timestamp(one["@timestamp"]),
            "weight": one["ml"]["sample"]["weight"],
            "failed": one["event"]["outcome"] == "failure",
            "ms": one["event"]["duration"] / 1e6,
            "value": one["ml"].get("prediction", {}).get("value"),
            "bin": one["ml"].get("prediction", {}).get("bin"),
            "bins": dict(token.split("=", 1) for token in one["ml"]["input"]["bins"]),
            "missing": one["ml"].get("check", {}).get("missing", []),
            "unseen": one["ml"].get("check", {}).get("unseen", []),
        }
        for one in live
    ]
    return pd.DataFrame(rows)


def test_the_report_shows_traffic_and_latency(made: ModelReport, frame: pd.DataFrame) -> None:
    main = made.main
    assert main is not None
    assert main.documents == len(frame)
    assert main.predictions == frame["weight"].sum() == main.checked
    assert main.failures == frame.loc[frame["failed"], "weight"].sum()
    for percent in (50, 95, 99):
        assert main.latency[str(percent)] == pytest.approx(np.percentile(frame["ms"], percent))


def test_mean_and_its_error_in_each_interval(made: ModelReport, frame: pd.DataFrame) -> None:
    with_value = frame.dropna(subset=["value"])
    by_time = with_value.groupby(with_value["time"].dt.floor(made.interval))
    assert len(made.moments) == len(by_time)
    for moment in made.moments:
        group = by_time.get_group(pd.Timestamp(moment.time))
        w, v = group["weight"], group["value"].astype(float)
        mean = np.average(v, weights=w)
        effective = w.sum() ** 2 / (w**2).sum()
        variance = np.average((v - mean) ** 2, weights=w) * effective / (effective - 1)
        assert moment.mean == pytest.approx(mean)
        assert moment.error == pytest.approx(np.sqrt(variance / effective), rel=1e-6)


def test_traffic_in_each_interval(made: ModelReport, frame: pd.DataFrame) -> None:
    expected = frame.groupby(frame["time"].dt.floor(made.interval))["weight"].sum()
    assert {pd.Timestamp(m.time): m.predictions for m in made.moments} == expected.to_dict()


def test_bins_of_each_input(made: ModelReport, frame: pd.DataFrame, fit: profile.Profile) -> None:
    for feature in made.features:
        token = profile_token(feature.name)
        served = frame.groupby(frame["bins"].map(lambda bins, t=token: bins[t]))["weight"].sum().to_dict()
        shown = {share.name: share.served for share in feature.shares if share.served}
        assert sorted(shown.values()) == sorted(served.values())
        trained = fit.features[feature.name].expected_bins()
        assert sum(share.trained for share in feature.shares) == sum(trained.values())


def test_values_of_another_type_are_named_with_their_check(fit: profile.Profile) -> None:
    """Beside unseen values of the same feature's name, and in the page and the Markdown."""
    process = PredictionProcessor(model="loans", version="1", profile=fit)
    events = []
    for number in range(300):
        income = {0: "12,5", 1: [1], 2: SCRIPT}.get(number % 6, 60000.0)
        inputs = {"income": income, SCRIPT: "HOUSE" if number % 4 == 0 else "RENT", "title": "nurse"}
        fields = {"inputs": inputs, "prediction": 12.0, "timestamp": START + timedelta(minutes=number)}
        events.append(dict(process(None, "info", fields)))
    with EmbeddedStore(None) as store:
        fill(store, events)
        store.index("ml-profiles", [profile.build_document(fit)])
        report = report_of(store)
    income, home = report.feature("income"), report.feature(SCRIPT)
    assert income is not None
    assert home is not None
    (rate,) = (rate for rate in income.rates if rate.check == "wrong_type")
    assert (rate.hits, rate.total, rate.expected, rate.elevated) == (150, 300, 0, True)
    assert rate.values == (('"12,5"', 50), (f'"{SCRIPT[:38]}…', 50), ("[1]", 50))
    assert [rate.values for rate in home.rates if rate.check == "unseen"] == [(("HOUSE", 75),)]
    page, text = render_page(report), markdown.render(report)
    assert "50.0 % of the wrong type, expected 0 %" in page
    assert "12,5" in page
    assert SCRIPT not in page
    assert "of the wrong type 50.0 %, expected 0 %" in text
    assert "12,5" in text


def profile_token(name: str) -> str:
    from logging_lib.schema import tokens

    return tokens.escape(name)


def test_rates_of_each_check(made: ModelReport, frame: pd.DataFrame) -> None:
    for check in ("missing", "unseen"):
        for feature in made.features:
            rate = next((r for r in feature.rates if r.check == check), None)
            hit = frame[check].map(lambda names, n=feature.name: n in names)
            assert (rate.hits if rate else 0.0) == frame.loc[hit, "weight"].sum()
            if rate and rate.peak is not None:
                parts = frame.assign(hit=hit * frame["weight"]).groupby(frame["time"].dt.floor(made.interval))
                shares = (parts["hit"].sum() / parts["weight"].sum())[parts["weight"].sum() >= 10]
                assert rate.peak == pytest.approx(shares.max())


def test_the_report_shows_predictions_by_bin(made: ModelReport, frame: pd.DataFrame) -> None:
    assert made.output is not None
    served = frame.groupby("bin")["weight"].sum()
    assert {s.name: s.served for s in made.output.shares if s.served} == served.to_dict()


def test_quality_of_late_labels(made: ModelReport, live: list[Document]) -> None:
    errors = pd.Series([one["ml"]["label"]["absolute_error"] for one in labels(live)])
    (quality,) = made.quality
    assert quality.measure == "mean absolute error"
    assert quality.labels == len(errors)
    assert quality.value == pytest.approx(errors.mean())
    assert quality.error == pytest.approx(errors.std() / np.sqrt(len(errors)))
    assert quality.rmse == pytest.approx(np.sqrt((errors**2).mean()))
    assert sum(moment.labels for moment in quality.moments) == len(errors)


def test_live_and_shadow_are_shown_side_by_side(made: ModelReport, shadow: list[Document]) -> None:
    other = next(v for v in made.variants if v.role == "shadow")
    values = [one["ml"]["prediction"]["value"] for one in shadow if "prediction" in one["ml"]]
    assert other.documents == len(shadow)
    assert sum(m.predictions for m in made.shadow_moments) == other.predictions
    assert other.mean == pytest.approx(np.average(values, weights=_weights(shadow)), abs=1e-9)


def test_the_answers_to_the_same_requests_are_compared(
    made: ModelReport, live: list[Document], shadow: list[Document]
) -> None:
    by_request = [
        {
            one["ml"]["request"]["id"]: one["ml"]["prediction"]["value"]
            for one in each
            if "prediction" in one["ml"]
        }
        for each in (live, shadow)
    ]
    both = by_request[0].keys() & by_request[1].keys()
    difference = np.mean([by_request[1][request] - by_request[0][request] for request in both])
    (lines,) = made.shadows
    assert lines[0].startswith(f"shadow 2 beside live 1: {len(both):,} requests answered by both")
    assert any(f"mean {difference:.4g}"[:8] in line for line in lines)
    for text in (render_page(made), markdown.render(made)):
        assert "shadow 2 beside live 1" in text


def _weights(documents: list[Document]) -> list[float]:
    return [one["ml"]["sample"]["weight"] for one in documents if "prediction" in one["ml"]]


def test_events_outside_the_period_are_left_out(store: EmbeddedStore, frame: pd.DataFrame) -> None:
    start, end = (pd.Timestamp(f"2018-02-01T{hour}:00:00Z").to_pydatetime() for hour in (11, 12))
    main = report_of(store, start=start, end=end).main
    assert main is not None
    inside = frame[(frame["time"] >= start) & (frame["time"] <= end)]
    assert main.predictions == inside["weight"].sum()


def test_a_report_finds_only_the_inputs_that_differ(made: ModelReport) -> None:
    status: dict[str, Any] = {feature.name: feature.status for feature in made.features}
    assert status["income"] == "moved"  # a tenth of all values is missing
    assert status[SCRIPT] == "alerted"
    assert made.verdict.level == "alert"
