"""Reads what options give."""

from __future__ import annotations

from datetime import datetime, timedelta

from logging_lib.watch.times import parse_duration, parse_instant


class UsageError(Exception):
    """The words of a command are off: what and why."""


def instant(text: str, option: str) -> datetime:
    """An ISO time. Raises UsageError."""
    try:
        return parse_instant(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no ISO time such as 2018-02-01T09:00:00Z") from None


def duration(text: str, option: str) -> timedelta:
    """A length of time, a second at the least. Raises UsageError."""
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
    if found < timedelta(seconds=1):
        raise UsageError(f"{option}: is at least 1s")
    return found
