"""What the jobs work on: a model that no other test has, its profile, foreign events of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.normalize import Event, normalize
from logging_lib.profile.config import Config
from logging_lib.store.connection import PREFIX, Connection

NOW = datetime(2018, 3, 1, 12, 0, tzinfo=UTC)
Call = Callable[..., Result]


@pytest.fixture(scope="module")
def own(training: pd.DataFrame) -> profiles.Profile:
    name = f"jobs-{uuid4().hex[:8]}"
    return profiles.fit(training, model=name, version="1", prediction="rate", config=Config(time="issued_at"))


def foreign(profile: profiles.Profile, inputs: dict[str, Any], number: int, **more: Any) -> dict[str, Any]:
    """An event of a service that does not use our logger, as the pipelines store it."""
    raw = {
        "model": profile.model,
        "version": profile.version,
        "timestamp": f"2018-03-01T09:{number // 60 % 60:02}:{number % 60:02}Z",
        "id": f"{profile.model}-{number}",
        "inputs": inputs,
        "prediction": 12.0,
        **more,
    }
    made = normalize(raw)
    assert isinstance(made, Event)
    return made.document


@pytest.fixture
def call(elasticsearch: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"{PREFIX}URL", elasticsearch.url)

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result

    return invoke
