"""A model with a shadow that was served for a while, in either store, with labels to come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

import logging_lib
from logging_lib import profile as profiles
from logging_lib.store import Store

START = datetime(2018, 2, 1, 9, 0, tzinfo=UTC)
KNOWN = timedelta(days=3)
EVENTS = 60


@dataclass
class Served:
    """``rows`` are labels as a file has them: of every second request."""

    store: Store
    model: str
    namespace: str
    rows: list[dict[str, Any]]


def fill(
    store: Store, model: str, namespace: str, profile: profiles.Profile, inputs: dict[str, Any]
) -> Served:
    """Live predictions of version 1, shadow ones of version 2, an hour apart; the shadow has the smaller error."""
    live = logging_lib.PredictionProcessor(model=model, version="1", profile=profile)
    shadow = logging_lib.PredictionProcessor(model=model, version="2", role="shadow")
    random = np.random.default_rng(11)
    events, rows = [], []
    for i in range(EVENTS):
        at = START + timedelta(hours=i)
        actual = float(random.normal(12, 3))
        given = {
            "inputs": inputs | {"home": "RENT" if i % 3 else "Castle", "income": 50000.0 + i},
            "request_id": f"r{i}",
            "timestamp": at,
        }
        extra = {"model_influenced": True} if i % 10 == 0 else {}
        for log, spread, seconds in ((live, 2.0, 0.010), (shadow, 0.5, 0.015)):
            output = actual + spread * float(random.normal())
            events.append(
                log(None, "info", {"event": "x", **given, **extra, "prediction": output, "duration": seconds})
            )
        if i % 2:
            rows.append({"request_id": f"r{i}", "actual": actual, "timestamp": (at + KNOWN).isoformat()})
    result = store.index(f"logs-ml.prediction-{namespace}", events)
    assert result.failed == ()
    store.refresh()
    return Served(store, model, namespace, rows)
