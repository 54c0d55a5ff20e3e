"""All ticks of a search from one pass over the events, against the store's own answer at each tick."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logging_lib._util import content
from logging_lib.store.connection import Connection
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import DelegatingStore, Store, StoreError
from logging_lib.store.sandbox import Sandbox
from logging_lib.watch.backtest import backtest
from logging_lib.watch.backtest.answers import to_builtins
from logging_lib.watch.backtest.asof import AsOf
from logging_lib.watch.backtest.history import EventHistory, ScheduledTick
from logging_lib.watch.evaluate import SearchFunction, new_context, store_search
from logging_lib.watch.loading import load_watches, parse_watch
from logging_lib.watch.model import Definition, SearchRequest, Watch

START = datetime(2018, 2, 1, tzinfo=UTC)
MINUTES = 60 * 24 * 3
WATCHES = load_watches(content.path("watchers"))
FEATURES = ["income", "age", "a.b", "=", "!x"]
BINS = [f"{name}={part}" for name in ("income", "age") for part in ("low", "high", "!missing")]


def maybe(draw: random.Random, value: Any, chance: float = 0.8) -> Any:
    return value if draw.random() < chance else None


def some(draw: random.Random, values: list[str], most: int = 3) -> list[str] | None:
    return maybe(draw, draw.choices(values, k=draw.randrange(most + 1)), 0.6)


def arrival(draw: random.Random) -> datetime:
    """Often exactly on the grid of the ticks, or a millisecond beside it."""
    at = START + timedelta(minutes=draw.randrange(MINUTES))
    if draw.random() < 0.5:
        at = at.replace(minute=at.minute // 15 * 15)
    return at + timedelta(milliseconds=draw.choice([0, 0, -1, 1, 500]))


def text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event(draw: random.Random, number: int, several: Sequence[list[str]] = ()) -> tuple[str, dict[str, Any]]:
    dataset = draw.choice(
        ["prediction", "prediction", "prediction", "label", "health", "start", "deadletter"]
    )
    came = arrival(draw)
    happened = came - timedelta(seconds=draw.choice([0, 1, 90, 100_000]))
    about = {"name": draw.choice(["m", "n"]), "version": draw.choice(["1", "2"]), "role": "live"}
    if draw.random() < 0.2:
        about["role"] = "shadow"
    ml: dict[str, Any] = {"schema_version": 1, "sample": {"weight": draw.choice([1, 1.0, 10 / 3, 2.5])}}
    if dataset != "health" or draw.random() < 0.5:
        ml["model"] = about
    document: dict[str, Any] = {
        "@timestamp": text(happened),
        "event": {"id": f"e{number}", "dataset": f"ml.{dataset}", "ingested": text(came)},
        "process": {"pid": draw.randrange(4)},
        "ml": ml,
    }
    if draw.random() < 0.8:
        document["service"] = {"name": draw.choice(["s", "t"])}
        document["host"] = {"name": draw.choice(["h", "i"])}
    match dataset:
        case "prediction":
            document["event"] |= {
                "outcome": draw.choice(["success", "success", "failure"]),
                "duration": maybe(draw, draw.randrange(10**9)),
            }
            ml["profile"] = {"status": draw.choice(["matched", "matched", "mismatch", "none"])}
            ml["input"] = {"bins": some(draw, BINS)}
            ml["check"] = {
                name: some(draw, FEATURES)
                for name in ("missing", "absent", "unseen", "out_of_range", "oov", "unexpected", "not_finite")
            }
            ml["check"]["unseen_values"] = some(draw, ["income=x", "age=y"])
            ml["text"] = {"oov_words": some(draw, ["income=w"])}
            ml["prediction"] = {
                "value": maybe(draw, draw.gauss(0, 1)),
                "bin": maybe(draw, draw.choice(["[0,1)", "!below", "!nonfinite", "!missing", *several])),
            }
        case "label":
            error = draw.gauss(0, 1)
            ml["label"] = {
                "joined": draw.random() < 0.8, "error": maybe(draw, error), "absolute_error": abs(error),
                "squared_error": error**2, "label": maybe(draw, draw.choice(["yes", "no"])),
            }  # fmt: skip
            ml["prediction"] = {"label": draw.choice(["yes", "no"]), "timestamp": text(happened)}
        case "health":
            ml["health"] = {
                "logged": draw.randrange(100), "dropped": maybe(draw, draw.randrange(3)),
                "cpu": {"pct": draw.random()}, "memory": {"rss": draw.randrange(10**9)},
                "disk": {"used_pct": draw.random(), "free": draw.randrange(10**9)},
                "backlog": {"age": maybe(draw, draw.random() * 1000)},
            }  # fmt: skip
        case "start":
            ml["start"] = {"libraries": ["numpy=2.0"]}
        case "deadletter":
            ml["deadletter"] = {"stage": draw.choice(["parse", "index"])}
            document["error"] = {"type": draw.choice(["json", "mapping"])}
    if draw.random() < 0.05:
        document["ml.profile.id"] = "dotted"
        document["event"]["duration"] = "17"  # brought into form by the mapping
    return f"logs-ml.{dataset}-default", document


def fill(store: Store, seed: int, events: int) -> None:
    """Index events and a profile."""
    draw = random.Random(seed)
    streams: dict[str, list[dict[str, Any]]] = {}
    for number in range(events):
        target, document = event(draw, number, [["[0,1)", "!below"], ["!none"], []] if seed % 2 else [])
        streams.setdefault(target, []).append(document)
    for target, documents in streams.items():
        assert not store.index(target, documents).failed
    store.index("ml-profiles", [{"_id": "m:1", "ml": {"model": {"name": "m", "version": "1"}}}])
    store.refresh()


def filled(seed: int, events: int) -> EmbeddedStore:
    store = EmbeddedStore(None)
    fill(store, seed, events)
    return store


def unlike(
    left: Any, right: Any, percentiles: float = 1e-12, path: str = "", tolerance: float = 1e-12
) -> Iterator[str]:
    """Where two answers do not say the same; ``percentiles``: how far these may be apart."""
    if isinstance(left, Mapping) and isinstance(right, Mapping) and left.keys() == right.keys():
        for key in left.keys() - {"took", "_shards"}:
            near = percentiles if key == "values" else tolerance
            yield from unlike(left[key], right[key], percentiles, f"{path}.{key}", near)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for place, pair in enumerate(zip(left, right, strict=True)):
            yield from unlike(*pair, percentiles, f"{path}.{place}", tolerance)
    elif isinstance(left, float) and isinstance(right, float):
        if not math.isclose(left, right, rel_tol=tolerance, abs_tol=1e-12):
            yield f"{path}: {left} and {right}"
    elif type(left) is not type(right) or left != right:
        yield f"{path}: {left} and {right}"


def moments(watch: Watch, draw: random.Random, count: int = 3) -> list[ScheduledTick]:
    slots = sorted(
        {START + timedelta(minutes=5 * draw.randrange(-3, MINUTES // 5 + 300)) for _ in range(count)}
    )
    return [ScheduledTick(slot + timedelta(seconds=draw.choice([0, 0, 7])), slot) for slot in slots]


def outcome(search: SearchFunction, asked: SearchRequest, context: Mapping[str, Any]) -> Any:
    try:
        return to_builtins(search(asked, None, context))
    except StoreError as error:
        return str(error)


def differences(
    store: Store, watches: list[Watch], draw: random.Random, percentiles: float = 1e-12
) -> Iterator[str]:
    runs = [(watch, moments(watch, draw)) for watch in watches]
    for (watch, when), answers in zip(runs, EventHistory(store).searches(runs), strict=True):
        for moment in when:
            context = new_context(watch, now=moment.now, scheduled=moment.slot)
            for _, name, search in watch.definition.searches():
                asked = search.request
                got = outcome(answers.search(moment.now), asked, context)
                wanted = outcome(store_search(AsOf(store), moment.now), asked, context)
                for difference in unlike(got, wanted, percentiles):
                    yield f"{watch.id} {name} at {moment}: {difference}"


TIME = "{{ctx.trigger.scheduled_time}}"


def window(back: str, **sign: str) -> dict[str, Any]:
    return {"range": {"event.ingested": {"gt": f"{TIME}||-{back}", "lte": TIME, **sign}}}


def ranged(**ends: str) -> dict[str, Any]:
    return {"range": {"event.ingested": ends}}


ODD: dict[str, tuple[dict[str, Any], str | None]] = {
    "bounds of every kind": ({"query": ranged(gte=f"{TIME}||-1d", lt=TIME), "aggs": {"n": {"filters": {
        "filters": {"a": ranged(gte="now-6h/h"), "b": ranged(lt="now/d"), "c": ranged(lte="now-1d/d")}}}}}, None),
    "another time": ({"query": {"bool": {"must": {"range": {"@timestamp": {"gte": "now-2d", "lt": "now"}}}}},
        "aggs": {"m": {"terms": {"field": "ml.model.name"}, "aggs": {"w": {"avg": {"field": "ml.sample.weight"}},
        "b": {"terms": {"field": "ml.input.bins", "size": 50}}}}}}, None),
    "a window that must not": ({"query": {"bool": {"must_not": window("1h")}}}, "elsewhere"),
    "a window that may": ({"query": {"bool": {"should": [window("1h"), {"match_none": {}}]}}}, "elsewhere"),
    "documents": ({"size": 3, "query": window("6h"), "sort": [{"@timestamp": "desc"}]}, "sort"),
    "a histogram": ({"query": window("1d"), "aggs": {"h": {"date_histogram": {
        "field": "@timestamp", "fixed_interval": "6h"}}}}, "h: "),
    "an order by a metric": ({"query": window("1d"), "aggs": {"t": {"terms": {"field": "ml.model.name",
        "order": {"w": "desc"}}, "aggs": {"w": {"sum": {"field": "ml.sample.weight"}}}}}}, "ordered by a metric"),
    "cut": ({"query": window("3d"), "aggs": {"t": {"terms": {"field": "ml.input.bins", "size": 2}}}}, None),
    "the largest": ({"query": window("3d"), "aggs": {"t": {"meta": {"top": True}, "terms": {
        "field": "ml.check.missing", "size": 2, "exclude": "a.*", "missing": "none", "order": [
        {"_count": "asc"}, {"_key": "desc"}]}}}}, None),
    "keys of other types": ({"query": window("3d"), "aggs": {"w": {"terms": {"field": "ml.sample.weight",
        "order": {"_key": "desc"}}}, "d": {"terms": {"field": "event.duration", "size": 999, "missing": 5}}}},
        None),
    "anonymous filters": ({"query": window("3d"), "aggs": {"f": {"filters": {"filters": [window("1h"),
        {"exists": {"field": "ml.check.missing"}}, {"prefix": {"ml.input.bins": "age"}}]}}, "g": {"filters": {
        "keyed": False, "other_bucket": True, "filters": {"a": {"wildcard": {"event.outcome": "f*"}}}}}}}, None),
    "every metric": ({"query": window("2d"), "aggs": {kind: {kind: {"field": "ml.prediction.value", **more}}
        for kind, more in {"sum": {"missing": 2}, "percentile_ranks": {"values": [0, 1]}, "min": {}, "max": {},
        "avg": {}, "stats": {}, "extended_stats": {}, "value_count": {}, "cardinality": {},
        "percentiles": {}}.items()}},
        None),
    "an earlier answer": ({"query": {"term": {"ml.model.name": "{{ctx.payload.x}}"}}}, "what the watch read"),
    "no such query": ({"query": {"fuzzy": {"ml.model.name": "m"}}}, "fuzzy"),
}  # fmt: skip


def odd() -> list[Watch]:
    watches = []
    for number, (body, _) in enumerate(ODD.values()):
        document = {
            "trigger": {"schedule": {"interval": "5m"}},
            "input": {
                "search": {"request": {"indices": "logs-ml.prediction-*", "body": {"size": 0, **body}}}
            },
        }
        watches.append(Watch(f"odd-{number}", Definition.model_validate(document)))
    return watches


@given(seed=st.integers(0, 2**32), events=st.integers(0, 400))
@settings(max_examples=8, deadline=None)
def test_odd_searches_are_answered_as_by_the_store(seed: int, events: int) -> None:
    """In one pass, or tick by tick: errors, too, are the same."""
    with filled(seed, events) as store:
        assert next(differences(store, odd(), random.Random(seed)), None) is None


def test_searches_that_cannot_be_counted_are_reported() -> None:
    """With the part of the body that is in the way."""
    watches = odd()
    with filled(1, 200) as store:
        found = EventHistory(store).searches([(watch, moments(watch, random.Random(1))) for watch in watches])
        for answers, (_, reason) in zip(found, ODD.values(), strict=True):
            slow = answers.slow
            assert (reason is None) == (not slow), slow
            assert all(reason in said for said in slow.values() if reason), slow


@given(seed=st.integers(0, 2**32), events=st.integers(0, 400))
@settings(max_examples=4, deadline=None)
def test_one_pass_answers_as_the_store_does(seed: int, events: int) -> None:
    """For every search of every shipped watch, at any tick."""
    with filled(seed, events) as store:
        assert next(differences(store, WATCHES, random.Random(seed)), None) is None


@pytest.mark.elasticsearch
@pytest.mark.parametrize("seed", range(3))
def test_counts_of_a_cluster_answer_as_its_searches_do(
    elasticsearch: Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """In pages of a few slots, and where one slot is too large in partitions."""
    monkeypatch.setattr("logging_lib.store.elastic_counts._FIRST_PAGE", 3)
    with closing(Sandbox(elasticsearch)) as store:
        fill(store, seed, 400)
        assert next(differences(store, WATCHES, random.Random(seed), percentiles=0.01), None) is None
        (answers,) = EventHistory(store).searches([(WATCHES[0], moments(WATCHES[0], random.Random(1)))])
        assert not answers.slow


def test_the_shipped_searches_are_answered_in_one_pass() -> None:
    """But for those that ask for whole documents."""
    with filled(1, 200) as store:
        found = EventHistory(store).searches([(watch, moments(watch, random.Random(1))) for watch in WATCHES])
    slow = {watch.id: answers.slow for watch, answers in zip(WATCHES, found, strict=True)}
    assert {name: list(reasons) for name, reasons in slow.items() if reasons} == {
        "dependency-change": ["window", "baseline"]
    }


@pytest.mark.slow
def test_watches_that_processes_share_find_what_one_process_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts, failures and what was not evaluated, in the same order."""

    def replayed(processes: int) -> dict[str, Any]:
        monkeypatch.setattr(backtest, "available_processes", lambda: processes)
        with filled(3, 400) as store:
            result = backtest.backtest(
                store,
                [*WATCHES, *odd()],
                start=START,
                end=START + timedelta(days=3),
                every=timedelta(hours=1),
            )
        return result.document()

    monkeypatch.setattr(backtest, "MANY_RUNS", 0)
    alone = replayed(1)
    assert alone["alerts"]
    assert alone["failures"]
    assert alone["not_evaluated"]
    assert replayed(3) == alone
    assert json.dumps(replayed(3)) == json.dumps(alone)


def watch_of(request: Mapping[str, Any], ident: str = "w") -> Watch:
    """Alerts at every tick at which its search answers."""
    return parse_watch(
        {
            "metadata": {},
            "trigger": {"schedule": {"interval": "5m"}},
            "input": {"search": {"request": request}},
            "condition": {"always": {}},
            "actions": {"a": {"logging": {"text": "x"}}},
        },
        id=ident,
    )


def of_last_hour(aggs: Mapping[str, Any]) -> dict[str, Any]:
    window = {"gt": "{{ctx.trigger.scheduled_time}}||-1h", "lte": "{{ctx.trigger.scheduled_time}}"}
    query = {"range": {"event.ingested": window}}
    return {"indices": ["logs-ml.prediction-*"], "body": {"size": 0, "query": query, "aggs": aggs}}


@pytest.mark.parametrize("outlier", [1e15, 1e22, 1e300])
def test_one_huge_value_does_not_show_in_later_windows(outlier: float) -> None:
    """Sums that come from running totals would lose all that is small beside it."""
    kinds = ("avg", "stats", "sum", "extended_stats")
    watch = watch_of(of_last_hour({kind: {kind: {"field": "ml.prediction.value"}} for kind in kinds}))
    now = START + timedelta(hours=5)
    with EmbeddedStore(None) as store:
        documents = [
            {
                "@timestamp": text(at),
                "event": {"id": str(minute), "ingested": text(at), "dataset": "ml.prediction"},
                "ml": {"prediction": {"value": outlier if minute == 5 else 11.5}},
            }
            for minute in range(300)
            for at in [START + timedelta(minutes=minute)]
        ]
        store.index("logs-ml.prediction-default", documents)
        ((_, _, search),) = watch.definition.searches()
        asked = search.request
        context = new_context(watch, now=now, scheduled=now)
        (answers,) = EventHistory(store).searches([(watch, [ScheduledTick(now, now)])])
        aggregations = answers.search(now)(asked, None, context)["aggregations"]
        direct = store_search(AsOf(store), now)(asked, None, context)["aggregations"]
        assert not list(unlike(to_builtins(aggregations), direct))
        assert aggregations["avg"]["value"] == 11.5


class Flaky(DelegatingStore):
    """Does not answer so many of the first searches for profiles."""

    def __init__(self, store: EmbeddedStore, times: int) -> None:
        super().__init__(store)
        self.left = times

    def search(self, indices: Any, body: Any, **more: Any) -> dict[str, Any]:
        if "ml-profiles" in indices and self.left:
            self.left -= 1
            raise StoreError("timed out")
        return super().search(indices, body, **more)


@pytest.mark.parametrize(("times", "failed"), [(0, 0), (1, 0), (3, 0), (16, 2)])
def test_a_search_that_failed_once_is_asked_again(times: int, failed: int) -> None:
    """For what profiles learned, before the first run for each of 13, and then at each until it is answered."""
    watch = watch_of({"indices": ["ml-profiles"], "body": {"size": 10, "query": {"match_all": {}}}})
    with filled(1, 20) as store:
        replay = backtest.backtest(
            Flaky(store, times),
            [watch],
            start=START,
            end=START + timedelta(hours=1),
            every=timedelta(minutes=5),
        )
    assert replay.failures == ({("w", "input.search: timed out"): failed} if failed else {})


def test_a_pattern_that_the_database_refuses_fails_its_own_watch_alone() -> None:
    """As it would in life."""
    asked = {"field": "ml.model.name", "size": 10}
    odd = watch_of(of_last_hour({"a": {"terms": asked | {"include": "m{1001}"}}}), "odd")
    fine = watch_of(of_last_hour({"a": {"terms": asked | {"include": "m"}}}), "fine")
    with filled(1, 200) as store:
        replay = backtest.backtest(
            store, [odd, fine], start=START, end=START + timedelta(hours=1), every=timedelta(minutes=5)
        )
    assert {watch for watch, _ in replay.failures} == {"odd"}
    assert sum(alert.watch == "fine" for alert in replay.alerts) == replay.ticks
