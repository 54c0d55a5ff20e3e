"""Count the events of an embedded store in slots of arrival time, with one grouped statement per table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from logging_lib.store.counting import (
    ARRIVAL,
    CountError,
    CountNode,
    CountPath,
    CountPlan,
    CountTable,
    Grid,
    KeyColumn,
    Matching,
    Number,
    Step,
    Terms,
    TimeSlots,
    build_table,
    sorted_keys,
)
from logging_lib.store.duckdb import bucket_options
from logging_lib.store.duckdb.metrics import MetricAggregation, parse_metric
from logging_lib.store.duckdb.query import ALWAYS, parse_query
from logging_lib.store.duckdb.scope import Scope

_KINDS: Final = {"count": "value_count", "squares": "extended_stats"}


@dataclass(slots=True)
class CountStatements:
    """The SQL statements of a plan over one scope, by the paths of their tables.

    Raises:
        CountError: the plan needs a number of a field that holds lists.
        SearchError: a query is wrong.
    """

    plan: CountPlan
    scope: Scope
    grid: Grid
    start: int | None
    end: int
    statements: dict[CountPath, tuple[str, list[Number]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        time = self.scope.column(self.plan.name(ARRIVAL), "$")
        conditions = [parse_query(self.plan.load(self.plan.query), self.scope, "$.query")]
        if time is None:
            conditions, slot = ["false"], "0"
        else:
            conditions.append(f"{time.sql} < {self.end}")
            if self.start is not None:
                conditions.append(f"{time.sql} >= {self.start}")
            slot = _slot_sql(time.sql, self.grid)
        where = " AND ".join(f"({sql})" for sql in conditions if sql != ALWAYS)
        self._visit(self.plan.tree, (), f"(SELECT *, {slot} AS s FROM @ WHERE {where})", [])  # noqa: S608

    def _visit(self, node: CountNode, path: CountPath, relation: str, keys: list[str]) -> None:
        numbers = sorted(node.numbers)
        chosen = ["s", *keys, "count(*) AS n"]
        for place, (how, name, missing) in enumerate(numbers):
            metric = self._metric(_KINDS.get(how, how), name, missing)
            chosen.append(f"{metric.expressions()[-1]} AS m{place}")
        grouped = ", ".join(["s", *keys])
        self.statements[path] = f"SELECT {', '.join(chosen)} FROM {relation} GROUP BY {grouped}", numbers  # noqa: S608
        for step, below in node.below.items():
            key = f"k{len(path)}"
            inner = self._step_relation(step, relation, key)
            self._visit(below, (*path, step), inner, keys if isinstance(step, Matching) else [*keys, key])

    def _step_relation(self, step: Step, relation: str, key: str) -> str:
        if isinstance(step, Matching):
            return (
                f"(SELECT * FROM {relation} WHERE {parse_query(self.plan.load(step.query), self.scope, '$')})"  # noqa: S608
            )
        if isinstance(step, Terms):
            options = {"field": self.plan.name(step.field), "missing": orjson.loads(step.missing)}
            bucketing = bucket_options.KINDS["terms"](options, self.scope, "$", [])
            return bucketing.relation(relation, key)
        if isinstance(step, TimeSlots):
            column = self.scope.column(self.plan.name(step.field), "$")
            value = "NULL::BIGINT" if column is None else _slot_sql(column.sql, step.grid)
        else:
            value = self._metric("sum", step.field, step.missing).number_sql()
        return f"(SELECT * FROM (SELECT *, {value} AS {key} FROM {relation}) WHERE {key} IS NOT NULL)"  # noqa: S608

    def _metric(self, kind: str, name: str, missing: str) -> MetricAggregation:
        options = {"field": self.plan.name(name), "missing": orjson.loads(missing)}
        metric = parse_metric(kind, options, self.scope, "$")
        if metric.needs_unnest:
            raise CountError(f"{name} holds lists")
        return metric

    def run(self, fetch: Callable[[str], Any], relation: str) -> Iterator[tuple[CountPath, CountTable]]:
        """Run the statements and yield the tables.

        Args:
            fetch: executes a statement and returns an Arrow table.
            relation: the relation of the scope.
        """
        for path, (statement, numbers) in self.statements.items():
            answer = fetch(statement.replace("@", relation, 1))
            columns: dict[str, Any] = {}
            for name, column in zip(answer.column_names, answer.columns, strict=True):
                is_key = name.startswith("k") and isinstance(path[int(name[1:])], Terms)
                columns[name] = _to_keys(column) if is_key else _to_numpy(column)
            yield path, build_table(path, columns, numbers)


def _slot_sql(value: str, grid: Grid) -> str:
    """Return the SQL of a time's slot; ``//`` truncates, so it is applied to a number above 0."""
    size = grid.size
    lift = _EARLIEST // size + 1
    return f"(({value} - {grid.origin % size} + {lift * size}) // {size} - {lift + grid.origin // size})"


_EARLIEST: Final = 10**16  # milliseconds before 1970


def _to_keys(column: Any) -> KeyColumn:
    coded = column.combine_chunks().dictionary_encode()
    if hasattr(coded, "combine_chunks"):
        coded = coded.combine_chunks()
    codes = np.asarray(coded.indices.to_numpy(zero_copy_only=False), np.int32)
    return sorted_keys(codes, coded.dictionary.to_pylist())


def _to_numpy(column: Any) -> NDArray[Any]:
    array: NDArray[Any] = column.to_numpy()
    return array
