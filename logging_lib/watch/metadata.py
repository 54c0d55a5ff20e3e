"""The settings that ``ml-check-rate`` judges by: what a wrong one would do is seen when the watch is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from email.utils import getaddresses
from math import isfinite
from typing import Any

from logging_lib.profile.model import CHECKS
from logging_lib.watch.model import Definition, Input, Transform
from logging_lib.watch.templating import Medium, to_text
from logging_lib.watch.times import parse_duration

SCRIPT = "ml-check-rate"
WINDOWS = 4
Found = Iterator[tuple[tuple[str | int, ...], str]]


def uses_check_rate(definition: Definition) -> bool:
    """Whether a watch judges by ``ml-check-rate``."""
    given = [*_of_input(definition.input), definition.transform]
    given += [action.transform for action in definition.actions.values()]
    return any(_calls(transform) for transform in given)


def problems(definition: Definition) -> Found:
    """What is wrong with the metadata: (path within the file, message with the remedy)."""
    if not uses_check_rate(definition):
        return
    metadata = definition.metadata
    for name, (is_right, remedy) in _SETTINGS.items():
        if name not in metadata:
            yield ("metadata",), f"{name!r} is missing, and {SCRIPT} needs it: {remedy}"
        elif not is_right(metadata[name]):
            yield ("metadata", name), f"{metadata[name]!r:.80}: {remedy}"
    yield from _windows(metadata)
    kinds = {action.kind for action in definition.actions.values()}
    for kind, (name, is_right, remedy) in _RECIPIENTS.items():
        if kind in kinds and name in metadata and not is_right(metadata[name]):
            yield ("metadata", name), f"{metadata[name]!r:.80}: {remedy}"


def _of_input(given: Input) -> Iterator[Transform]:
    if given.transform:
        yield given.transform
    for _, step in given.chain.items() if given.chain else ():
        yield from _of_input(step)


def _calls(transform: Transform | None) -> bool:
    if transform is None:
        return False
    return bool(transform.script and transform.script.id == SCRIPT) or any(map(_calls, transform.chain or ()))


def _windows(metadata: Mapping[str, Any]) -> Found:
    windows = metadata.get("windows")
    if not isinstance(windows, list) or len(windows) != WINDOWS:
        yield ("metadata", "windows"), f"give exactly {WINDOWS} durations, such as 15m, 1h, 6h and 24h"
        return
    shorter = timedelta(0)
    for index, window in enumerate(windows):
        try:
            length = parse_duration(window if isinstance(window, str) else repr(window))
        except ValueError as error:
            yield ("metadata", "windows", index), str(error)
            return
        if length <= shorter:
            than = "the one before" if index else "nothing"
            yield (
                ("metadata", "windows", index),
                f"{window!r} is not longer than {than}: the shortest is first",
            )
            return
        shorter = length


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _mail(value: Any) -> bool:
    found = [spec for _, spec in getaddresses([Medium.HEADER.escape(to_text(value))])]
    return any(name and domain for name, _, domain in (spec.rpartition("@") for spec in found))


_SETTINGS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_text, "name the model, or write '*' for all"),
    "check": (lambda value: value in CHECKS, f"write one of {', '.join(CHECKS)}"),
    "false_alarms_per_model_month": (
        lambda value: _number(value) and value > 0,
        "write a number above 0, such as 0.05",
    ),
    "ticks_per_month": (lambda value: _number(value) and value > 0, "write a number above 0, such as 8640"),
    "min_effect": (lambda value: _number(value) and value >= 0, "write a share from 0 on, such as 0.02"),
    "min_hits": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
        "write a whole number from 1 on, such as 5",
    ),
}
_RECIPIENTS: Mapping[str, tuple[str, Callable[[Any], bool], str]] = {
    "email": ("email_to", _mail, "write at least one mail address, such as team@example.org"),
    "slack": ("slack_to", _text, "write a channel, such as #ml-alerts"),
}
