"""Real processes of ``logging-lib watch run``: killed, several at once, asked to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from logging_lib.cli.watch import app
from logging_lib.store.connection import Connection
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.watch.state.elasticsearch import INDEX
from tests.watch.conftest import MailServer
from tests.watch.test_end_to_end import events

WAIT_SECONDS = 600.0


def watch_file(folder: Path, *, every: str = "1s", throttle: str = "1h") -> Path:
    """A watch that always has the same finding."""
    folder.mkdir(exist_ok=True)
    found = {"count": 1, "findings": [{"model": "loans", "version": "1", "feature": "income"}]}
    body = {"to": "ml@example.org", "subject": "income", "body": {"text": "{{ctx.trigger.scheduled_time}}"}}
    definition = {
        "trigger": {"schedule": {"interval": every}},
        "input": {"simple": found},
        "actions": {"email": {"throttle_period": throttle, "email": body}},
    }
    (folder / "always.json").write_text(json.dumps(definition))
    return folder


@pytest.fixture(params=["files", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """The options that name a store with events, and with a state of its own."""
    if request.param == "files":
        with EmbeddedStore(tmp_path / "store") as store:
            store.index("logs-ml.prediction-default", list(events())[:1])
        yield ["--store", str(tmp_path / "store")]
        return
    connection: Connection = request.getfixturevalue("elasticsearch")
    with_events = ElasticsearchStore(connection, retry_seconds=10)
    with_events.index(f"logs-ml.prediction-test{uuid4().hex[:8]}", list(events())[:1])
    with_events.refresh(INDEX)
    with_events.delete(INDEX, {"match_all": {}})
    yield ["--elasticsearch", connection.url]
    with_events.refresh(INDEX)
    with_events.delete(INDEX, {"match_all": {}})


@contextmanager
def running(*options: object) -> Iterator[subprocess.Popen[str]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LOGGING_LIB_")}
    command = [sys.executable, "-c", "from logging_lib.cli import main; main()", "watch", "run"]
    process = subprocess.Popen(
        [*command, *map(str, options)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def says(process: subprocess.Popen[str], text: str) -> None:
    """Waits until it says so in its log."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return
    raise AssertionError("".join(said))


def until(is_so: Callable[[], object], what: str, within: float = WAIT_SECONDS) -> float:
    """Waits for it; how long that took, in seconds."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < within, what
        threading.Event().wait(0.01)
    return time.monotonic() - began


class KillingServer(MailServer):
    """Takes a mail, and kills who sent it before it can hear so."""

    victim: subprocess.Popen[str] | None = None

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = await super().handle_DATA(server, session, envelope)
        if self.victim is not None:
            self.victim.send_signal(signal.SIGKILL)
            self.victim.wait()
        return answer


def test_a_runner_killed_between_delivery_and_record_sends_again(place: list[str], tmp_path: Path) -> None:
    """The same mail comes once more, by its Message-ID the same; and then no more."""
    server = KillingServer()
    try:
        options = [*place, "--once", "--watches", watch_file(tmp_path / "w"), "--smtp-url", server.url]
        with running(*options, "--lease", "1s") as first:
            server.victim = first
            until(lambda: first.poll() is not None, "it was not killed")
        assert first.returncode == -signal.SIGKILL
        assert len(server.mails) == 1
        server.victim = None
        words = ["run", *map(str, options), "--lease", "1s"]
        # Until the dead one's lease has run out.
        until(
            lambda: "another runner has" not in CliRunner().invoke(app, words).output,
            "its lease does not end",
        )
        assert len(server.mails) == 2
        assert CliRunner().invoke(app, words).exit_code == 0
        assert len(server.mails) == 2
        assert len({mail["Message-ID"] for mail in server.mails}) == 1
        assert len({mail["Date"] for mail in server.mails}) == 1
    finally:
        server.stop()


@pytest.mark.slow
def test_two_runners_send_once_and_one_takes_over(
    place: list[str], tmp_path: Path, mail_server: MailServer
) -> None:
    """Within the lease's time of the first one's death."""
    watches = watch_file(tmp_path / "w", throttle="1s")
    options = [*place, "--watches", watches, "--smtp-url", mail_server.url, "--lease", "3s"]
    options += ["--no-heartbeat", "--digest-over", "0"]
    with running(*options) as first:
        until(lambda: len(mail_server.mails) >= 2, "the first one sends nothing")
        with running(*options) as second:
            says(second, "stands by")
            sent = len(mail_server.mails)
            until(lambda: len(mail_server.mails) >= sent + 2, "they send no more")
            first.kill()
            first.wait()
            died = len(mail_server.mails)
            taken = until(lambda: len(mail_server.mails) >= died + 2, "the second one does not take over")
            second.terminate()
            output, _ = second.communicate(timeout=WAIT_SECONDS)
    assert second.returncode == 0, output
    assert "leads, with lease 2" in output
    assert taken < 3 + 60  # the lease, and two more slots on a very busy machine
    # With two at work each is sent once, but for one that was delivered and not recorded when the first one died.
    ids = [mail["Message-ID"] for mail in mail_server.mails]
    assert len(set(mail_server.bodies())) == len(set(ids)) >= len(ids) - 1


@pytest.mark.slow
def test_a_second_run_on_a_state_that_is_held_is_refused(
    place: list[str], tmp_path: Path, mail_server: MailServer
) -> None:
    """With who holds it; after the first one's end it may."""
    options = [
        *place,
        "--watches",
        watch_file(tmp_path / "w"),
        "--smtp-url",
        mail_server.url,
        "--namespace",
        "",
    ]
    with running(*options, "--lease", "60s") as first:
        until(lambda: mail_server.mails, "it sends nothing")
        with running(*options, "--once") as second:
            output, _ = second.communicate(timeout=WAIT_SECONDS)
        assert second.returncode == 2
        assert "another runner has this state" in output
        first.terminate()
        assert first.wait(WAIT_SECONDS) == 0
        with running(*options, "--once") as third:
            output, _ = third.communicate(timeout=WAIT_SECONDS)
    assert third.returncode == 0, output
    assert len(mail_server.mails) == 1


def test_sigterm_ends_it_in_time_though_a_server_hangs(tmp_path: Path) -> None:
    """The message is kept."""
    with EmbeddedStore(tmp_path / "store") as store:
        store.index("logs-ml.prediction-default", list(events())[:1])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"smtp://127.0.0.1:{silent.getsockname()[1]}"
        options = ["--store", tmp_path / "store", "--watches", watch_file(tmp_path / "w"), "--smtp-url", url]
        with running(*options, "--grace", "1s") as process:
            silent.settimeout(WAIT_SECONDS)
            connection, _ = silent.accept()
            process.terminate()
            took = until(lambda: process.poll() is not None, "it does not end")
            connection.close()
        assert process.returncode == 0
    assert took < 8
    (state,) = (tmp_path / "store" / ".watch-state" / "watches").glob("*.json")
    assert len(json.loads(state.read_text())["queue"]) == 1
