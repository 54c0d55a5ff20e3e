"""Reading the options of bucket aggregations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from logging_lib._util import datemath
from logging_lib.store.duckdb import patterns
from logging_lib.store.duckdb.buckets import (
    Bucketing,  # fmt: skip
    DateHistogram,
    Filters,
    Histogram,
    Order,
    Ranges,
    Single,
    Terms,
)
from logging_lib.store.duckdb.metrics import check_aggregatable, date_format, missing_value
from logging_lib.store.duckdb.query import (
    ALWAYS,
    any_of,
    any_value,
    condition,
    date_millis,
    exists,
    negated,
    sure,
    typed,
)
from logging_lib.store.duckdb.scope import Column, Scope
from logging_lib.store.port import QueryNotSupported, SearchError
from logging_lib.store.validators import (
    a_bool,  # fmt: skip
    a_list,
    a_number,
    a_string,
    an_int,
    an_object,
    child,
    known,
    only_entry,
)

_NO_EFFECT: Final = ("shard_size", "execution_hint", "collect_mode", "show_term_doc_count_error")
_CALENDAR: Final = {
    "minute": "m", "1m": "m", "hour": "h", "1h": "h", "day": "d", "1d": "d", "week": "w", "1w": "w",
    "month": "M", "1M": "M", "quarter": "q", "1q": "q", "year": "y", "1y": "y",
}  # fmt: skip
_EXACT: Final = {"m": 60_000, "h": 3_600_000}


def _column(options: Mapping[str, Any], scope: Scope, path: str) -> Column | None:
    here = child(path, "field")
    if options.get("field") is None:
        raise SearchError("needs a field", path)
    column = scope.column(a_string(options["field"], here), here)
    if column is not None:
        check_aggregatable(column, here)
    return column


def _filter(part: Any, scope: Scope, path: str, orders: list[Order]) -> Bucketing:
    return Single(condition(part, scope, path))


def _missing(part: Any, scope: Scope, path: str, orders: list[Order]) -> Bucketing:
    options = an_object(part, path)
    known(options, ("field",), path)
    column = _column(options, scope, path)
    return Single(ALWAYS if column is None else negated(exists(column)))


def _filters(part: Any, scope: Scope, path: str, orders: list[Order]) -> Bucketing:
    options = an_object(part, path)
    known(options, ("filters", "other_bucket", "other_bucket_key", "keyed"), path)
    here = child(path, "filters")
    filters = options.get("filters")
    other_key = options.get("other_bucket_key")
    other = a_bool(options.get("other_bucket", other_key is not None), child(path, "other_bucket"))
    names: list[str] | None = None
    if isinstance(filters, Mapping):
        # Elasticsearch sorts named filters by their names.
        names = sorted(an_object(filters, here))
        conditions = [condition(filters[name], scope, child(here, name)) for name in names]
        if other:
            names.append(a_string(other_key or "_other_", child(path, "other_bucket_key")))
    elif isinstance(filters, (list, tuple)):
        conditions = [condition(one, scope, child(here, i)) for i, one in enumerate(filters)]
    else:
        raise SearchError("expected an object or a list of filters", here)
    if not conditions:
        raise SearchError("needs at least one filter", here)
    if other:
        conditions.append(negated(any_of([sure(one) for one in conditions])))
    return Filters(conditions, names, as_list=not a_bool(options.get("keyed", True), child(path, "keyed")))


def _order(options: Mapping[str, Any], default: list[Order], path: str) -> list[Order]:
    if options.get("order") is None:
        return default
    here = child(path, "order")
    result = []
    for place, one in enumerate(a_list(options["order"], here)):
        by, direction = only_entry(one, child(here, place) if isinstance(options["order"], list) else here)
        if direction not in ("asc", "desc"):
            raise SearchError(f"expected asc or desc, not {direction!r:.80}", child(here, by))
        result.append(Order("_key" if by == "_term" else by, direction == "asc"))
    return result


def _terms(part: Any, scope: Scope, path: str, orders: list[Order]) -> Bucketing:
    options = an_object(part, path)
    known(
        options,
        ("field", "size", "order", "missing", "include", "exclude", "min_doc_count", "format", *_NO_EFFECT),
        path,
    )
    column = _column(options, scope, path)
    orders += _order(options, [Order("_count", False)], path)
    least = an_int(options.get("min_doc_count", 1), child(path, "min_doc_count"), least=0)
    if least == 0:
        raise QueryNotSupported(
            "buckets without documents are not answered by the embedded store", child(path, "min_doc_count")
        )
    missing, kind = None, column.type if column else "keyword"
    if options.get("missing") is not None:
        missing, kind = _terms_missing(column, options["missing"], scope, child(path, "missing"))
    pattern = datemath.DEFAULT_FORMAT
    if options.get("format") is not None:
        pattern = date_format(options["format"], column, child(path, "format"))
    return Terms(
        column,
        missing,
        kind,
        size=an_int(options.get("size", 10), child(path, "size"), least=1),
        orders=orders,
        conditions=_selection(options, column, kind, scope, path),
        min_doc_count=least,
        pattern=pattern,
    )


def _terms_missing(column: Column | None, value: Any, scope: Scope, path: str) -> tuple[str, str]:
    if column is not None:
        return missing_value(column, value, scope, path), column.type
    if isinstance(value, str):
        return scope.binder.bind(value, "VARCHAR"), "keyword"
    if isinstance(value, int) and not isinstance(value, bool):
        return scope.binder.bind(value, "BIGINT"), "long"
    return scope.binder.bind(a_number(value, path), "DOUBLE"), "double"


def _selection(
    options: Mapping[str, Any], column: Column | None, kind: str, scope: Scope, path: str
) -> Callable[[str], list[str]]:
    """``include`` and ``exclude`` as conditions on the key column."""
    tests: list[str] = []
    for name in ("include", "exclude"):
        value = options.get(name)
        if value is None:
            continue
        here = child(path, name)
        if isinstance(value, Mapping):
            raise QueryNotSupported("partitions are not answered by the embedded store", here)
        if isinstance(value, str):
            if kind not in ("keyword", "wildcard"):
                raise SearchError(f"an expression does not go with the type [{kind}]", here)
            try:
                expression = patterns.lucene_regex(value)
                re.compile(re.sub(r"\\x\{[0-9a-f]+\}", "x", expression))
            except (ValueError, re.error) as error:
                raise QueryNotSupported(f"{value!r:.80}: {error}", here) from error
            prefix = patterns.prefix(value)
            if prefix is not None:  # the same, several times as fast
                test = f"starts_with(@, {scope.binder.bind(prefix, 'VARCHAR')})"
            else:
                test = f"regexp_full_match(@, {scope.binder.bind(expression, 'VARCHAR')}, 's')"
        else:
            listed = a_list(value, here)
            values: list[Any]
            if column is None:
                values, sql_type = [str(one) for one in listed], "VARCHAR"
            elif column.type == "date":
                values, sql_type = [date_millis(one, scope, here) for one in listed], "BIGINT"
            else:
                values, sql_type = [typed(column, one, here) for one in listed], column.sql_type
            test = f"list_contains({scope.binder.bind(values, sql_type + '[]')}, @)"
        tests.append(f"NOT {test}" if name == "exclude" else test)
    return lambda key: [test.replace("@", key) for test in tests]


def _histogram(part: Any, scope: Scope, path: str, orders: list[Order]) -> Bucketing:
    options = an_object(part, path)
    allowed = ("field", "interval", "offset", "order", "min_doc_count", "extended_bounds", "missing", "keyed")
    known(options, allowed, path)
    column = _column(options, scope, path)
    if column is not None and not column.numeric and column.type != "boolean":
        raise SearchError(f"[histogram] does not go with the type [{column.type}]", child(path, "field"))
    interval = a_number(options.get("interval"), child(path, "interval"))
    if not 0 < interval < float("inf"):
        raise SearchError("expected a number above 0", child(path, "interval"))
    orders += _order(options, [Order("_key", True)], path)
    bounds = None
    if options.get("extended_bounds") is not None:
        here = child(path, "extended_bounds")
        given = an_object(options["extended_bounds"], here)
        known(given, ("min", "max"), here)
        bounds = (
            a_number(given.get("min"), child(here, "min")),
            a_number(given.get("max"), child(here, "max")),
        )
        _in_order(bounds, here)
    return Histogram(
        column,
        interval,
        a_number(options.get("offset", 0), child(path, "offset")),
        orders,
        min_doc_count=an_int(options.get("min_doc_count", 0), child(path, "min_doc_count"), least=0),
        bounds=bounds,
        missing=_histogram_missing(column, options, scope, path),
        as_list=not a_bool(options.get("keyed", False), child(path, "keyed")),
    )


def _in_order(bounds: tuple[Any, Any], path: str) -> None:
    if None not in bounds and bounds[0] > bounds[1]:
        raise SearchError("min is greater than max", path)


def _histogram_missing(
    column: Column | None, options: Mapping[str, Any], scope: Scope, path: str
) -> str | None:
    if options.get("missing") is None or column is None:
        return None
    return missing_value(column, options["missing"], scope, child(path, "missing"))


def _date_histogram(part: Any, scope: Scope, path: str, orders: list[Order]) -> Bucketing:
    options = an_object(part, path)
    known(
        options,
        (
            *("field", "fixed_interval", "calendar_interval", "offset", "order", "min_doc_count", "keyed"),
            *("extended_bounds", "missing", "format", "time_zone"),
        ),
        path,
    )
    column = _column(options, scope, path)
    if column is not None and column.type != "date":
        raise SearchError(f"[date_histogram] does not go with the type [{column.type}]", child(path, "field"))
    orders += _order(options, [Order("_key", True)], path)
    interval, unit = _interval(options, path)
    zone: tzinfo = UTC
    zone_sql: str | None = None
    if options.get("time_zone") is not None:
        here = child(path, "time_zone")
        try:
            zone = datemath.time_zone(a_string(options["time_zone"], here))
        except ValueError as error:
            raise SearchError(str(error), here) from error
        if isinstance(zone, ZoneInfo):
            zone_sql = scope.binder.bind(str(zone), "VARCHAR")
            if not unit and 3_600_000 % interval:
                raise QueryNotSupported(
                    "a fixed_interval above an hour in a time zone with changing offsets", here
                )
    bounds = None
    if options.get("extended_bounds") is not None:
        here = child(path, "extended_bounds")
        given = an_object(options["extended_bounds"], here)
        known(given, ("min", "max"), here)
        ends = [
            None
            if given.get(end) is None
            else date_millis(given[end], scope, child(here, end), options=options)
            for end in ("min", "max")
        ]
        bounds = (ends[0], ends[1])
        _in_order(bounds, here)
    pattern = datemath.DEFAULT_FORMAT
    if options.get("format") is not None:
        pattern = date_format(options["format"], column, child(path, "format"))
    offset = 0
    if options.get("offset") is not None:
        offset = _millis(options["offset"], child(path, "offset"))
    return DateHistogram(
        column,
        interval,
        unit,
        offset,
        zone,
        zone_sql,
        orders,
        min_doc_count=an_int(options.get("min_doc_count", 0), child(path, "min_doc_count"), least=0),
        bounds=bounds,
        missing=_histogram_missing(column, options, scope, path),
        pattern=pattern,
        as_list=not a_bool(options.get("keyed", False), child(path, "keyed")),
    )


def _interval(options: Mapping[str, Any], path: str) -> tuple[int, str]:
    given = [key for key in ("fixed_interval", "calendar_interval") if options.get(key) is not None]
    if len(given) != 1:
        raise SearchError("needs either fixed_interval or calendar_interval", path)
    here = child(path, given[0])
    text = a_string(options[given[0]], here)
    if given[0] == "calendar_interval":
        unit = _CALENDAR.get(text)
        if unit is None:
            raise SearchError(f"{text!r:.80} is none of {sorted(_CALENDAR)}", here)
        return _EXACT.get(unit, 0), unit
    millis = _millis(text, here)
    if millis <= 0:
        raise SearchError("expected an interval above 0", here)
    return millis, ""


def _millis(value: Any, path: str) -> int:
    try:
        return datemath.interval(a_string(value, path))
    except ValueError as error:
        raise SearchError(str(error), path) from error


def _range(part: Any, scope: Scope, path: str, orders: list[Order]) -> Bucketing:
    options = an_object(part, path)
    known(options, ("field", "ranges", "keyed"), path)
    column = _column(options, scope, path)
    if column is not None and not column.numeric:
        raise SearchError(f"[range] does not go with the type [{column.type}]", child(path, "field"))

    def read(value: Any, here: str) -> tuple[float, dict[str, Any], str]:
        number = a_number(value, here)
        return number, {}, str(number)

    return _ranges(options, column, scope, path, read, "DOUBLE")


def _date_range(part: Any, scope: Scope, path: str, orders: list[Order]) -> Bucketing:
    options = an_object(part, path)
    known(options, ("field", "ranges", "keyed", "format", "time_zone"), path)
    column = _column(options, scope, path)
    if column is not None and column.type != "date":
        raise SearchError(f"[date_range] does not go with the type [{column.type}]", child(path, "field"))
    pattern = datemath.DEFAULT_FORMAT
    if options.get("format") is not None:
        pattern = date_format(options["format"], column, child(path, "format"))
    zone: tzinfo = UTC
    if options.get("time_zone") is not None:
        try:
            zone = datemath.time_zone(a_string(options["time_zone"], path))
        except ValueError as error:
            raise SearchError(str(error), child(path, "time_zone")) from error

    def read(value: Any, here: str) -> tuple[float, dict[str, Any], str]:
        millis = date_millis(value, scope, here, options=options)
        text = datemath.render(millis, pattern, zone)
        return float(millis), {"as_string": text}, text

    return _ranges(options, column, scope, path, read, "BIGINT")


def _ranges(
    options: Mapping[str, Any],
    column: Column | None,
    scope: Scope,
    path: str,
    read: Callable[[Any, str], tuple[float, dict[str, Any], str]],
    sql_type: str,
) -> Ranges:
    here = child(path, "ranges")
    listed = a_list(options.get("ranges"), here)
    if not listed:
        raise SearchError("needs at least one range", here)
    found = []
    for place, one in enumerate(listed):
        at = child(here, place)
        entry = an_object(one, at)
        known(entry, ("from", "to", "key"), at)
        label: dict[str, Any] = {"key": ""}
        ends, texts = [], []
        for end, sign in (("from", ">="), ("to", "<")):
            if entry.get(end) is None:
                texts.append("*")
                continue
            value, extra, text = read(entry[end], child(at, end))
            label[end] = value
            label |= {f"{end}_{suffix}": one for suffix, one in extra.items()}
            number = int(value) if sql_type == "BIGINT" else value
            ends.append((sign, scope.binder.bind(number, sql_type)))
            texts.append(text)
        label["key"] = a_string(entry.get("key") or "-".join(texts), child(at, "key"))
        test = _between(column, ends)
        found.append((label.get("from", -float("inf")), label.get("to", float("inf")), label, test))
    found.sort(key=lambda one: one[:2])
    return Ranges(
        [one[3] for one in found],
        [one[2] for one in found],
        as_list=not a_bool(options.get("keyed", False), child(path, "keyed")),
    )


def _between(column: Column | None, ends: list[tuple[str, str]]) -> str:
    if column is None:
        return "false"
    if not ends:
        return exists(column)
    return any_value(column, lambda v: " AND ".join(f"{v} {sign} {value}" for sign, value in ends))


Reader = Callable[[Any, Scope, str, list[Order]], Bucketing]
KINDS: Final[dict[str, Reader]] = {
    "terms": _terms,
    "filter": _filter,
    "filters": _filters,
    "missing": _missing,
    "histogram": _histogram,
    "date_histogram": _date_histogram,
    "range": _range,
    "date_range": _date_range,
}
