"""Shipping to real receivers: acknowledgement before deletion, retries, refusals, several shippers."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import logging_lib
from logging_lib.cli.app import app
from logging_lib.logger.segments import DEAD_LETTERS, list_segments
from logging_lib.logger.spool import Spool
from logging_lib.normalize import Event, normalize
from logging_lib.ship.receivers import ConnectionClosedError, RetryError, StdoutReceiver
from logging_lib.ship.shipper import Shipper
from logging_lib.ship.spool_reader import STATE, SpoolReader, load_state
from logging_lib.ship.target import parse_target
from tests.ship.conftest import dead_letters, drain, fill
from tests.ship.receivers import BeatsSink, HttpSink, TcpSink, is_letter

Make = Callable[..., Shipper]
Valid = Callable[[dict[str, Any]], dict[str, Any]]


def test_events_arrive_once_and_closed_segments_go(spool: Spool, beats: BeatsSink, ship: Make) -> None:
    ids = fill(spool, 30)
    spool.close()
    ids += fill(spool, 5, first=30)
    shipper = ship(spool, f"beats://127.0.0.1:{beats.port}")
    assert drain(shipper) == 35
    assert beats.ids() == ids
    assert list_segments(spool.directory) == [spool.path]  # the open one stays
    ids += fill(spool, 1, first=35)
    assert drain(shipper) == 1
    assert beats.ids() == ids
    assert load_state(spool.directory).shipped == 36


def test_large_backlogs_go_in_batches_over_one_connection(
    spool: Spool, beats: BeatsSink, ship: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logging_lib.ship.shipper.BATCH_EVENTS", 100)
    ids = fill(spool, 250)
    assert drain(ship(spool, f"beats://127.0.0.1:{beats.port}")) == 250
    assert beats.ids() == ids
    assert beats.batches == [100, 100, 50]


def test_unacknowledged_events_are_sent_again_by_the_next_shipper(
    spool: Spool, beats: BeatsSink, ship: Make
) -> None:
    ids = fill(spool, 3)
    beats.behaviour = lambda lines: "kept_but_not_acknowledged"
    shipper = ship(spool, f"beats://127.0.0.1:{beats.port}")
    with pytest.raises(ConnectionClosedError):
        drain(shipper)
    shipper.close()
    beats.behaviour = lambda lines: "ack"
    assert drain(ship(spool, f"beats://127.0.0.1:{beats.port}")) == 3
    assert beats.ids() == ids + ids  # at least once


def test_a_receiver_that_is_down_loses_nothing(spool: Spool, ship: Make) -> None:
    with BeatsSink() as sink:
        port = sink.port
    ids = fill(spool, 3)
    shipper = ship(spool, f"beats://127.0.0.1:{port}")
    with pytest.raises(RetryError, match="Connection refused"):
        drain(shipper)
    with BeatsSink(port) as sink:
        assert drain(shipper) == 3
        assert sink.ids() == ids


def test_a_receiver_that_restarts_in_the_middle_of_a_batch(
    spool: Spool, beats: BeatsSink, ship: Make
) -> None:
    ids = fill(spool, 8)
    answers = iter(["hang_up", *["ack"] * 10])
    beats.behaviour = lambda lines: next(answers)
    shipper = ship(spool, f"beats://127.0.0.1:{beats.port}")
    with pytest.raises(ConnectionClosedError):
        drain(shipper)
    assert drain(shipper) == 8
    assert beats.ids() == ids
    assert dead_letters(spool.directory) == []


@pytest.mark.parametrize("behaviour", ["silent", "half_close"])
def test_a_receiver_that_never_answers(behaviour: str, spool: Spool, beats: BeatsSink, ship: Make) -> None:
    ids = fill(spool, 3)
    beats.behaviour = lambda lines: behaviour
    shipper = ship(spool, f"beats://127.0.0.1:{beats.port}", timeout=1.0)
    with pytest.raises(RetryError):
        drain(shipper)
    beats.behaviour = lambda lines: "late"
    assert drain(shipper) == 3
    assert beats.ids() == ids


def test_an_event_that_kills_its_connection_is_found(spool: Spool, beats: BeatsSink, ship: Make) -> None:
    fill(spool, 7)
    beats.behaviour = lambda lines: "hang_up" if any(b'"e-4"' in line for line in lines) else "ack"
    shipper = ship(spool, f"beats://127.0.0.1:{beats.port}")
    assert shipper.reader.lock()
    has_more, attempts = True, 0
    while has_more:
        attempts += 1
        assert attempts < 30
        try:
            has_more = shipper.ship_batch() > 0
        except ConnectionClosedError:
            continue
    assert set(beats.ids()) == {f"e-{n}" for n in (0, 1, 2, 3, 5, 6)}
    (letter,) = dead_letters(spool.directory)
    assert beats.letters() == [letter]
    assert json.loads(letter["event"]["original"])["event"]["id"] == "e-4"


def test_no_event_is_blamed_if_the_receiver_accepts_none(spool: Spool, beats: BeatsSink, ship: Make) -> None:
    fill(spool, 3)
    beats.behaviour = lambda lines: "hang_up"
    shipper = ship(spool, f"beats://127.0.0.1:{beats.port}")
    assert shipper.reader.lock()
    for _ in range(12):
        with pytest.raises(ConnectionClosedError):
            shipper.ship_batch()
    assert dead_letters(spool.directory) == []


@pytest.mark.parametrize("status", [400, 413])
def test_a_refused_batch_is_split_until_the_culprit_is_found(
    status: int, spool: Spool, ship: Make, valid: Valid
) -> None:
    fill(spool, 9)
    with HttpSink() as sink:
        sink.answer = lambda events: (
            (status, "mapper_parsing_exception")
            if any(e["event"]["id"] == "e-5" for e in events)
            else (200, "")
        )
        assert drain(ship(spool, f"http://127.0.0.1:{sink.port}/ml")) == 9 + 1
    (letter,) = map(valid, dead_letters(spool.directory))
    assert sink.events.pop() == letter
    assert [event["event"]["id"] for event in sink.events] == [f"e-{n}" for n in range(9) if n != 5]
    assert letter["error"]["message"].startswith(f"the receiver answered: {status} ")
    assert "mapper_parsing_exception" in letter["error"]["message"]
    assert letter["ml"]["deadletter"]["stage"] == "ship"
    assert json.loads(letter["event"]["original"])["event"]["id"] == "e-5"
    assert (spool.directory / DEAD_LETTERS).stat().st_mode & 0o777 == 0o600
    assert load_state(spool.directory).dead_lettered == 1


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_an_answer_that_may_pass_is_tried_again(status: int, spool: Spool, ship: Make) -> None:
    fill(spool, 4)
    with HttpSink() as sink:
        sink.answer = lambda events: (status, "busy")
        shipper = ship(spool, f"http://user:secret@127.0.0.1:{sink.port}/ml")
        with pytest.raises(RetryError, match=rf"{status} .*busy") as caught:
            drain(shipper)
        assert "secret" not in str(caught.value)
        sink.answer = lambda events: (200, "ok")
        assert drain(shipper) == 4
    assert len(sink.events) == 4
    assert sink.requests[0]["path"] == "/ml"
    assert sink.requests[0]["authorization"].startswith("Basic ")
    assert dead_letters(spool.directory) == []


def test_events_are_shipped_over_tcp(spool: Spool, ship: Make) -> None:
    with TcpSink() as sink:
        shipper = ship(spool, f"tcp://127.0.0.1:{sink.port}")
        ids = fill(spool, 3)
        assert drain(shipper) == 3
        sink.wait_for(3)
        sink.hang_up()
        ids += fill(spool, 2, first=3)
        assert drain(shipper) == 2
        sink.wait_for(5)
        assert sink.ids() == ids


def test_events_are_shipped_to_stdout(spool: Spool) -> None:
    ids = fill(spool, 2)
    stream = io.BytesIO()
    shipper = Shipper(spool.directory, StdoutReceiver(stream))
    drain(shipper)
    shipper.close()
    assert [json.loads(line)["event"]["id"] for line in stream.getvalue().splitlines()] == ids


def test_a_torn_line_is_waited_for_while_its_writer_lives(
    spool: Spool, beats: BeatsSink, ship: Make, valid: Valid
) -> None:
    ids = fill(spool, 2)
    assert spool.path is not None
    with spool.path.open("ab") as file:
        file.write(b'{"half": ')
    shipper = ship(spool, f"beats://127.0.0.1:{beats.port}")
    assert drain(shipper) == 2
    assert drain(shipper) == 0
    spool.close()
    assert drain(shipper) == 1 + 1
    assert list_segments(spool.directory) == []
    (letter,) = map(valid, dead_letters(spool.directory))
    assert letter["error"]["type"] == "torn"
    assert letter["event"]["original"] == '{"half": '
    assert letter["ml"]["deadletter"]["stage"] == "spool"
    assert beats.ids() == ids


def test_a_last_line_that_lacks_only_its_newline_is_sent(spool: Spool, beats: BeatsSink, ship: Make) -> None:
    ids = fill(spool, 2)
    assert spool.path is not None
    os.truncate(spool.path, spool.path.stat().st_size - 1)
    spool.close()
    assert drain(ship(spool, f"beats://127.0.0.1:{beats.port}")) == 2
    assert beats.ids() == ids
    assert list_segments(spool.directory) == []
    assert dead_letters(spool.directory) == []


def test_lines_that_cannot_be_sent_become_dead_letters(
    spool: Spool, beats: BeatsSink, ship: Make, valid: Valid
) -> None:
    fill(spool, 1)
    assert spool.path is not None
    with spool.path.open("ab") as file:  # as another writer than ours might
        file.write(b'{"cut": \n[1]\n\xff\xfe\n\n{"x":"' + b"a" * 1_000_000 + b'"}\n')
        file.write(b'{"y":"' + b"b" * 6_000_000 + b'"}\n')
    fill(spool, 1, first=1)
    spool.write(b"\n")
    shipper = ship(spool, f"beats://127.0.0.1:{beats.port}")
    assert drain(shipper) == 7 + 5
    assert beats.ids() == ["e-0", "e-1"]
    letters = list(map(valid, dead_letters(spool.directory)))
    assert beats.letters() == letters
    assert [letter["error"]["type"] for letter in letters] == ["not_json"] * 3 + ["too_large"] * 2
    assert letters[-1]["ml"]["deadletter"]["size"] == 6_000_009
    spool.close()
    drain(shipper)
    assert list_segments(spool.directory) == []


def test_lines_that_the_pipelines_repair_are_sent_as_log_shippers_do(
    spool: Spool, beats: BeatsSink, ship: Make
) -> None:
    fill(spool, 1)
    assert spool.path is not None
    lines = [b'{"model":"m","inputs":{"a":%s},"timestamp":0}' % value
             for value in (b"NaN", b"-Infinity", b"1e400", rb'"\ud83d"')]  # fmt: skip
    ours = b'{"ml":{"schema_version":1},"x":NaN}'
    with spool.path.open("ab") as file:
        file.write(b"\n".join([*lines, ours, b""]))
    assert drain(ship(spool, f"beats://127.0.0.1:{beats.port}")) == 1 + 5 + 1
    assert [json.loads(line) for line in beats.lines[1:5]] == [{"message": line.decode()} for line in lines]
    for sent, line in zip(beats.lines[1:5], lines, strict=True):
        received, read = normalize(sent), normalize(line)
        assert isinstance(received, Event)
        assert received == read
    (letter,) = dead_letters(spool.directory)
    assert (letter["error"]["type"], letter["event"]["original"]) == ("not_json", ours.decode())


def test_http_escapes_what_logstash_puts_for_other_bytes(spool: Spool, ship: Make) -> None:
    log = logging_lib.configure(model="m", version="1", report_every=None, spool=spool)
    log.prediction({"a": "M\ufffdller"})
    bodies: list[bytes] = []
    with HttpSink() as sink:
        sink.read = lambda body: bodies.append(body) or json.loads(body)
        assert drain(ship(spool, f"http://127.0.0.1:{sink.port}")) == 1
        assert sink.events[0]["ml"]["input"]["category"]["a"] == "M\ufffdller"
    assert "\ufffd".encode() not in bodies[0]


@pytest.mark.parametrize("arguments", [("--to", "stdout:", "--once"), ("--status",)], ids=["once", "status"])
def test_files_that_are_not_segments_are_named(arguments: tuple[str, ...], spool: Spool) -> None:
    fill(spool, 1)
    (spool.directory / "bad-0.jsonl").write_bytes(b"{}\n")
    (spool.directory / "dead-letters.jsonl.replayed-1").touch()
    result = CliRunner().invoke(app, ["ship", str(spool.directory), *arguments])
    assert result.exit_code == 0
    assert "bad-0.jsonl: not shipped" in result.stderr
    assert "dead-letters" not in result.stderr


def test_one_of_several_shippers_wins_and_another_goes_on(spool: Spool, beats: BeatsSink, ship: Make) -> None:
    url = f"beats://127.0.0.1:{beats.port}"
    first, second = ship(spool, url), ship(spool, url)
    fill(spool, 2)
    assert drain(first) == 2
    assert not second.reader.lock()
    first.close()
    fill(spool, 1, first=2)
    assert drain(second) == 1
    assert beats.ids() == ["e-0", "e-1", "e-2"]


def test_a_forked_child_does_not_keep_its_parents_lock(spool: Spool) -> None:
    fill(spool, 1)
    backlog = SpoolReader(spool.directory)
    assert backlog.lock()
    ready, child_is_ready = os.pipe()
    ended, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        os.write(child_is_ready, b".")
        os.read(ended, 1)
        os._exit(0)
    os.read(ready, 1)
    backlog.unlock()
    free = SpoolReader(spool.directory).lock()
    for fd in (ready, child_is_ready, ended, end):
        os.close(fd)
    os.waitpid(child, 0)
    assert free


def test_a_full_disk_is_emptied_by_shipping(
    spool: Spool, beats: BeatsSink, ship: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(spool, 3)
    spool.close()

    def full(self: SpoolReader, now: float) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SpoolReader, "save", full)
    assert drain(ship(spool, f"beats://127.0.0.1:{beats.port}")) == 3
    assert list_segments(spool.directory) == []
    assert len(beats.lines) == 3


def test_a_damaged_checkpoint_means_once_more_not_never(spool: Spool, beats: BeatsSink, ship: Make) -> None:
    fill(spool, 2)
    (spool.directory / STATE).write_bytes(b'{"offsets": {"x"')
    assert drain(ship(spool, f"beats://127.0.0.1:{beats.port}")) == 2


def test_waits_grow_with_full_jitter_and_the_error_is_kept(
    spool: Spool, ship: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with BeatsSink() as sink:
        port = sink.port
    fill(spool, 1)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 9

    shipper = ship(spool, f"beats://127.0.0.1:{port}", wait=wait, uniform=lambda: 0.5, clock=lambda: 1e9)
    shipper.run()
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 15, 15, 15]
    state = load_state(spool.directory)
    assert state.retries == 9
    assert "Connection refused" in state.last_error
    assert state.last_error_at == 1e9
    assert len(caplog.records) == 1


def test_after_a_failure_a_small_batch_is_tried_first(spool: Spool, beats: BeatsSink, ship: Make) -> None:
    ids = fill(spool, 120)
    answers = iter(["silent", *["ack"] * 10])
    beats.behaviour = lambda lines: next(answers)
    waits = iter([False, True])
    shipper = ship(spool, f"beats://127.0.0.1:{beats.port}", timeout=1.0, wait=lambda _: next(waits))
    shipper.run()
    assert beats.batches == [50, 70]
    assert beats.ids() == ids


def test_a_health_event_each_minute(spool: Spool, beats: BeatsSink, ship: Make, valid: Valid) -> None:
    now = [0.0]

    def wait(seconds: float) -> bool:
        now[0] += 30
        return now[0] > 100

    fill(spool, 3)
    shipper = ship(
        spool, f"beats://127.0.0.1:{beats.port}", health=spool, monotonic=lambda: now[0], wait=wait
    )
    shipper.run()
    events = [valid(event) for event in beats.events if event["event"]["dataset"] == "ml.health"]
    assert events[0]["ml"]["health"]["shipped"] == 3
    assert events[0]["ml"]["health"]["interval"] == 60
    assert events[0]["ml"]["health"]["backlog"] == {"events": 0, "bytes": 0, "age": 0.0}


def test_the_shipper_survives_a_deleted_folder(spool: Spool, beats: BeatsSink, ship: Make) -> None:
    import shutil

    fill(spool, 1)
    turns = [0]

    def wait(seconds: float) -> bool:
        turns[0] += 1
        if turns[0] == 1:
            shutil.rmtree(spool.directory)
        if turns[0] == 2:
            spool.close()
            fill(spool, 1, first=1)
        return turns[0] > 6

    ship(spool, f"beats://127.0.0.1:{beats.port}", wait=wait).run()
    assert beats.ids() == ["e-0", "e-1"]


@pytest.mark.parametrize(
    ("url", "said"),
    [("ftp://h", "ftp://h: unknown scheme; did you mean tcp://h"),
     ("beats://", "the URL has no host"), ("es://h:9200", "expected beats://"),
     ("http+tls://h", "did you mean tcp\\+tls://h"), ("es+http://[h", "cannot be read"),
     ("es+https://h?namespace=Prod", "must be in lower case"), ("es+https://h?namespace=", "not empty"),
     ("es+https://h?api_key=x", "LOGGING_LIB_ELASTICSEARCH_API_KEY"),
     ("beats://h?namespace=x", "known are ca, cert and key$"),
     ("beats://h?ca=x", "need TLS"),
     ("https://h?key=x", "needs its cert"), ("beats+tls://h?x=1", "unknown option x"),
     ("beats://h:port", "Port could not be cast")],
)  # fmt: skip
def test_an_invalid_url_is_refused(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_target(url)


def test_a_url_and_its_files() -> None:
    target = parse_target("beats+tls://logstash?ca=a.pem&cert=b.pem", cert="c.pem")
    assert (target.kind, target.host, target.port, target.tls) == ("beats", "logstash", 5044, True)
    assert (target.ca, target.cert, target.key) == ("a.pem", "c.pem", None)
    assert str(parse_target("https://u:p@[::1]:99/x?ca=a")) == "https://[::1]:99/x"
    target = parse_target("es+https://u:p%40@search/es?namespace=prod&ca=a.pem")
    assert (target.kind, target.port, target.tls, target.namespace) == ("es", 9200, True, "prod")
    assert (target.user, target.password, target.ca) == ("u", "p@", "a.pem")
    assert str(target) == "es+https://search:9200/es"
    assert parse_target("es+http://h").namespace == "default"


@pytest.mark.parametrize(
    "url",
    ["es+https://u:secret@h?x=1", "https:u:secret@h", "beats://u:secret@h:port", "es+http://u:secret@[h"],
)
def test_the_error_of_a_refused_url_does_not_show_its_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_target(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(parse_target("es+https://u:secret@h"))


def test_the_state_file_is_private(tmp_path: Path) -> None:
    backlog = SpoolReader(tmp_path)
    backlog.save(1.0)
    assert (tmp_path / STATE).stat().st_mode & 0o777 == 0o600


WRONG_STATES = [
    {"offsets": {"SEGMENT": 10**9}},
    {"offsets": {"SEGMENT": 2**62}},
    {"offsets": {"SEGMENT": -1}},
    {"offsets": {"SEGMENT": True}},
    {"offsets": {"SEGMENT": 7}},
    {"offsets": {"SEGMENT": "7"}},
    {"offsets": {"SEGMENT": 1.5}},
    {"offsets": []},
    {"offsets": None},
    {"shipped": "x"},
    {"shipped": -1},
    {"shipped": 2**70},
    {"retries": None},
    {"last_error": 3, "last_error_at": 1.0},
    {"last_error": "x", "last_error_at": "x"},
    {"last_error": "x", "last_error_at": 1e300},
    {"rate": None},
    {"receiver": []},
    {"unknown": 1},
    [],
    3,
]


@pytest.mark.parametrize("state", WRONG_STATES, ids=str)
@pytest.mark.parametrize("closed", [True, False])
def test_a_state_that_does_not_fit_the_files_ships_once_more_not_never(
    state: Any, closed: bool, spool: Spool, beats: BeatsSink, ship: Make
) -> None:
    ids = fill(spool, 3)
    segment = str(spool.path and spool.path.name)
    (spool.directory / STATE).write_text(json.dumps(state).replace("SEGMENT", segment))
    if closed:
        spool.close()
    result = CliRunner().invoke(app, ["ship", str(spool.directory), "--status", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["backlog"]["events"] == 3
    assert CliRunner().invoke(app, ["ship", str(spool.directory), "--status"]).exit_code == 0
    assert drain(ship(spool, f"beats://127.0.0.1:{beats.port}")) == 3
    assert beats.ids() == ids


@pytest.mark.parametrize("how", ["emptied", "first line cut", "half a line cut", "emptied and grown"])
def test_dead_letters_that_somebody_shortened_are_all_delivered(how: str, spool: Spool, ship: Make) -> None:
    def refuse(events: list[dict[str, Any]]) -> tuple[int, str]:
        return (200, "ok") if all(map(is_letter, events)) else (400, "no")

    with HttpSink() as sink:
        sink.answer = refuse
        shipper = ship(spool, f"http://127.0.0.1:{sink.port}")
        fill(spool, 4)
        drain(shipper)
        assert len(sink.events) == 4
        letters = spool.directory / DEAD_LETTERS
        content = letters.read_bytes()
        kept = {"emptied": b"", "first line cut": content.split(b"\n", 1)[1], "half a line cut": content[9:]}
        letters.write_bytes(kept.get(how, b""))
        if how == "emptied and grown":
            shortened = [json.loads(line) for line in content.splitlines()]
            grown = [{**letter, "message": "a longer dead letter"} for letter in shortened]
            letters.write_text("".join(json.dumps(letter) + "\n" for letter in grown))
        before = len(letters.read_bytes().splitlines())
        new = fill(spool, 8, first=4)
        drain(shipper)
        delivered = [event["event"]["original"] for event in sink.events[4:]]
    assert all(any(f'"{name}"' in original for original in delivered) for name in new)
    assert len(letters.read_bytes().splitlines()) == before + 8


def test_a_folder_that_is_moved_away_is_shipped_no_longer_and_its_successor_is(
    spool: Spool, beats: BeatsSink, ship: Make, tmp_path: Path
) -> None:
    fill(spool, 2)
    shipper = ship(spool, f"beats://127.0.0.1:{beats.port}")
    assert drain(shipper) == 2
    spool.directory.rename(tmp_path / "old")
    assert not shipper.reader.is_locked
    assert not shipper.reader.lock()
    spool.close()
    fill(spool, 1, first=2)
    assert drain(shipper) == 1
    another = ship(spool, f"beats://127.0.0.1:{beats.port}")
    assert not another.reader.lock()
    assert beats.ids() == ["e-0", "e-1", "e-2"]


def test_signs_of_life_are_logged_once(
    spool: Spool, beats: BeatsSink, ship: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Connected, how much was shipped, and that it answers again after an outage: not with each batch."""
    caplog.set_level(logging.INFO, logger="logging_lib.ship")
    answers = iter(["ack", "hang_up", *["ack"] * 10])
    beats.behaviour = lambda lines: next(answers)
    seconds, waits = 0.0, 0

    def wait(pause: float) -> bool:
        nonlocal seconds, waits
        waits, seconds = waits + 1, seconds + 20
        if waits in (1, 5):
            fill(spool, 1, first=10 + waits)
        return waits == 8

    fill(spool, 3)
    url = f"beats://127.0.0.1:{beats.port}"
    ship(spool, url, name="beats://h", wait=wait, uniform=lambda: 0.5, monotonic=lambda: seconds).run()
    texts = [record.message for record in caplog.records]
    assert texts == [
        "connected to beats://h",
        "the receiver closed the connection without acknowledging; the events stay in the spool and are sent again",
        "beats://h answers again after 20 s and 1 attempt",
        "4 events shipped from this spool so far",
    ]
