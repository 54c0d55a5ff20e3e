"""Split a search's body into the part that is the same at every tick and the windows that move with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from logging_lib._util import datemath
from logging_lib.schema.fields import load
from logging_lib.store.counting import ARRIVAL, DAY, Grid
from logging_lib.watch.evaluate import new_context
from logging_lib.watch.model import SearchRequest, Watch
from logging_lib.watch.templating import TemplateError, render_json

_EXECUTED, _SCHEDULED, _RUN = "\ue101", "\ue102", "\ue103"  # stand for the tick's times while a body is split
_SIGNS: Final = ("gt", "gte", "lt", "lte")
_STEADY: Final = re.compile(rf"([{_EXECUTED}{_SCHEDULED}])(?:\|\|((?:[+-]\d+[wdhHms])+))?")
_NOW: Final = re.compile(r"now($|[-+/|])")
_ANY: Final = datetime(2018, 2, 1, tzinfo=UTC)
Path = tuple[str | int, ...]


class NotPlannedError(Exception):
    """Raised if a search cannot be computed for all ticks at once; the message names the part that prevents it."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a window: ``field`` ``sign`` ``expression``, a date or date maths with the tick's times in it."""

    field: str
    sign: str
    expression: str
    zone: str | None = None
    pattern: str | None = None

    def millis(self, ticks: Ticks) -> NDArray[np.int64]:
        """Return the bound at each tick, in milliseconds.

        Raises:
            NotPlannedError: it is not a date.
        """
        steady = _STEADY.fullmatch(self.expression)
        if steady and self.zone is None and self.pattern is None:
            base = ticks.executed if steady[1] == _EXECUTED else ticks.scheduled
            start = int(base[0]) if len(base) else 0
            shift = self._at(start, start) - start
            return base + shift
        pairs = zip(ticks.executed.tolist(), ticks.scheduled.tolist(), strict=True)
        return np.array([self._at(executed, scheduled) for executed, scheduled in pairs], np.int64)

    def _at(self, executed: int, scheduled: int) -> int:
        text = self.expression
        if _EXECUTED in text or _SCHEDULED in text:
            text = text.replace(_EXECUTED, datemath.render(executed))
            text = text.replace(_SCHEDULED, datemath.render(scheduled))
        try:
            return datemath.evaluate(
                text,
                now=executed,
                round_up=self.sign in ("gt", "lte"),
                zone=UTC if self.zone is None else datemath.time_zone(self.zone),
                pattern=self.pattern or datemath.DEFAULT_FORMAT,
            )
        except ValueError as error:
            raise NotPlannedError(str(error)) from error


ARRIVED: Final = Bound(ARRIVAL, "lte", _EXECUTED)  # no tick sees an event that arrived after it


@dataclass(frozen=True, slots=True)
class Ticks:
    """The times of a watch's runs: ``ctx.execution_time`` and ``ctx.trigger.scheduled_time``, in milliseconds."""

    executed: NDArray[np.int64]
    scheduled: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """A window from ``start`` until before ``end`` at each tick, in milliseconds; None for an open end."""

    start: NDArray[np.int64] | None = None
    end: NDArray[np.int64] | None = None

    def narrow(self, bound: Bound, ticks: Ticks) -> Window:
        """Return the window that a bound leaves. Times are whole milliseconds, so ``> t`` is from ``t + 1`` on."""
        edge = bound.millis(ticks) + (bound.sign in ("gt", "lte"))
        if bound.sign in ("gt", "gte"):
            return Window(edge if self.start is None else np.maximum(self.start, edge), self.end)
        return Window(self.start, edge if self.end is None else np.minimum(self.end, edge))

    @property
    def edges(self) -> list[NDArray[np.int64]]:
        return [edge for edge in (self.start, self.end) if edge is not None]


def grid_of(edges: Iterable[NDArray[np.int64]]) -> Grid:
    """Return the coarsest grid that contains these edges, in milliseconds; there is at least one."""
    every = np.unique(np.concatenate(list(edges)))
    return Grid(int(every[0]), int(np.gcd.reduce(np.diff(every))) or DAY)


def windows_of(bounds: Iterable[Bound], ticks: Ticks) -> dict[str, Window]:
    """Return the windows that some bounds form, by field.

    Raises:
        NotPlannedError: a field is not a date, or a bound is not one.
    """
    windows: dict[str, Window] = {}
    for bound in sorted(bounds, key=repr):
        field_ = load().field(bound.field)
        if field_ is None or field_.type != "date" or field_.array:
            raise NotPlannedError(f"{bound.field} is not a date of the events")
        windows[bound.field] = windows.get(bound.field, Window()).narrow(bound, ticks)
    return windows


@dataclass(slots=True)
class WindowSplit:
    """A split body: ``body`` is the same at every tick; ``windows`` are the removed ones by a query's place in
    it."""

    body: dict[str, Any]
    windows: dict[Path, tuple[Bound, ...]] = field(default_factory=dict)

    @property
    def has_end(self) -> bool:
        """Return whether events that arrive after some time do not matter."""
        return any(
            bound.field == ARRIVAL and bound.sign in ("lt", "lte")
            for bound in self.windows.get(("query",), ())
        )

    def bounds(self) -> frozenset[Bound]:
        return frozenset(bound for bounds in self.windows.values() for bound in bounds)


def split(watch: Watch, request: SearchRequest) -> WindowSplit:
    """Render a request's body without a particular tick, and remove its windows.

    Raises:
        NotPlannedError: the tick, or an earlier answer, is used in another way.
    """
    if request.depends_on_run:
        raise NotPlannedError("its body depends on what the watch read before")
    context = new_context(watch, now=_ANY, scheduled=_ANY)
    trigger = {"triggered_time": _EXECUTED, "scheduled_time": _SCHEDULED}
    context["ctx"] |= {"execution_time": _EXECUTED, "trigger": trigger, "id": _RUN}
    try:
        body = render_json(request.text, {**context, **request.params})
    except TemplateError as error:
        raise NotPlannedError(str(error)) from error
    parts = WindowSplit({})
    for key, value in body.items():
        if key == "query":
            parts.body[key] = _query(value, ("query",), parts)
        elif key in ("aggs", "aggregations"):
            parts.body[key] = _aggs(value, (), parts)
        else:
            parts.body[key] = _steady(value, key)
    return parts


def _query(query: Any, root: Path, parts: WindowSplit) -> Any:
    bounds: list[Bound] = []
    kept = _taken(query, bounds, ".".join(map(str, root)))
    if bounds:
        parts.windows[root] = tuple(bounds)
    return kept


def _taken(query: Any, bounds: list[Bound], where: str) -> Any:
    """Return the query with ``match_all`` in place of the windows that all of its documents have to be in."""
    if not _moves(query):
        return query
    if isinstance(query, Mapping) and len(query) == 1:
        ((kind, part),) = query.items()
        if kind == "range" and isinstance(part, Mapping) and len(part) == 1:
            ((name, options),) = part.items()
            bounds += _range(name, options, where)
            return {"match_all": {}}
        if kind == "bool" and isinstance(part, Mapping):
            return {"bool": {key: _clause(key, value, bounds, where) for key, value in part.items()}}
        if kind == "constant_score" and isinstance(part, Mapping) and "filter" in part:
            return {kind: {**part, "filter": _taken(part["filter"], bounds, where)}}
    raise NotPlannedError(f"{where}: the tick's time is used elsewhere than in a range that must hold")


def _clause(key: str, value: Any, bounds: list[Bound], where: str) -> Any:
    if key not in ("filter", "must"):
        return _steady(value, where)
    if isinstance(value, list):
        return [_taken(item, bounds, where) for item in value]
    return _taken(value, bounds, where)


def _range(name: str, options: Any, where: str) -> list[Bound]:
    if not isinstance(options, Mapping) or not options.keys() <= {*_SIGNS, "format", "time_zone"}:
        raise NotPlannedError(f"{where}: a range with other options than gt, gte, lt and lte")
    return [
        Bound(name, sign, str(options[sign]), options.get("time_zone"), options.get("format"))
        for sign in _SIGNS
        if options.get(sign) is not None
    ]


def _aggs(aggs: Any, path: Path, parts: WindowSplit) -> Any:
    if not isinstance(aggs, Mapping):
        raise NotPlannedError("aggs: no object")
    kept: dict[str, Any] = {}
    for name, agg in aggs.items():
        if _marked(name):
            raise NotPlannedError(f"aggs: the name {name!r:.80} depends on the tick's time")
        here = (*path, name)
        kept[name] = {}
        for key, value in agg.items():
            if key in ("aggs", "aggregations"):
                kept[name][key] = _aggs(value, here, parts)
            elif key == "filter":
                kept[name][key] = _query(value, here, parts)
            elif key == "filters" and isinstance(value, Mapping):
                kept[name][key] = _filters(value, here, parts)
            else:
                kept[name][key] = _steady(value, ".".join(map(str, here)))
    return kept


def _filters(given: Mapping[str, Any], path: Path, parts: WindowSplit) -> dict[str, Any]:
    filters = given.get("filters")
    if _moves(given) and (given.get("other_bucket") or given.get("other_bucket_key")):
        raise NotPlannedError(f"{'.'.join(map(str, path))}: a window with an other_bucket")
    kept: Any = filters
    if isinstance(filters, Mapping):
        kept = {name: _query(query, (*path, 0, name), parts) for name, query in filters.items()}
    elif isinstance(filters, list):
        kept = [_query(query, (*path, 0, place), parts) for place, query in enumerate(filters)]
    return {**given, "filters": kept}


def _steady(value: Any, where: str) -> Any:
    if _moves(value):
        raise NotPlannedError(f"{where}: the tick's time is used elsewhere than in a range that must hold")
    return value


def _moves(value: Any) -> bool:
    """Return whether anything in a value depends on the tick."""
    if isinstance(value, str):
        return _marked(value) or _NOW.match(value) is not None
    if isinstance(value, Mapping):
        return any(_moves(key) or _moves(one) for key, one in value.items())
    return isinstance(value, list) and any(map(_moves, value))


def _marked(text: str) -> bool:
    return any(mark in text for mark in (_EXECUTED, _SCHEDULED, _RUN))
