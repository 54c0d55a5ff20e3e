"""Write filters and formulas for Kibana: KQL, and the formula language of Lens. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from logging_lib.dashboards.formula import Formula, Math, Number, Operation
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


def kql(conditions: Filter) -> str:
    """Write a filter in Kibana's query language; empty if it has no conditions."""
    return " and ".join(_render_clause(name, condition) for name, condition in conditions.items())


def _render_clause(name: str, condition: Any) -> str:
    field = re.sub(r'([\\():<>"*{} ])', r"\\\1", name)
    if isinstance(condition, Exists):
        return f"{field} : *" if condition.exists else f"not {field} : *"
    if isinstance(condition, Not):
        return f"not {_render_clause(name, condition.not_)}"
    if isinstance(condition, Range):
        signs = {"gte": ">=", "gt": ">", "lt": "<", "lte": "<="}
        bounds = condition.model_dump(exclude_none=True)
        return " and ".join(f"{field} {signs[end]} {_quote_value(value)}" for end, value in bounds.items())
    if isinstance(condition, list):
        return f"{field} : ({' or '.join(map(_quote_value, condition))})"
    return f"{field} : {_quote_value(condition)}"


def _quote_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _format_exactly(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f'"{escaped}"'


def _format_exactly(number: float) -> str:
    """Write a number with all its digits and without an exponent, which the formulas of Lens do not know."""
    return f"{Decimal(repr(number)).normalize():f}"


def lens_formula(formula: Formula, panel: Panel) -> str:
    """Write a formula in the language of Lens."""
    return _render_formula(formula, panel, top=True)


def _render_formula(formula: Formula, panel: Panel, *, top: bool = False) -> str:
    if isinstance(formula, Number):
        return _format_exactly(formula.value)
    if isinstance(formula, Operation):
        return _render_call(formula, panel.where, weighted=panel.weighted)
    parts = [_render_formula(argument, panel) for argument in formula.arguments]
    if formula.name == "sqrt":
        return f"sqrt({parts[0]})"
    joined = f" {_SIGNS[formula.name]} ".join(parts)
    return joined if top else f"({joined})"


def _render_call(operation: Operation, where: Mapping[str, Filter], *, weighted: bool) -> str:
    if operation.name in ("count", "per_minute") and weighted:
        name, arguments = "sum", [_quote_field(WEIGHT)]
    elif operation.name in ("count", "documents", "per_minute"):
        name, arguments = "count", [_quote_field(operation.field)] if operation.field else []
    else:
        name, arguments = LENS[operation.name], [_quote_field(operation.field)]
    if operation.name == "percentile":
        arguments.append(f"percentile={_format_exactly(operation.percentile)}")
    if operation.where:
        query = kql(where[operation.where]).replace("\\", "\\\\").replace("'", "\\'")
        arguments.append(f"kql='{query}'")
    return f"{name}({', '.join(arguments)})"


def _quote_field(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def tinymath(formula: Formula, column_of: Mapping[Operation, str], panel: Panel) -> Any:
    """Build the tree of a ``math`` column: operations are the ids of their columns."""
    if isinstance(formula, Number):
        return int(formula.value) if formula.value.is_integer() else formula.value
    if isinstance(formula, Operation):
        return column_of[formula]
    assert isinstance(formula, Math)
    text = _render_formula(formula, panel, top=True)
    return {
        "type": "function",
        "name": formula.name,
        "args": [tinymath(argument, column_of, panel) for argument in formula.arguments],
        "location": {"min": 0, "max": len(text)},
        "text": text,
    }
