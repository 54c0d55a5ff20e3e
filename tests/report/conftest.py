"""Events of a model with hostile names and values, an alert about them, and late labels, in an embedded store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest

from logging_lib import PredictionProcessor, profile
from logging_lib._util import content
from logging_lib.profile.config import Config
from logging_lib.report import alerts as alerting
from logging_lib.report import collect
from logging_lib.report.model import AlertSource, ModelReport
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.loading import load_watches
from tests import browser as browsers

START = datetime(2018, 2, 1, 9, 0, tzinfo=UTC)
SCRIPT = "<script>document.title='hacked'</script>"
LONG = "w" * 10_000
RTL = "\u05e9\u05dc\u05d5\u05dd \u202eevil"
HOSTILE = (SCRIPT, "\"quoted\" 'both'", LONG, RTL, "\U0001f600\U0001f525", "</script><b>bold</b>", "a=b!%")

Document = dict[str, Any]


def fitted(rows: int = 2000, seed: int = 1, *, model: str = "loans", version: str = "1") -> profile.Profile:
    random = Random(seed)
    frame = pd.DataFrame(
        {
            "income": [random.gauss(60000, 15000) for _ in range(rows)],
            SCRIPT: [random.choice(("RENT", "OWN", "MORTGAGE")) for _ in range(rows)],
            "title": [random.choice(("nurse", "truck driver", "teacher")) for _ in range(rows)],
            "predicted": [random.gauss(12, 3) for _ in range(rows)],
        }
    )
    return profile.fit(frame, model=model, version=version, prediction="predicted", config=Config())


def predictions(
    fit: profile.Profile | None,
    number: int = 600,
    *,
    seed: int = 2,
    model: str = "loans",
    version: str = "1",
    role: str = "live",
    shift: float = 0.0,
) -> Iterator[Document]:
    """One a minute; from the middle on a tenth has a hostile category, a fifth no income, some fail."""
    random = Random(seed)
    process = PredictionProcessor(model=model, version=version, profile=fit, role=role, service="pricing")
    for i in range(number):
        late = i >= number // 2
        inputs: Document = {
            "income": None if late and random.random() < 0.2 else random.gauss(60000, 15000),
            SCRIPT: random.choice(HOSTILE)
            if late and random.random() < 0.1
            else random.choice(("RENT", "OWN")),
            "title": LONG if late and i % 50 == 0 else "nurse",
        }
        event: Document = {
            "inputs": inputs, "timestamp": START + timedelta(minutes=i), "request_id": f"r-{i}",
            "duration": random.lognormvariate(-6, 0.5), "event": "prediction",
        }  # fmt: skip
        if i % 97 == 5:
            event["error"] = RuntimeError("failed")
        else:
            event["prediction"] = random.gauss(12 + shift, 3)
        made: Document = dict(process(None, "info", event))
        made["ml"]["sample"] = {"weight": 2.0 if i % 3 == 0 else 1.0}
        yield made


def wide() -> tuple[profile.Profile, list[Document]]:
    """A model of 300 features, one of which moved."""
    random = Random(1)
    names = [f"feature_{i}" for i in range(300)]
    frame = pd.DataFrame({name: [random.gauss(0, 1) for _ in range(200)] for name in names})
    made = profile.fit(frame, model="wide", version="1")
    process = PredictionProcessor(model="wide", version="1", profile=made)
    events = []
    for i in range(300):
        inputs = {name: random.gauss(3 if name == "feature_7" else 0, 1) for name in names}
        given = {"timestamp": START + timedelta(seconds=i), "prediction": 1.0, "event": "prediction"}
        events.append(dict(process(None, "info", {"inputs": inputs, **given})))
    return made, events


def labels(documents: list[Document]) -> Iterator[Document]:
    random = Random(9)
    for document in documents[:300]:
        value = document["ml"].get("prediction", {}).get("value")
        if value is None:
            continue
        error = random.gauss(0, 2)
        yield {
            "@timestamp": document["@timestamp"], "message": "label", "ecs": document["ecs"],
            "event": {"id": f"l-{document['event']['id']}", "kind": "event", "dataset": "ml.label"},
            "ml": {
                "schema_version": 1,
                "model": document["ml"]["model"],
                "prediction": {"value": value, "timestamp": document["@timestamp"]},
                "label": {
                    "value": value - error, "error": error, "absolute_error": abs(error),
                    "squared_error": error * error, "joined": True, "delay": 3600,
                },
            },
        }  # fmt: skip


def alert(minutes: int = 320, feature: str = SCRIPT) -> Document:
    return {
        "time": (START + timedelta(minutes=minutes)).isoformat(),
        "watch": "unseen-categories",
        "model": "loans",
        "version": "1",
        "features": [feature],
        "subject": f"[Unseen categories] {feature}",
        "findings": [
            {
                "model": "loans", "version": "1", "feature": feature, "check": "unseen",
                "what": f"{feature}: 10 % unseen, expected 0 %", "lines": [{"name": "observed", "value": SCRIPT}],
                "query": f'ml.check.unseen: "{feature}"',
            }
        ],
        "actions": {"email": {"status": "executed"}},
    }  # fmt: skip


@pytest.fixture(scope="session")
def fit() -> profile.Profile:
    return fitted()


@pytest.fixture(scope="session")
def live(fit: profile.Profile) -> list[Document]:
    return list(predictions(fit))


@pytest.fixture(scope="session")
def shadow(fit: profile.Profile) -> list[Document]:
    return list(predictions(fit, 200, seed=3, version="2", role="shadow", shift=1.0))


@pytest.fixture(scope="session")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    fit: profile.Profile,
    live: list[Document],
    shadow: list[Document],
) -> Path:
    """A store on disk, ``profile.json`` and ``alerts.jsonl`` beside it."""
    path = tmp_path_factory.mktemp("report")
    with EmbeddedStore(path / "store") as store:
        fill(store, [*live, *shadow])
        store.index("logs-ml.label-default", list(labels(live)))
        store.index("ml-profiles", [profile.build_document(fit)])
    profile.save(fit, path / "profile.json")
    (path / "alerts.jsonl").write_text(json.dumps(alert()) + "\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def store(folder: Path) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(folder / "store", read_only=True) as opened:
        yield opened


def fill(store: EmbeddedStore, documents: list[Document]) -> None:
    result = store.index("logs-ml.prediction-default", documents)
    assert (result.created, result.failed) == (len(documents), ())


def report_of(
    store: Any, *documents: Document, searched_by: str = "3 watches", **options: Any
) -> ModelReport:
    """A report of what the store holds, with these alerts."""
    watches = load_watches(content.path("watchers"))
    given = {"model": None, "version": None, "role": None, "start": None, "end": None, **options}
    subject = collect.subject_of(store, **given)
    return collect.collect(
        store,
        subject,
        now=START + timedelta(days=1),
        found=alerting.FoundAlerts(documents, AlertSource("From a test.", 3), searched_by),
        watches=watches,
        runbooks=alerting.read_runbooks(watches),
    )


@pytest.fixture(scope="session")
def made(store: EmbeddedStore) -> ModelReport:
    return report_of(store, alert())


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """No longer than a file's tests: its event loop runs in this thread, and other files' tests want their own."""
    with browsers.launched() as browser:
        yield browser
