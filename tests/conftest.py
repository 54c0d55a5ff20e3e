"""Fixtures that several suites share: a small training frame, its profile, the event's JSON Schema."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from typer.testing import CliRunner, Result

from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.profile.config import Config
from logging_lib.store.connection import PREFIX, Connection, ConnectionSettings
from tests import distribution, elasticsearch_server, watcher_server
from tests.store import elastic

ROWS = 2000
UNITS = pytest.StashKey[Path]()


# Random examples: a part of them in `make test`, all in `make test-all`; tests/strategies.py says how many. No
# limit of Hypothesis depends on how fast the machine is.
settings.register_profile(
    "full", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("everyday", settings.get_profile("full"), max_examples=25)
settings.load_profile("everyday")


@pytest.fixture(scope="session")
def training() -> pd.DataFrame:
    """Two thousand rows with every kind of feature, some missing values, a time and an output."""
    random = np.random.default_rng(7)
    jobs = np.array(["nurse", "registered nurse", "truck driver", "teacher", "sales manager", "cook"])
    rare = np.array([f"title{i} manager" for i in range(400)])
    title = np.where(random.random(ROWS) < 0.7, random.choice(jobs, ROWS), random.choice(rare, ROWS))
    frame = pd.DataFrame(
        {
            "income": np.round(random.lognormal(11, 0.5, ROWS), 2),
            "count": random.integers(0, 5, ROWS),
            "home": random.choice(["RENT", "OWN", "MORTGAGE"], ROWS, p=[0.4, 0.2, 0.4]),
            "title": title,
            "joint": random.random(ROWS) < 0.3,
            "opened": pd.date_range("2010-01-01", periods=ROWS, freq="D", tz="UTC"),
            "issued_at": pd.date_range("2018-01-01", periods=ROWS, freq="15min", tz="UTC"),
            "rate": random.normal(12, 3, ROWS),
        }
    )
    frame.loc[random.random(ROWS) < 0.02, "income"] = np.nan
    frame.loc[random.random(ROWS) < 0.05, "title"] = None
    return frame


@pytest.fixture(scope="session")
def profile(training: pd.DataFrame) -> profiles.Profile:
    return profiles.fit(
        training, model="loans", version="1", prediction="rate", config=Config(time="issued_at")
    )


@pytest.fixture(scope="module")
def own(training: pd.DataFrame) -> profiles.Profile:
    """The profile of a model that no other test has."""
    name = f"model-{uuid4().hex[:8]}"
    return profiles.fit(training, model=name, version="1", prediction="rate", config=Config(time="issued_at"))


@pytest.fixture
def call(elasticsearch: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Run a command against the real Elasticsearch, in an empty folder, and check its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"{PREFIX}URL", elasticsearch.url)

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture(scope="session")
def elasticsearch_url() -> Iterator[str]:
    """A real Elasticsearch: the one that LOGGING_LIB_TEST_ES_URL names, or one started for the session."""
    given = os.environ.get("LOGGING_LIB_TEST_ES_URL")
    if given:
        yield given.rstrip("/")
        return
    try:
        with elasticsearch_server.running() as url:
            yield url
    except elasticsearch_server.Unavailable as reason:
        pytest.skip(f"NO REAL ELASTICSEARCH WAS TESTED: {reason}, or set LOGGING_LIB_TEST_ES_URL")


PASSWORD = "of-the-test"


@pytest.fixture(scope="session")
def secured() -> Iterator[ConnectionSettings]:
    """A real Elasticsearch with security on, as its superuser; ``LOGGING_LIB_TEST_ES_SECURED_URL`` may name
    one that is to be used instead, whose user ``elastic`` has the password ``PASSWORD``."""
    given = os.environ.get("LOGGING_LIB_TEST_ES_SECURED_URL")
    if given:
        yield ConnectionSettings(given.rstrip("/"), user="elastic", password=PASSWORD)
        return
    try:
        with elasticsearch_server.running(password=PASSWORD) as url:
            yield ConnectionSettings(url, user="elastic", password=PASSWORD)
    except elasticsearch_server.Unavailable as reason:
        pytest.skip(f"NO SECURED ELASTICSEARCH WAS TESTED: {reason}")


@pytest.fixture(scope="session")
def elasticsearch(elasticsearch_url: str) -> Iterator[Connection]:
    """A connection to a real Elasticsearch that has our templates."""
    with elastic.deployed(elasticsearch_url) as connection:
        yield connection


@pytest.fixture(scope="session")
def watcher() -> Iterator[watcher_server.WatcherServer]:
    """A real Watcher, of 6.8, started for the session; only slow tests use it."""
    try:
        server = watcher_server.WatcherServer()
    except elasticsearch_server.Unavailable as reason:
        pytest.skip(f"NO REAL WATCHER WAS TESTED: {reason}")
    with server:
        yield server


@pytest.fixture
def inputs() -> dict[str, Any]:
    """Inputs in which nothing is wrong."""
    return {
        "income": 64000.5,
        "count": 2,
        "home": "RENT",
        "title": "registered nurse",
        "joint": True,
        "opened": "2011-05-01",
    }


@pytest.fixture(scope="session")
def valid() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Checks an event against the JSON Schema and gives it back."""
    schema = json.loads(files("logging_lib.schema").joinpath("event.schema.json").read_text("utf-8"))
    validators = {
        name: jsonschema.Draft202012Validator(
            {**branch, "$defs": schema["$defs"]}, format_checker=jsonschema.FormatChecker()
        )
        for name, branch in schema["$defs"].items()
    }

    def check(event: dict[str, Any]) -> dict[str, Any]:
        validators[event["event"]["dataset"]].validate(event)
        return event

    return check


@pytest.fixture
def spooled() -> Callable[[Path], list[dict[str, Any]]]:
    """Reads every event of a spool directory but those in which the logger speaks of itself."""

    def read(directory: Path) -> list[dict[str, Any]]:
        files = sorted(directory.glob("*.jsonl"))
        events = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
        return [e for e in events if e.get("event", {}).get("dataset") not in ("ml.health", "ml.start")]

    return read


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-golden", action="store_true", help="write the golden files anew")


# -- how the processes of pytest-xdist share the tests ----------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") == "loadfile":
        folder = Path(tempfile.mkdtemp(prefix="logging-lib-units-"))
        config.add_cleanup(lambda: shutil.rmtree(folder))
        config.stash[UNITS] = folder / "units.json"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    if UNITS in node.config.stash:
        node.workerinput[distribution.UNITS] = str(node.config.stash[UNITS])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    path = getattr(config, "workerinput", {}).get(distribution.UNITS)
    if path is not None:
        distribution.arrange(items)
        distribution.write(Path(path), items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> distribution.ByServer | None:
    path = config.stash.get(UNITS, None)
    return None if path is None else distribution.ByServer(config, log, path)
