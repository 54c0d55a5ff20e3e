"""The public API as a user's type checker sees it; checked by `make check`, never run.

Each function is what a user would write. ``assert_type`` states what a checker infers. An ignored error states a
mistake that a checker finds: an ignore that is not needed would be an error, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

import pandas as pd
import structlog

import logging_lib
from logging_lib import analysis, profile
from logging_lib.normalize import (
    ALIASES,
    MAX_AHEAD,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_INPUTS,
    MAX_TEXT,
    Aliases,
    AliasesError,
    Checks,
    DeadLetter,
    Event,
    normalize,
    normalize_line,
    read_aliases,
    refuse,
)
from logging_lib.store import (
    Connection,
    ConnectionSettings,
    ElasticsearchError,
    ElasticsearchStore,
    EmbeddedStore,
    IndexResult,
    QueryNotSupported,
    SearchError,
    Store,
    StoreError,
    read_settings,
)
from logging_lib.testing import capture_predictions, captured_predictions

# -- logging_lib --------------------------------------------------------------------------------------------


def configure_a_logger(fitted: profile.Profile) -> None:
    spool = logging_lib.Spool("spool", fsync="interval", budget_bytes=1 << 30)
    log = logging_lib.configure(
        model="loans",
        version="3",
        profile=fitted,
        spool=spool,
        role="shadow",
        service={"name": "pricing", "version": "7"},
        private={"ssn": "drop"},
    )
    assert_type(log, logging_lib.PredictionLogger)
    assert_type(log.stats(), dict[str, Any])
    assert_type(spool.written, int)
    assert_type(logging_lib.__version__, str)
    logging_lib.configure(model="loans", version="3", profile=Path("profile.json"), spool="spool").start()

    logging_lib.configure(model="loans", spool="spool")  # type: ignore[call-arg]
    logging_lib.configure(model="loans", version=3, spool="spool")  # type: ignore[arg-type]
    logging_lib.configure(model="loans", version="3", spool="spool", role="canary")  # type: ignore[arg-type]
    logging_lib.Spool("spool", fsync="sometimes")  # type: ignore[arg-type]


def log_predictions(log: logging_lib.PredictionLogger, frame: pd.DataFrame) -> None:
    inputs = {"homeownership": "RENT", "annual_income": 52_000.0}
    log.prediction(inputs, prediction=11.49, request_id="r-1", region="north")
    log.prediction(inputs, 11.49)
    with log.prediction(inputs) as pending:
        pending.prediction = 11.49
        pending.score = 0.87
    log.predictions(frame, [11.49, 9.8], request_ids=["r-1", "r-2"])
    log.label("r-1", 12.0, prediction=11.49)
    assert_type(log.bind(region="north"), logging_lib.PredictionLogger)

    log.prediction()  # type: ignore[call-overload]
    log.predictions(frame)  # type: ignore[call-arg]
    log.label("r-1")  # type: ignore[call-arg]


async def observe_functions(log: logging_lib.PredictionLogger) -> None:
    @log.observe
    def predict(inputs: dict[str, float], *, scale: float = 1.0) -> float:
        return inputs["annual_income"] * scale

    @log.observe
    async def predict_later(inputs: dict[str, float]) -> str:
        return "yes"

    assert_type(predict({"annual_income": 1.0}, scale=2.0), float)
    assert_type(await predict_later({"annual_income": 1.0}), str)
    predict({"annual_income": 1.0}, factor=2.0)  # type: ignore[call-arg]

    log.observe("predict")  # type: ignore[type-var]


def build_a_chain() -> None:
    processor = logging_lib.PredictionProcessor(model="loans", version="3")
    structlog.configure(
        processors=[logging_lib.add_trace_ids, processor, logging_lib.EventRenderer()],
        logger_factory=logging_lib.SpoolLoggerFactory("spool", processor),
    )
    formatter = logging_lib.PredictionFormatter(processor, "%(message)s")
    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    log = logging_lib.configure(model="loans", version="3", spool="spool")
    logging.getLogger().addHandler(logging_lib.PredictionHandler(log))
    logging.getLogger().addHandler(logging_lib.PredictionHandler("loans"))  # type: ignore[arg-type]


def expose_metrics() -> None:
    from prometheus_client import CollectorRegistry

    assert_type(logging_lib.metrics_registry("spool", Path("other")), CollectorRegistry)


# -- logging_lib.profile ------------------------------------------------------------------------------------


def fit_a_profile(frame: pd.DataFrame) -> profile.Profile:
    config = profile.Config(time="issued_at", features={"zip": profile.FeatureConfig(kind="category")})
    fitted = profile.fit(frame, model="loans", version="3", target="interest_rate", config=config)
    assert_type(fitted, profile.Profile)
    assert_type(profile.dumps(fitted), bytes)
    assert_type(profile.loads(profile.dumps(fitted), source="memory"), profile.Profile)
    assert_type(profile.build_document(fitted), dict[str, Any])
    profile.save(fitted, "profile.json")

    profile.fit(frame, "loans", "3")  # type: ignore[call-arg]
    profile.FeatureConfig(kind="number")  # type: ignore[arg-type]
    fitted.version = "4"  # type: ignore[misc]
    return fitted


def raise_an_error() -> None:
    raise profile.ProfileError("profile.json: cannot be read")


def read_a_profile(path: Path) -> float | None:
    try:
        fitted = profile.load(path)
    except logging_lib.ProfileError as error:
        raise SystemExit(str(error)) from error
    feature: profile.Feature = fitted.features["annual_income"]
    held_out: profile.HeldOut = fitted.held_out
    assert_type(held_out.rows, int)
    assert_type(feature.range, tuple[float, float] | None)
    assert_type(feature.expected_bins(), dict[str, int])
    assert_type(fitted.quality, profile.Quality | None)
    assert_type(feature.moments, profile.Moments | None)
    expectation: profile.Expectation = feature.expected["missing"]
    assert_type(expectation.rate, float)
    return feature.moments.mean if feature.moments else None


# -- logging_lib.analysis -----------------------------------------------------------------------------------


def compare_samples(before: pd.DataFrame, after: pd.DataFrame, fitted: profile.Profile) -> list[str]:
    comparison = analysis.compare(before, after, names=["before", "after"], alpha=0.01)
    assert_type(comparison, analysis.Comparison)
    assert_type(analysis.compare(fitted, after), analysis.Comparison)
    assert_type(comparison.document(), dict[str, Any])
    assert_type(comparison.to_html("compare.html"), str)
    names: list[str] = []
    for variable in comparison.differing:
        assert_type(variable, analysis.Variable)
        test: analysis.Test = variable.tests[0]
        effect: analysis.Effect = variable.effects[0]
        assert_type(variable.bins, analysis.Bins | None)
        assert_type(test.q, float | None)
        names.append(f"{variable.name}: {effect.size}, p = {test.p}")

    analysis.compare(before, "after.csv")  # type: ignore[arg-type]
    return names


# -- logging_lib.normalize ----------------------------------------------------------------------------------


def normalize_events(line: bytes, checks: Checks) -> dict[str, Any]:
    result = normalize(line, now=datetime.now(UTC), checks=checks)
    assert_type(result, Event | DeadLetter)
    if isinstance(result, DeadLetter):
        assert_type(result.reason, str)
    assert_type(refuse(line, "too_large", "the line is too long"), DeadLetter)
    limits: list[int] = [MAX_BYTES, MAX_DEPTH, MAX_INPUTS, MAX_TEXT]
    assert_type(MAX_AHEAD, timedelta)
    assert_type(ALIASES["model"], tuple[str, ...])
    assert_type(len(limits), int)
    normalize_line(line)  # type: ignore[arg-type]
    try:
        aliases = read_aliases("seldon.yml")
    except AliasesError:
        return {}
    assert_type(aliases, Aliases)
    assert_type(normalize(line, aliases=aliases), Event | DeadLetter)
    normalize(line, aliases="seldon.yml")  # type: ignore[arg-type]
    return result.document


# -- logging_lib.store --------------------------------------------------------------------------------------


def search(store: Store) -> int:
    try:
        answer = store.search("logs-ml.prediction-*", {"size": 0, "track_total_hits": True})
    except QueryNotSupported as error:
        assert_type(error.path, str)
        raise
    except (SearchError, StoreError):
        return 0
    assert_type(answer, dict[str, Any])
    return int(answer["hits"]["total"]["value"])


def open_stores(events: list[dict[str, Any]]) -> None:
    with EmbeddedStore("store") as embedded:
        assert_type(embedded.index("logs-ml.prediction-default", events), IndexResult)
        search(embedded)
    assert_type(read_settings(url="https://localhost:9200"), ConnectionSettings)
    connection = Connection(ConnectionSettings("https://localhost:9200", api_key="..."), timeout=10.0)
    try:
        search(ElasticsearchStore(connection))
    except ElasticsearchError as error:
        assert_type(error.status, int)
    search(connection)  # type: ignore[arg-type]


# -- logging_lib.testing ------------------------------------------------------------------------------------


def test_a_service(captured: list[dict[str, Any]], serve: Callable[[], None]) -> None:
    with capture_predictions() as events:
        serve()
    assert_type(events, list[dict[str, Any]])
    assert captured != events


FIXTURE = captured_predictions
