"""Profiles without the newer parts, and loggers of two versions that write about one model at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.profile.model import Profile
from logging_lib.profile.words import describe_age

START = datetime(2026, 3, 10, 8, tzinfo=UTC)
WORDS = ["red", "green", "blue", "small", "large", "wool", "shirt", "coat", "hat", "scarf"]
run = CliRunner().invoke


def draw(seed: int, rows: int = 1500) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({
        "age": random.normal(40, 10, rows).round(1),
        "items": random.integers(1, 8, rows),
        "query": [" ".join(random.choice(WORDS, random.integers(2, 6))) for _ in range(rows)],
        "channel": random.choice(["web", "app"], rows),
        "price": random.normal(20, 5, rows).round(2),
    })  # fmt: skip


def make_earlier(fitted: Profile) -> Profile:
    """Leave out what an earlier version did not write, and give integers its edges."""
    features = dict(fitted.features)
    features["query"] = replace(features["query"], edges=(), counts=(), new_words=None)
    items = draw(1)["items"]
    counts = tuple(int(n) for n in np.histogram(items, bins=[1, 2, 3, 4, 5, 6, 7])[0])
    features["items"] = replace(features["items"], edges=(1, 2, 3, 4, 5, 6, 7), counts=counts)
    return profiles.io.with_content_hash(replace(fitted, features=features, variation=None))


@pytest.fixture(scope="module")
def fitted() -> Profile:
    return profiles.fit(draw(1), model="m", version="1", target="price", trained_at="2026-03-01")


@pytest.fixture
def folder(tmp_path: Path, fitted: Profile, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    profiles.save(fitted, "new.json")
    profiles.save(make_earlier(fitted), "old.json")
    return tmp_path


def serve(*names: str, change: Callable[[dict[Any, Any]], dict[Any, Any]] = dict) -> None:
    """Serve 1,500 rows over a day, each profile's logger in its turn."""
    loggers = [
        logging_lib.configure(
            model="m", version="1", profile=name, spool=f"spool-{name}", service="s", report_every=None
        )
        for name in names
    ]
    for number, row in enumerate(draw(2).to_dict("records")):
        price = row.pop("price")
        log = loggers[number % len(loggers)]
        log.prediction(change(row), prediction=price, timestamp=START + timedelta(seconds=58 * number))


def backtest(profile: str) -> dict[str, Any]:
    spools = [str(path) for path in sorted(Path().glob("spool-*"))]
    result = run(app, ["watch", "backtest", *spools, "--profile", profile, "--every", "30m", "--json"])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.parametrize("served", [["old.json"], ["old.json", "new.json"]])
@pytest.mark.parametrize("published", ["old.json", "new.json"])
def test_unchanged_data_is_not_flagged_and_notes_say_what_is_compared(
    folder: Path, served: list[str], published: str
) -> None:
    serve(*served)
    result = backtest(published)
    assert result["alerts"] == []
    notes = " ".join(result["notes"])
    assert ("fitted by an earlier version" in notes) == (published == "old.json")
    assert ("checked with 2 profiles" in notes) == (len(served) == 2)


@pytest.mark.parametrize("published", ["old.json", "new.json"])
def test_a_fault_is_found_while_both_are_in_use(folder: Path, published: str) -> None:
    serve("old.json", "new.json", change=lambda row: row | {"channel": "fax"})
    assert "unseen-categories" in {alert["watch"] for alert in backtest(published)["alerts"]}


def test_each_command_that_shows_an_earlier_profile_says_so(folder: Path) -> None:
    says = "fitted by an earlier version"
    assert says in " ".join(run(app, ["profile", "show", "old.json"]).output.split())
    assert says not in run(app, ["profile", "show", "new.json"]).output
    serve("old.json")
    index = ["index", "spool-old.json", "--store", "store", "--profile", "old.json"]
    assert run(app, index).exit_code == 0
    assert says in run(app, ["watch", "run", "--once", "--store", "store", "--dry-run"]).stderr
    report = run(app, ["report", "--store", "store", "--no-replay", "--format", "md"])
    assert report.exit_code == 0, report.output
    assert says in report.output


def test_a_profile_that_lacks_only_the_parts_of_texts_names_them(fitted: Profile) -> None:
    text = replace(fitted.features["query"], edges=(), counts=(), new_words=None)
    earlier = replace(fitted, features={**fitted.features, "query": text})
    assert "neither new words nor numbers of words of query" in describe_age(earlier)
    assert describe_age(fitted) == ""


def test_a_profile_of_a_later_version_is_refused_by_name_and_remedy(folder: Path) -> None:
    document = json.loads(Path("new.json").read_text())
    Path("later.json").write_text(json.dumps({**document, "forecast": {}}))
    with pytest.raises(profiles.ProfileError, match=r"\$\.forecast: is not part of a profile"):
        profiles.load("later.json")
    Path("later.json").write_text(json.dumps({**document, "format_version": 2}))
    with pytest.raises(profiles.ProfileError, match="use the version that wrote it"):
        profiles.load("later.json")
