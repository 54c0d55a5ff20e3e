"""Checks for stored foreign events, on a real Elasticsearch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from logging_lib import profile as profiles
from logging_lib.logger.checks import Checker
from logging_lib.normalize import normalize
from logging_lib.store import annotate as job
from logging_lib.store.connection import BulkOutcome, Connection
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.profiles import publish
from tests.foreign_events import NOW, Call, foreign
from tests.store import elastic

WRONG = {"home": "Rented", "income": "1,5", "count": "3", "title": "zorgverlener", "opened": 1304208000}


def test_a_stored_event_gets_the_checks_that_it_would_have_got_on_the_way(
    own: profiles.Profile, inputs: dict[str, Any]
) -> None:
    """Normalized without a profile and annotated later, or with the profile at once: the same document."""
    checker = Checker(own, foreign=True)
    for logged in (inputs, inputs | WRONG, {}, inputs | {"new": 1, "count": None, "income": "N/A"}):
        raw = {"model": own.model, "version": "1", "timestamp": NOW.isoformat(), "inputs": logged, "id": "a"}
        raw |= {"prediction": 11.5, "probability": 0.5}
        stored = normalize(raw).document
        assert stored["ml"]["profile"] == {"status": "none"}
        at_once = normalize(raw, checks=lambda model, version: checker).document
        annotated = job.add_checks(stored, checker)
        assert annotated["ml"].get("check") == at_once["ml"].get("check")
        assert annotated["ml"]["prediction"] == at_once["ml"]["prediction"]
        assert annotated["ml"]["profile"] == at_once["ml"]["profile"]
        assert annotated["ml"]["input"]["bins"] == at_once["ml"]["input"]["bins"]
        assert "check" not in stored["ml"], "the stored document is not touched"


class Interrupted(Exception):  # noqa: N818
    pass


class Stopping:
    """The store, until it has replaced so many pages."""

    def __init__(self, store: ElasticsearchStore, pages: int) -> None:
        self._store, self._pages = store, pages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def replace(
        self, changes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> Iterator[BulkOutcome]:
        if self._pages == 0:
            raise Interrupted
        self._pages -= 1
        return self._store.replace(changes)


def count(store: ElasticsearchStore, stream: str, query: Mapping[str, Any]) -> int:
    body = {"size": 0, "track_total_hits": True, "query": query}
    total: int = store.search(stream, body)["hits"]["total"]["value"]
    return total


@pytest.fixture
def stream(own: profiles.Profile, inputs: dict[str, Any], elasticsearch: Connection) -> str:
    """90 foreign events of the model, a third of them with faults, and ten of a model without a profile."""
    store, name = elastic.store(elasticsearch), elastic.new_stream()
    events = [foreign(own, inputs | (WRONG if n % 3 == 0 else {}), n) for n in range(90)]
    unknown = [foreign(own, inputs, 100 + n, model=own.model + "-unknown") for n in range(10)]
    assert store.index(name, [*events, *unknown]).failed == ()
    store.refresh()
    return name


@pytest.mark.elasticsearch
def test_a_stopped_run_continues_where_it_stopped(
    own: profiles.Profile, stream: str, elasticsearch: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event is lost, none is checked twice, and those without a profile stay countable."""
    monkeypatch.setattr(job, "PAGE", 20)
    store = elastic.store(elasticsearch)
    with pytest.raises(Interrupted):
        job.annotate(Stopping(store, 2), [own])  # type: ignore[arg-type]
    store.refresh()
    assert count(store, stream, {"term": {"ml.profile.status": "matched"}}) == 40
    advanced: list[int] = []
    result = job.annotate(store, [own], advance=advanced.append)
    assert (result.annotated, result.conflicts, result.failed) == (50, 0, [])
    assert advanced == [20, 20, 10]
    assert job.annotate(store, [own]).annotated == 0
    assert count(store, stream, {"term": {"ml.check.unseen": "home"}}) == 30
    assert count(store, stream, {"term": {"ml.check.wrong_type": "income"}}) == 30
    assert count(store, stream, {"term": {"ml.input.bins": "home=!unseen"}}) == 30
    assert count(store, stream, {"term": {"ml.input.numeric.count": 3}}) == 30
    assert count(store, stream, {"match_all": {}}) == 100
    assert job.count_unchecked(store)[own.model + "-unknown", "1"] >= 10
    assert (own.model, "1") not in job.count_unchecked(store)


@pytest.mark.elasticsearch
def test_an_event_that_was_changed_meanwhile_is_left_for_the_next_run(
    own: profiles.Profile, stream: str, elasticsearch: Connection
) -> None:
    store = elastic.store(elasticsearch)

    class Racing(Stopping):
        def replace(
            self, changes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
        ) -> Iterator[BulkOutcome]:
            all_changes = list(changes)
            hit = all_changes[0][0]
            list(store.replace([(hit, {**hit["_source"], "labels": {"by": "somebody"}})]))
            return store.replace(all_changes)

    result = job.annotate(Racing(store, 9), [own])  # type: ignore[arg-type]
    assert (result.annotated, result.conflicts) == (89, 1)
    assert job.annotate(store, [own]).annotated == 1
    both = [{"term": {"labels.by": "somebody"}}, {"term": {"ml.profile.status": "matched"}}]
    assert count(store, stream, {"bool": {"filter": both}}) == 1


@pytest.mark.elasticsearch
def test_the_command_reports_what_it_did_and_what_is_left(
    call: Call, own: profiles.Profile, stream: str, elasticsearch: Connection
) -> None:
    publish(elastic.store(elasticsearch), own, now=NOW)
    first = json.loads(call("annotate", "--json").stdout)
    assert first["done"] >= 90
    left = {entry["model"]: entry["events"] for entry in first["unchecked"]}
    assert own.model not in left
    assert left[own.model + "-unknown"] >= 10
    again = call("annotate").stdout
    assert "0 events checked" in again
    assert f"events of {own.model}-unknown 1 left unchecked: no profile is published" in again
    assert "--every soon: not a duration" in call("annotate", "--every", "soon", code=2).stderr


@pytest.mark.elasticsearch
def test_following_reads_events_as_they_arrive(
    call: Call,
    own: profiles.Profile,
    stream: str,
    inputs: dict[str, Any],
    elasticsearch: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look takes what came since; it ends with the keyboard's interrupt."""
    from logging_lib.cli import annotate as command

    store = elastic.store(elasticsearch)
    publish(store, own, now=NOW)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt
        late = foreign(own, inputs | WRONG, 1000 + len(waits))
        store.index(stream, [late])
        store.refresh()

    monkeypatch.setattr(command.time, "sleep", sleep)
    said = call("annotate", "--follow", "--every", "5s").stdout
    assert waits == [5.0, 5.0, 5.0]
    assert said.count("1 event checked") == 2
    assert count(store, stream, {"term": {"ml.check.unseen": "home"}}) == 32
