"""Runs the examples as their README says: as commands, in processes of their own, on ports of 127.0.0.1."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def environment(**more: str) -> dict[str, str]:
    """This process's, with this checkout's code and the given variables."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def documented(example: str) -> str:
    """The command by which ``examples/README.md`` runs an example."""
    text = (EXAMPLES / "README.md").read_text("utf-8")
    found = re.search(rf"^\| \[{example}\].*\| `([^`]+)` \|$", text, re.MULTILINE)
    assert found, example
    return found[1]


def run(*command: object, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command in ``examples/`` to its end, which must be a good one."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=EXAMPLES, env=environment(**variables), input=given,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``examples/train.py`` writes."""
    folder = tmp_path_factory.mktemp("examples")
    run("train.py", folder)
    return folder


def call(
    port: int, method: str, path: str, document: Any = None, *, request_id: str | None = None
) -> tuple[int, dict[str, str], Any]:
    """One request on a connection of its own: status, headers by lower-case name, and the body (an object, or a
    text if it is not JSON).

    Raises:
        ConnectionError: no connection, or it ended before the answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    headers = {"content-type": "application/json"} | ({"x-request-id": request_id} if request_id else {})
    try:
        connection.request(method, path, json.dumps(document) if document is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    except http.client.HTTPException as error:
        raise ConnectionError(repr(error)) from error
    finally:
        connection.close()
    found = {name.lower(): value for name, value in answer.getheaders()}
    with contextlib.suppress(ValueError):
        return answer.status, found, json.loads(text)
    return answer.status, found, text


@contextlib.contextmanager
def serving(
    command: str, port: int, folder: Path, *, cwd: Path = EXAMPLES, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a process, once its ``/health`` answers; it is asked to stop at the end of the block.

    Its output is ``server.log`` in ``folder``, which is also its home.
    """
    given = environment(HOME=str(folder), **variables)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *shlex.split(command)], cwd=cwd, env=given, stdout=log, stderr=log
        )
    try:
        _wait_until_healthy(process, port, folder / "server.log")
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(300)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 600
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(ConnectionError):
            if call(port, "GET", "/health")[0] == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"the server does not answer:\n{log.read_text()}")
