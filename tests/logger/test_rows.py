"""A row of another shape is read as what it is, or refused with the reason; by every way in the same."""

from __future__ import annotations

import array
import json
import logging
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.checks import Checker
from logging_lib.logger.rows import InputsError, read_row, unpack_columns
from logging_lib.normalize import normalize
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.store import annotate
from tests.foreign_events import NOW

Events = Callable[[Path], list[dict[str, Any]]]
Valid = Callable[[dict[str, Any]], dict[str, Any]]
ROW = {"amount": 12.5, "channel": "web", "count": 3, "joint": True}
Tuple = namedtuple("Tuple", list(ROW))  # type: ignore[misc]


@dataclass
class Record:
    amount: float
    channel: str
    count: int
    joint: bool


class Model(pydantic.BaseModel):
    amount: float
    channel: str
    count: int
    joint: bool


FRAME = pd.DataFrame([ROW])
ROWS: dict[str, Any] = {
    "a frame": FRAME,
    "a frame of objects": FRAME.astype(object),
    "a frame of pyarrow's types": FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "a table of pyarrow": pa.Table.from_pylist([ROW]),
    "a batch of pyarrow": pa.RecordBatch.from_pylist([ROW]),
    "a series": FRAME.iloc[0],
    "a named tuple": Tuple(**ROW),
    "a row of itertuples": next(FRAME.itertuples(index=False)),
    "a dataclass": Record(**ROW),  # type: ignore[arg-type]
    "a pydantic model": Model(**ROW),  # type: ignore[arg-type]
    "a list of one mapping": [ROW],
    "a tuple of one mapping": (ROW,),
    "a list of one record": [Record(**ROW)],  # type: ignore[arg-type]
    "an ordered mapping": OrderedDict(ROW),
    "a read-only mapping": MappingProxyType(ROW),
    "records": FRAME.to_dict("records"),
}
COLUMNS: dict[str, Any] = {
    "lists": {name: [value] for name, value in ROW.items()},
    "tuples": {name: (value,) for name, value in ROW.items()},
    "lists of lists": {name: [[value]] for name, value in ROW.items()},
    "arrays": {name: np.array([value]) for name, value in ROW.items()},
    "arrays of shape (1, 1)": {name: np.array([[value]]) for name, value in ROW.items()},
    "series": {name: pd.Series([value]) for name, value in ROW.items()},
    "frame.to_dict()": FRAME.to_dict(),
    "frame.to_dict('list')": FRAME.to_dict("list"),
    "frame.to_json()": json.loads(FRAME.to_json()),
    "mixed": {"amount": [12.5], "channel": ("web",), "count": np.array([3]), "joint": pd.Series([True])},
}
REFUSED: dict[str, tuple[Any, str]] = {
    "an array": (np.array([1.0, 2.0]), "found numpy.ndarray of shape (2,): give each value its name"),
    "an array of two dimensions": (np.array([[1.0, 2.0]]), "numpy.ndarray of shape (1, 2)"),
    "an array of the standard library": (array.array("d", [1.0]), "found array.array"),
    "a list": ([1.0, 2.0], "found list of 2 values: give each value its name, dict(zip(names, values))"),
    "an empty list": ([], "found list of 0 values"),
    "a tuple": ((1.0,), "found tuple of 1 values"),
    "None": (None, "found NoneType"),
    "a number": (3.5, "found float"),
    "a text": ('{"amount": 12.5}', "found str"),
    "bytes": (b"{}", "found bytes"),
    "a class": (Record, "found type"),
    "an index": (pd.Index(["a"]), "of shape (1,)"),
    "a frame of two rows": (
        pd.DataFrame([ROW, ROW]),
        "this DataFrame has 2: log the rows of a DataFrame with",
    ),
    "a frame of no row": (FRAME.head(0), "this DataFrame has 0"),
    "a table of two rows": (pa.Table.from_pylist([ROW, ROW]), "this Table has 2"),
    "a frame with a name twice": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "a name is there twice"),
    "a frame with names that are one as text": (
        pd.DataFrame([[1, 2]], columns=[1, "1"]),
        "a name is there twice",
    ),
    "a table with a name twice": (pa.table([[1], [2]], names=["a", "a"]), "a name is there twice"),
    "a series with a name twice": (pd.Series([1, 2], index=["a", "a"]), "a name is there twice"),
    "a mapping with keys that are one as text": ({1: 1.0, "1": 2.0}, "a name is there twice"),
    "a mapping with None and its text": ({"None": "a", None: "b"}, "a name is there twice"),
    "a list of two rows": ([ROW, ROW], "this list has 2: log each row by itself"),
}


@pytest.fixture(scope="module")
def fitted() -> profiles.Profile:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "amount": rng.uniform(1, 100, 200),
            "channel": rng.choice(["web", "app"], 200),
            "count": rng.integers(0, 9, 200),
            "joint": rng.random(200) < 0.5,
        }
    )
    return profiles.fit(frame, model="m", version="1")


@pytest.mark.parametrize("shape", ROWS)
def test_a_row_of_another_shape_is_read(shape: str) -> None:
    row = read_row(ROWS[shape])
    assert dict(row) == ROW
    assert [type(key) for key in row] == [str] * 4


def test_a_mapping_is_taken_as_it_is() -> None:
    assert read_row(ROW) is ROW


def test_names_and_values_of_a_frame_keep_their_types() -> None:
    moment = pd.Timestamp("2018-01-02T03:04:05", tz="Europe/Berlin")
    frame = pd.DataFrame({"at": [moment], 0: [None], ("a", "b"): [7]})
    assert read_row(frame) == {"at": moment, 0: None, ("a", "b"): 7}
    assert read_row(pd.Series([1.5, 2.5], index=["b", "a"])) == {"b": 1.5, "a": 2.5}


def test_a_frame_of_polars_is_read() -> None:
    polars = pytest.importorskip("polars")
    assert read_row(polars.DataFrame([ROW])) == ROW
    with pytest.raises(InputsError, match="this DataFrame has 2"):
        read_row(polars.DataFrame([ROW, ROW]))


@pytest.mark.parametrize("shape", REFUSED)
def test_what_is_not_one_row_with_names_becomes_a_dead_letter_with_the_reason(
    tmp_path: Path, spooled: Events, valid: Valid, shape: str
) -> None:
    inputs, reason = REFUSED[shape]
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    log.prediction(inputs, 1.0)
    (letter,) = map(valid, spooled(tmp_path))
    assert letter["event"]["dataset"] == "ml.deadletter"
    assert letter["error"]["type"] == "InputsError"
    assert reason in letter["error"]["message"]
    assert "inputs must " in letter["error"]["message"]
    assert log.stats() == {"written": 1, "dropped": {}, "sampled_out": 0, "unreadable_times": 0}


def test_two_keys_of_the_same_text_are_refused_with_a_profile_and_both_values_are_in_the_dead_letter(
    tmp_path: Path, spooled: Events
) -> None:
    """Neither value may silently take the other's place, in whichever order they are."""
    frame = pd.DataFrame({"1": [1.0, 2.0] * 20, "b": [1.0, 2.0] * 20})
    with pytest.raises(profiles.ProfileError, match="'1' more than once"):
        profiles.fit(pd.DataFrame([[1.0, 2.0]] * 40, columns=[1, "1"]), model="m", version="1")
    log = logging_lib.configure(
        model="m", version="1", spool=tmp_path, profile=profiles.fit(frame, model="m", version="1")
    )
    for inputs in ({1: 1.25, "1": 1.75}, {"1": 1.75, 1: 1.25}, {"1": 1.75, 1: 1.25, "b": 1.5}):
        log.prediction(inputs, 1.0)
    log.prediction({1: 1.25, "b": 1.75}, 1.0)
    *letters, event = spooled(tmp_path)
    assert [letter["event"]["dataset"] for letter in letters] == ["ml.deadletter"] * 3
    for letter in letters:
        assert "1.25" in letter["event"]["original"]
        assert "1.75" in letter["event"]["original"]
    assert event["ml"]["input"]["numeric"] == {"1": 1.25, "b": 1.75}


@pytest.mark.parametrize("shape", COLUMNS)
def test_columns_of_one_value_are_the_row_where_a_profile_says_so(
    fitted: profiles.Profile, shape: str
) -> None:
    expected, checked = Checker(fitted)(ROW), Checker(fitted)(COLUMNS[shape])
    assert checked.failed == {}
    assert checked.input == expected.input
    assert checked.bins == expected.bins
    assert checked.row == ROW


def test_what_is_missing_unseen_or_unexpected_in_such_a_row_is_found(fitted: profiles.Profile) -> None:
    checked = Checker(fitted)({"amount": [None], "channel": ["fax"], "count": [900], "new": ["x"]})
    assert checked.failed == {
        "missing": ["amount"],
        "unseen": ["channel"],
        "out_of_range": ["count"],
        "absent": ["joint"],
        "unexpected": ["new"],
    }
    assert checked.input["category"] == {"channel": "fax", "new": "x"}


@pytest.mark.parametrize(
    ("inputs", "wrong"),
    [
        ({**COLUMNS["lists"], "count": 3}, ["amount", "channel", "joint"]),
        ({**COLUMNS["lists"], "count": [3, 4]}, ["amount", "channel", "count", "joint"]),
        ({**COLUMNS["lists"], "count": []}, ["amount", "channel", "count", "joint"]),
        ({**COLUMNS["lists"], "count": {"value": 3}}, ["amount", "channel", "count", "joint"]),
        ({name: [value, value] for name, value in ROW.items()}, ["amount", "channel", "count", "joint"]),
        ({**ROW, "amount": (12.5,)}, ["amount"]),
        ({**ROW, "amount": np.array([12.5])}, ["amount"]),
    ],
)
def test_a_row_that_is_wrapped_in_part_is_of_a_wrong_type(
    fitted: profiles.Profile, inputs: dict[str, Any], wrong: list[str]
) -> None:
    checked = Checker(fitted)(inputs)
    assert sorted(checked.failed["wrong_type"]) == wrong
    assert checked.row is None


def test_a_feature_that_was_a_list_in_training_stays_one() -> None:
    frame = pd.DataFrame({"history": [["a", "b"], ["c"]] * 40})
    checked = Checker(profiles.fit(frame, model="m", version="1"))({"history": ["a"]})
    assert checked.failed == {"wrong_type": ["history"]}
    assert checked.input["other"] == {"history": ["a"]}


def test_such_a_row_stays_lists_without_a_profile(
    tmp_path: Path, captured_predictions: list[dict[str, Any]]
) -> None:
    logging_lib.configure(model="m", version="1", spool=tmp_path).prediction({"amount": [12.5]}, 1.0)
    assert captured_predictions[0]["ml"]["input"] == {"other": {"amount": [12.5]}}


def test_cycles_and_deep_lists_end(fitted: profiles.Profile) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    nested: Any = 1
    for _ in range(100):
        nested = {0: [nested]}
    loop: dict[Any, Any] = {}
    loop[0] = loop
    for value in (cycle, nested, loop):
        checked = Checker(fitted)(dict.fromkeys(ROW, value))
        assert checked.failed == {"wrong_type": ["amount", "count", "channel", "joint"]}


containers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(ROW, containers)))
def test_a_row_is_unpacked_as_a_whole_or_not_at_all(columns: dict[str, Any]) -> None:
    row = unpack_columns(columns)
    assert unpack_columns({name: [value] for name, value in columns.items()}) is not None
    if row is not None:
        assert row.keys() == columns.keys()
        assert all(isinstance(value, list | dict) and len(value) == 1 for value in columns.values())


def test_every_way_in_reads_a_frame_of_one_row(
    tmp_path: Path, fitted: profiles.Profile, captured_predictions: list[dict[str, Any]]
) -> None:
    log = logging_lib.configure(model="m", version="1", profile=fitted, spool=tmp_path)
    log.prediction(FRAME, 1.0)
    with log.prediction(FRAME.copy()) as p:
        p.prediction = 1.0
    log.observe(lambda frame: 1.0)(FRAME)
    handler = logging_lib.PredictionHandler(log)
    record = logging.makeLogRecord({"inputs": FRAME, "prediction": 1.0, "msg": "scored"})
    handler.handle(record)
    log.predictions(FRAME, [1.0])
    log.predictions(pd.DataFrame([COLUMNS["lists"]]), [1.0])
    formatter = logging_lib.PredictionFormatter(
        logging_lib.PredictionProcessor(model="m", version="1", profile=fitted)
    )
    events = [*captured_predictions, json.loads(formatter.format(record))]
    expected = Checker(fitted)(ROW).input_document()
    assert len(events) == 7
    for event in events:
        assert "check" not in event["ml"]
        assert {**event["ml"]["input"], "bins": sorted(event["ml"]["input"]["bins"])} == {
            **expected,
            "bins": sorted(expected["bins"]),
        }


def test_a_frame_that_the_model_changes_is_logged_as_it_was(
    tmp_path: Path, captured_predictions: list[dict[str, Any]]
) -> None:
    frame = FRAME.copy()
    with logging_lib.configure(model="m", version="1", spool=tmp_path).prediction(frame) as p:
        frame["amount"] = 0.0
        frame["derived"] = 1
        p.prediction = 1.0
    assert captured_predictions[0]["ml"]["input"]["numeric"] == {"amount": 12.5, "count": 3}


def test_a_foreign_event_of_columns_is_read_the_same_at_once_and_later(fitted: profiles.Profile) -> None:
    checker = Checker(fitted, foreign=True)
    columns = {name: [str(value)] for name, value in ROW.items()}
    raw = {"model": "m", "version": "1", "timestamp": NOW.isoformat(), "inputs": columns, "prediction": 1.0}
    at_once = normalize(raw, checks=lambda model, version: checker).document["ml"]
    later = annotate.add_checks(normalize(raw).document, checker)["ml"]
    for ml in (at_once, later):
        assert "check" not in ml
        assert ml["input"]["numeric"] == {"amount": 12.5, "count": 3}
        assert ml["input"]["boolean"] == {"joint": True}


def test_a_private_value_is_hashed_the_same_in_every_shape(
    fitted: profiles.Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGGING_LIB_HMAC_KEY", "a key")
    processor = logging_lib.PredictionProcessor(
        model="m", version="1", profile=fitted, private={"amount": "hmac", "channel": "redact"}
    )
    shown = [
        processor(None, "info", {"inputs": inputs, "prediction": 1.0})["ml"]["input"]["other"]
        for inputs in (ROW, FRAME, [ROW], COLUMNS["lists"], COLUMNS["arrays"], Record(**ROW))  # type: ignore[arg-type]
    ]
    assert all(other == shown[0] for other in shown)


def test_the_reason_is_given_where_values_are_hidden() -> None:
    frame = pd.DataFrame({"ssn": ["078-05-1120", "078-05-1121"] * 20})
    config = Config(features={"ssn": FeatureConfig(hidden=True)})
    processor = logging_lib.PredictionProcessor(
        model="m", version="1", profile=profiles.fit(frame, model="m", version="1", config=config)
    )
    for inputs in (["078-05-1120"], frame, [{"ssn": "078-05-1120"}] * 2):
        letter = processor(None, "info", {"inputs": inputs, "prediction": 1.0})
        assert "inputs must " in letter["error"]["message"]
        assert b"078-05-1120" not in orjson.dumps(letter)


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        ([ROW, ROW], "found list of 2 values"),
        (np.zeros((2, 4)), "found numpy.ndarray of shape (2, 4)"),
        ({name: [value] * 2 for name, value in ROW.items()}, "found dict"),
        (FRAME["amount"], "found pandas.Series of shape (1,)"),
        (None, "found NoneType"),
    ],
)
def test_a_batch_that_is_not_a_frame_becomes_one_dead_letter(
    tmp_path: Path, spooled: Events, valid: Valid, batch: Any, found: str
) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    log.predictions(batch, [1.0, 2.0], run="nightly")
    (letter,) = map(valid, spooled(tmp_path))
    assert letter["event"]["dataset"] == "ml.deadletter"
    assert "inputs of predictions() must be a pandas DataFrame" in letter["error"]["message"]
    assert found in letter["error"]["message"]
    assert log.stats() == {"written": 1, "dropped": {}, "sampled_out": 0, "unreadable_times": 0}
