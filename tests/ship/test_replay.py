"""Dead letters: delivered like any event, and put back into the spool after the cause was fixed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import logging_lib
from logging_lib.cli.app import app
from logging_lib.logger.segments import DEAD_LETTERS, list_segments
from logging_lib.logger.spool import Spool
from logging_lib.ship.replay import ReplayResult, replay_dead_letters
from logging_lib.ship.shipper import Shipper
from logging_lib.ship.spool_reader import SpoolReader, load_state
from tests.ship.conftest import dead_letters, drain, fill
from tests.ship.receivers import HttpSink, is_letter

Make = Callable[..., Shipper]


def refuse_all(events: list[dict[str, Any]]) -> tuple[int, str]:
    return (200, "") if all(map(is_letter, events)) else (400, "no")


def refused(spool: Spool, ship: Make, sink: HttpSink) -> None:
    """Ship everything to a receiver that refuses all but dead letters."""
    sink.answer = refuse_all
    once(ship, spool, sink)
    sink.answer = lambda events: (200, "")


def once(ship: Make, spool: Spool, sink: HttpSink) -> int:
    shipper = ship(spool, f"http://127.0.0.1:{sink.port}")
    settled = drain(shipper)
    shipper.close()
    return settled


def replayed(spool: Spool, **options: Any) -> ReplayResult:
    backlog = SpoolReader(spool.directory)
    assert backlog.lock()
    try:
        return replay_dead_letters(backlog, **options)
    finally:
        backlog.unlock()


def received(sink: HttpSink) -> Counter[str]:
    return Counter(event["event"]["id"] for event in sink.events if not is_letter(event))


def test_refused_events_are_sent_again_by_a_replay(spool: Spool, ship: Make) -> None:
    with HttpSink() as sink:
        ids = fill(spool, 4)
        refused(spool, ship, sink)
        letters = (spool.directory / DEAD_LETTERS).read_bytes()
        result = replayed(spool, now_ns=10**18)
        assert (result.events, result.remaining) == (4, 0)
        (aside,) = result.files
        assert aside.name == "dead-letters.jsonl.replayed-20010909T014640Z-de0b6b3a7640000"
        assert aside.read_bytes() == letters
        assert aside.stat().st_mode & 0o777 == 0o600
        assert not (spool.directory / DEAD_LETTERS).exists()
        assert {path.stat().st_mode & 0o777 for path in list_segments(spool.directory)} == {0o600}
        assert once(ship, spool, sink) == 4
    assert received(sink) == Counter(ids)
    assert list_segments(spool.directory) == [spool.path]


def test_bytes_that_json_cannot_hold_and_long_lines(spool: Spool, ship: Make) -> None:
    log = logging_lib.configure(model="m", version="1", spool=spool, report_every=None)
    log.prediction({"n": 1}, 1.0, event_id="cut", note="x" * 40_000)
    log.prediction({"n": 1}, 1.0, event_id="long", note="ä" * 15_000)
    spool.write(b'{"torn": \n')
    spool.write(b"\xff\n")
    with HttpSink() as sink:
        refused(spool, ship, sink)
        result = replayed(spool)
        assert (result.events, result.remaining) == (1, 3)
        once(ship, spool, sink)
    assert received(sink) == {"long": 1}
    (event,) = (event for event in sink.events if not is_letter(event))
    assert event["labels"]["note"] == "ä" * 15_000


def test_dead_letters_that_were_not_delivered_are_not_lost(spool: Spool, ship: Make) -> None:
    fill(spool, 2)
    spool.write(b"[1]\n")
    with HttpSink() as sink:
        sink.answer = lambda events: (400, "no")
        shipper = ship(spool, f"http://127.0.0.1:{sink.port}")
        assert shipper.reader.lock()
        assert shipper.ship_batch() == 3  # and before the letters went out
        shipper.close()
        sink.answer = lambda events: (200, "")
        assert (result := replayed(spool)).events == 2
        assert result.remaining == 1
        assert once(ship, spool, sink) == 3
    (letter,) = filter(is_letter, sink.events)
    assert letter["error"]["type"] == "not_json"


def test_a_refused_event_may_be_refused_and_replayed_again(spool: Spool, ship: Make) -> None:
    with HttpSink() as sink:
        ids = fill(spool, 2)
        for now in (1, 2, 3):
            refused(spool, ship, sink)
            assert replayed(spool, now_ns=now * 10**9).events == 2
            assert len(list(spool.directory.glob(f"{DEAD_LETTERS}.replayed-*"))) == now
        once(ship, spool, sink)
    assert received(sink) == Counter(ids)
    assert len(list(filter(is_letter, sink.events))) == 6
    assert load_state(spool.directory).dead_lettered == 6


def test_a_replay_without_dead_letters_does_nothing(spool: Spool) -> None:
    fill(spool, 1)
    assert replayed(spool) == ReplayResult(0, 0, [])
    assert len(list_segments(spool.directory)) == 1


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(5))
def test_a_replay_that_is_killed_between_loses_nothing_and_doubles_nothing(
    step: int, spool: Spool, ship: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each change of a name, and before the state is saved; the next replay goes on."""
    with HttpSink() as sink:
        ids = fill(spool, 3)
        refused(spool, ship, sink)
        changes = 0
        rename = Path.rename

        def dying(path: Path, new: Path) -> Path:
            nonlocal changes
            if changes == step:
                raise Killed
            changes += 1
            return rename(path, new)

        monkeypatch.setattr(Path, "rename", dying)
        killed = False
        try:
            replayed(spool)
        except Killed:
            killed = True
        monkeypatch.setattr(Path, "rename", rename)
        assert killed == (step < 4)  # the state, the letters, the segment, the end
        replayed(spool)
        once(ship, spool, sink)
    assert received(sink) == Counter(ids)
    assert len(list(spool.directory.glob(f"{DEAD_LETTERS}.replayed-*"))) == 1
    assert not list(spool.directory.glob(f"{DEAD_LETTERS}.replaying-*"))


def test_a_replay_that_is_killed_and_shipped_is_at_least_once(
    spool: Spool, ship: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpSink() as sink:
        ids = fill(spool, 3)
        refused(spool, ship, sink)
        rename = Path.rename

        def dying(path: Path, new: Path) -> Path:
            if ".replayed-" in new.name:
                raise Killed
            return rename(path, new)

        monkeypatch.setattr(Path, "rename", dying)
        with pytest.raises(Killed):
            replayed(spool)
        monkeypatch.setattr(Path, "rename", rename)
        once(ship, spool, sink)
        assert received(sink) == Counter(ids)
        assert replayed(spool).events == 3
        once(ship, spool, sink)
    assert set(received(sink)) == set(ids)
    assert max(received(sink).values()) <= 2


def test_dead_letters_that_somebody_deleted_begin_a_new_file(spool: Spool, ship: Make) -> None:
    with HttpSink() as sink:
        fill(spool, 5)
        refused(spool, ship, sink)
        (spool.directory / DEAD_LETTERS).unlink()
        once(ship, spool, sink)
        fill(spool, 7, first=5)
        refused(spool, ship, sink)
    assert len(list(filter(is_letter, sink.events))) == 12


def test_a_torn_dead_letter_is_skipped(spool: Spool, ship: Make) -> None:
    with HttpSink() as sink:
        fill(spool, 1)
        with (spool.directory / DEAD_LETTERS).open("wb") as file:
            file.write(b'{"event": {"id"')
        refused(spool, ship, sink)
        assert once(ship, spool, sink) == 0
    lines = (spool.directory / DEAD_LETTERS).read_bytes().splitlines()
    assert lines[0] == b'{"event": {"id"'
    assert [json.loads(line) for line in lines[1:]] == list(filter(is_letter, sink.events))
    assert len(lines) == 2


def test_the_replay_command(spool: Spool, ship: Make) -> None:
    run = CliRunner().invoke
    with HttpSink() as sink:
        fill(spool, 2)
        spool.write(b"[1]\n")
        refused(spool, ship, sink)
        folder = str(spool.directory)
        assert len(dead_letters(spool.directory)) == 3
        result = run(app, ["ship", folder, "--replay-dead-letters"])
        assert result.exit_code == 0
        assert "2 events put back into the spool" in result.output
        assert "dead-letters.jsonl.replayed-" in result.output
        assert "1 dead letter not put back" in result.output
        shipper = ship(spool, f"http://127.0.0.1:{sink.port}")
        assert drain(shipper) == 2
        busy = run(app, ["ship", folder, "--replay-dead-letters"])
        assert busy.exit_code == 1
        assert "another shipper is running on this spool; stop it" in busy.output
    missing = run(app, ["ship", f"{folder}/none", "--replay-dead-letters"])
    assert missing.exit_code == 2
    assert "no such folder" in missing.output


def test_dead_letters_that_somebody_shortened_are_not_taken_for_delivered(spool: Spool, ship: Make) -> None:
    with HttpSink() as sink:
        spool.write(b"[1]\n")
        spool.write(b"[2]\n")
        once(ship, spool, sink)
        letters = spool.directory / DEAD_LETTERS
        (first, _) = letters.read_bytes().splitlines()
        before = len(sink.events)
        letters.write_bytes(first + b"\n")
        assert replayed(spool).remaining == 1
        once(ship, spool, sink)
        assert len(sink.events) == before + 1


def test_a_file_of_another_name_is_left_alone(spool: Spool, ship: Make) -> None:
    spool.write(b"{}\n")
    other = spool.directory / f"{DEAD_LETTERS}.replaying-by-hand"
    other.write_text("mine")
    assert replayed(spool).events == 0
    assert other.read_text() == "mine"
