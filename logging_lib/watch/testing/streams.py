"""From described streams to the documents that a store would hold; seeded, so the same each time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from logging_lib import profile as profiles
from logging_lib._util.times import format_instant
from logging_lib.logger.event import CachedPrediction, OutputEncoder, build_label
from logging_lib.logger.health import build_health_event, build_start_event
from logging_lib.logger.processor import PredictionProcessor
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.model import Profile
from logging_lib.schema import SCHEMA_VERSION, data_stream
from logging_lib.watch.testing import cases

Document = dict[str, Any]


def fit_description(described: cases.ProfileDescription, model: str, version: str) -> Profile:
    """The profile of the described data, fitted as any other."""
    return _fit_description(described.model_dump_json(), model, version)


@lru_cache(maxsize=32)
def _fit_description(described: str, model: str, version: str) -> Profile:
    import pandas as pd

    given = cases.ProfileDescription.model_validate_json(described)
    chance = random.Random(given.seed)
    columns: dict[str, list[Any]] = {}
    for name, column in given.features.items():
        drawn = (draw(column, chance) for _ in range(given.rows))
        columns[name] = [None if chance.random() < column.missing else value for value in drawn]
    settings = {n: FeatureConfig(kind=c.kind) for n, c in given.features.items() if c.kind is not None}
    target = None
    if given.prediction is not None:
        columns["(prediction)"] = [draw(given.prediction, chance) for _ in range(given.rows)]
        if given.error is not None:
            target = "(target)"
            columns[target] = [value - draw(given.error, chance) for value in columns["(prediction)"]]
    return profiles.fit(
        pd.DataFrame(columns),
        model=model,
        version=version,
        target=target,
        prediction="(prediction)" if given.prediction is not None else None,
        config=Config(features=settings),
        trained_at=given.trained_at or format_instant(cases.START),
        libraries={},
    )


def draw(given: cases.Values, chance: random.Random) -> Any:
    """One value of a distribution; what is none is the value itself."""
    if not isinstance(given, cases.Distribution):
        return given
    if given.normal is not None:
        return chance.gauss(*given.normal)
    if given.lognormal is not None:
        return chance.lognormvariate(*given.lognormal)
    if given.uniform is not None:
        return chance.uniform(*given.uniform)
    choice = given.choice or {}
    return chance.choices(list(choice), list(choice.values()))[0]


class DocumentGenerator:
    """Makes the documents of the cases of one file.

    Args:
        content: the file.
        folder: where the file lies, for a profile given by its path.
    """

    def __init__(self, content: cases.CaseFile, folder: Path) -> None:
        self._content = content
        given = content.profile
        self._described: cases.ProfileDescription | None = None
        if isinstance(given, str) and given.endswith(".json"):
            self.profile = profiles.load(folder / given)
        else:
            self._described = cases.load_description(folder / given) if isinstance(given, str) else given
            self.profile = fit_description(self._described, content.model, content.version)

    def profile_document(self, changes: Mapping[str, Any]) -> Document:
        """The document of ``ml-profiles``; ``changes`` are keys of it, as the case gives them."""
        described = self._described
        made = profiles.build_document(
            self.profile,
            deployed=described.deployed if described else True,
            owners=described.owners if described else {},
            overrides=described.overrides if described else {},
        )
        return {**made, **changes}

    def documents(self, streams: cases.Streams) -> Iterator[tuple[str, Document]]:
        """(data stream, document) of all streams, in the order of the file."""
        for predictions in streams.predictions:
            for document in self._predictions(predictions):
                yield data_stream("ml.prediction"), document
        for labels in streams.labels:
            for document in self._labels(labels):
                yield data_stream("ml.label"), document
        for health in streams.health:
            for document in self._health(health):
                yield data_stream("ml.health"), document
        for starts in streams.starts:
            for document in self._starts(starts):
                yield data_stream("ml.start"), document
        for letters in streams.deadletters:
            for document in _generate_dead_letters(letters):
                yield data_stream("ml.deadletter"), document

    def _predictions(self, given: cases.PredictionStream) -> Iterator[Document]:
        chance = random.Random(given.seed)
        version = given.version or self._content.version
        profile: Profile | None = self.profile if given.profile != "none" else None
        processor = PredictionProcessor(
            model=self._content.model,
            version=version,
            profile=profile,
            role=given.role,
            service=given.service,
        )
        features = self._described.features if self._described else {}
        outputs = self._described.prediction if self._described else None
        for moment in _event_times(given):
            event: Document = {"event": "prediction", "timestamp": cases.START + moment}
            event["inputs"] = self._inputs(given, features, moment, chance)
            drawn = draw(outputs if given.prediction is None else given.prediction, chance)
            if chance.random() < given.failing.at(moment):
                event["error"] = RuntimeError("the model failed")
            else:
                event["prediction"] = drawn
            if given.milliseconds is not None:
                event["duration"] = max(0.0, draw(given.milliseconds, chance)) / 1000
            made: Document = dict(processor(None, "info", event))
            made["ml"]["sample"] = {"weight": given.weight}
            if given.profile == "mismatch":
                made["ml"]["profile"]["status"] = "mismatch"
            yield _with_arrival(made, given, moment)

    def _inputs(
        self,
        given: cases.PredictionStream,
        features: Mapping[str, cases.GeneratedColumn],
        moment: timedelta,
        chance: random.Random,
    ) -> Document:
        inputs: Document = {}
        for name, column in features.items():
            usual = None if chance.random() < column.missing else draw(column, chance)
            inputs[name] = draw(given.inputs[name], chance) if name in given.inputs else usual
        for name in given.inputs.keys() - features.keys():
            inputs[name] = draw(given.inputs[name], chance)
        for name, replacement in given.replace.items():
            if chance.random() < replacement.share.at(moment):
                inputs[name] = draw(replacement.by, chance)
        for name, rate in given.missing.items():
            if chance.random() < rate.at(moment):
                inputs[name] = None
        for name, rate in given.absent.items():
            if chance.random() < rate.at(moment):
                inputs.pop(name, None)
        return inputs

    def _labels(self, given: cases.LabelStream) -> Iterator[Document]:
        chance = random.Random(given.seed)
        output = OutputEncoder(self.profile.prediction)
        outputs = self._described.prediction if self._described else None
        model = {
            "name": self._content.model,
            "version": given.version or self._content.version,
            "role": "live",
        }
        for moment in _event_times(given):
            if given.confusion:
                truth: Any = chance.choice(list(given.confusion))
                guesses = given.confusion[truth]
                guess: Any = chance.choices(list(guesses), list(guesses.values()))[0]
            else:
                guess = draw(outputs, chance)
                truth = guess - draw(given.error, chance)
            made_at = format_instant(cases.START + moment - given.known_after)
            known = CachedPrediction(f"p-{chance.getrandbits(64):x}", made_at, output(guess, None, None))
            now = format_instant(cases.START + moment)
            event = build_health_event(_to_nanoseconds(moment), interval=1)
            event |= {"message": "label"}
            event["event"] |= {"dataset": "ml.label", "kind": "event"}
            event["ml"] = {
                "schema_version": SCHEMA_VERSION,
                "model": model,
                "sample": {"weight": 1.0},
                **build_label(truth, known, output, now),
            }
            yield _with_arrival(event, given, moment)

    def _health(self, given: cases.HealthStream) -> Iterator[Document]:
        chance = random.Random(given.seed)
        for moment in _event_times(given):
            counters: Document = {}
            for name, value in given.fields.items():
                *parents, last = name.split(".")
                place = counters
                for parent in parents:
                    place = place.setdefault(parent, {})
                place[last] = draw(value, chance)
            about = None
            if given.of_model:
                about = {
                    "model": {"name": self._content.model, "version": self._content.version, "role": "live"}
                }
            interval = max(1, round(given.every.total_seconds()))
            event = build_health_event(_to_nanoseconds(moment), interval=interval, about=about, **counters)
            event["process"] = {"pid": given.pid}
            yield _with_arrival(event, given, moment)

    def _starts(self, given: cases.StartStream) -> Iterator[Document]:
        about = {
            "model": {
                "name": self._content.model,
                "version": given.version or self._content.version,
                "role": "live",
            },
            "profile": {"id": self.profile.id, "status": "matched"},
        }
        start: Document = {"libraries": [f"{n}={v}" for n, v in given.libraries.items()], "python": "3.11.7"}
        if given.training:
            start["training_libraries_differ"] = [f"{n}={v}" for n, v in given.training.items()]
        for pid, moment in enumerate(_event_times(given), 1):
            event = build_start_event(_to_nanoseconds(moment), about, start)
            event["process"] = {"pid": pid}
            made = _with_arrival(event, given, moment)
            if given.code is not None:
                made.setdefault("service", {})["version"] = given.code
            yield made


def _generate_dead_letters(given: cases.DeadLetterStream) -> Iterator[Document]:
    for moment in _event_times(given):
        event = build_health_event(_to_nanoseconds(moment), interval=1)
        event |= {"message": "dead letter", "error": {"type": given.reason, "message": given.reason}}
        event["event"] |= {"dataset": "ml.deadletter", "kind": "event", "original": "{"}
        event["ml"] = {
            "schema_version": SCHEMA_VERSION,
            "deadletter": {"stage": given.stage, "encoding": "utf-8", "size": 1},
        }
        yield _with_arrival(event, given, moment)


def _event_times(given: cases.EventStream) -> Iterator[timedelta]:
    moment = given.begin
    while moment < given.begin + given.length:
        yield moment
        moment += given.every


def _to_nanoseconds(moment: timedelta) -> int:
    return round((cases.START + moment).timestamp() * 1e9)


def _with_arrival(event: Document, given: cases.EventStream, moment: timedelta) -> Document:
    """The event with its service, host and arrival."""
    arrival: datetime = cases.START + max(moment + given.delay, given.not_before)
    event["event"] = {**event["event"], "ingested": format_instant(arrival)}
    event["host"] = {"name": given.host}
    if given.service is not None:
        event["service"] = {"name": given.service}
    return event
