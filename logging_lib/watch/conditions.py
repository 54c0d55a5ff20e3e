"""Evaluate Watcher's conditions: always, never, compare, array_compare. Pure: the time is in the context."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from logging_lib._util.times import parse_instant, resolve_date_math
from logging_lib.watch.model import Condition, Operator

DATE_MATH = re.compile(r"<\{(.*)\}>")
REFERENCE = re.compile(r"\{\{(.*)\}\}")


class ConditionError(ValueError):
    """Report a condition that cannot be evaluated on a payload."""


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
        context: ``{"ctx": {...}}``; ``ctx.execution_time`` is what ``now`` means in ``<{now-5m}>``.

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
    if items is None:
        return False
    if not isinstance(items, list | tuple):
        raise ConditionError(f"array_compare: {path} is no array but {type(items).__name__}")
    operand = _resolve_operand(value, context)
    # Watcher: over an empty array the comparison is false, whichever the quantifier.
    results = [compare(operator, resolve_path(inner, item) if inner else item, operand) for item in items]
    return bool(results) and (all(results) if quantifier == "all" else any(results))


def _resolve_operand(value: Any, context: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        if match := DATE_MATH.fullmatch(value):
            return resolve_date_math(match[1], parse_instant(context["ctx"]["execution_time"]))
        if match := REFERENCE.fullmatch(value):
            return resolve_path(match[1].strip(), context)
    return value


def compare(operator: Operator, left: Any, right: Any) -> bool:
    """Compare leniently, as Watcher does: ``"5"`` with 5 as numbers, dates with ISO strings.

    What cannot be compared is neither equal, less nor greater.
    """
    order = _order(left, right)
    if operator == "eq":
        return order == 0
    if operator == "not_eq":
        return order != 0
    if order is None:
        return False
    return {"lt": order < 0, "lte": order <= 0, "gt": order > 0, "gte": order >= 0}[operator]


def _order(left: Any, right: Any) -> int | None:
    if left is None or right is None:
        return 0 if left is right else None
    if isinstance(left, bool) or isinstance(right, bool):
        return 0 if left is right else None
    try:
        if isinstance(left, datetime) or isinstance(right, datetime):
            left, right = _to_instant(left), _to_instant(right)
        elif isinstance(left, int | float) or isinstance(right, int | float):
            left, right = float(left), float(right)
        elif not (isinstance(left, str) and isinstance(right, str)):
            return 0 if left == right else None
    except (TypeError, ValueError, OverflowError):
        return None
    if left == right:
        return 0
    if left < right:
        return -1
    return 1 if left > right else None


def _to_instant(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value / 1000, UTC)
    return parse_instant(value)
