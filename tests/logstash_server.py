"""A real Logstash for the suite, where one is on PATH."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.elasticsearch_server import Unavailable

PIPELINES = Path(__file__).parents[1] / "pipelines"
START_SECONDS = 1200


@contextmanager
def running(
    folder: Path, pipelines: list[dict[str, object]], environment: Mapping[str, str]
) -> Iterator[None]:
    """A Logstash with these pipelines that lives as long as the block; its data and log lie in ``folder``.

    Raises:
        Unavailable: there is no ``logstash`` on PATH.
    """
    command, variables = prepare(folder, pipelines, environment)
    log = folder / "logstash.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **variables}, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    try:
        _await(process, log, len(pipelines))
        yield
    finally:
        process.terminate()
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def prepare(
    folder: Path, pipelines: list[dict[str, object]], environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Write the settings of a Logstash; return the command that starts it, and the variables that it needs.

    Raises:
        Unavailable: there is no ``logstash`` on PATH.
    """
    command = shutil.which("logstash")
    if command is None:
        raise Unavailable("no logstash on PATH")
    settings = folder / "settings"
    settings.mkdir(parents=True)
    (settings / "logstash.yml").write_text(
        f"{(PIPELINES / 'logstash.yml').read_text()}{_OF_TESTS}path.data: {folder}/data\n"
    )
    (settings / "pipelines.yml").write_text(yaml.safe_dump(pipelines))
    (folder / "data").mkdir(exist_ok=True)
    variables = {
        "ML_PIPELINES": str(PIPELINES),
        "ML_DEAD_LETTER_QUEUE": str(folder / "dlq"),
        **environment,
    }
    return [command, "--path.settings", str(settings)], variables


_OF_TESTS = "\napi.enabled: false\nallow_superuser: true\ndead_letter_queue.flush_interval: 1000\n"


def _await(process: subprocess.Popen[bytes], log: Path, pipelines: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        said = log.read_text(errors="replace")
        if said.count("Pipeline started {") >= pipelines:
            return
        if "[ERROR]" in said:
            break
        time.sleep(0.5)
    raise RuntimeError(f"Logstash did not start:\n{log.read_text(errors='replace')[-5000:]}")


def wait_for(folder: Path, lines: int, seconds: float = 900) -> list[bytes]:
    """The lines of ``out.jsonl`` once there are so many."""
    until = time.monotonic() + seconds
    file = folder / "out.jsonl"
    while time.monotonic() < until:
        if file.exists() and len(found := file.read_bytes().splitlines()) >= lines:
            return found
        time.sleep(0.3)
    found = file.read_bytes().splitlines() if file.exists() else []
    raise AssertionError(f"{len(found)} of {lines} events:\n{(folder / 'logstash.log').read_text()[-3000:]}")


def shipped() -> list[dict[str, object]]:
    """The pipelines of ``pipelines/pipelines.yml``."""
    made: list[dict[str, object]] = yaml.safe_load((PIPELINES / "pipelines.yml").read_text())
    return made
