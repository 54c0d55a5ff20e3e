"""What a container's runtime and a log shipper wrap a service's lines in is read as the lines themselves."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import logging_lib
from logging_lib.logger import jsonlines
from logging_lib.logger.jsonlines import MAX_LINE, Line, read_lines
from logging_lib.normalize import DeadLetter, Event, normalize, normalize_line
from logging_lib.normalize.containers import DOCKER_PART, MAX_OPEN, join_lines
from logging_lib.ship.receivers import StdoutReceiver
from logging_lib.store import loading
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.strategies import examples

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TIME = "2026-03-10T10:00:00.123456789Z"
Wrap = Callable[[str], list[str]]


def docker(text: str) -> list[str]:
    """Docker's json-file: a line in parts of 16 KB, of which only the last has its newline."""
    raw = f"{text}\n".encode()
    parts = [raw[start : start + DOCKER_PART].decode() for start in range(0, len(raw), DOCKER_PART)]
    return [json.dumps({"log": part, "stream": "stdout", "time": TIME}) for part in parts]


def cri(text: str) -> list[str]:
    """containerd: parts of 16 KB, all but the last with P."""
    parts = [text[start : start + 16_384] for start in range(0, len(text), 16_384)] or [""]
    return [f"{TIME} stdout {'F' if part is parts[-1] else 'P'} {part}" for part in parts]


def fluent_bit(text: str) -> list[str]:
    return [
        json.dumps(
            {"date": 1773136800.5, "log": text + "\n", "stream": "stdout", "kubernetes": {"pod_name": "p"}}
        )
    ]


def fluent_bit_of_cri(text: str) -> list[str]:
    parts = [text[start : start + 16_384] for start in range(0, len(text), 16_384)] or [""]
    return [
        json.dumps(
            {"time": TIME, "stream": "stdout", "logtag": "F" if part is parts[-1] else "P", "message": part}
        )
        for part in parts
    ]


def filebeat(text: str) -> list[str]:
    return [
        json.dumps(
            {"@timestamp": TIME, "message": text, "input": {"type": "container"}, "log": {"offset": 3}}
        )
    ]


WRAPS = [docker, cri, fluent_bit, fluent_bit_of_cri, filebeat]
by_wrap = pytest.mark.parametrize("wrap", WRAPS, ids=lambda wrap: wrap.__name__)


def normalized(lines: list[str], path: Path) -> list[Event | DeadLetter]:
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
    return [normalize_line(line, now=NOW) for line in join_lines(read_lines(path))]


@by_wrap
@pytest.mark.parametrize("size", [10, 16_384, 100_000], ids=["short", "a part", "long"])
def test_what_ship_writes_to_stdout_is_indexed_as_it_was_logged(
    wrap: Wrap, size: int, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    now_ns = int(NOW.timestamp()) * 10**9
    log = logging_lib.configure(model="m", version="1", spool=spool, report_every=None, clock=lambda: now_ns)
    for number in range(3):
        log.prediction({"text": "x" * size, "number": number}, prediction=1.0)
    (segment,) = spool.glob("*.jsonl")
    shipped = tmp_path / "stdout"
    with shipped.open("wb") as stream:
        StdoutReceiver(stream=stream).send([line.data for line in read_lines(segment)])
    texts = shipped.read_text("utf-8").splitlines()
    direct = [normalize(text, now=NOW).document for text in texts]
    wrapped = tmp_path / "container.log"
    assert [
        event.document for event in normalized([part for text in texts for part in wrap(text)], wrapped)
    ] == direct

    packed = tmp_path / "container.log.gz"
    packed.write_bytes(gzip.compress(wrapped.read_bytes()))
    with EmbeddedStore(tmp_path / "store") as store:
        assert loading.load(store, [wrapped]).events == len(texts)
        again = loading.load(store, [packed])
        assert (again.events, again.refused["duplicate"]) == (0, len(texts))


@by_wrap
def test_a_foreign_event_has_the_id_of_its_own_line(wrap: Wrap, tmp_path: Path) -> None:
    text = json.dumps({"model": "m", "inputs": {"a": "é" * 9000}, "prediction": 1.5, "timestamp": TIME})
    (event,) = normalized(wrap(text), tmp_path / "x.log")
    assert event.document == normalize(text, now=NOW).document


@by_wrap
def test_lines_that_are_not_events_are_refused_one_by_one(wrap: Wrap, tmp_path: Path) -> None:
    texts = ["GET /predict 200", '{"model": "m"', "", '{"level": "info"}']
    results = normalized([part for text in texts for part in wrap(text)], tmp_path / "x.log")
    assert [type(result) for result in results] == [DeadLetter] * len(results)
    assert {result.document["error"]["type"] for result in results} <= {"not_json", "no_model"}
    assert len(results) == (4 if wrap is filebeat else 3)  # a blank line is skipped, as in any file


def test_parts_of_two_streams_are_kept_apart(tmp_path: Path) -> None:
    first, second = (json.dumps({"model": "m", "inputs": {"a": a * 40_000}, "timestamp": TIME}) for a in "xy")
    other = [line.replace("stdout", "stderr") for line in cri(second)]
    lines = [line for pair in zip(cri(first), other, strict=True) for line in pair]
    assert [type(result) for result in normalized(lines, tmp_path / "x.log")] == [Event, Event]


def test_a_line_without_an_end_is_torn_and_its_start_is_reported(tmp_path: Path) -> None:
    text = json.dumps({"model": "m", "inputs": {"a": "x" * 40_000}, "timestamp": TIME})
    for wrap in (docker, cri):
        (result,) = normalized(wrap(text)[:-1], tmp_path / "x.log")
        assert isinstance(result, DeadLetter)
        assert (result.reason, result.document["log"]["offset"]) == ("torn", 0)


def test_a_joined_line_beyond_the_limit_is_refused_and_not_kept_in_memory(tmp_path: Path) -> None:
    results = normalized(
        [f"{TIME} stdout P {'x' * 50_000}"] * 30 + [f"{TIME} stdout F x", *cri("{}")], tmp_path / "x"
    )
    assert [r.reason for r in results if isinstance(r, DeadLetter)] == ["too_large", "no_model"]
    assert results[0].document["ml"]["deadletter"]["size"] <= MAX_LINE + 50_000


def test_no_more_than_some_lines_are_open(tmp_path: Path) -> None:
    lines = [
        json.dumps({"log": "x", "stream": "s", "logtag": "P", "container_id": str(n)}) for n in range(200)
    ]
    read = [Line(line.encode(), tmp_path, number) for number, line in enumerate(lines)]

    def feed() -> Iterator[Line]:
        for number, line in enumerate(read):
            assert number - len(joined) <= MAX_OPEN + 1
            yield line

    joined: list[Line] = []
    for line in join_lines(feed()):
        joined.append(line)
    assert [line.offset for line in joined] == list(range(200))


pieces = st.lists(
    st.sampled_from(
        [
            f"{TIME} stdout P {{\"model\"".encode(), f"{TIME} stderr F }}".encode(), f"{TIME} stdout F".encode(),
            b'{"log":"x","stream":"stdout"}', b'{"log":"x","logtag":"P"}', b'{"log":1,"stream":"stdout"}',
            b'{"stream":"stdout"', b"\xff\xfe", b"", b'[{"stream":"x"}]', b'{"model":"m","inputs":{},"stream":"s"}',
        ]
    )
    | st.binary(max_size=20)
)  # fmt: skip


@settings(max_examples=examples(200), deadline=None)
@given(pieces)
def test_no_line_is_lost_whatever_the_file_contains(parts: list[bytes]) -> None:
    lines = [Line(part, Path("x"), number) for number, part in enumerate(parts)]
    joined = list(join_lines(lines))
    kept = b"".join(line.data for line in joined)
    for part in parts:
        wrapped = part[:10] == TIME[:10].encode() or b'"logtag"' in part
        assert wrapped or part in kept
    assert {line.offset for line in joined} <= set(range(len(parts)))


def test_a_compressed_file_is_read_up_to_its_damage(tmp_path: Path) -> None:
    lines = [json.dumps({"model": "m", "inputs": {"a": number}, "timestamp": TIME}) for number in range(5000)]
    whole = gzip.compress("".join(line + "\n" for line in lines).encode())
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(whole)
    assert jsonlines.find_files([tmp_path]) == [path]
    assert [line.data.decode() for line in read_lines(path)] == lines
    offset = len(lines[0]) + 1
    assert next(iter(read_lines(path, offset))).offset == offset
    path.write_bytes(whole[: len(whole) // 2])
    results = [normalize_line(line, now=NOW) for line in read_lines(path)]
    assert sum(isinstance(result, Event) for result in results) > 1000
    assert [result.reason for result in results if isinstance(result, DeadLetter)][-1] == "damaged"
    path.write_bytes(b"not compressed at all")
    (line,) = read_lines(path)
    assert line.fault == "damaged"


def test_a_compressed_file_of_one_endless_line_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(32):
            file.write(b"x" * (1 << 20))
        file.write(b'\n{"a": 1}\n')
    first, second = read_lines(path)
    assert (first.fault, len(first.data)) == ("too_large", MAX_LINE + 1)
    assert (second.data, second.offset) == (b'{"a": 1}', (32 << 20) + 1)


def test_an_event_with_its_own_message_is_not_unwrapped() -> None:
    event: dict[str, Any] = {
        "model": "m",
        "inputs": {"a": 1},
        "message": '{"model": "x", "inputs": {}}',
        "timestamp": 0,
    }
    result = normalize(event)
    assert isinstance(result, Event)
    assert result.document["ml"]["model"]["name"] == "m"
