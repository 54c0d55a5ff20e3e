"""Events of all five datasets, made by the logger's own code, in an embedded store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from logging_lib._util import content
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.dashboards.selection import PanelSelection
from logging_lib.dashboards.spec import Dashboard
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.state.elasticsearch import ElasticsearchState
from logging_lib.watch.testing import cases, streams

Documents = list[tuple[str, dict[str, Any]]]

STREAMS = cases.Streams.model_validate(
    {
        "predictions": [
            {
                **{
                    "every": "6s",
                    "for": "2h",
                    "failing": 0.05,
                    "weight": 2,
                    "milliseconds": {"lognormal": [2, 1]},
                },
                "missing": {"income": 0.2},
                "absent": {"amount": 0.1},
                "inputs": {"extra": "new"},
                "replace": {
                    "home": {"share": 0.1, "by": "Rented"},
                    "title": {"share": 0.3, "by": "enfermera titulada"},
                },
            },
            {
                **{"every": "20s", "for": "2h", "version": "2", "role": "shadow", "seed": 2},
                **{"service": "batch", "host": "host-2", "milliseconds": {"lognormal": [3, 1]}},
                "replace": {
                    "amount": {"share": 0.2, "by": -5.0},
                    "income": {"share": 0.1, "by": "high"},
                },
            },
            {"every": "2m", "for": "2h", "prediction": 99.0, "profile": "mismatch", "seed": 3},
        ],
        "labels": [{"every": "1m", "for": "2h", "error": {"normal": [0, 2]}, "known_after": "1h"}],
        "health": [
            {
                **{"every": "1m", "for": "2h"},
                "fields": {
                    **{"logged": 20, "shipped": 19, "dropped": 1, "dead_lettered": 0, "retries": 2},
                    **{"backlog.events": 7, "backlog.age": 1.5, "cpu.pct": 0.25, "disk.used_pct": 0.5},
                    "memory.rss": 250000000,
                },
            }
        ],
        "starts": [
            {
                **{"every": "1h", "for": "2h", "code": "2.4.1", "libraries": {"scikit-learn": "1.9.1"}},
                "training": {"scikit-learn": "1.8.0"},
            }
        ],
        "deadletters": [{"every": "10m", "for": "2h"}],
    }
)


CLASSIFIER = cases.CaseFile.model_validate(
    {
        "watch": "any",
        "model": "churn",
        "version": "7",
        "profile": {
            "features": {"age": {"normal": [40, 10]}, "plan": {"choice": {"basic": 0.7, "full": 0.3}}},
            "prediction": {"choice": {"stay": 0.8, "leave": 0.2}},
        },
        "cases": [{"name": "any", "expect": [{"at": "1h", "alerts": []}]}],
    }
)
CLASSES = cases.Streams.model_validate(
    {
        "predictions": [{"every": "30s", "for": "2h", "service": "churn-api", "milliseconds": 5.0}],
        "labels": [
            {
                **{"every": "2m", "for": "2h"},
                "confusion": {"stay": {"stay": 0.9, "leave": 0.1}, "leave": {"leave": 0.6, "stay": 0.4}},
            }
        ],
    }
)


class _Kept:
    """Keeps what the watch runner would add to its index."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []

    def add(self, target: str, sources: Any) -> None:
        self.documents += [{**one, "_id": f"{target}-{place}"} for place, one in enumerate(sources)]


def alerts() -> list[dict[str, Any]]:
    """Three alerts and a delivery, as the runner writes them."""
    kept = _Kept()
    record = {"kind": "alert", "watch": "na-spike", "model": "loans", "version": "1"}
    alerts = [{**record, "time": f"2018-01-01T01:0{number}:00Z"} for number in range(3)]
    ElasticsearchState(kept).record([*alerts, {**alerts[0], "kind": "delivery"}])
    return kept.documents


@pytest.fixture(scope="session")
def selection() -> PanelSelection:
    """The two hours of the events."""
    return PanelSelection(cases.START, cases.START + timedelta(hours=2))


@pytest.fixture(scope="session")
def maker() -> streams.DocumentGenerator:
    folder = content.path("watchers") / "cases"
    return streams.DocumentGenerator(cases.load_case_file(folder / "na-spike.yml").content, folder)


@pytest.fixture(scope="session")
def documents(maker: streams.DocumentGenerator) -> Documents:
    """(data stream, document), the profile's document among them."""
    classes = streams.DocumentGenerator(CLASSIFIER, Path())
    return [
        ("ml-profiles", maker.profile_document({})),
        ("ml-profiles", classes.profile_document({})),
        *(("ml-watch-state", one) for one in alerts()),
        *maker.documents(STREAMS),
        *(with_probabilities(target, document) for target, document in classes.documents(CLASSES)),
    ]


def with_probabilities(target: str, document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Add what the logger writes of a classifier whose profile has a calibration."""
    if target.startswith("logs-ml.prediction"):
        document["ml"]["prediction"]["expected_error"] = 0.125
    elif "label" in document["ml"]:
        document["ml"]["label"] |= {"brier": 0.25, "log_loss": 0.75}
    return target, document


def fill(store: Any, documents: Documents, rename: Any = lambda target: target) -> None:
    """Put the documents into a store, under other names of streams if wanted."""
    by_target: dict[str, list[dict[str, Any]]] = {}
    for target, document in documents:
        by_target.setdefault(rename(target), []).append(document)
    for target, listed in by_target.items():
        result = store.index(target, listed)
        assert (result.created, result.failed) == (len(listed), ())
    store.refresh()


@pytest.fixture(scope="session")
def filled(documents: Documents) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(None) as store:
        fill(store, documents)
        yield store


@pytest.fixture(scope="session")
def shipped() -> list[Dashboard]:
    return load_dashboards(content.path("kibana_dashboards"))


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parents[2]
