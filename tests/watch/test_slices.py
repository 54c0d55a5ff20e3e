"""Where a finding comes from: planted slices are named on both stores, and chance names none."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scipy import stats

from logging_lib import profile as profiles
from logging_lib._util import content
from logging_lib._util.times import format_instant, parse_duration
from logging_lib.logger.processor import PredictionProcessor
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import DelegatingStore, Store, StoreError
from logging_lib.store.sandbox import Sandbox
from logging_lib.watch.backtest.backtest import backtest
from logging_lib.watch.loading import load_watches, with_sample_recipients
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.results import Alert
from logging_lib.watch.runner import Runner
from logging_lib.watch.slices import (
    FALSE_SLICES,
    LINE,
    MAX_FINDINGS,
    _Counts,
    compute_fisher_tail,
    count_effective,
    find_grown_bins,
    find_slices,
)
from tests.watch.conftest import FakeStore, runner_of

WATCHES = {watch.id: watch for watch in with_sample_recipients(load_watches(content.path("watchers")))}
START = datetime(2018, 2, 5, tzinfo=UTC)
NOW = START + timedelta(hours=4)
CHANNELS = {"web": 0.5, "mobile": 0.3, "shop": 0.2}


@dataclass
class Event:
    """One prediction before it is logged, and where it comes from."""

    inputs: dict[str, Any]
    channel: str
    host: str
    service: str
    prediction: float
    chance: random.Random
    error: Exception | None = None


Fault = Callable[[Event], None]


def traffic(
    profile: profiles.Profile,
    fault: Fault,
    *,
    start: datetime = START,
    onset: timedelta = timedelta(hours=2),
    seed: int = 5,
) -> Iterator[dict[str, Any]]:
    """Four hours with six events a minute, made by the logger's own code; the fault begins with ``onset``."""
    chance = random.Random(seed)
    processors = {
        version: PredictionProcessor(
            model="loans", version="1", profile=profile, service={"name": "api", "version": version}
        )
        for version in ("1.0", "2.0")
    }
    for number in range(4 * 360):
        moment = start + timedelta(seconds=10 * number)
        title = chance.choice(["nurse", "registered nurse", "truck driver", "teacher", "cook"])
        event = Event(
            {
                "income": chance.lognormvariate(11, 0.5) if chance.random() > 0.02 else None,
                "count": chance.randrange(5),
                "home": chance.choices(["RENT", "OWN", "MORTGAGE"], [0.4, 0.2, 0.4])[0],
                "title": title if chance.random() > 0.05 else None,
                "joint": chance.random() < 0.3,
                "opened": "2011-05-01",
            },
            chance.choices(list(CHANNELS), list(CHANNELS.values()))[0],
            f"web-{chance.randrange(4)}",
            chance.choices(["1.0", "2.0"], [0.7, 0.3])[0],
            chance.gauss(12, 3),
            chance,
        )
        if moment - start >= onset:
            fault(event)
        output = {"error": event.error} if event.error else {"prediction": event.prediction}
        labels = {"channel": event.channel, "order.id": f"o-{start:%d}-{number}"}
        logged = {"event": "prediction", "timestamp": moment, "inputs": event.inputs, **output, **labels}
        document: dict[str, Any] = dict(processors[event.service](None, "info", logged))
        document["host"] = {"name": event.host}
        document["event"]["ingested"] = format_instant(moment)
        yield document


@pytest.fixture(params=["embedded", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def new_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], Store]]:
    """Make empty stores of both kinds."""
    connection = request.getfixturevalue("elasticsearch") if request.param == "elasticsearch" else None
    stores: list[Store] = []

    def make() -> Store:
        stores.append(EmbeddedStore(None) if connection is None else Sandbox(connection))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def fill(store: Store, profile: profiles.Profile, *events: Iterator[dict[str, Any]]) -> Store:
    store.index("ml-profiles", [profiles.build_document(profile)])
    for stream in events:
        assert not store.index("logs-ml.prediction-default", stream).failed
    store.refresh()
    return store


@dataclass
class Outbox:
    sent: list[Notification] = field(default_factory=list)

    def deliver(self, notification: Notification) -> None:
        self.sent.append(notification)


def run(store: Store, watch: str, *, outbox: Outbox | None = None, now: datetime = NOW) -> Alert:
    """The alert of one watch, run once."""
    box = outbox or Outbox()
    runner = Runner(store, [WATCHES[watch]], channels={"email": box, "slack": box})
    (run,) = runner.run_once(now).runs
    assert run.error is None
    (alert,) = run.alerts
    return alert


def lines(finding: Mapping[str, Any]) -> list[str]:
    return [line["value"] for line in finding["lines"] if line["name"] == LINE]


def lose_income(where: Callable[[Event], bool], share: float = 0.6) -> Fault:
    def lose(event: Event) -> None:
        if where(event) and event.chance.random() < share:
            event.inputs["income"] = None

    return lose


def lose_of_mobile(event: Event) -> None:
    lose_income(lambda event: event.channel == "mobile")(event)


def invent_home(event: Event) -> None:
    if event.host == "web-3" and event.chance.random() < 0.5:
        event.inputs["home"] = "LODGER"


def exceed(event: Event) -> None:
    if event.service == "2.0" and event.chance.random() < 0.5:
        event.inputs["income"] = 1e12


def overflow(event: Event) -> None:
    if event.service == "2.0" and event.chance.random() < 0.2:
        event.inputs["income"] = float("inf")


def confuse_titles(event: Event) -> None:
    if event.channel == "shop" and event.chance.random() < 0.7:
        event.inputs["title"] = "qxzv wlkj"


def forget_joint(event: Event) -> None:
    if event.channel == "mobile" and event.chance.random() < 0.9:
        del event.inputs["joint"]


def crash(event: Event) -> None:
    if event.host == "web-1":
        event.error = RuntimeError("the model failed")


def fill_count(event: Event) -> None:
    if event.channel == "mobile":
        event.inputs["count"] = 4


def answer_high(event: Event) -> None:
    if event.channel == "mobile":
        event.prediction = event.chance.gauss(19, 1)


PLANTED = [
    ("na-spike", lose_of_mobile, "income", "labels.channel", "mobile", "channel=mobile"),
    (
        "na-spike",
        lose_income(lambda event: event.inputs["home"] == "OWN"),
        *("income", "ml.input.bins", "home=OWN", "home=OWN"),
    ),
    ("unseen-categories", invent_home, "home", "host.name", "web-3", "host=web-3"),
    ("out-of-range", exceed, "income", "service.version", "2.0", "service version=2.0"),
    ("numeric-instability", overflow, "income", "service.version", "2.0", "service version=2.0"),
    ("oov-rise", confuse_titles, "title", "labels.channel", "shop", "channel=shop"),
    ("vanished-feature", forget_joint, "joint", "labels.channel", "mobile", "channel=mobile"),
    ("prediction-failures", crash, "failure", "host.name", "web-1", "host=web-1"),
    ("input-drift", fill_count, "count", "labels.channel", "mobile", "channel=mobile"),
    ("prediction-drift", answer_high, "(prediction)", "labels.channel", "mobile", "channel=mobile"),
]


@pytest.mark.parametrize(
    ("watch", "fault", "feature", "name", "value", "text"),
    PLANTED,
    ids=[f"{watch} of {value}" for watch, _, _, _, value, _ in PLANTED],
)
def test_a_planted_slice_is_named(
    new_store: Callable[[], Store],
    profile: profiles.Profile,
    watch: str,
    fault: Fault,
    feature: str,
    name: str,
    value: str,
    text: str,
) -> None:
    """In the finding, and in what every channel sends; its shares are those of the events."""
    outbox = Outbox()
    profile = replace(profile, variation=None)  # so that any change is beyond it
    store = fill(new_store(), profile, traffic(profile, fault))
    (finding,) = [one for one in run(store, watch, outbox=outbox).findings if one["feature"] == feature]
    assert "slice" in finding, lines(finding)
    assert (finding["slice"]["field"], finding["slice"]["value"]) == (name, value)
    grown = watch.endswith("drift")  # then what was usual in those bins is among the failing events
    assert finding["slice"]["of_failing"] > (0.5 if grown else 0.8)
    assert 0.15 < finding["slice"]["of_all"] < 0.4
    (line,) = lines(finding)
    assert line.startswith(f"{text}: ")
    assert line.endswith(" % of all")
    assert ("% of the events in the bins that grew, " if grown else "% of the failing events, ") in line
    assert len(outbox.sent) == 2
    assert all(line in (sent.text or str(sent.content)) for sent in outbox.sent)


def lose_anywhere(event: Event) -> None:
    if event.chance.random() < 0.3:
        event.inputs["income"] = event.inputs["title"] = None


def test_failures_everywhere_have_no_slice(new_store: Callable[[], Store], profile: profiles.Profile) -> None:
    """Not even by what fails with it: two inputs that are lost together do not explain each other."""
    alert = run(fill(new_store(), profile, traffic(profile, lose_anywhere)), "na-spike")
    assert {finding["feature"] for finding in alert.findings} == {"income", "title"}
    assert not any("slice" in finding or lines(finding) for finding in alert.findings)


def test_a_slice_that_was_the_same_a_week_ago_is_not_named(
    new_store: Callable[[], Store], profile: profiles.Profile
) -> None:
    """Some slices are always over-represented among the failing events: only a new one is where they come from."""
    week = timedelta(weeks=1)

    def a_week_ago(fault: Fault) -> Iterator[dict[str, Any]]:
        return traffic(profile, fault, start=START - week, onset=timedelta(), seed=6)

    now = list(traffic(profile, lose_of_mobile))
    usual = fill(new_store(), profile, a_week_ago(lose_of_mobile), iter(now))
    assert "slice" not in run(usual, "na-spike").findings[0]
    other = a_week_ago(lose_income(lambda event: event.host == "web-1"))
    new = fill(new_store(), profile, other, iter(now))
    assert run(new, "na-spike").findings[0]["slice"]["value"] == "mobile"


def test_shares_are_of_weights(new_store: Callable[[], Store], profile: profiles.Profile) -> None:
    """Of sampled traffic most stored events have failed; the slice's share is nevertheless that of the traffic."""

    def sample() -> Iterator[dict[str, Any]]:
        for number, document in enumerate(traffic(profile, lose_of_mobile, onset=timedelta())):
            if document["ml"].get("check", {}).get("missing"):
                yield document
            elif number % 4 == 0:
                document["ml"]["sample"] = {"weight": 4.0}
                yield document

    sampled = list(sample())
    (finding,) = run(fill(new_store(), profile, iter(sampled)), "na-spike").findings
    since = format_instant(NOW - parse_duration(finding["window"]))
    weights = {True: 0.0, False: 0.0}
    for document in sampled:
        if document["event"]["ingested"] > since:
            weights[document["labels"]["channel"] == "mobile"] += document["ml"]["sample"]["weight"]
    assert finding["slice"]["value"] == "mobile"
    assert finding["slice"]["of_all"] == pytest.approx(weights[True] / sum(weights.values()))


class CountingStore(DelegatingStore):
    """Counts the searches, and fails those that no watch contains, with ``fails``."""

    def __init__(self, store: Store, *, fails: bool = False) -> None:
        super().__init__(store)
        self.searches, self._fails = 0, fails

    def search(self, indices: Any, body: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        self.searches += 1
        if self._fails and "timeout" in body:
            raise StoreError("the shard is gone")
        return super().search(indices, body, **options)


@pytest.fixture
def mobile(profile: profiles.Profile) -> Iterator[EmbeddedStore]:
    """A store whose mobile traffic loses incomes."""
    with EmbeddedStore(None) as store:
        fill(store, profile, traffic(profile, lose_of_mobile))
        yield store


def test_slices_are_searched_only_if_somebody_is_notified(mobile: EmbeddedStore) -> None:
    """At most four searches a model version, and none while the incident is throttled."""
    store, box = CountingStore(mobile), Outbox()
    runner = Runner(store, [WATCHES["na-spike"]], channels={"email": box, "slack": box})
    asked = []
    for minutes in (0, 5, 10):
        before = store.searches
        runner.run_once(NOW + timedelta(minutes=minutes))
        asked.append(store.searches - before)
    own = len(asked) and asked[1]
    assert asked[2] == own
    assert own < asked[0] <= own + 4


def test_an_alert_does_not_wait_for_its_slice(mobile: EmbeddedStore) -> None:
    """Where the store does not answer, the alert goes out and says so."""
    box = Outbox()
    alert = run(CountingStore(mobile, fails=True), "na-spike", outbox=box)  # type: ignore[arg-type]
    assert lines(alert.findings[0]) == ["unknown: the shard is gone"]
    assert "unknown: the shard is gone" in box.sent[0].text
    assert "slice" not in alert.findings[0]


@pytest.mark.parametrize(
    ("own", "searches"),
    [
        ({"check": "missing", "window": "15m", "lines": []}, 2),  # no index matches: nothing is known
        ({"check": "missing", "window": "2h", "lines": []}, 0),
        ({"window": "15m", "lines": []}, 0),
        ({"check": "missing", "window": "15m"}, 0),
    ],
)
def test_slices_are_searched_only_for_findings_with_the_shipped_form(
    own: dict[str, Any], searches: int
) -> None:
    """Those that name a check and one of the watch's windows, as the shipped scripts do."""
    found = {"model": "loans", "version": "1", "feature": "income", **own}
    store, box = FakeStore(lambda now: [dict(found)]), Outbox()
    runner_of(store, channels={"email": box, "slack": box}).run_once(NOW)
    assert len(store.searches) == 1 + searches
    assert len(box.sent) == 2


def test_a_run_asks_about_few_findings(profile: profiles.Profile) -> None:
    """However many there are: the first ones of a model version."""

    def lose(event: Event) -> None:
        if event.channel == "mobile":
            event.inputs |= dict.fromkeys(event.inputs)

    with EmbeddedStore(None) as store:
        counting = CountingStore(fill(store, profile, traffic(profile, lose)))
        alert = run(counting, "na-spike")
    assert len(alert.findings) == len(profile.features) > MAX_FINDINGS
    assert [finding["slice"]["value"] for finding in alert.findings if "slice" in finding] == (
        ["mobile"] * MAX_FINDINGS
    )
    assert counting.searches <= 3 + 4


def test_a_backtest_names_the_slice(mobile: EmbeddedStore) -> None:
    """In the alerts' findings, which are those of a report, too."""
    result = backtest(
        mobile, [WATCHES["na-spike"]], start=START, end=NOW, every=timedelta(minutes=5), arrivals=None
    )
    assert not result.failures
    (alert,) = result.alerts
    assert alert.findings[0]["slice"]["value"] == "mobile"
    assert lines(alert.document()["findings"][0])[0].startswith("channel=mobile: ")


# --- what stands out, without a store


def counts(weights: np.ndarray, values: np.ndarray, chosen: np.ndarray) -> _Counts:
    """The sums of some events; ``values`` has a row for each event and a column for each field."""
    weights, values = weights[chosen], values[chosen]
    slices = {
        (f"labels.{place}", str(value)): float(weights[column == value].sum())
        for place, column in enumerate(values.T)
        for value in np.unique(column)
    }
    names = [f"labels.{place}" for place in range(values.shape[1])]
    return _Counts(
        float(weights.sum()),
        float((weights**2).sum()),
        slices,
        dict.fromkeys(names, 0),
        dict.fromkeys(names, 0.0),
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("events", "failing"), [(60, 6), (200, 12), (2000, 40)])
def test_chance_names_a_slice_as_rarely_as_stated(events: int, failing: int, weighted: bool) -> None:
    """Failing events are a random part of all, ten fields have two to twenty values each, of any share."""
    chance = np.random.default_rng(events + weighted)
    seeds, named = 600, 0
    for _ in range(seeds):
        values = np.column_stack(
            [
                chance.choice(size, events, p=chance.dirichlet(np.ones(size)))
                for size in (2, 2, 2, 3, 3, 4, 5, 8, 12, 20)
            ]
        )
        weights = chance.choice([1.0, 5.0, 20.0], events) if weighted else np.ones(events)
        failed = np.zeros(events, bool)
        failed[chance.choice(events, failing, replace=False)] = True
        everything = counts(weights, values, np.ones(events, bool))
        named += bool(find_slices(counts(weights, values, failed), everything))
    # More than this has a chance of 1 in 1,000 where the rate is the stated one.
    assert named <= stats.binom.ppf(0.999, seeds, FALSE_SLICES)


@pytest.mark.parametrize("seed", range(20))
def test_the_tail_probability_agrees_with_fishers_test(seed: int) -> None:
    """That of scipy, for small tables and for large ones."""
    chance = random.Random(seed)
    size = 10 ** chance.randrange(1, 6)
    drawn, others = chance.randrange(1, size), chance.randrange(1, size)
    hits, other_hits = chance.randrange(drawn + 1), chance.randrange(others + 1)
    expected = stats.hypergeom.sf(hits - 1, drawn + others, hits + other_hits, drawn)
    tail = compute_fisher_tail(hits, drawn, other_hits, others)
    if hits / drawn > other_hits / others:
        assert tail == pytest.approx(expected, rel=1e-6, abs=1e-300)
    else:
        assert tail == 1.0


def test_a_heavy_event_proves_as_much_as_one() -> None:
    assert count_effective(6.0, 6.0) == 6
    assert count_effective(106.0, 6.0 + 100.0**2) == 1
    assert count_effective(0.0, 0.0) == 0


def test_a_value_too_rare_to_be_listed_may_be_named() -> None:
    """Of all events only the frequent values are listed: the others have no more than the least of those."""
    listed = {("labels.tenant", str(number)): 10.0 for number in range(100)}
    everything = _Counts(2000.0, 2000.0, listed, {"labels.tenant": 1000}, {"labels.tenant": 10.0})
    failing = _Counts(
        9.0, 9.0, {("labels.tenant", "acme"): 9.0}, {"labels.tenant": 0}, {"labels.tenant": 0.0}
    )
    (found,) = find_slices(failing, everything)
    assert (found["value"], found["of_failing"], found["of_all"]) == ("acme", 1.0, 10 / 2000)


def test_of_equal_slices_those_of_the_origin_are_preferred() -> None:
    """A label before a host, a host before another input's bin."""
    keys = [("ml.input.bins", "home=OWN"), ("host.name", "web-1"), ("labels.channel", "shop")]
    none = {name: 0 for name, _ in keys}, {name: 0.0 for name, _ in keys}
    failing = _Counts(50.0, 50.0, dict.fromkeys(keys, 50.0), *none)
    everything = _Counts(500.0, 500.0, dict.fromkeys(keys, 60.0), *none)
    assert [one["field"] for one in find_slices(failing, everything)] == [
        "labels.channel",
        "host.name",
        "ml.input.bins",
    ]


def test_bins_that_grew_by_chance_are_left_out() -> None:
    expected = {"a": 400.0, "b": 400.0, "c": 200.0, "!missing": 100.0}
    assert find_grown_bins(expected, {"a": 41.0, "b": 20.0, "c": 39.0}) == {"c"}
    assert find_grown_bins(expected, {"a": 40.0, "b": 10.0, "!above": 50.0}) == {"!above"}
    assert find_grown_bins(expected, {}) == find_grown_bins({}, {"a": 1.0}) == set()
