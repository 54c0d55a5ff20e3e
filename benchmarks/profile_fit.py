"""Fitting a profile of 1M x 20 against the equivalent pandas calls, each in its own process."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pandas as pd

from benchmarks._common import NUMBERS, Result, frame
from logging_lib import profile

ROWS = 1_000_000
_WORD = re.compile(r"[^\W_]+")


def run() -> Iterator[Result]:
    (ours, memory), (theirs, _) = (_apart(function) for function in (_fit, _pandas))
    yield Result("profile_fit", ours, "s", "ratio <= 1.5", "pandas", theirs, ours / theirs)
    yield Result("profile_fit_peak_memory", memory, "MiB", "stated; the frame itself included")


def _apart(function: Callable[[pd.DataFrame], object]) -> tuple[float, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_timed, function).result()


def _timed(function: Callable[[pd.DataFrame], object]) -> tuple[float, float]:
    data = frame(ROWS)
    start = time.perf_counter()
    function(data)
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _fit(data: pd.DataFrame) -> object:
    return profile.fit(data, model="m", version="1")


def _pandas(data: pd.DataFrame) -> object:
    """Run value_counts, isna, describe and quantiles per column; count the texts' words."""
    made = []
    for position, name in enumerate(data.columns):
        column = data[name]
        made.append(column.isna().sum())
        if position < NUMBERS:
            made += [column.describe(), column.quantile([i / 10 for i in range(1, 10)])]
        else:
            made.append(column.value_counts())
            if name.startswith("text"):
                made.append(column.str.lower().str.findall(_WORD).explode().value_counts())
    return made
