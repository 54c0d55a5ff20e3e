"""Faults upstream: each alters a share of the events' rows, or their version, or their latency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.detection.streams import ABSENT, Stream

Alter = Callable[[Stream, pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Fault:
    """A fault. ``share`` of the events are hit; ``watches`` are responsible and must name ``feature``.

    ``large``: whether the goals are about it. ``ramp``: seconds until the share is reached.
    """

    name: str
    share: float
    large: bool
    watches: tuple[str, ...]
    feature: Callable[[Stream], str]
    alter: Alter | None = None
    slower: float = 1.0
    other_version: bool = False
    times: float = 0.0
    ramp: float = 0.0


def _set(name: Callable[[Stream], str], value: object) -> Alter:
    def alter(stream: Stream, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**{name(stream): [value] * len(rows)})

    return alter


def _map(name: Callable[[Stream], str], change: Callable[[Stream, float], float]) -> Alter:
    def alter(stream: Stream, rows: pd.DataFrame) -> pd.DataFrame:
        known = [
            value
            if value is None or (isinstance(value, float) and np.isnan(value))
            else change(stream, value)
            for value in rows[name(stream)]
        ]
        return rows.assign(**{name(stream): pd.Series(known, index=rows.index, dtype=object)})

    return alter


def _deviation(stream: Stream) -> float:
    return float(pd.to_numeric(stream.reference[stream.number]).std())


def _swap(stream: Stream, rows: pd.DataFrame) -> pd.DataFrame:
    one, other = stream.swap
    exchanged = {one: other, other: one}
    return rows.assign(
        **{stream.category: rows[stream.category].map(lambda value: exchanged.get(value, value))}
    )


def _other_words(stream: Stream, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{stream.text: [f"zq{i % 97} vx{i % 89}" for i in range(len(rows))]})


def _category(stream: Stream) -> str:
    return stream.category


def _missing(stream: Stream) -> str:
    return stream.missing


def _number(stream: Stream) -> str:
    return stream.number


def _text(stream: Stream) -> str:
    return stream.text


_NA = ("na-spike", "vanished-feature")
_MOVED = ("input-drift", "out-of-range", "spread-shift")
_OFF = _map(_number, lambda stream, value: value + 0.5 * _deviation(stream))
_HALF_OFF = _map(_number, lambda stream, value: value + 0.25 * _deviation(stream))

FAULTS = (
    Fault("unseen category, 1 %", 0.01, False, ("unseen-categories",), _category, _set(_category, "new one")),
    Fault("unseen category, 5 %", 0.05, True, ("unseen-categories",), _category, _set(_category, "new one")),
    Fault("NA +5 points", 0.05, False, _NA, _missing, _set(_missing, None)),
    Fault("NA +10 points", 0.10, True, _NA, _missing, _set(_missing, None)),
    Fault("NA +30 points", 0.30, True, _NA, _missing, _set(_missing, None)),
    Fault("OOV x 1.5", 0.0, False, ("oov-rise",), _text, _other_words, times=1.5),
    Fault("OOV x 2", 0.0, True, ("oov-rise",), _text, _other_words, times=2.0),
    Fault("vanished column", 1.0, True, ("vanished-feature",), _missing, _set(_missing, ABSENT)),
    Fault(
        "unit change x 1000",
        1.0,
        True,
        _MOVED,
        _missing,
        _map(_missing, lambda stream, value: value * 1000.0),
    ),
    Fault("mean +0.25 sd", 1.0, False, _MOVED, _number, _HALF_OFF),
    Fault("mean +0.5 sd", 1.0, True, _MOVED, _number, _OFF),
    Fault("category swap", 1.0, True, ("input-drift",), _category, _swap),
    Fault("wrong version", 1.0, True, ("model-version",), lambda stream: "", other_version=True),
    Fault("latency x 1.5", 1.0, False, ("latency-regression",), lambda stream: "latency", slower=1.5),
    Fault("latency x 2", 1.0, True, ("latency-regression",), lambda stream: "latency", slower=2.0),
    Fault(
        "slow leak: NA +20 points in 7 days",
        0.20,
        False,
        _NA,
        _missing,
        _set(_missing, None),
        ramp=7 * 86400.0,
    ),
)
