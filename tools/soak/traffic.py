"""Clients of the services: rows with planted faults, and the outcome of each call."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from logging_lib import profile
from logging_lib.profile.config import Config
from tools.soak.plan import CATEGORIES, NUMBERS, Fault

WRITTEN, DROPPED, UNANSWERED = "written", "dropped", "unanswered"
LEVELS = ("a", "b", "c", "d")
REFUSED_LABEL = "no number"
"""A value of ``labels.size`` that the store's mapping refuses."""
_FAULTY_SHARE = 0.4
_ODD_SHARE = 0.001
_ROWS = 10
_TIMEOUT = 10.0
_TRAINING_ROWS = 5_000


def fit_profile(model: str) -> profile.Profile:
    """Fit the profile of a model whose features are those of the traffic; training ends now.

    Natural variation grows with the time since training: after a year even these faults could be natural.
    """
    random_rows = np.random.default_rng(1)
    columns: dict[str, Any] = {
        "time": pd.date_range(end=pd.Timestamp.now("UTC"), periods=_TRAINING_ROWS, freq="3min"),
        "prediction": random_rows.normal(10.0, 2.0, _TRAINING_ROWS),
    }
    columns |= {name: random_rows.uniform(0.0, 1.0, _TRAINING_ROWS) for name in NUMBERS}
    columns |= {name: random_rows.choice(LEVELS, _TRAINING_ROWS) for name in CATEGORIES}
    return profile.fit(
        pd.DataFrame(columns), model=model, version="1", prediction="prediction", config=Config(time="time")
    )


@dataclass
class Ledger:
    """The known state of each row: by its id the service's answer, and the last ``stats()`` of each worker.

    Attributes:
        refused: ids of rows that the store must refuse.
        unusable: ids of rows that the logger must turn into dead letters.
    """

    outcomes: dict[str, str] = field(default_factory=dict)
    stats: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    unusable: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, outcome: str) -> int:
        return sum(of_row == outcome for of_row in self.outcomes.values())

    def counted_by_stats(self) -> int:
        """Return the number of events that the workers count as written, up to each one's last answer."""
        return sum(stats["written"] for stats in self.stats.values())

    def dropped_by_reason(self) -> Counter[str]:
        """Return the number of events that the workers count as dropped, including their own health events."""
        dropped: Counter[str] = Counter()
        for stats in self.stats.values():
            dropped.update(stats["dropped"])
        return dropped


class Client(threading.Thread):
    """A client that calls one service at a steady rate until ``over`` is set.

    Args:
        began: ``time.monotonic()`` at the beginning of the run, to which the times of faults refer.
    """

    def __init__(
        self,
        model: str,
        port: int,
        rate: float,
        faults: Sequence[Fault],
        ledger: Ledger,
        *,
        name: str,
        seed: str,
        began: float,
        over: threading.Event,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._model, self._port, self._seconds = model, port, _ROWS / rate
        self._faults = [fault for fault in faults if fault.model == model]
        self._ledger, self._chance = ledger, random.Random(seed)
        self._began, self._over = began, over
        self._number = 0

    def run(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._seconds, time.monotonic() - 1.0)
            passed = time.monotonic() - self._began
            faults = [fault for fault in self._faults if fault.at <= passed < fault.until]
            self._call([self._make_row(faults) for _ in range(_ROWS)])

    def _make_row(self, faults: Sequence[Fault]) -> dict[str, Any]:
        chance = self._chance
        self._number += 1
        row: dict[str, Any] = {
            "id": f"{self.name}-{self._number:08d}",
            "inputs": {
                **{name: chance.random() for name in NUMBERS},
                **{name: chance.choice(LEVELS) for name in CATEGORIES},
            },
            "prediction": chance.gauss(10.0, 2.0),
        }
        for fault in faults:
            if chance.random() < _FAULTY_SHARE:
                row["inputs"][fault.feature] = {"missing": None, "out_of_range": 1e6, "unseen": "new"}[
                    fault.check
                ]
        if chance.random() < _ODD_SHARE:
            row["labels"] = {"size": REFUSED_LABEL}
        elif chance.random() < _ODD_SHARE:
            row["inputs"] = list(row["inputs"].values())
        return row

    def _call(self, rows: list[dict[str, Any]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT)
        try:
            connection.connect()
        except OSError:
            return  # no service was called
        try:
            connection.request("POST", "/", json.dumps(rows), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read()) if response.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            answer = None
        finally:
            connection.close()
        self._record(rows, answer)

    def _record(self, rows: list[dict[str, Any]], answer: dict[str, Any] | None) -> None:
        ledger = self._ledger
        written = [None] * len(rows) if answer is None else answer["written"]
        with ledger.lock:
            for row, is_written in zip(rows, written, strict=True):
                outcome = UNANSWERED if is_written is None else WRITTEN if is_written else DROPPED
                ledger.outcomes[row["id"]] = outcome
                if "labels" in row:
                    ledger.refused.add(row["id"])
                elif isinstance(row["inputs"], list):
                    ledger.unusable.add(row["id"])
            if answer is not None:
                known = ledger.stats.get(answer["worker"])
                if known is None or known["written"] <= answer["stats"]["written"]:
                    ledger.stats[answer["worker"]] = answer["stats"]
