"""Parse the options of bucket aggregations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from logging_lib._util import datemath
from logging_lib.store.duckdb import patterns
from logging_lib.store.duckdb.buckets import (
    BucketAggregation,
    BucketOrder,
    DateHistogramBuckets,
    FilterBuckets,
    HistogramBuckets,
    RangeBuckets,
    SingleBucket,
    TermsBuckets,
)
from logging_lib.store.duckdb.metrics import check_aggregatable, missing_value_sql, parse_date_format
from logging_lib.store.duckdb.query import (
    ALWAYS,
    any_of,
    any_value_sql,
    coerce_value,
    compared_type,
    exists_sql,
    negate,
    parse_date_millis,
    parse_query,
    without_null,
)
from logging_lib.store.duckdb.scope import Scope, TableColumn
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
)

_IGNORED: Final = ("shard_size", "execution_hint", "collect_mode", "show_term_doc_count_error")
_CALENDAR_UNITS: Final = {
    "minute": "m", "1m": "m", "hour": "h", "1h": "h", "day": "d", "1d": "d", "week": "w", "1w": "w",
    "month": "M", "1M": "M", "quarter": "q", "1q": "q", "year": "y", "1y": "y",
}  # fmt: skip
_UNIT_MILLIS: Final = {"m": 60_000, "h": 3_600_000}


def _aggregated_column(options: Mapping[str, Any], scope: Scope, path: str) -> TableColumn | None:
    here = child_path(path, "field")
    if options.get("field") is None:
        raise SearchError("needs a field", path)
    column = scope.column(expect_string(options["field"], here), here)
    if column is not None:
        check_aggregatable(column, here)
    return column


def _parse_filter(part: Any, scope: Scope, path: str, orders: list[BucketOrder]) -> BucketAggregation:
    return SingleBucket(parse_query(part, scope, path))


def _parse_missing(part: Any, scope: Scope, path: str, orders: list[BucketOrder]) -> BucketAggregation:
    options = expect_object(part, path)
    check_keys(options, ("field",), path)
    column = _aggregated_column(options, scope, path)
    return SingleBucket(ALWAYS if column is None else negate(exists_sql(column)))


def _parse_filters(part: Any, scope: Scope, path: str, orders: list[BucketOrder]) -> BucketAggregation:
    options = expect_object(part, path)
    check_keys(options, ("filters", "other_bucket", "other_bucket_key", "keyed"), path)
    here = child_path(path, "filters")
    filters = options.get("filters")
    other_key = options.get("other_bucket_key")
    other = expect_bool(options.get("other_bucket", other_key is not None), child_path(path, "other_bucket"))
    names: list[str] | None = None
    if isinstance(filters, Mapping):
        # Elasticsearch sorts named filters by their names.
        names = sorted(expect_object(filters, here))
        conditions = [parse_query(filters[name], scope, child_path(here, name)) for name in names]
        if other:
            names.append(expect_string(other_key or "_other_", child_path(path, "other_bucket_key")))
    elif isinstance(filters, (list, tuple)):
        conditions = [parse_query(query, scope, child_path(here, i)) for i, query in enumerate(filters)]
    else:
        raise SearchError("expected an object or a list of filters", here)
    if not conditions:
        raise SearchError("needs at least one filter", here)
    if other:
        conditions.append(negate(any_of([without_null(sql) for sql in conditions])))
    return FilterBuckets(
        conditions, names, as_list=not expect_bool(options.get("keyed", True), child_path(path, "keyed"))
    )


def _parse_order(options: Mapping[str, Any], default: list[BucketOrder], path: str) -> list[BucketOrder]:
    if options.get("order") is None:
        return default
    here = child_path(path, "order")
    result = []
    for place, entry in enumerate(expect_list(options["order"], here)):
        by, direction = expect_single_key(
            entry, child_path(here, place) if isinstance(options["order"], list) else here
        )
        if direction not in ("asc", "desc"):
            raise SearchError(f"expected asc or desc, not {direction!r:.80}", child_path(here, by))
        result.append(BucketOrder("_key" if by == "_term" else by, direction == "asc"))
    return result


def _parse_terms(part: Any, scope: Scope, path: str, orders: list[BucketOrder]) -> BucketAggregation:
    options = expect_object(part, path)
    check_keys(
        options,
        ("field", "size", "order", "missing", "include", "exclude", "min_doc_count", "format", *_IGNORED),
        path,
    )
    column = _aggregated_column(options, scope, path)
    orders += _parse_order(options, [BucketOrder("_count", False)], path)
    least = expect_int(options.get("min_doc_count", 1), child_path(path, "min_doc_count"), least=0)
    if least == 0:
        raise QueryNotSupported(
            "buckets without documents are not answered by the embedded store",
            child_path(path, "min_doc_count"),
        )
    missing, kind = None, column.type if column else "keyword"
    if options.get("missing") is not None:
        missing, kind = _terms_missing_sql(column, options["missing"], scope, child_path(path, "missing"))
    pattern = datemath.DEFAULT_FORMAT
    if options.get("format") is not None:
        pattern = parse_date_format(options["format"], column, child_path(path, "format"))
    return TermsBuckets(
        column,
        missing,
        kind,
        size=expect_int(options.get("size", 10), child_path(path, "size"), least=1),
        orders=orders,
        conditions=_include_exclude(options, column, kind, scope, path),
        min_doc_count=least,
        pattern=pattern,
    )


def _terms_missing_sql(column: TableColumn | None, value: Any, scope: Scope, path: str) -> tuple[str, str]:
    if column is not None:
        return missing_value_sql(column, value, scope, path), column.type
    if isinstance(value, str):
        return scope.binder.bind(value, "VARCHAR"), "keyword"
    if isinstance(value, int) and not isinstance(value, bool):
        return scope.binder.bind(expect_int(value, path), "BIGINT"), "long"
    return scope.binder.bind(expect_number(value, path), "DOUBLE"), "double"


def _include_exclude(
    options: Mapping[str, Any], column: TableColumn | None, kind: str, scope: Scope, path: str
) -> Callable[[str], list[str]]:
    """Return ``include`` and ``exclude`` as conditions on the key column."""
    tests: list[str] = []
    for name in ("include", "exclude"):
        value = options.get(name)
        if value is None:
            continue
        here = child_path(path, name)
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
            prefix = patterns.lucene_prefix(value)
            if prefix is not None:  # equivalent, but several times as fast
                test = f"starts_with(@, {scope.binder.bind(prefix, 'VARCHAR')})"
            else:
                test = f"regexp_full_match(@, {scope.binder.bind(expression, 'VARCHAR')}, 's')"
        else:
            listed = expect_list(value, here)
            values: list[Any]
            if column is None:
                values, sql_type = [str(item) for item in listed], "VARCHAR"
            elif column.type == "date":
                values, sql_type = [parse_date_millis(item, scope, here) for item in listed], "BIGINT"
            else:
                values = [coerce_value(column, item, here) for item in listed]
                sql_type = compared_type(column, values)
            test = f"list_contains({scope.binder.bind(values, sql_type + '[]')}, @)"
        tests.append(f"NOT {test}" if name == "exclude" else test)
    return lambda key: [test.replace("@", key) for test in tests]


def _parse_histogram(part: Any, scope: Scope, path: str, orders: list[BucketOrder]) -> BucketAggregation:
    options = expect_object(part, path)
    allowed = ("field", "interval", "offset", "order", "min_doc_count", "extended_bounds", "missing", "keyed")
    check_keys(options, allowed, path)
    column = _aggregated_column(options, scope, path)
    if column is not None and not column.is_numeric and column.type != "boolean":
        raise SearchError(f"[histogram] does not go with the type [{column.type}]", child_path(path, "field"))
    interval = expect_number(options.get("interval"), child_path(path, "interval"))
    if not 0 < interval < float("inf"):
        raise SearchError("expected a number above 0", child_path(path, "interval"))
    orders += _parse_order(options, [BucketOrder("_key", True)], path)
    bounds = None
    if options.get("extended_bounds") is not None:
        here = child_path(path, "extended_bounds")
        extended = expect_object(options["extended_bounds"], here)
        check_keys(extended, ("min", "max"), here)
        bounds = (
            expect_number(extended.get("min"), child_path(here, "min")),
            expect_number(extended.get("max"), child_path(here, "max")),
        )
        _check_bounds(bounds, here)
    return HistogramBuckets(
        column,
        interval,
        expect_number(options.get("offset", 0), child_path(path, "offset")),
        orders,
        min_doc_count=expect_int(options.get("min_doc_count", 0), child_path(path, "min_doc_count"), least=0),
        bounds=bounds,
        missing=_histogram_missing_sql(column, options, scope, path),
        as_list=not expect_bool(options.get("keyed", False), child_path(path, "keyed")),
    )


def _check_bounds(bounds: tuple[Any, Any], path: str) -> None:
    if None not in bounds and bounds[0] > bounds[1]:
        raise SearchError("min is greater than max", path)


def _histogram_missing_sql(
    column: TableColumn | None, options: Mapping[str, Any], scope: Scope, path: str
) -> str | None:
    if options.get("missing") is None or column is None:
        return None
    return missing_value_sql(column, options["missing"], scope, child_path(path, "missing"))


def _parse_date_histogram(part: Any, scope: Scope, path: str, orders: list[BucketOrder]) -> BucketAggregation:
    options = expect_object(part, path)
    check_keys(
        options,
        (
            *("field", "fixed_interval", "calendar_interval", "offset", "order", "min_doc_count", "keyed"),
            *("extended_bounds", "missing", "format", "time_zone"),
        ),
        path,
    )
    column = _aggregated_column(options, scope, path)
    if column is not None and column.type != "date":
        raise SearchError(
            f"[date_histogram] does not go with the type [{column.type}]", child_path(path, "field")
        )
    orders += _parse_order(options, [BucketOrder("_key", True)], path)
    interval, unit = _parse_interval(options, path)
    zone: tzinfo = UTC
    zone_sql: str | None = None
    if options.get("time_zone") is not None:
        here = child_path(path, "time_zone")
        try:
            zone = datemath.time_zone(expect_string(options["time_zone"], here))
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
        here = child_path(path, "extended_bounds")
        extended = expect_object(options["extended_bounds"], here)
        check_keys(extended, ("min", "max"), here)
        ends = [
            None
            if extended.get(end) is None
            else parse_date_millis(extended[end], scope, child_path(here, end), options=options)
            for end in ("min", "max")
        ]
        bounds = (ends[0], ends[1])
        _check_bounds(bounds, here)
    pattern = datemath.DEFAULT_FORMAT
    if options.get("format") is not None:
        pattern = parse_date_format(options["format"], column, child_path(path, "format"))
    offset = 0
    if options.get("offset") is not None:
        offset = _parse_millis(options["offset"], child_path(path, "offset"))
    return DateHistogramBuckets(
        column,
        interval,
        unit,
        offset,
        zone,
        zone_sql,
        orders,
        min_doc_count=expect_int(options.get("min_doc_count", 0), child_path(path, "min_doc_count"), least=0),
        bounds=bounds,
        missing=_histogram_missing_sql(column, options, scope, path),
        pattern=pattern,
        as_list=not expect_bool(options.get("keyed", False), child_path(path, "keyed")),
    )


def _parse_interval(options: Mapping[str, Any], path: str) -> tuple[int, str]:
    present = [key for key in ("fixed_interval", "calendar_interval") if options.get(key) is not None]
    if len(present) != 1:
        raise SearchError("needs either fixed_interval or calendar_interval", path)
    here = child_path(path, present[0])
    text = expect_string(options[present[0]], here)
    if present[0] == "calendar_interval":
        unit = _CALENDAR_UNITS.get(text)
        if unit is None:
            raise SearchError(f"{text!r:.80} is none of {sorted(_CALENDAR_UNITS)}", here)
        return _UNIT_MILLIS.get(unit, 0), unit
    millis = _parse_millis(text, here)
    if millis <= 0:
        raise SearchError("expected an interval above 0", here)
    return millis, ""


def _parse_millis(value: Any, path: str) -> int:
    try:
        return datemath.interval(expect_string(value, path))
    except ValueError as error:
        raise SearchError(str(error), path) from error


def _parse_range(part: Any, scope: Scope, path: str, orders: list[BucketOrder]) -> BucketAggregation:
    options = expect_object(part, path)
    check_keys(options, ("field", "ranges", "keyed"), path)
    column = _aggregated_column(options, scope, path)
    if column is not None and not column.is_numeric:
        raise SearchError(f"[range] does not go with the type [{column.type}]", child_path(path, "field"))

    def read(value: Any, here: str) -> tuple[float, dict[str, Any], str]:
        number = expect_number(value, here)
        return number, {}, str(number)

    return _parse_ranges(options, column, scope, path, read, "DOUBLE")


def _parse_date_range(part: Any, scope: Scope, path: str, orders: list[BucketOrder]) -> BucketAggregation:
    options = expect_object(part, path)
    check_keys(options, ("field", "ranges", "keyed", "format", "time_zone"), path)
    column = _aggregated_column(options, scope, path)
    if column is not None and column.type != "date":
        raise SearchError(
            f"[date_range] does not go with the type [{column.type}]", child_path(path, "field")
        )
    pattern = datemath.DEFAULT_FORMAT
    if options.get("format") is not None:
        pattern = parse_date_format(options["format"], column, child_path(path, "format"))
    zone: tzinfo = UTC
    if options.get("time_zone") is not None:
        try:
            zone = datemath.time_zone(expect_string(options["time_zone"], path))
        except ValueError as error:
            raise SearchError(str(error), child_path(path, "time_zone")) from error

    def read(value: Any, here: str) -> tuple[float, dict[str, Any], str]:
        millis = parse_date_millis(value, scope, here, options=options)
        text = datemath.render(millis, pattern, zone)
        return float(millis), {"as_string": text}, text

    return _parse_ranges(options, column, scope, path, read, "BIGINT")


def _parse_ranges(
    options: Mapping[str, Any],
    column: TableColumn | None,
    scope: Scope,
    path: str,
    read: Callable[[Any, str], tuple[float, dict[str, Any], str]],
    sql_type: str,
) -> RangeBuckets:
    here = child_path(path, "ranges")
    listed = expect_list(options.get("ranges"), here)
    if not listed:
        raise SearchError("needs at least one range", here)
    ranges = []
    for place, range_body in enumerate(listed):
        at = child_path(here, place)
        entry = expect_object(range_body, at)
        check_keys(entry, ("from", "to", "key"), at)
        label: dict[str, Any] = {"key": ""}
        ends, texts = [], []
        for end, sign in (("from", ">="), ("to", "<")):
            if entry.get(end) is None:
                texts.append("*")
                continue
            value, extra, text = read(entry[end], child_path(at, end))
            label[end] = value
            label |= {f"{end}_{suffix}": extra_value for suffix, extra_value in extra.items()}
            number = int(value) if sql_type == "BIGINT" else value
            ends.append((sign, scope.binder.bind(number, sql_type)))
            texts.append(text)
        label["key"] = expect_string(entry.get("key") or "-".join(texts), child_path(at, "key"))
        test = _range_sql(column, ends)
        ranges.append((label.get("from", -float("inf")), label.get("to", float("inf")), label, test))
    ranges.sort(key=lambda item: item[:2])
    return RangeBuckets(
        [item[3] for item in ranges],
        [item[2] for item in ranges],
        as_list=not expect_bool(options.get("keyed", False), child_path(path, "keyed")),
    )


def _range_sql(column: TableColumn | None, ends: list[tuple[str, str]]) -> str:
    if column is None:
        return "false"
    if not ends:
        return exists_sql(column)
    return any_value_sql(column, lambda v: " AND ".join(f"{v} {sign} {value}" for sign, value in ends))


BucketParser = Callable[[Any, Scope, str, list[BucketOrder]], BucketAggregation]
KINDS: Final[dict[str, BucketParser]] = {
    "terms": _parse_terms,
    "filter": _parse_filter,
    "filters": _parse_filters,
    "missing": _parse_missing,
    "histogram": _parse_histogram,
    "date_histogram": _parse_date_histogram,
    "range": _parse_range,
    "date_range": _parse_date_range,
}
