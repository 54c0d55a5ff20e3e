"""Parse the parts of a search body about hits (size, from, sort, search_after, _source) and render the hits."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from logging_lib._util import datemath
from logging_lib.store import mapping
from logging_lib.store.duckdb.metrics import check_aggregatable, missing_value_sql, parse_date_format
from logging_lib.store.duckdb.scope import Scope, TableColumn
from logging_lib.store.port import QueryNotSupported, SearchError
from logging_lib.store.validators import (
    check_keys,
    child_path,
    expect_int,
    expect_list,
    expect_object,
    expect_single_key,
    expect_string,
    unsupported_error,
)

MAX_RESULT_WINDOW: Final = 10_000  # Elasticsearch's index.max_result_window
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One sort key; ``sql`` is the expression to order by, and ``format_value`` renders its value in a hit."""

    sql: str
    ascending: bool
    nulls_first: bool
    format_value: Callable[[Any], Any]

    @property
    def order_sql(self) -> str:
        direction = "ASC" if self.ascending else "DESC"
        return f"{self.sql} {direction} NULLS {'FIRST' if self.nulls_first else 'LAST'}"


SourceFilter = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class HitsRequest:
    """Which hits to return, and how; ``source`` is None if ``_source`` is false."""

    size: int
    start: int
    sort: tuple[SortKey, ...]
    source: SourceFilter | None
    search_after_sql: str | None = None  # search_after, as a condition

    def is_complete(self, returned: int) -> bool:
        """Return whether this number of hits is all that the query matches, so that no count is needed."""
        return returned < self.size and self.start == 0 and self.search_after_sql is None

    def select_sql(self, relation: str) -> str:
        where = f" WHERE {self.search_after_sql}" if self.search_after_sql else ""
        return (
            f"SELECT {self._columns_sql()} FROM {relation}{where} ORDER BY {self._order_sql()}"  # noqa: S608
            f" LIMIT {self.size} OFFSET {self.start}"
        )

    def select_per_group_sql(self, relation: str, keys: list[str]) -> str:
        """Return the SQL of the first hits of each group; the group's keys come first in each row."""
        over = f"PARTITION BY {', '.join(keys)} " if keys else ""
        columns = ", ".join([*keys, self._columns_sql()])
        place = f"row_number() OVER ({over}ORDER BY {self._order_sql()})"
        return (
            f"SELECT {columns} FROM {relation}"  # noqa: S608
            f" QUALIFY {place} > {self.start} AND {place} <= {self.start + self.size}"
            f" ORDER BY {self._order_sql()}"
        )

    def _columns_sql(self) -> str:
        return ", ".join(["_t", "_r", *(f"{key.sql} AS s{i}" for i, key in enumerate(self.sort))])

    def _order_sql(self) -> str:
        return ", ".join([*(key.order_sql for key in self.sort), "_t", "_r"])

    def envelope(self, total: int, documents: list[Any]) -> dict[str, Any]:
        """Return the ``hits`` of a ``top_hits`` aggregation."""
        score = None if self.sort or not documents else 1.0
        return {"total": {"value": total, "relation": "eq"}, "max_score": score, "hits": documents}

    def render(self, row: Row, index: str, identity: str, source: bytes) -> dict[str, Any]:
        hit: dict[str, Any] = {"_index": index, "_id": identity, "_score": None if self.sort else 1.0}
        if self.source is not None:
            hit["_source"] = self.source(parse_source(source))
        if self.sort:
            hit["sort"] = [key.format_value(value) for key, value in zip(self.sort, row[2:], strict=True)]
        return hit


def parse_source(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # files may hold NaN
        return json.loads(text, parse_constant=lambda _: None)


def parse_hits(body: Mapping[str, Any], scope: Scope, path: str) -> HitsRequest:
    """Parse the parts of a body about hits: size, from, sort, search_after and _source."""
    size = expect_int(body.get("size", 10), child_path(path, "size"), least=0)
    start = expect_int(body.get("from", 0), child_path(path, "from"), least=0)
    if size + start > MAX_RESULT_WINDOW:
        raise SearchError(
            f"from + size is {size + start}, more than {MAX_RESULT_WINDOW}: use search_after",
            child_path(path, "size"),
        )
    sort = _parse_sort(body.get("sort"), scope, child_path(path, "sort"))
    after = None
    if body.get("search_after") is not None:
        after = _search_after_sql(body["search_after"], sort, start, scope, child_path(path, "search_after"))
    return HitsRequest(
        size,
        start,
        tuple(key for key, _ in sort),
        _parse_source_filter(body.get("_source"), child_path(path, "_source")),
        after,
    )


def parse_top_hits(part: Any, scope: Scope, path: str) -> HitsRequest:
    options = expect_object(part, path)
    check_keys(options, ("size", "from", "sort", "_source"), path)
    size = expect_int(options.get("size", 3), child_path(path, "size"), least=0)
    if size > 100:
        raise SearchError(f"top_hits takes at most 100 documents, not {size}", child_path(path, "size"))
    start = expect_int(options.get("from", 0), child_path(path, "from"), least=0)
    sort = tuple(key for key, _ in _parse_sort(options.get("sort"), scope, child_path(path, "sort")))
    return HitsRequest(
        size, start, sort, _parse_source_filter(options.get("_source"), child_path(path, "_source"))
    )


# -- sort --------------------------------------------------------------------------------------------------


def _parse_sort(part: Any, scope: Scope, path: str) -> list[tuple[SortKey, TableColumn | None]]:
    if part is None:
        return []
    keys = []
    for place, entry in enumerate(expect_list(part, path)):
        here = child_path(path, place) if isinstance(part, list) else path
        if isinstance(entry, str):
            name, options = entry, dict[str, Any]()
        else:
            name, options = expect_single_key(entry, here)
            here = child_path(here, name)
            if isinstance(options, str):
                options = {"order": options}
        keys.append(_parse_sort_key(name, expect_object(options, here), scope, here))
    return keys


def _parse_sort_key(
    name: str, options: Mapping[str, Any], scope: Scope, path: str
) -> tuple[SortKey, TableColumn | None]:
    check_keys(options, ("order", "missing", "unmapped_type", "mode", "format"), path)
    if name == "_score":
        raise QueryNotSupported("the embedded store computes no scores", path)
    order = options.get("order", "asc")
    if not isinstance(order, str) or order.lower() not in ("asc", "desc"):
        raise SearchError(f"expected asc or desc, not {order!r:.80}", child_path(path, "order"))
    ascending = order.lower() == "asc"
    if name == "_doc":
        return SortKey(
            "(_t::HUGEINT * 1000000000000 + _r)::BIGINT", ascending, False, lambda value: value
        ), None
    column = scope.column(name, path)
    if column is None:
        if options.get("unmapped_type") is None and scope.tables:
            raise SearchError(f"no mapping found for [{name}] in order to sort on; use unmapped_type", path)
        kind = str(options.get("unmapped_type", "keyword"))
        if kind not in mapping.SQL_TYPES:
            raise SearchError(f"unknown type {kind!r:.80}", child_path(path, "unmapped_type"))
        absent = _missing_sort_value(kind, last=not ascending)
        return SortKey("NULL::BIGINT", ascending, False, lambda value: absent), None
    check_aggregatable(column, path)
    mode = options.get("mode", "min" if ascending else "max")
    if mode not in ("min", "max"):
        raise unsupported_error("mode", path)
    sql = f"list_{mode}({column.sql})" if column.is_list else column.sql
    missing = options.get("missing", "_last")
    if missing not in ("_last", "_first"):
        sql = f"coalesce({sql}, {missing_value_sql(column, missing, scope, child_path(path, 'missing'))})"
    pattern = None
    if options.get("format") is not None:
        pattern = parse_date_format(options["format"], column, child_path(path, "format"))
    first = missing == "_first"
    absent = None if pattern else _missing_sort_value(column.type, last=ascending == first)
    return SortKey(sql, ascending, first, _sort_value_formatter(column, pattern, absent)), column


def _sort_value_formatter(column: TableColumn, pattern: str | None, absent: Any) -> Callable[[Any], Any]:
    def show(value: Any) -> Any:
        if value is None:
            return absent
        if column.type == "boolean":
            return int(value)
        if column.type == "float":
            return float(f"{value:.{_shortest_digits(value)}g}")
        return datemath.render(value, pattern) if pattern else value

    return show


def _shortest_digits(value: float) -> int:
    """Return the fewest digits that identify a 32-bit float: 0.1, not 0.10000000149011612."""
    return next((n for n in range(1, 9) if _to_float32(float(f"{value:.{n}g}")) == value), 9)


def _to_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _missing_sort_value(kind: str, *, last: bool) -> Any:
    """Return Elasticsearch's sort value of a document without a value: the end of the type's range."""
    if kind in ("double", "float"):
        return "-Infinity" if last else "Infinity"
    if mapping.SQL_TYPES[kind] == "VARCHAR":
        return None
    return -(1 << 63) if last else (1 << 63) - 1


def _search_after_sql(
    values: Any, sort: list[tuple[SortKey, TableColumn | None]], start: int, scope: Scope, path: str
) -> str:
    """Return the condition that a document sorts after one with these sort values."""
    if not isinstance(values, (list, tuple)) or len(values) != len(sort) or not sort:
        raise SearchError(f"expected as many values as sort has keys, {len(sort)}", path)
    if start:
        raise SearchError("from does not go with search_after", path)
    same: list[str] = []
    ways: list[str] = []
    for place, ((key, column), value) in enumerate(zip(sort, values, strict=True)):
        here = child_path(path, place)
        if value is None or (isinstance(value, (int, str)) and value == key.format_value(None)):
            later = f"{key.sql} IS NOT NULL" if key.nulls_first else "false"
            equal = f"{key.sql} IS NULL"
        else:
            if column is not None:
                typed = bool(value) if column.type == "boolean" else value
                bound = missing_value_sql(column, typed, scope, here)
            else:
                bound = scope.binder.bind(expect_int(value, here), "BIGINT")
            later = f"{key.sql} {'>' if key.ascending else '<'} {bound}"
            if not key.nulls_first:
                later = f"({later} OR {key.sql} IS NULL)"
            equal = f"{key.sql} = {bound}"
        ways.append(" AND ".join([*same, later]))
        same.append(equal)
    return " OR ".join(f"({way})" for way in ways)


# -- _source -----------------------------------------------------------------------------------------------


def _parse_source_filter(part: Any, path: str) -> SourceFilter | None:
    if part is None or part is True:
        return lambda source: source
    if part is False:
        return None
    if isinstance(part, Mapping):
        check_keys(part, ("includes", "include", "excludes", "exclude"), path)
        includes, excludes = (
            part.get("includes", part.get("include")),
            part.get("excludes", part.get("exclude")),
        )
    else:
        includes, excludes = part, None
    wanted = (
        [_compile_source_pattern(pattern, path) for pattern in expect_list(includes, path)]
        if includes
        else []
    )
    unwanted = (
        [_compile_source_pattern(pattern, path) for pattern in expect_list(excludes, path)]
        if excludes
        else []
    )
    return lambda source: filter_source(source, wanted, unwanted)


class _PathPattern(NamedTuple):
    """A pattern for a path and everything below it; ``start`` is the text before the first wildcard."""

    regex: re.Pattern[str]
    start: str

    def may_lie_below(self, path: str) -> bool:
        return f"{self.start}.".startswith(f"{path}.") or path.startswith(self.start)


def _compile_source_pattern(value: Any, path: str) -> _PathPattern:
    text = expect_string(value, path)
    return _PathPattern(re.compile(source_regex(text) + r"(\..*)?", re.DOTALL), text.partition("*")[0])


def filter_source(source: Any, wanted: list[_PathPattern], unwanted: list[_PathPattern]) -> Any:
    """Return only those parts of the source that match ``wanted`` (if empty, all) and do not match ``unwanted``."""
    filtered = _filter_node(source, "", wanted, unwanted)
    return {} if filtered is _DROPPED else filtered


_DROPPED: Final = object()


def _filter_node(node: Any, path: str, wanted: list[_PathPattern], unwanted: list[_PathPattern]) -> Any:
    if path and any(pattern.regex.fullmatch(path) for pattern in unwanted):
        return _DROPPED
    if path and wanted:
        if any(pattern.regex.fullmatch(path) for pattern in wanted):
            wanted = []
        elif not any(pattern.may_lie_below(path) for pattern in wanted):
            return _DROPPED
    if not wanted and not unwanted:
        return node
    if isinstance(node, dict):
        below = {}
        for key, value in node.items():
            filtered = _filter_node(value, f"{path}.{key}" if path else key, wanted, unwanted)
            if filtered is not _DROPPED:
                below[key] = filtered
        return below if below or not wanted else _DROPPED
    if isinstance(node, list):
        items = [_filter_node(item, path, wanted, unwanted) for item in node]
        remaining = [item for item in items if item is not _DROPPED]
        return remaining if remaining or not wanted else _DROPPED
    return _DROPPED if wanted else node


def source_regex(pattern: str) -> str:
    """Translate a dotted path with ``*`` (as in ``_source``) to a regular expression of Python's ``re``."""
    return ".*".join(re.escape(part) for part in pattern.split("*"))
