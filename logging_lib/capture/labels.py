"""The truth, when it is known: events of the label stream, with the prediction copied in where it is known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from logging_lib.capture.output import Output
from logging_lib.profile.values import epoch


class Remembered(NamedTuple):
    """What a label needs of an earlier prediction."""

    event_id: str
    timestamp: str
    prediction: Mapping[str, Any]
    weight: float = 1.0


class Memory:
    """The last ``size`` predictions by request id, the oldest forgotten first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[str, Remembered] = OrderedDict()

    def keep(self, event: Mapping[str, Any]) -> None:
        """Remember a prediction event that has a request id and an output."""
        ml = event["ml"]
        if "request" in ml and "prediction" in ml:
            self._kept[ml["request"]["id"]] = Remembered(
                event["event"]["id"], event["@timestamp"], ml["prediction"], ml["sample"]["weight"]
            )
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def find(self, request_id: str) -> Remembered | None:
        return self._kept.get(request_id)


def label_document(actual: Any, known: Remembered | None, output: Output, now: str) -> dict[str, Any]:
    """``ml.label``, ``ml.sample`` and ``ml.prediction`` of a label event.

    Args:
        actual: the truth: a number, or a class.
        known: the prediction, if it is remembered.
        output: how this model's outputs are read, so that the class ``1`` is not the number 1.
        now: when the truth was known, ISO 8601.
    """
    truth = output(actual, None, None)
    label: dict[str, Any] = {key: truth[key] for key in ("value", "label") if truth.get(key) is not None}
    label["joined"] = known is not None
    made: dict[str, Any] = {"label": label, "sample": {"weight": 1.0 if known is None else known.weight}}
    if known is None:
        return made
    made["prediction"] = {**known.prediction, "id": known.event_id, "timestamp": known.timestamp}
    predicted = known.prediction.get("value")
    if "value" in label and isinstance(predicted, int | float):
        error = predicted - label["value"]
        label |= {"error": error, "absolute_error": abs(error), "squared_error": error * error}
    if "label" in label and "label" in known.prediction:
        label["correct"] = known.prediction["label"] == label["label"]
    before, after = epoch(known.timestamp), epoch(datetime.fromisoformat(now))
    if before is not None and after is not None and after >= before:
        label["delay"] = round(after - before)
    return made
