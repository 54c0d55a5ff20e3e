"""Sampling: faults stay exact, totals unbiased, live and shadow agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.privacy import Sampler

Events = Callable[[Path], list[dict[str, Any]]]


@pytest.mark.parametrize("rate", [0, -0.1, 1.1, True, "half", float("nan")])
def test_a_wrong_rate_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match="sample: expected a share above 0 and up to 1"):
        Sampler(rate)


def test_faults_failures_and_asked_ones_are_always_kept_and_totals_are_unbiased(
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
