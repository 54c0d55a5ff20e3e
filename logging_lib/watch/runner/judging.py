"""One run of one watch: evaluate it, decide by incident whom to tell, and write all of that down in one step.

Messages are written into the state before anything is sent: from then on no crash can lose them, and a message
that is sent twice is the same message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from logging_lib.watch.engine.context import with_payload
from logging_lib.watch.engine.evaluate import Evaluation, Means, evaluate, run_transform
from logging_lib.watch.errors import RunError
from logging_lib.watch.messages import Message, MessageError
from logging_lib.watch.model import Action, Watch
from logging_lib.watch.runner import incidents as inc
from logging_lib.watch.runner import outbox
from logging_lib.watch.runner.acting import prepare
from logging_lib.watch.runner.delivery import Delivered, Postman
from logging_lib.watch.runner.incidents import Key, Patience, Told, Verdict
from logging_lib.watch.runner.leases import LeaseLost
from logging_lib.watch.runner.mutes import Mute
from logging_lib.watch.runner.recovery import is_wanted, recoveries, told_by
from logging_lib.watch.runner.results import ActionResult, Alert, Resolved, Status, WatchRun
from logging_lib.watch.runner.state import Fallback, StateStore, Undelivered, WatchState


@dataclass
class _Pending:
    """An action's result while its messages wait: their ids, and what is said once they are delivered."""

    result: ActionResult
    ids: list[str] = field(default_factory=list)

    def finished(self, outcomes: Mapping[str, Delivered], sent: Status) -> ActionResult:
        if not self.ids:
            return self.result
        tried = [outcomes[identity] for identity in self.ids if identity in outcomes]
        reasons = "; ".join(dict.fromkeys(each.reason for each in tried if not each.ok))
        if len(tried) < len(self.ids):
            reasons = reasons or "waits for its delivery"
        elif all(each.ok for each in tried):
            return self.result.with_status(sent)
        return self.result.with_status("failed", reasons)


@dataclass
class Judgment:
    """A run whose messages are written down and not yet sent. ``seconds`` it took, ``entries`` are their ids."""

    run: WatchRun
    seconds: float
    alerts: list[tuple[Alert, dict[str, _Pending]]] = field(default_factory=list)
    resolved: list[tuple[Resolved, list[str]]] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)

    def finished(self, outcomes: Mapping[str, Delivered], sent: Status) -> WatchRun:
        """The run, with what became of each of its messages."""
        alerts = [
            alert.with_actions({name: each.finished(outcomes, sent) for name, each in pending.items()})
            for alert, pending in self.alerts
        ]
        resolved = [
            each.with_result(all(identity in outcomes and outcomes[identity].ok for identity in ids))
            for each, ids in self.resolved
        ]
        return self.run.finished(alerts, resolved, self.seconds)


class Judge:
    """Runs watches into a state. Safe to call from several threads, for different watches.

    Args:
        means: what a watch's run at a time may use.
    """

    def __init__(
        self,
        means: Callable[[Watch, datetime], Means],
        state: StateStore,
        postman: Postman,
        *,
        judged: inc.Judged | None,
        fallback: Mapping[str, str],
    ) -> None:
        self._means = means
        self._state = state
        self._postman = postman
        self._judged = _default_judged() if judged is None else judged
        self._fallback = fallback

    def __call__(self, watch: Watch, slot: datetime, now: datetime, patience: Patience) -> Judgment:
        started = time.perf_counter()
        try:
            judgment = self._run(watch, slot, now, patience)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - whatever broke this watch must not stop the others
            reason = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
            judgment = Judgment(WatchRun(watch.id, now, error=reason, judged=False), 0.0)
            self._remember_slot(watch, slot)
        judgment.seconds = time.perf_counter() - started
        return judgment

    def _remember_slot(self, watch: Watch, slot: datetime) -> None:
        try:
            self._state.update(watch.id, lambda kept: kept.model_copy(update={"last": slot}))
        except LeaseLost:
            raise
        except Exception:  # noqa: BLE001, S110 - the run says already that the store is not there
            pass

    def _run(self, watch: Watch, slot: datetime, now: datetime, patience: Patience) -> Judgment:
        means = self._means(watch, now)
        evaluation = evaluate(watch, means=means, now=now, scheduled=slot)
        groups = _groups(watch, evaluation, means, self._judged) if evaluation.met else []
        seen = [key for group in groups for key in group.about.keys]
        unjudged = {
            (str(each.get("model", "")), str(each.get("version", "")))
            for each in inc.skipped(evaluation.payload)
        }

        def observed(kept: WatchState) -> dict[Key, inc.Incident]:
            return inc.observe(
                kept.by_key(),
                seen,
                now,
                patience,
                is_unknown=lambda key: (key.model, key.version) in unjudged,
            )

        run = WatchRun(
            watch.id,
            now,
            evaluation.met,
            skipped=inc.skipped(evaluation.payload),
            judged=inc.is_judged(evaluation.payload),
        )
        judgment = Judgment(run, 0.0)
        kept = self._state.load(watch.id)
        known = observed(kept)
        mutes = self._state.mutes() if known else ()
        told = _Telling(watch, known, mutes, slot, now, means, self._postman, self._fallback)
        for group in groups:
            judgment.alerts.append(told.perform(group))
        judgment.resolved = told.resolve()
        judgment.entries = [entry.id for entry in told.entries]

        def change(kept: WatchState) -> WatchState:
            entries = {entry.id: entry for entry in (*kept.undelivered, *told.entries)}
            incidents = told.apply(observed(kept))
            return kept.with_incidents(incidents, undelivered=tuple(entries.values()), last=slot)

        stored = self._state.update(watch.id, change)
        self._postman.expect(watch.id, len(stored.undelivered))
        return judgment


@dataclass
class _Telling:
    """Decides whom a run tells and makes the messages. ``apply`` marks in the incidents what was decided."""

    watch: Watch
    known: inc.Incidents
    mutes: tuple[Mute, ...]
    slot: datetime
    now: datetime
    means: Means
    postman: Postman
    fallback: Mapping[str, str]
    entries: list[Undelivered] = field(default_factory=list)
    _marks: list[Callable[[inc.Incidents], dict[Key, inc.Incident]]] = field(default_factory=list)

    def apply(self, incidents: dict[Key, inc.Incident]) -> dict[Key, inc.Incident]:
        for mark in self._marks:
            incidents = mark(incidents)
        return incidents

    def perform(self, group: _Group) -> tuple[Alert, dict[str, _Pending]]:
        results: dict[str, _Pending] = {}
        about = group.about
        for name, action in self.watch.actions.items():
            period = self.watch.throttle_period(name)
            verdicts = {
                key: inc.verdict(
                    self.known,
                    key,
                    watch=self.watch.id,
                    action=name,
                    period=period,
                    now=self.now,
                    mutes=self.mutes,
                )
                for key in about.keys
            }
            told = {key for key, verdict in verdicts.items() if verdict == "tell"}
            if not told:
                results[name] = _Pending(_silent(verdicts, f"told less than {period} ago"))
                continue
            try:
                results[name] = self._act(name, action, group, told)
            except (RunError, MessageError) as error:
                results[name] = _Pending(ActionResult("failed", str(error)))
            except Exception as error:  # noqa: BLE001 - one action's fault must not stop the others
                results[name] = _Pending(ActionResult("failed", f"{type(error).__name__}: {error}"))
        alert = Alert(
            self.now, self.watch.id, self.watch.title, about.model, about.version, about.findings, {}
        )
        return alert, results

    def _act(self, name: str, action: Action, group: _Group, told: set[Key]) -> _Pending:
        context = group.context([f for f in group.about.findings if inc.key_of(f) in told])
        messages = prepare(name, action, context, self.now, means=self.means)
        if not messages:
            return _Pending(ActionResult("condition_failed"))
        subject = messages[0].summary
        features = tuple(dict.fromkeys(k.feature for k in group.about.keys if k in told))
        if not self.postman.has(action.kind):
            reason = f"no outlet for {action.kind} is configured"
            return _Pending(ActionResult("not_configured", reason, subject, features))
        # A `foreach` may add lines for the log.
        messages = [message for message in messages if self.postman.has(message.kind)]
        model, version = group.about.model, group.about.version
        ids = self._write(name, messages, model, version, f"{model}\x00{version}")
        people = told_by(messages) if is_wanted(self.watch.metadata) else None
        self._mark_told(told, name, people)
        return _Pending(ActionResult("executed", "", subject, features), ids)

    def _mark_told(self, told: set[Key], action: str, people: Told | None) -> None:
        self._marks.append(lambda incidents: inc.notify(incidents, told, action, self.now, people))

    def resolve(self) -> list[tuple[Resolved, list[str]]]:
        """Make the messages that incidents are over."""
        if not self.known or not is_wanted(self.watch.metadata):
            return []
        over = inc.over(self.known, self.now, watch=self.watch.id, mutes=self.mutes)
        found = []
        identity = f"{self.watch.id}\x00{self.slot.isoformat()}"
        for each in recoveries(self.watch.id, self.watch.title, over, self.now, identity=identity):
            model, version = each.keys[0].model, each.keys[0].version
            if not self.postman.has(each.messages[0].kind):
                continue
            about = f"over\x00{model}\x00{version}\x00{len(self.entries)}"
            ids = self._write(each.action, each.messages, model, version, about, about_recovery=True)
            self._mark_over(each.keys, each.action)
            features = tuple(key.feature for key in each.keys if key.feature)
            subject = each.messages[0].summary
            found.append((Resolved(self.watch.id, each.action, model, version, features, subject), ids))
        return found

    def _mark_over(self, keys: tuple[Key, ...], action: str) -> None:
        self._marks.append(lambda incidents: inc.recovered(incidents, keys, action))

    def _write(
        self,
        action: str,
        messages: Iterable[Message],
        model: str,
        version: str,
        about: str,
        *,
        about_recovery: bool = False,
    ) -> list[str]:
        ids = []
        elsewhere = outbox.fallbacks(self.watch.metadata, self.fallback)
        for number, message in enumerate(messages):
            identity = "\x00".join([self.watch.id, self.slot.isoformat(), action, about, str(number)])
            other = {"email": "slack", "slack": "email"}.get(message.kind, "")
            entry = Undelivered(
                id=outbox.entry_id(identity),
                action=action,
                message=message,
                since=self.now,
                about="recovery" if about_recovery else "alert",
                model=model,
                version=version,
                fallback=Fallback.model_validate({"kind": other, "to": elsewhere[other]})
                if other in elsewhere
                else None,
            )
            self.entries.append(entry)
            ids.append(entry.id)
        return ids


def _silent(verdicts: Mapping[Key, Verdict], throttled: str) -> ActionResult:
    """Why an action tells nobody, where it tells of no incident."""
    found = set(verdicts.values())
    if "throttled" in found:
        return ActionResult("throttled", throttled)
    return ActionResult("acknowledged" if "acknowledged" in found else "muted")


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


def _default_judged() -> inc.Judged:
    from logging_lib.watch.scripts import build_result

    return build_result
