"""Compute metric aggregations: the SQL aggregates that each one needs, and its answer from their values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from logging_lib._util import datemath
from logging_lib.store.duckdb.query import coerce_value, parse_date_millis
from logging_lib.store.duckdb.scope import Scope, TableColumn
from logging_lib.store.mapping import TEXT_TYPES, WHOLE_TYPES, is_canonical
from logging_lib.store.port import QueryNotSupported, SearchError
from logging_lib.store.validators import (
    check_keys,
    child_path,
    expect_bool,
    expect_list,
    expect_number,
    expect_object,
    expect_string,
)

Values = Sequence[Any]


@dataclass(frozen=True, slots=True)
class MetricAggregation:
    """One metric aggregation over a field.

    ``value`` is the SQL of one of the field's values, NULL if there is none; ``needs_unnest`` says that the field
    holds lists (then ``value`` refers to the column ``v``).
    """

    kind: str
    column: TableColumn | None
    value: str
    percents: tuple[float, ...] = ()
    keyed: bool = True
    sigma: float = 2.0
    pattern: str = datemath.DEFAULT_FORMAT
    missing_sql: str | None = None

    @property
    def needs_unnest(self) -> bool:
        return self.column is not None and self.column.is_list

    def values_list_sql(self) -> str:
        """Return the SQL of a row's list of values, which is used with ``needs_unnest``."""
        assert self.column is not None
        if self.missing_sql is None:
            return self.column.sql
        return f"CASE WHEN len({self.column.sql}) > 0 THEN {self.column.sql} ELSE [{self.missing_sql}] END"

    def number_sql(self) -> str:
        """Return the SQL of one of the field's values as a number."""
        is_boolean = self.column is not None and self.column.type == "boolean"
        return f"({self.value})::INT::DOUBLE" if is_boolean else f"({self.value})::DOUBLE"

    def expressions(self) -> list[str]:
        """Return the SQL aggregates whose values are passed to ``answer``."""
        v, number = self.value, self.number_sql()
        if self.kind in ("percentiles", "percentile_ranks"):
            if self.kind == "percentile_ranks":
                return [f"list({number}) FILTER ({v} IS NOT NULL)"]
            shares = ", ".join(repr(percent / 100) for percent in self.percents)
            return [f"quantile_cont({number}, [{shares}]::DOUBLE[])"]
        return {
            "value_count": [f"count({v})"],
            "cardinality": [f"count(DISTINCT {v})"],
            "sum": [f"fsum({number})"],
            "min": [f"min({number})"],
            "max": [f"max({number})"],
            "avg": [f"count({v})", f"fsum({number})"],
            "stats": [f"count({v})", f"min({number})", f"max({number})", f"fsum({number})"],
            "extended_stats": [
                f"count({v})", f"min({number})", f"max({number})", f"fsum({number})",
                f"fsum({number} * {number})",
            ],
        }[self.kind]  # fmt: skip

    @property
    def is_mergeable(self) -> bool:
        """Return whether the values of two sets of documents determine the values of their union."""
        return self.kind not in ("cardinality", "percentiles", "percentile_ranks")

    def merge(self, first: Values, second: Values) -> Values:
        if self.kind == "sum":
            return (_add(first[0], second[0]),)
        return tuple(
            _MERGE[how](a, b) for how, a, b in zip(_MERGE_STEPS[self.kind], first, second, strict=True)
        )

    def answer(self, values: Values | None) -> dict[str, Any]:
        """Return the aggregation's answer; ``values`` is None if the bucket has no documents."""
        if values is not None and self.kind in (
            "sum",
            "min",
            "max",
        ):  # the most frequent case gets a fast path
            value = values[0]
            if value is not None and self.column is not None and self.column.type == "date":
                return {"value": value, "value_as_string": self._text(value)}
            if value is not None and self.column is not None and self.column.type != "boolean":
                return {"value": value}
        numbers = self.numbers(values)
        if self.kind in ("percentiles", "percentile_ranks"):
            return self._percentiles(numbers)
        if self.kind == "extended_stats":
            return self._extended(numbers)
        if self.column is None or self.column.type not in ("date", "boolean"):
            return numbers
        return numbers if self.kind in _ANY_TYPE else self._with_text(numbers)

    def numbers(self, values: Values | None) -> dict[str, Any]:
        """Return the answer's numbers by name, None for a missing one; ordering uses them, too."""
        if self.kind in ("sum", "min", "max"):
            value = values[0] if values else None
            return {"value": 0.0 if value is None and self.kind == "sum" else value}
        if self.kind in ("value_count", "cardinality"):
            return {"value": values[0] if values else 0}
        if self.kind in ("percentiles", "percentile_ranks"):
            listed = values[0] if values else None
            if self.kind == "percentile_ranks":
                return {str(at): _percentile_rank(listed, at) for at in self.percents}
            return {str(at): listed[i] if listed else None for i, at in enumerate(self.percents)}
        count = values[0] if values else 0
        if self.kind == "avg":
            return {"value": values[1] / count if values and count else None}
        if not values or not count:
            return {"count": 0, "min": None, "max": None, "avg": None, "sum": 0.0}
        statistics = {
            "count": count,
            "min": values[1],
            "max": values[2],
            "avg": values[3] / count,
            "sum": values[3],
        }
        return (
            statistics | _spread_statistics(count, values[3], values[4], self.sigma)
            if len(values) > 4
            else statistics
        )

    def order_value(self, values: Values | None, name: str) -> float:
        """Return the number that orders ``terms`` buckets; a missing one is infinite (negative for ``max``)."""
        value = self.numbers(values).get(name or "value")
        if value is None or value == "NaN":
            return -math.inf if (name or self.kind) == "max" else math.inf
        return float(value)

    def _with_text(self, numbers: dict[str, Any]) -> dict[str, Any]:
        if numbers.get("count") == 0:
            return numbers
        texts: dict[str, Any] = {
            f"{name}_as_string": self._text(value)
            for name, value in numbers.items()
            if value is not None and name != "count"
        }
        if self.kind == "stats" and self.column is not None and self.column.type == "boolean":
            texts = {name: text == "true" for name, text in texts.items()}  # Elasticsearch does the same
        return numbers | texts

    def _text(self, value: float) -> str:
        if self.column is not None and self.column.type == "boolean":
            return "true" if value else "false"
        return datemath.render(math.floor(value), self.pattern)

    def _percentiles(self, numbers: dict[str, Any]) -> dict[str, Any]:
        typed = self.column is not None and self.column.type in ("date", "boolean")
        dated = typed and self.kind == "percentiles"
        if not self.keyed:
            listed = []
            for name, value in numbers.items():
                entry = {"key": float(name), "value": value}
                if dated and value is not None:
                    entry["value_as_string"] = self._text(value)
                listed.append(entry)
            return {"values": listed}
        answer: dict[str, Any] = {}
        for name, value in numbers.items():
            answer[name] = value
            if dated and value is not None:
                answer[f"{name}_as_string"] = self._text(value)
        return {"values": answer}

    def _extended(self, numbers: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {name: numbers[name] for name in ("count", "min", "max", "avg", "sum")}
        for name in _SPREAD_NAMES:
            answer[name] = numbers.get(name)
        answer["std_deviation_bounds"] = {name: numbers.get(f"bounds.{name}") for name in _BOUNDS}
        return answer


def _add(first: Any, second: Any) -> Any:
    return second if first is None else first if second is None else first + second


def _lesser(first: Any, second: Any) -> Any:
    return second if first is None else first if second is None else min(first, second)


def _greater(first: Any, second: Any) -> Any:
    return second if first is None else first if second is None else max(first, second)


_MERGE: Final = {"+": _add, "<": _lesser, ">": _greater}
_MERGE_STEPS: Final = {  # how the values of `expressions` are merged
    "value_count": "+",
    "sum": "+",
    "min": "<",
    "max": ">",
    "avg": "++",
    "stats": "+<>+",
    "extended_stats": "+<>++",
}
_SPREAD_NAMES: Final = (
    "sum_of_squares", "variance", "variance_population", "variance_sampling",
    "std_deviation", "std_deviation_population", "std_deviation_sampling",
)  # fmt: skip
_BOUNDS: Final = (
    "upper", "lower", "upper_population", "lower_population", "upper_sampling", "lower_sampling",
)  # fmt: skip


def _spread_statistics(count: int, total: float, squares: float, sigma: float) -> dict[str, Any]:
    """Compute variances and bounds as Elasticsearch's ``InternalExtendedStats`` does."""
    mean = total / count
    population = max(0.0, (squares - total * total / count) / count)
    sampling = max(0.0, (squares - total * total / count) / (count - 1)) if count > 1 else None
    deviation, sampled = math.sqrt(population), math.sqrt(sampling) if sampling is not None else None
    statistics: dict[str, Any] = {
        "sum_of_squares": squares,
        "variance": population,
        "variance_population": population,
        "variance_sampling": sampling if sampling is not None else "NaN",
        "std_deviation": deviation,
        "std_deviation_population": deviation,
        "std_deviation_sampling": sampled if sampled is not None else "NaN",
    }
    for suffix, spread in (("", deviation), ("_population", deviation), ("_sampling", sampled)):
        statistics[f"bounds.upper{suffix}"] = mean + sigma * spread if spread is not None else "NaN"
        statistics[f"bounds.lower{suffix}"] = mean - sigma * spread if spread is not None else "NaN"
    return statistics


def _percentile_rank(values: Sequence[float] | None, at: float) -> float | None:
    """Return the percentage of values at or below ``at``."""
    return 100.0 * sum(value <= at for value in values) / len(values) if values else None


_ANY_TYPE: Final = frozenset({"value_count", "cardinality"})
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "value_count": ("field", "missing"),
    "cardinality": ("field", "missing", "precision_threshold", "execution_hint"),
    "sum": ("field", "missing", "format"),
    "min": ("field", "missing", "format"),
    "max": ("field", "missing", "format"),
    "avg": ("field", "missing", "format"),
    "stats": ("field", "missing", "format"),
    "extended_stats": ("field", "missing", "format", "sigma"),
    "percentiles": ("field", "missing", "format", "percents", "keyed", "tdigest"),
    "percentile_ranks": ("field", "missing", "format", "values", "keyed", "tdigest"),
}
KINDS: Final = frozenset(_OPTIONS)
_DEFAULT_PERCENTS: Final = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)


def parse_metric(kind: str, part: Any, scope: Scope, path: str) -> MetricAggregation:
    """Parse a metric aggregation. Raises QueryNotSupported and SearchError."""
    options = expect_object(part, path)
    check_keys(options, _OPTIONS[kind], path)
    if options.get("field") is None:
        raise SearchError("needs a field", path)
    here = child_path(path, "field")
    column = scope.column(expect_string(options["field"], here), here)
    if column is not None:
        check_aggregatable(column, here)
        if kind not in _ANY_TYPE and not column.is_numeric and column.type not in ("date", "boolean"):
            raise SearchError(
                f"field [{column.name}] of type [{column.type}] is not supported for aggregation [{kind}]",
                here,
            )
        if kind == "extended_stats" and not column.is_numeric:
            raise QueryNotSupported("extended_stats is answered for numbers only", here)
    pattern = datemath.DEFAULT_FORMAT
    if options.get("format") is not None:
        pattern = parse_date_format(options["format"], column, child_path(path, "format"))
    if kind == "percentile_ranks":
        percents = _parse_numbers(options.get("values"), child_path(path, "values"))
    elif options.get("percents") is not None:
        percents = _parse_numbers(options["percents"], child_path(path, "percents"))
        if any(not 0 <= percent <= 100 for percent in percents):
            raise SearchError("expected numbers from 0 to 100", child_path(path, "percents"))
    else:
        percents = _DEFAULT_PERCENTS
    filler = _missing_sql(column, options.get("missing"), scope, child_path(path, "missing"))
    return MetricAggregation(
        kind,
        column,
        _value_sql(column, filler),
        missing_sql=filler,
        percents=percents,
        keyed=expect_bool(options.get("keyed", True), child_path(path, "keyed")),
        sigma=expect_number(options.get("sigma", 2.0), child_path(path, "sigma")),
        pattern=pattern,
    )


def _parse_numbers(value: Any, path: str) -> tuple[float, ...]:
    numbers = tuple(
        expect_number(number, child_path(path, i)) for i, number in enumerate(expect_list(value, path))
    )
    if not numbers:
        raise SearchError("expected at least one number", path)
    return tuple(dict.fromkeys(sorted(numbers)))


def _value_sql(column: TableColumn | None, filler: str | None) -> str:
    if column is None:
        return filler or "NULL::DOUBLE"
    if column.is_list:
        return "v"
    return column.sql if filler is None else f"coalesce({column.sql}, {filler})"


def _missing_sql(column: TableColumn | None, missing: Any, scope: Scope, path: str) -> str | None:
    if missing is None:
        return None
    if column is None:
        return scope.binder.bind(expect_number(missing, path), "DOUBLE")
    return missing_value_sql(column, missing, scope, path)


def missing_value_sql(column: TableColumn, missing: Any, scope: Scope, path: str) -> str:
    """Return the value of a ``missing`` option as an SQL value of the field's type."""
    if column.type == "date":
        return scope.binder.bind(parse_date_millis(missing, scope, path), "BIGINT")
    value = coerce_value(column, missing, path)
    if column.type in WHOLE_TYPES and not is_canonical(value, column.type):
        raise SearchError(f"{missing!r:.80} is not a value of the type [{column.type}]", path)
    return scope.binder.bind(value, column.sql_type)


def check_aggregatable(column: TableColumn, path: str) -> None:
    if column.type in TEXT_TYPES:
        raise SearchError(
            f"field [{column.name}] of type [{column.type}] cannot be aggregated or sorted on", path
        )
    if column.name == "_id":
        raise SearchError("field [_id] cannot be aggregated or sorted on: use event.id", path)


def parse_date_format(value: Any, column: TableColumn | None, path: str) -> str:
    """Return the ``format`` option, which only dates support here."""

    if column is not None and column.type != "date":
        raise QueryNotSupported("a number format is not answered by the embedded store", path)
    pattern = expect_string(value, path)
    try:
        datemath.check_format(pattern)
    except ValueError as error:
        raise QueryNotSupported(str(error), path) from error
    return pattern
