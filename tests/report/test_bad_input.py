"""Stores with little, much or nothing in them: the report says something true and useful."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from logging_lib import PredictionProcessor, profile
from logging_lib._util import content
from logging_lib.cli.app import app
from logging_lib.dashboards import preview
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.report import markdown
from logging_lib.report.collect import NothingToReport
from logging_lib.report.document import document
from logging_lib.report.page import render_page
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.report.conftest import START, fill, fitted, predictions, report_of, wide


def run(*words: Any) -> Any:
    return CliRunner().invoke(app, ["report", *map(str, words)])


def rendered(report: Any) -> str:
    """The page; the other two forms must not fail either."""
    assert document(report)["format_version"] == 1
    assert markdown.render(report).startswith("# ")
    return render_page(report)


def test_an_empty_store(tmp_path: Path) -> None:
    with (
        EmbeddedStore(None) as store,
        pytest.raises(NothingToReport, match="no predictions; index some with"),
    ):
        report_of(store)
    (tmp_path / "store").mkdir()
    result = run("--store", tmp_path / "store")
    assert result.exit_code == 2
    assert "this folder has no events; index some" in result.output


def test_one_event(fit: profile.Profile) -> None:
    with EmbeddedStore(None) as store:
        fill(store, list(predictions(fit, 1)))
        store.index("ml-profiles", [profile.build_document(fit)])
        made = report_of(store)
        page = rendered(made)
    assert "1 prediction seen" in made.verdict.seen or "2 predictions seen" in made.verdict.seen
    assert made.verdict.level == "well"  # one event flags nothing
    assert "All is well" in page


def test_a_model_without_a_profile() -> None:
    with EmbeddedStore(None) as store:
        fill(store, list(predictions(None, 300)))
        made = report_of(store)
        page = rendered(made)
    assert made.verdict.level == "unknown"
    assert "no profile of this model version was given or published" in made.verdict.sentence
    assert any("logging-lib profile fit" in note for note in made.notes)
    assert made.output is not None
    served = sum(1 for one in predictions(None, 300) if "prediction" in one["ml"])
    assert sum(share.served for share in made.output.shares) > served  # weights
    assert "Mean of the prediction over time" in page


def test_a_profile_without_events(fit: profile.Profile) -> None:
    other = fitted(model="other", version="9")
    with EmbeddedStore(None) as store:
        fill(store, list(predictions(fit, 50)))
        store.index("ml-profiles", [profile.build_document(other)])
        made = report_of(store, model="other", version="9")
        page = rendered(made)
    assert made.verdict.level == "unknown"
    assert made.verdict.sentence.endswith("The store has no predictions of this model.")
    assert all(feature.status == "not_evaluated" for feature in made.features)
    assert "nothing was evaluated" in page


def test_a_period_with_no_data(store: EmbeddedStore) -> None:
    start = datetime(2019, 1, 1, tzinfo=UTC)
    made = report_of(store, model="loans", start=start, end=start + timedelta(days=1))
    assert made.verdict.level == "unknown"
    assert "The store has its predictions from 2018-02-01 09:00 to 2018-02-01 18:59." in made.verdict.sentence
    assert "0 predictions seen" in rendered(made)


def test_one_of_several_models_has_to_be_chosen(fit: profile.Profile) -> None:
    with EmbeddedStore(None) as store:
        fill(store, [*predictions(fit, 3), *predictions(None, 3, model="b<i>")])
        with pytest.raises(NothingToReport, match="b<i> and loans; choose one with --model"):
            report_of(store)
        with pytest.raises(NothingToReport, match="no predictions of 'none'"):
            report_of(store, model="none")


def test_three_hundred_features() -> None:
    made_by, events = wide()
    with EmbeddedStore(None) as store:
        fill(store, events)
        store.index("ml-profiles", [profile.build_document(made_by)])
        made = report_of(store)
        page = rendered(made)
    assert len(made.features) == 300
    assert [f.name for f in made.features if f.status == "moved"] == ["feature_7"]
    assert "Of 300 inputs, the 60 with the largest differences are drawn; the table lists all." in page
    assert all(f"<bdi>{name}</bdi>" in page for name in made_by.features)
    assert page.index('id="input-0"') < page.index("<bdi>feature_7</bdi>", page.index('id="input-0"'))
    assert len(page) < 3_000_000


@pytest.mark.parametrize(
    "values",
    [5_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
    ids=["everyday", "a million"],
)
def test_a_million_categories(values: int, tmp_path: Path) -> None:
    """Each event has a value that no other has: the report, and every panel of the preview, stay short and true."""
    fit = fitted()
    category = next(name for name, one in fit.features.items() if one.kind == "category")
    process = PredictionProcessor(model="loans", version="1", profile=fit, service="pricing")
    inputs = {"income": 6e4, category: "$value", "title": "nurse"}
    given = {"prediction": 12.0, "timestamp": START, "duration": 0.002, "event": "prediction"}
    event: dict[str, Any] = dict(process(None, "info", {"inputs": inputs, **given}))
    event["event"]["id"] = "$id"
    template = orjson.dumps(event).decode()
    (tmp_path / "logs-ml.prediction-default").mkdir()
    with (tmp_path / "logs-ml.prediction-default" / "documents.jsonl").open("w") as file:
        for i in range(values):
            file.write(template.replace("$value", f"value-{i}").replace("$id", f"e-{i}") + "\n")
    with EmbeddedStore(tmp_path) as writing:
        writing.index("ml-profiles", [profile.build_document(fit)])
    with EmbeddedStore(tmp_path, read_only=True) as store:
        made = report_of(store)
        page = rendered(made)
        shown = panels_of(store)
    feature = made.feature(category)
    assert feature is not None
    (unseen,) = [rate for rate in feature.rates if rate.check == "unseen"]
    assert unseen.rate == 1.0
    assert len(unseen.values) == 5
    assert feature.status == "moved"
    assert len(page) < 1_000_000
    assert shown["fleet", "Predictions"]["numbers"] == [["", f"{values:,}"]]
    top = shown["inputs", "Top unseen values · should be empty"]
    assert len(top["rows"]) == 50
    assert all(re.fullmatch(r".*=value-\d+", name) and count == "1" for name, count in top["rows"])
    bins = shown["inputs", "Bins of the chosen feature, now and in the week before · should be alike"]
    assert bins["kind"] == "charts"
    assert len(orjson.dumps(bins)) < 100_000


def panels_of(store: Any) -> dict[tuple[str, str], Any]:
    """Dashboard and title → what the preview shows there, over all there is."""
    now = START + timedelta(days=1)
    chosen = preview.selection({}, preview.choices(store, now=now), now=now)
    views = {
        (one.id, panel.title): preview.panel_view(store, panel, chosen)
        for one in load_dashboards(content.path("kibana_dashboards"))
        for panel in one.panels
    }
    assert not {title: view for title, view in views.items() if view["kind"] == "error"}
    return views


def test_times_the_wrong_way_round_and_files_that_are_none(folder: Path, tmp_path: Path) -> None:
    stored = ("--store", folder / "store")
    assert (
        "--since 2018-03-01 is after --until 2018-02-01"
        in run(*stored, "--since", "2018-03-01", "--until", "2018-02-01").output
    )
    assert "neither a time such as" in run(*stored, "--since", "yesterday").output
    (tmp_path / "alerts").write_text("{}\n")
    assert "not an alert" in run(*stored, "--alerts", tmp_path / "alerts").output
    (tmp_path / "file").write_text("")
    refused = run(*stored, "--model", "loans", "--no-replay", "-o", tmp_path / "file" / "report.html")
    assert refused.exit_code == 2
    assert "cannot be written" in refused.output


def test_a_period_in_which_there_is_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    """Instead of an empty page, as if all were well; a silence with an end can be asked for."""
    stored = ("--store", folder / "store", "--model", "loans", "--no-replay", "-o", tmp_path / "report.html")
    for words, message in (
        (
            ["--since", "2999-01-01"],
            "--since 2999-01-01: in the future, and after the last event, which is of 20",
        ),
        (["--since", "2999-01-01", "--until", "2999-02-01"], "--since 2999-01-01: in the future, and after"),
        (["--since", "2019-01-01"], "--since 2019-01-01: after the last event, which is of 2018-02-"),
        (
            ["--until", "2018-01-01"],
            "--until 2018-01-01: before the first event, which is of 2018-02-01 09:0",
        ),
    ):
        refused = run(*stored, *words)
        assert refused.exit_code == 2
        assert message in " ".join(refused.output.split())
    assert not (tmp_path / "report.html").exists()
    assert run(*stored, "--since", "2019-01-01", "--until", "2019-02-01").exit_code == 0
    assert "No prediction in this period" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize("form", ["html", "md", "json"])
def test_the_command_writes_each_form(folder: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"report.{form}"
    result = run(
        "--store", folder / "store", "--profile", folder / "profile.json", "--alerts", folder / "alerts.jsonl",
        "--format", form, "-o", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "nseen categories" in result.output
    text = out.read_text("utf-8")
    assert "income" in text
    assert "<script>document" not in text or form == "json"
