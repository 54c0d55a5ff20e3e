"""Generate the documents of described streams as a store would hold them, from a seed, so always the same."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from logging_lib import profile as profiles
from logging_lib._util.times import format_instant
from logging_lib.logger.classifiers import build_encoder
from logging_lib.logger.event import CachedPrediction, build_label
from logging_lib.logger.health import build_health_event, build_start_event
from logging_lib.logger.processor import PredictionProcessor
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.model import Profile
from logging_lib.schema import SCHEMA_VERSION, data_stream
from logging_lib.watch.testing import cases

Document = dict[str, Any]
TIME = "(time)"


def fit_description(description: cases.ProfileDescription, model: str, version: str) -> Profile:
    """Fit the profile of described data like any other profile."""
    return _fit_description(description.model_dump_json(), model, version)


@lru_cache(maxsize=32)
def _fit_description(description_json: str, model: str, version: str) -> Profile:
    import pandas as pd

    description = cases.ProfileDescription.model_validate_json(description_json)
    rng = random.Random(description.seed)
    columns: dict[str, list[Any]] = {}
    for name, column in description.features.items():
        drawn = (draw(column, rng) for _ in range(description.rows))
        columns[name] = [None if rng.random() < column.missing else value for value in drawn]
    settings = {n: FeatureConfig(kind=c.kind) for n, c in description.features.items() if c.kind is not None}
    target = None
    if description.prediction is not None:
        columns["(prediction)"] = [draw(description.prediction, rng) for _ in range(description.rows)]
        if description.error is not None:
            target = "(target)"
            columns[target] = [value - draw(description.error, rng) for value in columns["(prediction)"]]
        elif description.classifier:
            target = "(target)"
            columns[target] = [int(rng.random() < value) for value in columns["(prediction)"]]
    if description.days:
        span = timedelta(days=description.days)
        columns[TIME] = [cases.START - span * (1 - row / description.rows) for row in range(description.rows)]
    return profiles.fit(
        pd.DataFrame(columns),
        model=model,
        version=version,
        target=target,
        prediction="(prediction)" if description.prediction is not None else None,
        config=Config(features=settings, time=TIME if description.days else None),
        trained_at=description.trained_at or format_instant(cases.START),
        libraries={},
        evaluation=_draw_evaluation(description, rng)
        if description.classifier and description.evaluation
        else None,
    )


def _draw_evaluation(description: cases.ProfileDescription, rng: random.Random) -> Any:
    import pandas as pd

    probabilities = [draw(description.prediction, rng) for _ in range(description.rows)]
    actual = [int(rng.random() < value) for value in probabilities]
    return pd.DataFrame({"(prediction)": probabilities, "(target)": actual})


def draw(values: cases.Values, rng: random.Random) -> Any:
    """Draw one value of a distribution; anything else is the value itself."""
    if not isinstance(values, cases.Distribution):
        return values
    if values.normal is not None:
        return rng.gauss(*values.normal)
    if values.lognormal is not None:
        return rng.lognormvariate(*values.lognormal)
    if values.uniform is not None:
        return rng.uniform(*values.uniform)
    if values.labels is not None:
        return [label for label, share in values.labels.items() if rng.random() < share]
    choice = values.choice or {}
    return rng.choices(list(choice), list(choice.values()))[0]


class DocumentGenerator:
    """Generate the documents of the cases of one file.

    Args:
        content: the file.
        folder: the file's folder, for a profile given by its path.
    """

    def __init__(self, content: cases.CaseFile, folder: Path) -> None:
        self._content = content
        profile = content.profile
        self._description: cases.ProfileDescription | None = None
        if isinstance(profile, str) and profile.endswith(".json"):
            self.profile = profiles.load(folder / profile)
        else:
            self._description = (
                cases.load_description(folder / profile) if isinstance(profile, str) else profile
            )
            self.profile = fit_description(self._description, content.model, content.version)

    def profile_document(self, changes: Mapping[str, Any]) -> Document:
        """Return the document of ``ml-profiles``; ``changes`` are keys of it, from the case."""
        description = self._description
        document = profiles.build_document(
            self.profile,
            deployed=description.deployed if description else True,
            owners=description.owners if description else {},
            overrides=description.overrides if description else {},
        )
        return {**document, **changes}

    def documents(self, streams: cases.Streams) -> Iterator[tuple[str, Document]]:
        """Yield (data stream, document) of all streams, in the order of the file."""
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

    def _predictions(self, stream: cases.PredictionStream) -> Iterator[Document]:
        rng = random.Random(stream.seed)
        version = stream.version or self._content.version
        profile: Profile | None = self.profile if stream.profile != "none" else None
        processor = PredictionProcessor(
            model=self._content.model,
            version=version,
            profile=profile,
            role=stream.role,
            service=stream.service,
        )
        features = self._description.features if self._description else {}
        outputs = self._description.prediction if self._description else None
        for moment in _event_times(stream):
            event: Document = {"event": "prediction", "timestamp": cases.START + moment}
            event["inputs"] = self._inputs(stream, features, moment, rng)
            drawn = draw(outputs if stream.prediction is None else stream.prediction, rng)
            if rng.random() < stream.failing.at(moment):
                event["error"] = RuntimeError("the model failed")
            else:
                event["prediction"] = drawn
            if stream.milliseconds is not None:
                event["duration"] = max(0.0, draw(stream.milliseconds, rng)) / 1000
            document: Document = dict(processor(None, "info", event))
            document["ml"]["sample"] = {"weight": stream.weight}
            if stream.profile == "mismatch":
                document["ml"]["profile"]["status"] = "mismatch"
            yield _with_arrival(document, stream, moment)

    def _inputs(
        self,
        stream: cases.PredictionStream,
        features: Mapping[str, cases.GeneratedColumn],
        moment: timedelta,
        rng: random.Random,
    ) -> Document:
        inputs: Document = {}
        for name, column in features.items():
            usual = None if rng.random() < column.missing else draw(column, rng)
            inputs[name] = draw(stream.inputs[name], rng) if name in stream.inputs else usual
        for name in stream.inputs.keys() - features.keys():
            inputs[name] = draw(stream.inputs[name], rng)
        for name, replacement in stream.replace.items():
            if rng.random() < replacement.share.at(moment):
                inputs[name] = draw(replacement.by, rng)
        for name, rate in stream.missing.items():
            if rng.random() < rate.at(moment):
                inputs[name] = None
        for name, rate in stream.absent.items():
            if rng.random() < rate.at(moment):
                inputs.pop(name, None)
        return inputs

    def _labels(self, stream: cases.LabelStream) -> Iterator[Document]:
        rng = random.Random(stream.seed)
        output = build_encoder(self.profile)
        outputs = self._description.prediction if self._description else None
        model = {
            "name": self._content.model,
            "version": stream.version or self._content.version,
            "role": "live",
        }
        for moment in _event_times(stream):
            if stream.confusion:
                label: Any = rng.choice(list(stream.confusion))
                shares = stream.confusion[label]
                prediction: Any = rng.choices(list(shares), list(shares.values()))[0]
            elif self.profile.classifier is not None:
                prediction = draw(outputs, rng)
                label = int(rng.random() < (0.5 if rng.random() < stream.by_chance else prediction))
            else:
                prediction = draw(outputs, rng)
                label = prediction - draw(stream.error, rng)
            made_at = format_instant(cases.START + moment - stream.known_after)
            known = CachedPrediction(f"p-{rng.getrandbits(64):x}", made_at, output(prediction, None, None))
            now = format_instant(cases.START + moment)
            event = build_health_event(_to_nanoseconds(moment), interval=1)
            event |= {"message": "label"}
            event["event"] |= {"dataset": "ml.label", "kind": "event"}
            event["ml"] = {
                "schema_version": SCHEMA_VERSION,
                "model": model,
                "sample": {"weight": 1.0},
                **build_label(label, known, output, now),
            }
            yield _with_arrival(event, stream, moment)

    def _health(self, stream: cases.HealthStream) -> Iterator[Document]:
        rng = random.Random(stream.seed)
        for moment in _event_times(stream):
            counters: Document = {}
            for name, value in stream.fields.items():
                *parents, last = name.split(".")
                node = counters
                for parent in parents:
                    node = node.setdefault(parent, {})
                node[last] = draw(value, rng)
            about = None
            if stream.of_model:
                about = {
                    "model": {"name": self._content.model, "version": self._content.version, "role": "live"}
                }
            interval = max(1, round(stream.every.total_seconds()))
            event = build_health_event(_to_nanoseconds(moment), interval=interval, about=about, **counters)
            event["process"] = {"pid": stream.pid}
            yield _with_arrival(event, stream, moment)

    def _starts(self, stream: cases.StartStream) -> Iterator[Document]:
        about = {
            "model": {
                "name": self._content.model,
                "version": stream.version or self._content.version,
                "role": "live",
            },
            "profile": {"id": self.profile.id, "status": "matched"},
        }
        start: Document = {"libraries": [f"{n}={v}" for n, v in stream.libraries.items()], "python": "3.11.7"}
        if stream.training:
            start["training_libraries_differ"] = [f"{n}={v}" for n, v in stream.training.items()]
        for pid, moment in enumerate(_event_times(stream), 1):
            event = build_start_event(_to_nanoseconds(moment), about, start)
            event["process"] = {"pid": pid}
            document = _with_arrival(event, stream, moment)
            if stream.code is not None:
                document.setdefault("service", {})["version"] = stream.code
            yield document


def _generate_dead_letters(stream: cases.DeadLetterStream) -> Iterator[Document]:
    for moment in _event_times(stream):
        event = build_health_event(_to_nanoseconds(moment), interval=1)
        event |= {"message": "dead letter", "error": {"type": stream.reason, "message": stream.reason}}
        event["event"] |= {"dataset": "ml.deadletter", "kind": "event", "original": "{"}
        event["ml"] = {
            "schema_version": SCHEMA_VERSION,
            "deadletter": {"stage": stream.stage, "encoding": "utf-8", "size": 1},
        }
        yield _with_arrival(event, stream, moment)


def _event_times(stream: cases.EventStream) -> Iterator[timedelta]:
    moment = stream.begin
    while moment < stream.begin + stream.length:
        yield moment
        moment += stream.every


def _to_nanoseconds(moment: timedelta) -> int:
    return round((cases.START + moment).timestamp() * 1e9)


def _with_arrival(event: Document, stream: cases.EventStream, moment: timedelta) -> Document:
    """Add the service, the host and the arrival to an event."""
    arrival: datetime = cases.START + max(moment + stream.delay, stream.not_before)
    event["event"] = {**event["event"], "ingested": format_instant(arrival)}
    event["host"] = {"name": stream.host}
    if stream.service is not None:
        event["service"] = {"name": stream.service}
    return event
