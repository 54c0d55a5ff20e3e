"""Run a service that prices real loans without end, with an incident now and then, to try out a live stack."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

import logging_lib
from logging_lib import profile
from logging_lib.demo import loans
from logging_lib.demo.run import train

QUIET_TIME, INCIDENT_TIME = timedelta(minutes=40), timedelta(minutes=20)


def serve(
    folder: Path,
    *,
    ship_to: str | None = None,
    rate: float = 2.0,
    seed: int = 1,
    most: int | None = None,
    say: Callable[[str], None] = print,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.time,
) -> int:
    """Train the model, then log ``rate`` predictions per second.

    Args:
        folder: receives ``profile.json`` and ``spool``.
        ship_to: a receiver's URL, as ``configure`` takes it.
        rate: predictions per second.
        seed: the random seed for the order of the loans, and for the rows that incidents hit.
        most: the number of predictions after which to stop; default: never.
        say: called with a line of text when an incident begins and ends.
        stop: stops the service when it is set.
        clock: returns seconds since 1970.

    Returns:
        The number of predictions.
    """
    stop = stop or threading.Event()
    folder.mkdir(parents=True, exist_ok=True)
    months = loans.load()
    pipeline, fitted = train(months["Jan"])
    # In one step, and only when it is complete: another process may wait for this file.
    profile.save(fitted, folder / "profile.json.new")
    (folder / "profile.json.new").replace(folder / "profile.json")
    log = logging_lib.configure(
        model=loans.MODEL,
        version=loans.VERSION,
        profile=fitted,
        spool=folder / "spool",
        ship_to=ship_to,
        service={"name": "loan-pricing", "environment": "demo"},
    )
    log.start()
    random, begun, current, served = Random(seed), clock(), "", 0
    for inputs in _requests(pd.concat([months["Feb"], months["Mar"]]), random):
        if stop.is_set() or (most is not None and served >= most):
            break
        incident = incident_at(clock() - begun)
        name = incident.name if incident is not None else ""
        if name != current:
            at = datetime.fromtimestamp(clock(), UTC)
            say(
                f"{at:%Y-%m-%d %H:%M:%S} UTC: {f'incident begins: {name}' if name else f'{current} has ended'}"
            )
            current = name
        request = dict(inputs)
        if incident is not None:
            incident.apply(request, random)
        with log.prediction(request) as p:
            p.prediction = float(pipeline.predict([request])[0])
        served += 1
        stop.wait(max(0.0, begun + served / rate - clock()))
    return served


def incident_at(seconds: float) -> loans.DemoIncident | None:
    """Return the incident that is active this many seconds after the start: each in turn, after a quiet time."""
    period = (QUIET_TIME + INCIDENT_TIME).total_seconds()
    number, within = divmod(seconds, period)
    if within < QUIET_TIME.total_seconds():
        return None
    return loans.INCIDENTS[int(number) % len(loans.INCIDENTS)]


def _requests(rows: pd.DataFrame, random: Random) -> Iterator[dict[str, Any]]:
    requests = loans.requests(rows)
    random.shuffle(requests)
    return cycle(requests)
