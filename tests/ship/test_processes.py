"""Whole processes: killed, stopped, forked; every call that returned is received once by id."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from logging_lib.cli.app import app
from logging_lib.logger.segments import list_segments
from logging_lib.logger.spool import Spool
from tests.ship.conftest import drain, fill, python
from tests.ship.receivers import BeatsSink

# Logs until it is ended, and prints each id once the call has returned.
SERVICE = """
import signal, sys, os, logging_lib
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
log = logging_lib.configure(model="m", version="1", spool=logging_lib.Spool(sys.argv[1], rotate_bytes=20_000))
for n in range(10**9 if len(sys.argv) < 4 else int(sys.argv[3])):
    log.prediction({"n": n}, 1.0, event_id=f"{sys.argv[2]}-{n}")
    os.write(1, f"{sys.argv[2]}-{n}\\n".encode())
"""


def returned(process: subprocess.Popen[bytes]) -> list[str]:
    assert process.stdout is not None
    with process.stdout:
        return [line.decode() for line in process.stdout.read().split(b"\n")[:-1]]


def stopped_at_random(directory: Path, how: int, rounds: int, seed: int) -> list[str]:
    """Run the service so many times and end it each time by a signal after a random number of calls."""
    chance, received = random.Random(seed), []
    for round_ in range(rounds):
        process = python(SERVICE, directory, round_, stdout=subprocess.PIPE)
        assert process.stdout is not None
        count = chance.randrange(1, 400)
        lines = [process.stdout.readline().decode().strip() for _ in range(count)]
        process.send_signal(how)
        lines += returned(process)
        process.wait()
        received += lines
    return received


def predicted(beats: BeatsSink) -> list[str]:
    """The ids of what was received but for what the logger says of itself."""
    return [e["event"]["id"] for e in beats.events if e["event"]["dataset"] == "ml.prediction"]


def received_once(calls: list[str], beats: BeatsSink) -> None:
    seen = Counter(predicted(beats))
    missing = [name for name in calls if seen[name] != 1]
    assert missing == []
    assert sum(seen.values()) - len(calls) <= len(
        {name.split("-")[0] for name in calls}
    )  # the call under way


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_events_of_a_terminated_service_arrive(
    how: int, tmp_path: Path, beats: BeatsSink, ship: Callable[..., Any]
) -> None:
    calls = stopped_at_random(tmp_path, how, 2, seed=how)
    drain(ship(tmp_path, f"beats://127.0.0.1:{beats.port}"))
    received_once(calls, beats)
    assert list_segments(tmp_path) == []


@pytest.mark.slow
def test_no_event_is_lost_if_the_service_is_killed_at_100_random_points(
    tmp_path: Path, beats: BeatsSink, ship: Callable[..., Any]
) -> None:
    calls = stopped_at_random(tmp_path, signal.SIGKILL, 100, seed=1)
    drain(ship(tmp_path, f"beats://127.0.0.1:{beats.port}"))
    received_once(calls, beats)


@pytest.mark.parametrize("ending", ["sys.exit(3)", "os._exit(3)"])
def test_events_of_an_exiting_service_arrive(
    ending: str, tmp_path: Path, beats: BeatsSink, ship: Callable[..., Any]
) -> None:
    process = python(SERVICE + ending, tmp_path, "a", 50, stdout=subprocess.PIPE)
    calls = returned(process)
    assert process.wait() == 3
    drain(ship(tmp_path, f"beats://127.0.0.1:{beats.port}"))
    assert predicted(beats) == calls


FORKS = """
import multiprocessing, os, sys, logging_lib
def child(log, n):
    for i in range(20):
        log.prediction({"i": i}, 1.0, event_id=f"{n}-{i}")
def configured(n):
    child(logging_lib.configure(model="m", version="1", report_every=None, spool=sys.argv[1]), n)
if sys.argv[2] != "after":
    log = logging_lib.configure(model="m", version="1", report_every=None, spool=sys.argv[1], ship_to=sys.argv[3])
    child(log, "parent")
pids = []
for n in range(3):
    pid = os.fork()
    if pid == 0:
        child(log, n) if sys.argv[2] != "after" else configured(n)
        os._exit(0)
    pids.append(pid)
for pid in pids:
    os.waitpid(pid, 0)
processes = [multiprocessing.get_context("fork").Process(target=configured, args=(f"m{n}",)) for n in range(2)]
for process in processes: process.start()
for process in processes: process.join()
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_events_of_forked_processes_arrive_once(
    when: str, tmp_path: Path, beats: BeatsSink, ship: Callable[..., Any]
) -> None:
    process = python(FORKS, tmp_path, when, f"beats://127.0.0.1:{beats.port}")
    assert process.wait(300) == 0
    drain(ship(tmp_path, f"beats://127.0.0.1:{beats.port}"))
    names = [0, 1, 2, "m0", "m1", *(["parent"] if when == "before" else [])]
    expected = {f"{name}-{i}" for name in names for i in range(20)}
    assert sorted(set(beats.ids())) == sorted(expected)


def test_events_of_spawned_processes_arrive_once(
    tmp_path: Path, beats: BeatsSink, ship: Callable[..., Any]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, sys, logging_lib\n"
        "def child(n):\n"
        "    log = logging_lib.configure(model='m', version='1', report_every=None, spool=sys.argv[1])\n"
        "    log.prediction({'n': n}, 1.0, event_id=f'{n}')\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(2) as pool:\n"
        "        pool.map(child, range(10))\n"
    )
    process = python("import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, '.')\n"
                     "runpy.run_path(sys.argv[0], run_name='__main__')", script, tmp_path / "spool")  # fmt: skip
    assert process.wait(600) == 0
    drain(ship(tmp_path / "spool", f"beats://127.0.0.1:{beats.port}"))
    assert sorted(beats.ids(), key=int) == [str(n) for n in range(10)]


def many_threads(spool: Spool, threads: int, events: int) -> None:
    def work(name: int) -> None:
        for n in range(events):
            assert spool.write(b'{"event":{"id":"%d-%d"}}\n' % (name, n))

    running = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


@pytest.mark.parametrize("events", [2_000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_events_of_eight_threads_arrive_once(
    events: int, tmp_path: Path, beats: BeatsSink, ship: Callable[..., Any]
) -> None:
    spool = Spool(tmp_path, rotate_bytes=1 << 20)
    many_threads(spool, 8, events)
    assert drain(ship(spool, f"beats://127.0.0.1:{beats.port}")) == 8 * events
    assert len(set(beats.ids())) == 8 * events == len(beats.lines)
    spool.close()


IN_PROCESS = """
import sys, logging_lib
log = logging_lib.configure(model="m", version="1", report_every=None, spool=sys.argv[1], ship_to=sys.argv[2])
for n in range(int(sys.argv[3])):
    log.prediction({"n": n}, 1.0, event_id=str(n))
"""


def test_a_short_program_ships_in_the_background_before_it_ends(tmp_path: Path, beats: BeatsSink) -> None:
    url = f"beats://127.0.0.1:{beats.port}"
    process = python(IN_PROCESS + "sys.stdin.read()\n", tmp_path, url, 100, stdin=subprocess.PIPE)
    beats.wait_for(100)
    process.communicate()
    assert process.wait(300) == 0
    assert beats.ids() == [str(n) for n in range(100)]


def test_several_models_share_one_background_shipper(tmp_path: Path, beats: BeatsSink) -> None:
    code = """
    import sys, threading, logging_lib
    first = logging_lib.configure(model="a", version="1", report_every=None, spool=sys.argv[1])
    first.prediction({}, 1.0)
    more = {"version": "1", "report_every": None, "spool": sys.argv[1], "ship_to": sys.argv[2]}
    logs = [logging_lib.configure(model=m, **more) for m in "bc"]
    for log in logs: log.prediction({}, 1.0)
    assert [t.name for t in threading.enumerate()].count("logging_lib-ship") == 1
    try:
        logging_lib.configure(model="d", version="1", report_every=None, spool=sys.argv[1], ship_to="tcp://elsewhere")
    except ValueError as error:
        assert "already shipped to beats://" in str(error)
    else:
        raise AssertionError
    sys.stdin.read()
    """
    process = python(code, tmp_path, f"beats://127.0.0.1:{beats.port}", stdin=subprocess.PIPE)
    beats.wait_for(3)
    process.communicate()
    assert process.wait(300) == 0
    assert [event["ml"]["model"]["name"] for event in beats.events] == ["a", "b", "c"]


@pytest.mark.parametrize("behaviour", ["down", "silent"])
def test_a_receiver_that_does_not_answer_delays_no_exit(behaviour: str, tmp_path: Path) -> None:
    with BeatsSink() as sink:
        port = sink.port
        if behaviour == "down":
            sink.__exit__()
        sink.behaviour = lambda lines: behaviour
        code = IN_PROCESS + "import time; time.sleep(0.5); print(time.time(), flush=True)\n"
        process = python(code, tmp_path, f"beats://127.0.0.1:{port}", 100, stdout=subprocess.PIPE)
        (at,) = returned(process)
        assert process.wait(300) == 0
        assert time.time() - float(at) < 20  # 2 s on an idle machine; an answer is waited for 30 s
    assert sum(path.read_bytes().count(b"\n") for path in list_segments(tmp_path)) == 100


COMMAND = "from logging_lib.cli import main; main()"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_daemon_ships_and_ends_when_stopped(how: int, tmp_path: Path, beats: BeatsSink) -> None:
    spool = Spool(tmp_path)
    process = python(
        COMMAND, "ship", tmp_path, "--to", f"beats://127.0.0.1:{beats.port}", stderr=subprocess.PIPE
    )
    ids = fill(spool, 20)
    beats.wait_for(20)
    ids += fill(spool, 20, first=20)
    beats.wait_for(40)
    process.send_signal(how)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert beats.ids() == ids
    spool.close()


def test_ship_once_and_status(tmp_path: Path, beats: BeatsSink) -> None:
    spool = Spool(tmp_path / "spool")
    fill(spool, 3)
    run = CliRunner().invoke
    url = f"beats://127.0.0.1:{beats.port}"
    before = json.loads(run(app, ["ship", str(spool.directory), "--status", "--json"]).output)
    assert before["backlog"]["events"] == 3
    assert before["backlog"]["age"] >= 0
    assert not before["running"]
    assert before["last_error"] is None
    result = run(app, ["ship", str(spool.directory), "--to", url, "--once"])
    assert result.exit_code == 0
    assert "3 events shipped" in result.output
    assert len(beats.lines) == 3
    text = run(app, ["ship", str(spool.directory), "--status"]).output
    assert "waiting    0 events, 0.0 MB" in text
    assert "shipped    3 events" in text
    spool.close()


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--to", "ftp://x"], "--to ftp://x: unknown scheme; did you mean tcp://x?", 2),
        ([], "--to is missing", 2),
        (["--to", "beats+tls://x", "--ca", "/nowhere.pem"], "No such file", 2),
        (["--to", "beats://127.0.0.1:1", "--once"], "Connection refused", 1),
    ],
)
def test_a_mistake_on_the_command_line_is_named(
    arguments: list[str], said: str, code: int, tmp_path: Path
) -> None:
    spool = Spool(tmp_path)
    fill(spool, 1)
    result = CliRunner().invoke(app, ["ship", str(tmp_path), *arguments])
    assert result.exit_code == code
    assert said in result.output
    spool.close()


def test_a_second_shipper_with_once_says_so(tmp_path: Path, beats: BeatsSink) -> None:
    spool = Spool(tmp_path)
    fill(spool, 1)
    process = python(
        COMMAND, "ship", tmp_path, "--to", f"beats://127.0.0.1:{beats.port}", stderr=subprocess.DEVNULL
    )
    beats.wait_for(1)
    result = CliRunner().invoke(app, ["ship", str(tmp_path), "--to", "beats://127.0.0.1", "--once"])
    running = json.loads(CliRunner().invoke(app, ["ship", str(tmp_path), "--status", "--json"]).output)[
        "running"
    ]
    os.kill(process.pid, signal.SIGTERM)
    process.wait(300)
    assert result.exit_code == 1
    assert "another shipper is running on this spool" in result.output
    assert running
    spool.close()
