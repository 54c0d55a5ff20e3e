"""What callers of a service may send: nothing of it raises, and no event is lost without a count."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import structlog

import logging_lib
from logging_lib.logger.jsonlines import MAX_LINE

Events = Callable[[Path], list[dict[str, Any]]]
Valid = Callable[[dict[str, Any]], dict[str, Any]]
WIDE = {f"f{i}": float(i) for i in range(1500)}


def configured(spool: Path, **options: Any) -> logging_lib.PredictionLogger:
    return logging_lib.configure(model="m", version="1", report_every=None, spool=spool, **options)


# -- lone surrogates, in an event with more than a thousand of something ----------------------------------


@pytest.mark.parametrize(
    "odd",
    [{"t": "\ud800"}, {"\udfff": "a"}, {"\ud800": 1.0}, {"t": {"k\ud800": ["\udc00"]}}],
    ids=["text", "key", "key of a number", "nested"],
)
def test_a_wide_event_keeps_all_its_features_beside_a_lone_surrogate(
    odd: dict[str, Any], tmp_path: Path, spooled: Events, valid: Valid
) -> None:
    log = configured(tmp_path)
    log.prediction({**WIDE, **odd}, 1.0, request_id="r\ud800")
    (event,) = map(valid, spooled(tmp_path))
    assert event["event"]["dataset"] == "ml.prediction"
    shown = event["ml"]["input"]
    assert {name: shown["numeric"][name] for name in WIDE} == WIDE
    assert not any("<cut>" in part for part in shown.values())
    assert event["ml"]["request"]["id"] == "r\\ud800"


@pytest.mark.parametrize("odd", ["", "\ud800"])
def test_a_wide_batch_keeps_all_its_features(odd: str, tmp_path: Path, spooled: Events, valid: Valid) -> None:
    log = configured(tmp_path)
    log.predictions(pd.DataFrame([{**WIDE, "t": odd}] * 3, dtype=object), [1.0, 2.0, 3.0])
    events = list(map(valid, spooled(tmp_path)))
    assert [len(event["ml"]["input"]["numeric"]) for event in events] == [1500] * 3
    assert log.stats()["written"] == 3


# -- lines that no reader takes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inputs",
    [
        {"docs": ["x" * 9000] * 200},
        {f"f{i}": "y" * 4000 for i in range(300)},
        {"docs": ["\N{GRINNING FACE}" * 9000] * 900},
        {"docs": ["\x00" * 9000] * 900},
        {"docs": {f"k{i}": {"inner": ["z" * 2000] * 5} for i in range(900)}},
    ],
    ids=["list", "features", "emoji", "escapes", "nested"],
)
def test_a_large_event_is_cut_until_it_fits(
    inputs: dict[str, Any], tmp_path: Path, spooled: Events, valid: Valid
) -> None:
    log = configured(tmp_path)
    log.prediction({"n": 1.0, **inputs}, 1.0, event_id="e")
    log.predictions(pd.DataFrame([{"n": 1.0, **inputs}]), [1.0])
    for path in tmp_path.glob("*.jsonl"):
        assert all(len(line) <= MAX_LINE for line in path.read_bytes().splitlines())
    first, second = map(valid, spooled(tmp_path))
    assert first["event"] == {**second["event"], "id": "e"}
    assert first["ml"]["input"]["numeric"] == {"n": 1.0}
    assert "<cut: " in json.dumps(first)
    assert (log.stats()["written"], log.stats()["dropped"]) == (2, {})


@pytest.mark.parametrize("way", ["prediction", "predictions", "structlog"])
def test_an_event_that_cannot_fit_is_counted_as_dropped_and_leaves_a_dead_letter(
    way: str, tmp_path: Path, spooled: Events, valid: Valid
) -> None:
    inputs = {f"feature_{i}": float(i) for i in range(60_000)}
    log = configured(tmp_path)
    if way == "prediction":
        log.prediction(inputs, 1.0)
        log.prediction({"n": 1}, 1.0)
    elif way == "predictions":
        frames = pd.DataFrame([inputs, {"feature_1": 1.0}])
        log.predictions(frames.iloc[:1], [1.0])
        log.predictions(pd.DataFrame([{"n": 1.0}]), [1.0])
    else:
        processor = logging_lib.PredictionProcessor(model="m", version="1")
        own = structlog.wrap_logger(
            logging_lib.SpoolLoggerFactory(tmp_path)(), processors=[processor, logging_lib.EventRenderer()]
        )
        own.info("scored", inputs=inputs, prediction=1.0)
        own.info("scored", inputs={"n": 1}, prediction=1.0)
    letter, event = map(valid, spooled(tmp_path))
    assert letter["event"]["dataset"] == "ml.deadletter"
    assert letter["error"]["type"] == "too_large"
    assert letter["ml"]["deadletter"]["size"] > MAX_LINE
    assert letter["event"]["original"].startswith('{"@timestamp"')
    assert event["event"]["dataset"] == "ml.prediction"
    assert log.stats()["dropped"] == {"too_large": 1}
    if way != "structlog":
        assert log.stats()["written"] == 1


# -- values that raise ------------------------------------------------------------------------------------


class Undecided:
    def __bool__(self) -> bool:
        raise TypeError("ambiguous")


class LazyProxy:
    """As of a library that evaluates late, and fails."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("cannot be evaluated")


class BrokenMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("iter")

    def __len__(self) -> int:
        raise RuntimeError("len")


class BrokenError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__


# By name: pytest itself looks at parameters, and would fail at some of them.
UNDECIDED: dict[str, Any] = {
    "pandas NA": pd.NA,
    "array": np.array([1, 2]),
    "frame": pd.DataFrame({"a": [1]}),
    "series": pd.Series([1, 2]),
    "undecided": Undecided(),
}


@pytest.mark.parametrize("keep", UNDECIDED)
@pytest.mark.parametrize("sample", [1.0, 1e-9])
def test_an_undecided_keep_function_keeps_the_event(
    keep: Any, sample: float, tmp_path: Path, spooled: Events, valid: Valid
) -> None:
    keep = UNDECIDED[keep]
    log = configured(tmp_path, sample=sample)
    log.prediction({"a": 1}, 1.0, keep=keep)
    log.prediction({"a": 1}, keep=keep)
    log.predictions(pd.DataFrame({"a": [1, 2]}), [1.0, 2.0], keep=keep)
    with log.prediction({"a": 1}, keep=keep) as p:
        p.prediction = 1.0
    events = list(map(valid, spooled(tmp_path)))
    assert [event["event"]["dataset"] for event in events] == ["ml.prediction"] * 5
    assert [event["ml"]["sample"]["weight"] for event in events] == [1.0] * 5


HOSTILE: dict[str, Any] = {
    "lazy proxy": LazyProxy(),
    "broken mapping": BrokenMapping(),
    "undecided": Undecided(),
    "broken error": BrokenError(),
    "pandas NA": pd.NA,
    "NaN": math.nan,
    "class": object,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_no_way_of_logging_raises(name: str, tmp_path: Path, spooled: Events) -> None:
    odd = HOSTILE[name]
    log = configured(tmp_path, sample=0.5)
    log.prediction(odd, 1.0)
    log.prediction(odd)
    with log.prediction(odd) as p:
        p.prediction = odd
        p.score = p.scores = odd
    for option in OPTIONS:
        log.prediction({"a": odd}, odd, **{option: odd})
        log.predictions(pd.DataFrame({"a": [1]}), [1.0], **{option: odd})
    log.predictions(odd, odd, request_ids=odd)
    log.label(odd, odd, prediction=odd, timestamp=odd)
    log.bind(x=odd).prediction({"a": 1}, 1.0)
    assert log.observe(lambda inputs: 1.0)(odd) == 1.0
    with pytest.raises(BrokenError), log.prediction({"a": 1}):
        raise BrokenError
    assert spooled(tmp_path)


OPTIONS = (
    *("score", "scores", "request_id", "event_id", "timestamp", "duration", "error", "subject", "keep"),
    "a label",
)


@pytest.mark.parametrize("name", ["undecided", "broken error", "lazy proxy", "NaN", "broken mapping"])
def test_a_record_whose_text_cannot_be_formatted_is_logged(
    name: str, tmp_path: Path, spooled: Events
) -> None:
    fields = {"msg": "scored %d", "args": (HOSTILE[name],), "inputs": {"a": 1}, "prediction": 1.0}
    # Handled directly: a handler of pytest formats it, too, and fails.
    logging_lib.PredictionHandler(configured(tmp_path)).handle(logging.makeLogRecord(fields))
    (event,) = spooled(tmp_path)
    assert event["message"] == "scored %d"


# -- counts ------------------------------------------------------------------------------------------------


def fail(*_: Any) -> Any:
    raise ValueError("what a processor of somebody else raises")


@pytest.mark.parametrize("place", ["before", "after"])
def test_an_event_that_fails_in_a_processor_is_counted_once(place: str, tmp_path: Path) -> None:
    processor = logging_lib.PredictionProcessor(model="m", version="1")
    chain = [processor, fail, logging_lib.EventRenderer()]
    if place == "before":
        chain = [fail, processor, logging_lib.EventRenderer()]
    factory = logging_lib.SpoolLoggerFactory(tmp_path)
    log = structlog.wrap_logger(
        factory(), processors=chain, wrapper_class=logging_lib.PredictionLogger, context_class=dict
    ).bind()
    log.prediction({"a": 1}, 1.0)
    assert (log.stats()["written"], log.stats()["dropped"]) == (0, {"ValueError": 1})
    assert processor.counts.as_fields()["dropped"] == 1


def test_a_batch_that_fails_is_not_counted_as_written(
    tmp_path: Path, spooled: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its second slice: the first one is written."""
    log = configured(tmp_path)
    frame = pd.DataFrame({"a": range(3000)})
    assert log._processor is not None
    fill, calls = log._processor.batch._fill_missing, []

    def fill_once(*arguments: Any) -> list[bytes]:
        calls.append(arguments)
        return fill(*arguments) if len(calls) == 1 else fail()

    monkeypatch.setattr(log._processor.batch, "_fill_missing", fill_once)
    log.predictions(frame, range(3000))
    assert log.stats()["written"] == len(spooled(tmp_path)) == 1024


@pytest.mark.parametrize("names", [["a", "a"], [1, "1"]], ids=repr)
@pytest.mark.parametrize("has_profile", [False, True])
def test_a_batch_with_a_name_twice_is_one_dead_letter(
    names: list[Any], has_profile: bool, tmp_path: Path, spooled: Events
) -> None:
    profile = None
    if has_profile:
        training = pd.DataFrame({str(names[0]): np.arange(200.0)})
        profile = logging_lib.profile.fit(training, model="m", version="1")
    log = configured(tmp_path, profile=profile)
    log.predictions(pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=names), [1.0, 2.0])
    (letter,) = spooled(tmp_path)
    assert letter["event"]["dataset"] == "ml.deadletter"
    assert "a name is there twice" in letter["error"]["message"]
    assert log.stats()["written"] == 1
