"""The part of the data that a person chose: model, version, role, service, feature, and a span of time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

BUCKETS = 60
"""The approximate number of time buckets."""

_STEPS = (
    ("1s", 1), ("5s", 5), ("10s", 10), ("30s", 30), ("1m", 60), ("5m", 300), ("10m", 600), ("30m", 1800),
    ("1h", 3600), ("3h", 10_800), ("12h", 43_200), ("1d", 86_400), ("7d", 604_800), ("30d", 2_592_000),
)  # fmt: skip
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class PanelSelection:
    """A selection; ``start`` is inclusive, ``end`` exclusive, both with a time zone. None means not chosen.

    ``interval`` is a fixed interval of Elasticsearch's (``5m``); default: one that gives about 60 buckets.
    ``namespace`` chooses one of several namespaces of data streams.
    """

    start: datetime
    end: datetime
    model: str | None = None
    version: str | None = None
    role: str | None = None
    service: str | None = None
    feature: str | None = None
    interval: str | None = None
    namespace: str | None = None

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("start and end need a time zone")
        if self.start >= self.end:
            raise ValueError(f"start {self.start} is not before end {self.end}")

    @property
    def step(self) -> str:
        """Return the width of a time bucket."""
        if self.interval is not None:
            return self.interval
        bucket_seconds = (self.end - self.start).total_seconds() / BUCKETS
        return next((text for text, seconds in _STEPS if seconds >= bucket_seconds), _STEPS[-1][0])

    @property
    def step_seconds(self) -> int:
        return seconds(self.step)


def seconds(interval: str) -> int:
    """Convert ``5m`` to 300. Raise ValueError."""
    number, unit = interval[:-1], interval[-1:]
    if not number.isdecimal() or int(number) < 1 or unit not in _UNITS:
        raise ValueError(f"{interval!r:.80} is not an interval such as 5m, 1h or 1d")
    return int(number) * _UNITS[unit]


def last(period: str, end: datetime) -> PanelSelection:
    """Select everything in the ``period`` (``24h``) before ``end``. Raise ValueError."""
    return PanelSelection(end - timedelta(seconds=seconds(period)), end)
