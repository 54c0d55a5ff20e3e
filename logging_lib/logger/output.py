"""The encoding of a model's output as ``ml.prediction``: each part in the field of its type, the rest in ``other``.

The part that places values of JSON's types has a twin in ``pipelines/ruby/ml_normalize/foreign.rb``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

from logging_lib.logger.values import to_jsonable
from logging_lib.profile.coerce import category_text, is_number, to_python
from logging_lib.profile.model import Feature
from logging_lib.schema import tokens

_INFINITE = ("Infinity", "-Infinity")
_UNPLACED: Any = object()


class OutputEncoder:
    """An encoder of outputs as ``ml.prediction``, with their bins in the profile.

    Args:
        feature: the profile's prediction; if None, outputs have no bins.
    """

    is_plain = True
    """Whether only the output's own fields and its bin are written."""

    def __init__(self, feature: Feature | None) -> None:
        self._feature = feature
        self.has_profile = feature is not None
        self._has_classes = feature is not None and feature.kind in ("category", "boolean")
        self._is_multiple = feature is not None and feature.multiple
        self.is_numeric = feature is not None and feature.kind == "numeric" and feature.range is not None
        if feature is not None and self.is_numeric:
            self.inner_edges, self.labels = feature.edges[1:-1], feature.bin_labels()
            self.min, self.max = feature.edges[0], feature.edges[-1]
        self._bins = (
            {} if feature is None else {v: tokens.escape(v) for v in list(feature.values)[: feature.binned]}
        )

    def __call__(self, prediction: Any, score: Any, scores: Any) -> dict[str, Any]:
        """Encode an output of any type.

        Args:
            prediction: a number (regression), a text, bool or class (classification), a list of texts (several
                labels), or several outputs as a mapping or a sequence.
            score: the score or probability of that output.
            scores: scores by class.
        """
        if type(prediction) is float and score is None and scores is None:  # the ordinary regression
            if self._feature is None and math.isfinite(prediction):
                return {"value": prediction}
            if self.is_numeric and self.min <= prediction <= self.max:
                return {"value": prediction, "bin": self.labels[bisect_right(self.inner_edges, prediction)]}
        prediction = to_python(prediction)
        if hasattr(prediction, "tolist"):
            prediction = prediction.tolist()
        prediction = to_python(self.unwrap(prediction))
        document = self.encode(to_jsonable(prediction), to_jsonable(score), to_jsonable(scores))
        if isinstance(prediction, float) and math.isnan(prediction):
            document["bin"] = tokens.NONFINITE
        return document

    def encode_actual(self, actual: Any) -> dict[str, Any]:
        """Encode a true outcome as the output that would have been right."""
        return self(actual, None, None)

    def unwrap(self, prediction: Any) -> Any:
        """Return the only element of a list that is not a list of labels: a model returns one row as ``[row]``."""
        while isinstance(prediction, list | tuple) and len(prediction) == 1:
            if self._is_multiple and not isinstance(prediction[0], list | tuple):
                break
            prediction = prediction[0]
        return prediction

    def encode(self, prediction: Any, score: Any, scores: Any) -> dict[str, Any]:
        """Encode an output of JSON's types."""
        prediction = self.unwrap(prediction)
        document: dict[str, Any] = {}
        other: dict[str, Any] = {}
        if is_number(score):
            document["score"] = score
        elif score is not None:
            other["score"] = score
        if scores is not None and (rest := _place_scores(scores, document)) is not _UNPLACED:
            other["scores"] = rest
        if (rest := self._place(prediction, document)) is not _UNPLACED:
            other["prediction"] = rest
        if other:
            document["other"] = other
        bin_name = self._find_bin(prediction, document)
        if bin_name is not None:
            document["bin"] = bin_name
        return document

    def _place(self, prediction: Any, document: dict[str, Any]) -> Any:
        """Put an output into the fields of its type; return the part that has no field, or ``_UNPLACED``."""
        if isinstance(prediction, dict):
            return self._place_mapping(prediction, document)
        if self._is_multiple and prediction is not None:
            return _place_labels(prediction if isinstance(prediction, list) else [prediction], document)
        if isinstance(prediction, list):
            if all(isinstance(item, str | bool) for item in prediction):
                return _place_labels(prediction, document)
            if _place_ranking(prediction, document):
                return _UNPLACED
            return _place_scores(prediction, document)
        if prediction is None:
            return _UNPLACED
        if prediction in _INFINITE:
            return prediction
        if is_number(prediction) and not self._has_classes:
            document["value"] = prediction
        else:
            document["label"] = category_text(prediction)
        return _UNPLACED

    def _place_mapping(self, prediction: dict[str, Any], document: dict[str, Any]) -> Any:
        """Place a mapping: its ``value``, ``label``, ``labels``, ``scores`` and ``score``, or several outputs."""
        rest = dict(prediction)
        if is_number(rest.get("value")):
            document["value"] = rest.pop("value")
        if isinstance(rest.get("label"), str | int | float):
            document["label"] = category_text(rest.pop("label"))
        if isinstance(rest.get("labels"), list) and _place_labels(rest["labels"], document) is _UNPLACED:
            del rest["labels"]
        is_named = len(rest) < len(prediction)
        if isinstance(rest.get("scores"), dict | list) and "scores" not in document:
            is_named = True
            if (unplaced := _place_scores(rest.pop("scores"), document)) is not _UNPLACED:
                rest["scores"] = unplaced
        if is_named and is_number(rest.get("score")) and "score" not in document:
            document["score"] = rest.pop("score")
        return _place_scores(rest, document) if rest else _UNPLACED

    def _find_bin(self, prediction: Any, document: dict[str, Any]) -> str | list[str] | None:
        """Find the output's bin in the profile, or those of its labels."""
        if prediction in _INFINITE:
            return tokens.NONFINITE
        if self._feature is None:
            return None
        if prediction is None:
            return tokens.MISSING
        if self._is_multiple:
            labels = document.get("labels", [document["label"]] if "label" in document else None)
            if labels is None:
                return tokens.TYPE
            return list(dict.fromkeys(map(self._find_class, labels))) or [tokens.NONE]
        if self.is_numeric:
            value = document.get("value")
            if value is None:
                return tokens.TYPE
            if not self.min <= value <= self.max:
                return tokens.BELOW if value < self.min else tokens.ABOVE
            return self.labels[bisect_right(self.inner_edges, value)]
        label = document.get("label")
        return tokens.TYPE if label is None else self._find_class(label)

    def _find_class(self, label: str) -> str:
        feature = self._feature
        return self._bins.get(label, tokens.OTHER) if feature and label in feature.values else tokens.UNSEEN


def _place_labels(items: list[Any], document: dict[str, Any]) -> Any:
    if not all(isinstance(item, str | int | float) for item in items):
        return items
    document["labels"] = [category_text(item) for item in items]
    return _UNPLACED


def _place_ranking(items: list[Any], document: dict[str, Any]) -> bool:
    """Place all classes with their scores, ``[{"label": "a", "score": 0.9}, ...]``, as Hugging Face writes them."""
    is_ranking = "scores" not in document and all(
        isinstance(item, dict)
        and item.keys() == {"label", "score"}
        and isinstance(item["label"], str)
        and is_number(item["score"])
        for item in items
    )
    scores = {item["label"]: item["score"] for item in items} if is_ranking else {}
    if not scores or len(scores) < len(items):
        return False
    document["scores"] = scores
    document["label"] = label = max(scores, key=scores.__getitem__)
    document.setdefault("score", scores[label])
    return True


def _place_scores(value: Any, document: dict[str, Any]) -> Any:
    """Put the numbers of a mapping or a list into ``scores``, and return the rest, or ``_UNPLACED``."""
    if "scores" in document or not isinstance(value, dict | list):
        return value
    items = value if isinstance(value, dict) else {str(place): item for place, item in enumerate(value)}
    numbers = {name: item for name, item in items.items() if is_number(item)}
    if not numbers:
        return value if items else _UNPLACED
    document["scores"] = numbers
    if len(numbers) == len(items):
        return _UNPLACED
    return {name: item for name, item in items.items() if not is_number(item)}
