"""``ctx`` as Watcher gives it to templates, conditions and scripts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from logging_lib._util.times import format_instant
from logging_lib.watch.model import Watch

# Watcher's variables beside metadata and payload; what is not here is an unknown variable.
TRIGGER_KEYS = frozenset({"triggered_time", "scheduled_time"})
KEYS = frozenset({"watch_id", "id", "execution_time", "trigger", "metadata", "payload", "vars"})


def new_context(watch: Watch, *, now: datetime, scheduled: datetime) -> dict[str, Any]:
    """The context of one run, before its input: ``{"ctx": {...}}`` with an empty payload.

    Instants are ISO strings in UTC with milliseconds. ``ctx.id`` is the same for the same watch and time, so
    that what is repeated after a crash can be told from what is new.
    """
    executed = format_instant(now)
    return {
        "ctx": {
            "watch_id": watch.id,
            "id": f"{watch.id}_{executed}",
            "execution_time": executed,
            "trigger": {"triggered_time": executed, "scheduled_time": format_instant(scheduled)},
            "metadata": watch.metadata,
            "payload": {},
            "vars": {},
        }
    }


def with_payload(context: Mapping[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    """The same context with another payload."""
    return {"ctx": {**context["ctx"], "payload": payload}}
