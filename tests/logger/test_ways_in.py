"""Every way in: labels, the decorator, async code, stdlib logging, and the fixture for users' tests."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings

import logging_lib
from logging_lib import profile as profiles
from logging_lib.testing import capture_predictions
from tests.strategies import examples
from tests.strategies import values as any_values

Valid = Callable[[dict[str, Any]], dict[str, Any]]


def configured(folder: Path, **options: Any) -> logging_lib.PredictionLogger:
    return logging_lib.configure(**({"model": "m", "version": "1", "spool": folder} | options))


def test_a_label_carries_the_prediction_that_is_remembered(
    tmp_path: Path, captured_predictions: list[dict[str, Any]], valid: Valid
) -> None:
    log = configured(tmp_path, label_cache_size=2)
    log.prediction({"a": 1}, 11.5, request_id="r-1", timestamp="2018-02-01T10:00:00Z")
    log.label("r-1", 12.0, timestamp="2018-02-02T10:00:00Z")
    prediction, label = map(valid, captured_predictions)
    assert label["ml"]["label"] == {
        "value": 12.0, "joined": True, "error": -0.5, "absolute_error": 0.5, "squared_error": 0.25, "delay": 86400,
    }  # fmt: skip
    assert label["ml"]["prediction"]["value"] == 11.5
    assert label["ml"]["prediction"]["id"] == prediction["event"]["id"]
    assert label["ml"]["model"] == {"name": "m", "version": "1", "role": "live"}


def test_a_forgotten_prediction_leaves_the_label_unjoined(
    tmp_path: Path, captured_predictions: list[dict[str, Any]], valid: Valid
) -> None:
    log = configured(tmp_path, label_cache_size=2)
    for i in range(3):
        log.prediction({}, "yes", request_id=i)
    log.label(0, "no")
    log.label(2, "no")
    forgotten, remembered = map(valid, captured_predictions[3:])
    assert forgotten["ml"]["label"] == {"label": "no", "joined": False}
    assert remembered["ml"]["label"] == {"label": "no", "joined": True, "correct": False, "delay": 0}


def test_a_label_may_bring_the_prediction(
    tmp_path: Path, captured_predictions: list[dict[str, Any]], valid: Valid
) -> None:
    configured(tmp_path).label("r", 3, prediction=5)
    (label,) = map(valid, captured_predictions)
    assert label["ml"]["label"]["error"] == 2
    assert "id" not in label["ml"]["prediction"]


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(any_values, any_values)
def test_any_label_keeps_the_contract(tmp_path: Path, valid: Valid, request_id: Any, actual: Any) -> None:
    log = configured(tmp_path, label_cache_size=2)
    with capture_predictions() as events:
        log.prediction({}, actual, request_id=request_id)
        log.label(request_id, actual, prediction=actual)
    for event in events:
        valid(event)
    assert len(events) == 2


def test_the_decorator_logs_inputs_output_time_and_failure(
    tmp_path: Path, captured_predictions: list[dict[str, Any]], valid: Valid
) -> None:
    log = configured(tmp_path)

    @log.observe
    def predict(inputs: dict[str, Any], factor: float = 1.0) -> float:
        """Divides."""
        return factor / inputs["x"]

    assert predict({"x": 4}, factor=2.0) == 0.5
    with pytest.raises(ZeroDivisionError):
        predict({"x": 0})
    success, failure = map(valid, captured_predictions)
    assert predict.__doc__ == "Divides."
    assert success["ml"]["prediction"] == {"value": 0.5}
    assert success["event"]["duration"] > 0
    assert failure["error"]["type"] == "ZeroDivisionError"


def test_async_functions_and_their_context_do_not_mix(
    tmp_path: Path, captured_predictions: list[dict[str, Any]]
) -> None:
    log = configured(tmp_path)

    @log.observe
    async def predict(inputs: dict[str, Any]) -> float:
        await asyncio.sleep(0)
        return float(inputs["x"])

    async def request(x: int) -> None:
        with structlog.contextvars.bound_contextvars(user=f"u{x}"):
            await predict({"x": x})

    async def main() -> None:
        await asyncio.gather(*(request(x) for x in range(50)))

    asyncio.run(main())
    assert len(captured_predictions) == 50
    for event in captured_predictions:
        x = event["ml"]["input"]["numeric"]["x"]
        assert event["ml"]["prediction"]["value"] == x
        assert event["labels"] == {"user": f"u{x}"}


@pytest.fixture
def service_logger() -> Any:
    logger = logging.getLogger("tests.service")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    logger.handlers.clear()


def test_a_stdlib_handler_writes_events(
    tmp_path: Path, service_logger: Any, captured_predictions: list[dict[str, Any]], valid: Valid
) -> None:
    service_logger.addHandler(logging_lib.PredictionHandler(configured(tmp_path)))
    service_logger.info("started")
    service_logger.info("scored %s", "x", extra={"inputs": {"a": 1}, "prediction": 2.5, "tenant": "eu"})
    try:
        raise KeyError("a")
    except KeyError:
        service_logger.exception("failed", extra={"inputs": {}})
    scored, failed = map(valid, captured_predictions)
    assert scored["message"] == "scored x"
    assert scored["log"] == {"level": "info", "logger": "tests.service"}
    assert scored["labels"] == {"tenant": "eu"}
    assert failed["error"]["type"] == "KeyError"


def test_a_stdlib_formatter_writes_events(
    service_logger: Any, profile: profiles.Profile, valid: Valid, tmp_path: Path
) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    processor = logging_lib.PredictionProcessor(model="loans", version="1", profile=profile)
    handler.setFormatter(logging_lib.PredictionFormatter(processor, "%(levelname)s %(message)s"))
    service_logger.addHandler(handler)
    service_logger.info("started")
    service_logger.info("scored", extra={"inputs": {"count": 2}, "prediction": 2.5})
    handler.close()
    plain, event = (tmp_path / "log").read_text().splitlines()
    assert plain == "INFO started"
    assert valid(json.loads(event))["ml"]["check"]["absent"] == ["income", "home", "title", "joint", "opened"]
