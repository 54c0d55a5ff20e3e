"""Validate the settings that the shipped scripts use, so that a wrong one is noticed when a watch is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

from logging_lib._util.times import parse_duration
from logging_lib.profile.model import CHECKS, NEW_WORDS
from logging_lib.watch.model import Definition, Input, Transform
from logging_lib.watch.notify.registry import channel_of
from logging_lib.watch.scripts.common import SEVERITIES

CHECK_RATE = "ml-check-rate"
WINDOWS = 4
Problems = Iterator[tuple[tuple[str | int, ...], str]]


def needs_profiles(definition: Definition) -> bool:
    """Return whether a watch compares with what profiles expect, so that it can find nothing without one."""
    scripts = _collect_script_ids(definition)
    by_history = "usual_rate" in definition.metadata
    return "ml-distribution" in scripts or (CHECK_RATE in scripts and not by_history)


def find_problems(definition: Definition) -> Problems:
    """Yield the problems of the metadata: (path within the file, message with the remedy)."""
    metadata = definition.metadata
    scripts = [script for script in sorted(_collect_script_ids(definition)) if script in _SETTINGS]
    for script in scripts:
        settings = dict(_SETTINGS[script])
        if script == CHECK_RATE and ("checks" in metadata or "usual_rate" in metadata):
            settings |= _CHECKS
            del settings["check"]
        if "usual_rate" in metadata:
            settings |= _HISTORY
        for name, (is_right, remedy) in settings.items():
            if name not in metadata and name in _OPTIONAL:
                continue
            if name not in metadata:
                yield ("metadata",), f"{name!r} is missing, and {script} needs it: {remedy}"
            elif not is_right(metadata[name]):
                yield ("metadata", name), f"{metadata[name]!r:.80}: {remedy}"
        if script in _LADDERS:
            yield from _check_windows(metadata, WINDOWS if script == CHECK_RATE else None)
        if metadata.get("min_severity", "low") not in SEVERITIES:
            yield ("metadata", "min_severity"), f"write one of {', '.join(SEVERITIES)}"
        if not _is_duration(metadata.get("max_throttle_period", "7d")):
            yield ("metadata", "max_throttle_period"), "write a duration, such as 7d"
        for key in ("kibana_url", "runbook_base_url", "report_url"):
            if not is_http_address(metadata.get(key, "")):
                yield ("metadata", key), "write an address, such as https://kibana.example.org, or ''"
    actions = definition.actions.values() if scripts else ()
    for channel in dict.fromkeys(map(channel_of, actions)):
        name = channel.metadata_key
        if metadata.get(name, "") != "" and not channel.is_recipient(metadata[name]):
            yield ("metadata", name), f"{metadata[name]!r:.80}: {channel.metadata_remedy}"


def _collect_script_ids(definition: Definition) -> set[str]:
    transforms = [*_find_input_transforms(definition.input), definition.transform]
    transforms += [action.transform for action in definition.actions.values()]
    return {script for transform in transforms for script in _find_called_scripts(transform)}


def _find_input_transforms(watch_input: Input) -> Iterator[Transform]:
    if watch_input.transform:
        yield watch_input.transform
    for _, step in watch_input.chain.items() if watch_input.chain else ():
        yield from _find_input_transforms(step)


def _find_called_scripts(transform: Transform | None) -> Iterator[str]:
    if transform is None:
        return
    if transform.script and transform.script.id and transform.script.source is None:
        yield transform.script.id
    for step in transform.chain or ():
        yield from _find_called_scripts(step)


def _check_windows(metadata: Mapping[str, Any], expected_count: int | None) -> Problems:
    windows = metadata.get("windows")
    if (
        not isinstance(windows, list)
        or not windows
        or (expected_count is not None and len(windows) != expected_count)
    ):
        remedy = (
            f"exactly {expected_count} durations, such as 15m, 1h, 6h and 24h"
            if expected_count
            else "a list of durations"
        )
        yield ("metadata", "windows"), f"give {remedy}"
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


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number of more than 308 digits
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_http_address(value: Any) -> bool:
    """Return whether a value is an http address without a query or a fragment, or empty."""
    if value == "":
        return True
    parts = urlsplit(value) if isinstance(value, str) and not set(value) & set(" \"'<>|#?") else None
    return parts is not None and parts.scheme in ("http", "https") and bool(parts.netloc)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_not_negative(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _is_list_of_groups(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(
        isinstance(group, Mapping)
        and _is_text(group.get("by"))
        and _is_list_of_texts(group.get("fields"))
        and _is_list_of_texts(group.get("labels"))
        and len(group["fields"]) == len(group["labels"]) <= 2
        and isinstance(group.get("limits"), list)
        and all(isinstance(limit, Mapping) and _is_limit(limit) for limit in group["limits"])
        for group in value
    )


def _is_limit(limit: Mapping[str, Any]) -> bool:
    texts = ("name", "metric", "minus", "of", "same_as")
    numbers = ("above", "below", "at_least", "times_usual", "below_usual", "usual_at_least")
    return (
        {"name", "metric", "unit"} <= limit.keys() <= {*texts, *numbers, "unit", "spans", "beyond_gap"}
        and not limit.keys().isdisjoint(numbers)
        and all(_is_text(limit[name]) for name in texts if name in limit)
        and all(_is_number(limit[name]) for name in numbers if name in limit)
        and limit["unit"] in ("", "share", "bytes", "ms", "s")
        and ("spans" not in limit or _is_list_of_texts(limit["spans"]))
        and limit.get("beyond_gap", True) is True
    )


def _is_duration(value: Any) -> bool:
    try:
        parse_duration(value if isinstance(value, str) else repr(value))
    except ValueError:
        return False
    return True


_Settings = Mapping[str, tuple[Callable[[Any], bool], str]]
_MODEL: _Settings = {"model": (_is_text, "name the model, or write '*' for all")}
_BUDGET: _Settings = {
    "false_alarms_per_model_month": (_is_positive, "write a number above 0, such as 0.05"),
    "ticks_per_month": (_is_positive, "write a number above 0, such as 8640"),
}
_DISPERSION: _Settings = {"dispersion": (_is_not_negative, "write a share from 0 on, such as 0.002")}
_EVENTS: _Settings = {"min_events": (_is_count, "write a whole number from 1 on, such as 200")}
_RATED = (*CHECKS, NEW_WORDS)
_CHECKS: _Settings = {"checks": (_is_list_of_texts, "list what is counted, such as absent")}
_HISTORY: _Settings = {
    "usual_rate": (_is_positive, "write the rate to start from, such as 0.005"),
    **_DISPERSION,
}
_SETTINGS: Mapping[str, _Settings] = {
    CHECK_RATE: {
        **_MODEL,
        "check": (lambda value: value in _RATED, f"write one of {', '.join(_RATED)}"),
        **_BUDGET,
        "min_effect": (_is_not_negative, "write a share from 0 on, such as 0.02"),
        "min_hits": (_is_count, "write a whole number from 1 on, such as 5"),
    },
    "ml-distribution": {
        **_MODEL,
        "measures": (
            lambda value: (
                _is_list_of_texts(value) and set(value) <= {"psi", "rare", "shift", "spread", "mean"}
            ),
            "list some of psi, rare, shift, spread and mean",
        ),
        **_BUDGET,
        **_EVENTS,
    },
    "ml-latency": {
        **_MODEL,
        **_BUDGET,
        **_EVENTS,
        **_DISPERSION,
        "min_ratio": (_is_positive, "write how many times slower, such as 1.3"),
        "min_rise_ms": (_is_not_negative, "write milliseconds, such as 10"),
        "max_ms": (_is_positive, "write milliseconds, such as 1000"),
    },
    "ml-limits": {
        "window": (_is_text, "write a duration, such as 1h"),
        "groups": (
            _is_list_of_groups,
            "list groups, each with by, fields, labels and limits; see docs/watches.md",
        ),
        "references": (_is_list_of_texts, "list the names of the earlier windows' searches"),
    },
    "ml-quality": {
        **_MODEL,
        **_BUDGET,
        **_EVENTS,
        **_DISPERSION,
        "min_ratio": (_is_positive, "write how many times larger, such as 1.25"),
        "min_drop": (_is_not_negative, "write a share from 0 on, such as 0.05"),
    },
    "ml-estimate": {
        **_MODEL,
        **_BUDGET,
        **_EVENTS,
        **_DISPERSION,
        "min_drop": (_is_not_negative, "write a share from 0 on, such as 0.05"),
    },
    "ml-versions": {
        **_MODEL,
        "rule": (lambda value: value in ("live", "age", "changes"), "write live, age or changes"),
        "window": (_is_text, "write a duration, such as 1h"),
    },
}
_OPTIONAL = frozenset({"references"})
_LADDERS = frozenset({CHECK_RATE, "ml-distribution", "ml-estimate", "ml-latency", "ml-quality"})
