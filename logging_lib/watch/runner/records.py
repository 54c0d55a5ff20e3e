"""The history's lines: what each run, alert and delivery was. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from logging_lib._util.times import format_instant
from logging_lib.watch.runner.delivery import Delivered
from logging_lib.watch.runner.results import Alert, WatchRun
from logging_lib.watch.runner.state import Record

KEPT: Mapping[str, timedelta] = {"quiet": timedelta(days=7), "*": timedelta(days=90)}
"""How long a kind of record is kept, unless the runner is told otherwise; ``*`` is for all others."""

_REASON = 1000


def of(runs: Iterable[WatchRun], delivered: Iterable[Delivered], now: datetime) -> Iterator[Record]:
    """What was done at one time."""
    for run in runs:
        yield {
            "time": format_instant(run.time),
            "kind": "run" if run.error or run.met else "quiet",
            "watch": run.watch,
            "status": "failed" if run.error else "met" if run.met else "quiet",
            "seconds": round(run.seconds, 3),
            **({"reason": run.error[:_REASON]} if run.error else {}),
        }
        yield from (_alert(alert) for alert in run.alerts if alert.performed)
    yield from (_delivery(each, now) for each in delivered)


def _alert(alert: Alert) -> Record:
    return {
        "time": format_instant(alert.time),
        "kind": "alert",
        "watch": alert.watch,
        "model": alert.model,
        "version": alert.version,
        "features": list(alert.features),
        "subject": alert.subject,
        "actions": {name: result.status for name, result in alert.actions.items()},
    }


def _delivery(each: Delivered, now: datetime) -> Record:
    entry = each.entry
    return {
        "time": format_instant(now),
        "kind": "delivery",
        "watch": each.watch,
        "model": entry.model,
        "version": entry.version,
        "action": entry.action,
        "about": entry.about,
        "subject": entry.message.summary,
        "status": "delivered" if each.ok else "given up" if each.given_up else "failed",
        "attempts": each.attempts,
        **({"reason": each.reason[:_REASON]} if each.reason else {}),
        **({"via": each.via} if each.via else {}),
        **({"digest_of": each.together} if each.together > 1 else {}),
    }


def by_hand(kind: str, now: datetime, watch: str | None, model: str | None, **more: Any) -> Record:
    """What a person did: an ``ack``, a ``mute`` or an ``unmute``."""
    where = {name: value for name, value in (("watch", watch), ("model", model)) if value}
    return {"time": format_instant(now), "kind": kind, **where, **{k: v for k, v in more.items() if v}}
