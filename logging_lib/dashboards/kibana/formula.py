"""Filters and formulas as Kibana writes them: KQL, and the formula language of Lens. Pure."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from logging_lib.dashboards.spec import Exists, Filter, Not, Panel, Range

_PLAIN = re.compile(r"[\w.@-]+")
_SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
LENS = {
    "average": "average",
    "sum": "sum",
    "min": "min",
    "max": "max",
    "median": "median",
    "std": "standard_deviation",
    "unique": "unique_count",
    "percentile": "percentile",
}
WEIGHT = "ml.sample.weight"


def kql(given: Filter) -> str:
    """A filter in Kibana's query language; empty where it asks nothing."""
    return " and ".join(_clause(name, wanted) for name, wanted in given.items())


def _clause(name: str, wanted: Any) -> str:
    field = re.sub(r'([\\():<>"*{} ])', r"\\\1", name)
    if isinstance(wanted, Exists):
        return f"{field} : *" if wanted.exists else f"not {field} : *"
    if isinstance(wanted, Not):
        return f"not {_clause(name, wanted.not_)}"
    if isinstance(wanted, Range):
        signs = {"gte": ">=", "gt": ">", "lt": "<", "lte": "<="}
        bounds = wanted.model_dump(exclude_none=True)
        return " and ".join(f"{field} {signs[end]} {value:g}" for end, value in bounds.items())
    if isinstance(wanted, list):
        return f"{field} : ({' or '.join(map(_value, wanted))})"
    return f"{field} : {_value(wanted)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f'"{escaped}"'


def lens_formula(formula: Formula, panel: Panel) -> str:
    """A formula in the language of Lens."""
    return _text(formula, panel, top=True)


def _text(formula: Formula, panel: Panel, *, top: bool = False) -> str:
    if isinstance(formula, Number):
        return f"{formula.value:g}"
    if isinstance(formula, Operation):
        return _call(formula, panel.where, weighted=panel.weighted)
    parts = [_text(one, panel) for one in formula.arguments]
    if formula.name == "sqrt":
        return f"sqrt({parts[0]})"
    joined = f" {_SIGNS[formula.name]} ".join(parts)
    return joined if top else f"({joined})"


def _call(one: Operation, where: Mapping[str, Filter], *, weighted: bool) -> str:
    if one.name in ("count", "per_minute") and weighted:
        name, arguments = "sum", [_field(WEIGHT)]
    elif one.name in ("count", "documents", "per_minute"):
        name, arguments = "count", [_field(one.field)] if one.field else []
    else:
        name, arguments = LENS[one.name], [_field(one.field)]
    if one.name == "percentile":
        arguments.append(f"percentile={one.percentile:g}")
    if one.where:
        query = kql(where[one.where]).replace("\\", "\\\\").replace("'", "\\'")
        arguments.append(f"kql='{query}'")
    return f"{name}({', '.join(arguments)})"


def _field(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def tinymath(formula: Formula, column_of: Mapping[Operation, str], panel: Panel) -> Any:
    """The tree that a ``math`` column holds: operations are the ids of their columns."""
    if isinstance(formula, Number):
        return int(formula.value) if formula.value.is_integer() else formula.value
    if isinstance(formula, Operation):
        return column_of[formula]
    assert isinstance(formula, Math)
    text = _text(formula, panel, top=True)
    return {
        "type": "function",
        "name": formula.name,
        "args": [tinymath(one, column_of, panel) for one in formula.arguments],
        "location": {"min": 0, "max": len(text)},
        "text": text,
    }


OF_FIELD: Final = ("average", "sum", "min", "max", "median", "std", "unique", "percentile")
OF_EVENTS: Final = ("count", "documents", "per_minute")
NUMERIC_ONLY: Final = ("average", "sum", "min", "max", "median", "std", "percentile")


class FormulaError(ValueError):
    """The text is no formula; the message says where and why."""


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
    """Read a formula. Raises FormulaError."""
    if len(text) > _LONGEST:
        raise FormulaError(f"has more than {_LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormulaError(f"{text!r:.80} is no formula: {error}") from error
    return _read(tree.body)


def operations(formula: Formula) -> Iterator[Operation]:
    """The operations in it, from left to right, each once."""
    seen: set[Operation] = set()
    for one in _walk(formula):
        if isinstance(one, Operation) and one not in seen:
            seen.add(one)
            yield one


def value(formula: Formula, of: Callable[[Operation], float | None]) -> float | None:
    """Its value; None where one of its operations has none, or a division is by zero."""
    if isinstance(formula, Number):
        return formula.value
    if isinstance(formula, Operation):
        return of(formula)
    arguments = [value(one, of) for one in formula.arguments]
    if any(one is None for one in arguments):
        return None
    numbers = [one for one in arguments if one is not None]
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
        for one in formula.arguments:
            yield from _walk(one)


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
        raise FormulaError(f"{name!r:.80} is none of {', '.join((*OF_EVENTS, *OF_FIELD, 'sqrt'))}")
    raise FormulaError(f"{ast.unparse(node)!r:.80} is neither a number, an operation nor + - * /")


def _operation(name: str, arguments: list[ast.expr]) -> Operation:
    rest = list(arguments)
    field, percentile, where = "", 0.0, ""
    if name in OF_FIELD:
        if not rest:
            raise FormulaError(f"{name} needs a field")
        field = ast.unparse(rest.pop(0))
    if name == "documents" and rest and isinstance(rest[0], ast.Attribute):
        field = ast.unparse(rest.pop(0))
    if name == "percentile":
        if not rest:
            raise FormulaError(
                "percentile needs a number from 0 to 100, such as percentile(event.duration, 95)"
            )
        percentile = _number(rest.pop(0))
        if not 0 < percentile < 100:
            raise FormulaError(f"percentile: {percentile:g} is not between 0 and 100")
    if rest:
        last = rest.pop(0)
        if not isinstance(last, ast.Name):
            raise FormulaError(f"{name}: {ast.unparse(last)!r:.80} is no name of a filter")
        where = last.id
    if rest:
        raise FormulaError(f"{name}: too many arguments")
    return Operation(name, field, percentile, where)


def _number(node: ast.expr) -> float:
    found = node.value if isinstance(node, ast.Constant) else None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise FormulaError(f"{ast.unparse(node)!r:.80} is no number")
    return float(found)
