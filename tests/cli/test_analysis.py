"""The analysis commands as they are typed: exit codes, JSON, files, what is said of wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import logging_lib
from logging_lib import profile as profiles
from logging_lib.cli.app import app
from tests.analysis.served import START

Call = Callable[..., Result]
STORE = ("--store", "store")


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: pd.DataFrame, profile: profiles.Profile
) -> Call:
    """In a folder with a store, its profile and training data."""
    monkeypatch.chdir(tmp_path)
    profiles.save(profile, "profile.json")
    log = logging_lib.configure(model="loans", version="1", profile=profile, spool="spool")
    shadow = logging_lib.configure(model="loans", version="2", role="shadow", spool="spool")
    inputs = training.drop(columns=["rate", "issued_at"]).iloc[:300]
    for i, row in enumerate(inputs.to_dict("records")):
        at = START + pd.Timedelta(hours=i)
        for one, error in ((log, 1.0), (shadow, 0.5)):
            one.prediction(row, prediction=10.0 + error, request_id=f"r{i}", timestamp=at, duration=0.01)
    training.to_parquet("train.parquet")
    inputs.assign(request_id=[f"r{i}" for i in range(300)], income=inputs["income"] * 100).to_parquet(
        "again.parquet"
    )
    actuals = pd.DataFrame(
        {"request_id": [f"r{i}" for i in range(200)], "actual": [10.0 + i % 2 for i in range(200)]}
    )
    actuals.assign(timestamp=str(START + pd.Timedelta(days=30))).to_csv("labels.csv", index=False)

    run("index", "spool", *STORE, "--profile", "profile.json")
    return run


def run(*arguments: str, code: int = 0, given: bytes | None = None) -> Result:
    """Run a command that ends with this exit code."""
    result = CliRunner().invoke(app, list(arguments), input=given)
    assert result.exit_code == code, result.output
    return result


def test_compare(call: Call) -> None:
    """0 where nothing differs, 1 where something does, 2 for wrong input; table, JSON and page."""
    found = json.loads(call("compare", "train.parquet", "train.parquet", "--json").stdout)
    assert found["differing"] == []
    differs = call("compare", "since=2018-02-01", *STORE, "--html", "page.html", code=1).stdout
    assert "ml.prediction" in differs
    assert "<svg" in Path("page.html").read_text("utf-8")
    assert json.loads(call("compare", *STORE, "--by", "home", "--json", code=1).stdout)["differing"]
    shadow = json.loads(call("compare", "--role", "shadow", *STORE, "--json", code=1).stdout)["shadow"][0]
    assert (shadow["requests"], shadow["difference"]["mean"]) == (300, -0.5)
    assert "no such file" in call("compare", "nothing.csv", "x", code=2).stderr
    assert (
        "no predictions found (selection: model="
        in call("compare", "version=9", "version=1", *STORE, code=2).stderr
    )


@pytest.mark.parametrize(
    ("which", "problem"),
    [
        ("since=2999-01-01", "since=2999-01-01 is in the future"),
        ("since=2018-03-01,until=2018-02-01", "since=2018-03-01 is not before until=2018-02-01"),
    ],
)
@pytest.mark.parametrize(
    "words",
    [
        ["compare"],
        ["export", "--out", "x.csv"],
        ["labels", "join"],
        ["labels", "quality"],
        ["labels", "delay"],
    ],
)
def test_a_selection_of_no_time_is_refused(call: Call, words: list[str], which: str, problem: str) -> None:
    assert problem in call(*words, which, *STORE, code=2).stderr


@pytest.mark.parametrize("words", [["scorecard"], ["profile", "learn", "--model", "m", "--version", "1"]])
def test_a_start_in_the_future_is_refused(call: Call, words: list[str]) -> None:
    refused = call(*words, "--since", "2999-01-01", *STORE, code=2)
    assert "--since 2999-01-01: in the future; it is now" in refused.stderr


def test_compare_without_rows_has_an_exit_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"amount": np.arange(60) / 4, "home": ["RENT", "OWN"] * 30})
    frame.to_csv("a.csv", index=False)
    frame.head(0).to_csv("b.csv", index=False)
    frame.assign(amount=frame["amount"].astype(str).where(frame.index >= 20, "?")).to_csv(
        "c.csv", index=False
    )
    assert "not comparable: there is nothing to compare" in run("compare", "a.csv", "b.csv", code=3).stdout
    document = json.loads(run("compare", "b.csv", "a.csv", "--json", "--html", "page.html", code=3).stdout)
    assert document["not_comparable"] == ["amount", "home"]
    assert "not comparable: there is nothing to compare" in Path("page.html").read_text("utf-8")
    differing = run("compare", "a.csv", "c.csv", code=1).stdout
    assert "amount (wrong type)" in differing
    assert "c.csv: 20 values are not a number: '?'" in differing
    assert run("compare", "a.csv", "c.csv", "--exclude", "amount").exit_code == 0
    assert (
        "no sample has the column 'amuont'"
        in run("compare", "a.csv", "c.csv", "--exclude", "amuont", code=2).stderr
    )


@pytest.mark.parametrize("has_profile", [True, False])
def test_compare_names_the_slice_in_which_a_shadow_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_profile: bool
) -> None:
    """Among all answers the difference is too small to be found; between the same requests it is not."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    inputs = pd.DataFrame(
        {"channel": random.choice(["mobile", "web"], 400), "amount": random.uniform(60, 140, 400)}
    )
    fitted = profiles.fit(inputs, model="loans", version="1") if has_profile else None
    live = logging_lib.configure(model="loans", version="1", profile=fitted, spool="spool", report_every=None)
    shadow = logging_lib.configure(
        model="loans", version="2", role="shadow", spool="spool", report_every=None
    )
    for i, row in enumerate(inputs.to_dict("records")):
        at = START + pd.Timedelta(hours=i)
        answer = row["amount"] / 10
        live.prediction(row, prediction=answer, request_id=f"r{i}", timestamp=at)
        factor = 1.02 if row["channel"] == "mobile" else 1.0
        shadow.prediction(row, prediction=factor * answer, request_id=f"r{i}", timestamp=at)
    run("index", "spool", *STORE)
    shown = run("compare", "--role", "shadow", *STORE, "--html", "page.html", code=1).stdout
    mobile = int((inputs["channel"] == "mobile").sum())
    sentence = (
        f"the answers differ in channel=mobile: 100.0 % of its {mobile} requests, 0 % elsewhere; there "
    )
    assert sentence in shown
    assert "1 of 3 variables differ" in shown
    assert sentence in Path("page.html").read_text("utf-8")
    document = json.loads(run("compare", "--role", "shadow", *STORE, "--json", code=1).stdout)
    assert document["differing"] == ["ml.prediction"]
    assert document["shadow"][0]["paired"][0]["slices"][0]["name"] == "channel=mobile"


def test_skew(call: Call) -> None:
    found = json.loads(call("skew", "again.parquet", *STORE, "--json", "--save", code=1).stdout)
    worst = found["features"][0]
    assert (worst["name"], worst["cause"]["name"], found["ok"]) == ("income", "unit", False)
    assert "percent or cents" in call("skew", "again.parquet", *STORE, code=1).stdout
    assert call("skew", "again.parquet", *STORE, "--max-rate", "1").exit_code == 0
    assert "no such file" in call("skew", "nothing.csv", *STORE, code=2).stderr
    card = json.loads(call("scorecard", *STORE, "--json").stdout)
    assert card["monitors"][2]["evidence"][0].endswith("skewed: income")


def test_a_function_recomputes_features(call: Call) -> None:
    Path("recompute.py").write_text(
        "def features(events):\n    return events.assign(count=events['count'] + 1)\n"
    )
    found = json.loads(call("skew", "recompute:features", *STORE, "--json", code=1).stdout)
    assert [one["name"] for one in found["features"] if not one["allowed"]] == ["count"]
    assert found["features"][0]["cause"]["name"] == "constant offset"
    assert "cannot be imported" in call("skew", "recompute:nothing", *STORE, code=2).stderr


def test_labels(call: Call) -> None:
    done = json.loads(call("labels", "ingest", "labels.csv", *STORE, "--json").stdout)
    assert (done["joined"], done["refused"]) == (400, [])
    line = b'{"request_id": "r250", "actual": 11.0}\n'
    assert json.loads(call("labels", "ingest", "-", *STORE, "--json", given=line).stdout)["joined"] == 2
    assert json.loads(call("labels", "join", *STORE, "--json").stdout)["joined"] == 0
    found = json.loads(call("labels", "quality", *STORE, "--by", "home", "--json").stdout)
    assert [one["version"] for one in found] == ["1", "2"]
    assert found[0]["segments"][0]["metrics"]["mae"] == pytest.approx(100 / 201)
    assert "calibration" in call("labels", "quality", *STORE).stdout
    delay = json.loads(call("labels", "delay", *STORE, "--json").stdout)
    assert (delay[0]["labelled"], delay[0]["predictions"]) == (201, 300)
    assert "refused" in call("labels", "ingest", "-", *STORE, given=b'{"actual": 1}\n', code=1).stderr
    assert "no such file" in call("labels", "ingest", "none.csv", *STORE, code=2).stderr


def test_export_and_scorecard(call: Call) -> None:
    call("labels", "ingest", "labels.csv", *STORE)
    done = json.loads(call("export", "--out", "out.parquet", *STORE, "--exclude", "shadow", "--json").stdout)
    assert (done["rows"], done["marks"]["shadow"]["share"]) == (300, 0.5)
    assert len(pd.read_parquet("out.parquet")) == 300
    assert "give a file named" in call("export", "--out", "out.txt", *STORE, code=2).stderr
    state = Path("store/.watch-state/watches")
    state.mkdir(parents=True)
    for name in ("stale-model", "quality-regression"):
        (state / f"{name}.json").write_text(
            json.dumps({"last_scheduled": "2018-03-01T00:00:00Z", "incidents": []})
        )
    as_of = ("--now", "2018-03-04T00:00:00Z", "--since", "60d")
    made = json.loads(call("scorecard", *STORE, *as_of, "--json").stdout)
    assert [one["status"] for one in made["monitors"]][3] == "partly" or made["monitors"][3]["score"] == 1
    assert made["monitors"][6]["evidence"][0] == "quality-regression ran last at 2018-03-01 00:00 UTC"
    assert call("scorecard", *STORE, *as_of, "--min-score", "7", code=1).stdout.count("→") > 5
