"""``logging-lib profile learn`` over an embedded store, and over Elasticsearch: shown, published, undone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import logging_lib
from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.store.connection import PREFIX, Connection
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import Store
from logging_lib.store.profiles import find_document, publish
from logging_lib.watch.backtest.asof import AsOf
from logging_lib.watch.backtest.history import EventHistory, ScheduledTick
from logging_lib.watch.evaluate import new_context
from logging_lib.watch.findings import Key
from logging_lib.watch.incidents import Incident
from logging_lib.watch.state.file import FOLDER, FileState
from tests.store import elastic
from tests.store.events import STREAM
from tests.watch import payloads

NOW = datetime(2018, 3, 1, tzinfo=UTC)
DAYS, HOURLY = 8, 30


def fit(model: str) -> profiles.Profile:
    random = np.random.default_rng(1)
    x = random.normal(size=5000)
    frame = pd.DataFrame({"x": x, "home": random.choice(["RENT", "OWN"], len(x)), "rate": 2 * x})
    return profiles.fit(frame, model=model, version="1", prediction="rate")


def serve(store: Store, stream: str, profile: profiles.Profile, days: int = DAYS) -> None:
    random = np.random.default_rng(2)
    log = logging_lib.PredictionProcessor(model=profile.model, version="1", profile=profile)
    documents = []
    for number in range(days * 24 * HOURLY):
        x = float(random.normal())
        inputs = {"x": x, "home": str(random.choice(["RENT", "OWN"]))}
        document: dict[str, Any] = dict(
            log(None, "info", {"event": "p", "inputs": inputs, "prediction": 2 * x})
        )
        moment = NOW - timedelta(hours=(days * 24 * HOURLY - number) / HOURLY)
        document["@timestamp"] = moment.isoformat().replace("+00:00", "Z")
        documents.append(document)
    assert store.index(stream, documents, now=NOW).failed == ()
    store.refresh()


def invoke(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(
        app, ["profile", "learn", "--version", "1", "--now", NOW.isoformat(), *arguments]
    )
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def profile() -> profiles.Profile:
    return fit(f"model-{uuid4().hex[:8]}")


@pytest.fixture
def folder(tmp_path: Path, profile: profiles.Profile) -> Path:
    path = tmp_path / "store"
    path.mkdir()
    with EmbeddedStore(path) as store:
        publish(store, profile, now=NOW)
        serve(store, STREAM, profile)
    return path


def variation_of(folder: Path, profile: profiles.Profile) -> dict[str, Any]:
    with EmbeddedStore(folder, read_only=True) as store:
        document = find_document(store, profile.model, "1")
    assert document is not None
    variation: dict[str, Any] = document["expected"]["variation"]
    return variation


def test_learned_variation_is_shown_published_and_undone(
    folder: Path, profile: profiles.Profile, tmp_path: Path
) -> None:
    arguments = ("--model", profile.model, "--store", str(folder))
    before = variation_of(folder, profile)
    shown = invoke(*arguments, "-o", str(tmp_path / "p.json"))
    assert "nothing was published" in shown.output
    assert "no incident is excluded" in shown.output
    assert "shift" in shown.output
    assert variation_of(folder, profile) == before
    written = profiles.load(tmp_path / "p.json")
    assert written.variation is not None
    assert written.variation.source == "learned"
    assert written.id != profile.id
    assert "published\n" in invoke(*arguments, "--publish", "--user", "ada").output
    after = variation_of(folder, profile)
    assert after["source"] == "learned"
    with EmbeddedStore(folder, read_only=True) as store:
        document = find_document(store, profile.model, "1")
    assert document is not None
    # The events that services log still name this profile.
    assert document["ml"]["profile"]["id"] == profile.id
    (entry,) = document["learned"]
    assert (entry["by"], entry["until"]) == ("ada", after["until"])
    # Published again, as `watch run --profile` does, it keeps what was learned.
    with EmbeddedStore(folder) as store:
        publish(store, profile, now=NOW)
    assert variation_of(folder, profile) == after
    assert "default" in invoke(*arguments, "--undo").output
    assert variation_of(folder, profile) == before
    assert "no learned variation" in invoke(*arguments, "--undo", code=2).output


def test_json_lists_the_limits(folder: Path, profile: profiles.Profile) -> None:
    answer = json.loads(invoke("--model", profile.model, "--store", str(folder), "--json").stdout)
    limits = {(limit["feature"], limit["measure"]): limit for limit in answer["limits"]}
    assert limits["x", "shift"]["after"] < limits["x", "shift"]["before"]
    assert not answer["is_published"]


def test_learning_skips_incidents_of_the_state(folder: Path, profile: profiles.Profile) -> None:
    opened = NOW - timedelta(days=2)
    incident = Incident(key=Key(profile.model, "1", "x"), opened_at=opened, window="6h")
    FileState(folder / FOLDER).update(
        "input-drift", lambda stored: stored.with_incidents({incident.key: incident})
    )
    output = invoke("--model", profile.model, "--store", str(folder)).output
    assert "x: 28% of the time is left out" in output
    assert "home: " not in output
    assert "no incident is excluded" not in output


def test_learning_needs_a_profile_and_enough_traffic(tmp_path: Path, profile: profiles.Profile) -> None:
    with EmbeddedStore(tmp_path) as store:
        serve(store, STREAM, profile, days=2)
    arguments = ("--model", profile.model, "--store", str(tmp_path))
    assert "give --profile" in invoke(*arguments, code=2).output
    profiles.save(profile, tmp_path / "p.json")
    with_file = (*arguments, "--profile", str(tmp_path / "p.json"))
    assert "at least 7 days" in invoke(*with_file, code=2).output
    assert "no profile of this version is published here" in invoke(*with_file, "--publish", code=2).output


def test_a_backtest_uses_what_was_known_at_the_tick(folder: Path, profile: profiles.Profile) -> None:
    """Before the learned one ends, its profile has the variation that it replaced."""
    arguments = ("--model", profile.model, "--store", str(folder))
    before = variation_of(folder, profile)
    invoke(*arguments, "--publish")
    after = variation_of(folder, profile)
    watch = payloads.WATCHES["input-drift"]
    ticks = [NOW - timedelta(days=1), NOW - timedelta(hours=1), NOW, NOW + timedelta(days=1)]
    with EmbeddedStore(folder, read_only=True) as store:
        moments = [ScheduledTick(tick, tick) for tick in ticks]
        (answers,) = EventHistory(store).searches([(watch, moments)])
        request = next(
            search.request for _, name, search in watch.definition.searches() if name == "profiles"
        )
        found = [
            answers.search(tick)(request, None, new_context(watch, now=tick, scheduled=tick))["hits"]["hits"][
                0
            ]
            for tick in ticks
        ]
        sources = [hit["_source"]["expected"]["variation"]["source"] for hit in found]
        assert sources == ["default", "default", "learned", "learned"]
        assert found[0]["_source"]["expected"]["variation"]["measures"] == before["measures"]
        body = {"query": {"ids": {"values": [f"{profile.model}:1"]}}}
        (hit,) = AsOf(store).search("ml-profiles", body, now=ticks[0])["hits"]["hits"]
        assert hit["_source"]["expected"]["variation"] == before
    assert variation_of(folder, profile) == after


def test_a_file_of_what_was_learned_later_falls_back_to_the_default(
    folder: Path, profile: profiles.Profile, tmp_path: Path
) -> None:
    invoke("--model", profile.model, "--store", str(folder), "-o", str(tmp_path / "p.json"))
    learned = profiles.load(tmp_path / "p.json")
    with EmbeddedStore(None) as store:
        publish(store, learned, now=NOW)
        for tick, source in ((NOW - timedelta(days=1), "default"), (NOW, "learned")):
            (hit,) = AsOf(store).search("ml-profiles", {"size": 1}, now=tick)["hits"]["hits"]
            assert hit["_source"]["expected"]["variation"]["source"] == source


def test_the_runner_says_for_which_models_it_is_careful(folder: Path, profile: profiles.Profile) -> None:
    command = ["watch", "run", "--once", "--dry-run", "--store", str(folder), "--now", NOW.isoformat()]
    careful = f"`logging-lib profile learn` runs: {profile.model} 1"
    assert careful in CliRunner().invoke(app, command).stderr
    invoke("--model", profile.model, "--store", str(folder), "--publish")
    assert "still careful" not in CliRunner().invoke(app, command).stderr


@pytest.fixture
def server(elasticsearch: Connection, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv(f"{PREFIX}URL", elasticsearch.url)
    return elastic.store(elasticsearch)


@pytest.mark.elasticsearch
def test_variation_is_learned_from_elasticsearch(server: Store) -> None:
    own = fit(f"model-{uuid4().hex[:8]}")
    publish(server, own, now=NOW)
    serve(server, elastic.new_stream(), own)
    assert "natural variation" in CliRunner().invoke(app, ["doctor", "--json"]).output
    invoke("--model", own.model, "--publish")
    document = find_document(server, own.model, "1")
    assert document is not None
    assert document["expected"]["variation"]["source"] == "learned"
    doctor = CliRunner().invoke(app, ["doctor", "--json"])
    assert f"{own.model} 1" not in doctor.output
    invoke("--model", own.model, "--undo")
    document = find_document(server, own.model, "1")
    assert document is not None
    assert document["expected"]["variation"]["source"] == "default"
