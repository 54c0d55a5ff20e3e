"""Auditing and erasing a person's event on a real Elasticsearch, under the eraser's role alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
from typer.testing import CliRunner

from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.logger.event import build_dead_letter
from logging_lib.logger.privacy import KEY_VARIABLE, PrivacyFilter
from logging_lib.schema import data_stream
from logging_lib.store.connection import PREFIX, Connection, ConnectionSettings
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.profiles import publish
from tests.stack.conftest import Call

pytestmark = pytest.mark.elasticsearch
NOW = datetime.now(UTC)


class Case:
    """A person's traces in every stream and index, beside those of others."""

    def __init__(self, root: Connection, training: pd.DataFrame) -> None:
        self.mark = uuid4().hex[:10]
        self.person, self.address = f"person-{self.mark}", f"{self.mark} Elm Street"
        self.model, self.namespace = f"erased-{self.mark}", f"erase{self.mark}"
        self.root, self.store = root, ElasticsearchStore(root)
        frame = training.assign(home=training.home.where(training.home != "OWN", self.address))
        self.profile = profiles.fit(frame, model=self.model, version="1", prediction="rate")
        publish(self.store, self.profile, now=NOW)
        hashed, other = (PrivacyFilter({}, b"").hash_subject(name) for name in (self.person, "somebody"))
        about = {"model": {"name": self.model, "version": "1", "role": "live"}}
        self._add("prediction", "mine", {**about, "subject": {"hash": hashed}, "request": {"id": f"r1-{self.mark}"},
                  "profile": {"id": self.profile.id, "status": "matched"}, "check": {"unseen": ["home"]},
                  "input": {"category": {"home": "x"}, "bins": ["home=!unseen"]}})  # fmt: skip
        self._add(
            "prediction",
            "others",
            {**about, "subject": {"hash": other}, "request": {"id": f"r1-{self.mark}"}},
        )
        self._add(
            "prediction",
            "shadow",
            {"model": {**about["model"], "role": "shadow"}, "request": {"id": f"r1-{self.mark}"}},
        )
        self._add(
            "label",
            "label",
            {**about, "prediction": {"id": self.id("mine")}, "label": {"value": 1.0, "joined": True}},
        )
        self._add(
            "label",
            "others-label",
            {**about, "prediction": {"id": self.id("others")}, "label": {"value": 2.0, "joined": True}},
        )
        for name, text in (("hers", self.person), ("anothers", "somebody")):
            letter = build_dead_letter(
                error_type="x", message="y", original=json.dumps({"c": text}).encode(), stage="parse"
            )
            letter["event"]["id"] = self.id(name)
            self._index("ml.deadletter", letter)
        self.store.index(
            "ml-watch-state", [{"_id": f"state-{self.mark}", "example": self.id("mine"), "note": "n"}]
        )
        self.store.refresh()

    def id(self, name: str) -> str:
        return f"{name}-{self.mark}"

    def _add(self, stream: str, name: str, ml: dict[str, Any]) -> None:
        moment = NOW.isoformat()
        event = {"id": self.id(name), "dataset": f"ml.{stream}", "ingested": moment, "outcome": "success"}
        self._index(f"ml.{stream}", {"@timestamp": moment, "event": event, "ml": ml})

    def _index(self, dataset: str, document: dict[str, Any]) -> None:
        assert self.store.index(data_stream(dataset, self.namespace), [document]).failed == ()

    def left(self) -> set[str]:
        self.root.call("POST", "/logs-ml.*-*/_refresh")
        hits = self.store.search(f"logs-ml.*-{self.namespace}", {"size": 100})["hits"]["hits"]
        return {hit["_id"].removesuffix(f"-{self.mark}") for hit in hits}


@pytest.fixture
def case(
    deployed: Call, root: Connection, training: pd.DataFrame, secured: ConnectionSettings,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> Iterator[Case]:  # fmt: skip
    """The case, with the environment of somebody who has the eraser's key and nothing else."""
    deployed("stack", "deploy", "--api-key", "eraser", "--keys", str(tmp_path / "keys"))
    new_case = Case(root, training)
    for name in ("USER", "PASSWORD"):
        monkeypatch.delenv(PREFIX + name)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    key = (tmp_path / "keys" / "logging-lib-eraser.key").read_text().strip()
    monkeypatch.setenv(f"{PREFIX}API_KEY", key)
    yield new_case
    for indices in (f"logs-ml.*-{new_case.namespace}", "ml-profiles", "ml-profile-files"):
        mine = {
            "bool": {
                "should": [{"term": {"ml.model.name": new_case.model}}, {"exists": {"field": "event.id"}}]
            }
        }
        root.call("POST", f"/{indices}/_delete_by_query?refresh=true", {"query": mine})


def call(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_a_person_is_found_audited_and_erased(case: Case, tmp_path: Path) -> None:
    about = {"model": case.model, "version": "1"}
    finding = {**about, "feature": "home", "check": "unseen", "window": "15m"}
    alert_time = (NOW + timedelta(minutes=1)).isoformat()
    alert = {"time": alert_time, "watch": "unseen-categories", **about, "findings": [finding]}
    Path("alerts.jsonl").write_text(json.dumps(alert) + "\n")
    known = call("audit", case.id("mine"), "--alerts", "alerts.jsonl", "--elasticsearch", case.root.url)
    assert known["checks"] == {"unseen": [{"feature": "home", "value": "x", "bin": "!unseen"}]}
    assert known["same_profile"] is True
    assert [label["event"]["id"] for label in known["labels"]] == [case.id("label")]
    assert {sibling["event"]["id"] for sibling in known["siblings"]} == {case.id("others"), case.id("shadow")}
    assert [(part["part"], part["watch"]) for part in known["alerts"]] == [("failed", "unseen-categories")]

    everything = {"mine", "others", "shadow", "label", "others-label", "hers", "anothers"}
    asked = ("erase", "--subject", case.person, "--value", case.address)
    would = call(*asked)
    assert would["dry_run"]
    assert sum(place["erase"] for place in would["places"]) == 4
    assert case.left() == everything

    done = call(*asked, "--yes", "--expunge")
    assert [place["left"] for place in done["places"]] == [None] * len(done["places"])
    assert {
        place["place"].rpartition("/")[2]: (place["erase"], place["redact"]) for place in done["places"]
    } == {
        "logs-ml.prediction-*": (2, 0),
        "logs-ml.label-*": (1, 0),
        "logs-ml.deadletter-*": (1, 0),
        "ml-profile-files": (0, 1),
        "ml-profiles": (0, 1),
        "ml-watch-*": (0, 1),
    }
    assert case.left() == {"others", "others-label", "anothers"}
    state = case.root.call("GET", f"/ml-watch-state/_doc/state-{case.mark}")["_source"]
    assert state == {"example": "#" * len(case.id("mine")), "note": "n"}
    whole = case.root.call("GET", f"/ml-profile-files/_doc/{case.model}:1")["_source"]
    masked = profiles.loads(whole["content"].encode())
    assert masked.id != case.profile.id
    assert case.address not in whole["content"]
    short = case.root.call("GET", f"/ml-profiles/_doc/{case.model}:1")["_source"]
    assert short["ml"]["profile"]["id"] == masked.id
    assert call(*asked, "--yes")["places"] == []


def test_without_the_privilege_the_error_says_so(
    case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(f"{PREFIX}API_KEY", "bm86bm8=")
    result = CliRunner().invoke(app, ["erase", "--subject", case.person, "--yes"])
    assert result.exit_code == 2
    assert "API_KEY" in result.output
    assert case.left() >= {"mine"}
