"""Lines with 20 features: foreign ones, and those of our own logger."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from benchmarks._common import frame
from logging_lib import PredictionProcessor, profile

DISTINCT = 50_000


def foreign(distinct: int = DISTINCT) -> Iterator[bytes]:
    for i, row in enumerate(frame(distinct, seed=1).to_dict("records")):
        when = f"2018-02-01T10:{i // 60 % 60:02d}:{i % 60:02d}Z"
        event = {"model": "m", "version": "1", "inputs": row, "prediction": 11.5, "timestamp": when}
        yield orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def own(fitted: profile.Profile, distinct: int = DISTINCT) -> Iterator[bytes]:
    process = PredictionProcessor(model="m", version="1", profile=fitted, service="s")
    for row in frame(distinct, seed=1).to_dict("records"):
        event = process(None, "info", {"inputs": row, "prediction": 11.5, "request_id": "r-1"})
        yield orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
