"""Answers of a server in front of Elasticsearch, by a real HTTP server that behaves as a test configures it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import logging_lib
from logging_lib.logger.segments import DEAD_LETTERS
from logging_lib.logger.spool import Spool
from logging_lib.ship import background
from logging_lib.ship.elasticsearch import ElasticsearchReceiver
from logging_lib.ship.receivers import RetryError, create_receiver
from logging_lib.ship.shipper import Shipper
from logging_lib.ship.spool_reader import load_state
from logging_lib.ship.target import API_KEY, parse_target
from tests.ship.conftest import dead_letters, drain, fill
from tests.ship.receivers import BulkSink

Make = Callable[..., Shipper]


@pytest.fixture
def sink() -> Iterator[BulkSink]:
    with BulkSink() as sink:
        yield sink


def url(sink: BulkSink) -> str:
    return f"es+http://127.0.0.1:{sink.port}/search?namespace=prod"


def error(kind: str, reason: str = "why") -> dict[str, Any]:
    return {"type": kind, "reason": reason}


def whole(status: int, kind: str, reason: str = "why") -> Callable[[list[dict[str, Any]]], tuple[int, str]]:
    """An answer for the request as a whole, in Elasticsearch's form."""
    text = json.dumps({"error": error(kind, reason), "status": status})
    return lambda events: (status, text)


def ids(sink: BulkSink) -> list[str]:
    return [event["event"]["id"] for event in sink.events]


def test_a_batch_is_one_request_of_creates(sink: BulkSink, spool: Spool, ship: Make) -> None:
    names = fill(spool, 3)
    assert drain(ship(spool, url(sink))) == 3
    (request,) = sink.requests
    assert request["path"].startswith("/search/_bulk?")
    assert "require_data_stream=true" in request["path"]
    assert "authorization" not in request
    assert sink.actions == [{"create": {"_index": "logs-ml.prediction-prod", "_id": name}} for name in names]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_temporary_error_is_not_repeated_by_the_client_but_retried_by_the_shipper(
    status: int, sink: BulkSink, spool: Spool, ship: Make
) -> None:
    names = fill(spool, 3)
    sink.answer = whole(status, "es_rejected_execution_exception")
    shipper = ship(spool, url(sink))
    with pytest.raises(RetryError, match=rf"/search: {status} es_rejected_execution_exception: why"):
        drain(shipper)
    assert len(sink.requests) == 1
    sink.answer = sink.answer_bulk
    assert drain(shipper) == 3
    assert ids(sink) == names
    assert dead_letters(spool.directory) == []


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (429, "es_rejected_execution_exception", "429 es_rejected_execution_exception: why"),
        (503, "unavailable_shards_exception", "503 unavailable_shards_exception: why"),
        (403, "security_exception", "privileges create_doc and auto_configure"),
        (403, "cluster_block_exception", "403 cluster_block_exception: why$"),
        (404, "index_not_found_exception", "logging-lib stack deploy"),
        (400, "index_closed_exception", "400 index_closed_exception"),
        (400, "validation_exception", "400 validation_exception"),
    ],
)
def test_an_event_that_the_store_cannot_take_now_is_sent_again_and_what_was_stored_is_a_duplicate(
    status: int, kind: str, said: str, sink: BulkSink, spool: Spool, ship: Make
) -> None:
    fill(spool, 4)
    sink.verdict = lambda event: (status, error(kind)) if event["event"]["id"] == "e-2" else (201, None)
    shipper = ship(spool, url(sink))
    with pytest.raises(RetryError, match=said):
        drain(shipper)
    sink.verdict = lambda event: (
        (201, None) if event["event"]["id"] == "e-2" else (409, error("version_conflict_engine_exception"))
    )
    assert drain(shipper) == 4
    state = load_state(spool.directory)
    assert (state.shipped, state.duplicates, state.dead_lettered) == (4, 3, 0)
    assert not (spool.directory / DEAD_LETTERS).exists()


def test_refused_events_are_named_by_the_answer_and_nothing_is_split(
    sink: BulkSink, spool: Spool, ship: Make
) -> None:
    fill(spool, 9)
    reason = {
        **error("document_parsing_exception", "failed to parse field [x]\n\x1b[31mforged"),
        "caused_by": error("illegal_argument_exception", 'For input string: "a"'),
    }
    sink.verdict = lambda event: (400, reason) if event["event"]["id"] in ("e-0", "e-8") else (201, None)
    assert drain(ship(spool, url(sink))) == 9 + 2
    assert sink.batches == [9, 2]
    letters = dead_letters(spool.directory)
    assert [json.loads(letter["event"]["original"])["event"]["id"] for letter in letters] == ["e-0", "e-8"]
    assert letters[0]["error"]["message"] == (
        "the receiver answered: 400 document_parsing_exception: failed to parse field [x] [31mforged; "
        'caused by illegal_argument_exception: For input string: "a"'
    )
    assert [action["create"]["_index"] for action in sink.actions[9:]] == ["logs-ml.deadletter-prod"] * 2


@pytest.mark.parametrize(
    ("status", "body"),
    [(413, "<html>Request Entity Too Large</html>"),
     (413, '{"error": {"type": "too_long_http_content_exception"}, "status": 413}'),
     (400, '{"error": {"type": "action_request_validation_exception", "reason": "id [...] is too long"}}')],
)  # fmt: skip
def test_a_batch_that_is_refused_as_a_whole_is_split(
    status: int, body: str, sink: BulkSink, spool: Spool, ship: Make
) -> None:
    def answer(events: list[dict[str, Any]]) -> tuple[int, str]:
        refuse = any(event["event"]["id"] == "e-4" for event in events)
        sink.headers["Content-Type"] = "text/html" if refuse and body[0] == "<" else "application/json"
        return (status, body) if refuse else sink.answer_bulk(events)

    fill(spool, 6)
    sink.answer = answer
    assert drain(ship(spool, url(sink))) == 6 + 1
    assert ids(sink)[:5] == ["e-0", "e-1", "e-2", "e-3", "e-5"]
    (letter,) = dead_letters(spool.directory)
    assert letter["error"]["message"].startswith(f"the receiver answered: {status} ")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, '{"error": {"type": "media_type_header_exception", "reason": "x"}}', "pip install 'elasticsearch<9'"),
        (400, '{"error": {"type": "illegal_argument_exception", "reason": "unrecognized"}}', "400 illegal_arg"),
        (400, "The plain HTTP request was sent to HTTPS port", "400 The plain HTTP request"),
        (401, '{"error": {"type": "security_exception", "reason": "x"}}', "LOGGING_LIB_ELASTICSEARCH_API_KEY"),
        (404, "<h1>not here</h1>", "404 <h1>not here</h1>$"),
        (200, '{"errors": false', "the answer is not JSON"),
        (200, '{"errors": false, "items": []}', "not one of Elasticsearch's bulk API"),
        (200, '{"items": [{"create": {}}]}', "not one of Elasticsearch's bulk API"),
        (200, '{"items": [{"create": {"status": "x"}}]}', "not one of Elasticsearch's bulk API"),
        (200, '{"items": [{}]}', "not one of Elasticsearch's bulk API"),
        (200, '{"items": 3}', "not one of Elasticsearch's bulk API"),
        (200, "[]", "not one of Elasticsearch's bulk API"),
        (200, "", "not one of Elasticsearch's bulk API|not JSON"),
    ],
)  # fmt: skip
def test_an_answer_about_the_request_blames_no_event(
    status: int, body: str, said: str, sink: BulkSink, spool: Spool, ship: Make
) -> None:
    fill(spool, 1)
    sink.answer = lambda events: (status, body)
    if body and body[0] not in "{[":
        sink.headers["Content-Type"] = "text/html"
    with pytest.raises(RetryError, match=said):
        drain(ship(spool, url(sink)))
    assert len(sink.requests) == 1
    assert dead_letters(spool.directory) == []


@pytest.mark.parametrize("kind", ["application/json", "text/html", "application/x-unknown", ""])
def test_a_server_other_than_elasticsearch_is_named(
    kind: str, sink: BulkSink, spool: Spool, ship: Make
) -> None:
    fill(spool, 1)
    sink.headers = {"Content-Type": kind} if kind else {}
    sink.answer = lambda events: (200, '{"items": [{"create": {"status": 201}}]}')
    with pytest.raises(RetryError, match=r"not Elasticsearch|application/x-unknown"):
        drain(ship(spool, url(sink)))


def test_a_redirect_is_not_followed(sink: BulkSink, spool: Spool, ship: Make) -> None:
    fill(spool, 1)
    with BulkSink() as elsewhere:
        sink.headers = {"Location": f"http://127.0.0.1:{elsewhere.port}/_bulk"}
        sink.answer = lambda events: (302, "")
        with pytest.raises(RetryError, match=r"302.*redirects are not followed"):
            drain(ship(spool, url(sink)))
        assert elsewhere.requests == []


def test_events_wait_until_a_server_is_up(spool: Spool, ship: Make) -> None:
    names = fill(spool, 3)
    with BulkSink() as sink:
        port = sink.port
    shipper = ship(spool, f"es+http://127.0.0.1:{port}")
    with pytest.raises(RetryError, match="Connection refused"):
        drain(shipper)
    with BulkSink(port) as sink:
        assert drain(shipper) == 3
        shipper._receiver.close()
        names += fill(spool, 1, first=3)
        assert drain(shipper) == 1  # over a connection of its own
        assert ids(sink) == names


def test_a_server_that_answers_too_late(sink: BulkSink, spool: Spool, ship: Make) -> None:
    import threading

    released = threading.Event()

    def late(events: list[dict[str, Any]]) -> tuple[int, str]:
        released.wait(300)
        return sink.answer_bulk(events)

    fill(spool, 1)
    sink.answer = late
    with pytest.raises(RetryError, match="timed out"):
        drain(ship(spool, url(sink), timeout=0.2))
    released.set()
    assert len(sink.requests) == 1


def test_a_client_that_fails_says_so_once_and_by_our_logger_alone(
    sink: BulkSink, spool: Spool, ship: Make, caplog: pytest.LogCaptureFixture
) -> None:
    fill(spool, 1)
    sink.answer = whole(503, "unavailable")
    turns = iter([False] * 4 + [True])
    ship(spool, url(sink), wait=lambda _: next(turns)).run()
    assert len(sink.requests) == 5
    warnings = [record.name for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["logging_lib.ship"]


def test_user_and_key_go_into_the_header_and_nowhere_else(
    sink: BulkSink, spool: Spool, ship: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY, " id:secret\n")
    fill(spool, 1)
    shipper = ship(spool, url(sink))
    assert drain(shipper) == 1
    assert sink.requests[0]["authorization"] == "ApiKey aWQ6c2VjcmV0"
    shipper.close()
    monkeypatch.setenv(API_KEY, "aWQ6c2VjcmV0")
    fill(spool, 1)
    shipper = ship(spool, url(sink))
    assert drain(shipper) == 1
    assert sink.requests[1]["authorization"] == "ApiKey aWQ6c2VjcmV0"
    shipper.close()
    fill(spool, 1)
    assert drain(ship(spool, url(sink).replace("://", "://u:p%40@"))) == 1
    assert sink.requests[2]["authorization"] == "Basic dTpwQA=="


@pytest.mark.parametrize("key", ["two words", "a\nb: c", "schlüssel"])
def test_an_invalid_api_key_is_refused(key: str, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY, key)
    with pytest.raises(ValueError, match="LOGGING_LIB_ELASTICSEARCH_API_KEY in the environment") as caught:
        create_receiver(parse_target("es+http://127.0.0.1:1"))
    assert key not in str(caught.value)


def test_a_background_shipper_that_cannot_begin_says_why(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(API_KEY, "two words")
    started: list[Any] = []
    monkeypatch.setattr(background._BackgroundShipper, "start", lambda self: started.append(self))
    log = logging_lib.configure(model="m", version="1", spool=spool, ship_to="es+http://127.0.0.1:1")
    log.prediction({"n": 1}, 1.0)
    started[0]._run()
    assert "is not shipped in the background: LOGGING_LIB_ELASTICSEARCH_API_KEY" in caplog.text


def test_without_the_client_the_extra_is_named(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elasticsearch", None)
    with pytest.raises(ValueError, match=r"pip install 'logging-lib\[elasticsearch\]'"):
        logging_lib.configure(model="m", version="1", spool=spool, ship_to="es+http://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"pip install 'logging-lib\[elasticsearch\]'"):
        create_receiver(parse_target("es+http://127.0.0.1:1"))
    logging_lib.configure(model="m", version="1", spool=spool)


def test_an_invalid_host_name_is_refused(spool: Spool, ship: Make) -> None:
    fill(spool, 1)
    with pytest.raises(RetryError, match=r"es\+http"):
        drain(ship(spool, f"es+http://{'a' * 70}.invalid"))


def test_events_keep_their_bytes_but_for_the_time_of_arrival(sink: BulkSink, spool: Spool) -> None:
    fill(spool, 1)
    (line,) = next(spool.directory.glob("*.jsonl")).read_bytes().splitlines()
    receiver = ElasticsearchReceiver(parse_target(url(sink)), clock=lambda: 10**18)
    receiver.send([line])
    receiver.close()
    (stored,) = sink.events
    assert stored["event"].pop("ingested") == "2001-09-09T01:46:40.000000Z"
    assert stored == json.loads(line)
