"""Parse and evaluate the arithmetic of a panel's numbers: ``count(failed) / count()``. Pure.

A formula is parsed with Python's own grammar, of which only numbers, ``+ - * /``, parentheses, ``sqrt`` and the
operations below are allowed. ``count`` is always a sum of ``ml.sample.weight``.

=========================  =================================================================
``count()``                predictions, or labels: the sum of their weights; other events one by one
``per_minute()``           the same for each minute of a time bucket
``documents()``            documents, whatever their weight (that have ``field``, if given): a standard error's n
``average(field)``         also ``sum``, ``min``, ``max``, ``median``, ``std``, ``unique``
``percentile(field, 95)``  a percentile
=========================  =================================================================

A last argument that is a plain name stands for a filter, which the panel's ``where`` defines.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

OF_FIELD: Final = ("average", "sum", "min", "max", "median", "std", "unique", "percentile")
OF_EVENTS: Final = ("count", "documents", "per_minute")
NUMERIC_ONLY: Final = ("average", "sum", "min", "max", "median", "std", "percentile")


class FormulaError(ValueError):
    """The text is not a formula; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One aggregation. ``where`` is the name of a filter, or empty."""

    name: str
    field: str = ""
    percentile: float = 0.0
    where: str = ""


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class Math:
    """``name`` is ``add``, ``subtract``, ``multiply``, ``divide`` or ``sqrt``: tinymath's names."""

    name: str
    arguments: tuple[Formula, ...]


Formula = Operation | Number | Math

_BINARY: Final[dict[type[ast.operator], str]] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
}
_LONGEST = 1000


def parse(text: str) -> Formula:
    """Parse a formula. Raise FormulaError."""
    if len(text) > _LONGEST:
        raise FormulaError(f"has more than {_LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormulaError(f"{text!r:.80} is not a formula: {error}") from error
    return _read(tree.body)


def operations(formula: Formula) -> Iterator[Operation]:
    """Yield the operations of a formula, from left to right, each once."""
    seen: set[Operation] = set()
    for node in _walk(formula):
        if isinstance(node, Operation) and node not in seen:
            seen.add(node)
            yield node


def value(formula: Formula, value_of: Callable[[Operation], float | None]) -> float | None:
    """Compute a formula's value; None if one of its operations has none, or a division is by zero."""
    if isinstance(formula, Number):
        return formula.value
    if isinstance(formula, Operation):
        return value_of(formula)
    arguments = [value(argument, value_of) for argument in formula.arguments]
    if any(argument is None for argument in arguments):
        return None
    numbers = [argument for argument in arguments if argument is not None]
    if formula.name == "sqrt":
        return math.sqrt(numbers[0]) if numbers[0] >= 0 else None
    left, right = numbers
    if formula.name == "divide":
        return left / right if right else None
    if formula.name == "multiply":
        return left * right
    return left + right if formula.name == "add" else left - right


def _walk(formula: Formula) -> Iterator[Formula]:
    yield formula
    if isinstance(formula, Math):
        for argument in formula.arguments:
            yield from _walk(argument)


def _read(node: ast.expr) -> Formula:
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return Math(_BINARY[type(node.op)], (_read(node.left), _read(node.right)))
    if isinstance(node, ast.Constant):
        return Number(_number(node))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        name = node.func.id
        if name == "sqrt":
            if len(node.args) != 1:
                raise FormulaError("sqrt takes one argument")
            return Math("sqrt", (_read(node.args[0]),))
        if name in OF_EVENTS or name in OF_FIELD:
            return _operation(name, node.args)
        raise FormulaError(f"{name!r:.80} is not one of {', '.join((*OF_EVENTS, *OF_FIELD, 'sqrt'))}")
    raise FormulaError(f"{ast.unparse(node)!r:.80} is neither a number, an operation nor + - * /")


def _operation(name: str, arguments: list[ast.expr]) -> Operation:
    remaining = list(arguments)
    field, percentile, where = "", 0.0, ""
    if name in OF_FIELD:
        if not remaining:
            raise FormulaError(f"{name} needs a field")
        field = ast.unparse(remaining.pop(0))
    if name == "documents" and remaining and isinstance(remaining[0], ast.Attribute):
        field = ast.unparse(remaining.pop(0))
    if name == "percentile":
        if not remaining:
            raise FormulaError(
                "percentile needs a number from 0 to 100, such as percentile(event.duration, 95)"
            )
        percentile = _number(remaining.pop(0))
        if not 0 < percentile < 100:
            raise FormulaError(f"percentile: {percentile:g} is not between 0 and 100")
    if remaining:
        last = remaining.pop(0)
        if not isinstance(last, ast.Name):
            raise FormulaError(f"{name}: {ast.unparse(last)!r:.80} is not a name of a filter")
        where = last.id
    if remaining:
        raise FormulaError(f"{name}: too many arguments")
    return Operation(name, field, percentile, where)


def _number(node: ast.expr) -> float:
    number = node.value if isinstance(node, ast.Constant) else None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise FormulaError(f"{ast.unparse(node)!r:.80} is not a number")
    return float(number)
