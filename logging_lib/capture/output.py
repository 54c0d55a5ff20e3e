"""``ml.prediction``: a model's output as the event has it, with its bin in the profile."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from logging_lib.capture.values import jsonable
from logging_lib.profile.model import Feature
from logging_lib.profile.values import category_text, plain
from logging_lib.schema import tokens


class Output:
    """``ml.prediction`` of an output, with its bin in the profile.

    Args:
        feature: the profile's prediction; None: outputs have no bins.
    """

    def __init__(self, feature: Feature | None) -> None:
        self._feature = feature
        self.known = feature is not None
        self._kind = feature.kind if feature is not None else None
        self.numeric = feature is not None and feature.kind == "numeric" and feature.range is not None
        if feature is not None and self.numeric:
            self.inner, self.labels = feature.edges[1:-1], feature.bin_labels()
            self.low, self.high = feature.edges[0], feature.edges[-1]
        self._bins = (
            {} if feature is None else {v: tokens.part(v) for v in list(feature.values)[: feature.binned]}
        )

    def __call__(self, prediction: Any, score: Any, scores: Any) -> dict[str, Any]:
        if type(prediction) is float and score is None and scores is None:  # the ordinary regression
            if self._feature is None and math.isfinite(prediction):
                return {"value": prediction}
            if self.numeric and self.low <= prediction <= self.high:
                return {"value": prediction, "bin": self.labels[bisect_right(self.inner, prediction)]}
        prediction = plain(prediction)
        if hasattr(prediction, "tolist"):
            prediction = prediction.tolist()
        if isinstance(prediction, list | tuple) and len(prediction) == 1:
            prediction = plain(prediction[0])
        document = _document(prediction, score, scores, self._kind)
        found = self._bin(prediction)
        if found is not None:
            document["bin"] = found
        return document

    def _bin(self, value: Any) -> str | None:
        if value is None:
            return None if self._feature is None else tokens.MISSING
        if isinstance(value, float) and not math.isfinite(value):
            return tokens.NONFINITE
        if self._feature is None or isinstance(value, list | tuple | Mapping):
            return None
        if self.numeric:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return tokens.TYPE
            if not self.low <= value <= self.high:
                return tokens.BELOW if value < self.low else tokens.ABOVE
            return self.labels[bisect_right(self.inner, value)]
        text = category_text(value)
        if text is None:
            return tokens.TYPE
        if text in self._feature.values:
            return self._bins.get(text, tokens.OTHER)
        return tokens.UNSEEN


def _document(prediction: Any, score: Any, scores: Any, kind: str | None) -> dict[str, Any]:
    """``ml.prediction.*`` of a model's output.

    Args:
        prediction: a number (regression), a text, bool or class (classification), a mapping or a sequence of
            several outputs.
        score: the score or probability of that output.
        scores: scores by class.
        kind: the profile's kind of output; ``category`` makes a number a label.
    """
    document: dict[str, Any] = {}
    _place_output(jsonable(prediction), kind, document)
    if score is not None and _is_score(found := jsonable(score)):
        document["score"] = found
    if scores is not None:
        _place_output(jsonable(scores), None, document)
    return document


def _place_output(value: Any, kind: str | None, document: dict[str, Any]) -> None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        document["scores"] = {name: each for name, each in value.items() if _is_score(each)}
    elif isinstance(value, list):
        document["scores"] = {str(i): each for i, each in enumerate(value) if _is_score(each)}
    elif isinstance(value, bool):
        document["label"] = "true" if value else "false"
    elif isinstance(value, int | float):
        if kind in ("category", "boolean"):
            document["label"] = str(int(value)) if value == int(value) else repr(value)
        else:
            document["value"] = value
    elif isinstance(value, str) and value not in ("Infinity", "-Infinity"):
        document["label"] = value


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
