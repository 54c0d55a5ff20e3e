"""Read logged predictions as samples: those of a period, a version, a role or a segment."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from logging_lib._util.suggestions import suggest
from logging_lib._util.times import format_instant, parse_duration, parse_instant
from logging_lib.store.history import KINDS, PREDICTION, STREAMS, inputs_of, output_of, scan_pages
from logging_lib.store.port import QueryNotSupported, Store, StoreError

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS: Final = 200_000
SCORE: Final = "ml.prediction.score"
_SOURCE: Final = (
    "@timestamp", "ml.input.other", *(f"ml.input.{kind}" for kind in KINDS), "ml.prediction", "ml.profile.status",
    "ml.sample.weight",
)  # fmt: skip
_PART = re.compile(r"[,\s]+(?=[\w.@-]+=)")


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of predictions. ``where``: feature or ``labels.*`` key → value."""

    model: str | None = None
    version: str | None = None
    role: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    where: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, *, now: datetime, base: Selection | None = None) -> Selection:
        """Parse ``version=2,role=shadow,since=2018-02-01,until=2018-03-01,homeownership=RENT``; ``last=7d`` is the
        time before ``now``. Parts that the text does not name are taken from ``base``.

        Raises:
            ValueError: a part is wrong, or no event can be in the period; the message names it.
        """
        selection = base or cls()
        where = dict(selection.where)
        for part in _PART.split(text.strip()):
            name, sign, value = part.partition("=")
            if not sign or not name or not value:
                raise ValueError(f"{part!r}: write name=value, such as since=2018-02-01 or version=2")
            if name in ("model", "version", "role"):
                identity: Any = {name: value}
                selection = replace(selection, **identity)
            elif name in ("since", "until"):
                bound: Any = {name: _parse_bound(name, value)}
                selection = replace(selection, **bound)
            elif name == "last":
                selection = replace(selection, since=now - parse_duration(value), until=now)
            else:
                where[name] = value
        since, until = selection.since, selection.until
        if since is not None and since > now:
            raise ValueError(
                f"since={_format_bound(since)} is in the future; it is now {format_instant(now)}"
            )
        if since is not None and until is not None and since >= until:
            raise ValueError(f"since={_format_bound(since)} is not before until={_format_bound(until)}")
        return replace(selection, where=where)

    def query(self) -> dict[str, Any]:
        """Return the selection as a search query. A period does not include its end."""
        filters: list[dict[str, Any]] = [
            {"term": {name: value}}
            for name, value in (
                ("ml.model.name", self.model),
                ("ml.model.version", self.version),
                ("ml.model.role", self.role),
            )
            if value is not None
        ]
        bounds = {
            bound: format_instant(moment)
            for bound, moment in (("gte", self.since), ("lt", self.until))
            if moment is not None
        }
        if bounds:
            filters.append({"range": {"@timestamp": bounds}})
        filters += [_filter_segment(name, value) for name, value in self.where.items()]
        return {"bool": {"filter": filters}} if filters else {"match_all": {}}

    def __str__(self) -> str:
        parts = [
            *(f"{name}={value}" for name in ("model", "version", "role") if (value := getattr(self, name))),
            *(
                f"{name}={_format_bound(value)}"
                for name in ("since", "until")
                if (value := getattr(self, name))
            ),
            *(f"{name}={value}" for name, value in self.where.items()),
        ]
        return " ".join(parts) or "all"


@dataclass(frozen=True)
class Served:
    """Served predictions. ``frame`` has a row per event and a column per feature, with ``PREDICTION`` and ``SCORE``
    if there are any; ``kinds`` are those of the profile that checked the events; ``total`` events were selected."""

    frame: pd.DataFrame
    kinds: Mapping[str, str]
    total: int
    notes: tuple[str, ...] = ()


def read(
    store: Store,
    selection: Selection,
    *,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
    about: Mapping[str, str] | None = None,
) -> Served:
    """Read the selected predictions, or a random sample of ``max_rows`` of them.

    If the logger sampled some events and kept others (failures, flagged ones), those that represent fewer
    predictions are thinned, so that every row represents the same number.

    Args:
        selection: which predictions.
        max_rows: if more are selected, sample this many at random, with this ``seed``.
        about: field of the event → its column, such as ``{"event.id": "@event.id"}``; the rows are then in the
            order of time.

    Raises:
        StoreError: no prediction is selected.
    """
    import numpy as np
    import pandas as pd

    query = selection.query()
    total = _count(store, query)
    if not total:
        raise StoreError(f"no predictions found (selection: {selection})")
    notes = []
    fields = list(dict.fromkeys((*_SOURCE, *(about or ()))))
    if total > max_rows:
        sources = list(_draw(store, query, fields, max_rows, seed))
        notes.append(f"{len(sources)} of {total} events drawn at random (seed {seed})")
    else:
        sources = [
            hit["_source"] for page in scan_pages(store, STREAMS, query, source=fields) for hit in page
        ]
    weights = np.array(
        [(source["ml"].get("sample") or {}).get("weight", 1.0) for source in sources], dtype=float
    )
    if (weights != weights.max()).any():
        drawn = np.random.default_rng(seed).random(len(weights)) < weights / weights.max()
        sources = [source for source, keep in zip(sources, drawn, strict=True) if keep]
        notes.append(
            f"{len(drawn) - len(sources)} events of smaller weight thinned, so that all weigh the same"
        )
    if about:
        sources.sort(key=lambda source: str(source["@timestamp"]))
    names: dict[str, None] = {}
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    rows = []
    for source in sources:
        inputs = source["ml"].get("input") or {}
        rows.append(inputs_of(inputs))
        names.update(dict.fromkeys(rows[-1]))
        if (source["ml"].get("profile") or {}).get("status") == "matched":
            for kind in KINDS:
                for name in inputs.get(kind) or ():
                    seen[name][kind] += 1
    columns: dict[str, Any] = {name: [row.get(name) for row in rows] for name in names}
    outputs = [source["ml"].get("prediction") or {} for source in sources]
    if any(output.get("labels") is not None for output in outputs):
        notes.append(
            "outputs with several labels are not compared here: prediction-drift and the report compare the share "
            "of each label"
        )
    outputs_by_column = {
        PREDICTION: [output_of(output) for output in outputs],
        SCORE: [output.get("score") for output in outputs],
    }
    columns |= {
        name: values
        for name, values in outputs_by_column.items()
        if any(value is not None for value in values)
    }
    columns |= {
        column: [_get_value(source, field) for source in sources] for field, column in (about or {}).items()
    }
    frame = pd.DataFrame({name: pd.Series(values) for name, values in columns.items()})
    return Served(
        frame, {name: kinds.most_common(1)[0][0] for name, kinds in seen.items()}, total, tuple(notes)
    )


def values_of(store: Store, selection: Selection, name: str, *, max_values: int = 20) -> list[str]:
    """Return the values of a segment: ``model``, ``version``, ``role``, a ``labels.*`` key or a category.

    Raises:
        StoreError: there are no values, or more than ``max_values``.
    """
    counts: Counter[str] = Counter()
    for field_name in _list_fields(name):
        body = {
            "size": 0,
            "query": selection.query(),
            "aggs": {"values": {"terms": {"field": field_name, "size": max_values + 1}}},
        }
        answer = store.search(STREAMS, body).get("aggregations", {})
        for bucket in answer.get("values", {}).get("buckets", ()):
            counts[str(bucket.get("key_as_string", bucket["key"]))] += bucket["doc_count"]
    if not counts:
        known = ("version", "role", *_list_features(store, selection))
        raise StoreError(
            f"no prediction has a value of {name!r} (selection: {selection}){suggest(name, known)}"
        )
    if len(counts) > max_values:
        raise StoreError(f"{STREAMS}: {name!r} has more than {max_values} values; choose some: {name}=VALUE")
    return [value for value, _ in counts.most_common()]


def _list_features(store: Store, selection: Selection) -> list[str]:
    """List the features of one of the selected events."""
    hits = store.search(STREAMS, {"size": 1, "query": selection.query()})["hits"]["hits"]
    return [name for hit in hits for name in inputs_of(hit["_source"]["ml"].get("input") or {})]


def models(store: Store) -> list[str]:
    """List the models that have predictions, those with the most first."""
    body = {"size": 0, "aggs": {"models": {"terms": {"field": "ml.model.name", "size": 1000}}}}
    aggregation = store.search(STREAMS, body).get("aggregations", {}).get("models", {})
    return [bucket["key"] for bucket in aggregation.get("buckets", ())]


def _count(store: Store, query: Mapping[str, Any]) -> int:
    answer = store.search(STREAMS, {"size": 0, "query": query, "track_total_hits": True})
    return int(answer["hits"]["total"]["value"])


def _draw(
    store: Store, query: Mapping[str, Any], fields: list[str], size: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Draw a uniform sample. Elasticsearch draws it itself; any other store is read through, with a reservoir."""
    score = {"random_score": {"seed": seed, "field": "_seq_no"}, "boost_mode": "replace"}
    body: dict[str, Any] = {
        "size": min(2000, size),
        "query": {"function_score": {"query": query, **score}},
        "sort": [{"_score": "desc"}, {"event.id": "asc"}],
        "_source": fields,
        "track_total_hits": False,
    }
    try:
        hits = store.search(STREAMS, body)["hits"]["hits"]
    except QueryNotSupported:
        yield from _draw_by_reservoir(store, query, fields, size, seed)
        return
    remaining = size
    while hits and remaining:
        yield from (hit["_source"] for hit in hits[:remaining])
        remaining -= min(remaining, len(hits))
        body["search_after"] = hits[-1]["sort"]
        if remaining:
            hits = store.search(STREAMS, body)["hits"]["hits"]


def _draw_by_reservoir(
    store: Store, query: Mapping[str, Any], fields: list[str], size: int, seed: int
) -> Iterable[dict[str, Any]]:
    """Draw a sample by Vitter's algorithm R (ACM TOMS 11, 1985)."""
    from random import Random

    random = Random(seed)
    reservoir: list[dict[str, Any]] = []
    number = 0
    for page in scan_pages(store, STREAMS, query, source=fields, page=10_000):
        for hit in page:
            number += 1
            if len(reservoir) < size:
                reservoir.append(hit["_source"])
            elif (place := random.randrange(number)) < size:
                reservoir[place] = hit["_source"]
    return reservoir


def _list_fields(name: str) -> list[str]:
    identity = {"model": "ml.model.name", "version": "ml.model.version", "role": "ml.model.role"}
    if name in identity:
        return [identity[name]]
    if name.startswith(("labels.", "service.", "ml.", "host.")):
        return [name]
    return [f"ml.input.category.{name}", f"ml.input.boolean.{name}"]


def _filter_segment(name: str, value: str) -> dict[str, Any]:
    terms: list[dict[str, Any]] = [
        {"term": {field_name: value}}
        for field_name in _list_fields(name)
        if not field_name.startswith("ml.input.boolean.") or value in ("true", "false")
    ]
    return {"bool": {"should": terms, "minimum_should_match": 1}}


def _get_value(source: Any, field: str) -> Any:
    for part in field.split("."):
        source = source.get(part) if isinstance(source, Mapping) else None
    return source


def _parse_bound(name: str, value: str) -> datetime:
    try:
        return parse_instant(value)
    except ValueError:
        raise ValueError(f"{name}: {value!r} is not an ISO time such as 2018-02-01") from None


def _format_bound(moment: Any) -> str:
    text = format_instant(moment) if isinstance(moment, datetime) else str(moment)
    return text.removesuffix("T00:00:00.000Z")
