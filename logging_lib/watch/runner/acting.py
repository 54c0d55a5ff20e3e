"""What an action says in a context: its condition, transform, foreach, messages. Whom it tells is the runner's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from logging_lib.watch.conditions import resolve_path
from logging_lib.watch.evaluate import Means, evaluate_condition, run_transform, with_payload
from logging_lib.watch.messages import AnyMessage, Log, MessageError, compose
from logging_lib.watch.model import Action


def prepare(
    name: str, action: Action, context: Mapping[str, Any], now: datetime, *, means: Means
) -> list[AnyMessage] | None:
    """The messages that an action sends, or None where its own condition is not met.

    With ``foreach`` there are those of each element. Elements over ``max_iterations``, and those whose message
    cannot be made while others' can, are told by a message for the log: none is cut off quietly, and none stops
    the others.

    Args:
        name: the action's name in its watch.
        context: holds the payload after the watch's transform.

    Raises:
        RunError: when its condition or its transform fails.
        MessageError: when a template fails, an address is none, or ``foreach`` has nothing to go over.
    """
    where = f"actions.{name}"
    if action.condition and not evaluate_condition(
        action.condition, context, means=means, where=f"{where}.condition"
    ):
        return None
    if action.transform:
        payload = run_transform(action.transform, context, means=means, where=f"{where}.transform")
        context = with_payload(context, payload)
    if action.foreach is None:
        return compose(name, action, context, now, fetch=means.http)
    return list(_of_each(name, action, action.foreach, context, now, means))


def _of_each(
    name: str, action: Action, path: str, context: Mapping[str, Any], now: datetime, means: Means
) -> Iterator[AnyMessage]:
    items = resolve_path(path, context)
    if not isinstance(items, list | tuple):
        raise MessageError(f"foreach: {path} is no list")
    chosen = items[: action.max_iterations]
    if not chosen:
        raise MessageError(f"foreach: {path} is empty" if not items else "foreach: max_iterations is 0")
    made: list[AnyMessage] = []
    faults = []
    for number, item in enumerate(chosen):
        # As in Watcher: an object is the payload, anything else becomes one.
        payload = item if isinstance(item, Mapping) else {"_value": item}
        try:
            made += compose(
                f"{name}[{number}]", action, with_payload(context, payload), now, fetch=means.http
            )
        except MessageError as error:
            faults.append(f"{path}.{number}: {error}")
    if not made:
        raise MessageError("; ".join(faults[:3]))
    yield from made
    if len(items) > len(chosen):
        faults.append(
            f"{len(items) - len(chosen)} of {len(items)} were left out: max_iterations is {len(chosen)}"
        )
    watch_id = context["ctx"]["watch_id"]
    for fault in faults:
        yield Log(level="error", text=f"watch {watch_id}, action {name}: foreach: {fault}")
