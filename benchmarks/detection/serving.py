"""A fold of a natural stream in service: a real model, its profile, the logger's events, the product's backtest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from structlog import DropEvent

from benchmarks.detection.datasets import Stream
from benchmarks.detection.detectable import ABSENT, inputs_of, is_number
from logging_lib import PredictionProcessor
from logging_lib import profile as profiles
from logging_lib._util import content
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.model import Profile
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.backtest.backtest import backtest
from logging_lib.watch.loading import load_watches
from logging_lib.watch.model import Watch
from logging_lib.watch.results import Alert

_DELAY = pd.Timedelta(seconds=2)  # until an event is received


@dataclass
class Fold:
    """One training and the weeks after it.

    Args:
        timed: the profile is fitted with the time column.
    """

    stream: Stream
    number: int
    timed: bool = True

    def __post_init__(self) -> None:
        self.training, self.served = self.stream.fold(self.number)
        self.features = inputs_of(self.training)
        self.model = f"{self.stream.name}-{self.number}"

    @cached_property
    def estimator(self) -> Any:
        """Return the model, trained on the rows whose outcome is known."""
        known = self.training.dropna(subset=["target"])
        text = self.stream.text
        numeric = [n for n in self.features if is_number(known, n)]
        category = [n for n in self.features if n not in numeric and n != text]
        encoder = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1
        )
        parts: list[Any] = [("passthrough", numeric), (encoder, category)]
        if text is not None:
            parts.append(
                (make_pipeline(HashingVectorizer(n_features=4096), TruncatedSVD(8, random_state=1)), text)
            )
        regression = is_number(known, "target")
        kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
        model = kind(max_iter=60, min_samples_leaf=50, early_stopping=False, random_state=1)
        return make_pipeline(make_column_transformer(*parts), model).fit(
            known[self.features], known["target"]
        )

    def predict(self, rows: pd.DataFrame) -> list[Any]:
        """Return the model's answers. A value that is not a number is missing where the model needs numbers."""
        inputs = rows[self.features].copy()
        for name in self.features:
            if is_number(self.training, name):
                inputs[name] = pd.to_numeric(inputs[name], errors="coerce")
            else:
                inputs[name] = inputs[name].map(lambda value: None if value == ABSENT else value)
        if self.stream.text is not None:
            inputs[self.stream.text] = inputs[self.stream.text].fillna("")
        answers: list[Any] = self.estimator.predict(inputs).tolist()
        return answers

    @cached_property
    def profile(self) -> Profile:
        data = self.training.drop(columns="target").assign(prediction=self.predict(self.training))
        text = self.stream.text
        config = Config(
            time="time" if self.timed else None,
            exclude=() if self.timed else ("time",),
            features={text: FeatureConfig(kind="text")} if text is not None else {},
        )
        return profiles.fit(data, model=self.model, version="1", prediction="prediction", config=config)

    def events(self, rows: pd.DataFrame, sample: float = 1.0) -> Iterator[bytes]:
        """Yield the logger's events for these rows, as lines in the order of their arrival."""
        process = PredictionProcessor(
            model=self.model, version="1", profile=self.profile, service=self.stream.name, sample=sample
        )
        arrived = (rows["time"] + _DELAY).dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str[:-3] + "Z"
        columns = [rows[name].tolist() for name in self.features]
        for number, (moment, received, prediction, *values) in enumerate(
            zip(rows["time"], arrived, self.predict(rows), *columns, strict=True)
        ):
            inputs = {n: v for n, v in zip(self.features, values, strict=True) if v != ABSENT}
            try:
                event = process(
                    None,
                    "info",
                    {
                        "inputs": inputs,
                        "prediction": prediction,
                        "timestamp": moment.timestamp(),
                        "request_id": f"r{number}",
                    },
                )
            except DropEvent:
                continue
            event["event"]["ingested"] = received
            yield orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)

    def replay(
        self,
        lines: Iterable[bytes],
        arrivals: pd.Series,
        since: pd.Timestamp,
        until: pd.Timestamp,
        every: timedelta,
    ) -> tuple[Alert, ...]:
        """Return the alerts of a backtest; ``arrivals`` are the times of the events."""
        return replay(
            lines,
            profile=self.profile,
            hours=[hour.to_pydatetime() for hour in arrivals.dt.floor("h").unique()],
            since=since.to_pydatetime(),
            until=until.to_pydatetime(),
            every=every,
            watches=prediction_watches(),
        )


def replay(
    lines: Iterable[bytes],
    *,
    profile: Profile,
    hours: Iterable[datetime],
    since: datetime,
    until: datetime,
    every: timedelta,
    watches: Iterable[Watch],
) -> tuple[Alert, ...]:
    """Return the alerts of the product's own backtest over these events.

    Args:
        hours: the hours in which events arrived.
    """
    with tempfile.TemporaryDirectory(prefix="detection-") as folder:
        with EmbeddedStore(Path(folder)) as writable:
            writable.index("ml-profiles", [profiles.build_document(profile)])
        stream = Path(folder) / "logs-ml.prediction-default"
        stream.mkdir()
        with (stream / "documents.jsonl").open("wb") as file:
            file.writelines(lines)
        with EmbeddedStore(Path(folder), read_only=True) as store:
            result = backtest(store, watches, start=since, end=until, every=every, arrivals=hours)
    assert not result.failures, result.failures
    return result.alerts


@cache
def prediction_watches() -> list[Watch]:
    """Return the shipped watches that read the events of predictions."""
    watches = load_watches(content.path("watchers"))
    return [watch for watch in watches if "logs-ml.prediction-" in watch.definition.model_dump_json()]
