"""Answers that no receiver should give: each is a reason to try again, costs little memory, and ends nothing."""

from __future__ import annotations

import gzip
import logging
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from logging_lib._util.elasticsearch_node import BoundedNode
from logging_lib.cli.app import app
from logging_lib.logger.spool import Spool
from logging_lib.ship import elasticsearch as bulk
from logging_lib.ship.receivers import RetryError
from logging_lib.ship.shipper import Shipper
from logging_lib.ship.spool_reader import load_state
from logging_lib.store.connection import Connection, ConnectionSettings, ElasticsearchError
from tests.ship.conftest import dead_letters, drain, fill, python
from tests.ship.receivers import BulkSink, HttpSink

Make = Callable[..., Shipper]
BOMB = gzip.compress(b"a" * (50 << 20))
ODD_BULK = {
    "numbers": '{"items":[1,2,3]}',
    "nulls": '{"items":[null,null,null]}',
    "texts": '{"items":["a","b","c"]}',
    "lists": '{"items":[[],[],[]]}',
    "infinity": '{"items":[{"create":{"status":1e999}},{"create":{"status":201}},{"create":{"status":201}}]}',
    "status object": '{"items":[{"create":{"status":{}}},{"create":{"status":201}},{"create":{"status":201}}]}',
    "no object": '{"items":[{"create":7},{"create":7},{"create":7}]}',
    "deep": "[" * 100_000,
    "deep items": '{"items":' + "[" * 50_000 + "]" * 50_000 + "}",
    "empty": "",
}


@pytest.fixture
def http() -> Iterator[HttpSink]:
    with HttpSink() as sink:
        yield sink


@pytest.fixture
def elasticsearch() -> Iterator[BulkSink]:
    with BulkSink() as sink:
        yield sink


def tries(sink: HttpSink, odd: Callable[[Any], tuple[int, str | bytes]], headers: dict[str, str]) -> None:
    """Give the odd answer once, and ordinary ones after it."""
    ordinary, ordinary_headers = sink.answer, dict(sink.headers)

    def answer(events: list[dict[str, Any]]) -> tuple[int, str | bytes]:
        is_first = len(sink.batches) == 0
        sink.headers = {**ordinary_headers, **headers} if is_first else ordinary_headers
        return odd(events) if is_first else ordinary(events)

    sink.answer = answer


def ships_on(spool: Spool, make: Make, url: str, names: list[str], sink: HttpSink) -> str:
    """Run a shipper until it has nothing left; the reason for which it tried again."""
    waits = iter([False, True])
    make(spool, url, wait=lambda seconds: next(waits)).run()
    assert [event["event"]["id"] for event in sink.events][-len(names) :] == names
    assert dead_letters(spool.directory) == []
    state = load_state(spool.directory)
    assert state.retries == 1
    return state.last_error


@pytest.mark.parametrize(
    "kind", ["text/html; charset=idna", "text/html; charset=undefined", "text/plain; charset=no"]
)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_answer_in_an_unknown_charset_is_retried(
    status: int, kind: str, http: HttpSink, spool: Spool, ship: Make
) -> None:
    tries(http, lambda _: (status, b"\xff overloaded \x1b[31m"), {"Content-Type": kind})
    error = ships_on(spool, ship, f"http://127.0.0.1:{http.port}", fill(spool, 3), http)
    assert str(status) in error
    assert "overloaded" in error
    assert "\x1b" not in error


@pytest.mark.parametrize("kind", list(ODD_BULK))
def test_a_bulk_answer_of_another_shape(kind: str, elasticsearch: BulkSink, spool: Spool, ship: Make) -> None:
    tries(elasticsearch, lambda _: (200, ODD_BULK[kind]), {})
    url = f"es+http://127.0.0.1:{elasticsearch.port}"
    # What this sink was sent before the odd answer it has stored: it is the answer alone that was odd.
    error = ships_on(spool, ship, url, fill(spool, 3), elasticsearch)
    assert error


@pytest.mark.parametrize("status", [400, 404, 503])
def test_an_error_of_another_shape(status: int, elasticsearch: BulkSink, spool: Spool, ship: Make) -> None:
    odd = '{"error": {"type": ["x"], "reason": {"\\ud800": 1e999}, "caused_by": [1]}, "status": "x"}'
    tries(elasticsearch, lambda _: (status, odd), {})
    error = ships_on(spool, ship, f"es+http://127.0.0.1:{elasticsearch.port}", fill(spool, 2), elasticsearch)
    assert str(status) in error


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["create", "status", "error", "type", "reason", "caused_by"]), inner
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(items=json_values)
def test_any_answer_is_understood_or_tried_again(
    items: Any, elasticsearch: BulkSink, tmp_path: Path, ship: Make
) -> None:
    spool = Spool(tmp_path / "spool")
    if not list(spool.directory.glob("*.jsonl")):
        fill(spool, 1)
    import json

    elasticsearch.answer = lambda _: (200, json.dumps({"items": items}))
    shipper = ship(spool, f"es+http://127.0.0.1:{elasticsearch.port}")
    assert shipper.reader.lock()
    before = shipper.reader.state.shipped
    try:
        shipper.ship_batch()
    except RetryError:
        assert shipper.reader.state.shipped == before
    finally:
        shipper.close()
        spool.close()


def peak_of(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_that_unpacks_to_much_more_is_read_in_part(
    status: int, http: HttpSink, spool: Spool, ship: Make
) -> None:
    names = fill(spool, 1)
    http.headers["Content-Encoding"] = "gzip"
    http.answer = lambda _: (status, BOMB)
    shipper = ship(spool, f"http://127.0.0.1:{http.port}")

    def send() -> None:
        if status == 200:
            assert drain(shipper) == len(names)
        else:
            with pytest.raises(RetryError, match=r"503 .*aaaa") as raised:
                drain(shipper)
            assert len(str(raised.value)) < 3000

    assert peak_of(send) < 16 << 20


def test_a_bulk_answer_that_unpacks_to_much_more_is_tried_again(
    elasticsearch: BulkSink, spool: Spool, ship: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(spool, 1)
    elasticsearch.headers["Content-Encoding"] = "gzip"
    elasticsearch.answer = lambda _: (200, BOMB)
    shipper = ship(spool, f"es+http://127.0.0.1:{elasticsearch.port}")

    def send() -> None:
        with pytest.raises(RetryError, match=f"longer than {bulk._BulkNode.max_bytes} bytes"):
            drain(shipper)

    assert peak_of(send) < 3 * bulk._BulkNode.max_bytes


def test_a_search_s_answer_is_bounded_too(elasticsearch: BulkSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedNode, "max_bytes", 1 << 20)
    elasticsearch.headers["Content-Encoding"] = "gzip"
    elasticsearch.answer = lambda _: (200, BOMB)
    url = f"http://127.0.0.1:{elasticsearch.port}"
    with (
        Connection(ConnectionSettings(url)) as connection,
        pytest.raises(ElasticsearchError, match=f"longer than {1 << 20} bytes"),
    ):
        connection.call("POST", "/logs/_bulk", b"{}\n{}\n", retries=0)


@pytest.mark.parametrize("packed", [b"no gzip at all", BOMB[:100], b""], ids=["text", "cut", "empty"])
def test_an_answer_that_is_not_packed_as_it_says(
    packed: bytes, http: HttpSink, spool: Spool, ship: Make
) -> None:
    tries(http, lambda _: (503, packed), {"Content-Encoding": "gzip"})
    assert "503" in ships_on(spool, ship, f"http://127.0.0.1:{http.port}", fill(spool, 2), http)


def test_whatever_fails_is_tried_again_with_its_reason(
    spool: Spool, ship: Make, caplog: pytest.LogCaptureFixture
) -> None:
    names = fill(spool, 2)
    with HttpSink() as sink:
        waits = iter([False, False, True])
        shipper = ship(spool, f"http://127.0.0.1:{sink.port}", wait=lambda seconds: next(waits))
        read, failures = shipper.reader.read, iter([MemoryError(), LookupError("what")])

        def fail(events: int, size: int) -> Any:
            if error := next(failures, None):
                raise error
            return read(events, size)

        shipper.reader.read = fail  # type: ignore[method-assign]
        with caplog.at_level(logging.WARNING):
            shipper.run()
        assert [event["event"]["id"] for event in sink.events] == names
    state = load_state(spool.directory)
    assert (state.retries, state.last_error) == (2, "what")
    assert "MemoryError" in caplog.text


def test_ship_once_fails_if_something_is_left(elasticsearch: BulkSink, spool: Spool) -> None:
    fill(spool, 3)
    spool.close()
    elasticsearch.answer = lambda _: (200, ODD_BULK["nulls"])
    url = f"es+http://127.0.0.1:{elasticsearch.port}"
    result = CliRunner().invoke(app, ["ship", str(spool.directory), "--to", url, "--once"])
    assert result.exit_code == 1
    assert "not one of Elasticsearch's bulk API" in result.output


def test_a_daemon_that_ends_by_itself_fails(spool: Spool, http: HttpSink) -> None:
    fill(spool, 1)
    spool.close()
    code = """
        import sys
        from logging_lib.cli.app import app
        from logging_lib.ship.shipper import Shipper
        def run(self):
            self.close()
            raise SystemExit
        Shipper.run = run
        sys.argv = ["logging-lib", "ship", sys.argv[1], "--to", sys.argv[2]]
        app()
    """
    process = python(code, spool.directory, f"http://127.0.0.1:{http.port}")
    assert process.wait(120) == 1
