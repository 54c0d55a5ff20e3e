"""Payloads of each script, random ones and those of the shipped watches, for the parity of its two versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from hypothesis import strategies as st

from logging_lib._util import content
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.loading import load_watches
from logging_lib.watch.scripts import SCRIPTS
from logging_lib.watch.testing import cases
from logging_lib.watch.testing.run import run_file

Document = dict[str, Any]
TIME = "2018-02-01T10:00:00.000Z"
NOW = 1_517_479_200_000.0
NAMES = ["home", 'a"b', "c\\d", "e=f", "!g", "h%i", "ü"]
names = st.sampled_from(NAMES)
counts = st.integers(0, 400)
LADDER = ["1h", "24h", "7d"]


BETWEEN = {"first": {"value_as_string": TIME}, "last": {"value_as_string": "2018-02-01T10:05:00.000Z"}}
MILLIS = 1_517_479_200_000
"""``TIME`` since 1970."""


@st.composite
def between(draw: st.DrawFn) -> Document:
    """The first and the last event of a window, of which some say no number."""
    span = draw(st.sampled_from([0, 61_234, 3_600_000, 50_000_000, 200_000_000]))
    numbers = draw(st.sampled_from([({}, {}), ({"value": MILLIS - span}, {"value": float(MILLIS)})]))
    return {"first": BETWEEN["first"] | numbers[0], "last": BETWEEN["last"] | numbers[1]}


@st.composite
def sampling(draw: st.DrawFn) -> Document:
    """The sum of the weights and of their squares; or nothing, as in the answer of an older watch."""
    sums = st.tuples(st.floats(1, 5000), st.floats(1, 20)).map(
        lambda pair: {"sum": round(pair[0], 2), "sum_of_squares": round(pair[0] * pair[1], 2)}
    )
    return draw(st.sampled_from([{}, {"sampling": {"sum": 0.0, "sum_of_squares": 0.0}}])) | (
        {"sampling": draw(sums)} if draw(st.booleans()) else {}
    )


@st.composite
def variation(draw: st.DrawFn, measures: list[str], feature: str, labels: list[str]) -> Document:
    """The natural variation as profiles publish it; or none, as in those of an earlier version."""
    if draw(st.booleans()):
        return {}
    three = (st.floats(0, 0.2), st.floats(0, 0.01), st.floats(0.5, 3))
    # Profiles of before have no design effect.
    numbers = st.one_of(st.tuples(*three), st.tuples(*three, st.floats(1, 20))).map(
        lambda row: [round(number, 4) for number in row]
    )

    def measured() -> Document:
        windows = {
            window: draw(numbers) for window in draw(st.sampled_from([["15m"], ["1h", "7d"], ["1h", "24h"]]))
        }
        return {measure: {draw(st.sampled_from([feature, "*"])): windows} for measure in measures[:2]}

    source = draw(st.sampled_from(["training", "default"]))
    document: Document = {
        "source": source,
        "until": draw(st.sampled_from(["", "2018-01-25T03:04:05Z", "2018-03-01T00:00:00Z"])),
        "levels": draw(st.sampled_from([{"1h": 3.5, "24h": 2, "15m": 1.25, "7d": 3}, {"6h": 0.5}])),
        "measures": measured(),
    }
    if draw(st.booleans()):
        rows = st.lists(st.integers(0, 40), min_size=len(labels), max_size=len(labels))
        few = draw(st.lists(rows, min_size=3, max_size=3))
        document["rhythm"] = {
            "timezone": draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"])),
            "traffic": draw(
                st.sampled_from([[0.0] * 168, [round(1.5 + hour % 7, 2) for hour in range(168)]])
            ),
            "bins": {feature: [few[part % 3] for part in range(48)]},
            "labels": {feature: labels},
            "measures": measured(),
        }
    return {"variation": document}


def services(draw: st.DrawFn) -> Document:
    """The services of a bucket, with names that could leave what they are put into; or none at all."""
    found = draw(st.lists(names, max_size=5, unique=True))
    return {"services": terms([{"key": name} for name in found])} if draw(st.booleans()) else {}


def terms(buckets: list[Document]) -> Document:
    return {"sum_other_doc_count": 0, "buckets": buckets}


def context(watch_id: str, metadata: Document, payload: Document) -> Document:
    return {
        "watch_id": watch_id,
        "metadata": metadata,
        "trigger": {"scheduled_time": TIME},
        "payload": payload,
    }


def draw_context(draw: st.DrawFn, metadata: Document, payload: Document) -> Document:
    """As the runner makes it, or with the id and the name of a watch that is deployed into Watcher."""
    watch_id, name = draw(
        st.sampled_from([("watch", {}), ("logging-lib-watch--m", {"watch": "watch"}), ("other", {})])
    )
    return context(watch_id, metadata | name, payload)


def models(version: Document) -> Document:
    return {"aggregations": {"models": terms([{"key": 'm"', "versions": terms([{"key": "1", **version}])}])}}


EMPTY: Document = {"aggregations": {"models": terms([])}}
NO_INDEX: Document = {
    "took": 0,
    "timed_out": False,
    "_shards": {"total": 0, "successful": 0, "skipped": 0, "failed": 0},
    "hits": {"total": 0, "max_score": 0.0, "hits": []},
}
"""What Elasticsearch answers where no index matches: there are no aggregations."""


def profiles(expected: Document, **more: Any) -> Document:
    """Without anything expected there is no ``expected``: who asks for a part of it gets no empty object."""
    source = {
        "ml": {"model": {"name": 'm"', "version": "1"}},
        **({"expected": expected} if expected else {}),
        **more,
    }
    return {"hits": {"hits": [{"_source": source}]}}


@st.composite
def owned(draw: st.DrawFn, overrides: Document) -> Document:
    return draw(
        st.sampled_from(
            [{}, {"owners": {"email": "a@b.c"}, "overrides": {}}, {"overrides": {"watch": overrides}}]
        )
    )


def bucketed(draw: st.DrawFn, cells: dict[str, int]) -> Document:
    total = sum(cells.values())
    weight = draw(st.sampled_from([1.0, 2.0, 2.5]))
    return {
        "doc_count": total,
        "weight": {"value": total * weight},
        "tokens": terms([{"key": k, "weight": {"value": n * weight}} for k, n in cells.items() if n]),
    }


BINS = ["[0,1)", "[1,2)", "[2,3)", "[3,4)", "[4,5]"]


SPECIAL = ["!missing", "!unseen", "!absent", "!above"]


@st.composite
def distributions(draw: st.DrawFn) -> Document:
    measures = draw(
        st.sampled_from(
            [["psi", "rare"], ["psi", "mean"], ["spread"], ["shift", "psi"], ["shift"], ["mean", "rare"]]
        )
    )
    feature = draw(names)
    numeric = draw(st.booleans())
    lengths = [f"len:{label}" for label in BINS]
    ordered = draw(st.sampled_from([BINS, lengths])) if numeric else []
    labels = ordered or ["A", "B%21", "C", "!other", "D", "!missing", "!unseen"]
    expected = {label: draw(st.integers(0, 500)) for label in labels}
    several = draw(st.booleans())
    classes = ["A", "B%21", "C", "!other"] if several else BINS
    outputs = {label: draw(st.integers(0, 300)) for label in classes}
    name = feature.replace("%", "%25").replace("=", "%3D")
    name = "%21" + name[1:] if name.startswith("!") else name

    def answer() -> Document:
        windows = {}
        for window in LADDER:
            few = draw(st.sampled_from([counts, st.integers(0, 5)]))
            cells = {f"{name}={label}": draw(counts) for label in labels}
            cells |= {f"{name}={label}": draw(few) for label in ("!below", "!above")}
            bucket = bucketed(draw, cells | {"other=x": 3}) | draw(between()) | draw(sampling())
            values = {
                label: draw(counts) for label in [*classes, *(["!type", "!none"] if several else ["!above"])]
            }
            bucket["inputs"] = bucket["tokens"]
            bucket["prediction"] = bucketed(draw, values)["tokens"]
            if draw(st.booleans()):
                share = draw(st.sampled_from([0.0, 0.1, 0.9]))
                at = bucket["doc_count"], bucket["weight"]["value"]
                bucket["special"] = terms(
                    [
                        {
                            "key": f"{name}={draw(st.sampled_from(SPECIAL))}",
                            "doc_count": int(at[0] * share),
                            "weight": {"value": round(at[1] * share, 2)},
                        }
                    ]
                )
            avg = draw(st.floats(-5, 5))
            stats = {"count": draw(counts), "avg": round(avg, 3)}
            bucket["values"] = terms(
                [{"key": 1.0, "value": stats}, {"key": 10.0, "value": {"count": 0, "avg": None}}]
            )
            windows[window] = bucket
        return models({"windows": {"buckets": windows}, **services(draw)})

    moments = {"count": 900, "mean": 1.5, "std": draw(st.sampled_from([0.0, 1.25, 3]))}
    metadata = {
        "windows": LADDER,
        "measures": measures,
        "min_events": draw(st.sampled_from([1, 200, 2000])),
        "false_alarms_per_model_month": draw(st.sampled_from([0.05, 1e6])),
        "ticks_per_month": 720,
        "min_psi": 0.1,
        "rare_share": 0.2,
        "min_rise": 0.02,
        "min_effect": 0.2,
        "min_shift": 0.1,
        "min_sd": 0.1,
        **draw(st.sampled_from([{}, {"min_points": 0.05}])),
        **draw(st.sampled_from([{}, {"min_severity": "medium"}])),
    }
    document = {
        "features": 3,
        "bins": {feature: expected},
        "order": {feature: ordered} if numeric else {},
        "prediction": {"bins": outputs, "order": BINS, "moments": draw(st.sampled_from([{}, moments]))}
        if not several
        else {"bins": outputs, "order": [], "moments": {}, "rows": draw(st.integers(300, 2000))},
        **draw(variation(measures, feature, BINS if numeric else ["A", "B%21", "C", "!other", "D"])),
    }
    since = draw(st.sampled_from(["2018-01-01T00:00:00.000Z", TIME]))
    acceptance = {"feature": feature, "part": "bins", "since": since}
    payload = {
        "window": answer(),
        "profiles": profiles(
            document,
            **draw(owned({"min_psi": 0.3, "min_events": 10})),
            **draw(st.sampled_from([{}, {"accepted": [acceptance]}])),
        ),
    }
    if draw(st.booleans()):
        metadata["references"] = ["week1", "week2"]
        payload |= {"week1": answer(), "week2": draw(st.sampled_from([EMPTY, NO_INDEX, answer()]))}
    return draw_context(draw, metadata, payload)


@st.composite
def limited(draw: st.DrawFn) -> Document:
    numbers = st.one_of(st.none(), st.integers(0, 10**10), st.floats(0, 500).map(lambda v: round(v, 3)))
    bounds: dict[str, st.SearchStrategy[Any]] = {
        "above": st.sampled_from([0, 0.5, 100]),
        "below": st.sampled_from([0, 300]),
        "times_usual": st.sampled_from([0.5, 2]),
        "below_usual": st.sampled_from([0.1, 5]),
        "usual_at_least": st.sampled_from([1, 50]),
        "at_least": st.sampled_from([1, 10.5]),
        "minus": st.just("other.value"),
        "of": st.just("other.value"),
        "unit": st.sampled_from(["", "share", "bytes", "ms", "s"]),
    }
    limits = []
    for _ in range(draw(st.integers(1, 2))):
        keys = draw(st.sets(st.sampled_from(sorted(bounds.keys() - {"unit"})), max_size=3))
        limit = {key: draw(bounds[key]) for key in sorted(keys | {"unit"})}
        metric = "now" if "minus" in keys and draw(st.booleans()) else "value.value"
        if draw(st.booleans()):
            limit["spans"] = ["1h", "6h"]
        if draw(st.booleans()):
            limit["beyond_gap"] = True
        if draw(st.booleans()):
            limit["same_as"] = draw(st.sampled_from(["memory 0", "memory 1"]))
        limits.append({"name": f"memory {len(limits)}", "metric": metric, **limit})
    nested = draw(st.booleans())

    def answer() -> Document:
        def bucket(key: str) -> Document:
            last = draw(st.sampled_from([{"value": None}, {"value": 1.5e12, "value_as_string": TIME}]))
            return {
                "key": key,
                "doc_count": draw(st.sampled_from([0, 5, 90_000])),
                "value": {"value": draw(numbers)},
                "other": {"value": draw(numbers)},
                "last": last,
                "first": {"value": draw(st.none() | st.sampled_from([NOW - 9e8, NOW - 1e8, NOW - 1e6]))},
                "total": {"value": draw(st.sampled_from([0.0, 7.5, 90_000.0]))},
                "spans": {"buckets": spans},
                **services(draw),
            }

        spans = {
            f"{span}-{days}": {"weight": {"value": draw(st.sampled_from([0.0, 2.5, 60.0, 5000.0]))}}
            for span in ("1h", "6h")
            for days in draw(st.sampled_from([(0, 1, 2, 3, 7), (0, 1), (3,)]))
        }
        outer = [bucket(name) for name in draw(st.lists(names, max_size=2, unique=True))]
        for one in outer:
            one["members"] = terms([bucket(n) for n in draw(st.lists(names, max_size=2, unique=True))])
        return {"aggregations": {"services": terms(outer)}}

    fields = draw(st.sampled_from([["ml.model.name"], ["service.name"]]))
    group = {
        "by": "services",
        "fields": [*fields, "host.name"] if nested else fields,
        "labels": ["service", "host"] if nested else ["service"],
        "limits": limits,
    }
    metadata: Document = {"window": draw(st.sampled_from(["1h", "8d"])), "recent": "1h", "groups": [group]}
    payload = {"window": answer()}
    if draw(st.booleans()):
        metadata["references"] = ["week1", "week2"]
        payload |= {"week1": answer(), "week2": draw(st.sampled_from([NO_INDEX, answer()]))}
    if draw(st.booleans()):
        hours = draw(st.sampled_from([[0.0] * 168, [60.5] * 168, [float(hour) for hour in range(168)]]))
        zone = draw(st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York"]))
        gap = draw(st.sampled_from([{}, {"longest_gap": 20.25}, {"longest_gap": 400}]))
        rhythm = {"expected": {"variation": {"rhythm": {"timezone": zone, "traffic": hours, **gap}}}}
        sources = [
            {
                "_source": {
                    "ml": {"model": {"name": name, "version": version}},
                    "deployed": draw(st.booleans()),
                    "owners": {"email": "a@b.c"},
                    "overrides": {"watch": draw(st.sampled_from([{}, {"memory 0": {"above": 7}}]))},
                    **draw(st.sampled_from([{}, {"expected": {}}, {"expected": {"variation": {}}}, rhythm])),
                }
            }
            for name in draw(st.lists(names, max_size=2, unique=True))
            for version in ("1", "2")
        ]
        payload["profiles"] = {"hits": {"hits": sources}}
    return draw_context(draw, metadata, payload)


PERCENTS = ("50.0", "75.0", "90.0", "95.0", "99.0")


@st.composite
def latencies(draw: st.DrawFn) -> Document:
    def timed() -> Document:
        base, step = draw(st.integers(1, 50)), draw(st.integers(0, 9))
        values = {p: (base + i * step) * 1.25e6 for i, p in enumerate(PERCENTS)}
        return {"timed": {"value": draw(st.integers(0, 5000))}, "duration": {"values": values}, **BETWEEN}

    metadata = {
        "windows": LADDER,
        "min_events": draw(st.sampled_from([1, 500])),
        "max_ms": draw(st.sampled_from([20, 1000])),
        "min_ratio": 1.2,
        "min_rise_ms": draw(st.sampled_from([0, 5])),
        "dispersion": 0.01,
        "false_alarms_per_model_month": 0.05,
        "ticks_per_month": 720,
    }
    past = [{"key": 'm"', **timed()}] if draw(st.booleans()) else []
    window = models({"windows": {"buckets": {name: timed() for name in LADDER}}, **services(draw)})
    payload = {
        "window": window,
        "baseline": draw(st.sampled_from([{"aggregations": {"models": terms(past)}}, NO_INDEX])),
        "profiles": profiles({}, **draw(owned({"max_ms": 5}))),
    }
    return draw_context(draw, metadata, payload)


@st.composite
def versioned(draw: st.DrawFn) -> Document:
    rule = draw(st.sampled_from(["live", "age", "changes"]))
    metadata = {
        "rule": rule,
        "window": "1h",
        "live": "15m",
        "min_hits": 5,
        "max_days": draw(st.sampled_from([1, 180])),
    }
    if rule == "changes":
        entries = st.lists(
            st.sampled_from(["numpy=1.0", "numpy=2.0", "scipy=1", "x=y=z"]), max_size=3, unique=True
        )

        def starts() -> Document:
            source = {
                "@timestamp": TIME,
                "ml": {
                    "model": draw(st.sampled_from([{"name": "m"}, {"name": "m", "version": "2"}])),
                    "start": {"libraries": draw(entries)},
                },
            }
            if draw(st.booleans()):
                source["service"] = {"name": "api", "version": draw(st.sampled_from(["1.0", "2.0"]))}
            if draw(st.booleans()):
                source["ml"]["start"]["training_libraries_differ"] = draw(entries)
            elif draw(st.booleans()):  # an event from elsewhere may lack any of it
                source["ml"]["start"] = draw(st.sampled_from([{}, {"code": "1"}]))
            elif draw(st.booleans()):
                del source["ml"]["start"]
            services = [{"key": "api", "newest": {"hits": {"hits": [{"_source": source}]}}}]
            return {"aggregations": {"models": terms([{"key": "m", "services": terms(services)}])}}

        before = draw(st.sampled_from([EMPTY, NO_INDEX, starts()]))
        return draw_context(draw, metadata, {"window": starts(), "baseline": before})
    weights = st.sampled_from([0.0, 3.0, 7.5, 200.0])
    found = [
        {
            "key": key,
            "weight": {"value": 300.0},
            "now": {"weight": {"value": draw(weights)}},
            "before": {"weight": {"value": draw(weights)}},
            "mismatch": {"weight": {"value": draw(weights)}},
            **services(draw),
        }
        for key in draw(st.lists(st.sampled_from(["1", "2", 'v"3']), max_size=3, unique=True))
    ]
    sources = [
        {
            "_source": {
                "ml": {"model": {"name": "m", "version": version}},
                "deployed": draw(st.booleans()),
                **draw(
                    st.sampled_from(
                        [{}, {"trained_at": "2018-01-31T18:00:00Z"}, {"trained_at": "2017-05-01T00:00:00.5Z"}]
                    )
                ),
                **draw(owned({"max_days": 2, "min_hits": 100})),
            }
        }
        for version in draw(st.lists(st.sampled_from(["1", "2"]), max_size=2, unique=True))
    ]
    payload = {
        "window": {"aggregations": {"models": terms([{"key": "m", "versions": terms(found)}])}},
        "profiles": {"hits": {"hits": sources}},
    }
    return draw_context(draw, metadata, payload)


@st.composite
def labelled(draw: st.DrawFn) -> Document:
    classes = ["A", "B", 'c"']

    def row(largest: int) -> dict[str, int]:
        return {guess: draw(st.integers(0, largest)) for guess in draw(st.sets(st.sampled_from(classes)))}

    def bucket() -> Document:
        def guesses(found: dict[str, int]) -> Document:
            return terms(
                [{"key": k, "doc_count": n, "weight": {"value": n * 2.0}} for k, n in found.items() if n]
            )

        actual = [
            {"key": name, "predicted": guesses(row(200))} for name in draw(st.sets(st.sampled_from(classes)))
        ]
        n = draw(counts)
        error = draw(st.integers(1, 99)) / 8
        return {
            "doc_count": n,
            "errors": {"count": n, "avg": error if n else None},
            "squared": {"value": error * error},
            "bias": {"value": -error},
            **draw(st.sampled_from([{}, {"brier": {"count": n, "avg": error / 12 if n else None}}])),
            "log_loss": {"value": 0.7},
            "actual": terms(actual),
            "arrived": {"weight": {"value": draw(counts) * 1.0}},
            **BETWEEN,
        }

    served = {name: {"weight": {"value": draw(counts) * 1.0}} for name in LADDER}
    errors = {"count": 800, "mean": 2.5, "std": draw(st.sampled_from([0.0, 1.5]))}
    known = {
        "confusion": {name: {**row(20), name: 500} for name in draw(st.sets(st.sampled_from(classes)))},
        **draw(st.sampled_from([{}, {"errors": errors}])),
        **draw(st.sampled_from([{}, {"brier": {"count": 900, "mean": 0.2, "std": 0.25}}])),
    }
    metadata = {
        "windows": LADDER,
        "min_events": draw(st.sampled_from([1, 300])),
        "false_alarms_per_model_month": draw(st.sampled_from([0.05, 1e6])),
        "ticks_per_month": 120,
        "min_ratio": 1.25,
        "min_drop": 0.05,
        "dispersion": 0.002,
    }
    payload = {
        "window": models({"windows": {"buckets": {name: bucket() for name in LADDER}}, **services(draw)}),
        "served": draw(st.sampled_from([models({"windows": {"buckets": served}}), NO_INDEX])),
        "profiles": profiles(
            draw(st.sampled_from([{}, *[{"quality": known}] * 5])), **draw(owned({"min_drop": 0.5}))
        ),
    }
    return draw_context(draw, metadata, payload)


@st.composite
def estimated(draw: st.DrawFn) -> Document:
    def bucket() -> Document:
        strata = []
        for weight in draw(st.sets(st.sampled_from([1.0, 2.5, 10.0]))):
            n = draw(counts)
            total = n * draw(st.integers(0, 64)) / 64
            strata.append({"key": weight, "doc_count": n, "error": {"count": n, "sum": total if n else 0.0}})
        return {"doc_count": draw(counts), "errors": terms(strata), **BETWEEN}

    usual = {
        "count": 900,
        "mean": draw(st.sampled_from([0.0, 0.2])),
        "std": draw(st.sampled_from([0.0, 0.15])),
    }
    classifier = {"evaluated": draw(st.sampled_from([True, True, True, False])), "expected_error": usual}
    metadata = {
        "windows": LADDER,
        "min_events": draw(st.sampled_from([1, 300])),
        "false_alarms_per_model_month": draw(st.sampled_from([0.05, 1e6])),
        "ticks_per_month": 720,
        "min_drop": 0.05,
        "dispersion": 0.002,
    }
    payload = {
        "window": models({"windows": {"buckets": {name: bucket() for name in LADDER}}, **services(draw)}),
        "profiles": profiles(
            draw(
                st.sampled_from([{}, {"classifier": {"evaluated": False}}, *[{"classifier": classifier}] * 5])
            ),
            **draw(owned({"min_drop": 0.5})),
        ),
    }
    return context("watch", metadata, payload)


PAYLOADS = {
    "ml-estimate": estimated(),
    "ml-distribution": distributions(),
    "ml-latency": latencies(),
    "ml-limits": limited(),
    "ml-quality": labelled(),
    "ml-versions": versioned(),
}


# -- the shipped watches -----------------------------------------------------------------------------------

WATCHES = {watch.id: watch for watch in load_watches(content.path("watchers"))}


@cache
def _firing(watch_id: str) -> tuple[str, Document]:
    """The script of a watch, and the context in which it finds something in its firing case."""
    contexts: list[tuple[str, Document]] = []

    def recording(script: str) -> Any:
        def evaluate(ctx: Mapping[str, Any], params: Mapping[str, Any]) -> Mapping[str, Any]:
            result = SCRIPTS[script](ctx, params)
            if result["count"] > 0:
                contexts.append((script, deepcopy(dict(ctx))))
            return result

        return evaluate

    loaded = cases.load_case_file(content.path("watchers") / "cases" / f"{watch_id}.yml")
    scripts = {script: recording(script) for script in SCRIPTS}
    for _ in run_file(loaded, WATCHES, lambda: EmbeddedStore(None), scripts=scripts):
        break  # the firing case is the first
    return contexts[-1]


def of_watch(watch_id: str) -> tuple[str, Document]:
    """The script of a shipped watch and a context with findings, which the caller may change."""
    script, ctx = _firing(watch_id)
    return script, deepcopy({name: ctx[name] for name in ("watch_id", "metadata", "trigger", "payload")})


def without_indices(watch_id: str) -> Iterator[tuple[str, str, Document]]:
    """The contexts of a shipped watch while one of its searches, or none of them, has an index.

    Yields:
        The name of the search (``all`` for all of them), the script, and the context.
    """
    script, ctx = of_watch(watch_id)
    searches = list(ctx["payload"])
    for name in (*searches, "all"):
        changed = deepcopy(ctx)
        for lost in searches if name == "all" else [name]:
            changed["payload"][lost] = deepcopy(NO_INDEX)
        yield name, script, changed
