"""structlog processors that add context: its own variables, and the current span of OpenTelemetry."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog


def add_context(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """``merge_contextvars`` and ``add_trace_ids`` in one, where there is any context at all."""
    if not len(contextvars.copy_context()):
        return event
    return add_trace_ids(logger, method, structlog.contextvars.merge_contextvars(logger, method, event))


def add_trace_ids(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add ``trace_id`` and ``span_id`` of OpenTelemetry's current span to an event; a structlog processor.

    The event stays as it is if the service does not use OpenTelemetry (it is not imported here), if there is no
    span, or if the event has a ``trace_id``. The ids are W3C Trace Context's, in lower-case hexadecimal.

    Args:
        logger: not used.
        method: not used.
        event: the event; it is changed in place.

    Returns:
        The event.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or "trace_id" in event:
        return event
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"], event["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
    return event
