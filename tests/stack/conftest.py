"""The stack's suites work on the secured server, which they take apart and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from logging_lib.cli.app import app
from logging_lib.store.connection import PREFIX, Connection, ConnectionSettings

Call = Callable[..., Result]


@pytest.fixture
def root(secured: ConnectionSettings) -> Iterator[Connection]:
    with Connection(secured, timeout=600) as connection:
        yield connection


@pytest.fixture
def call(secured: ConnectionSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Runs the command line against the secured server, as its superuser."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"{PREFIX}URL", secured.url)
    monkeypatch.setenv(f"{PREFIX}USER", str(secured.user))
    monkeypatch.setenv(f"{PREFIX}PASSWORD", str(secured.password))

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def deployed(call: Call) -> Call:
    call("stack", "deploy", "--force")
    return call
