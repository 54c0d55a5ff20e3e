"""Runs watches: evaluates those that are due, decides by incident whom to tell, writes that down, delivers.

One watch's failure never stops another's run, one action's failure never another action. ``daemon`` calls the
same parts from several threads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path

from logging_lib.store.port import Store
from logging_lib.watch.actions import Outlets
from logging_lib.watch.errors import WatchError, WatchProblem
from logging_lib.watch.evaluate import Means, Scripts, means_of
from logging_lib.watch.model import Watch
from logging_lib.watch.model.schedule import find_due_time, iter_scheduled_times
from logging_lib.watch.runner import incidents as inc
from logging_lib.watch.runner import judging, records
from logging_lib.watch.runner.delivery import Delivered, Guard, Postman
from logging_lib.watch.runner.incidents import Patience
from logging_lib.watch.runner.judging import Judgment
from logging_lib.watch.runner.outbox import Policy
from logging_lib.watch.runner.recovery import patience_of
from logging_lib.watch.runner.results import Report, Retry, Status, WatchRun
from logging_lib.watch.runner.state import MemoryState, StateError, StateStore

CATCH_UP_MOST = 500


@dataclass(frozen=True)
class Options:
    """How a runner behaves where a watch says nothing.

    Attributes:
        patience: how long a finding must be absent before its incident is over (``metadata.recovery_after``).
        fallback: where messages go that their own channel does not take, by kind (``metadata.fallback``).
        catch_up: run all slots that were missed, the latest 500 at most; else only the latest one.
    """

    policy: Policy = field(default_factory=Policy)
    patience: Patience = field(default_factory=Patience)
    fallback: Mapping[str, str] = field(default_factory=dict)
    catch_up: bool = False


class Runner:
    """Evaluates watches over a store and performs their actions.

    Args:
        outlets: who delivers, by kind (``email``, ``slack``, ``logging``); see ``actions.outlets_from``.
        scripts: stored scripts by id; default: the shipped ones.
        state: what is remembered between runs; default: in memory.
        alerts: a file to which each performed alert is appended as one line of JSON.
        judged: makes the payload of a judging script from fewer findings; default: ``scripts.judged``.
        dry_run: the outlets only show: what they took is reported as ``would_send``.
        guard: called before each message goes out; it raises where another runner took over.
        means: what a watch's run at a time may use; default: ``means_of`` the store.

    Raises:
        WatchError: when a watch's metadata says of the recovery what cannot be.
    """

    def __init__(
        self,
        store: Store,
        watches: Iterable[Watch],
        *,
        outlets: Outlets,
        scripts: Scripts | None = None,
        state: StateStore | None = None,
        alerts: str | Path | None = None,
        judged: inc.Judged | None = None,
        dry_run: bool = False,
        options: Options | None = None,
        guard: Guard = lambda: None,
        means: Callable[[Watch, datetime], Means] | None = None,
    ) -> None:
        self.watches = {watch.id: watch for watch in watches}
        self.state: StateStore = MemoryState(history=False) if state is None else state
        self._alerts = None if alerts is None else Path(alerts)
        self._sent: Status = "would_send" if dry_run else "executed"
        self._options = options = options or Options()
        self._last: dict[str, datetime | None] = {}
        self._next: dict[str, datetime] = {}
        self.postman = Postman(self.state, outlets, options.policy, guard)
        self._patience = {watch.id: _patience(watch, options.patience) for watch in self.watches.values()}
        if means is None:
            means = lambda watch, now: means_of(store, now=now, scripts=scripts)  # noqa: E731
        self._judge = judging.Judge(means, self.state, self.postman, judged=judged, fallback=options.fallback)

    def run_once(self, now: datetime, watch_ids: Iterable[str] | None = None) -> Report:
        """Run all watches, or these, whatever their schedule; what was not delivered is tried again at once.

        Raises:
            KeyError: for an id that no watch has.
        """
        ids = list(self.watches) if watch_ids is None else list(watch_ids)
        return self._run([(self.watches[watch_id], now) for watch_id in ids], now, at_once=True)

    def tick(self, now: datetime) -> Report:
        """Run the watches that became due since the last tick, and try again what waits for its next try."""
        due = [(watch, slot) for watch, missed in self.due(now) for slot in missed]
        return self._run(due, now)

    def due(self, now: datetime) -> list[tuple[Watch, list[datetime]]]:
        """The watches that are due, each with its slots, the oldest first."""
        found = []
        for watch in self.watches.values():
            if now < self._next.get(watch.id, now):
                continue
            if watch.id not in self._last:
                self._last[watch.id] = self._slot_of(watch)
            last = self._last[watch.id]
            latest = find_due_time(watch.schedule, last, now)
            if latest is None:
                following = watch.schedule.next(now)
                if following is not None:
                    self._next[watch.id] = following
                continue
            missed = [latest]
            if self._options.catch_up and last is not None:
                missed = list(iter_scheduled_times(watch.schedule, last, now))[-CATCH_UP_MOST:] or missed
            found.append((watch, missed))
        return found

    def _slot_of(self, watch: Watch) -> datetime | None:
        """The slot that was run last. A state that cannot be read fails that watch's own run, and no other's."""
        try:
            return self.state.load(watch.id).last
        except StateError:
            return None

    def forget(self) -> None:
        """What other runners may have changed is read anew."""
        self._last.clear()
        self._next.clear()
        self.postman.forget()

    def judge(self, watch: Watch, slot: datetime, now: datetime) -> Judgment:
        """Evaluate a watch and write down what is to be told. Safe to call from several threads, for different
        watches."""
        try:
            return self._judge(watch, slot, now, self._patience[watch.id])
        finally:
            self._last[watch.id] = slot

    def finish(self, now: datetime, judgments: Iterable[Judgment], delivered: Iterable[Delivered]) -> Report:
        """What was done, with what became of its messages; written into the history and the file of alerts."""
        judgments, delivered = list(judgments), list(delivered)
        outcomes = {each.entry.id: each for each in delivered}
        runs = [judgment.finished(outcomes, self._sent) for judgment in judgments]
        runs = [self._written(run) for run in runs]
        new = set(chain.from_iterable(judgment.entries for judgment in judgments))
        retries = [
            Retry(
                each.watch, each.entry.action, each.entry.message.summary, each.ok, each.attempts, each.reason
            )
            for each in delivered
            if each.entry.id not in new
        ]
        self.state.record(records.of(runs, delivered, now))
        return Report(now, tuple(runs), tuple(retries))

    def _run(self, due: list[tuple[Watch, datetime]], now: datetime, *, at_once: bool = False) -> Report:
        judgments = [self.judge(watch, slot, now) for watch, slot in due]
        return self.finish(now, judgments, self.postman.deliver(now, at_once=at_once))

    def _written(self, run: WatchRun) -> WatchRun:
        """The run, after its alerts were appended to the file of alerts; with the reason where that failed."""
        alerts = [alert for alert in run.alerts if alert.performed]
        if self._alerts is None or not alerts:
            return run
        lines = [json.dumps(alert.document(), ensure_ascii=False, default=str) + "\n" for alert in alerts]
        try:
            append(self._alerts, "".join(lines))
        except OSError as error:
            return run.with_unwritten(f"{self._alerts}: the alert was not written: {error.strerror or error}")
        return run


def append(file: Path, text: str) -> None:
    """Append to a file of alerts, making it and its folder; with no text, only try. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, text.encode("utf-8", "replace"))
    finally:
        os.close(descriptor)


def _patience(watch: Watch, default: Patience) -> Patience:
    try:
        return patience_of(watch.metadata, default)
    except ValueError as error:
        raise WatchError([WatchProblem(watch.file, "$.metadata.recovery_after", str(error))]) from None
