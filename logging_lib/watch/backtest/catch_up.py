"""Catch up missed scheduled runs: if there are many of them, their searches are answered from counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Final

from logging_lib.store.port import Store
from logging_lib.watch.backtest.history import Answers, EventHistory, ScheduledTick
from logging_lib.watch.evaluate import (
    DependenciesOf,
    Due,
    PrepareRuns,
    RunDependencies,
    SearchFunction,
    prepare_live_runs,
)
from logging_lib.watch.model import Watch

MANY_RUNS: Final = 10
"""From this number of runs of one watch on, counting what they need once costs less than their searches."""


def prepare_missed_runs(store: Store) -> PrepareRuns:
    """Return a function that prepares runs like ``prepare_live_runs``, but counts for watches with many runs."""
    prepare_live = prepare_live_runs(store)

    def prepare(due: Due, now: datetime) -> DependenciesOf:
        live = prepare_live(due, now)
        missed = {
            watch.id: _MissedRuns(store, watch, scheduled, now)
            for watch, scheduled in due
            if len(scheduled) >= MANY_RUNS
        }

        def dependencies(watch: Watch, scheduled: datetime) -> RunDependencies:
            run_dependencies = live(watch, scheduled)
            if watch.id in missed:
                run_dependencies = replace(
                    run_dependencies, search=missed[watch.id].search(scheduled, run_dependencies.search)
                )
            return run_dependencies

        return dependencies

    return prepare


class _MissedRuns:
    """The runs of one watch that are caught up at one time; they are counted when the first one searches."""

    def __init__(self, store: Store, watch: Watch, scheduled: Sequence[datetime], now: datetime) -> None:
        self._store = store
        self._watch = watch
        self._now = now
        self._places = {time: place for place, time in enumerate(scheduled)}

    def search(self, scheduled: datetime, direct: SearchFunction) -> SearchFunction:
        return self._answers.search_at(self._places[scheduled], direct)

    @cached_property
    def _answers(self) -> Answers:
        ticks = [ScheduledTick(self._now, scheduled) for scheduled in self._places]
        (answers,) = EventHistory(self._store, is_past=False).searches([(self._watch, ticks)])
        return answers
