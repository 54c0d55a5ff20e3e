"""``ml.health`` events: what a logger or a shipper did in an interval, and what it could not do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from logging_lib.capture.event import ECS, PROCESS, new_id, timestamp
from logging_lib.schema import SCHEMA_VERSION


def health_event(now_ns: int, *, interval: int, **counters: Any) -> dict[str, Any]:
    """One ``ml.health`` event.

    Args:
        now_ns: nanoseconds since 1970.
        interval: what the counters are for, in seconds.
        counters: fields below ``ml.health``, as ``fields.yml`` names them.
    """
    return {
        "@timestamp": timestamp(now_ns),
        "message": "health",
        "ecs": ECS,
        "event": {"id": new_id(now_ns), "kind": "metric", "dataset": "ml.health"},
        "host": PROCESS.host,
        "process": PROCESS.process,
        "ml": {"schema_version": SCHEMA_VERSION, "health": {"interval": interval, **counters}},
    }


def dropped_line(now_ns: int, *, interval: int, dropped: Mapping[str, int]) -> bytes:
    """The line that reports what could not be kept, by reason; it ends in a newline."""
    event = health_event(
        now_ns, interval=interval, dropped=sum(dropped.values()), dropped_reason=sorted(dropped)
    )
    event["message"] = "events were dropped: " + ", ".join(f"{n} {why}" for why, n in sorted(dropped.items()))
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
