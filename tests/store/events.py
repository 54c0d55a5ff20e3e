"""Events for the store's tests: random ones that use every corner of the mapping, and small regular ones."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2018, 2, 1, 9, 0, 0, tzinfo=UTC)
NOW = datetime(2018, 2, 3, 15, 41, 27, 123456, tzinfo=UTC)
STREAM = "logs-ml.prediction-default"

FEATURES = ["income", "home", "emp.title", "a/b~c", 'quo"te', "it's", "zip_code", "ünïcode"]
CATEGORIES = ["RENT", "OWN", "rent", "a*b", "a?b", "[10,20)", "x,y", "", "Ünicode", 'say "hi"', "it's", "\\"]


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def event(number: int, **fields: Any) -> dict[str, Any]:
    """A prediction; dotted names in ``fields`` (with ``__`` for the dots) are put into their places."""
    moment = START + timedelta(minutes=number)
    document: dict[str, Any] = {
        "@timestamp": iso(moment),
        "event": {"id": f"e{number}", "dataset": "ml.prediction", "ingested": iso(moment)},
        "ml": {"model": {"name": "loans", "version": "1"}, "sample": {"weight": 1.0}},
    }
    for name, value in fields.items():
        put(document, name.replace("__", "."), value)
    return document


def put(document: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    node = document
    for parent in parents:
        node = node.setdefault(parent, {})
    node[leaf] = value


def randomly(count: int, seed: int) -> list[dict[str, Any]]:
    """Events with absent fields, nulls, arrays where one value is usual, odd keys and fine-grained times."""
    chance = random.Random(seed)
    return [_random_event(chance, number) for number in range(count)]


def _random_event(chance: random.Random, number: int) -> dict[str, Any]:
    moment = START + timedelta(microseconds=chance.randrange(-(10**11), 2 * 10**11))
    late = moment + timedelta(milliseconds=chance.randrange(1, 10**7))
    features = chance.sample(FEATURES, chance.randrange(0, 4))
    document: dict[str, Any] = {
        "@timestamp": iso(moment) if chance.random() < 0.8 else moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "message": chance.choice(["prediction", "served from cache", ""]),
        "event": {
            "id": f"id-{number}",
            "dataset": "ml.prediction",
            "ingested": iso(late),
            "outcome": chance.choice(["success", "failure"]),
            "duration": chance.choice([0, 1, 1500, 2**40 + 1, chance.randrange(10**6)]),
        },
        "ml": {
            "schema_version": 1,
            "model": {"name": chance.choice(["loans", "churn", "loans-2"]), "version": chance.choice("12")},
            "sample": {"weight": chance.choice([1.0, 2.5, 0.1, 10, 3.3333])},
            "check": {"missing": features, "unseen": chance.sample(FEATURES, chance.randrange(0, 2))},
            "input": {"numeric": {}, "category": {}, "boolean": {}, "date": {}, "text": {}},
            "prediction": {},
        },
    }
    ml = document["ml"]
    for feature in FEATURES:
        if chance.random() < 0.5:
            ml["input"]["numeric"][feature] = chance.choice([None, 0, -1.5, 7, 1e12, chance.gauss(50, 20)])
        if chance.random() < 0.4:
            ml["input"]["category"][feature] = chance.choice(CATEGORIES)
    if chance.random() < 0.2:
        ml["input"]["category"]["home"] = chance.sample(CATEGORIES, 2)
    if chance.random() < 0.1:
        ml["input"]["numeric"]["income"] = [1.5, 2.5, 2.5]
    if chance.random() < 0.6:
        ml["input"]["boolean"]["joint"] = chance.choice([True, False, "true"])
    if chance.random() < 0.5:
        opened = datetime(1960 + chance.randrange(80), chance.randrange(1, 13), chance.randrange(1, 29))
        ml["input"]["date"]["opened"] = iso(opened.replace(tzinfo=UTC, microsecond=chance.randrange(10**6)))
    if chance.random() < 0.3:
        ml["input"]["text"]["title"] = "Registered Nurse"
    if chance.random() < 0.8:
        ml["prediction"]["value"] = chance.choice([chance.gauss(12, 3), 12, 12.5, "7.5"])
    if chance.random() < 0.5:
        ml["prediction"]["bin"] = chance.choice(["[10,12)", "[12,14)", "!above"])
    if chance.random() < 0.1:
        ml["prediction"] |= {"labels": ["a", "b"], "bin": chance.choice([["a", "b"], ["a"], [], ["a", "a"]])}
    if chance.random() < 0.3:
        ml["prediction"]["scores"] = {"yes": chance.random(), "no.t": chance.random()}
    if chance.random() < 0.3:
        ml["text"] = {"tokens": chance.randrange(5), "oov_tokens": chance.choice([None, 0, "2", 3.7])}
    if chance.random() < 0.4:
        document["labels"] = {"tenant": chance.choice(["eu-1", "us-1", 5, True, None]), "a.b": "x"}
    if chance.random() < 0.3:
        document["service"] = {"name": chance.choice(["pricing", ["pricing", "batch"], ["pricing"], []])}
    if chance.random() < 0.3:
        document["process"] = {"pid": chance.choice([1, 42, "42", 4242])}
    return document
