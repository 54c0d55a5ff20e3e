"""Every output is kept: in the field of its type where there is one, the rest in ``other``, by every way in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.output import OutputEncoder
from logging_lib.logger.processor import PredictionProcessor
from logging_lib.normalize import Event, normalize
from logging_lib.normalize.names import with_safe_names
from logging_lib.profile.coerce import category_text
from logging_lib.profile.model import Feature
from logging_lib.schema import tokens
from logging_lib.store.annotate import add_checks
from tests.strategies import examples

CLASSES = Feature("prediction", "category", values={"a": 3, "b": 2, "1": 1}, binned=2)
LABELS = Feature("prediction", "category", values={"a": 3, "b": 2, "1": 1}, binned=2, multiple=True)
NUMBERS = Feature("prediction", "numeric", edges=(0.0, 1.0, 2.0), counts=(3, 4))

CAR = {"box": [1, 2], "cls": "car", "score": 0.9}
BUS = {"box": [3, 4], "cls": "bus", "score": 0.8}
OUTPUTS: list[tuple[Any, dict[str, Any]]] = [
    (["urgent", "billing"], {"labels": ["urgent", "billing"]}),
    (("urgent", True), {"labels": ["urgent", "true"]}),
    ({"urgent", "billing"}, {"labels": ["billing", "urgent"]}),
    (np.array(["urgent", "billing"]), {"labels": ["urgent", "billing"]}),
    ([], {"labels": []}),
    ({"p": 0.2, "reason": "income"}, {"scores": {"p": 0.2}, "other": {"prediction": {"reason": "income"}}}),
    ({"label": "a", "score": 0.9}, {"label": "a", "score": 0.9}),
    ({"label": 1, "scores": {"0": 0.1, "1": 0.9}}, {"label": "1", "scores": {"0": 0.1, "1": 0.9}}),
    ({"labels": ["a", "b"], "scores": [0.9, 0.8]}, {"labels": ["a", "b"], "scores": {"0": 0.9, "1": 0.8}}),
    ({"value": 2.5, "low": 1, "unit": "m"},
     {"value": 2.5, "scores": {"low": 1}, "other": {"prediction": {"unit": "m"}}}),
    ([CAR, BUS], {"other": {"prediction": [CAR, BUS]}}),
    ([CAR], {"scores": {"score": 0.9}, "other": {"prediction": {"box": [1, 2], "cls": "car"}}}),
    ([0.1, "x", None], {"scores": {"0": 0.1}, "other": {"prediction": {"1": "x", "2": None}}}),
    (float("-inf"), {"other": {"prediction": "-Infinity"}, "bin": "!nonfinite"}),
    (float("nan"), {"bin": "!nonfinite"}),
    (np.array([[0.5]]), {"value": 0.5}),
    ({}, {}),
    (None, {}),
]  # fmt: skip


@pytest.mark.parametrize(("output", "document"), OUTPUTS, ids=range(len(OUTPUTS)))
def test_each_part_of_an_output_has_its_place(output: Any, document: dict[str, Any]) -> None:
    assert OutputEncoder(None)(output, None, None) == document


@pytest.mark.parametrize(
    ("prediction", "score", "scores", "document"),
    [
        ({"a": 0.4}, None, {"a": 0.1}, {"scores": {"a": 0.1}, "other": {"prediction": {"a": 0.4}}}),
        ([0.4, 0.6], None, {"a": 0.1}, {"scores": {"a": 0.1}, "other": {"prediction": [0.4, 0.6]}}),
        ({"label": "a", "score": 0.4}, 0.5, None, {"label": "a", "score": 0.5, "scores": {"score": 0.4}}),
        ("a", "high", 0.3, {"label": "a", "other": {"score": "high", "scores": 0.3}}),
        ("a", [0.1, 0.2], {"a": "x"}, {"label": "a", "other": {"score": [0.1, 0.2], "scores": {"a": "x"}}}),
    ],
)  # fmt: skip
def test_what_is_given_twice_or_of_another_type_is_kept(
    prediction: Any, score: Any, scores: Any, document: dict[str, Any]
) -> None:
    assert OutputEncoder(None)(prediction, score, scores) == document


@pytest.mark.parametrize(
    ("feature", "output", "bin_"),
    [
        (CLASSES, {"label": "a", "score": 0.9}, "a"),
        (CLASSES, {"label": 1}, tokens.OTHER),
        (CLASSES, {"label": "z"}, tokens.UNSEEN),
        (CLASSES, {"a": 0.1, "b": 0.9}, tokens.TYPE),
        (CLASSES, ["a", "b"], tokens.TYPE),
        (NUMBERS, {"value": 1.5, "low": 1}, "[1,2]"),
        (NUMBERS, {"value": 7}, tokens.ABOVE),
        (NUMBERS, {"low": 1.5, "high": 2.5}, tokens.TYPE),
        (NUMBERS, float("inf"), tokens.NONFINITE),
        (NUMBERS, None, tokens.MISSING),
        (LABELS, ["a", "b"], ["a", "b"]),
        (LABELS, ["a", "a", "z", "y", 1], ["a", tokens.UNSEEN, tokens.OTHER]),
        (LABELS, ["a"], ["a"]),
        (LABELS, [["a"]], ["a"]),
        (LABELS, "a", ["a"]),
        (LABELS, {"labels": ["b"], "scores": [0.9]}, ["b"]),
        (LABELS, {"label": "b"}, ["b"]),
        (LABELS, [], [tokens.NONE]),
        (LABELS, None, tokens.MISSING),
        (LABELS, {"a": 0.9}, tokens.TYPE),
        (LABELS, [{"a": 1}], tokens.TYPE),
    ],
)
def test_an_output_has_a_bin_or_one_for_each_label(feature: Feature, output: Any, bin_: Any) -> None:
    assert OutputEncoder(feature)(output, None, None)["bin"] == bin_


_scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6)
_scalars |= st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["Infinity", "a", "b", "1"])
_names = st.text(max_size=6) | st.sampled_from(["value", "label", "labels", "score", "scores", "cls"])
outputs = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=10,
)


def leaves(value: Any) -> Iterator[str]:
    """The scalars of a JSON value as text, as a label is: true and 1 are the texts of their class."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    elif value is not None:
        yield category_text(value) or ""


@settings(max_examples=examples(500), deadline=None)
@given(outputs, st.none() | outputs, st.none() | outputs, st.sampled_from([None, CLASSES, LABELS, NUMBERS]))
def test_every_leaf_of_an_output_stands_somewhere(
    prediction: Any, score: Any, scores: Any, feature: Feature | None
) -> None:
    document = OutputEncoder(feature)(prediction, score, scores)
    document.pop("bin", None)
    stored = Counter(leaves(document))
    given_ = Counter(leaves([prediction, score, scores]))
    assert stored == given_


@settings(max_examples=examples(100), deadline=None)
@given(outputs)
def test_every_way_in_keeps_an_output_alike(prediction: Any) -> None:
    process = PredictionProcessor(model="m", version="1")
    single = process(None, "info", {"inputs": {"a": 1}, "prediction": prediction})["ml"]["prediction"]
    frame = pd.DataFrame({"a": [1]})
    (lines,) = process.batch.render(frame, {}, prediction=[prediction])
    assert orjson.loads(lines[0])["ml"]["prediction"] == orjson.loads(orjson.dumps(single))
    if isinstance(prediction, str):  # a text that spells a number is one in foreign events
        return
    foreign = normalize(
        orjson.dumps({"model": "m", "inputs": {"a": 1}, "prediction": prediction, "timestamp": 0})
    )
    assert isinstance(foreign, Event)
    if "scores" in single:
        single["scores"] = with_safe_names(single["scores"])
    unwrapped = OutputEncoder(None).unwrap(prediction)
    if unwrapped is not None and not isinstance(unwrapped, str):
        assert foreign.document["ml"]["prediction"] == orjson.loads(orjson.dumps(single))


@settings(max_examples=examples(100), deadline=None)
@example(prediction={"value": 0, "labels": []}, scores=None)
@example(prediction={"value": 0, "label": "a", "labels": ["a", "b"]}, scores=None)
@given(prediction=outputs, scores=st.none() | outputs)
def test_annotating_a_stored_event_loses_nothing(
    profile: profiles.Profile, prediction: Any, scores: Any
) -> None:
    from logging_lib.logger.checks import Checker

    stored = normalize(
        {"model": "m", "inputs": {}, "prediction": prediction, "scores": scores, "timestamp": 0}
    )
    assert isinstance(stored, Event)
    annotated = add_checks(stored.document, Checker(profile, foreign=True))
    before, after = (
        {k: v for k, v in d["ml"].get("prediction", {}).items() if k != "bin"}
        for d in (stored.document, annotated)
    )
    assert Counter(leaves(before)) == Counter(leaves(after))


def test_a_frame_of_outputs_is_one_mapping_a_row(
    tmp_path: Path, captured_predictions: list[dict[str, Any]]
) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path, report_every=None)
    log.predictions(pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"p": [0.1, 0.2], "why": ["x", "y"]}))
    assert [event["ml"]["prediction"] for event in captured_predictions] == [
        {"scores": {"p": 0.1}, "other": {"prediction": {"why": "x"}}},
        {"scores": {"p": 0.2}, "other": {"prediction": {"why": "y"}}},
    ]


def test_a_label_of_several_labels_is_kept_and_compared(
    tmp_path: Path, captured_predictions: Any, valid: Any
) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path, report_every=None, label_cache_size=9)
    for request in ("r-1", "r-2", "r-3"):
        log.prediction({"a": 1}, prediction=["urgent", "billing"], request_id=request)
    log.label("r-1", ["billing", "urgent"])
    log.label("r-2", ["billing", "other"])
    log.label("r-3", {"urgent": 0.5, "why": "x"})
    labels = [valid(event)["ml"]["label"] for event in captured_predictions[3:]]
    assert [(label.get("labels"), label.get("correct")) for label in labels] == [
        (["billing", "urgent"], True), (["billing", "other"], False), (None, None)
    ]  # fmt: skip
    assert labels[2]["other"] == {"scores": {"urgent": 0.5}, "other": {"prediction": {"why": "x"}}}
