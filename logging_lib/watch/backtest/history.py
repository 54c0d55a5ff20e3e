"""Answer the searches of many watches at all their ticks; what they need of a store is counted once."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from logging_lib._util.datemath import to_millis
from logging_lib.store.counting import ARRIVAL, MINUTE, CountPath, CountPlan, CountTable, Grid
from logging_lib.store.port import SearchError, Store, StoreError
from logging_lib.watch.backtest.answers import CountedSearch, to_builtins
from logging_lib.watch.backtest.asof import AsOf
from logging_lib.watch.backtest.plan import EVERYTHING, Plan
from logging_lib.watch.backtest.windows import (
    ARRIVED,
    NotPlannedError,
    Ticks,
    WindowSplit,
    grid_of,
    split,
    windows_of,
)
from logging_lib.watch.evaluate import SearchFunction, new_context, require_complete, store_search
from logging_lib.watch.model import SearchInput, SearchRequest, SearchTransform, Watch
from logging_lib.watch.templating import TemplateError

EVENTS = "logs-"
OTHER_THAN_EVENTS = "the tick's time in a search of other than events"
_NEVER = 1 << 62
Answer = Callable[[int, Mapping[str, Any]], Mapping[str, Any]]
"""Return a search's response at a tick, in a run's context."""


@dataclass(frozen=True)
class ScheduledTick:
    """One run of a watch: the time of the clock, and the scheduled time."""

    now: datetime
    slot: datetime


@dataclass(slots=True)
class _Run:
    """A search of a watch at all its ticks, with its plan or the reason why it has none."""

    watch: Watch
    search: SearchInput | SearchTransform
    moments: Sequence[ScheduledTick]
    ticks: Ticks
    plan: Plan | _Changes | None = None
    reason: str = ""
    is_steady: bool = False  # it contains no tick's time, or searches no events
    counted: _Counted | None = None

    @property
    def request(self) -> SearchRequest:
        return self.search.request


@dataclass(slots=True)
class _Counted:
    """The counts of the same documents in the same slots."""

    counts: CountPlan
    grid: Grid
    start: int | None = _NEVER
    end: int = -_NEVER
    tables: dict[CountPath, CountTable] | None = None
    reason: str = ""

    def join(self, other: Plan | _Changes | _Counted) -> None:
        """Add the needs of another search."""
        self.counts.tree.join(other.counts.tree)
        self.start = None if self.start is None or other.start is None else min(self.start, other.start)
        self.end = max(self.end, other.end)

    def covers(self, other: _Counted) -> bool:
        """Return whether everything that another one needs was counted."""
        begins = self.start is None or (other.start is not None and self.start <= other.start)
        return begins and self.end >= other.end and self.counts.tree.covers(other.counts.tree)


class EventHistory:
    """The counts of a store's events that the watches' searches need, from which they are answered.

    Args:
        store: has the events, with their arrival in ``event.ingested``, and the profiles.
        is_past: whether a tick sees only what had arrived by then, as in a backtest. Otherwise all ticks are missed
            ones that are caught up now, and searches that are not counted are left to the run.
    """

    def __init__(self, store: Store, *, is_past: bool = True) -> None:
        self._store: Store = AsOf(store) if is_past else store
        self._is_past = is_past
        self._counts: dict[tuple[tuple[str, ...], str, Grid], _Counted] = {}
        self._streams: dict[tuple[str, ...], int] = {}

    def searches(self, runs: Iterable[tuple[Watch, Sequence[ScheduledTick]]]) -> list[Answers]:
        """Return the answers for the runs of each watch."""
        planned = [(watch, self._plan(watch, moments), moments) for watch, moments in runs]
        self._count([run for _, named, _ in planned for _, run in named if run.plan is not None])
        return [self._answers(watch, named, moments) for watch, named, moments in planned]

    # -- plans ---------------------------------------------------------------------------------------------

    def _plan(self, watch: Watch, moments: Sequence[ScheduledTick]) -> list[tuple[str, _Run]]:
        ticks = Ticks(
            np.array([to_millis(moment.now) for moment in moments], np.int64),
            np.array([to_millis(moment.slot) for moment in moments], np.int64),
        )
        planned = []
        for _, name, search in watch.definition.searches():
            run = _Run(watch, search, moments, ticks)
            planned.append((name, run))
            try:
                self._plan_run(run)
            except (NotPlannedError, StoreError) as error:
                run.reason = run.reason or str(error)
        return planned

    def _plan_run(self, run: _Run) -> None:
        parts = split(run.watch, run.request)
        if not of_events(run.request):
            if parts.windows:
                raise NotPlannedError(OTHER_THAN_EVENTS)
            run.is_steady = True
            return
        indices = tuple(run.request.indices)
        if indices not in self._streams:
            self._streams[indices] = len(self._store.streams(list(indices)))
        if not self._streams[indices] or not run.moments:
            run.is_steady = True
            return
        try:
            if not self._is_past and not parts.has_end:
                raise NotPlannedError("its window has no end")
            run.plan = Plan(indices, parts, run.ticks)
        except (NotPlannedError, SearchError) as error:
            run.reason = str(error)
            if self._is_past:
                run.plan = _Changes(indices, parts, run.ticks)

    # -- counts --------------------------------------------------------------------------------------------

    def _count(self, runs: Sequence[_Run]) -> None:
        """Count what some searches need; those that need the same documents are counted together."""
        grids: dict[tuple[tuple[str, ...], str], Grid] = {}
        for run in runs:
            assert run.plan is not None
            documents, grid = run.plan.counts.documents, run.plan.grid
            if grid.size >= MINUTE:
                grids[documents] = grids.get(documents, grid).join(grid)
        together: dict[tuple[tuple[str, ...], str, Grid], list[_Run]] = {}
        for run in runs:
            assert run.plan is not None
            documents, grid = run.plan.counts.documents, run.plan.grid
            if grid.size >= MINUTE <= grids[documents].size:
                grid = grids[documents]
            together.setdefault((*documents, grid), []).append(run)
        for key, needing in together.items():
            counted = self._counted(key, needing)
            for run in needing:
                run.counted = counted
                if counted.reason and len(needing) > 1:  # perhaps a need of only one search prevents counting
                    run.counted = self._counted(key, [run])

    def _counted(self, key: tuple[tuple[str, ...], str, Grid], runs: Sequence[_Run]) -> _Counted:
        """Count what was not counted before."""
        wanted = _Counted(CountPlan(*key[:2]), key[2])
        for run in runs:
            assert run.plan is not None
            wanted.join(run.plan)
        before = self._counts.get(key)
        if before is not None and not before.reason:
            if before.covers(wanted):
                return before
            wanted.join(before)
        try:
            wanted.tables = dict(self._store.counts(wanted.counts, wanted.grid, wanted.start, wanted.end))
        except StoreError as error:
            wanted.reason = str(error)
        self._counts[key] = wanted
        return wanted

    # -- answers -------------------------------------------------------------------------------------------

    def _answers(
        self, watch: Watch, runs: Sequence[tuple[str, _Run]], moments: Sequence[ScheduledTick]
    ) -> Answers:
        answers: dict[int, Answer] = {}
        slow: dict[str, str] = {}
        asks = _has_source(watch)
        for name, run in runs:
            ask = _each(self._store, run.search, run.moments)
            try:
                if run.is_steady:
                    changes = [] if of_events(run.request) else self._find_changes(moments)
                    answer, is_complete = _once(ask, watch, moments, changes)
                    asks = asks or not is_complete
                else:
                    answer = self._answer(run, ask)
            except NotPlannedError as error:
                run.reason, answer = run.reason or str(error), ask
            if run.reason:
                slow[name] = run.reason
                asks = True
                if not self._is_past:
                    continue
            answers[id(run.request)] = _plainly(answer) if reads_all(watch) else answer
        places = {to_millis(moment.now): place for place, moment in enumerate(moments)}
        return Answers(answers, places, slow, asks)

    def _answer(self, run: _Run, ask: Answer) -> Answer:
        """Return the function that answers a search at a tick. Raises NotPlannedError."""
        if run.plan is None or run.counted is None:
            raise NotPlannedError(run.reason)
        if run.counted.tables is None:
            raise NotPlannedError(run.counted.reason)
        if isinstance(run.plan, _Changes):
            return run.plan.answer(run.counted, ask)
        request = run.request
        planned = CountedSearch(
            run.plan,
            run.counted.tables,
            run.counted.grid,
            run.ticks,
            streams=self._streams[tuple(request.indices)],
            as_int=request.rest_total_hits_as_int,
        )
        if not planned.may_be_cut:
            return lambda tick, context: planned.answer(tick)
        if not self._is_past:
            raise NotPlannedError("terms beyond its size would be left out")
        body = run.plan.split.body
        return lambda tick, context: require_complete(request, body, planned.answer(tick))

    def _find_changes(self, moments: Sequence[ScheduledTick]) -> Sequence[datetime]:
        """Find when the learned parts of profiles change; if the store does not say, they may change at each
        tick."""
        if not isinstance(self._store, AsOf):
            return []
        try:
            return self._store.find_changes()
        except StoreError:
            return [moment.now for moment in moments]


class _Changes:
    """The ticks at which a search may answer differently: it is not repeated while its windows have the same
    events.

    Raises:
        NotPlannedError: a window is over a time other than arrival.
    """

    def __init__(self, indices: tuple[str, ...], found: WindowSplit, ticks: Ticks) -> None:
        self.counts = CountPlan(indices, EVERYTHING)
        windows = [windows_of([bound], ticks) for bound in (ARRIVED, *found.bounds())]
        if any(window.keys() != {ARRIVAL} for window in windows):
            raise NotPlannedError("a window over another time than arrival, in a search that is not counted")
        edges = [
            edge
            for window in windows
            for edge in (window[ARRIVAL].start, window[ARRIVAL].end)
            if edge is not None
        ]
        self._edges = np.stack(edges)
        self.grid = grid_of(edges)
        self.start, self.end = None, int(self._edges.max())

    def answer(self, counted: _Counted, ask: Answer) -> Answer:
        assert counted.tables is not None
        slots = counted.tables[()].slots
        content = list(map(tuple, np.searchsorted(slots, counted.grid.place(self._edges)).T.tolist()))
        kept: dict[tuple[int, ...], Mapping[str, Any]] = {}

        def answer(tick: int, context: Mapping[str, Any]) -> Mapping[str, Any]:
            if content[tick] not in kept:
                kept[content[tick]] = ask(tick, context)
            return kept[content[tick]]

        return answer


@dataclass(frozen=True)
class Answers:
    """Answers to one watch's searches.

    ``slow`` are the searches that were not answered from counts, and why. ``asks`` says that the store is asked
    while the watch runs, for such a search or by a user's own script.
    """

    _made: dict[int, Answer]
    _places: Mapping[int, int]
    slow: Mapping[str, str]
    asks: bool

    def search(self, now: datetime) -> SearchFunction:
        tick = self._places[to_millis(now)]
        return lambda request, timeout, context: self._made[id(request)](tick, context)

    def release(self) -> None:
        """Drop the data that was built from the counts for these ticks."""
        self._made.clear()

    def search_at(self, tick: int, direct: SearchFunction) -> SearchFunction:
        """Return the search function of a run; ``direct`` answers searches that were not counted."""

        def search(
            request: SearchRequest, timeout: timedelta | None, context: Mapping[str, Any]
        ) -> Mapping[str, Any]:
            answer = self._made.get(id(request))
            return direct(request, timeout, context) if answer is None else answer(tick, context)

        return search


def explain_direct_searches(watch: Watch) -> Iterator[tuple[str, str]]:
    """Yield the names of the searches that a backtest sends to the store at ticks, and why it does not count
    them."""
    moment = np.array([0], np.int64)
    for _, name, search in watch.definition.searches():
        request = search.request
        try:
            parts = split(watch, request)
            if of_events(request):
                Plan(request.indices, parts, Ticks(moment, moment))
            elif parts.windows:
                raise NotPlannedError(OTHER_THAN_EVENTS)
        except (NotPlannedError, SearchError) as error:
            yield name, str(error)


def list_event_indices(watches: Iterable[Watch]) -> list[str]:
    """List the indices of events that watches search."""
    requests = [search.request for watch in watches for *_, search in watch.definition.searches()]
    return sorted({name for request in requests if of_events(request) for name in request.indices})


def _has_source(watch: Watch) -> bool:
    """Return whether a script is the user's own, which the store executes."""
    return '"source":' in watch.definition.model_dump_json(exclude={"metadata", "trigger"}, exclude_none=True)


def reads_all(watch: Watch) -> bool:
    """Return whether anything but the shipped scripts may read an answer, which then has to be plain JSON."""
    definition = watch.definition
    text = definition.model_dump_json(exclude={"metadata", "trigger"}, exclude_none=True)
    if '"source":' in text or '"index":{' in text or '"data":' in text or definition.transform is not None:
        return True
    asked = {name for _, name, _ in definition.searches()}
    return any(not match[1] or match[1] in asked for match in _PAYLOAD.finditer(text))


_PAYLOAD = re.compile(r"ctx\.payload(?:\.(\w+))?")


def of_events(request: SearchRequest) -> bool:
    """Return whether a search reads only events."""
    names = [name.strip() for entry in request.indices for name in entry.split(",")]
    return all(name.startswith(EVENTS) for name in names)


def _plainly(ask: Answer) -> Answer:
    def answer(tick: int, context: Mapping[str, Any]) -> Mapping[str, Any]:
        answered: Mapping[str, Any] = to_builtins(ask(tick, context))
        return answered

    return answer


def _each(store: Store, asked: SearchInput | SearchTransform, moments: Sequence[ScheduledTick]) -> Answer:
    """Return a function that asks the store at every tick."""
    return lambda tick, context: store_search(store, moments[tick].now)(asked.request, asked.timeout, context)


def _once(
    ask: Answer, watch: Watch, moments: Sequence[ScheduledTick], changes: Sequence[datetime]
) -> tuple[Answer, bool]:
    """Ask the store once for each of these changes, since the search depends on the time only through what profiles
    have learned. If that fails, the store is asked at each tick until it answers; the result says whether it always
    did."""
    nows = [moment.now for moment in moments]
    starts = sorted({0, *(bisect_left(nows, change) for change in changes)} - {len(nows)})
    answers: dict[int, Mapping[str, Any]] = {}
    for start in starts:
        with suppress(StoreError, TemplateError):
            context = new_context(watch, now=moments[start].now, scheduled=moments[start].slot)
            answers[start] = ask(start, context)

    def answer(tick: int, context: Mapping[str, Any]) -> Mapping[str, Any]:
        start = starts[bisect_right(starts, tick) - 1]
        if start not in answers:
            answers[start] = ask(tick, context)
        return answers[start]

    return answer, len(answers) == len(starts) > 0
