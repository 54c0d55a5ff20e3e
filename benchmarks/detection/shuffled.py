"""Shuffled streams in the product's backtest: cells of a fault on a stream with a seed, and clean weeks."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.detection.faults import FAULTS, Fault
from benchmarks.detection.serving import prediction_watches, replay
from benchmarks.detection.streams import MONDAY, STREAMS, WEEK, Array, Stream
from logging_lib._util.times import format_instant
from logging_lib.watch.results import Alert

FAULTY = 2500  # rows of the pool that each fault is prepared for
DAY = 86400.0
TICK = timedelta(minutes=5)
LONGEST = 1000  # events after the onset; a leak is followed for its week and a day
MEDIAN, SIGMA = 20e6, 0.35  # of the latency, in nanoseconds and on the scale of logarithms
FAILING = 0.003
OTHER = "next"
Record = dict[str, Any]


@dataclass
class Prepared:
    """A stream with its pool, and the rows altered by faults, as lines with placeholders for an event's values."""

    stream: Stream
    lines: list[str]
    altered: dict[str, tuple[Array, int]]
    usual_oov: float


@dataclass
class Events:
    """Events: ascending ``at``, seconds since the Monday; line numbers; nanoseconds; other version; failed."""

    at: Array
    documents: Array
    durations: Array
    other: Array
    failed: Array


def prepare(stream: Stream) -> Prepared:
    documents = list(stream.documents(stream.rows))
    chosen = np.random.default_rng(3).permutation(len(stream.rows))[:FAULTY]
    usual = sum(stream.text in document["ml"].get("check", {}).get("oov", ()) for document in documents)
    altered, rows = {}, len(documents)
    for fault in FAULTS:
        if fault.alter is not None:
            altered[fault.name] = (chosen, len(documents))
            documents += stream.documents(fault.alter(stream, stream.rows.iloc[chosen]))
    return Prepared(stream, [_template(document) for document in documents], altered, usual / rows)


def _template(document: Record) -> str:
    event = {**document["event"], "id": "$id", "ingested": "$at", "duration": "$took"}
    line = orjson.dumps({**document, "@timestamp": "$at", "event": event}, option=orjson.OPT_APPEND_NEWLINE)
    return line.decode().replace('"$took"', "$took")


def render(prepared: Prepared, found: Events) -> list[bytes]:
    """Return the events as the store keeps them."""
    version = f'"version":"{prepared.stream.version}","role"'
    lines = []
    for i, (at, document, took) in enumerate(zip(found.at, found.documents, found.durations, strict=True)):
        line = prepared.lines[document].replace("$at", format_instant(MONDAY + timedelta(seconds=float(at))))
        line = line.replace("$took", str(int(took))).replace("$id", f"e{i}")
        if found.failed[i]:
            line = line.replace('"outcome":"success"', '"outcome":"failure"')
        if found.other[i]:
            line = line.replace(version, f'"version":"{OTHER}","role"')
            line = line.replace('"status":"matched"', '"status":"mismatch"')
        lines.append(line.encode())
    return lines


def events(prepared: Prepared, spans: list[tuple[float, float]], chance: np.random.Generator) -> Events:
    """Draw clean events within these spans of time."""
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
    """Alter the events from the onset on; return which of them were hit."""
    after = found.at >= onset
    share = fault.share
    if fault.times:
        share = prepared.usual_oov * (fault.times - 1.0) / (1.0 - prepared.usual_oov)
    grown = np.clip((found.at - onset) / fault.ramp, 0.0, 1.0) if fault.ramp else 1.0
    hit: Array = after & (chance.random(len(found.at)) < share * grown)
    if fault.alter is not None:
        chosen, begin = prepared.altered[fault.name]
        # The same kind of row, if the pool has two: the altered rows keep the share of day and night.
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
    """Return a moment of the fifth week at which the stream has traffic."""
    while True:
        onset = 4 * WEEK + chance.uniform(0.0, WEEK)
        if chance.random() * stream.peak < stream.rate(np.array([onset]))[0]:
            return float(onset)


def faulty(prepared: Prepared, fault: Fault, seed: int) -> Record:
    """Measure one cell: whether and when a watch that is responsible for the fault names its feature."""
    stream = prepared.stream
    chance = np.random.default_rng(seed_of(stream.name, fault.name, seed))
    onset = onset_of(stream, chance)
    reach = 8 * DAY if fault.ramp else 1.5 * DAY + (2.5 * DAY if stream.day is None else 0.0)
    # the last days, and the same weekdays of the three weeks before: what watches look back at
    spans = [(onset - k * WEEK - 6.5 * 3600, onset - k * WEEK + reach) for k in (3, 2) if not fault.ramp]
    spans += [(onset - WEEK - 6.5 * 3600, onset - 1.02 * DAY)] if fault.ramp else []
    if not fault.ramp:
        spans.append((onset - WEEK - 6.5 * 3600, min(onset - WEEK + reach, onset - 3.02 * DAY)))
    spans.append((onset - (1.02 if fault.ramp else 3.02) * DAY, onset + reach))
    found = events(prepared, spans, chance)
    strike(prepared, fault, found, onset, chance)
    after = found.at[found.at >= onset]
    last = onset + reach if fault.ramp else float(after[min(LONGEST, len(after) - 1)]) + 900.0
    record: Record = {"stream": stream.name, "fault": fault.name, "seed": seed, "found": False}
    for alert in _replayed(prepared, found, onset, last, fault.watches):
        wanted = fault.feature(stream)
        if wanted in alert.features or not wanted:
            now = (alert.time - MONDAY).total_seconds()
            count = int((after < now).sum())
            return record | {
                "found": True,
                "watch": alert.watch,
                "events": count,
                "minutes": round((now - onset) / 60.0, 1),
            }
    return record


def clean(prepared: Prepared, seed: int, weeks: int) -> Record:
    """Measure weeks without faults, after three that serve as the past; all watches run at all their ticks."""
    chance = np.random.default_rng(seed_of(prepared.stream.name, "clean", seed))
    end = (3 + weeks) * WEEK
    found = events(prepared, [(0.0, end)], chance)
    alarms = [
        {"watch": alert.watch, "at": alert.time.isoformat(), "what": alert.subject}
        for alert in _replayed(prepared, found, 3 * WEEK, end, ())
    ]
    evaluated = int((found.at >= 3 * WEEK).sum())
    return {
        "stream": prepared.stream.name,
        "seed": seed,
        "weeks": weeks,
        "events": evaluated,
        "alarms": alarms,
    }


def _replayed(
    prepared: Prepared, found: Events, begin: float, end: float, watches: tuple[str, ...]
) -> tuple[Alert, ...]:
    """Return the alerts of these watches, or of all."""
    return replay(
        render(prepared, found),
        profile=prepared.stream.profile,
        hours=sorted({MONDAY + timedelta(hours=float(hour)) for hour in found.at // 3600.0}),
        since=MONDAY + timedelta(seconds=begin),
        until=MONDAY + timedelta(seconds=end),
        every=TICK,
        watches=[watch for watch in prediction_watches() if not watches or watch.id in watches],
    )


def of_stream(name: str, seeds: int, clean_seeds: int, weeks: int, folder: str) -> list[Record]:
    """Return the records of every cell of a stream; each is kept in the folder."""
    prepared, records = prepare(STREAMS[name]()), []

    def kept(key: str, make: Callable[[], Record]) -> None:
        file = Path(folder) / f"{name}-{key.replace(' ', '_')}.json"
        if not file.is_file():
            file.write_bytes(orjson.dumps(make(), option=orjson.OPT_SERIALIZE_NUMPY))
        records.append(orjson.loads(file.read_bytes()))

    for seed in range(seeds):
        for fault in FAULTS:
            kept(f"{fault.name}-{seed}", partial(faulty, prepared, fault, seed))
    for seed in range(clean_seeds):
        kept(f"clean-{seed}-{weeks}", partial(clean, prepared, seed, weeks))
    return records
