"""The answers to many watches' searches at all their ticks: what they need of a store is read once."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from logging_lib._util.datemath import to_millis
from logging_lib.schema.fields import load
from logging_lib.store import columns
from logging_lib.store.columns import ColumnSet, ListsError, ReadRequest
from logging_lib.store.forkpool import available_processes
from logging_lib.store.port import SearchError, Store, StoreError
from logging_lib.watch.backtest.answers import Search
from logging_lib.watch.backtest.arrivals import PREDICTIONS, Arrivals, describe_times
from logging_lib.watch.backtest.asof import AsOf
from logging_lib.watch.backtest.buckets import to_builtins
from logging_lib.watch.backtest.event_time import HAPPENED
from logging_lib.watch.backtest.frame import Frame, empty_scope
from logging_lib.watch.backtest.plan import Plan
from logging_lib.watch.backtest.windows import ARRIVAL, ARRIVED, NotPlannedError, Ticks, WindowSplit, split
from logging_lib.watch.evaluate import SearchFunction, new_context, require_complete, store_search
from logging_lib.watch.model import Input, SearchRequest, Transform, Watch
from logging_lib.watch.templating import TemplateError

EVENTS = "logs-"
_PART_BYTES = 32 << 20  # that one process reads at once
Answer = Callable[[int, Mapping[str, Any]], Mapping[str, Any]]
"""A search's response at a tick, in a run's context."""


@dataclass(frozen=True)
class ScheduledTick:
    """One run of a watch: the clock, and the schedule's slot."""

    now: datetime
    slot: datetime


class EventHistory:
    """Reads what the watches' searches need of a store's events.

    Args:
        store: holds the events, with their arrival in ``event.ingested``, and the profiles.
    """

    def __init__(self, store: Store, watches: Iterable[Watch]) -> None:
        self._store = AsOf(store)
        self._read = store
        self._needed: dict[str, set[str]] = {}
        self._counted: dict[str, set[str]] = {}
        self._together: dict[tuple[str, ...], set[str]] = {}
        self._frames: dict[tuple[str, ...], Frame] = {}
        self._columns: dict[str, ColumnSet | ListsError] = {}
        self._splits: dict[int, WindowSplit] = {}
        self._reasons: dict[int, str] = {}
        self._names: dict[int, tuple[str, ...]] = {}
        self._watches = list(watches)  # held, since their parts are known by identity
        for watch in self._watches:
            for _, given in searches(watch):
                self._plan(watch, given)

    def _plan(self, watch: Watch, given: SearchRequest) -> None:
        key = id(given)
        try:
            found = self._splits[key] = split(watch, given)
            fields, counted = {bound.field for bound in found.bounds()}, set[str]()
            if not of_events(given):
                if found.windows:
                    raise NotPlannedError("the tick's time in a search of other than events")
                return
            try:
                plan = Plan(found, empty_scope())
                fields, counted = fields | plan.fields(), plan.counted()
            except (NotPlannedError, SearchError) as error:
                self._reasons[key] = str(error)
            if any((one := load().field(name)) is None or one.dynamic for name in fields | counted):
                raise NotPlannedError("a field that is not in the schema")
            self._names[key] = self._need(list(given.indices), fields, counted)
        except (NotPlannedError, StoreError) as error:
            self._reasons[key] = str(error)
            self._splits.pop(key, None)

    def _need(self, indices: list[str], fields: set[str], counted: set[str]) -> tuple[str, ...]:
        names = tuple(self._read.streams(indices))
        self._together.setdefault(names, {ARRIVAL}).update(fields, counted)
        for name in names:
            self._needed.setdefault(name, {ARRIVAL}).update(fields)
            self._counted.setdefault(name, set()).update(counted)
        return names

    def _frame(self, names: tuple[str, ...]) -> Frame:
        """Raises NotPlannedError."""
        if names not in self._frames:
            read = {name: self._loaded(name) for name in names}
            fields = self._together[names]
            self._frames[names] = Frame({name: _with(one, fields) for name, one in read.items()})
        return self._frames[names]

    def _loaded(self, name: str) -> ColumnSet:
        """All that any search needs of a stream: its lines are read one time, with those of all other streams."""
        if name not in self._columns:
            self._read_all()
        found = self._columns[name]
        if isinstance(found, ListsError):
            raise NotPlannedError(str(found)) from found
        return found

    def _read_all(self) -> None:
        shared: dict[str, ReadRequest] = {}
        for name, fields in self._needed.items():
            if name in self._columns:
                continue
            counted = self._counted[name] - fields
            parts = self._read.partitions(name, fields | counted, _PART_BYTES)
            if parts:
                shared[name] = ReadRequest(parts, fields, counted)
                continue
            try:
                lines = self._read.iter_json(name, fields | counted)
                self._columns[name] = columns.read_columns(lines, fields, present=counted)
            except ListsError as error:
                self._columns[name] = error
        many = any(len(asked.parts) > 1 for asked in shared.values())
        self._columns |= columns.read_parts(shared, processes=available_processes() if many else 1)

    def _times(self, names: Iterable[str], field: str) -> NDArray[np.int64]:
        times = [np.zeros(0, np.int64)]
        for name in names:
            column = self._loaded(name).columns[field]
            assert column.data is not None
            times.append(column.data if column.valid is None else column.data[column.valid])
        return np.concatenate(times)

    def arrivals(self) -> Arrivals:
        """Describe when the predictions, and all that the watches read, arrived.

        Raises:
            NotPlannedError: the events cannot be read in one pass.
        """
        predictions = self._need([PREDICTIONS], {HAPPENED}, set())
        return describe_times(
            self._times(self._needed, ARRIVAL),
            self._times(predictions, ARRIVAL),
            self._times(predictions, HAPPENED),
        )

    def searches(self, watch: Watch, moments: Sequence[ScheduledTick]) -> Answers:
        """Return the answers for the runs of a watch."""
        ticks = Ticks(
            np.array([to_millis(one.now) for one in moments], np.int64),
            np.array([to_millis(one.slot) for one in moments], np.int64),
        )
        made: dict[int, Answer] = {}
        slow: dict[str, str] = {}
        asks, size, listed = _has_source(watch), 1, frozenset[str]()
        for name, given in searches(watch):
            key = id(given)
            try:
                answered = self._answered(watch, given, ticks, moments)
            except NotPlannedError as error:
                self._reasons.setdefault(key, str(error))
                answered = _Answered(_each(self._store, given, moments))
            made[key] = _plainly(answered.answer) if reads_all(watch) else answered.answer
            size, listed = size + answered.size, listed | answered.listed
            asks = asks or answered.asks
            if key in self._reasons:
                slow[name] = self._reasons[key]
                asks = True
        places = {int(now): place for place, now in enumerate(ticks.executed)}
        return Answers(made, places, slow, asks, size, listed)

    def _find_changes(self, moments: Sequence[ScheduledTick]) -> Sequence[datetime]:
        """Find when what profiles have learned changes; each tick may where the store does not say."""
        try:
            return self._store.find_changes()
        except StoreError:
            return [moment.now for moment in moments]

    def _answered(
        self, watch: Watch, given: SearchRequest, ticks: Ticks, moments: Sequence[ScheduledTick]
    ) -> _Answered:
        key = id(given)
        found = self._splits.get(key)
        if found is None:
            raise NotPlannedError(self._reasons[key])
        ask = _each(self._store, given, moments)
        if not of_events(given) or not self._names[key]:
            return _once(ask, watch, moments, [] if of_events(given) else self._find_changes(moments))
        frame = self._frame(self._names[key])
        if key in self._reasons:
            return _Answered(_where_it_changes(ask, frame, found, ticks))
        try:
            planned = Search(
                frame,
                found,
                ticks,
                streams=len(self._names[key]),
                as_int=given.rest_total_hits_as_int,
            )
        except SearchError as error:
            raise NotPlannedError(str(error)) from error
        answer: Answer = lambda tick, context: planned.answer(tick)  # noqa: E731
        if planned.may_be_cut():
            answer = lambda tick, context: require_complete(given, found.body, planned.answer(tick))  # noqa: E731
        return _Answered(answer, planned.size(), planned.listed())


@dataclass(frozen=True)
class _Answered:
    """See ``Answers``."""

    answer: Answer
    size: int = 0
    listed: frozenset[str] = frozenset()
    asks: bool = False


@dataclass(frozen=True)
class Answers:
    """Answers to one watch's searches.

    ``slow``: those that were not computed for all ticks at once, and why. ``asks``: the store is asked while the
    watch runs, for such a search or by a script of the user's own. ``size``: about how many buckets and metrics a
    tick's answers have. ``listed``: the fields of lists by whose values they part the events.
    """

    _made: Mapping[int, Answer]
    _places: Mapping[int, int]
    slow: Mapping[str, str]
    asks: bool
    size: int
    listed: frozenset[str]

    def search(self, now: datetime) -> SearchFunction:
        tick = self._places[to_millis(now)]
        return lambda request, timeout, context: self._made[id(request)](tick, context)


def searches(watch: Watch) -> Iterator[tuple[str, SearchRequest]]:
    """Yield the searches of a watch, each with the name that its input has in the chain."""
    definition = watch.definition
    yield from _of_input(definition.input, "input")
    yield from _of_transform(definition.transform, "transform")
    for name, action in definition.actions.items():
        yield from _of_transform(action.transform, f"actions.{name}")


def _of_input(given: Input, name: str) -> Iterator[tuple[str, SearchRequest]]:
    if given.search is not None:
        yield name, given.search.request
    yield from _of_transform(given.transform, name)
    for below, step in given.chain.items() if given.chain else ():
        yield from _of_input(step, below)


def _of_transform(given: Transform | None, name: str) -> Iterator[tuple[str, SearchRequest]]:
    if given is not None and given.search is not None:
        yield name, given.search.request
    for step in (given.chain or ()) if given is not None else ():
        yield from _of_transform(step, name)


def _has_source(watch: Watch) -> bool:
    """Whether a script is the user's own: such are executed by the store."""
    return '"source":' in watch.definition.model_dump_json(exclude={"metadata", "trigger"}, exclude_none=True)


def reads_all(watch: Watch) -> bool:
    """Return whether anything but the shipped scripts may look at an answer: then it has to be plain JSON."""
    definition = watch.definition
    text = definition.model_dump_json(exclude={"metadata", "trigger"}, exclude_none=True)
    if '"source":' in text or '"index":{' in text or '"data":' in text or definition.transform is not None:
        return True
    asked = {name for name, _ in searches(watch)}
    return any(not match[1] or match[1] in asked for match in _PAYLOAD.finditer(text))


_PAYLOAD = re.compile(r"ctx\.payload(?:\.(\w+))?")


def of_events(given: SearchRequest) -> bool:
    """Return whether a search reads events alone."""
    names = [name.strip() for entry in given.indices for name in entry.split(",")]
    return all(name.startswith(EVENTS) for name in names)


def _plainly(ask: Answer) -> Answer:
    def answer(tick: int, context: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = to_builtins(ask(tick, context))
        return found

    return answer


def _with(read: ColumnSet, fields: set[str]) -> ColumnSet:
    return ColumnSet(read.rows, {name: read.columns[name] for name in sorted(fields)})


def _each(store: Store, given: SearchRequest, moments: Sequence[ScheduledTick]) -> Answer:
    """Asks the store anew at every tick."""
    return lambda tick, context: store_search(store, moments[tick].now)(given, None, context)


def _once(
    ask: Answer, watch: Watch, moments: Sequence[ScheduledTick], changes: Sequence[datetime]
) -> _Answered:
    """Asks the store now, as nothing in the search depends on the time but what a profile has learned, from these
    changes on; where that fails, at each tick until it answers."""
    nows = [moment.now for moment in moments]
    starts = sorted({0, *(bisect_left(nows, change) for change in changes)} - {len(nows)})
    found: dict[int, Mapping[str, Any]] = {}
    for start in starts:
        with suppress(StoreError, TemplateError):
            context = new_context(watch, now=moments[start].now, scheduled=moments[start].slot)
            found[start] = ask(start, context)

    def answer(tick: int, context: Mapping[str, Any]) -> Mapping[str, Any]:
        start = starts[bisect_right(starts, tick) - 1]
        if start not in found:
            found[start] = ask(tick, context)
        return found[start]

    return _Answered(answer, asks=len(found) < len(starts) or not starts)


def _where_it_changes(ask: Answer, frame: Frame, found: WindowSplit, ticks: Ticks) -> Answer:
    """Asks the store at the ticks at which some window has other events than at any tick before."""
    places = [
        np.searchsorted(frame.sorted(bound.field), bound.millis(ticks), _SIDES[bound.sign])
        for bound in [ARRIVED, *sorted(found.bounds(), key=repr)]
    ]
    content = list(map(tuple, np.stack(places).T.tolist()))
    kept: dict[tuple[int, ...], Mapping[str, Any]] = {}

    def answer(tick: int, context: Mapping[str, Any]) -> Mapping[str, Any]:
        if content[tick] not in kept:
            kept[content[tick]] = ask(tick, context)
        return kept[content[tick]]

    return answer


_SIDES: dict[str, Literal["left", "right"]] = {"gt": "right", "lte": "right", "gte": "left", "lt": "left"}
