"""Compute bucket aggregations: assign documents to buckets by SQL, and render the buckets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any, Final, Protocol

from logging_lib._util import datemath
from logging_lib.store.duckdb.scope import TableColumn
from logging_lib.store.port import SearchError

Key = Any
MAX_BUCKETS = 65_536  # Elasticsearch's search.max_buckets


@dataclass(slots=True)
class BucketGroup:
    """A bucket as SQL returned it: its key, its number of documents, and the values that order it."""

    key: Key
    count: int
    values: dict[str, Any] = field(default_factory=dict)


RenderGroup = Callable[[BucketGroup], dict[str, Any]]


class BucketAggregation(Protocol):
    """The interface of one bucket aggregation without its sub-aggregations.

    ``key_sql`` is the raw key of a row, NULL if the row is in no bucket; ``expand_key`` maps a raw key to the
    buckets that it means. If a row can have several raw keys, ``key_sql`` is None: use ``relation`` instead.
    """

    def key_sql(self) -> str | None: ...

    def expand_key(self, raw: Any) -> tuple[Key, ...]:
        """Return the buckets that a raw key means."""
        ...

    def relation(self, source: str, key: str) -> str:
        """Return the SQL of the source's rows, each once per bucket that it is in, with the bucket's ``key``."""
        ...

    def answer(self, groups: list[BucketGroup], render: RenderGroup) -> dict[str, Any]:
        """Return the aggregation's answer; ``render`` returns a bucket's ``doc_count`` and sub-aggregations."""
        ...


class SingleKeyBuckets:
    """Base class of aggregations whose raw key is the bucket's key."""

    def expand_key(self, raw: Any) -> tuple[Key, ...]:
        return () if raw is None else (raw,)


@dataclass(slots=True)
class SingleBucket(SingleKeyBuckets):
    """The aggregations ``filter`` and ``missing``: one bucket of the documents that meet a condition."""

    condition: str

    def key_sql(self) -> str | None:
        return f"CASE WHEN {self.condition} THEN true END"

    def relation(self, source: str, key: str) -> str:
        return f"(SELECT *, true AS {key} FROM {source} WHERE {self.condition})"  # noqa: S608

    def answer(self, groups: list[BucketGroup], render: RenderGroup) -> dict[str, Any]:
        return render(groups[0] if groups else BucketGroup(True, 0))


class ConditionBuckets:
    """Base class of aggregations whose buckets are conditions; a row can meet several of them.

    The raw key is a number with one bit per condition, so that rows do not have to be multiplied.
    """

    conditions: list[str]

    def key_sql(self) -> str | None:
        if len(self.conditions) > _MAX_BITS:
            return None
        bits = [
            f"CASE WHEN {condition} THEN {1 << i} ELSE 0 END" for i, condition in enumerate(self.conditions)
        ]
        return f"({' | '.join(bits)})::BIGINT"

    def expand_key(self, raw: Any) -> tuple[Key, ...]:
        return tuple(place for place in range(len(self.conditions)) if raw >> place & 1)

    def relation(self, source: str, key: str) -> str:
        """Return the rows; the key is a single bit, or the bucket's number if there are too many bits."""
        few = len(self.conditions) <= _MAX_BITS
        keys = [
            f"CASE WHEN {condition} THEN {1 << i if few else i} END"
            for i, condition in enumerate(self.conditions)
        ]
        return (
            f"(SELECT * FROM (SELECT *, unnest([{', '.join(keys)}]::BIGINT[]) AS {key} FROM {source})"  # noqa: S608
            f" WHERE {key} IS NOT NULL)"
        )

    def render_in_order(self, groups: list[BucketGroup], render: RenderGroup) -> list[dict[str, Any]]:
        groups_by_key = {group.key: group for group in groups}
        return [
            render(groups_by_key.get(place) or BucketGroup(place, 0)) for place in range(len(self.conditions))
        ]


_MAX_BITS = 62


@dataclass(slots=True)
class FilterBuckets(ConditionBuckets):
    """The aggregation ``filters``, named or anonymous: a document is in the bucket of each filter that it meets."""

    conditions: list[str]
    names: list[str] | None
    as_list: bool = False

    def answer(self, groups: list[BucketGroup], render: RenderGroup) -> dict[str, Any]:
        rendered = self.render_in_order(groups, render)
        if self.names is None:
            return {"buckets": rendered}
        named = zip(self.names, rendered, strict=True)
        if self.as_list:
            return {"buckets": [{"key": name, **bucket} for name, bucket in named]}
        return {"buckets": dict(named)}


@dataclass(slots=True)
class RangeBuckets(ConditionBuckets):
    """The aggregations ``range`` and ``date_range``: from (inclusive) to (exclusive)."""

    conditions: list[str]
    labels: list[dict[str, Any]]  # key, from, to and their texts, in order
    as_list: bool

    def answer(self, groups: list[BucketGroup], render: RenderGroup) -> dict[str, Any]:
        labelled = zip(self.labels, self.render_in_order(groups, render), strict=True)
        rendered = [{**label, **bucket} for label, bucket in labelled]
        if self.as_list:
            return {"buckets": rendered}
        return {"buckets": {bucket.pop("key"): bucket for bucket in rendered}}


OrderKey = Callable[[BucketGroup], float]
_ALL_ROWS: Final = (1 << 63) - 1


@dataclass(slots=True)
class BucketOrder:
    """One criterion by which buckets are ordered: ``_count``, ``_key`` or a metric, which ``value`` returns."""

    by: str
    ascending: bool
    value: OrderKey | None = None


def sort_groups(groups: Iterable[BucketGroup], orders: list[BucketOrder]) -> list[BucketGroup]:
    """Sort groups; ties are broken by the ascending key, as in Elasticsearch."""
    result = sorted(groups, key=lambda group: group.key)
    for order in reversed(orders):
        if order.by == "_key":
            result.sort(key=lambda group: group.key, reverse=not order.ascending)
        elif order.value is None:
            result.sort(key=lambda group: group.count, reverse=not order.ascending)
        else:
            result.sort(key=order.value, reverse=not order.ascending)
    return result


@dataclass(slots=True)
class TermsBuckets(SingleKeyBuckets):
    """The aggregation ``terms``: one bucket per value. ``conditions`` are those of ``include`` and ``exclude``."""

    column: TableColumn | None
    missing: str | None
    type: str
    size: int
    orders: list[BucketOrder]
    conditions: Callable[[str], list[str]]
    min_doc_count: int = 1
    pattern: str = datemath.DEFAULT_FORMAT

    def key_sql(self) -> str | None:
        if self.column is not None and self.column.is_list:
            return None
        if self.column is None:
            value = self.missing or "NULL"
        else:
            value = self.column.sql
            if self.missing is not None:
                value = f"coalesce({value}, {self.missing})"
        tests = self.conditions(value)
        return f"CASE WHEN {' AND '.join(tests)} THEN {value} END" if tests else value

    def relation(self, source: str, key: str) -> str:
        value = self.key_sql()
        if value is None:
            assert self.column is not None
            # Lists of keywords already have no duplicates.
            listed = (
                self.column.sql if self.column.sql_type == "VARCHAR" else f"list_distinct({self.column.sql})"
            )
            if self.missing is not None:
                listed = f"CASE WHEN len({listed}) > 0 THEN {listed} ELSE [{self.missing}] END"
            value = f"unnest({listed})"
            tests = self.conditions(key)
            if any("regexp" in test for test in tests):
                # Test each value once, not once per row. Without the limit, DuckDB would test before DISTINCT.
                values = f"(SELECT DISTINCT {value} AS {key} FROM {source} LIMIT {_ALL_ROWS})"  # noqa: S608
                tests = [f"{key} IN (SELECT {key} FROM {values} WHERE {' AND '.join(tests)})"]  # noqa: S608
        else:
            tests = []
        where = " AND ".join([f"{key} IS NOT NULL", *tests])
        return f"(SELECT * FROM (SELECT *, {value} AS {key} FROM {source}) WHERE {where})"  # noqa: S608

    def top_buckets_sql(self, statement: str, parents: list[str], key: str) -> str | None:
        """Return the statement restricted to the first buckets of each parent, with the total count of all buckets;
        None if SQL cannot express the order."""
        terms = []
        for order in [*self.orders, BucketOrder("_key", True)]:
            if order.value is not None:
                return None
            name = key if order.by == "_key" else "doc_count"
            terms.append(f"{name} {'ASC' if order.ascending else 'DESC'}")
        over = f"PARTITION BY {', '.join(parents)} " if parents else ""
        return (
            f"SELECT *, sum(doc_count) OVER ({over}) AS all_count FROM ({statement})"  # noqa: S608
            f" WHERE doc_count >= {self.min_doc_count}"
            f" QUALIFY row_number() OVER ({over}ORDER BY {', '.join(terms)}) <= {self.size}"
        )

    def answer(self, groups: list[BucketGroup], render: RenderGroup) -> dict[str, Any]:
        groups = [group for group in groups if group.count >= self.min_doc_count]
        top = sort_groups(groups, self.orders)[: self.size]
        total = next((g.values["all_count"] for g in top if "all_count" in g.values), None)
        if total is None:
            total = sum(group.count for group in groups)
        return {
            "doc_count_error_upper_bound": 0,
            "sum_other_doc_count": int(total) - sum(group.count for group in top),
            "buckets": [{**self.key_entry(group.key), **render(group)} for group in top],
        }

    def key_entry(self, key: Key) -> dict[str, Any]:
        if self.type == "boolean":
            return {"key": int(key), "key_as_string": "true" if key else "false"}
        if self.type == "date":
            return {"key": key, "key_as_string": datemath.render(key, self.pattern)}
        return {"key": key}


@dataclass(slots=True)
class HistogramBuckets(SingleKeyBuckets):
    """The aggregation ``histogram``: numbers by an interval."""

    column: TableColumn | None
    interval: float
    offset: float
    orders: list[BucketOrder]
    min_doc_count: int = 0
    bounds: tuple[float, float] | None = None
    missing: str | None = None
    as_list: bool = True

    def _key(self, value: str) -> str:
        return f"floor((({value})::DOUBLE - {self.offset!r}::DOUBLE) / {self.interval!r}::DOUBLE)"

    def key_sql(self) -> str | None:
        return _scalar_key_sql(self.column, self.missing, self._key)

    def relation(self, source: str, key: str) -> str:
        return _rows_by_value(self.column, self.missing, source, key, self._key)

    def answer(self, groups: list[BucketGroup], render: RenderGroup) -> dict[str, Any]:
        groups = [BucketGroup(int(group.key), group.count, group.values) for group in groups]
        if self.min_doc_count == 0:
            ends = [math.floor((end - self.offset) / self.interval) for end in self.bounds or ()]
            groups = _fill_gaps(groups, ends, lambda place: place + 1)
        buckets = sort_groups((g for g in groups if g.count >= self.min_doc_count), self.orders)
        rendered = [
            {"key": float(group.key * self.interval + self.offset), **render(group)} for group in buckets
        ]
        return {"buckets": rendered if self.as_list else {str(bucket["key"]): bucket for bucket in rendered}}


@dataclass(slots=True)
class DateHistogramBuckets(SingleKeyBuckets):
    """The aggregation ``date_histogram``, by a fixed interval in milliseconds or a calendar ``unit`` in a zone."""

    column: TableColumn | None
    interval: int
    unit: str  # "" = fixed interval
    offset: int
    zone: tzinfo
    zone_sql: str | None  # the bound name of a zone with changing offsets
    orders: list[BucketOrder]
    min_doc_count: int = 0
    bounds: tuple[int | None, int | None] | None = None
    missing: str | None = None
    pattern: str = datemath.DEFAULT_FORMAT
    as_list: bool = True

    @property
    def _calendar(self) -> bool:
        return self.unit not in ("", "h", "m")

    def _key_of(self, value: str) -> str:
        shifted = f"({value} - {self.offset})"
        if self.zone_sql is None:
            millis = int((self.zone.utcoffset(None) or datemath.NO_TIME) / datemath.MILLISECOND)
            local = f"({shifted} + {millis})"
        else:
            utc = f"make_timestamp({shifted} * 1000) AT TIME ZONE 'UTC'"
            local = f"epoch_ms(({utc}) AT TIME ZONE {self.zone_sql})"
        if self._calendar:
            name = {"d": "day", "w": "week", "M": "month", "q": "quarter", "y": "year"}[self.unit]
            return f"epoch_ms(date_trunc('{name}', make_timestamp({local} * 1000))::TIMESTAMP)"
        size = self.interval
        return f"({shifted} - (({local} % {size}) + {size}) % {size})"

    def key_sql(self) -> str | None:
        return _scalar_key_sql(self.column, self.missing, self._key_of)

    def relation(self, source: str, key: str) -> str:
        return _rows_by_value(self.column, self.missing, source, key, self._key_of)

    def _key(self, sql_key: int) -> int:
        """Convert a key from SQL, which is in local time for calendar buckets, to the answer's key."""
        if self._calendar:
            local = datemath.from_millis(sql_key, UTC).replace(tzinfo=self.zone)
            return datemath.to_millis(local.astimezone(UTC)) + self.offset
        return sql_key + self.offset

    def _sql_key(self, millis: int) -> int:
        """Return the key, as SQL returns it, of the bucket that contains a moment."""
        moment = datemath.from_millis(millis - self.offset, self.zone)
        if self._calendar:
            return datemath.to_millis(datemath.floor(moment, self.unit).replace(tzinfo=UTC))
        shift = (moment.utcoffset() or datemath.NO_TIME) // datemath.MILLISECOND
        local = millis - self.offset + shift
        return local - local % self.interval - shift

    def _next(self, sql_key: int) -> int:
        if self._calendar:
            return datemath.to_millis(datemath.add(datemath.from_millis(sql_key, UTC), self.unit, 1))
        return sql_key + self.interval

    def answer(self, groups: list[BucketGroup], render: RenderGroup) -> dict[str, Any]:
        if self.min_doc_count == 0:
            ends = [self._sql_key(end) for end in self.bounds or () if end is not None]
            groups = _fill_gaps(groups, ends, self._next)
        buckets = sort_groups((g for g in groups if g.count >= self.min_doc_count), self.orders)
        rendered = []
        for group in buckets:
            key = self._key(group.key)
            text = datemath.render(key, self.pattern, self.zone)
            rendered.append({"key_as_string": text, "key": key, **render(group)})
        if self.as_list:
            return {"buckets": rendered}
        return {"buckets": {bucket["key_as_string"]: bucket for bucket in rendered}}


def _scalar_key_sql(
    column: TableColumn | None, missing: str | None, expression: Callable[[str], str]
) -> str | None:
    if column is None:
        return expression(missing) if missing else "NULL::BIGINT"
    if column.is_list:
        return None
    return expression(column.sql if missing is None else f"coalesce({column.sql}, {missing})")


def _rows_by_value(
    column: TableColumn | None, missing: str | None, source: str, key: str, expression: Callable[[str], str]
) -> str:
    value = _scalar_key_sql(column, missing, expression)
    if value is None and column is not None:
        listed = f"list_distinct(list_transform({column.sql}, lambda v: {expression('v')}))"
        if missing is not None:
            listed = f"CASE WHEN len({listed}) > 0 THEN {listed} ELSE [{expression(missing)}] END"
        value = f"unnest({listed})"
    return f"(SELECT * FROM (SELECT *, {value} AS {key} FROM {source}) WHERE {key} IS NOT NULL)"  # noqa: S608


def _fill_gaps(
    groups: list[BucketGroup], ends: list[int], following: Callable[[int], int]
) -> list[BucketGroup]:
    """Return the groups with empty groups added in the gaps and out to both ends."""
    groups_by_key = {group.key: group for group in groups}
    keys = [*groups_by_key, *ends]
    if not keys:
        return []
    key, last = min(keys), max(keys)
    result = []
    while key <= last:
        result.append(groups_by_key.get(key) or BucketGroup(key, 0))
        if len(result) > MAX_BUCKETS:
            raise SearchError(f"too many buckets: more than {MAX_BUCKETS}; use a larger interval")
        key = following(key)
    return result
