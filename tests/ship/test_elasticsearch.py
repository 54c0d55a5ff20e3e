"""Straight to a real Elasticsearch: data streams, exactly once by id, refusals one by one, least privilege."""

from __future__ import annotations

import json
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch, NotFoundError
from typer.testing import CliRunner

import logging_lib
from logging_lib.cli.app import app
from logging_lib.logger.health import build_health_event
from logging_lib.logger.segments import DEAD_LETTERS, list_segments
from logging_lib.logger.spool import Spool
from logging_lib.ship.receivers import RetryError
from logging_lib.ship.shipper import Shipper
from logging_lib.ship.spool_reader import STATE, load_state
from logging_lib.ship.target import API_KEY
from tests import elasticsearch_server
from tests.ship.conftest import dead_letters, drain, fill, python

pytestmark = pytest.mark.elasticsearch(secured=False)  # the secured one here is its own: nobody deploys to it

Make = Callable[..., Shipper]
PASSWORD = "a password for one test"
COMMAND = "from logging_lib.cli import main; main()"


class Streams:
    """A namespace of its own on a real server; the template is a minimal one."""

    def __init__(self, url: str, **credentials: Any) -> None:
        self.client = Elasticsearch(url, request_timeout=300, **credentials)
        self.namespace = f"t{uuid.uuid4().hex[:12]}"
        self.url = f"es+{url}?namespace={self.namespace}"

    def make(self, dataset: str = "ml.*", **mappings: Any) -> None:
        self.client.indices.put_index_template(
            name=f"{dataset.strip('*')}{self.namespace}",
            index_patterns=[f"logs-{dataset}-{self.namespace}"],
            priority=900 if "*" in dataset else 901,
            data_stream={},
            template={
                "settings": {"number_of_shards": 1, "number_of_replicas": 0},
                "mappings": {"dynamic": False, **mappings},
            },
        )

    def documents(self, dataset: str = "ml.prediction") -> list[dict[str, Any]]:
        name = f"logs-{dataset}-{self.namespace}"
        self.client.indices.refresh(index=name)
        hits = self.client.search(index=name, size=10_000)["hits"]["hits"]
        assert all(hit["_id"] == hit["_source"]["event"]["id"] for hit in hits)
        return [hit["_source"] for hit in hits]

    def ids(self) -> list[str]:
        return sorted((d["event"]["id"] for d in self.documents()), key=lambda name: int(name.split("-")[-1]))


@pytest.fixture
def streams(elasticsearch_url: str) -> Iterator[Streams]:
    data_streams = Streams(elasticsearch_url)
    data_streams.make()
    yield data_streams
    data_streams.client.close()


def once(shipper: Shipper) -> int:
    """Ship all there is, and let the next one work."""
    try:
        return drain(shipper)
    finally:
        shipper.close()


def forget(spool: Spool) -> None:
    """As after a crash before the checkpoint."""
    (spool.directory / STATE).unlink()


def test_from_the_spool_to_the_data_streams(spool: Spool, ship: Make, streams: Streams) -> None:
    ids = fill(spool, 30)
    spool.write(json.dumps(build_health_event(10**18, interval=60, shipped=1)).encode() + b"\n")
    before = datetime.now(UTC)
    assert once(ship(spool, streams.url)) == 31
    assert streams.ids() == ids
    ingested = [datetime.fromisoformat(d["event"]["ingested"]) for d in streams.documents()]
    assert all(before <= moment <= datetime.now(UTC) for moment in ingested)
    (health,) = streams.documents("ml.health")
    assert health["ml"]["health"]["shipped"] == 1
    assert health["@timestamp"] == "2001-09-09T01:46:40.000000Z"
    state = load_state(spool.directory)
    assert (state.shipped, state.duplicates, state.dead_lettered) == (31, 0, 0)
    spool.close()
    once(ship(spool, streams.url))
    assert list_segments(spool.directory) == []


def test_the_time_of_arrival_is_ours_whatever_a_line_says(spool: Spool, ship: Make, streams: Streams) -> None:
    event = build_health_event(10**18, interval=60)
    event["event"]["ingested"] = "1999-01-01T00:00:00Z"
    spool.write(json.dumps(event).encode() + b"\n")
    assert once(ship(spool, streams.url)) == 1
    (stored,) = streams.documents("ml.health")
    assert stored["event"]["ingested"] > "2026"


def test_a_redelivery_within_a_backing_index_is_stored_once_and_counted(
    spool: Spool, ship: Make, streams: Streams
) -> None:
    ids = fill(spool, 5)
    assert once(ship(spool, streams.url)) == 5
    forget(spool)
    ids += fill(spool, 2, first=5)
    assert once(ship(spool, streams.url)) == 7
    assert streams.ids() == ids
    state = load_state(spool.directory)
    assert (state.shipped, state.duplicates, state.dead_lettered) == (7, 5, 0)
    text = CliRunner().invoke(app, ["ship", str(spool.directory), "--status"]).output
    assert "duplicate  5 events that the receiver already had" in text


def test_a_redelivery_across_a_rollover_is_stored_twice_and_its_ids_count_once(
    spool: Spool, ship: Make, streams: Streams
) -> None:
    ids = fill(spool, 3)
    assert once(ship(spool, streams.url)) == 3
    name = f"logs-ml.prediction-{streams.namespace}"
    assert streams.client.indices.rollover(alias=name)["rolled_over"]
    forget(spool)
    assert once(ship(spool, streams.url)) == 3
    assert load_state(spool.directory).duplicates == 0
    assert Counter(streams.ids()) == dict.fromkeys(ids, 2)
    counted = streams.client.search(
        index=name,
        size=0,
        runtime_mappings={"id": {"type": "keyword", "script": "emit(params._source.event.id)"}},
        aggs={"events": {"cardinality": {"field": "id"}}},
    )
    assert counted["aggregations"]["events"]["value"] == 3


def test_a_shipper_that_is_killed_again_and_again(tmp_path: Path, ship: Make, streams: Streams) -> None:
    spool = Spool(tmp_path / "spool", rotate_bytes=200_000)
    ids = fill(spool, 4000)
    for count in (1, 2):
        process = python(COMMAND, "ship", spool.directory, "--to", streams.url)
        while load_state(spool.directory).shipped < 1000 * count and process.poll() is None:
            continue
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    once(ship(spool, streams.url))
    assert streams.ids() == ids
    spool.close()


def test_a_rejected_document_is_refused_alone_with_elasticsearch_s_reason(
    spool: Spool, ship: Make, streams: Streams, valid: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    streams.make("ml.prediction", properties={"labels": {"properties": {"size": {"type": "long"}}}})
    ids = fill(spool, 20)
    log = logging_lib.configure(model="m", version="1", spool=spool, report_every=None)
    log.prediction({"n": 1}, 1.0, event_id="bad-20", size="large")
    log.prediction({"n": 1}, 1.0, event_id="good-21", size="3")
    ids += ["good-21", *fill(spool, 20, first=22)]
    assert once(ship(spool, streams.url)) == 42 + 1
    assert streams.ids() == ids
    (letter,) = map(valid, dead_letters(spool.directory))
    assert letter["error"]["message"].startswith("the receiver answered: 400 document_parsing_exception: ")
    assert "failed to parse field [labels.size] of type [long]" in letter["error"]["message"]
    assert json.loads(letter["event"]["original"])["event"]["id"] == "bad-20"
    (stored,) = streams.documents("ml.deadletter")
    del stored["event"]["ingested"]
    assert stored == letter
    state = load_state(spool.directory)
    assert (state.shipped, state.dead_lettered) == (42, 1)


def test_a_dead_letter_that_is_refused_too_ends_there(
    spool: Spool, ship: Make, streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    streams.make("ml.prediction", dynamic="strict")
    streams.make("ml.deadletter", dynamic="strict")
    fill(spool, 3)
    shipper = ship(spool, streams.url)
    assert drain(shipper) == 3 + 3
    assert drain(shipper) == 0
    letters = dead_letters(spool.directory)
    assert ["strict_dynamic_mapping_exception" in letter["error"]["message"] for letter in letters] == [
        True
    ] * 3
    assert caplog.messages[0].startswith("3 dead letters refused again, still in ")
    state = load_state(spool.directory)
    assert (state.shipped, state.dead_lettered) == (0, 3)


def test_refused_events_are_sent_again_after_the_mapping_is_fixed(
    spool: Spool, ship: Make, streams: Streams
) -> None:
    streams.make("ml.prediction", dynamic="strict")
    ids = fill(spool, 3)
    once(ship(spool, streams.url))
    streams.make("ml.prediction", dynamic=False)
    streams.client.indices.rollover(alias=f"logs-ml.prediction-{streams.namespace}")
    arguments = ["ship", str(spool.directory), "--replay-dead-letters", "--to", streams.url, "--once"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "3 events put back into the spool" in done.output
    assert "3 events shipped" in done.output
    assert streams.ids() == ids


@pytest.fixture
def bare(secured_url: str) -> Iterator[Streams]:
    """A namespace without a template, on the server to which nobody deploys any."""
    data_streams = Streams(secured_url, basic_auth=("elastic", PASSWORD))
    data_streams.url = data_streams.url.replace("://", f"://elastic:{PASSWORD.replace(' ', '%20')}@")
    yield data_streams
    data_streams.client.close()


def test_without_a_template_nothing_is_made_and_the_remedy_is_named(
    bare: Streams, spool: Spool, ship: Make
) -> None:
    streams = bare
    ids = fill(spool, 3)
    shipper = ship(spool, streams.url)
    with pytest.raises(RetryError, match=r"404 index_not_found_exception: .*logging-lib stack deploy"):
        drain(shipper)
    with pytest.raises(NotFoundError):
        streams.documents()
    streams.make()
    assert drain(shipper) == 3
    assert streams.ids() == ids
    assert dead_letters(spool.directory) == []


def test_a_plain_index_in_the_way_is_left_alone(bare: Streams, spool: Spool, ship: Make) -> None:
    streams = bare
    streams.client.indices.create(index=f"logs-ml.prediction-{streams.namespace}")
    fill(spool, 1)
    with pytest.raises(RetryError, match=r"404 resource_not_found_exception: .*a plain index stands where"):
        once(ship(spool, streams.url))
    assert streams.documents() == []
    streams.client.indices.delete(index=f"logs-ml.prediction-{streams.namespace}")


def test_foreign_lines_do_not_block_the_rest(spool: Spool, ship: Make, streams: Streams) -> None:
    deep = b'{"event":{"id":"deep","dataset":"ml.health"},"x":' + b"[" * 500 + b"]" * 500 + b"}"
    invalid = {
        "no event.id": b'{"model": "loans"}',
        "event.id: expected a text of 1 to 512 bytes": json.dumps(build_health_event(1, interval=1)
        | {"event": {"id": "i" * 513, "dataset": "ml.health"}}).encode(),
        "event.dataset: expected one of ml.prediction": b'{"event":{"id":"x","dataset":["ml.health"]}}',
        "it cannot be encoded": deep,
        "field [@timestamp] is missing": b'{"event":{"id":"timeless","dataset":"ml.health"}}',
    }  # fmt: skip
    ids = fill(spool, 2)
    for line in invalid.values():
        spool.write(line + b"\n")
    ids += fill(spool, 2, first=2)
    assert once(ship(spool, streams.url)) == 4 + 2 * len(invalid)
    assert streams.ids() == ids
    messages = [letter["error"]["message"] for letter in dead_letters(spool.directory)]
    assert [text in message for text, message in zip(invalid, messages, strict=True)] == [True] * len(invalid)
    assert len(streams.documents("ml.deadletter")) == len(invalid)


def test_a_service_ships_in_the_background(tmp_path: Path, streams: Streams) -> None:
    code = """
    import json, pathlib, sys, time, logging_lib
    log = logging_lib.configure(model="m", version="1", spool=sys.argv[1], ship_to=sys.argv[2])
    for n in range(50):
        log.prediction({"n": n}, 1.0, event_id=f"e-{n}")
    state, limit = pathlib.Path(sys.argv[1], ".ship.json"), time.monotonic() + 600
    while not (state.exists() and json.loads(state.read_text())["shipped"] >= 50) and time.monotonic() < limit:
        time.sleep(0.1)
    """
    assert python(code, tmp_path / "spool", streams.url).wait(900) == 0
    assert streams.ids() == [f"e-{n}" for n in range(50)]


@pytest.mark.parametrize("namespace", ["team_ä.1", "+prod", "a" * 100, "."])
def test_elasticsearch_takes_each_namespace_that_we_take(
    namespace: str, spool: Spool, ship: Make, elasticsearch_url: str
) -> None:
    streams = Streams(elasticsearch_url)
    streams.namespace = namespace
    streams.make()
    fill(spool, 1)
    url = f"es+{elasticsearch_url}?namespace={namespace.replace('+', '%2B')}"
    assert once(ship(spool, url)) == 1
    assert load_state(spool.directory).dead_lettered == 0
    streams.client.close()


# ── with security ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def secured_url() -> Iterator[str]:
    try:
        with elasticsearch_server.running(password=PASSWORD) as url:
            yield url
    except elasticsearch_server.Unavailable as reason:
        pytest.skip(f"NO SECURED ELASTICSEARCH WAS TESTED: {reason}")


@pytest.fixture
def secured(secured_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Streams]:
    monkeypatch.delenv(API_KEY, raising=False)
    data_streams = Streams(secured_url, basic_auth=("elastic", PASSWORD))
    data_streams.make()
    yield data_streams
    data_streams.client.close()


def key_with(secured: Streams, pattern: str, *privileges: str) -> Any:
    role = {"indices": [{"names": [pattern], "privileges": list(privileges)}]}
    return secured.client.security.create_api_key(name="ship", role_descriptors={"ship": role})


@pytest.mark.parametrize("form", ["encoded", "id:key"])
def test_the_least_privilege_that_a_key_needs(
    form: str, spool: Spool, ship: Make, secured: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_with(secured, "logs-ml.*", "create_doc", "auto_configure")
    monkeypatch.setenv(API_KEY, key["encoded"] if form == "encoded" else f"{key['id']}:{key['api_key']}\n")
    ids = fill(spool, 3)
    assert once(ship(spool, secured.url)) == 3
    forget(spool)
    assert once(ship(spool, secured.url)) == 3
    assert load_state(spool.directory).duplicates == 3
    assert secured.ids() == ids
    with pytest.raises(ApiError, match="security_exception"):
        Elasticsearch(secured.client.transport.node_pool.get().base_url, api_key=key["encoded"]).search()


@pytest.mark.parametrize(
    ("pattern", "privileges"),
    [
        ("logs-ml.*", ["create_doc"]),  # cannot make the data stream
        ("logs-ml.*", ["auto_configure"]),
        ("logs-ml.health-*", ["create_doc", "auto_configure"]),
    ],
)
def test_a_key_that_may_not_write_blames_no_event(
    pattern: str,
    privileges: list[str],
    spool: Spool,
    ship: Make,
    secured: Streams,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(API_KEY, key_with(secured, pattern, *privileges)["encoded"])
    fill(spool, 3)
    spool.write(json.dumps(build_health_event(1, interval=1)).encode() + b"\n")
    with pytest.raises(
        RetryError, match=r"403 security_exception.*create_doc and auto_configure on logs-ml\.\*"
    ):
        once(ship(spool, secured.url))
    assert not (spool.directory / DEAD_LETTERS).exists()


def test_a_user_and_a_password_authenticate_the_shipper(
    spool: Spool, ship: Make, secured: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fill(spool, 3)
    with pytest.raises(
        RetryError, match=r"401 security_exception.*LOGGING_LIB_ELASTICSEARCH_API_KEY"
    ) as caught:
        once(ship(spool, secured.url.replace("://", "://elastic:wrong@")))
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv(API_KEY, "the-url-goes-before-it")
    with_user = secured.url.replace("://", f"://elastic:{PASSWORD.replace(' ', '%20')}@")
    assert once(ship(spool, with_user)) == 3
    assert secured.ids() == ids


def test_a_key_that_does_not_exist(
    spool: Spool, ship: Make, secured: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY, "bm9uZTpub25l")
    fill(spool, 1)
    with pytest.raises(RetryError, match="401 security_exception"):
        once(ship(spool, secured.url))
