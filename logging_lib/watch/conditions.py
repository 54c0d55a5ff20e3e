"""Evaluate Watcher's conditions: always, never, compare and array_compare. Pure: the time is in the context."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from logging_lib._util.times import parse_instant, resolve_date_math
from logging_lib.watch.model import Condition, Operator
from logging_lib.watch.templating import format_java

DATE_MATH = re.compile(r"<\{(.*)\}>")
_DOUBLE = re.compile(
    r"[\0- ]*([+-]?(?:NaN|Infinity|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))[fFdD]?[\0- ]*", re.ASCII
)
_MILLISECONDS = re.compile(r"-?\d{5,}", re.ASCII)
REFERENCE = re.compile(r"\{\{(.*)\}\}")


class ConditionError(ValueError):
    """Raised if a condition cannot be evaluated on a payload."""


def resolve_path(path: str, root: Any) -> Any:
    """Return the value at a dotted path through objects and lists (``hits.hits.0._id``), or None."""
    value = root
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def is_met(condition: Condition, context: Mapping[str, Any]) -> bool:
    """Return whether the condition holds.

    Args:
        context: ``{"ctx": {...}}``; ``ctx.execution_time`` is the meaning of ``now`` in ``<{now-5m}>``.

    Raises:
        ConditionError: ``array_compare`` names something that is not an array.
    """
    if condition.compare is not None:
        ((path, comparison),) = condition.compare.items()
        ((operator, operand),) = comparison.items()
        return compare(operator, resolve_path(path, context), _resolve_operand(operand, context))
    if condition.array_compare is not None:
        ((path, array),) = condition.array_compare.items()
        operator, array_operand = array.operation
        return _compare_array(
            path, array.path, operator, array_operand.value, array_operand.quantifier, context
        )
    return condition.always is not None


def _compare_array(
    path: str, inner: str, operator: Operator, value: Any, quantifier: str, context: Mapping[str, Any]
) -> bool:
    items = resolve_path(path, context)
    if items is None:  # Watcher treats this as an empty list, so "all" holds
        items = ()
    if not isinstance(items, list | tuple):
        raise ConditionError(f"array_compare: {path} is not an array but {type(items).__name__}")
    operand = _resolve_operand(value, context)
    orders = [_compare(resolve_path(inner, item) if inner else item, operand) for item in items]
    # As in Watcher, a comparison that is impossible does not hold, not even not_eq; "all" of no items holds.
    results = [order is not None and _HOLDS[operator](order) for order in orders]
    return all(results) if quantifier == "all" else any(results)


def _resolve_operand(value: Any, context: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        if match := DATE_MATH.fullmatch(value):
            return resolve_date_math(match[1], parse_instant(context["ctx"]["execution_time"]))
        if match := REFERENCE.fullmatch(value):
            return resolve_path(match[1].strip(), context)
    return value


_HOLDS: Mapping[Operator, Callable[[int], bool]] = {
    "eq": lambda order: order == 0,
    "not_eq": lambda order: order != 0,
    "lt": lambda order: order < 0,
    "lte": lambda order: order <= 0,
    "gt": lambda order: order > 0,
    "gte": lambda order: order >= 0,
}


def compare(operator: Operator, left: Any, right: Any) -> bool:
    """Compare as in Watcher, by the type of the right side, which the watch's author wrote.

    With a number, a text on the left is read as a number; with a text, both are compared as texts, so that 5 is
    more than ``"10"`` and true equals ``"true"``; with a date, ISO texts and milliseconds are read as dates. Values
    that cannot be compared are neither equal, less nor greater.
    """
    order = _compare(left, right)
    return operator == "not_eq" if order is None else _HOLDS[operator](order)


def _compare(left: Any, right: Any) -> int | None:
    """Return the order of two values like LenientCompare in Watcher's source; None if they have no order."""
    if _is_same(left, right):
        return 0
    if left is None or right is None or isinstance(right, bool):
        return None
    if isinstance(right, int | float):
        number = _to_number(left)
        return None if number is None else _sign(number, float(right))
    if isinstance(right, str):
        # Java orders texts by their UTF-16 code units.
        texts = [format_java(value).encode("utf-16-be", "surrogatepass") for value in (left, right)]
        return _sign(*texts)
    if isinstance(right, datetime):
        instant = _to_instant(left)
        return None if instant is None else _sign(instant, right)
    return None


def _is_same(left: Any, right: Any) -> bool:
    """Compare like Java's ``equals``: 5 and 5.0 are not the same, nor are true and 1."""
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(_is_same, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_is_same(left[key], right[key]) for key in left)
    return type(left) is type(right) and bool(left == right)


def _sign(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def _to_number(value: Any) -> float | None:
    """Convert a value to a number, texts like Java's ``Double.valueOf``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    match = _DOUBLE.fullmatch(format_java(value))
    return float(match[1]) if match else None


def _to_instant(value: Any) -> datetime | None:
    try:
        if isinstance(value, str) and not _MILLISECONDS.fullmatch(value):
            return parse_instant(value)
        if isinstance(value, bool):
            return None
        return datetime.fromtimestamp(int(value) / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
