"""A sampled stream on which nothing changes raises no alert, and what changes is still found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from structlog import DropEvent

from logging_lib import PredictionProcessor
from logging_lib import profile as profiles
from logging_lib._util import content
from logging_lib.profile.config import Config
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.backtest.backtest import backtest
from logging_lib.watch.loading import load_watches

START = datetime(2026, 3, 2, tzinfo=UTC)
HOURS = 28
TESTED = (
    "na-spike",
    "vanished-feature",
    "unseen-categories",
    "out-of-range",
    "input-drift",
    "prediction-drift",
)


def draw_rows(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw rows of one distribution, with values that are often missing and a category with rare values."""
    amount = rng.lognormal(3, 1, rows)
    frame = pd.DataFrame(
        {
            "amount": amount,
            "often": np.where(rng.random(rows) < 0.38, np.nan, rng.normal(size=rows)),
            "seldom": np.where(rng.random(rows) < 0.01, np.nan, rng.normal(size=rows)),
            "kind": rng.choice(["a", "b", "c"], rows),
            "code": (rng.pareto(1.2, rows) * 5).astype(int).astype(str),
        }
    )
    return frame.assign(prediction=np.log(amount) + 0.2 * rng.normal(size=rows))


def find_alerts(fitted: profiles.Profile, served: pd.DataFrame, share: float) -> list[tuple[str, Any]]:
    """Replay the watches over a stream as it was sampled: each alert's watch and features."""
    process = PredictionProcessor(model="m", version="1", profile=fitted, sample=share)
    events = []
    step = timedelta(hours=HOURS) / len(served)
    for number, row in enumerate(served.to_dict("records")):
        moment = START + number * step
        fields = {"prediction": row.pop("prediction"), "inputs": row, "request_id": f"r{number}"}
        try:
            event = process(None, "info", {**fields, "timestamp": moment.timestamp()})
        except DropEvent:
            continue
        event["event"]["ingested"] = event["@timestamp"]
        events.append(event)
    watches = [watch for watch in load_watches(content.path("watchers")) if watch.id in TESTED]
    with EmbeddedStore(None) as store:
        store.index("ml-profiles", [profiles.build_document(fitted)])
        store.index("logs-ml.prediction-default", events)
        result = backtest(
            store, watches, start=START, end=START + timedelta(hours=HOURS), every=timedelta(minutes=15)
        )
    assert not result.failures
    return [(alert.watch, alert.features) for alert in result.alerts]


@pytest.mark.parametrize("share", [0.1, 0.01])
@pytest.mark.parametrize(
    "seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 13))]
)
def test_a_clean_sampled_stream_raises_no_alert(seed: int, share: float) -> None:
    """12 alerts in 28 clean hours at 0.1 and 50 at 0.01, as events of different weights counted as so many."""
    rng = np.random.default_rng(seed)
    training = draw_rows(20_000, rng).assign(
        time=pd.date_range("2026-02-01", periods=20_000, freq="2min", tz="UTC")
    )
    fitted = profiles.fit(
        training, model="m", version="1", prediction="prediction", config=Config(time="time")
    )
    assert find_alerts(fitted, draw_rows(28_000, rng), share) == []


@pytest.mark.parametrize("often", [0.0, 0.8])
def test_a_usual_failure_that_changes_is_found_in_a_sampled_stream(often: float) -> None:
    rng = np.random.default_rng(7)
    fitted = profiles.fit(draw_rows(20_000, rng), model="m", version="1", prediction="prediction")
    served = draw_rows(28_000, rng)
    changed = np.where(rng.random(14_000) < often, np.nan, rng.normal(size=14_000))
    served.loc[14_000:, "often"] = changed
    alerts = find_alerts(fitted, served, 0.1)
    assert {(watch, tuple(features)) for watch, features in alerts} == {("na-spike", ("often",))}
