"""Translate Elasticsearch's query language to SQL conditions.

A condition is an SQL expression over a ``Scope``'s columns. It may be NULL where a document lacks the field, which
counts as false; negate or count a condition only through ``without_null``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final

from logging_lib._util import datemath
from logging_lib.store.duckdb import patterns
from logging_lib.store.duckdb.scope import ID, Scope, TableColumn
from logging_lib.store.mapping import FLOAT_MAX, TEXT_TYPES, WHOLE_TYPES
from logging_lib.store.port import QueryNotSupported, SearchError
from logging_lib.store.validators import (
    check_keys,
    child_path,
    expect_bool,
    expect_int,
    expect_list,
    expect_number,
    expect_object,
    expect_single_key,
    expect_string,
    unsupported_error,
)

NEVER: Final = "false"
ALWAYS: Final = "true"
_INLINE_TERMS: Final = 64  # a longer list is bound as one array


def parse_query(query: Any, scope: Scope, path: str) -> str:
    """Return the SQL condition of a query.

    Raises:
        QueryNotSupported: a part of the query is not supported here.
        SearchError: the query is wrong.
    """
    kind, part = expect_single_key(query, path)
    translate = _QUERIES.get(kind)
    if translate is None:
        raise unsupported_error(kind, path)
    return translate(part, scope, child_path(path, kind))


def without_null(sql: str) -> str:
    """Return the condition with false in place of NULL."""
    return sql if sql in (NEVER, ALWAYS) else f"coalesce({sql}, false)"


def negate(sql: str) -> str:
    return ALWAYS if sql == NEVER else NEVER if sql == ALWAYS else f"NOT {without_null(sql)}"


def all_of(conditions: list[str]) -> str:
    needed = [sql for sql in conditions if sql != ALWAYS]
    if NEVER in needed:
        return NEVER
    return " AND ".join(f"({sql})" for sql in needed) if needed else ALWAYS


def any_of(conditions: list[str]) -> str:
    possible = [sql for sql in conditions if sql != NEVER]
    if ALWAYS in possible:
        return ALWAYS
    return " OR ".join(f"({sql})" for sql in possible) if possible else NEVER


def any_value_sql(column: TableColumn, test: Callable[[str], str]) -> str:
    """Return the condition that at least one value of the field passes the test."""
    if not column.is_list:
        return test(column.sql)
    return f"len(list_filter({column.sql}, lambda v: {test('v')})) > 0"


def exists_sql(column: TableColumn) -> str:
    return any_value_sql(column, lambda value: f"{value} IS NOT NULL")


def _match_all(part: Any, scope: Scope, path: str) -> str:
    check_keys(expect_object(part, path), (), path)
    return ALWAYS


def _match_none(part: Any, scope: Scope, path: str) -> str:
    check_keys(expect_object(part, path), (), path)
    return NEVER


def _bool(part: Any, scope: Scope, path: str) -> str:
    clauses = expect_object(part, path)
    check_keys(clauses, ("must", "filter", "should", "must_not", "minimum_should_match"), path)

    def conditions(key: str) -> list[str]:
        if clauses.get(key) is None:
            return []
        here = child_path(path, key)
        if isinstance(clauses[key], Mapping):
            return [parse_query(clauses[key], scope, here)]
        return [
            parse_query(clause, scope, child_path(here, place))
            for place, clause in enumerate(expect_list(clauses[key], here))
        ]

    needed = conditions("must") + conditions("filter")
    should = conditions("should")
    forbidden = [negate(sql) for sql in conditions("must_not")]
    if clauses.get("minimum_should_match") is not None:
        least = _minimum_should_match(
            clauses["minimum_should_match"], len(should), child_path(path, "minimum_should_match")
        )
    else:
        least = 0 if needed or not should else 1
    return all_of([*needed, *forbidden, _at_least(least, should)])


def _at_least(least: int, conditions: list[str]) -> str:
    if least <= 0:
        return ALWAYS
    if least > len(conditions):
        return NEVER
    if least == 1:
        return any_of(conditions)
    return " + ".join(f"{without_null(sql)}::INTEGER" for sql in conditions) + f" >= {least}"


def _minimum_should_match(value: Any, clauses: int, path: str) -> int:
    """Return how many ``should`` clauses must match: ``2``, ``-1``, ``"75%"`` or ``"-25%"``."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,4}%", value.strip(), re.ASCII):
        percent = int(value.strip()[:-1])
        share = clauses * abs(percent) // 100
        least = share if percent >= 0 else clauses - share
    elif isinstance(value, str) and "<" in value:
        raise QueryNotSupported("conditional forms are not answered by the embedded store", path)
    else:
        number = expect_int(value, path)
        least = number if number >= 0 else clauses + number
    return max(0, least)


def _constant_score(part: Any, scope: Scope, path: str) -> str:
    entry = expect_object(part, path)
    check_keys(entry, ("filter", "boost"), path)
    if "filter" not in entry:
        raise SearchError("needs a filter", path)
    return parse_query(entry["filter"], scope, child_path(path, "filter"))


def _exists(part: Any, scope: Scope, path: str) -> str:
    entry = expect_object(part, path)
    check_keys(entry, ("field",), path)
    name = expect_string(entry.get("field"), child_path(path, "field"))
    column = scope.column(name, child_path(path, "field"))
    if column is not None:
        return exists_sql(column)
    columns = [scope.column(below, path) for below in scope.fields_below(name)]
    return any_of([exists_sql(below_column) for below_column in columns if below_column is not None])


def _ids(part: Any, scope: Scope, path: str) -> str:
    entry = expect_object(part, path)
    check_keys(entry, ("values",), path)
    here = child_path(path, "values")
    values = [_text_value(value, here) for value in expect_list(entry.get("values"), here)]
    column = scope.column(ID, path)
    assert column is not None
    return _equals_sql(column, values, scope)


def _field_options(part: Any, path: str, short: str, *options: str) -> tuple[str, Mapping[str, Any], str]:
    """Return the field's name and its options; ``{"f": 1}`` is short for ``{"f": {short: 1}}``."""
    name, value = expect_single_key(part, path)
    here = child_path(path, name)
    if not isinstance(value, Mapping):
        return name, {short: value}, here
    check_keys(expect_object(value, here), (short, *options), here)
    return name, value, here


def _term(part: Any, scope: Scope, path: str) -> str:
    name, options, here = _field_options(part, path, "value", "case_insensitive")
    column = scope.column(name, here)
    folded = expect_bool(options.get("case_insensitive", False), child_path(here, "case_insensitive"))
    return term_sql(column, options.get("value"), scope, child_path(here, "value"), folded=folded)


def term_sql(column: TableColumn | None, value: Any, scope: Scope, path: str, *, folded: bool = False) -> str:
    """Return the condition that the field has this value."""
    if value is None:
        raise SearchError("the value cannot be null", path)
    if column is None:
        return NEVER
    _refuse_text(column, "term", path)
    if folded:
        if column.type not in ("keyword", "wildcard"):
            raise SearchError(f"case_insensitive does not go with the type [{column.type}]", path)
        bound = scope.binder.bind(patterns.fold_case(_text_value(value, path)), "VARCHAR")
        return any_value_sql(column, lambda v: f"{patterns.fold_case_sql(v)} = {bound}")
    if column.type == "date":
        first = date_sql(value, scope, path, round_up=False)
        last = date_sql(value, scope, path, round_up=True)
        return any_value_sql(column, lambda v: f"{v} BETWEEN {first} AND {last}")
    return _equals_sql(column, [coerce_value(column, value, path)], scope)


def _terms(part: Any, scope: Scope, path: str) -> str:
    name, values = expect_single_key(part, path)
    here = child_path(path, name)
    if isinstance(values, Mapping):
        raise QueryNotSupported("a terms lookup is not answered by the embedded store", here)
    if not isinstance(values, (list, tuple)):
        raise SearchError("expected a list of values", here)
    column = scope.column(name, here)
    if any(value is None for value in values):
        raise SearchError("the values cannot be null", here)
    if column is None:
        return NEVER
    _refuse_text(column, "terms", here)
    if column.type == "date":
        return any_of([term_sql(column, value, scope, here) for value in values])
    return _equals_sql(
        column, [coerce_value(column, value, child_path(here, i)) for i, value in enumerate(values)], scope
    )


def compared_type(column: TableColumn, values: list[Any]) -> str:
    """Return the SQL type that holds the values of a query, which need not be values of the field's type.

    A fraction, or a number outside the type's range, equals no integer; it must not be rounded to one.
    """
    if column.type not in WHOLE_TYPES:
        return column.sql_type
    return "DOUBLE" if any(isinstance(value, float) for value in values) else "HUGEINT"


def _equals_sql(column: TableColumn, values: list[Any], scope: Scope) -> str:
    if not values:
        return NEVER
    sql_type = compared_type(column, values)
    if len(values) <= _INLINE_TERMS:
        bound = ", ".join(scope.binder.bind(value, sql_type) for value in values)
        single = len(values) == 1
        return any_value_sql(column, lambda v: f"{v} = {bound}" if single else f"{v} IN ({bound})")
    listed = scope.binder.bind(values, f"{sql_type}[]")
    if column.is_list:
        return f"list_has_any({column.sql}::{sql_type}[], {listed})"
    return f"{column.sql} IN (SELECT unnest({listed}))"


def _range(part: Any, scope: Scope, path: str) -> str:
    name, options, here = _field_options(part, path, "gt", "gte", "lt", "lte", "format", "time_zone")
    if not isinstance(part[name], Mapping):
        raise SearchError("expected an object with gt, gte, lt or lte", here)
    column = scope.column(name, here)
    if column is None:
        return NEVER
    if column.type in ("boolean", *TEXT_TYPES):
        raise QueryNotSupported(f"a range over the type [{column.type}] is not answered", here)
    for key in ("format", "time_zone"):
        if options.get(key) is not None and column.type != "date":
            raise SearchError("only for date fields", child_path(here, key))
    bounds = [
        (
            _SIGNS[key],
            range_bound_sql(column, options[key], scope, child_path(here, key), key=key, options=options),
        )
        for key in _SIGNS
        if options.get(key) is not None
    ]
    if not bounds:
        return exists_sql(column)
    return any_value_sql(column, lambda v: " AND ".join(f"{v} {sign} {value}" for sign, value in bounds))


_SIGNS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def range_bound_sql(
    column: TableColumn, value: Any, scope: Scope, path: str, *, key: str, options: Mapping[str, Any]
) -> str:
    """Return one bound of a range as an SQL value."""
    if column.type == "date":
        return date_sql(value, scope, path, round_up=key in ("gt", "lte"), options=options)
    if column.type in ("keyword", "wildcard"):
        return scope.binder.bind(_text_value(value, path), "VARCHAR")
    number = coerce_value(column, value, path)
    if column.type == "float":
        return scope.binder.bind(number, "FLOAT")
    return scope.binder.bind(number, "DOUBLE" if isinstance(number, float) else "HUGEINT")


def date_sql(
    value: Any, scope: Scope, path: str, *, round_up: bool, options: Mapping[str, Any] | None = None
) -> str:
    """Return a date or date math as an SQL value in milliseconds."""
    return scope.binder.bind(
        parse_date_millis(value, scope, path, round_up=round_up, options=options), "BIGINT"
    )


def parse_date_millis(
    value: Any, scope: Scope, path: str, *, round_up: bool = False, options: Mapping[str, Any] | None = None
) -> int:
    options = options or {}
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise SearchError(f"expected a date, not {value!r:.80}", path)
    try:
        zone = options.get("time_zone")
        pattern = options.get("format") or datemath.DEFAULT_FORMAT
        datemath.check_format(expect_string(pattern, path))
        text = value if isinstance(value, str) else format(value, "d" if isinstance(value, int) else ".0f")
        return datemath.evaluate(
            text,
            now=scope.now,
            round_up=round_up,
            zone=datemath.time_zone(expect_string(zone, path)) if zone is not None else UTC,
            pattern=pattern,
        )
    except ValueError as error:
        raise SearchError(str(error), path) from error


def coerce_value(column: TableColumn, value: Any, path: str) -> Any:
    """Coerce a query's value to the field's type; a fraction for an integer field stays a fraction."""
    if column.type == "boolean":
        if value in ("true", "false", "") or isinstance(value, bool):
            return value is True or value == "true"
        raise SearchError(f"expected true or false, not {value!r:.80}", path)
    if column.is_numeric:
        number = expect_number(value, path)
        if column.type in WHOLE_TYPES:
            if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value, re.ASCII):
                value = int(value)
            if isinstance(value, int) and abs(value) < 1 << 126:
                return value
            return int(number) if number.is_integer() and abs(number) < 1e18 else number
        if column.type == "float" and abs(number) >= FLOAT_MAX:
            raise SearchError(f"{value!r:.80} is too large for the type [float]", path)
        return number
    return _text_value(value, path)


def _text_value(value: Any, path: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    text = expect_string(value, path)
    if any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        raise SearchError("the text is not valid Unicode", path)
    return text


def _refuse_text(column: TableColumn, what: str, path: str) -> None:
    if column.type in TEXT_TYPES:
        raise QueryNotSupported(
            f"{what} on the analyzed field [{column.name}] of type [{column.type}] is not answered", path
        )


def _require_keyword(column: TableColumn, what: str, path: str) -> None:
    _refuse_text(column, what, path)
    if column.type not in ("keyword", "wildcard"):
        raise SearchError(f"[{what}] goes with keyword fields; [{column.name}] is [{column.type}]", path)


def _wildcard(part: Any, scope: Scope, path: str) -> str:
    name, options, here = _field_options(part, path, "value", "wildcard", "case_insensitive")
    key = "value" if "value" in options else "wildcard"
    pattern = _text_value(options.get(key), child_path(here, key))
    folded = expect_bool(options.get("case_insensitive", False), child_path(here, "case_insensitive"))
    column = scope.column(name, here)
    if column is None:
        return NEVER
    _require_keyword(column, "wildcard", here)
    if pattern and not pattern.strip("*"):
        return exists_sql(column)
    expression = patterns.wildcard_regex(patterns.fold_case(pattern) if folded else pattern)
    regex = scope.binder.bind(expression, "VARCHAR")
    return any_value_sql(
        column, lambda v: f"regexp_full_match({patterns.fold_case_sql(v) if folded else v}, {regex}, 's')"
    )


def _prefix(part: Any, scope: Scope, path: str) -> str:
    name, options, here = _field_options(part, path, "value", "case_insensitive")
    start = _text_value(options.get("value"), child_path(here, "value"))
    folded = expect_bool(options.get("case_insensitive", False), child_path(here, "case_insensitive"))
    column = scope.column(name, here)
    if column is None:
        return NEVER
    _require_keyword(column, "prefix", here)
    bound = scope.binder.bind(patterns.fold_case(start) if folded else start, "VARCHAR")
    return any_value_sql(
        column, lambda v: f"starts_with({patterns.fold_case_sql(v) if folded else v}, {bound})"
    )


def _match(part: Any, scope: Scope, path: str) -> str:
    name, options, here = _field_options(part, path, "query", "operator")
    operator = options.get("operator", "or")
    if not isinstance(operator, str) or operator.lower() not in ("or", "and"):
        raise SearchError("expected or / and", child_path(here, "operator"))
    column = scope.column(name, here)
    if column is not None and column.type in TEXT_TYPES:
        _refuse_text(column, "match", here)
    return term_sql(column, options.get("query"), scope, child_path(here, "query"))


_QUERIES: Final[dict[str, Callable[[Any, Scope, str], str]]] = {
    "match_all": _match_all,
    "match_none": _match_none,
    "bool": _bool,
    "constant_score": _constant_score,
    "exists": _exists,
    "ids": _ids,
    "term": _term,
    "terms": _terms,
    "range": _range,
    "wildcard": _wildcard,
    "prefix": _prefix,
    "match": _match,
}
