"""Values of another type never silence the monitor: each kind raises an alert that shows them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from logging_lib import PredictionProcessor
from logging_lib import profile as profiles
from logging_lib._util import content
from logging_lib.logger.checks import Checker
from logging_lib.normalize import normalize
from logging_lib.store import annotate
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.backtest.backtest import Backtest, backtest
from logging_lib.watch.loading import load_watches

Row = dict[str, Any]
Change = Callable[[Row], Row]
START = datetime(2026, 3, 10, 8, tzinfo=UTC)
EVENTS = 240
STEP = timedelta(seconds=15)


def rows(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "amount": rng.lognormal(3, 0.6, count).round(2),
            "age": rng.integers(18, 90, count),
            "channel": rng.choice(["web", "app"], count),
            "note": [f"order {number} of today" for number in rng.integers(0, 900, count)],
            "member": rng.random(count) < 0.5,
            "since": pd.date_range("2020-01-01", periods=count, freq="h", tz="UTC"),
        }
    )


def every_fifth(name: str, value: Any) -> Change:
    """Replace the amounts above the eighth decile, about a fifth of them."""
    return lambda row: {**row, name: value if row["amount"] > 33 else row[name]}


CHANGES: dict[str, tuple[str, str, Change]] = {
    "numbers as text": ("amount", '"', lambda row: {**row, "amount": str(row["amount"])}),
    "decimal commas": ("amount", '"', lambda row: {**row, "amount": str(row["amount"]).replace(".", ",")}),
    "a word in a fifth of a number": ("amount", '"missing" (', every_fifth("amount", "missing")),
    "booleans as words": ("member", '"yes" (', lambda row: {**row, "member": "yes" if row["member"] else "no"}),
    "booleans as 0 and 1": ("member", "1 (", lambda row: {**row, "member": int(row["member"])}),
    "codes as text": ("age", '"', lambda row: {**row, "age": str(row["age"])}),
    "nested objects": (
        "amount", '{"value":', lambda row: {**row, "amount": {"value": row["amount"], "currency": "EUR"}},
    ),
    "empty lists": ("channel", "[] (", lambda row: {**row, "channel": []}),
    "tuples of one": ("amount", "[", lambda row: {**row, "amount": (row["amount"],)}),
    "seconds since 1970 for a date": ("since", "1", lambda row: {**row, "since": row["since"].timestamp()}),
    "numbers in a text": ("note", "7 (", lambda row: {**row, "note": 7}),
    "two values a column": ("amount", "[", lambda row: {name: [value, value] for name, value in row.items()}),
}  # fmt: skip
SHAPES: dict[str, Callable[[Row], Any]] = {
    "a frame of one row": lambda row: pd.DataFrame([row]),
    "columns of one value": lambda row: {name: [value] for name, value in row.items()},
    "columns of one tuple": lambda row: {name: (value,) for name, value in row.items()},
    "columns of one array": lambda row: {name: np.array([value]) for name, value in row.items()},
    "a series": pd.Series,
    "a list of one row": lambda row: [row],
}


@pytest.fixture(scope="module")
def fitted() -> profiles.Profile:
    return profiles.fit(rows(2000, 1), model="m", version="1")


def watch_models(fitted: profiles.Profile, events: dict[str, list[Row]], *ids: str) -> Backtest:
    """Run watches over the events of several models, which all have the same profile."""
    document = profiles.build_document(fitted)
    watches = [watch for watch in load_watches(content.path("watchers")) if not ids or watch.id in ids]
    with EmbeddedStore(None) as store:
        for model, documents in events.items():
            names = {"name": model, "version": "1"}
            ml = {**document["ml"], "model": names}
            store.index("ml-profiles", [{**document, "_id": f"{model}:1", "ml": ml}])
            for event in documents:
                event["ml"] = {**event["ml"], "model": {**names, "role": "live"}}
            result = store.index("logs-ml.prediction-default", documents)
            assert not result.failed
        end = START + STEP * EVENTS
        return backtest(store, watches, start=START, end=end, every=timedelta(minutes=30))


def serve(fitted: profiles.Profile, change: Callable[[Row], Any]) -> list[Row]:
    """Serve the logger's own events, the second half of which is changed."""
    process = PredictionProcessor(model="m", version="1", profile=fitted)
    events = []
    for number, row in enumerate(rows(EVENTS, 2).to_dict("records")):
        inputs = change(row) if number >= EVENTS // 2 else row  # type: ignore[arg-type]
        fields = {"inputs": inputs, "prediction": 1.0, "timestamp": START + number * STEP}
        event: Row = dict(process(None, "info", fields))
        event["event"]["ingested"] = event["@timestamp"]
        events.append(event)
    return events


def serve_foreign(fitted: profiles.Profile, change: Change) -> Iterator[Row]:
    """Serve the events of another logger, every second of which is checked later."""
    checker = Checker(fitted, foreign=True)
    for number, row in enumerate(rows(EVENTS, 2).to_dict("records")):
        row["since"] = row["since"].isoformat()
        inputs = change(row) if number >= EVENTS // 2 else row  # type: ignore[arg-type]
        moment = (START + number * STEP).isoformat()
        raw = {"model": "m", "model_version": "1", "timestamp": moment, "inputs": inputs, "prediction": 1.0}
        event = normalize(raw, checks=None if number % 2 else lambda model, version: checker).document
        event = annotate.add_checks(event, checker) if number % 2 else event
        event["event"]["ingested"] = event["@timestamp"]
        yield event


def shown(finding: Mapping[str, Any]) -> str:
    """The examples of values in a message."""
    return next((str(line["value"]) for line in finding["lines"] if line["name"] == "Values"), "")


def test_each_kind_of_wrong_value_raises_an_alert_that_shows_it(fitted: profiles.Profile) -> None:
    events = {name: serve(fitted, change) for name, (_, _, change) in CHANGES.items()}
    events["nothing changed"] = serve(fitted, lambda row: row)
    events["an earlier logger"] = serve(fitted, CHANGES["numbers as text"][2])
    for event in events["an earlier logger"]:
        event["ml"].get("check", {}).pop("wrong_type_values", None)
    result = watch_models(fitted, events, "wrong-type")
    assert not result.failures
    alerts = {alert.model: alert for alert in result.alerts}
    (finding,) = alerts.pop("an earlier logger").findings
    assert (finding["feature"], shown(finding)) == ("amount", "")
    assert alerts.keys() == CHANGES.keys()
    for name, (feature, value, _) in CHANGES.items():
        findings = {finding["feature"]: finding for finding in alerts[name].findings}
        assert feature in findings, name
        assert value in shown(findings[feature]), (name, shown(findings[feature]))
        assert "of another type than in training" in findings[feature]["what"]
        assert len(findings[feature]["values"]) <= 5


def test_a_feature_with_many_values_does_not_hide_the_others(fitted: profiles.Profile) -> None:
    """Of 60 values of one feature each is more frequent than those of the other, and the search lists 50."""
    numbers = itertools.count()

    def change(row: Row) -> Row:
        number = next(numbers)
        return {**row, "amount": f"{number % 60} EUR", "age": f"about {number}"}

    alerts = {
        alert.model: alert
        for alert in watch_models(fitted, {"m": serve(fitted, change)}, "wrong-type").alerts
    }
    findings = {finding["feature"]: finding for finding in alerts["m"].findings}
    assert findings.keys() == {"amount", "age"}
    for feature, word in (("amount", "EUR"), ("age", "about")):
        assert len(findings[feature]["values"]) == 5
        assert shown(findings[feature]).count(word) == 5
        names = [line["name"] for line in findings[feature]["lines"]]
        assert names.count("Values") == 1
        assert names.index("Values") + 1 == names.index("First seen")


def test_a_whole_row_of_another_shape_is_read_and_raises_none(fitted: profiles.Profile) -> None:
    events = {name: serve(fitted, shape) for name, shape in SHAPES.items()}
    plain = serve(fitted, lambda row: row)
    for documents in events.values():
        assert [event["ml"]["input"]["numeric"] for event in documents] == [
            event["ml"]["input"]["numeric"] for event in plain
        ]
    assert watch_models(fitted, events, "wrong-type", "vanished-feature", "input-drift").alerts == ()


def test_foreign_events_raise_the_same_alerts(fitted: profiles.Profile) -> None:
    kinds = ("decimal commas", "a word in a fifth of a number", "booleans as words", "booleans as 0 and 1",
             "nested objects", "empty lists")  # fmt: skip
    events = {name: list(serve_foreign(fitted, CHANGES[name][2])) for name in kinds}
    events["numbers as text"] = list(serve_foreign(fitted, CHANGES["numbers as text"][2]))
    alerts = {alert.model: alert for alert in watch_models(fitted, events, "wrong-type").alerts}
    assert alerts.keys() == set(kinds), "a serializer may write numbers as text"
    for name in kinds:
        feature, value, _ = CHANGES[name]
        (finding,) = alerts[name].findings
        assert finding["feature"] == feature
        assert value in shown(finding)


def test_types_that_training_mixed_raise_none_and_more_of_them_do() -> None:
    rng = np.random.default_rng(3)

    def draw(count: int, share: float) -> list[Any]:
        numbers = rng.lognormal(3, 0.6, count).round(2).tolist()
        return ["high" if rng.random() < share else number for number in numbers]

    fitted = profiles.fit(pd.DataFrame({"amount": draw(4000, 0.2)}, dtype=object), model="m", version="1")
    assert fitted.features["amount"].kind == "numeric"
    events: dict[str, list[Row]] = {}
    process = PredictionProcessor(model="m", version="1", profile=fitted)
    for model, share in (("usual", 0.2), ("more", 0.5)):
        events[model] = []
        for number, amount in enumerate(draw(EVENTS, share)):
            fields = {"inputs": {"amount": amount}, "prediction": 1.0, "timestamp": START + number * STEP}
            event: Row = dict(process(None, "info", fields))
            event["event"]["ingested"] = event["@timestamp"]
            events[model].append(event)
    (alert,) = watch_models(fitted, events, "wrong-type").alerts
    assert alert.model == "more"
    assert shown(alert.findings[0]).startswith('"high" (')
