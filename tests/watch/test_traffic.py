"""Traffic against the rhythm of training, at whatever level it is served."""

from __future__ import annotations

from typing import Any

import pytest

from logging_lib.watch.scripts import SCRIPTS
from tests.watch import payloads

HOUR = 3_600_000.0
SPANS = ("1h", "6h", "24h")
LIMIT = {
    "name": "predictions",
    "metric": "recent.weight.value",
    "unit": "",
    "below_usual": 0.1,
    "usual_at_least": 50,
    "spans": list(SPANS),
}


def find(
    served: dict[str, float], *, hours: float, trained: float, gap: float = 10.0, weight: float = 1.0
) -> list[str]:
    """Return what is observed where it is too little, in a model whose training had so many events each hour.

    Args:
        served: events by span and day, such as ``1h-0``; of the others as many as the rate of the first day.
        hours: since the first event.
        weight: for how many events a kept one stands.
    """
    rate = served["rate"]
    lengths = {"1h": 1, "6h": 6, "24h": 24}
    spans = {
        f"{span}-{days}": {"weight": {"value": served.get(f"{span}-{days}", rate * lengths[span])}}
        for span in SPANS
        for days in (0, 1, 2, 3, 7)
    }
    bucket = {
        "key": "m",
        "recent": {"weight": {"value": served.get("1h-0", rate)}},
        "doc_count": (rate * hours - (rate - served.get("1h-0", rate))) / weight,
        "total": {"value": rate * hours - (rate - served.get("1h-0", rate))},
        "first": {"value": payloads.NOW - hours * HOUR},
        "last": {"value": payloads.NOW - HOUR, "value_as_string": payloads.TIME},
        "spans": {"buckets": spans},
    }
    rhythm = {"timezone": "UTC", "traffic": [trained] * 168, "longest_gap": gap}
    source: dict[str, Any] = {
        "ml": {"model": {"name": "m", "version": "1"}},
        "deployed": True,
        "expected": {"variation": {"rhythm": rhythm}},
    }
    group = {"by": "models", "fields": ["ml.model.name"], "labels": ["model"], "limits": [LIMIT]}
    context = payloads.context(
        "no-traffic",
        {"window": "8d", "recent": "1h", "groups": [group]},
        {
            "window": {"aggregations": {"models": payloads.terms([bucket])}},
            "profiles": {"hits": {"hits": [{"_source": source}]}},
        },
    )
    findings = SCRIPTS["ml-limits"](context, {})["findings"]
    return [line["value"] for finding in findings for line in finding["lines"] if line["name"] == "Observed"]


@pytest.mark.parametrize("factor", [0.1, 1, 10, 0.001])
def test_the_level_of_what_is_served_decides_what_is_usual(factor: float) -> None:
    """However many events training had: a silent hour is found, and an hour like the others is not."""
    trained = 600.0 / factor
    assert find({"rate": 600.0, "1h-0": 0.0}, hours=50, trained=trained) == ["0 in the last 1 h"]
    assert find({"rate": 600.0, "1h-0": 100.0}, hours=50, trained=trained) == []
    assert find({"rate": 600.0}, hours=50, trained=trained) == []


def test_a_model_with_few_events_is_evaluated_over_more_hours() -> None:
    served = {"rate": 10.0, "1h-0": 0.0, "6h-0": 0.0}
    assert find(served, hours=50, trained=600) == ["0 in the last 6 h"]
    assert find({**served, "rate": 3.0}, hours=50, trained=600) == []
    assert find({**served, "rate": 3.0, "24h-0": 0.0}, hours=50, trained=600) == ["0 in the last 24 h"]


def test_a_span_in_which_training_had_gaps_says_nothing() -> None:
    served = {"rate": 600.0, "1h-0": 0.0, "6h-0": 0.0}
    assert find(served, hours=50, trained=600, gap=450) == ["0 in the last 6 h"]


def test_hours_at_which_this_model_never_has_traffic_are_no_silence() -> None:
    """And of the first day nothing is known."""
    silent = {"rate": 600.0, "1h-0": 0.0}
    assert find({**silent, "1h-1": 0.0, "1h-2": 0.0}, hours=50, trained=600) == []
    assert find({**silent, "1h-1": 0.0}, hours=50, trained=600) == ["0 in the last 1 h"]
    assert find(silent, hours=20, trained=600) == []


def test_sampling_makes_gaps_that_are_no_silence() -> None:
    """Of 600 events an hour one in a hundred is kept: an hour without any is chance, a day without any is not."""
    served = {"rate": 600.0, "1h-0": 0.0}
    assert find(served, hours=50, trained=600, weight=100.0) == []
    assert find({**served, "6h-0": 0.0}, hours=50, trained=600, weight=100.0) == []
    silent = {**served, "6h-0": 0.0, "24h-0": 0.0}
    assert find(silent, hours=50, trained=600, weight=100.0) == ["0 in the last 24 h"]
    assert find(served, hours=50, trained=6000, weight=2.0) == ["0 in the last 1 h"]


def test_limits_with_the_same_cause_share_one_incident() -> None:
    """A model that is busy by day is short of predictions by day, and silent by night: both name one feature."""
    few = {"name": "predictions", "metric": "value.value", "unit": "", "below": 10}
    silence = {
        "name": "silence",
        "metric": "now",
        "minus": "last.value",
        "unit": "ms",
        "above": HOUR,
        "same_as": "predictions",
    }
    group = {"by": "models", "fields": ["ml.model.name"], "labels": ["model"], "limits": [few, silence]}

    def described(count: float) -> list[tuple[str, str]]:
        bucket = {
            "key": "m",
            "value": {"value": count},
            "last": {"value": payloads.NOW - 5 * HOUR, "value_as_string": payloads.TIME},
        }
        answer = {"window": {"aggregations": {"models": payloads.terms([bucket])}}}
        context = payloads.context("no-traffic", {"window": "8d", "groups": [group]}, answer)
        findings = SCRIPTS["ml-limits"](context, {})["findings"]
        return [(finding["feature"], finding["what"]) for finding in findings]

    assert described(0) == [("predictions", "0 predictions (limit 10)")]
    assert described(20) == [("predictions", "silence 5 h (limit 60 min)")]
