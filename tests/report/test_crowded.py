"""A month with 400 alerts: what has one cause is one entry, the gravest are first, and the page stays short."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pandas as pd
import pytest

from logging_lib import PredictionProcessor, profile
from logging_lib._util import content
from logging_lib.report import alerts as alerting
from logging_lib.report import collect, markdown
from logging_lib.report.merging import merge, rank, read_severity
from logging_lib.report.model import SHOWN, ModelReport, ReportedAlert
from logging_lib.report.page import render_page
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.loading import load_watches
from tests.browser import Visit
from tests.report.conftest import START, Document, fill, fitted, predictions, report_of

INPUTS = tuple(f"{name}_{i}" for i in range(1, 8) for name in ("speed", "temperature"))
SCREENS = 2 * 1100
HOUR = timedelta(hours=1)


def alert(
    hours: float, watch: str, *features: str, check: str = "", severity: str | None = None, **more: Any
) -> Document:
    given = {} if severity is None else {"severity": severity}
    findings = [
        {
            "feature": feature, "check": check, "what": f"{feature}: 31 % in the upper half, expected 12 %",
            "lines": [{"name": "observed", "value": "31 %"}], "query": f'ml.input.bins: "{feature}"',
            **given, **more,
        }
        for feature in features
    ]  # fmt: skip
    return {
        "time": (START + hours * HOUR).isoformat(), "watch": watch, "model": "loans", "version": "1",
        "features": list(features), "subject": f"[{watch}]", "findings": findings,
    }  # fmt: skip


def merged(*documents: Document) -> list[ReportedAlert]:
    ordered = sorted(documents, key=lambda document: datetime.fromisoformat(document["time"]))
    return list(rank(merge(ordered, {}, INPUTS)))


def test_alerts_of_all_watches_about_an_input_are_one_entry() -> None:
    (entry,) = merged(
        alert(0, "out-of-range", "speed_1"),
        alert(1, "input-drift", "speed_1", severity="high"),
        alert(25, "input-drift", "speed_1", severity="low"),
    )
    assert (entry.watch, entry.severity, entry.also) == ("input-drift", "high", ("out-of-range",))
    assert entry.times == (START, START + HOUR, START + 25 * HOUR)
    assert entry.duration == 25 * HOUR
    assert [finding.severity for finding in entry.findings] == ["high", "medium"]


def test_missing_values_have_another_cause_than_changed_ones() -> None:
    entries = merged(
        alert(0, "input-drift", "speed_1"),
        alert(1, "na-spike", "speed_1", check="missing"),
        alert(2, "vanished-feature", "speed_1", check="missing"),
    )
    assert {(entry.watch, entry.also) for entry in entries} == {
        ("input-drift", ()),
        ("na-spike", ("vanished-feature",)),
    }


def test_alerts_with_one_beginning_are_one_entry() -> None:
    """As the columns of a lost join; another that follows alone is another entry."""
    entries = merged(
        alert(0, "na-spike", "speed_1", "speed_2", check="missing"),
        alert(1, "na-spike", "speed_2", check="missing"),
        alert(1, "na-spike", "speed_3", check="missing"),
    )
    assert [entry.features for entry in entries] == [("speed_1", "speed_2"), ("speed_3",)]


def test_days_without_a_repeat_end_an_incident() -> None:
    entries = merged(*(alert(hours, "input-drift", "speed_1") for hours in (0, 24, 48, 97)))
    assert [len(entry.times) for entry in entries] == [3, 1]


def test_alerts_that_are_not_about_an_input_have_one_cause_for_each_watch() -> None:
    entries = merged(
        alert(0, "latency-regression", "p95"), alert(0, "resources", "p95"), alert(1, "no-traffic")
    )
    assert [entry.watch for entry in entries] == ["latency-regression", "resources", "no-traffic"]
    assert entries[2].features == ()


def test_severity_comes_before_duration_and_duration_before_time() -> None:
    entries = merged(
        alert(0, "a", "speed_1", severity="low"),
        alert(40, "a", "speed_1", severity="low"),
        alert(1, "a", "speed_2"),
        alert(2, "a", "speed_3"),
        alert(9, "a", "speed_3"),
        alert(30, "a", "speed_4", severity="critical"),
    )
    assert [entry.features[0] for entry in entries] == ["speed_4", "speed_3", "speed_2", "speed_1"]
    assert [entry.number for entry in entries] == [1, 2, 3, 4]


def test_of_equal_severity_the_largest_effect_is_shown() -> None:
    (entry,) = merged(alert(0, "a", "speed_1", effect=0.1), alert(1, "a", "speed_1", effect=0.4))
    assert [finding.effect for finding in entry.findings] == [0.4]


@pytest.mark.parametrize("given", [{}, {"severity": None}, {"severity": "awful"}, {"severity": 3}])
def test_a_finding_without_severity_is_of_medium_severity(given: Document) -> None:
    assert read_severity(given) == "medium"
    assert read_severity({"severity": "critical"}) == "critical"


def many() -> Iterator[Document]:
    """400 alerts of a month, most about values, each input by several watches."""
    random = Random(3)
    watches = ("input-drift", "spread-shift", "out-of-range", "na-spike")
    for number in range(396):
        watch = random.choice(watches)
        check = {"na-spike": "missing", "out-of-range": "out_of_range"}.get(watch, "")
        chosen = random.sample(INPUTS, random.choice((1, 1, 2, 5)))
        yield alert(number * 1.8, watch, *chosen, check=check)
    for day in (9, 10, 11, 12):
        yield alert(24.0 * day, "unseen-categories", INPUTS[3], check="unseen", severity="critical")


@pytest.fixture(scope="module")
def crowded() -> ModelReport:
    random = Random(1)
    frame = pd.DataFrame({name: [random.gauss(0, 1) for _ in range(500)] for name in INPUTS})
    frame["predicted"] = frame[INPUTS[0]]
    fit = profile.fit(frame, model="loans", version="1", prediction="predicted")
    process = PredictionProcessor(model="loans", version="1", profile=fit)
    events = []
    for i in range(31 * 24):
        inputs = {name: random.gauss(i / 400, 1) for name in INPUTS}
        given = {"timestamp": START + i * HOUR, "prediction": inputs[INPUTS[0]], "duration": 0.01}
        events.append(dict(process(None, "info", {"inputs": inputs, "event": "prediction", **given})))
    with EmbeddedStore(None) as store:
        fill(store, events)
        store.index("ml-profiles", [profile.build_document(fit)])
        return report_of(store, *sorted(many(), key=lambda document: document["time"]))


def test_the_verdict_names_three_causes(crowded: ModelReport) -> None:
    sentence = crowded.verdict.sentence
    assert sentence.startswith(f"Unseen categories in {INPUTS[3]}")
    assert sum(sentence.count(name) for name in INPUTS) == 3
    causes = {(one.title, one.features[0], len(one.features)) for one in crowded.alerts}
    assert f"; {len(causes) - 3} more causes; " in sentence
    assert len(sentence) < 200
    assert crowded.sent == 400


def test_the_summary_folds_all_but_the_first_ten(crowded: ModelReport) -> None:
    text = markdown.render(crowded)
    assert len(crowded.alerts) > SHOWN
    before, folded = text.split("<details>")
    assert before.count("\n10. ") == 1
    assert "\n11. " not in before
    assert f"{len(crowded.alerts) - SHOWN} more" in folded


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_on_two_screens(
    chromium: Any, crowded: ModelReport, tmp_path: Any, scheme: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_page(crowded), "utf-8")
    with Visit(chromium, width=1440, scheme=scheme, bypass_csp=True) as visit:
        visit.page.goto(file.as_uri())
        assert visit.page.evaluate("() => document.documentElement.scrollHeight") <= SCREENS
        visible = visit.page.locator("details.alert:visible")
        assert visible.count() == SHOWN
        assert "critical" in visible.first.inner_text()
        visit.page.get_by_text(f"{len(crowded.alerts) - SHOWN} more, less severe or shorter").click()
        assert visible.count() == len(crowded.alerts)
        assert visit.faults() == []
        assert visit.width_overflow() <= 0


def test_a_link_opens_a_folded_part(chromium: Any, crowded: ModelReport, tmp_path: Any) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_page(crowded), "utf-8")
    with Visit(chromium, width=390) as visit:
        visit.page.goto(file.as_uri())
        assert visit.width_overflow() <= 0
        for name in ("latency", "runbooks"):
            assert not visit.page.locator(f"#{name}").is_visible()
            visit.page.locator(f"nav a[href='#{name}']").click()
            visit.page.locator(f"#{name}").wait_for(state="visible")
        visit.page.emulate_media(media="print")
        assert visit.page.locator("#predictions figcaption").first.is_visible()


def test_the_alerts_of_a_store_that_was_loaded_later_are_found() -> None:
    """They are searched by the events' own time, up to the last prediction."""
    documents = list(predictions(fit := fitted()))
    for document in documents:
        document["event"].pop("ingested", None)
    with EmbeddedStore(None) as store:
        store.index("logs-ml.prediction-default", documents, now=START + timedelta(days=900))
        store.index("ml-profiles", [profile.build_document(fit)])
        subject = collect.subject_of(store, model=None, version=None, role=None, start=None, end=None)
        watches = [one for one in load_watches(content.path("watchers")) if one.id == "na-spike"]
        found = alerting.replay(store, watches, subject)
    assert "the events' own time" in found.source.source
    assert [document["features"] for document in found.documents] == [["income"]]
