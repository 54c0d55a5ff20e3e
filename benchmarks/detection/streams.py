"""Three streams of predictions: real loans, and two made-up ones whose traffic and mix follow the day and the week.

A stream is a pool of rows, each run through the logger's own processor once, and a rate of arrivals. Its events are
drawn from the pool, so that weeks of events cost no more than the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from logging_lib import profile as profiles
from logging_lib.demo import loans
from logging_lib.demo.run import train
from logging_lib.logger.processor import PredictionProcessor
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.model import Profile

Array = NDArray[Any]
WEEK = 7 * 86400.0
MONDAY = datetime(2018, 1, 1, tzinfo=UTC)
POOL = 6000  # rows of each of a made-up stream's two populations
TRAINING = 20_000


@dataclass(frozen=True)
class Stream:
    """``rate``: events per hour by seconds since a Monday; ``day``: the share from the pool's first half."""

    name: str
    model: str
    about: str
    version: str
    profile: Profile
    rows: pd.DataFrame
    predict: Callable[[pd.DataFrame], Array]
    rate: Callable[[Array], Array]
    peak: float
    day: Callable[[Array], Array] | None
    reference: pd.DataFrame
    category: str
    swap: tuple[str, str]
    number: str
    missing: str
    text: str

    def arrivals(self, start: float, end: float, chance: np.random.Generator) -> Array:
        """Return seconds since the Monday, ascending: a Poisson process of the stream's rate (thinning)."""
        n = chance.poisson(self.peak / 3600 * (end - start))
        at = np.sort(chance.uniform(start, end, n))
        kept: Array = at[chance.random(n) * self.peak < self.rate(at)]
        return kept

    def draw(self, at: Array, chance: np.random.Generator) -> Array:
        """Return the row of the pool for each arrival."""
        if self.day is None:
            return chance.integers(0, len(self.rows), len(at))
        half = len(self.rows) // 2
        night = chance.random(len(at)) >= self.day(at)
        return chance.integers(0, half, len(at)) + half * night

    def documents(self, rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
        """Yield the logger's documents for these rows and the model's answers."""
        processor = PredictionProcessor(
            model=self.model, version=self.version, profile=self.profile, service=f"{self.name}-api"
        )
        answers = self.predict(rows)
        names = [str(name) for name in rows.columns]
        for values, answer in zip(rows.itertuples(index=False, name=None), answers, strict=True):
            inputs = {n: v for n, v in zip(names, values, strict=True) if v is not ABSENT}
            event: dict[str, Any] = {"event": "prediction", "inputs": inputs, "timestamp": MONDAY}
            event["prediction"] = answer.item() if hasattr(answer, "item") else answer
            yield dict(processor(None, "info", event))


ABSENT = object()


def _hour(at: Array) -> Array:
    return at % 86400.0 / 3600.0


def _weekend(at: Array) -> Array:
    return at % WEEK >= 5 * 86400.0


def _seasonal(at: Array) -> Array:
    """Return 250 per hour on average, three times as many at 14:00 as at 2:00, and 40 % fewer on weekends."""
    day = 250.0 * (1.0 + 0.6 * np.cos(2 * np.pi * (_hour(at) - 14.0) / 24.0))
    return day * np.where(_weekend(at), 0.6, 1.0)


def _day_share(at: Array) -> Array:
    share = 0.5 + 0.35 * np.cos(2 * np.pi * (_hour(at) - 13.0) / 24.0)
    return share * np.where(_weekend(at), 0.8, 1.0)


def loans_stream() -> Stream:
    """Return 10,000 real loans: trained on January, events from February and March, in business hours."""
    months = loans.load()
    pipeline, fitted = train(months["Jan"])
    rows = pd.concat([months["Feb"], months["Mar"]], ignore_index=True)[list(loans.FEATURES)]

    def predict(given: pd.DataFrame) -> Array:
        asked = given.astype(object).where(given.map(lambda value: value is not ABSENT), None)
        return np.asarray(pipeline.predict(loans.requests(asked)))

    def rate(at: Array) -> Array:
        hour = _hour(at)
        return np.where((hour >= loans.OPENS) & (hour < loans.CLOSES) & ~_weekend(at), 213.0, 0.0)

    return Stream(
        name="loans",
        model=loans.MODEL,
        about="real loans, 213 an hour from 9:00 to 17:00 on five days",
        version=loans.VERSION,
        profile=fitted,
        rows=rows.astype(object),
        predict=predict,
        rate=rate,
        peak=213.0,
        day=None,
        reference=months["Jan"][list(loans.FEATURES)],
        category="homeownership",
        swap=("RENT", "OWN"),
        number="loan_amount",
        missing="annual_income",
        text="emp_title",
    )


WORDS = [
    "blue",
    "red",
    "green",
    "small",
    "large",
    "warm",
    "cotton",
    "wool",
    "shirt",
    "shoe",
    "coat",
    "scarf",
    "hat",
    "glove",
    "sock",
    "belt",
    "bag",
    "lamp",
    "desk",
    "chair",
    "table",
    "cup",
    "plate",
    "fork",
    "knife",
    "pan",
    "bowl",
    "clock",
    "frame",
    "rug",
    "towel",
    "pillow",
]


def _texts(chance: np.random.Generator, n: int, unknown: float) -> list[str]:
    """Return texts of two or three words; in a share of the texts all words are new."""
    made = []
    for odd in chance.random(n) < unknown:
        count = int(chance.integers(2, 4))
        words = [f"w{chance.integers(10**9)}" for _ in range(count)] if odd else chance.choice(WORDS, count)
        made.append(" ".join(words))
    return made


def _shop_rows(chance: np.random.Generator, n: int, *, day: bool) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "age": chance.normal(44.0 if day else 38.0, 12.0, n),
            "basket": chance.lognormal(3.6 if day else 3.8, 0.7, n),
            "items": chance.poisson(4.0, n).astype(float),
            "distance": chance.gamma(2.0, 6.0, n),
            "device": chance.choice(
                ["phone", "desktop", "tablet", "tv"],
                n,
                p=[0.45, 0.40, 0.12, 0.03] if day else [0.65, 0.20, 0.12, 0.03],
            ),
            "country": chance.choice(
                [f"C{i}" for i in range(8)], n, p=[0.4, 0.2, 0.12, 0.1, 0.08, 0.05, 0.03, 0.02]
            ),
            "query": _texts(chance, n, 0.05),
        }
    )
    frame.loc[chance.random(n) < 0.02, "age"] = np.nan
    return frame


def _numbers(rows: pd.DataFrame, name: str, otherwise: float) -> Array:
    known = rows[name].map(lambda value: otherwise if value is None or value is ABSENT else float(value))
    return np.asarray(known.fillna(otherwise), dtype=float)


def _shop_answers(rows: pd.DataFrame) -> Array:
    return (
        5.0
        + 0.05 * _numbers(rows, "age", 41.0)
        + 0.4 * np.log1p(np.maximum(_numbers(rows, "basket", 40.0), 0.0))
        + np.asarray(rows["device"].map({"phone": 0.3, "desktop": 0.6}).fillna(0.0), dtype=float)
        + 0.02 * _numbers(rows, "distance", 12.0)
    )


def _claims_rows(chance: np.random.Generator, n: int, *, day: bool) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "amount": chance.normal(520.0 if day else 440.0, 160.0, n),
            "delay": chance.exponential(9.0 if day else 7.0, n),
            "visits": chance.integers(0, 12, n).astype(float),
            "channel": chance.choice(
                ["web", "agent", "mail", "phone"],
                n,
                p=[0.35, 0.45, 0.05, 0.15] if day else [0.55, 0.25, 0.05, 0.15],
            ),
            "region": chance.choice([f"R{i}" for i in range(6)], n, p=[0.3, 0.25, 0.2, 0.15, 0.07, 0.03]),
            "note": _texts(chance, n, 0.04),
        }
    )
    frame.loc[chance.random(n) < 0.01, "amount"] = np.nan
    return frame


def _claims_answers(rows: pd.DataFrame) -> Array:
    """Return the answers of a classifier with three classes."""
    score = (_numbers(rows, "amount", 480.0) - 480.0) / 160.0 + 0.05 * _numbers(rows, "delay", 8.0)
    score = score + np.asarray(rows["channel"].map({"agent": 0.4}).fillna(0.0), dtype=float)
    return np.where(score > 1.6, "refuse", np.where(score > 0.4, "review", "pay"))


def _made_up(
    name: str,
    about: str,
    make: Callable[..., pd.DataFrame],
    predict: Callable[[pd.DataFrame], Array],
    **features: Any,
) -> Stream:
    chance = np.random.default_rng(len(name))
    at = np.sort(chance.uniform(0.0, 4 * WEEK, TRAINING * 4))
    at = np.sort(chance.choice(at[chance.random(len(at)) * 400.0 < _seasonal(at)], TRAINING, replace=False))
    day = chance.random(TRAINING) < _day_share(at)
    training = pd.concat([make(chance, int(day.sum()), day=True), make(chance, int((~day).sum()), day=False)])
    training.index = pd.Index(np.concatenate([np.flatnonzero(day), np.flatnonzero(~day)]))
    training = training.sort_index()
    moments = [MONDAY - timedelta(weeks=5) + timedelta(seconds=float(each)) for each in at]
    fitted = profiles.fit(
        training.assign(moment=moments, answer=predict(training)),
        model=name,
        version="1",
        prediction="answer",
        config=Config(time="moment", features={features["text"]: FeatureConfig(kind="text")}),
    )
    pool = pd.concat([make(chance, POOL, day=True), make(chance, POOL, day=False)], ignore_index=True)
    return Stream(
        name=name,
        model=name,
        about=about,
        version="1",
        profile=fitted,
        rows=pool.astype(object),
        predict=predict,
        rate=_seasonal,
        peak=400.0,
        day=_day_share,
        reference=training,
        **features,
    )


def shop_stream() -> Stream:
    return _made_up(
        "shop",
        "made up, a regression; 250 an hour on average, by the hour and the day of the week, as is the mix",
        _shop_rows,
        _shop_answers,
        category="device",
        swap=("phone", "tablet"),
        number="age",
        missing="age",
        text="query",
    )


def claims_stream() -> Stream:
    return _made_up(
        "claims",
        "made up, a classifier of three classes; traffic and mix as above",
        _claims_rows,
        _claims_answers,
        category="channel",
        swap=("agent", "phone"),
        number="amount",
        missing="amount",
        text="note",
    )


STREAMS: dict[str, Callable[[], Stream]] = {
    "loans": loans_stream,
    "shop": shop_stream,
    "claims": claims_stream,
}
