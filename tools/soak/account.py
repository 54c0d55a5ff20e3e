"""The account of a run: the place of each logged event and of each alert that was due. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.soak.plan import Fault
from tools.soak.traffic import DROPPED, UNANSWERED, WRITTEN, Ledger

DUE_EVENTS = 100
"""The number of stored events from which on a planted fault must raise an alert."""
_MAX_NAMED = 20

AlertKey = tuple[str, str, str]


@dataclass(frozen=True)
class EventAccount:
    """Numbers of events.

    Attributes:
        rows: given to the services in calls that reached them.
        logged: events of calls that returned, counted by the logger as written.
        logged_by_stats: the same by the workers' own ``stats()``, including events whose call was not answered.
        dropped: events of calls that returned, counted by the logger as dropped.
        unanswered: events of calls that did not return, because their process was killed or too slow.
        stored: logged events that are in the store as predictions.
        dead_lettered: logged events that are in the store as dead letters.
        waiting: lines that are still in the spool.
        stored_unanswered: unanswered events that are in the store nevertheless.
        torn: dead letters of lines that were cut by a full disk or a killed process; no logged event is in them.
        unaccounted: logged events that are neither stored nor dead-lettered; the first of their ids.
        unlogged: events that are in the store although the logger counts them as dropped; the first of their ids.
        stored_twice: ids that are in the store more than once.
        unexpected: events stored in the wrong form, such as a refused one as a prediction.
    """

    rows: int
    logged: int
    logged_by_stats: int
    dropped: int
    dropped_by_reason: Mapping[str, int]
    unanswered: int
    stored: int
    dead_lettered: int
    waiting: int
    stored_unanswered: int
    torn: int
    unaccounted: int
    unaccounted_ids: tuple[str, ...]
    unlogged: int
    unlogged_ids: tuple[str, ...]
    stored_twice: int
    unexpected: int

    def problems(self) -> list[str]:
        """List the faults of the account."""
        wrong = {
            "logged events are neither stored nor dead-lettered": self.unaccounted,
            "events are stored that were counted as dropped": self.unlogged,
            "events are stored twice": self.stored_twice,
            "events are stored as something else than they are": self.unexpected,
            "lines are still in the spool": self.waiting,
        }
        problems = [f"{number:,} {what}" for what, number in wrong.items() if number]
        if self.logged != self.stored + self.dead_lettered + self.unaccounted:
            problems.append("logged events are not the sum of what became of them")
        if not self.logged <= self.logged_by_stats <= self.logged + self.unanswered:
            problems.append(
                f"stats() count {self.logged_by_stats:,} events as written, the calls {self.logged:,}, "
                f"and {self.unanswered:,} were not answered"
            )
        if not self.logged:
            problems.append("nothing was logged")
        return problems


@dataclass(frozen=True)
class AlertAccount:
    """Numbers of alerts, one for each incident.

    Attributes:
        planted: faults in the stream.
        due: planted faults of which ``DUE_EVENTS`` events or more were stored.
        delivered: planted faults that somebody was notified of.
        repeated: mails that were delivered again, under the same Message-ID.
        missing: alerts that were due and not delivered.
        unplanted: alerts that were delivered for no planted fault.
    """

    planted: int
    due: int
    delivered: int
    mails: int
    repeated: int
    missing: tuple[AlertKey, ...]
    unplanted: tuple[AlertKey, ...]

    def problems(self) -> list[str]:
        """List the faults of the account."""
        problems = []
        if self.missing:
            problems.append(f"{len(self.missing)} alerts that were due were not delivered")
        if self.unplanted:
            problems.append(f"{len(self.unplanted)} alerts are about no planted fault")
        if not self.due:
            problems.append("no alert was due")
        return problems


@dataclass(frozen=True)
class Account:
    """The account of a whole run.

    Attributes:
        run: when and how it ran: ``seed``, ``minutes``, ``began``, ``way`` and the like.
        disruptions: the number of disruptions of each kind.
        failures: parts that failed to do their work, such as a store that did not start again.
    """

    run: Mapping[str, Any]
    disruptions: Mapping[str, int]
    events: EventAccount
    alerts: AlertAccount
    failures: tuple[str, ...] = field(default=())

    def problems(self) -> list[str]:
        """List all faults; an account without any is good."""
        return [*self.failures, *self.events.problems(), *self.alerts.problems()]

    def document(self) -> dict[str, Any]:
        """Return the account as a JSON object."""
        return {**asdict(self), "problems": self.problems()}


def account_for_events(
    ledger: Ledger, stored: Iterable[str], letters: Iterable[str], *, waiting: int
) -> EventAccount:
    """Find the place of each row.

    Args:
        stored: ids of the predictions in the store, one for each document.
        letters: the originals of the dead letters in the store.
        waiting: lines that are still in the spool.
    """
    copies = Counter(stored)
    letter_ids, torn = _find_letters(ledger.outcomes, letters)
    of_outcome: dict[str, set[str]] = {WRITTEN: set(), DROPPED: set(), UNANSWERED: set()}
    for row, outcome in ledger.outcomes.items():
        of_outcome[outcome].add(row)
    logged = of_outcome[WRITTEN]
    as_predictions, as_letters = logged & copies.keys(), (logged & letter_ids) - copies.keys()
    unaccounted = sorted(logged - as_predictions - as_letters)
    in_store = copies.keys() | letter_ids
    unlogged = sorted(of_outcome[DROPPED] & in_store)
    odd = ledger.refused | ledger.unusable
    unexpected = (as_predictions & odd) | (as_letters - odd) | (copies.keys() - ledger.outcomes.keys())
    return EventAccount(
        rows=len(ledger.outcomes),
        logged=len(logged),
        logged_by_stats=ledger.counted_by_stats(),
        dropped=len(of_outcome[DROPPED]),
        dropped_by_reason=dict(ledger.dropped_by_reason()),
        unanswered=len(of_outcome[UNANSWERED]),
        stored=len(as_predictions),
        dead_lettered=len(as_letters),
        waiting=waiting,
        stored_unanswered=len(of_outcome[UNANSWERED] & in_store),
        torn=torn,
        unaccounted=len(unaccounted),
        unaccounted_ids=tuple(unaccounted[:_MAX_NAMED]),
        unlogged=len(unlogged),
        unlogged_ids=tuple(unlogged[:_MAX_NAMED]),
        stored_twice=sum(number > 1 for number in copies.values()),
        unexpected=len(unexpected),
    )


def _find_letters(rows: Collection[str], letters: Iterable[str]) -> tuple[set[str], int]:
    """Find the rows whose events are dead letters as a whole, and count the other dead letters."""
    found: set[str] = set()
    torn = 0
    for original in letters:
        row = _read_id(original)
        if row in rows:
            found.add(row)
        else:
            torn += 1
    return found, torn


def _read_id(original: str) -> str:
    """Return the id of a refused event, or of a call for which the logger made no event."""
    try:
        document = json.loads(original)
        return str(document["event_id"] if "event_id" in document else document["event"]["id"])
    except (ValueError, LookupError, TypeError):
        return ""


def account_for_alerts(
    faults: Iterable[Fault],
    stored: Mapping[AlertKey, int],
    mails: Iterable[tuple[str, Collection[AlertKey]]],
) -> AlertAccount:
    """Find the planted faults that somebody was notified of.

    Args:
        stored: events in the store by the fault's key.
        mails: the Message-ID and the alerts of each mail.
    """
    planted = {fault.key for fault in faults}
    due = {key for key in planted if stored.get(key, 0) >= DUE_EVENTS}
    mails = list(mails)
    delivered = {key for _, keys in mails for key in keys}
    return AlertAccount(
        planted=len(planted),
        due=len(due),
        delivered=len(delivered & planted),
        mails=len(mails),
        repeated=len(mails) - len({message_id for message_id, _ in mails}),
        missing=tuple(sorted(due - delivered)),
        unplanted=tuple(sorted(delivered - planted)),
    )
