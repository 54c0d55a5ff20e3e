"""The Ruby twin under a real JRuby: lines in, documents out."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests import jruby
from tests.elasticsearch_server import Unavailable
from tests.pipelines.cases import NOW

HERE = Path(__file__).parent
Ruby = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def jruby_command() -> list[str]:
    try:
        return jruby.command()
    except Unavailable as reason:
        pytest.skip(f"THE RUBY TWIN WAS NOT TESTED: {reason}")


@pytest.fixture(scope="session")
def ruby(jruby_command: list[str]) -> Ruby:
    """What ``ml_normalize.rb`` makes of lines that arrive at ``NOW``, each with its file of aliases."""
    return lambda lines, aliases=None: run(jruby_command, lines, NOW, aliases)


def run(
    command: list[str],
    lines: Sequence[bytes],
    now: datetime,
    aliases: Sequence[bytes | None] | None = None,
) -> list[Any]:
    microseconds = int(now.timestamp()) * 1_000_000 + now.microsecond
    fed = [
        {
            "raw": base64.b64encode(line).decode(),
            "now": microseconds,
            "aliases": None if file is None else base64.b64encode(file).decode(),
        }
        for line, file in zip(lines, aliases or [None] * len(lines), strict=True)
    ]
    process = subprocess.run(
        [*command, str(HERE / "normalize_lines.rb")],
        input="".join(json.dumps(event) + "\n" for event in fed).encode(),
        capture_output=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()
    results = [orjson.loads(line) for line in process.stdout.splitlines()]
    assert len(results) == len(lines), process.stderr.decode()
    return results
