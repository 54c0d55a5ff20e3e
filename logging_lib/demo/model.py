"""The demo's model: the interest rate of a loan from its application, by ridge regression."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler

from logging_lib.demo.loans import CATEGORY, NUMERIC, TEXT


def encode(requests: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Each request as the numbers that the regression sees: logarithms, indicators, words."""
    return [_encode(inputs) for inputs in requests]


def _encode(inputs: Mapping[str, Any]) -> dict[str, float]:
    made: dict[str, float] = {}
    for name in NUMERIC:
        value = inputs[name]
        if value is None or math.isnan(value):
            made[f"{name} is missing"] = 1.0
        else:
            made[name] = math.log1p(value)
    for name in CATEGORY:
        made[f"{name}={inputs[name]}"] = 1.0
    if isinstance(inputs[TEXT], str):
        made.update({f"{TEXT} has {word}": 1.0 for word in inputs[TEXT].lower().split()})
    return made


def train(requests: list[dict[str, Any]], target: Any) -> Pipeline:
    """Fit the pipeline; its ``predict`` takes a list of requests and gives one rate each."""
    pipeline = _pipeline()
    pipeline.fit(requests, target)
    return pipeline


def _pipeline() -> Pipeline:
    return make_pipeline(FunctionTransformer(encode), DictVectorizer(), MaxAbsScaler(), Ridge(alpha=2.0))


def out_of_fold(requests: list[dict[str, Any]], target: Any) -> Any:
    """What models trained on four fifths of the rows answer on the other fifth: the error to expect in service.

    Returns:
        One prediction a row, shape (rows,).
    """
    return cross_val_predict(_pipeline(), requests, target, cv=5)
