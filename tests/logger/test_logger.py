"""The logger as a service meets it: events that keep the contract, and calls that never raise."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.event import format_timestamp, new_id
from logging_lib.logger.jsonlines import read_lines
from logging_lib.logger.rows import REPEATED_NAME
from logging_lib.logger.spool import Spool
from logging_lib.profile.config import Config, FeatureConfig
from tests.strategies import examples, may_share_a_text
from tests.strategies import inputs as any_inputs
from tests.strategies import values as any_values

Events = Callable[[Path], list[dict[str, Any]]]
Valid = Callable[[dict[str, Any]], dict[str, Any]]
GOLDEN = Path(__file__).with_name("golden")
NOON = 1_517_486_400_123_456_789  # 2018-02-01T12:00:00.123456789Z


@pytest.fixture
def log(tmp_path: Path, profile: profiles.Profile) -> logging_lib.PredictionLogger:
    return logging_lib.configure(
        model="loans",
        version="1",
        profile=profile,
        spool=tmp_path,
        service={"name": "pricing", "version": "2.4.1"},
        clock=lambda: NOON,
    )


def golden(name: str, event: dict[str, Any], rewrite: bool) -> None:
    """Compare with ``golden/<name>.json``, apart from what differs on every machine."""
    event = json.loads(json.dumps(event))
    event["event"]["id"], event["host"]["name"], event["process"]["pid"] = "ID", "HOST", 1
    if "id" in event["ml"].get("profile", {}):  # other versions of libraries fit another profile
        event["ml"]["profile"]["id"] = "PROFILE"
    if "stack_trace" in event.get("error", {}):
        event["error"]["stack_trace"] = event["error"]["stack_trace"].splitlines()[-1]
    path = GOLDEN / f"{name}.json"
    if rewrite:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(event, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert event == json.loads(path.read_text("utf-8"))


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all_well": ({}, {"prediction": 11.5, "request_id": "r-1", "duration": 0.002}),
    "everything_wrong": (
        {"income": None, "count": math.inf, "home": "Rent", "title": "enfermera titulada", "joint": "maybe",
         "opened": "1900-01-01", "extra": [1, 2]},
        {"prediction": math.nan},
    ),
    "several_outputs": ({}, {"prediction": {"low": 1.5, "high": 2.5}, "score": 0.5, "tenant": {"id": 4}}),
    "hostile_text": ({"home": "</script>\r\n{{x}}", "title": "\ud800 ünïcode 👩‍💻"}, {"prediction": 99.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_events_match_the_golden_files(
    name: str, log: Any, inputs: dict[str, Any], tmp_path: Path, spooled: Events, valid: Valid, request: Any
) -> None:
    change, given_ = CASES[name]
    log.prediction(inputs | change, **given_)
    (event,) = spooled(tmp_path)
    golden(name, valid(event), request.config.getoption("--rewrite-golden"))


def test_a_block_measures_time_and_takes_the_prediction(
    log: Any, inputs: dict[str, Any], tmp_path: Path, spooled: Events, valid: Valid
) -> None:
    with log.prediction(inputs, request_id=7) as p:
        p.prediction = 12
        p.score = 0.9
    (event,) = map(valid, spooled(tmp_path))
    assert event["event"]["outcome"] == "success"
    assert event["event"]["duration"] > 0
    assert event["ml"]["prediction"]["value"] == 12
    assert event["ml"]["prediction"]["score"] == 0.9
    assert event["ml"]["request"] == {"id": "7"}


def test_an_exception_in_a_block_is_a_failure_and_goes_on_to_the_service(
    log: Any, inputs: dict[str, Any], tmp_path: Path, spooled: Events, valid: Valid
) -> None:
    with pytest.raises(ZeroDivisionError), log.prediction(inputs):
        1 / 0  # noqa: B018
    (event,) = map(valid, spooled(tmp_path))
    assert event["event"]["outcome"] == "failure"
    assert event["error"]["type"] == "ZeroDivisionError"
    assert "test_logger.py" in event["error"]["stack_trace"]
    assert event["ml"]["input"]["numeric"]["income"] == 64000.5
    assert "prediction" not in event["ml"]


def test_inputs_without_a_prediction_are_logged_all_the_same(
    log: Any, inputs: dict[str, Any], tmp_path: Path, spooled: Events, valid: Valid
) -> None:
    log.prediction(inputs)
    (event,) = map(valid, spooled(tmp_path))
    assert "prediction" not in event["ml"]


def test_a_call_that_returned_is_in_the_file(
    log: Any, inputs: dict[str, Any], tmp_path: Path, spooled: Events
) -> None:
    for i in range(5):
        log.prediction(inputs, prediction=1.0)
        assert len(spooled(tmp_path)) == i + 1
    (file,) = tmp_path.glob("*.jsonl")
    assert file.stat().st_mode & 0o777 == 0o600
    assert log.stats() == {"written": 5, "dropped": {}, "sampled_out": 0, "unreadable_times": 0}


def test_two_models_in_one_process_do_not_mix(
    tmp_path: Path, inputs: dict[str, Any], spooled: Events
) -> None:
    before = structlog.get_config().copy()
    one = logging_lib.configure(model="one", version="1", spool=tmp_path)
    two = logging_lib.configure(model="two", version="9", spool=tmp_path, role="shadow", service="s")
    one.prediction(inputs, prediction=1.0)
    two.prediction(inputs, prediction=2.0)
    first, second = spooled(tmp_path)
    assert first["ml"]["model"] == {"name": "one", "version": "1", "role": "live"}
    assert second["ml"]["model"] == {"name": "two", "version": "9", "role": "shadow"}
    assert first["ml"]["profile"] == {"status": "none"}
    assert "check" not in first["ml"]
    assert "bins" not in first["ml"]["input"]
    assert structlog.get_config() == before


def test_a_profile_of_another_version_is_reported(
    tmp_path: Path, profile: profiles.Profile, spooled: Events
) -> None:
    logging_lib.configure(model="loans", version="2", profile=profile, spool=tmp_path).prediction({}, 1.0)
    (event,) = spooled(tmp_path)
    assert event["ml"]["profile"] == {"id": profile.id, "status": "mismatch"}
    assert "absent" in event["ml"]["check"]


def test_a_damaged_profile_is_reported_at_start(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(logging_lib.ProfileError, match=r"p\.json: not JSON"):
        logging_lib.configure(model="m", version="1", profile=tmp_path / "p.json", spool=tmp_path)
    with pytest.raises(ValueError, match="role: expected 'live' or 'shadow'"):
        logging_lib.configure(model="m", version="1", role="dark", spool=tmp_path)  # type: ignore[arg-type]


def test_context_and_bound_values_become_labels(tmp_path: Path, spooled: Events, valid: Valid) -> None:
    log = logging_lib.configure(
        model="m", version="1", spool=tmp_path, processors=[structlog.processors.add_log_level]
    )
    with structlog.contextvars.bound_contextvars(path="/score"):
        log.bind(tenant=3).prediction({"a": 1}, 1.0, note={"x": [1]})
    (event,) = map(valid, spooled(tmp_path))
    assert event["labels"] == {"path": "/score", "tenant": "3", "note": '{"x":[1]}'}
    assert event["log"] == {"level": "info"}


def test_in_a_users_own_chain_other_events_pass_untouched(profile: profiles.Profile) -> None:
    processor = logging_lib.PredictionProcessor(model="loans", version="1", profile=profile)
    other = {"event": "started", "port": 80}
    assert processor(None, "info", other) is other
    fields = {"event": "scored", "inputs": {"count": 1}, "prediction": 1.5, "user": "x"}
    copy = dict(fields)
    event = processor(None, "info", fields)
    assert fields == copy
    assert event["message"] == "scored"
    assert event["labels"] == {"user": "x"}


def test_a_spool_that_cannot_be_written_costs_the_service_nothing(
    tmp_path: Path, inputs: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    log = logging_lib.configure(model="m", version="1", spool=tmp_path / "file" / "spool")
    for _ in range(3):
        log.prediction(inputs, prediction=1.0)
    assert log.stats() == {
        "written": 0,
        "dropped": {"Not a directory": 3},
        "sampled_out": 0,
        "unreadable_times": 0,
    }
    at_start, at_first_event = caplog.messages
    assert "cannot be written: Not a directory" in at_start
    assert "Not a directory" in at_first_event
    assert "cannot write to the spool" in caplog.text


def test_a_processor_that_raises_is_counted_not_felt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("mine")

    log = logging_lib.configure(model="m", version="1", spool=tmp_path, processors=[broken])
    log.prediction({}, 1.0)
    log.prediction({}, 1.0)
    assert log.stats()["dropped"] == {"RuntimeError": 2}
    assert len(caplog.records) == 1


def test_inputs_that_are_not_a_mapping_become_a_dead_letter(
    tmp_path: Path, spooled: Events, valid: Valid
) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    log.prediction([1, 2], 1.0)  # type: ignore[arg-type]
    (event,) = map(valid, spooled(tmp_path))
    assert event["event"]["dataset"] == "ml.deadletter"
    assert json.loads(event["event"]["original"])["inputs"] == [1, 2]
    assert event["ml"]["model"] == {"name": "m", "version": "1"}


def test_a_short_write_is_followed_by_a_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    real, calls = os.write, []

    def short_once(fd: int, data: bytes) -> int:
        calls.append(data)
        return real(fd, data[:5]) if len(calls) == 2 else real(fd, data)

    monkeypatch.setattr(os, "write", short_once)
    assert all(spool.write(b'{"n": %d}\n' % n) for n in range(4))
    assert spool.path is not None
    assert spool.path.read_bytes() == b'{"n": 0}\n{"n":\n{"n": 1}\n{"n": 2}\n{"n": 3}\n'
    assert spool.written == 4


def test_threads_share_a_spool_without_tearing_lines(tmp_path: Path, spooled: Events) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)

    def work(name: int) -> None:
        for i in range(500):
            log.prediction({"thread": name, "i": i}, 1.0)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = {
        (e["ml"]["input"]["numeric"]["thread"], e["ml"]["input"]["numeric"]["i"]) for e in spooled(tmp_path)
    }
    assert len(seen) == 4000


def test_a_forked_child_has_its_own_file_ids_and_pid(tmp_path: Path, spooled: Events) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    log.prediction({"who": "parent"}, 1.0)
    child = os.fork()
    if child == 0:
        log.prediction({"who": "child"}, 1.0)
        os._exit(0)
    os.waitpid(child, 0)
    log.prediction({"who": "parent"}, 1.0)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    events = spooled(tmp_path)
    assert sorted(e["ml"]["input"]["category"]["who"] for e in events) == ["child", "parent", "parent"]
    assert len({e["event"]["id"] for e in events}) == 3
    assert {e["process"]["pid"] for e in events} == {os.getpid(), child}


def test_what_was_logged_survives_kill_9(tmp_path: Path) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path, report_every=None)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for i in range(10**9):
            log.prediction({"i": i}, 1.0)
            os.write(writer, b".")
    returned = len(os.read(reader, 1000))
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(writer)
    while more := os.read(reader, 65536):
        returned += len(more)
    os.close(reader)
    (file,) = tmp_path.glob("*.jsonl")
    complete = [
        line for line in read_lines(file) if not line.fault
    ]  # the call under way may have left half a line
    assert len(complete) in (returned, returned + 1)


def test_ids_are_uuids_of_version_7_in_order_of_time() -> None:
    import uuid

    ids = [new_id(NOON + i * 1_000_000) for i in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert {(uuid.UUID(i).version, uuid.UUID(i).variant) for i in ids} == {(7, uuid.RFC_4122)}
    assert format_timestamp(NOON) == "2018-02-01T12:00:00.123456Z"


@settings(
    max_examples=examples(300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example({1: 1, "1": 2}, 0.5, None)
@given(any_inputs, any_values, any_values)
def test_whatever_is_logged_never_raises_and_keeps_the_contract(
    profile: profiles.Profile, valid: Valid, any_inputs: Any, prediction: Any, other: Any
) -> None:
    render = logging_lib.EventRenderer()
    for used_profile in (None, profile):
        process = logging_lib.PredictionProcessor(model="loans", version="1", profile=used_profile)
        event_dict = {"event": other, "inputs": any_inputs, "prediction": prediction, "score": other}
        event_dict |= {
            "scores": other,
            "request_id": other,
            "timestamp": other,
            "duration": other,
            "error": other,
        }
        event_dict |= {"event_id": other, "level": other, "trace_id": other, "label": other}
        line = render(None, "info", process(None, "info", event_dict))
        assert line.count(b"\n") == 1
        event = valid(orjson.loads(line))
        if event["event"]["dataset"] != "ml.prediction":
            assert may_share_a_text(any_inputs), event
            assert REPEATED_NAME in event["error"]["message"], event


def test_inputs_are_logged_as_they_were_before_the_block(
    log: Any, inputs: dict[str, Any], tmp_path: Path, spooled: Events
) -> None:
    with log.prediction(inputs) as p:
        inputs.pop("income")
        inputs["home"] = 0
        p.prediction = 1.0
    (event,) = spooled(tmp_path)
    assert "check" not in event["ml"]
    assert event["ml"]["input"]["category"] == {"home": "RENT"}


def test_a_line_that_no_reader_would_take_is_cut_with_a_mark(
    log: Any, inputs: dict[str, Any], tmp_path: Path, spooled: Events, valid: Valid
) -> None:
    log.prediction(inputs | {"title": "x" * 2_000_000, "more": ["y" * 900_000] * 2}, prediction=1.0)
    (event,) = map(valid, spooled(tmp_path))
    assert event["ml"]["input"]["text"]["title"].endswith("<cut: 1991808 more characters>")
    assert event["ml"]["input"]["numeric"]["income"] == 64000.5


def test_a_name_that_is_not_text_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="version: expected a text that is not empty, found 3"):
        logging_lib.configure(model="m", version=3, spool=tmp_path)  # type: ignore[arg-type]


def test_a_dead_letter_does_not_reveal_what_the_profile_hides(tmp_path: Path, spooled: Events) -> None:
    frame = pd.DataFrame({"ssn": ["a", "b"] * 20})
    config = Config(features={"ssn": FeatureConfig(hidden=True)})
    fitted = profiles.fit(frame, model="m", version="1", config=config)
    logging_lib.configure(model="m", version="1", profile=fitted, spool=tmp_path).prediction(
        ["078-05-1120"],
        1.0,  # type: ignore[arg-type]
    )
    (event,) = spooled(tmp_path)
    assert event["event"]["dataset"] == "ml.deadletter"
    assert "078-05-1120" not in json.dumps(event)
