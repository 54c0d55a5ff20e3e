"""Sampling: faults stay exact, totals unbiased, live and shadow agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.privacy import Sampler
from logging_lib.logger.processor import PredictionProcessor
from logging_lib.profile.model import Expectation, Feature, HeldOut, Profile

Events = Callable[[Path], list[dict[str, Any]]]


@pytest.mark.parametrize("rate", [0, -0.1, 1.1, True, "half", float("nan")])
def test_a_wrong_rate_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match="sample: expected a share above 0 and up to 1"):
        Sampler(rate)


def test_faulty_failed_and_requested_events_are_always_kept_and_totals_are_unbiased(
    tmp_path: Path, profile: profiles.Profile, inputs: dict[str, Any], spooled: Events
) -> None:
    log = logging_lib.configure(model="loans", version="1", profile=profile, spool=tmp_path, sample=0.1)
    for i in range(4000):
        fault = {"home": "Rent"} if i % 40 == 0 else {}
        log.prediction(inputs | fault, prediction=1.0, request_id=f"r-{i}")
    log.prediction(inputs, prediction=1.0, request_id="kept", keep=True)
    log.prediction(inputs, error=ValueError("x"), request_id="failed")
    events = spooled(tmp_path)
    faults = [e for e in events if "check" in e["ml"]]
    assert sum(e["ml"]["sample"]["weight"] for e in faults) == 100
    total = sum(e["ml"]["sample"]["weight"] for e in events)
    assert total == pytest.approx(4002, rel=0.12)  # 390 of 3,900: three standard deviations are 14 %
    assert {"kept", "failed"} <= {e["ml"]["request"]["id"] for e in events}
    stats = log.stats()
    assert stats["sampled_out"] + stats["written"] == 4002
    assert stats["dropped"] == {}


def test_live_and_shadow_keep_the_same_requests(tmp_path: Path, spooled: Events) -> None:
    for role, version in (("live", "1"), ("shadow", "2")):
        log = logging_lib.configure(
            model="m",
            version=version,
            role=role,
            spool=tmp_path,
            sample=0.3,  # type: ignore[arg-type]
        )
        for i in range(300):
            log.prediction({"a": 1}, 1.0, request_id=i)
    sampled: dict[str, set[str]] = {"live": set(), "shadow": set()}
    for event in spooled(tmp_path):
        sampled[event["ml"]["model"]["role"]].add(event["ml"]["request"]["id"])
    assert sampled["live"] == sampled["shadow"]
    assert 50 < len(sampled["live"]) < 130


def often_missing(rows: int, seed: int) -> pd.DataFrame:
    """Draw rows with a feature that is missing in 38 % of them, and others that rarely are."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=rows) for i in range(12)})
    for name in frame:
        frame.loc[rng.random(rows) < 0.005, name] = np.nan
    frame.loc[rng.random(rows) < 0.38, "x0"] = np.nan
    frame["kind"] = rng.choice(["a", "b", "c"], rows)
    return frame


@pytest.mark.parametrize("share", [0.1, 0.01])
def test_failures_that_training_had_do_not_defeat_sampling(share: float) -> None:
    """48 % were kept in place of 10 %, as each missing value counted as a fault."""
    fitted = profiles.fit(often_missing(20_000, 1), model="m", version="1")
    process = PredictionProcessor(model="m", version="1", profile=fitted, sample=share)
    rows = 40_000
    lines = [line for part in process.batch.render(often_missing(rows, 2), {}) for line in part]
    goal = 1.2 * share * rows
    assert len(lines) <= goal + 4 * goal**0.5  # which events are kept is drawn anew in each run
    weights = [orjson.loads(line)["ml"]["sample"]["weight"] for line in lines]
    assert sum(weights) == pytest.approx(rows, rel=0.15)
    faulty = often_missing(1000, 3).assign(kind="new")
    assert len([line for part in process.batch.render(faulty, {}) for line in part]) == 1000


def test_only_the_most_frequent_of_rare_failures_are_usual_if_all_would_add_too_much() -> None:
    """Of the rates 2 %, 0.5 % and 0, a tenth of the share keeps all but the first, or only the last."""

    def feature(name: str, count: int) -> Feature:
        return Feature(name, "numeric", expected={"missing": Expectation(count, 1000)})

    features = {name: feature(name, count) for name, count in (("a", 20), ("b", 5), ("c", 0))}
    fitted = Profile("m", "1", 1000, HeldOut(1000, "", 1), features)
    ordinary = {
        rate: [name for name in "abc" if Sampler(rate, fitted).is_ordinary({"missing": [name]})]
        for rate in (0.5, 0.1, 0.01)
    }
    assert ordinary == {0.5: ["a"], 0.1: ["a"], 0.01: ["a", "b"]}
    assert not Sampler(0.5, fitted).is_ordinary({"missing": ["a"], "unseen": ["a"]})
    assert not Sampler(0.5).is_ordinary({"missing": ["a"]})
