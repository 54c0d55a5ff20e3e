"""Bytes of a prediction in the spool, by features, texts and sampling; for ``docs/sizing.md``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import logging_lib
from benchmarks._common import Result, frame
from logging_lib import profile

ROWS = 2_000
TEXTS, WORDS = 2, 10
FEATURES = (5, 20, 50, 100)
FAULTY = 0.01


def run() -> Iterator[Result]:
    for features in FEATURES:
        for texts in (0, TEXTS):
            size, _ = spooled(features, texts)
            what = f"{features}_features" + (f"_of_them_{texts}_texts" if texts else "")
            yield Result(f"event_size_{what}", size, "bytes", "-")
    yield Result("event_size_label", label(), "bytes", "-")
    full, _ = spooled(20, 0)
    for sample in (0.1, 0.01):
        size, kept = spooled(20, 0, sample=sample, faulty=FAULTY)
        yield Result(
            f"event_size_sampled_{sample}", size, "bytes a prediction", "-", "unsampled", full, size / full
        )
        yield Result(f"events_sampled_{sample}", kept, "events a prediction", "-")


def spooled(features: int, texts: int, *, sample: float = 1.0, faulty: float = 0.0) -> tuple[float, float]:
    """Return the bytes and events in the spool per prediction.

    Half of the features that are not texts are numbers, half categories; a text has ten words. Each prediction has
    a request id and a duration; ``faulty`` is the share of those in which one number is missing.
    """
    numbers = (features - texts + 1) // 2
    categories = features - texts - numbers
    data = frame(ROWS, numbers=numbers, categories=categories, texts=texts, words_a_text=WORDS)
    data = data.fillna({"number_3": 1.0})
    output = data["number_0"] / 20
    fitted = profile.fit(data.assign(output=output), model="m", version="1", prediction="output")
    rows = data.to_dict("records")
    with tempfile.TemporaryDirectory() as folder:
        log = logging_lib.configure(
            model="loans",
            version="2026-11-01",
            profile=fitted,
            spool=folder,
            service="pricing-api",
            sample=sample,
            report_every=None,
        )
        for n, inputs in enumerate(rows):
            if n < faulty * ROWS:
                inputs["number_0"] = None
            log.prediction(inputs, output[n], request_id=f"1f0c8a52-7d6e-4f0b-9f67-{n:012x}", duration=0.0021)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        return size / ROWS, log.stats()["written"] / ROWS


def label() -> float:
    """Return the bytes of a label event that contains its prediction."""
    with tempfile.TemporaryDirectory() as folder:
        log = logging_lib.configure(
            model="loans",
            version="2026-11-01",
            spool=folder,
            service="pricing-api",
            label_cache_size=1,
            report_every=None,
        )
        log.prediction({}, 11.4907, request_id="1f0c8a52-7d6e-4f0b-9f67-000000000000")
        log.label("1f0c8a52-7d6e-4f0b-9f67-000000000000", 12.25)
        (segment,) = Path(folder).iterdir()
        return len(segment.read_bytes().splitlines(keepends=True)[1])
