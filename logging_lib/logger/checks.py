"""The checks of one prediction's inputs against the training profile. Pure: no I/O, no clock.

``Checker`` is compiled once from the profile into tables a kind of feature, so that the ordinary value costs one
look-up; everything else goes through ``check_value``.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Mapping
from datetime import date
from typing import Any

from logging_lib.logger.event import OutputEncoder
from logging_lib.logger.values import to_json_number, to_jsonable, to_key_text
from logging_lib.profile.coerce import (
    category_text,
    format_epoch,
    is_null,
    parse_scalar,
    split_words,
    to_epoch,
    to_python,
)
from logging_lib.profile.model import OOV_EDGES, Feature, Profile
from logging_lib.schema import tokens

MAX_LISTED_VALUES = 20
"""At most so many unseen values, and so many unknown words, are named in one event."""
MAX_CHECKED_TEXT = 20_000
"""Characters of a text whose words are looked at."""
MAX_CATEGORY = 256
"""Without a profile, a longer text is ``text``, a shorter one ``category``."""

MAX_NUMBER = sys.float_info.max
_SAFE = 2.0**63  # below it a number is finite and JSON can carry it
_ABSENT: Any = object()
_OOV_INNER = OOV_EDGES[1:-1]


class CheckResult:
    """What became of one mapping of inputs: typed by path, and what failed.

    ``input`` is ``ml.input.*`` but for the bins: kind → feature → value, without the kinds that have none;
    ``failed`` is check → names of features, empty where all is well.
    """

    __slots__ = ("bins", "failed", "input", "oov_tokens", "oov_words", "tokens", "unseen_values")

    def __init__(self) -> None:
        self.input: dict[str, Any] = {}
        self.bins: list[str] = []
        self.failed: dict[str, list[str]] = {}
        self.unseen_values: list[str] = []
        self.oov_words: list[str] = []
        self.tokens = 0
        self.oov_tokens = 0

    def add_input(self, kind: str, name: str, value: Any) -> None:
        """Keep an input under the path of a kind."""
        self.input.setdefault(kind, {})[name] = value

    def fail(self, check: str, name: str) -> None:
        self.failed.setdefault(check, []).append(name)

    def input_document(self) -> dict[str, Any]:
        """``ml.input.*``."""
        if self.bins:
            self.input["bins"] = self.bins
        return self.input

    def check_document(self) -> dict[str, Any]:
        """``ml.check.*``: only what failed."""
        document: dict[str, Any] = dict(self.failed)
        if self.unseen_values:
            document["unseen_values"] = self.unseen_values
        return document

    def text_document(self) -> dict[str, Any]:
        """``ml.text.*``."""
        document: dict[str, Any] = {"tokens": self.tokens, "oov_tokens": self.oov_tokens}
        if self.oov_words:
            document["oov_words"] = self.oov_words
        return document


class Checker:
    """Checks inputs against one profile; call it with a mapping of inputs.

    Args:
        profile: the training profile.
        foreign: whether the inputs were written by somebody else's serializer: then a text that spells a number
            or a boolean counts as one where the profile has one.
    """

    def __init__(self, profile: Profile, *, foreign: bool = False) -> None:
        self.id = profile.id
        self.output = OutputEncoder(profile.prediction)
        self._foreign = foreign
        self.na_values = frozenset(profile.na_values)
        self.features = {name: FeatureTable(feature) for name, feature in profile.features.items()}
        tables = self.features.values()
        self.numeric = [
            (t.name, t.inner_edges, t.bins, *t.range)
            for t in tables
            if t.kind == "numeric" and not t.hidden and t.range
        ]
        self.category = [(t.name, t.value_tokens.get) for t in tables if t.kind == "category" and not t.hidden]
        self.text = [(t.name, t.vocabulary, t.bins[0]) for t in tables if t.kind == "text" and not t.hidden]
        fast = {entry[0] for entry in (*self.numeric, *self.category, *self.text)}
        self.others = [t for t in tables if t.name not in fast]

    def __call__(self, inputs: Mapping[Any, Any]) -> CheckResult:
        """Type and check every input.

        Args:
            inputs: feature → value of any type; keys that are no text are named by their text.
        """
        out = CheckResult()
        get, add = inputs.get, out.bins.append
        typed = out.input
        numeric: dict[str, Any] = {}
        category: dict[str, Any] = {}
        text: dict[str, Any] = {}
        if self.numeric:
            typed["numeric"] = numeric
        if self.category:
            typed["category"] = category
        if self.text:
            typed["text"] = text
        for name, inner, bins, low, high in self.numeric:
            value = get(name, _ABSENT)
            kind = type(value)
            if (kind is float or kind is int) and low <= value <= high:
                numeric[name] = value
                add(bins[bisect_right(inner, value)])
            else:
                self.check_value(self.features[name], value, out)
        for name, known in self.category:
            value = get(name, _ABSENT)
            if type(value) is str and (token := known(value)) is not None:
                category[name] = value
                add(token)
            else:
                self.check_value(self.features[name], value, out)
        for name, vocabulary, first in self.text:
            value = get(name, _ABSENT)
            if type(value) is str and len(value) <= MAX_CHECKED_TEXT:
                # Whatever stands between spaces and is a known word is one for `words` too.
                found = value.lower().split()
                if found and vocabulary.issuperset(found) and value not in self.na_values:
                    text[name] = value
                    out.tokens += len(found)
                    add(first)
                    continue
            self.check_value(self.features[name], value, out)
        for table in self.others:
            self.check_value(table, get(table.name, _ABSENT), out)
        absent = out.failed.get("absent")
        if absent and not all(type(key) is str for key in inputs):  # integer column names, say
            named = {to_key_text(key): value for key, value in inputs.items()}
            if not named.keys().isdisjoint(absent):
                return self(named)
        if len(inputs) + (len(absent) if absent else 0) != len(self.features):
            self._unexpected(inputs, out)
        if out.failed:
            for name in [name for name, values in typed.items() if not values]:
                del typed[name]
        return out

    def _unexpected(self, inputs: Mapping[Any, Any], out: CheckResult) -> None:
        for key, value in inputs.items():
            if not (isinstance(key, str) and key in self.features):
                name = key if type(key) is str else str(to_jsonable(key))
                out.fail("unexpected", name)
                type_by_value(name, value, out)

    def check_value(self, table: FeatureTable, value: Any, out: CheckResult) -> None:
        name = table.name
        if value is _ABSENT:
            out.fail("absent", name)
            out.bins.append(table.special[tokens.ABSENT])
            return
        value = to_python(value)
        if self._foreign and table.kind in ("numeric", "boolean"):
            value = parse_scalar(value)
        if is_null(value) or (
            isinstance(value, str)
            and value not in table.value_tokens
            and (value in self.na_values or not value.strip())
        ):
            out.fail("missing", name)
            out.bins.append(table.special[tokens.MISSING])
            if not table.hidden:
                _add_missing(table, value, out)
        elif table.hidden:
            out.bins.append(table.special[tokens.HIDDEN])
        elif not _CHECK_KIND[table.kind](table, value, out):
            out.fail("wrong_type", name)
            out.bins.append(table.special[tokens.TYPE])
            out.add_input("other", name, to_jsonable(value))


class FeatureTable:
    """One feature of the profile, prepared."""

    __slots__ = (
        "bins",
        "hidden",
        "inner_edges",
        "kind",
        "value_tokens",
        "name",
        "oov_threshold",
        "range",
        "special",
        "escaped_name",
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
                own = position < feature.binned
                self.value_tokens[value] = (
                    f"{self.escaped_name}={tokens.escape(value)}" if own else self.special[tokens.OTHER]
                )
        self.vocabulary = frozenset(feature.vocabulary)
        self.oov_threshold = feature.oov_threshold


def _add_missing(table: FeatureTable, value: Any, out: CheckResult) -> None:
    if isinstance(value, str) and table.kind not in ("category", "text"):
        out.add_input("other", table.name, to_jsonable(value))
    else:
        out.add_input(table.kind, table.name, value if isinstance(value, str) else None)


def _check_numeric(table: FeatureTable, value: Any, out: CheckResult) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        out.add_input("other", table.name, to_json_number(value))
        out.fail("not_finite", table.name)
        out.bins.append(table.special[tokens.NONFINITE])
        return True
    out.add_input("numeric" if abs(value) <= MAX_NUMBER else "other", table.name, to_jsonable(value))
    _add_bin(table, value, out)
    return True


def _check_date(table: FeatureTable, value: Any, out: CheckResult) -> bool:
    seconds = to_epoch(value)
    if seconds is None:
        return False
    out.add_input("date", table.name, format_epoch(seconds))
    _add_bin(table, seconds, out)
    return True


def _add_bin(table: FeatureTable, value: float, out: CheckResult) -> None:
    if table.range is None:  # nothing but missing values in training
        out.fail("out_of_range", table.name)
        out.bins.append(table.special[tokens.ABOVE])
    elif value < table.range[0] or value > table.range[1]:
        out.fail("out_of_range", table.name)
        out.bins.append(table.special[tokens.BELOW if value < table.range[0] else tokens.ABOVE])
    else:
        out.bins.append(table.bins[bisect_right(table.inner_edges, value)])


def _check_category(table: FeatureTable, value: Any, out: CheckResult) -> bool:
    text = category_text(value)
    if text is None:
        return False
    out.add_input("category", table.name, text)
    _look_up(table, text, out)
    return True


def _check_boolean(table: FeatureTable, value: Any, out: CheckResult) -> bool:
    if not isinstance(value, bool):
        return False
    out.add_input("boolean", table.name, value)
    _look_up(table, "true" if value else "false", out)
    return True


def _look_up(table: FeatureTable, text: str, out: CheckResult) -> None:
    known = table.value_tokens.get(text)
    if known is not None:
        out.bins.append(known)
        return
    out.fail("unseen", table.name)
    out.bins.append(table.special[tokens.UNSEEN])
    if len(out.unseen_values) < MAX_LISTED_VALUES:
        out.unseen_values.append(f"{table.escaped_name}={tokens.escape(text)}")


def _check_text(table: FeatureTable, value: Any, out: CheckResult) -> bool:
    if not isinstance(value, str):
        return False
    out.add_input("text", table.name, value)
    found = split_words(value[:MAX_CHECKED_TEXT])
    unknown = [word for word in found if word not in table.vocabulary]
    share = len(unknown) / len(found) if found else 0.0
    out.tokens += len(found)
    out.oov_tokens += len(unknown)
    out.bins.append(table.bins[bisect_right(_OOV_INNER, share)])
    if share > table.oov_threshold:
        out.fail("oov", table.name)
    for word in dict.fromkeys(unknown):
        if len(out.oov_words) >= MAX_LISTED_VALUES:
            break
        out.oov_words.append(f"{table.escaped_name}={tokens.escape(word)}")
    return True


_CHECK_KIND = {
    "numeric": _check_numeric,
    "category": _check_category,
    "text": _check_text,
    "boolean": _check_boolean,
    "date": _check_date,
}


def type_by_value(name: str, value: Any, out: CheckResult) -> None:
    """Put an input that no profile knows under the path of its own type."""
    kind = type(value)
    if kind is str:
        out.add_input("category" if len(value) <= MAX_CATEGORY else "text", name, value)
        return
    if (kind is float or kind is int) and -_SAFE < value < _SAFE:
        out.add_input("numeric", name, value)
        return
    value = to_python(value)
    if isinstance(value, bool):
        out.add_input("boolean", name, value)
    elif isinstance(value, int | float) and abs(value) <= MAX_NUMBER:
        out.add_input("numeric", name, to_jsonable(value))
    elif isinstance(value, str):
        out.add_input("category" if len(value) <= MAX_CATEGORY else "text", name, value)
    elif isinstance(value, date) and (seconds := to_epoch(value)) is not None:
        out.add_input("date", name, format_epoch(seconds))
    else:
        out.add_input("other", name, to_jsonable(value))


def type_all(inputs: Mapping[Any, Any]) -> CheckResult:
    """Inputs of a model without a profile: typed by their values, unchecked."""
    out = CheckResult()
    for key, value in inputs.items():
        type_by_value(key if type(key) is str else str(to_jsonable(key)), value, out)
    return out
