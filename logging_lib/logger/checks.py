"""The checks of one prediction's inputs against the training profile. The module uses no I/O and no clock.

``Checker`` is compiled once from the profile into tables by kind of feature, so that an ordinary value costs one
look-up; every other value goes through ``check_value``.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Mapping
from datetime import date
from typing import Any

import orjson

from logging_lib.logger.classifiers import build_encoder
from logging_lib.logger.rows import name_values, unpack_columns
from logging_lib.logger.values import to_json_number, to_jsonable, to_key_text
from logging_lib.profile.coerce import (
    MAX_CHECKED_TEXT,
    category_text,
    format_epoch,
    is_null,
    is_number,
    parse_scalar,
    split_words,
    to_epoch,
    to_python,
)
from logging_lib.profile.model import OOV_EDGES, Feature, Profile
from logging_lib.profile.vectors import derived_names, measure_vector, read_vector
from logging_lib.schema import tokens

MAX_LISTED_WORDS = 20
"""Maximum number of unknown words that one event lists."""
MAX_LISTED_FEATURES = 200
"""Maximum number of features whose unseen value, or value of a wrong type, one event lists."""
MAX_LISTED_TEXT = 40
"""Maximum characters of a listed value of a wrong type; even escaped, it is short enough not to be hashed."""
VALUE_FIELDS = frozenset(("unseen_values", "wrong_type_values"))
"""The fields of ``ml.check`` that list ``feature=value``; the others list features."""
MAX_CATEGORY = 256
"""Without a profile, a text of more characters is of kind ``text``, and any other of kind ``category``."""

MAX_NUMBER = sys.float_info.max
_SAFE = 2.0**63  # a number below this is finite, and JSON can carry it
_ABSENT: Any = object()
_OOV_INNER = OOV_EDGES[1:-1]


class CheckResult:
    """The result of checking one mapping of inputs: the inputs by kind, their bins, and the failed checks.

    ``input`` is ``ml.input.*`` except for the bins: kind → feature → value, without empty kinds. ``failed`` is
    check → names of features; it is empty if every check passed. ``row`` holds the inputs if they had to be
    unpacked first, otherwise None.
    """

    __slots__ = (
        "bins",
        "failed",
        "input",
        "oov_tokens",
        "oov_words",
        "row",
        "tokens",
        "unseen_values",
        "wrong_type_values",
    )

    def __init__(self) -> None:
        self.input: dict[str, Any] = {}
        self.bins: list[str] = []
        self.failed: dict[str, list[str]] = {}
        self.unseen_values: list[str] = []
        self.wrong_type_values: list[str] = []
        self.oov_words: list[str] = []
        self.tokens = 0
        self.oov_tokens = 0
        self.row: Mapping[Any, Any] | None = None

    def add_input(self, kind: str, name: str, value: Any) -> None:
        """Add an input under the path of its kind."""
        self.input.setdefault(kind, {})[name] = value

    def fail(self, check: str, name: str) -> None:
        """Record that a feature failed a check."""
        self.failed.setdefault(check, []).append(name)

    def input_document(self) -> dict[str, Any]:
        """Return ``ml.input.*``."""
        if self.bins:
            self.input["bins"] = self.bins
        return self.input

    def check_document(self) -> dict[str, Any]:
        """Return ``ml.check.*``: the failed checks only."""
        document: dict[str, Any] = dict(self.failed)
        if self.unseen_values:
            document["unseen_values"] = self.unseen_values
        if self.wrong_type_values:
            document["wrong_type_values"] = self.wrong_type_values
        return document

    def text_document(self) -> dict[str, Any]:
        """Return ``ml.text.*``."""
        document: dict[str, Any] = {"tokens": self.tokens, "oov_tokens": self.oov_tokens}
        if self.oov_words:
            document["oov_words"] = self.oov_words
        return document


class Checker:
    """A callable that checks a mapping of inputs against one profile.

    Args:
        profile: the training profile.
        foreign: whether the inputs were written by a serializer of another project; a text that spells a number or
            a boolean then counts as one if the profile expects one.
    """

    def __init__(self, profile: Profile, *, foreign: bool = False) -> None:
        self.id = profile.id
        self.output = build_encoder(profile)
        self._foreign = foreign
        self.na_values = frozenset(profile.na_values)
        self.features = {name: FeatureTable(feature) for name, feature in profile.features.items()}
        tables = self.features.values()
        self.numeric = [
            (t.name, t.inner_edges, t.bins, *t.range)
            for t in tables
            if t.kind == "numeric" and not (t.hidden or t.is_derived) and t.range
        ]
        self.category = [
            (t.name, t.value_tokens.get) for t in tables if t.kind == "category" and not t.hidden
        ]
        self.text = [
            (t.name, t.vocabulary, t.inner_edges, t.bins) for t in tables if t.kind == "text" and not t.hidden
        ]
        fast = {entry[0] for entry in (*self.numeric, *self.category, *self.text)}
        self.others = [t for t in tables if t.name not in fast and not t.is_derived]
        self._inputs = sum(not t.is_derived for t in tables)
        for table in tables:
            if table.centroid:
                table.derived = tuple(self.features[name] for name in derived_names(table.name))
        self.has_vectors = any(t.derived for t in tables)
        self._usually_wrong = frozenset(
            name
            for name, feature in profile.features.items()
            if (expectation := feature.expected.get("wrong_type")) is not None and expectation.rate > 0.5
        )

    def __call__(self, inputs: Mapping[Any, Any], *, is_unpacked: bool = False) -> CheckResult:
        """Type and check every input.

        A row that was sent as columns of one value, ``{"amount": [12.5]}``, is unpacked if its values then have
        the profile's types.

        Args:
            inputs: feature → value of any type; a key that is not a text is converted to text.
            is_unpacked: whether the inputs were unpacked already.

        Raises:
            InputsError: two keys have the same text, such as ``1`` and ``"1"``.
        """
        result = CheckResult()
        get, add_bin = inputs.get, result.bins.append
        inputs_by_kind = result.input
        numeric: dict[str, Any] = {}
        category: dict[str, Any] = {}
        text: dict[str, Any] = {}
        if self.numeric:
            inputs_by_kind["numeric"] = numeric
        if self.category:
            inputs_by_kind["category"] = category
        if self.text:
            inputs_by_kind["text"] = text
        for name, inner, bins, low, high in self.numeric:
            value = get(name, _ABSENT)
            kind = type(value)
            if (kind is float or kind is int) and low <= value <= high:
                numeric[name] = value
                add_bin(bins[bisect_right(inner, value)])
            else:
                self.check_value(self.features[name], value, result)
        for name, known in self.category:
            value = get(name, _ABSENT)
            if type(value) is str and (token := known(value)) is not None:
                category[name] = value
                add_bin(token)
            else:
                self.check_value(self.features[name], value, result)
        for name, vocabulary, inner, bins in self.text:
            value = get(name, _ABSENT)
            if type(value) is str and len(value) <= MAX_CHECKED_TEXT:
                # `split_words` also treats a known word between spaces as a word.
                words = value.lower().split()
                if words and vocabulary.issuperset(words) and value not in self.na_values:
                    text[name] = value
                    result.tokens += len(words)
                    add_bin(bins[bisect_right(inner, len(words))])
                    continue
            self.check_value(self.features[name], value, result)
        for table in self.others:
            self.check_value(table, get(table.name, _ABSENT), result)
        absent = result.failed.get("absent")
        if absent and not all(type(key) is str for key in inputs):  # such as integer column names
            renamed = name_values(map(to_key_text, inputs), inputs.values())
            if not renamed.keys().isdisjoint(absent):
                return self(renamed, is_unpacked=is_unpacked)
        if len(inputs) + (len(absent) if absent else 0) != self._inputs:
            self._unexpected(inputs, result)
        if result.failed:
            for name in [name for name, values in inputs_by_kind.items() if not values]:
                del inputs_by_kind[name]
            if not is_unpacked and "wrong_type" in result.failed:
                return self._unpack(inputs, result)
        return result

    def _unpack(self, inputs: Mapping[Any, Any], result: CheckResult) -> CheckResult:
        """Check the row that columns of one value hold; return the result unchanged if they do not hold one."""
        wrong = result.failed["wrong_type"]
        if self._usually_wrong.issuperset(wrong) or (row := unpack_columns(inputs)) is None:
            return result
        unpacked = self(row, is_unpacked=True)
        if len(unpacked.failed.get("wrong_type", ())) >= len(wrong):
            return result
        unpacked.row = row
        return unpacked

    def _unexpected(self, inputs: Mapping[Any, Any], result: CheckResult) -> None:
        for key, (name, value) in zip(inputs, _name_inputs(inputs).items(), strict=True):
            if not (isinstance(key, str) and key in self.features):
                result.fail("unexpected", name)
                type_by_value(name, value, result)

    def check_value(self, table: FeatureTable, value: Any, result: CheckResult) -> None:
        """Check one value in full, and add it, its bin and its failed checks to the result."""
        name = table.name
        if value is _ABSENT:
            result.fail("absent", name)
            result.bins.append(table.special[tokens.ABSENT])
            return
        value = to_python(value)
        if self._foreign and table.kind in ("numeric", "boolean"):
            value = parse_scalar(value)
        if is_null(value) or (
            isinstance(value, str)
            and value not in table.value_tokens
            and (value in self.na_values or not value.strip())
        ):
            result.fail("missing", name)
            result.bins.append(table.special[tokens.MISSING])
            if not table.hidden:
                _add_missing(table, value, result)
        elif table.hidden:
            result.bins.append(table.special[tokens.HIDDEN])
        elif not _CHECK_KIND[table.kind](table, value, result):
            result.fail("wrong_type", name)
            result.bins.append(table.special[tokens.TYPE])
            converted = to_jsonable(value)
            result.add_input("other", name, converted)
            if len(result.wrong_type_values) < MAX_LISTED_FEATURES:
                shown = tokens.escape(_shorten_json(converted))
                result.wrong_type_values.append(f"{table.escaped_name}={shown}")


class FeatureTable:
    """One feature of the profile, with the tokens of its bins prepared."""

    __slots__ = (
        "bins",
        "centroid",
        "centroid_norm",
        "derived",
        "escaped_name",
        "hidden",
        "inner_edges",
        "is_derived",
        "kind",
        "name",
        "oov_threshold",
        "range",
        "special",
        "value_tokens",
        "vocabulary",
    )

    def __init__(self, feature: Feature) -> None:
        self.name = feature.name
        self.kind = feature.kind
        self.hidden = feature.hidden
        self.range = feature.range
        self.inner_edges = feature.edges[1:-1]
        self.escaped_name = tokens.escape(feature.name)
        self.special = {name: f"{self.escaped_name}={name}" for name in tokens.SPECIAL_BINS}
        self.bins = tuple(f"{self.escaped_name}={label}" for label in feature.bin_labels())
        self.value_tokens: dict[str, str] = {}
        if feature.kind in ("category", "boolean"):
            for position, value in enumerate(feature.values):
                has_own_bin = position < feature.binned
                self.value_tokens[value] = (
                    f"{self.escaped_name}={tokens.escape(value)}"
                    if has_own_bin
                    else self.special[tokens.OTHER]
                )
        self.vocabulary = frozenset(feature.vocabulary)
        self.oov_threshold = feature.oov_threshold
        self.is_derived = bool(feature.derived_from)
        self.centroid = feature.centroid
        self.centroid_norm = math.hypot(*feature.centroid)
        self.derived: tuple[FeatureTable, ...] = ()


def _shorten_json(value: Any) -> str:
    """Render a value of JSON's types, cut to ``MAX_LISTED_TEXT`` characters."""
    if isinstance(value, str | list):
        value = value[:MAX_LISTED_TEXT]  # to render all of it would double the cost of the event
    text = orjson.dumps(value).decode()
    return text if len(text) <= MAX_LISTED_TEXT else f"{text[: MAX_LISTED_TEXT - 1]}…"


def _add_missing(table: FeatureTable, value: Any, result: CheckResult) -> None:
    if isinstance(value, str) and table.kind not in ("category", "text"):
        result.add_input("other", table.name, to_jsonable(value))
    else:
        result.add_input(table.kind, table.name, value if isinstance(value, str) else None)


def _check_numeric(table: FeatureTable, value: Any, result: CheckResult) -> bool:
    if not is_number(value):
        return False
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        result.add_input("other", table.name, to_json_number(value))
        result.fail("not_finite", table.name)
        result.bins.append(table.special[tokens.NONFINITE])
        return True
    result.add_input("numeric" if abs(value) <= MAX_NUMBER else "other", table.name, to_jsonable(value))
    _add_bin(table, value, result)
    return True


def _check_date(table: FeatureTable, value: Any, result: CheckResult) -> bool:
    seconds = to_epoch(value)
    if seconds is None:
        return False
    result.add_input("date", table.name, format_epoch(seconds))
    _add_bin(table, seconds, result)
    return True


def _add_bin(table: FeatureTable, value: float, result: CheckResult) -> None:
    if table.range is None:  # all values were missing in training
        result.fail("out_of_range", table.name)
        result.bins.append(table.special[tokens.ABOVE])
        return
    low, high = table.range
    if value < low or value > high:
        value = _to_double(value)  # the range is in doubles, so an integer above 2**53 must be rounded, too
    if value < low or value > high:
        result.fail("out_of_range", table.name)
        result.bins.append(table.special[tokens.BELOW if value < low else tokens.ABOVE])
    else:
        result.bins.append(table.bins[bisect_right(table.inner_edges, value)])


def _to_double(value: float) -> float:
    """Return a number as the profile holds it; return an integer that is too large for a double unchanged."""
    try:
        return float(value)
    except OverflowError:
        return value


def _check_category(table: FeatureTable, value: Any, result: CheckResult) -> bool:
    text = category_text(value)
    if text is None:
        return False
    result.add_input("category", table.name, text)
    _look_up(table, text, result)
    return True


def _check_boolean(table: FeatureTable, value: Any, result: CheckResult) -> bool:
    if not isinstance(value, bool):
        return False
    result.add_input("boolean", table.name, value)
    _look_up(table, "true" if value else "false", result)
    return True


def _look_up(table: FeatureTable, text: str, result: CheckResult) -> None:
    token = table.value_tokens.get(text)
    if token is not None:
        result.bins.append(token)
        return
    result.fail("unseen", table.name)
    result.bins.append(table.special[tokens.UNSEEN])
    if len(result.unseen_values) < MAX_LISTED_FEATURES:
        result.unseen_values.append(f"{table.escaped_name}={tokens.escape(text)}")


def _check_text(table: FeatureTable, value: Any, result: CheckResult) -> bool:
    if not isinstance(value, str):
        return False
    result.add_input("text", table.name, value)
    words = split_words(value[:MAX_CHECKED_TEXT])
    unknown = [word for word in words if word not in table.vocabulary]
    share = len(unknown) / len(words) if words else 0.0
    result.tokens += len(words)
    result.oov_tokens += len(unknown)
    if table.inner_edges:
        result.bins.append(table.bins[bisect_right(table.inner_edges, len(words))])
    else:  # a profile of an earlier version
        result.bins.append(table.bins[bisect_right(_OOV_INNER, share)])
    if share > table.oov_threshold:
        result.fail("oov", table.name)
    for word in dict.fromkeys(unknown):
        if len(result.oov_words) >= MAX_LISTED_WORDS:
            break
        result.oov_words.append(f"{table.escaped_name}={tokens.escape(word)}")
    return True


def _check_vector(table: FeatureTable, value: Any, result: CheckResult) -> bool:
    vector = read_vector(value)
    if vector is None or len(vector) != len(table.centroid):
        return False
    numbers = measure_vector(vector, table.centroid, table.centroid_norm)
    if numbers is None:
        result.add_input("other", table.name, to_jsonable(vector))
        result.fail("not_finite", table.name)
        result.bins.append(table.special[tokens.NONFINITE])
        return True
    result.add_input("other", table.name, vector)
    result.bins.append(table.bins[0])
    for derived, number in zip(table.derived, numbers, strict=True):
        result.add_input("numeric", derived.name, number)
        _add_bin(derived, number, result)
    return True


_CHECK_KIND = {
    "numeric": _check_numeric,
    "category": _check_category,
    "text": _check_text,
    "boolean": _check_boolean,
    "date": _check_date,
    "vector": _check_vector,
}


def type_by_value(name: str, value: Any, result: CheckResult) -> None:
    """Add an input that is not in a profile under the path of its own type."""
    kind = type(value)
    if kind is str:
        result.add_input("category" if len(value) <= MAX_CATEGORY else "text", name, value)
        return
    if (kind is float or kind is int) and -_SAFE < value < _SAFE:
        result.add_input("numeric", name, value)
        return
    value = to_python(value)
    if isinstance(value, bool):
        result.add_input("boolean", name, value)
    elif isinstance(value, int | float) and abs(value) <= MAX_NUMBER:
        result.add_input("numeric", name, to_jsonable(value))
    elif isinstance(value, str):
        result.add_input("category" if len(value) <= MAX_CATEGORY else "text", name, value)
    elif isinstance(value, date) and (seconds := to_epoch(value)) is not None:
        result.add_input("date", name, format_epoch(seconds))
    else:
        result.add_input("other", name, to_jsonable(value))


def type_all(inputs: Mapping[Any, Any]) -> CheckResult:
    """Determine the types of the inputs of a model without a profile from their values, without checking them.

    Raises:
        InputsError: two keys have the same text, such as ``1`` and ``"1"``.
    """
    result = CheckResult()
    for name, value in _name_inputs(inputs).items():
        type_by_value(name, value, result)
    return result


def _name_inputs(inputs: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Name each input by the text of its key."""
    if set(map(type, inputs)) <= {str}:
        return inputs
    names = (key if type(key) is str else str(to_jsonable(key)) for key in inputs)
    return name_values(names, inputs.values())
