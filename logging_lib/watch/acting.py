"""What an action says in a context: its condition, transform and messages. Whom it tells is the runner's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from logging_lib.watch.context import with_payload
from logging_lib.watch.evaluate import Means, judge, run_transform
from logging_lib.watch.messages import Message, compose
from logging_lib.watch.model import Action


def prepare(
    name: str, action: Action, context: Mapping[str, Any], now: datetime, *, means: Means
) -> list[Message] | None:
    """The messages that an action sends, or None where its own condition is not met.

    Args:
        name: the action's name in its watch.
        context: holds the payload after the watch's transform.

    Raises:
        RunError: when its condition or its transform fails.
        MessageError: when a template fails or an address is none.
    """
    where = f"actions.{name}"
    if action.condition and not judge(action.condition, context, means=means, where=f"{where}.condition"):
        return None
    if action.transform:
        payload = run_transform(action.transform, context, means=means, where=f"{where}.transform")
        context = with_payload(context, payload)
    return list(compose(name, action, context, now))
