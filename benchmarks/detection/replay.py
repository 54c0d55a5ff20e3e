"""Runs cells: a fault on a stream with a seed, and clean weeks; each gives a small record."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.detection.counting import CELL, WATCHES, Counts, Events, Judge, Tokens
from benchmarks.detection.faults import FAULTS, Fault
from benchmarks.detection.streams import WEEK, Array, Stream

FAULTY = 2500  # rows of the pool that each fault is prepared for
DAY = 86400.0
LONGEST = 1000  # events after the onset; a leak is followed for its week and a day
MEDIAN, SIGMA = 20e6, 0.35  # of the latency, in nanoseconds and on the scale of logarithms
FAILING = 0.003


@dataclass
class Prepared:
    """A stream with its pool, and the fault's altered rows, as documents that are counted."""

    stream: Stream
    tokens: Tokens
    altered: dict[str, tuple[Array, int]]
    usual_oov: float
    judge: Judge


def prepare(stream: Stream) -> Prepared:
    tokens = Tokens()
    tokens.add(stream.documents(stream.rows))
    chance = np.random.default_rng(3)
    chosen = chance.permutation(len(stream.rows))[:FAULTY]
    altered = {}
    for fault in FAULTS:
        if fault.alter is not None:
            rows = fault.alter(stream, stream.rows.iloc[chosen])
            altered[fault.name] = (chosen, tokens.add(stream.documents(rows))[0])
    tokens.freeze()
    number = tokens.numbers.get(("oov", stream.text))
    _, token = tokens.of(np.arange(len(stream.rows)))
    usual = float((token == number).sum() / len(stream.rows)) if number is not None else 0.0
    return Prepared(stream, tokens, altered, usual, Judge(stream))


def events(prepared: Prepared, spans: list[tuple[float, float]], chance: np.random.Generator) -> Events:
    """Clean events within these spans of time."""
    at = np.concatenate([prepared.stream.arrivals(begin, end, chance) for begin, end in spans])
    n = len(at)
    return Events(
        at=at,
        documents=prepared.stream.draw(at, chance),
        durations=np.exp(chance.normal(np.log(MEDIAN), SIGMA, n)),
        other=np.zeros(n, dtype=bool),
        failed=chance.random(n) < FAILING,
    )


def strike(
    prepared: Prepared, fault: Fault, found: Events, onset: float, chance: np.random.Generator
) -> Array:
    """Alter the events from the onset on; which of them were hit."""
    after = found.at >= onset
    share = fault.share
    if fault.times:
        share = prepared.usual_oov * (fault.times - 1.0) / (1.0 - prepared.usual_oov)
    grown = np.clip((found.at - onset) / fault.ramp, 0.0, 1.0) if fault.ramp else 1.0
    hit: Array = after & (chance.random(len(found.at)) < share * grown)
    if fault.alter is not None:
        chosen, begin = prepared.altered[fault.name]
        # The same kind of row, where the pool has two: the altered rows keep the share of day and night.
        picked = chance.integers(0, len(chosen), int(hit.sum()))
        if prepared.stream.day is not None:
            half = len(prepared.stream.rows) // 2
            night = found.documents[hit] >= half
            of_day, of_night = np.flatnonzero(chosen < half), np.flatnonzero(chosen >= half)
            picked = np.where(night, chance.choice(of_night, len(night)), chance.choice(of_day, len(night)))
        found.documents[hit] = begin + picked
    if fault.slower != 1.0:
        found.durations[hit] *= fault.slower
    if fault.other_version:
        found.other[hit] = True
    return hit


def seed_of(*parts: object) -> int:
    return zlib.crc32("|".join(map(str, parts)).encode())


def onset_of(stream: Stream, chance: np.random.Generator) -> float:
    """A moment of the fifth week at which the stream has traffic."""
    while True:
        onset = 4 * WEEK + chance.uniform(0.0, WEEK)
        if chance.random() * stream.peak < stream.rate(np.array([onset]))[0]:
            return float(onset)


def faulty(prepared: Prepared, fault: Fault, seed: int) -> tuple[dict[str, Any], Events, float]:
    """One cell: the record, the events, and the onset."""
    chance = np.random.default_rng(seed_of(prepared.stream.name, fault.name, seed))
    onset = onset_of(prepared.stream, chance)
    reach = 8 * DAY if fault.ramp else 1.5 * DAY + (2.5 * DAY if prepared.stream.day is None else 0.0)
    spans = [(onset - k * WEEK - 6.5 * 3600, onset - k * WEEK + reach) for k in (3, 2) if not fault.ramp]
    spans += [(onset - WEEK - 6.5 * 3600, onset - 1.02 * DAY)] if fault.ramp else []
    if not fault.ramp:
        spans.append((onset - WEEK - 6.5 * 3600, min(onset - WEEK + reach, onset - 3.02 * DAY)))
    spans.append((onset - (1.02 if fault.ramp else 3.02) * DAY, onset + reach))
    found = events(prepared, spans, chance)
    strike(prepared, fault, found, onset, chance)
    after = found.at[found.at >= onset]
    counts = Counts(prepared.tokens, found, spans[0][0], onset + reach)
    last = onset + reach if fault.ramp else float(after[min(LONGEST, len(after) - 1)]) + 900.0
    record: dict[str, Any] = {
        "stream": prepared.stream.name,
        "fault": fault.name,
        "seed": seed,
        "found": False,
    }
    judge = Judge(prepared.stream)
    now = np.ceil(onset / CELL) * CELL
    while now <= last:
        for watch in fault.watches:
            if judge.is_due(watch, now):
                named = [each["feature"] for each in judge.findings(watch, counts, now)]
                wanted = fault.feature(prepared.stream)
                if wanted in named or (not wanted and named):
                    record |= {
                        "found": True,
                        "watch": watch,
                        "events": int((after < now).sum()),
                        "minutes": round((now - onset) / 60.0, 1),
                    }
                    return record, found, onset
        now += CELL
    return record, found, onset


def clean(prepared: Prepared, seed: int, weeks: int) -> dict[str, Any]:
    """Weeks in which nothing is wrong, after three that serve as the past; all watches at every tick of theirs."""
    chance = np.random.default_rng(seed_of(prepared.stream.name, "clean", seed))
    found = events(prepared, [(0.0, (3 + weeks) * WEEK)], chance)
    counts = Counts(prepared.tokens, found, 0.0, (3 + weeks) * WEEK)
    judge = Judge(prepared.stream)
    notified: dict[tuple[str, str], float] = {}
    alarms = []
    now = 3 * WEEK
    judged = int((found.at >= now).sum())
    while now < (3 + weeks) * WEEK:
        for watch in WATCHES:
            if not judge.is_due(watch, now):
                continue
            new = []
            for finding in judge.findings(watch, counts, now):
                key = (watch, finding["feature"])
                if now - notified.get(key, -1e18) >= DAY:
                    notified[key] = now
                    new.append(finding)
            if new:  # one message a watch and model
                alarms.append({"watch": watch, "at": now, "what": [each["what"] for each in new][:3]})
        now += CELL
    return {"stream": prepared.stream.name, "seed": seed, "weeks": weeks, "events": judged, "alarms": alarms}
