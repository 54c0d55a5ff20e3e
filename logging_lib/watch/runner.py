"""Run watches: evaluate those that are due, decide for each incident whom to notify, record that, and deliver.

Notifications are written to the state together with the incidents, before anything is sent. From then on no crash
can lose them, and a notification that is sent twice has the same id. The failure of one watch never stops the run
of another, and the failure of one action never stops another action. ``daemon`` calls these parts from several
threads.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from logging_lib._util.times import format_instant
from logging_lib.store.port import Store
from logging_lib.watch import incidents as inc
from logging_lib.watch.errors import RunError, StateError, WatchError, WatchProblem
from logging_lib.watch.evaluate import (
    DependenciesOf,
    Due,
    Evaluation,
    PrepareRuns,
    RunDependencies,
    Scripts,
    evaluate,
    prepare_live_runs,
    run_transform,
    with_payload,
)
from logging_lib.watch.examples import complete_values
from logging_lib.watch.findings import (
    Finding,
    Key,
    Summarize,
    by_model_version,
    findings_of,
    gravest_by_key,
    has_evaluated,
    key_of,
    keys_of,
    leave_out_accepted,
    lists_too_few_values,
    skipped_models,
    with_findings,
)
from logging_lib.watch.incidents import Incident, Mute, ResolvePolicy
from logging_lib.watch.lease import LeaseLost
from logging_lib.watch.model import Action, Watch
from logging_lib.watch.model.schedule import find_due_time, iter_scheduled_times
from logging_lib.watch.notify.base import Channels, Notification, RenderError, Status, hash_id
from logging_lib.watch.notify.queue import DeliveryPolicy, DeliveryQueue
from logging_lib.watch.notify.registry import (
    CHANNELS,
    channel_of,
    fallback_addresses,
    fallback_of,
    render_action,
)
from logging_lib.watch.results import (
    Alert,
    RunReport,
    WatchRun,
    awaiting_resolution,
    by_address,
    delivery_records,
    is_address_open,
    report_suppressed,
    report_unsent,
    resolution_line,
    resolution_subject,
)
from logging_lib.watch.scripts.formatting import format_time
from logging_lib.watch.slices import name_slices
from logging_lib.watch.state.base import MemoryState, StateStore, WatchState

CATCH_UP_LIMIT = 500
ContextOf = Callable[[list[Finding]], dict[str, Any]]
"""Return the context that an action sees for some of a run's findings."""


@dataclass(frozen=True)
class Options:
    """The behavior of a runner if a watch does not set its own.

    Attributes:
        resolve: when an incident is resolved (``metadata.recovery_after``).
        fallback: the recipients, by channel, of notifications that their own channel fails to deliver
            (``metadata.fallback``).
        catch_up: run all scheduled runs that were missed, up to the latest 500; otherwise only the latest one.
    """

    delivery: DeliveryPolicy = field(default_factory=DeliveryPolicy)
    resolve: ResolvePolicy = field(default_factory=ResolvePolicy)
    fallback: Mapping[str, str] = field(default_factory=dict)
    catch_up: bool = False


class Runner:
    """A runner that evaluates watches over a store and performs their actions.

    Args:
        channels: the configured channels by name; see ``notify.registry.configure_channels``.
        scripts: stored scripts by id; default: the shipped ones.
        state: stores what is remembered between runs; default: in memory.
        alerts: a file to which each performed alert is appended as one line of JSON.
        summarize: builds the payload of a script from fewer findings; default: ``scripts.build_result``.
        dry_run: the channels only show notifications; delivered ones are reported as ``would_send``.
        check_leader: called before each delivery; it raises if another runner has taken over.
        prepare: prepares what the runs of one time may use; default: ``prepare_live_runs`` of the store.

    Raises:
        WatchError: a watch's metadata has an invalid resolve policy.
    """

    def __init__(
        self,
        store: Store,
        watches: Iterable[Watch],
        *,
        channels: Channels,
        scripts: Scripts | None = None,
        state: StateStore | None = None,
        alerts: str | Path | None = None,
        summarize: Summarize | None = None,
        dry_run: bool = False,
        options: Options | None = None,
        check_leader: Callable[[], object] = lambda: None,
        prepare: PrepareRuns | None = None,
    ) -> None:
        self.watches = {watch.id: watch for watch in watches}
        self.state: StateStore = MemoryState(history=False) if state is None else state
        self._alerts = None if alerts is None else Path(alerts)
        self._executed: Status = "would_send" if dry_run else "executed"
        self._options = options = options or Options()
        self._last: dict[str, datetime | None] = {}
        self._next: dict[str, datetime] = {}
        self.queue = DeliveryQueue(self.state, channels, options.delivery, check_leader)
        self._resolve = {
            watch.id: _read_resolve_policy(watch, options.resolve) for watch in self.watches.values()
        }
        self._summarize = _default_summarize() if summarize is None else summarize
        self.prepare = prepare_live_runs(store, scripts) if prepare is None else prepare
        # Watches that find the same cause at the same time must see each other's incidents, so they decide one by
        # one.
        self._deciding = Lock()

    def run_once(self, now: datetime, watch_ids: Iterable[str] | None = None) -> RunReport:
        """Run all watches, or these, regardless of their schedules; retry undelivered notifications at once.

        Raises:
            KeyError: no watch has one of the ids.
        """
        ids = list(self.watches) if watch_ids is None else list(watch_ids)
        return self._run([(self.watches[watch_id], [now]) for watch_id in ids], now, at_once=True)

    def tick(self, now: datetime) -> RunReport:
        """Run the watches that became due since the last tick, and retry the notifications whose next attempt is
        due."""
        return self._run(self.find_due(now), now)

    def _run(self, due: Due, now: datetime, *, at_once: bool = False) -> RunReport:
        dependencies = self.prepare(due, now)
        runs = [
            self.run_watch(watch, scheduled, now, dependencies)
            for watch, missed in due
            for scheduled in missed
        ]
        return self.finish(now, runs, self.queue.deliver(now, at_once=at_once))

    # --- the schedule

    def find_due(self, now: datetime) -> list[tuple[Watch, list[datetime]]]:
        """Find the watches that are due, each with its scheduled times, the oldest first."""
        due = []
        for watch in self.watches.values():
            if now < self._next.get(watch.id, now):
                continue
            if watch.id not in self._last:
                self._last[watch.id] = self._last_scheduled(watch)
            last = self._last[watch.id]
            latest = find_due_time(watch.schedule, last, now)
            if latest is None:
                following = watch.schedule.next(now)
                if following is not None:
                    self._next[watch.id] = following
                continue
            missed = [latest]
            if self._options.catch_up and last is not None:
                missed = list(iter_scheduled_times(watch.schedule, last, now))[-CATCH_UP_LIMIT:] or missed
            due.append((watch, missed))
        return due

    def latest_run(self) -> datetime | None:
        """Return the latest scheduled time that was run: no watch is due until the clock is past its own."""
        return max((last for last in self._last.values() if last is not None), default=None)

    def _last_scheduled(self, watch: Watch) -> datetime | None:
        """Return the last scheduled time that was run. A state that cannot be read fails only that watch's own
        run."""
        try:
            return self.state.load(watch.id).last_scheduled
        except StateError:
            return None

    def forget(self) -> None:
        """Discard cached state, so that changes by other runners are read."""
        self._last.clear()
        self._next.clear()
        self.queue.forget()

    # --- one run

    def run_watch(
        self, watch: Watch, scheduled: datetime, now: datetime, dependencies: DependenciesOf
    ) -> WatchRun:
        """Evaluate a watch and record its notifications. Safe to call from several threads for different watches.

        Any failure is reported in the returned run.

        Args:
            dependencies: the result of ``prepare`` for this time.
        """
        started = time.perf_counter()
        run = WatchRun(watch.id, now, scheduled)
        try:
            self._run_watch(watch, run, dependencies(watch, scheduled))
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - a failure of this watch must not stop the others
            reason = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
            run = WatchRun(watch.id, now, scheduled, error=reason, evaluated=False)
            self._skip(watch, scheduled)
        finally:
            self._last[watch.id] = scheduled
        run.seconds = time.perf_counter() - started
        return run

    def _skip(self, watch: Watch, scheduled: datetime) -> None:
        """Record that a failed run was attempted."""
        try:
            self.state.update(watch.id, lambda state: state.model_copy(update={"last_scheduled": scheduled}))
        except LeaseLost:
            raise
        except Exception:  # noqa: BLE001, S110 - the run already reports that the state is unavailable
            pass

    def _run_watch(self, watch: Watch, run: WatchRun, dependencies: RunDependencies) -> None:
        evaluation = evaluate(watch, dependencies=dependencies, now=run.time, scheduled=run.scheduled)
        payload = evaluation.payload
        run.warnings = tuple(dict.fromkeys(dependencies.warnings))
        run.met = evaluation.met
        run.skipped, run.evaluated = skipped_models(payload), has_evaluated(payload)
        findings, context_of = _collect_findings(watch, evaluation, dependencies, self._summarize)
        if findings:
            findings = leave_out_accepted(findings, watch.id, payload, run.scheduled)
            run.met = run.met and bool(findings)
        with self._deciding if run.met else nullcontext():
            self._decide(watch, run, findings, context_of, dependencies)

    def _decide(
        self,
        watch: Watch,
        run: WatchRun,
        findings: list[Finding] | None,
        context_of: ContextOf,
        dependencies: RunDependencies,
    ) -> None:
        """Decide for each incident whom to notify of the findings, and record it."""
        scheduled, now = run.scheduled, run.time
        groups = by_model_version(findings) if run.met else {}
        seen = {key: finding for group in groups.values() for key, finding in gravest_by_key(group).items()}
        unknown = {
            (str(skipped.get("model", "")), str(skipped.get("version", ""))) for skipped in run.skipped
        }

        def observe(state: WatchState) -> dict[Key, Incident]:
            return inc.observe(
                state.by_key(), seen, now, self._resolve[watch.id], is_unknown=lambda key: key[:2] in unknown
            )

        incidents = observe(self.state.load(watch.id))
        mutes = self.state.mutes() if incidents else ()
        if dependencies.ask is not None:
            due = [
                finding
                for group in groups.values()
                for finding in group
                if _is_due(watch, key_of(finding), incidents, mutes, now)
            ]
            if incomplete := list(filter(lists_too_few_values, due)):
                complete_values(watch, incomplete, dependencies.ask, now=now, scheduled=scheduled)
            name_slices(watch, due, dependencies.ask, now=now, scheduled=scheduled)
        related: dict[tuple[str, Key], str] = {}
        alerts = []
        for (model, version), group in groups.items():
            notifications = [
                notification
                for name, action in watch.actions.items()
                for batch in _split_into_batches(action, group)
                for notification in self._notify(
                    watch, run, name, batch, incidents, mutes, related, context_of, dependencies
                )
            ]
            alerts.append(
                Alert(now, watch.id, watch.title, model, version, tuple(group), tuple(notifications))
            )
        run.alerts = tuple(alerts)
        run.resolved = tuple(self._render_resolutions(watch, run, incidents, mutes))
        sent = (notification for alert in alerts for notification in alert.notifications)
        run.queued = (
            *(notification for notification in sent if notification.status == "queued"),
            *run.resolved,
        )

        def change(state: WatchState) -> WatchState:
            recorded = inc.record_notifications(
                inc.mark_related(observe(state), {key: related[action, key] for action, key in related}),
                run.queued,
            )
            return state.with_queued(run.queued).with_incidents(recorded, last_scheduled=scheduled)

        self.queue.expect(watch.id, len(self.state.update(watch.id, change).queue))

    def _notify(
        self,
        watch: Watch,
        run: WatchRun,
        name: str,
        findings: list[Finding],
        incidents: inc.Incidents,
        mutes: tuple[Mute, ...],
        related: dict[tuple[str, Key], str],
        context_of: ContextOf,
        dependencies: RunDependencies,
    ) -> list[Notification]:
        """Return an action's notifications about these findings; if it sends none, one that says why.

        Args:
            related: by action and incident, the watch whose incident reports the same; entries are added to it.
        """
        action, period = watch.actions[name], watch.throttle_period(name)
        decisions: dict[Key, inc.Decision] = {
            key: "related"
            if (name, key) in related
            else _decide(watch, name, key, incidents, mutes, run.time)
            for key in keys_of(findings)
        }
        chosen = [key for key, decision in decisions.items() if decision == "notify"]
        if not chosen:
            return [report_suppressed(watch.id, run.time, name, decisions, period)]
        channel = channel_of(action).name
        draft = self._draft(watch, run, name, chosen, channel)
        try:
            context = context_of([finding for finding in findings if decisions[key_of(finding)] == "notify"])
            notifications = render_action(action, context, draft, dependencies=dependencies) or []
            covering = self._find_covering(watch, incidents, chosen, notifications)
        except (RunError, RenderError) as error:
            if isinstance(error, RenderError) and not self.queue.has(
                channel
            ):  # it may lack its recipients, too
                return [report_unsent(draft, "not_configured", f"the channel {channel} is not configured")]
            return [report_unsent(draft, "failed", str(error))]
        except Exception as error:  # noqa: BLE001 - a failure of one action must not stop the others
            return [report_unsent(draft, "failed", f"{type(error).__name__}: {error}")]
        if not notifications:
            return [report_unsent(draft, "condition_failed")]
        if covering:
            related |= {(name, key): other for key, other in covering.items()}
            return self._notify(
                watch, run, name, findings, incidents, mutes, related, context_of, dependencies
            )
        if not self.queue.has(channel):
            return [
                notifications[0].with_status("not_configured", f"the channel {channel} is not configured")
            ]
        # A `foreach` may add lines for the log.
        return [notification for notification in notifications if self.queue.has(notification.channel)]

    def _find_covering(
        self, watch: Watch, incidents: inc.Incidents, keys: list[Key], notifications: list[Notification]
    ) -> dict[Key, str]:
        """Return, by incident, the other watch whose incident already reports what these notifications would."""
        new = [key for key in keys if key.feature and not incidents[key].notified]
        covering: dict[Key, str] = {}
        for other in self.watches if new else ():
            if other == watch.id:
                continue
            try:
                others = self.state.load(other).by_key()
            except StateError:
                continue  # that watch's own run reports the failure
            for key in new:
                if key in others and inc.is_covered(incidents[key], others[key], notifications):
                    covering.setdefault(key, other)
        return covering

    def _draft(
        self, watch: Watch, run: WatchRun, action: str, keys: list[Key], channel: str, *id_parts: str
    ) -> Notification:
        """Build a notification before it is rendered. Its id depends on the run and the incidents."""
        features = tuple(dict.fromkeys(key.feature for key in keys))
        model, version, _ = keys[0]
        return Notification(
            id=hash_id(watch.id, run.scheduled.isoformat(), action, model, version, *features, *id_parts),
            watch=watch.id,
            action=action,
            channel=channel,
            model=model,
            version=version,
            features=features,
            created_at=run.time,
            fallback=fallback_of(channel, fallback_addresses(watch.metadata, self._options.fallback)),
        )

    def _render_resolutions(
        self, watch: Watch, run: WatchRun, incidents: inc.Incidents, mutes: tuple[Mute, ...]
    ) -> Iterator[Notification]:
        """Yield the resolution notifications, which go only to those who were notified of the incidents."""
        if not incidents or not inc.notifies_of_resolution(watch.metadata):
            return
        closed = awaiting_resolution(incidents, run.time, watch=watch.id, mutes=mutes)
        for receipt, group in by_address(closed):
            if not self.queue.has(receipt.channel) or not CHANNELS[receipt.channel].takes_text:
                continue
            channel = CHANNELS[receipt.channel]
            if channel.is_per_incident and is_address_open(receipt, incidents.values()):
                continue
            keys = [incident.key for incident in group]
            address = str(receipt.address)
            draft = self._draft(watch, run, receipt.action, keys, receipt.channel, "resolved", address)
            sent = [sibling.subject for incident in group for sibling in incident.notified[receipt.action]]
            yield channel.resolve(
                draft.model_copy(update={"kind": "resolved"}),
                receipt.address,
                resolution_subject(watch.title, group),
                [resolution_line(incident) for incident in group],
                list(dict.fromkeys(sent)),
                f"Watch {watch.id}, checked at {format_time(format_instant(run.time))}",
            )

    # --- after the delivery

    def finish(self, now: datetime, runs: Iterable[WatchRun], outcomes: Iterable[Notification]) -> RunReport:
        """Write the runs and deliveries to the history and the file of alerts, and return the report on them."""
        runs, outcomes = list(runs), list(outcomes)
        by_id = {outcome.id: outcome for outcome in outcomes}
        new = {notification.id for run in runs for notification in run.queued}
        for run in runs:
            run.finish(by_id, self._executed)
            run.unwritten = self._append_alerts(run)
        records = [record for run in runs for record in run.records()]
        self.state.record([*records, *delivery_records(outcomes, now)])
        return RunReport(now, tuple(runs), tuple(outcome for outcome in outcomes if outcome.id not in new))

    def _append_alerts(self, run: WatchRun) -> str:
        """Append a run's alerts to the file of alerts; return why that failed, or an empty text."""
        alerts = [alert for alert in run.alerts if alert.is_performed]
        if self._alerts is None or not alerts:
            return ""
        lines = [json.dumps(alert.document(), ensure_ascii=False, default=str) + "\n" for alert in alerts]
        try:
            append(self._alerts, "".join(lines))
        except OSError as error:
            return f"{self._alerts}: the alert was not written: {error.strerror or error}"
        return ""


def _decide(
    watch: Watch, action: str, key: Key, incidents: inc.Incidents, mutes: Iterable[Mute], now: datetime
) -> inc.Decision:
    return inc.decide(
        incidents,
        key,
        watch=watch.id,
        action=action,
        period=watch.throttle_period(action),
        longest=_read_longest_throttle(watch),
        now=now,
        mutes=mutes,
    )


def _is_due(watch: Watch, key: Key, incidents: inc.Incidents, mutes: Iterable[Mute], now: datetime) -> bool:
    """Return whether any action notifies of an incident now."""
    return any(_decide(watch, name, key, incidents, mutes, now) == "notify" for name in watch.actions)


def _split_into_batches(action: Action, findings: list[Finding]) -> list[list[Finding]]:
    """Split findings into one batch per notification: all findings of a model version, or those of one incident."""
    if not findings or not channel_of(action).is_per_incident:
        return [findings]
    batches: dict[Key, list[Finding]] = {}
    for finding in findings:
        batches.setdefault(key_of(finding), []).append(finding)
    return list(batches.values())


def _collect_findings(
    watch: Watch, evaluation: Evaluation, dependencies: RunDependencies, summarize: Summarize
) -> tuple[list[Finding] | None, ContextOf]:
    """Return the findings of a run, and a function that builds the context that an action sees of some of them."""
    transform = watch.definition.transform

    def apply_transform(context: dict[str, Any]) -> dict[str, Any]:
        if transform is None:
            return context
        payload = run_transform(transform, context, dependencies=dependencies, where="transform")
        return with_payload(context, payload)

    def before_transform(findings: list[Finding]) -> dict[str, Any]:
        payload = with_findings(evaluation.payload, findings, summarize)
        return apply_transform(with_payload(evaluation.context, payload))

    if not evaluation.met or findings_of(evaluation.payload):
        return findings_of(evaluation.payload), before_transform
    # The findings may be the result of the watch's transform.
    transformed_context = apply_transform(evaluation.context)
    payload = transformed_context["ctx"]["payload"]

    def after_transform(findings: list[Finding]) -> dict[str, Any]:
        return (
            with_payload(transformed_context, with_findings(payload, findings, summarize))
            if findings
            else transformed_context
        )

    return findings_of(payload), after_transform


def _read_resolve_policy(watch: Watch, default: ResolvePolicy) -> ResolvePolicy:
    try:
        return inc.resolve_policy(watch.metadata, default)
    except ValueError as error:
        raise WatchError([WatchProblem(watch.file, "$.metadata.recovery_after", str(error))]) from None


def _read_longest_throttle(watch: Watch) -> timedelta | None:
    try:
        return inc.read_longest_throttle(watch.metadata)
    except ValueError as error:
        raise WatchError([WatchProblem(watch.file, "$.metadata.max_throttle_period", str(error))]) from None


def _default_summarize() -> Summarize:
    from logging_lib.watch.scripts import build_result

    return build_result


def append(file: Path, text: str) -> None:
    """Append to a file of alerts; create it and its folder. With an empty text, only try to. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, text.encode("utf-8", "replace"))
    finally:
        os.close(descriptor)
