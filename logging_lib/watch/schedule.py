"""When a watch is due. Pure: the time is an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def latest_slot(interval: timedelta, now: datetime) -> datetime:
    """The last instant at or before ``now`` that the interval divides, counted from 1970 as all slots are."""
    return now.astimezone(UTC) - (now - _EPOCH) % interval


def due_slot(interval: timedelta, last: datetime | None, now: datetime) -> datetime | None:
    """The slot that is to be run at ``now``, or None; of several missed ones only the latest is run.

    Args:
        last: the slot that was run last, None when there was none.
    """
    slot = latest_slot(interval, now)
    return slot if last is None or slot > last else None
