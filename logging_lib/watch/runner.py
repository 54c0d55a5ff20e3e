"""Runs watches: evaluates those that are due, throttles by incident, delivers, remembers.

One watch's failure never stops another's run, one action's failure never another action.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from logging_lib.store.port import Store
from logging_lib.watch import incidents as inc
from logging_lib.watch.acting import prepare
from logging_lib.watch.actions import DeliveryError, Outlet, Outlets
from logging_lib.watch.context import with_payload
from logging_lib.watch.errors import RunError
from logging_lib.watch.evaluate import (
    Evaluation,
    Means,
    Scripts,
    evaluate,
    means_of,
    run_transform,
)
from logging_lib.watch.messages import Message, MessageError
from logging_lib.watch.model import Action, Watch
from logging_lib.watch.results import ActionResult, Alert, Report, Retry, Status, WatchRun
from logging_lib.watch.schedule import due_slot
from logging_lib.watch.state import MemoryState, StateStore, Undelivered, WatchState


class Runner:
    """Evaluates watches over a store and performs their actions.

    Args:
        outlets: who delivers, by kind (``email``, ``slack``, ``logging``); see ``actions.outlets_from``.
        scripts: stored scripts by id; default: the shipped ones.
        state: what is remembered between runs; default: in memory.
        alerts: a file to which each performed alert is appended as one line of JSON.
        judged: makes the payload of a judging script from fewer findings; default: ``scripts.judged``.
        dry_run: the outlets only show: what they took is reported as ``would_send``.
        means: what a watch's run at a time may use; default: ``means_of`` the store.
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
        means: Callable[[Watch, datetime], Means] | None = None,
    ) -> None:
        self._store = store
        self._watches = {watch.id: watch for watch in watches}
        self._outlets = outlets
        self._scripts = scripts
        self._state: StateStore = MemoryState() if state is None else state
        self._alerts = None if alerts is None else Path(alerts)
        self._judged = _default_judged() if judged is None else judged
        self._sent: Status = "would_send" if dry_run else "executed"
        self._slots: dict[str, datetime] = {}
        self._means = means or (lambda watch, now: means_of(store, now=now, scripts=scripts))

    def run_once(self, now: datetime, watch_ids: Iterable[str] | None = None) -> Report:
        """Run all watches, or these, whatever their schedule; first try again what was not delivered.

        Raises:
            KeyError: for an id that no watch has.
        """
        ids = list(self._watches) if watch_ids is None else list(watch_ids)
        return self._run([(self._watches[watch_id], now) for watch_id in ids], now)

    def tick(self, now: datetime) -> Report:
        """Run the watches that became due since the last tick; their slots are aligned to their interval."""
        due = []
        for watch in self._watches.values():
            slot = due_slot(watch.schedule, self._slots.get(watch.id), now)
            if slot is not None:
                self._slots[watch.id] = slot
                due.append((watch, slot))
        return self._run(due, now)

    def _run(self, due: list[tuple[Watch, datetime]], now: datetime) -> Report:
        delivery = _Delivery(self._outlets)
        retries = [retry for watch_id in self._state.watch_ids() for retry in self._retry(watch_id, delivery)]
        runs = [self._run_watch(watch, now, slot, delivery) for watch, slot in due]
        return Report(now, tuple(runs), tuple(retries))

    def _run_watch(self, watch: Watch, now: datetime, slot: datetime, delivery: _Delivery) -> WatchRun:
        means = self._means(watch, now)
        try:
            evaluation = evaluate(watch, means=means, now=now, scheduled=slot)
            groups = _groups(watch, evaluation, means, self._judged) if evaluation.met else []
        except RunError as error:
            return WatchRun(watch.id, now, error=str(error), judged=False)
        except Exception as error:  # noqa: BLE001 - whatever broke this watch must not stop the others
            return WatchRun(watch.id, now, error=f"{type(error).__name__}: {error}", judged=False)
        record = _Record(self._state, watch.id)
        seen = [key for group in groups for key in group.about.keys]
        record.update(record.state.with_incidents(inc.observe(record.state.by_key(), seen, now)))
        alerts = []
        unwritten = ""
        for group in groups:
            alert = self._perform(watch, group, now, record, delivery, means)
            alerts.append(alert)
            if alert.performed:
                unwritten = self._append(alert) or unwritten
        skipped = inc.skipped(evaluation.payload)
        judged = inc.is_judged(evaluation.payload)
        return WatchRun(watch.id, now, evaluation.met, None, tuple(alerts), skipped, judged, unwritten)

    def _perform(
        self,
        watch: Watch,
        group: _Group,
        now: datetime,
        record: _Record,
        delivery: _Delivery,
        means: Means,
    ) -> Alert:
        results: dict[str, ActionResult] = {}
        for name, action in watch.actions.items():
            period = watch.throttle_period(name)
            known = record.state.by_key()
            told = [k for k in group.about.keys if not inc.is_throttled(known, k, name, period, now)]
            if not told:
                results[name] = ActionResult("throttled", f"told less than {period} ago")
                continue
            try:
                results[name] = self._act(name, action, group, set(told), now, record, delivery, means)
            except (RunError, MessageError) as error:
                results[name] = ActionResult("failed", str(error))
            except Exception as error:  # noqa: BLE001 - one action's fault must not stop the others
                results[name] = ActionResult("failed", f"{type(error).__name__}: {error}")
        about = group.about
        return Alert(now, watch.id, watch.title, about.model, about.version, about.findings, results)

    def _act(
        self,
        name: str,
        action: Action,
        group: _Group,
        told: set[inc.Key],
        now: datetime,
        record: _Record,
        delivery: _Delivery,
        means: Means,
    ) -> ActionResult:
        context = group.context([f for f in group.about.findings if inc.key_of(f) in told])
        messages = prepare(name, action, context, now, means=means)
        if messages is None:
            return ActionResult("condition_failed")
        subject = messages[0].summary
        features = tuple(dict.fromkeys(k.feature for k in group.about.keys if k in told))
        if not delivery.has(messages[0]):
            reason = f"no outlet for {action.kind} is configured"
            return ActionResult("not_configured", reason, subject, features)
        failures = []
        for message in messages:
            failure = delivery.send(message)
            if failure is not None:
                failures.append(
                    Undelivered(
                        action=name,
                        message=failure.remaining or message,
                        since=now,
                        attempts=1,
                        reason=str(failure),
                    )
                )
        # Also when delivery failed: the message is kept and tried again, a second one would say it twice.
        state = record.state.with_incidents(inc.notify(record.state.by_key(), told, name, now))
        record.update(state.model_copy(update={"undelivered": (*state.undelivered, *failures)}))
        reasons = "; ".join(dict.fromkeys(failure.reason for failure in failures))
        return ActionResult("failed" if failures else self._sent, reasons, subject, features)

    def _retry(self, watch_id: str, delivery: _Delivery) -> Iterator[Retry]:
        record = _Record(self._state, watch_id)
        for kept in record.state.undelivered:
            failure = delivery.send(kept.message)
            attempts = kept.attempts + (0 if failure and failure.untried else 1)
            others = [entry for entry in record.state.undelivered if entry is not kept]
            if failure is not None:
                message = failure.remaining or kept.message
                update = {"message": message, "attempts": attempts, "reason": str(failure)}
                others = [
                    entry.model_copy(update=update) if entry is kept else entry
                    for entry in record.state.undelivered
                ]
            record.update(record.state.model_copy(update={"undelivered": tuple(others)}))
            reason = str(failure) if failure else ""
            yield Retry(watch_id, kept.action, kept.message.summary, failure is None, attempts, reason)

    def _append(self, alert: Alert) -> str:
        """Write it into the file of alerts; why that failed, which must not stop what has begun."""
        if self._alerts is None:
            return ""
        line = json.dumps(alert.document(), ensure_ascii=False, default=str) + "\n"
        try:
            append(self._alerts, line)
        except OSError as error:
            return f"{self._alerts}: the alert was not written: {error.strerror or error}"
        return ""


def append(file: Path, text: str) -> None:
    """Append to a file of alerts, making it and its folder; with no text, only try. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, text.encode("utf-8", "replace"))
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Group:
    """A group of findings and the context that an action would see of some of them."""

    about: inc.Group
    context: Callable[[list[inc.Finding]], dict[str, Any]]


def _groups(watch: Watch, evaluation: Evaluation, means: Means, judged: inc.Judged) -> list[_Group]:
    transform = watch.definition.transform
    base = evaluation.context

    def transformed(context: dict[str, Any]) -> dict[str, Any]:
        if transform is None:
            return context
        return with_payload(context, run_transform(transform, context, means=means, where="transform"))

    def of_some(findings: list[inc.Finding]) -> dict[str, Any]:
        return transformed(with_payload(base, inc.with_findings(evaluation.payload, findings, judged)))

    if inc.find(evaluation.payload):
        return [_Group(group, of_some) for group in inc.split(inc.find(evaluation.payload))]
    # The findings may be what the watch's transform makes.
    whole = transformed(base)
    payload = whole["ctx"]["payload"]

    def of_made(findings: list[inc.Finding]) -> dict[str, Any]:
        return with_payload(whole, inc.with_findings(payload, findings, judged)) if findings else whole

    return [_Group(group, of_made) for group in inc.split(inc.find(payload))]


class _Record:
    """A watch's state during a run; saved at each change, so that a crash repeats as little as possible."""

    def __init__(self, store: StateStore, watch_id: str) -> None:
        self._store = store
        self._watch_id = watch_id
        self.state: WatchState = store.load(watch_id)

    def update(self, state: WatchState) -> None:
        if state != self.state:
            self.state = state
            self._store.save(self._watch_id, state)


@dataclass(frozen=True)
class _Failure:
    reason: str
    remaining: Message | None = None
    untried: bool = False

    def __str__(self) -> str:
        return self.reason


class _Delivery:
    """The outlets during one call of the runner: one that is down is not waited for again."""

    def __init__(self, outlets: Outlets) -> None:
        self._outlets = outlets
        self._down: dict[str, str] = {}

    def has(self, message: Message) -> bool:
        return message.kind in self._outlets

    def send(self, message: Message) -> _Failure | None:
        outlet: Outlet | None = self._outlets.get(message.kind)
        if outlet is None:
            return _Failure(f"no outlet for {message.kind} is configured", untried=True)
        if message.kind in self._down:
            return _Failure(self._down[message.kind], untried=True)
        try:
            outlet.deliver(message)
        except DeliveryError as error:
            if error.down:
                self._down[message.kind] = str(error)
            return _Failure(str(error), error.remaining)
        except Exception as error:  # noqa: BLE001 - a message that breaks its outlet must not stop the others
            return _Failure(f"{type(error).__name__} while sending")
        return None


def _default_judged() -> inc.Judged:
    from logging_lib.watch.scripts import judged

    return judged
