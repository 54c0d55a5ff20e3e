"""Any bytes become a canonical event or a dead letter with a reason; nothing is lost, nothing raises."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.jsonlines import MAX_LINE, find_files, read_lines
from logging_lib.normalize import DeadLetter, Event, normalize, normalize_line
from tests.strategies import examples
from tests.strategies import inputs as any_inputs

Valid = Callable[[dict[str, Any]], dict[str, Any]]
NOW = datetime(2018, 2, 1, 12, tzinfo=UTC)


def foreign(**changes: Any) -> dict[str, Any]:
    event = {"model": "m", "inputs": {"a": 1}, "prediction": 2.5, "timestamp": "2018-02-01T10:00:00Z"}
    return {key: value for key, value in (event | changes).items() if value is not ...}


def made_of(raw: Any) -> dict[str, Any]:
    result = normalize(raw, now=NOW)
    assert isinstance(result, Event), result
    return result.document


def test_a_plain_foreign_event_becomes_canonical(valid: Valid) -> None:
    event = valid(made_of(foreign(model={"name": "m", "version": 3}, tenant="x", latency=0.25, service="s")))
    assert event["ml"]["model"] == {"name": "m", "version": "3", "role": "live"}
    assert event["ml"]["profile"] == {"status": "none"}
    assert event["ml"]["input"] == {"numeric": {"a": 1}}
    assert event["ml"]["prediction"] == {"value": 2.5}
    assert event["event"]["duration"] == 250_000_000
    assert event["service"] == {"name": "s"}
    assert event["labels"] == {"tenant": "x"}


@pytest.mark.parametrize(
    ("given_", "path", "kept"),
    [
        ("N/A", "other", None),
        ("", "other", None),
        ("  ", "other", None),
        (None, "other", None),
        ("1.50", "numeric", 1.5),
        ("-3", "numeric", -3),
        ("1e3", "numeric", 1000.0),
        ("007", "category", "007"),
        ("1e400", "category", "1e400"),
        ("True", "boolean", True),
        ("yes", "category", "yes"),
        ("x" * 300, "text", "x" * 300),
        ([1, "2"], "other", [1, "2"]),
        ({"a": {"b": 1}}, "other", {"a": {"b": 1}}),
    ],
)
def test_a_foreign_value_is_canonicalized(given_: Any, path: str, kept: Any, valid: Valid) -> None:
    event = valid(made_of(foreign(inputs={"f": given_})))
    assert event["ml"]["input"] == {path: {"f": kept}}


@pytest.mark.parametrize(
    "when",
    ["2018-02-01T10:00:00.123456Z", "2018-02-01 10:00:00.123456", "2018-02-01T11:00:00.123456+01:00",
     1517479200.123456, 1517479200123456, 1517479200123456789, "1517479200.123456", "2018-02-01T10:00:00,123456"],
)  # fmt: skip
def test_a_time_in_any_form(when: Any) -> None:
    assert made_of(foreign(timestamp=when))["@timestamp"] == "2018-02-01T10:00:00.123456Z"


def test_milliseconds_are_exact() -> None:
    assert made_of(foreign(timestamp=1517479200123))["@timestamp"] == "2018-02-01T10:00:00.123000Z"


def test_an_event_without_a_time_has_its_arrivals() -> None:
    assert made_of(foreign(timestamp=...))["@timestamp"] == "2018-02-01T12:00:00.000000Z"
    without = normalize(foreign(timestamp=...))
    assert isinstance(without, DeadLetter)
    assert without.reason == "no_timestamp"


def test_the_same_bytes_get_the_same_id_and_a_given_one_is_kept() -> None:
    raw = orjson.dumps(foreign())
    assert made_of(raw)["event"]["id"] == made_of(raw + b"\n")["event"]["id"]
    assert made_of(raw)["event"]["id"] != made_of(orjson.dumps(foreign(prediction=3)))["event"]["id"]
    assert made_of(foreign(id=17))["event"]["id"] == "17"


@pytest.mark.parametrize(
    ("raw", "reason", "says"),
    [
        (b'{"model": "m"', "not_json", "not JSON"),
        (b"\xff\xfe", "not_json", "not JSON"),
        (b"[1]", "not_an_object", "a JSON array"),
        (b" " * 1_000_001, "too_large", "1000001 bytes"),
        (foreign(model=...), "no_model", "one of model, model_name"),
        (foreign(model=""), "no_model", "must name it"),
        (foreign(inputs=...), "no_inputs", "one of inputs, features"),
        (foreign(inputs=[1]), "no_inputs", "must be an object"),
        (foreign(inputs={str(i): 1 for i in range(10_001)}), "too_many_fields", "10001 fields"),
        (foreign(timestamp="soon"), "timestamp", '"soon"'),
        (foreign(timestamp=1e30), "timestamp", "1e+30"),
        (foreign(timestamp="2018-02-02T12:00:01Z"), "future", "more than a day ahead"),
        ({"ml": {"schema_version": 99}}, "schema_version", "is 99"),
        ({"ml": {"schema_version": 1}}, "no_id", "event.id is missing"),
        ({"ml": {"schema_version": 1}, "event": {"id": "1", "dataset": "x"}}, "dataset", '"x"'),
        (
            {"ml": {"schema_version": 1}, "event": {"id": "1", "dataset": "ml.prediction"}},
            "no_model",
            "ml.model",
        ),
        ({"ml": {"schema_version": 1}, "event": {"id": "1", "dataset": "ml.start"}}, "timestamp", "is null"),
    ],
)
def test_a_refusal_has_a_reason_and_the_original(raw: Any, reason: str, says: str, valid: Valid) -> None:
    result = normalize(raw, now=NOW)
    assert isinstance(result, DeadLetter)
    assert result.reason == reason
    event = valid(result.document)
    assert event["error"]["type"] == reason
    assert says in event["error"]["message"]
    original = event["event"]["original"]
    back = (
        base64.b64decode(original) if event["ml"]["deadletter"]["encoding"] == "base64" else original.encode()
    )
    raw_bytes = raw if isinstance(raw, bytes) else orjson.dumps(raw)
    assert raw_bytes.startswith(back)
    assert event["ml"]["deadletter"]["size"] == len(raw_bytes)
    assert len(back) == min(len(raw_bytes), 32_768)


def test_our_own_events_are_never_altered(
    tmp_path: Path, profile: profiles.Profile, inputs: dict[str, Any]
) -> None:
    log = logging_lib.configure(
        model="loans", version="1", profile=profile, spool=tmp_path, report_every=None
    )
    log.prediction(inputs | {"income": "N/A", "extra": "17", "time": "x"}, prediction=3.5)
    (file,) = find_files([tmp_path])
    (line,) = read_lines(file)
    result = normalize_line(line)
    assert isinstance(result, Event)
    assert result.document == json.loads(line.data)


@settings(
    max_examples=examples(300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.one_of(st.binary(max_size=60), any_inputs, st.builds(lambda i: foreign(inputs=i), any_inputs)))
def test_anything_is_an_event_or_a_dead_letter_that_keeps_the_contract(valid: Valid, raw: Any) -> None:
    result = normalize(raw, now=NOW)
    line = orjson.dumps(result.document)
    valid(orjson.loads(line))


def test_a_damaged_file_is_read_on_with_file_and_offset(tmp_path: Path, valid: Valid) -> None:
    valid_line = orjson.dumps(foreign())
    path = tmp_path / "spool.jsonl"
    path.write_bytes(
        valid_line
        + b"\nnot json\r\n\n"
        + b"x" * (MAX_LINE * 2 + 7)
        + b"\n"
        + valid_line
        + b"\n"
        + valid_line[:20]
    )
    results = [normalize_line(line, now=NOW) for line in read_lines(path)]
    assert [type(r) for r in results] == [Event, DeadLetter, DeadLetter, Event, DeadLetter]
    reasons = [(r.reason, r.document["log"]["offset"]) for r in results if isinstance(r, DeadLetter)]
    start = len(valid_line) + 1
    third = start + 11 + MAX_LINE * 2 + 8
    assert reasons == [("not_json", start), ("too_large", start + 11), ("torn", third + len(valid_line) + 1)]
    for result in results:
        if isinstance(result, DeadLetter):
            assert valid(result.document)["log"]["file"]["path"] == str(path)
    assert len(list(read_lines(path, third))) == 2


def test_find_files_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file, or a folder without \*\.jsonl"):
        find_files([tmp_path])
    with pytest.raises(FileNotFoundError, match="missing"):
        find_files([tmp_path / "missing"])
