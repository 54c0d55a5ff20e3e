"""The ``ml.health`` and ``ml.start`` events of a logger or a shipper. The module does no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from logging_lib.logger.event import ECS, PROCESS, format_timestamp, new_id
from logging_lib.schema import SCHEMA_VERSION


class EventCounts:
    """The numbers of events of one processor since the process began.

    ``built`` includes ``sampled_out`` and ``unwritten``. ``failed`` counts the events that could not be built, and
    ``unreadable_times`` those whose ``timestamp`` was not a time.
    """

    __slots__ = ("built", "failed", "sampled_out", "unreadable_times", "unwritten")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.built = self.sampled_out = self.unwritten = self.failed = self.unreadable_times = 0

    def as_fields(self) -> dict[str, int]:
        """Return the counts as fields below ``ml.health``."""
        return {
            "logged": self.built - self.sampled_out - self.unwritten,
            "sampled_out": self.sampled_out,
            "dropped": self.unwritten + self.failed,
            "unreadable_times": self.unreadable_times,
        }


def build_health_event(
    now_ns: int, *, interval: int, about: Mapping[str, Any] | None = None, **counters: Any
) -> dict[str, Any]:
    """Build one ``ml.health`` event.

    Args:
        now_ns: nanoseconds since 1970.
        interval: the time that the counters cover, in seconds.
        about: ``ml.model`` and ``ml.profile``, for an event about one model.
        counters: fields below ``ml.health``, as ``fields.yml`` names them.
    """
    health = {"interval": interval, **counters}
    return _build_event(now_ns, "health", "metric", {**(about or {}), "health": health})


def build_start_event(now_ns: int, about: Mapping[str, Any], start: Mapping[str, Any]) -> dict[str, Any]:
    """Build one ``ml.start`` event.

    Args:
        now_ns: nanoseconds since 1970.
        about: ``ml.model`` and ``ml.profile``.
        start: fields below ``ml.start``.
    """
    return _build_event(now_ns, "start", "event", {**about, "start": start})


def _build_event(now_ns: int, name: str, kind: str, ml: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@timestamp": format_timestamp(now_ns),
        "message": name,
        "ecs": ECS,
        "event": {"id": new_id(now_ns), "kind": kind, "dataset": f"ml.{name}"},
        "host": PROCESS.host,
        "process": PROCESS.process,
        "ml": {"schema_version": SCHEMA_VERSION, **ml},
    }


def render_dropped_event(now_ns: int, *, interval: int, dropped: Mapping[str, int]) -> bytes:
    """Render the line that reports dropped events by reason; it ends in a newline."""
    event = build_health_event(
        now_ns, interval=interval, dropped=sum(dropped.values()), dropped_reason=sorted(dropped)
    )
    event["message"] = "events were dropped: " + ", ".join(f"{n} {why}" for why, n in sorted(dropped.items()))
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
