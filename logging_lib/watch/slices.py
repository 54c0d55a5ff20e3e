"""Name the slice of the traffic that a finding comes from: a host, a version of the service, a label, a bin.

The failing events of a finding are compared with all events of its model version and window, by sums of sampling
weights. A slice is named if it has most of the failing events, a far larger share of them than of all events, and
chance does not explain that. Only the runner does this: Watcher cannot search after its script.

The functions are pure except for the one that asks the store, which is an argument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, exp, floor, lgamma, log
from typing import Any

from logging_lib._util.text import shorten
from logging_lib._util.times import format_instant
from logging_lib.profile.model import PREDICTION
from logging_lib.watch.evaluate import AskStore, new_context
from logging_lib.watch.findings import Finding, by_model_version, key_of
from logging_lib.watch.model import SearchRequest, Watch
from logging_lib.watch.scripts.common import decode_value, encode_prefix, new_line
from logging_lib.watch.scripts.formatting import format_percent
from logging_lib.watch.templating import render_json

Json = dict[str, Any]

LINE = "Comes from"
FALSE_SLICES = 0.01
"""The highest probability that a finding whose failing events are a random part of all events names a slice."""
MIN_SHARE, MIN_RISE = 0.5, 0.2
"""A slice has at least half of the failing events, and its share of them is 20 points above that of all events."""
USUAL_EVENTS = 20
"""The number of failing events a week ago that shows what is usual."""
MAX_VERSIONS, MAX_FINDINGS = 5, 5
"""The largest numbers of model versions that a run asks about, and of findings of each."""
MAX_CANDIDATES = 5

_BINS, _PREDICTION_BINS = "ml.input.bins", "ml.prediction.bin"
_CONTEXT = {"service.name": "service", "service.version": "service version", "host.name": "host"}
_LABELS = "labels."
_SAMPLED_EVENTS, _MAX_LABELS = 100, 10
# Elasticsearch returns at most 65,536 buckets: 4 windows with about 4,300 and 5 findings with about 600 stay below.
_MAX_VALUES, _MAX_BINS, _MAX_FAILING_VALUES, _MAX_FAILING_BINS = 100, 3000, 10, 500
_WEEK = timedelta(weeks=1)


def name_slices(
    watch: Watch, findings: Iterable[Finding], ask: AskStore, *, now: datetime, scheduled: datetime
) -> None:
    """Add the field ``slice`` and a first line ``LINE`` to each finding whose failing events share a slice.

    ``slice`` has ``field``, ``value`` and the slice's shares ``of_failing`` and ``of_all``. A finding whose failing
    events are not known is left unchanged, and one whose searches fail has the reason in its line.

    Args:
        findings: the findings of one run of the watch.
    """
    request = _find_request(watch)
    known = [finding for finding in findings if _has_failing_events(watch, finding)]
    if request is None or not known:
        return
    for (model, version), group in list(by_model_version(known).items())[:MAX_VERSIONS]:
        try:
            _Question(watch, request, model, version, group, ask, now, scheduled).answer()
        except Exception as error:  # noqa: BLE001 - an alert is sent without its slice rather than not at all
            for finding in group[:MAX_FINDINGS]:
                finding["lines"].insert(0, new_line(LINE, f"unknown: {shorten(error, 200)}"))


def _find_request(watch: Watch) -> SearchRequest | None:
    """Return the search whose events the watch's script counted."""
    chain = watch.definition.input.chain
    step = dict(chain.items()).get("window") if chain is not None else None
    return step.search.request if step is not None and step.search is not None else None


def _has_failing_events(watch: Watch, finding: Finding) -> bool:
    key = key_of(finding)
    return bool(
        all(key)
        and isinstance(finding.get("lines"), list)
        and finding.get("window") in (watch.metadata.get("windows") or ())
        and ("check" in finding or "measures" in watch.metadata)
    )


class _Question:
    """The questions about the findings of one model version: at most four searches for any number of findings."""

    def __init__(
        self,
        watch: Watch,
        request: SearchRequest,
        model: str,
        version: str,
        findings: list[Finding],
        ask: AskStore,
        now: datetime,
        scheduled: datetime,
    ) -> None:
        self._watch, self._request, self._ask = watch, request, ask
        self._model, self._version = model, version
        self._now, self._scheduled = now, scheduled
        self._findings = findings[:MAX_FINDINGS]
        # Features that fail together have one cause, so they do not explain each other.
        self._excluded = tuple(encode_prefix(str(finding["feature"])) for finding in findings)

    def answer(self) -> None:
        expected = self._search_expected_bins()
        fields, grown = self._search_labels_and_bins(expected)
        failing = {
            number: condition
            for number, finding in enumerate(self._findings)
            if (condition := self._match_failing(finding, grown.get(number))) is not None
        }
        candidates = self._search_candidates(failing, fields)
        usual = self._search_usual_shares(failing, candidates)
        for number, slices in candidates.items():
            for position, candidate in enumerate(slices):
                if candidate["of_failing"] - usual.get((number, position), 0.0) >= MIN_RISE:
                    _add_slice(self._findings[number], candidate)
                    break

    def _match_model(self, scheduled: datetime) -> list[Json]:
        """Match the events that the watch counts at a time, of this model version."""
        context = new_context(self._watch, now=self._now, scheduled=scheduled)
        body = render_json(self._request.text, {**context, **self._request.params})
        return [
            body.get("query", {"match_all": {}}),
            {"term": {"ml.model.name": self._model}},
            {"term": {"ml.model.version": self._version}},
        ]

    def _match_window(self, finding: Finding) -> Json:
        until = format_instant(self._scheduled)
        return {"range": {"event.ingested": {"gt": f"{until}||-{finding['window']}", "lte": until}}}

    def _match_failing(self, finding: Finding, grown: list[str] | None) -> Json | None:
        """Match the events that failed the check, or that are in the bins that grew; None if none grew."""
        if "check" in finding:
            fields = self._watch.metadata.get("fields") or {}
            field = fields.get(finding["check"], f"ml.check.{finding['check']}")
            return {"term": {field: finding["feature"]}}
        return {"terms": {_get_bins_field(finding): grown}} if grown else None

    def _search(self, body: Json, aggs: Json, scheduled: datetime, *conditions: Json) -> Json:
        """Return the hits and the aggregations, which are empty if no index matches."""
        query = {"bool": {"filter": [*self._match_model(scheduled), *conditions]}}
        body = {"size": 0, **body, "query": query, **({"aggs": aggs} if aggs else {})}
        answer = self._ask(self._request.indices, body)
        return {"hits": answer["hits"]["hits"], **(answer.get("aggregations") or {})}

    def _search_expected_bins(self) -> dict[int, Mapping[str, float]]:
        """Return training's values in each bin, by finding, for the findings that compare distributions."""
        compared = {
            number: finding for number, finding in enumerate(self._findings) if "check" not in finding
        }
        if not compared:
            return {}
        model = [{"term": {"ml.model.name": self._model}}, {"term": {"ml.model.version": self._version}}]
        source = ["expected.bins", "expected.prediction"]
        body = {"size": 1, "query": {"bool": {"filter": model}}, "_source": source}
        hits = self._ask(["ml-profiles"], body)["hits"]["hits"]
        expected = hits[0]["_source"]["expected"] if hits else {}
        bins: Mapping[str, Mapping[str, float]] = {
            **(expected.get("bins") or {}),
            PREDICTION: (expected.get("prediction") or {}).get("bins") or {},
        }
        return {number: bins.get(finding["feature"], {}) for number, finding in compared.items()}

    def _search_labels_and_bins(
        self, expected: Mapping[int, Mapping[str, float]]
    ) -> tuple[list[str], dict[int, list[str]]]:
        """Return the fields whose values may be slices, and the tokens of the bins that grew, by finding."""
        checked = [
            {"bool": {"filter": [self._match_window(finding), self._match_failing(finding, None)]}}
            for finding in self._findings
            if "check" in finding
        ]
        aggs = {}
        tokens_by_bin = {}
        for number, bins in expected.items():
            finding = self._findings[number]
            prefix = "" if finding["feature"] == PREDICTION else encode_prefix(finding["feature"])
            compared = {*filter(_is_compared, bins), "!below", "!above"}
            tokens_by_bin[number] = {prefix + name: name for name in compared}
            tokens = sorted(tokens_by_bin[number])
            by_token = _count_values(_get_bins_field(finding), len(tokens), include=tokens)
            aggs[str(number)] = {"filter": self._match_window(finding), "aggs": {"bins": by_token}}
        newest = {"size": _SAMPLED_EVENTS, "sort": [{"@timestamp": "desc"}], "_source": ["labels"]}
        answer = self._search(
            newest, aggs, self._scheduled, *([] if expected else [{"bool": {"should": checked}}])
        )
        grown = {}
        for number, names in tokens_by_bin.items():
            buckets = answer.get(str(number), {}).get("bins", {}).get("buckets", ())
            observed = {names[bucket["key"]]: bucket["weight"]["value"] for bucket in buckets}
            risen = find_grown_bins(expected[number], observed)
            grown[number] = sorted(token for token, name in names.items() if name in risen)
        labels = _choose_labels([hit["_source"].get("labels") or {} for hit in answer["hits"]])
        return [*labels, *_CONTEXT, _BINS], grown

    def _search_candidates(self, failing: Mapping[int, Json], fields: list[str]) -> dict[int, list[Json]]:
        """Return the slices that stand out, by finding, the foremost first."""
        if not failing:
            return {}
        windows = {finding["window"]: self._match_window(finding) for finding in self._findings}
        failed = {
            str(number): {"bool": {"filter": [self._match_window(self._findings[number]), condition]}}
            for number, condition in failing.items()
        }
        aggs = {
            "all": _count_fields(windows, fields, _MAX_VALUES, _MAX_BINS),
            "failing": _count_fields(failed, fields, _MAX_FAILING_VALUES, _MAX_FAILING_BINS),
        }
        answer = self._search({}, aggs, self._scheduled)
        if "all" not in answer:
            return {}
        return {
            number: find_slices(
                _read_counts(answer["failing"]["buckets"][str(number)], fields),
                _read_counts(answer["all"]["buckets"][self._findings[number]["window"]], fields),
                self._is_candidate,
            )[:MAX_CANDIDATES]
            for number in failing
        }

    def _is_candidate(self, field: str, value: str) -> bool:
        """Return whether a value may be the source of a finding; a name that is truncated in its token is not
        known."""
        if field != _BINS:
            return True
        name, _, label = value.partition("=")
        return not (value.startswith(self._excluded) or label.startswith(("!", "oov:")) or "%~" in name)

    def _search_usual_shares(
        self, failing: Mapping[int, Json], candidates: Mapping[int, list[Json]]
    ) -> dict[tuple[int, int], float]:
        """Return the slices' shares of the failing events a week ago, if enough events failed then.

        Some slices are always over-represented, such as a bin of an input that is correlated with the feature.
        """
        aggs = {
            str(number): {
                "filter": failing[number],
                "aggs": {
                    "weights": _WEIGHTS,
                    **{
                        str(position): {
                            "filter": {"term": {candidate["field"]: candidate["value"]}},
                            "aggs": {"weight": _WEIGHT},
                        }
                        for position, candidate in enumerate(slices)
                    },
                },
            }
            for number, slices in candidates.items()
            if slices
        }
        if not aggs:
            return {}
        answer = self._search({}, aggs, self._scheduled - _WEEK)
        shares = {}
        for number in map(int, aggs):
            counted = answer.get(str(number), {"doc_count": 0})
            if counted["doc_count"] >= USUAL_EVENTS:
                for position in range(len(candidates[number])):
                    weight = counted[str(position)]["weight"]["value"]
                    shares[number, position] = weight / counted["weights"]["sum"]
        return shares


# --- searches


_WEIGHT: Json = {"sum": {"field": "ml.sample.weight"}}
_WEIGHTS: Json = {"extended_stats": {"field": "ml.sample.weight"}}


def _count_values(field: str, size: int, **options: Any) -> Json:
    terms = {"field": field, "size": size, **options}
    return {"terms": terms, "aggs": {"weight": _WEIGHT}}


def _count_fields(filters: Json, fields: Sequence[str], values: int, bins: int) -> Json:
    """Count each field's values among the events of each filter; labels' names cannot name aggregations."""
    counts = {
        str(place): _count_values(field, bins if field == _BINS else values)
        for place, field in enumerate(fields)
    }
    return {"filters": {"filters": filters}, "aggs": {"weights": _WEIGHTS, **counts}}


def _get_bins_field(finding: Finding) -> str:
    return _PREDICTION_BINS if finding["feature"] == PREDICTION else _BINS


def _choose_labels(samples: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the fields of the labels whose values repeat most: an id that differs for each event is not a
    slice."""
    values: dict[str, Counter[str]] = {}
    for labels in samples:
        for name, value in _flatten(labels):
            values.setdefault(name, Counter())[str(value)] += 1
    repeated = {name: counts.most_common(1)[0][1] for name, counts in values.items()}
    chosen = sorted(repeated, key=lambda name: (-repeated[name], name))[:_MAX_LABELS]
    return [_LABELS + name for name in chosen]


def _flatten(labels: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in labels.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


# --- what stands out


@dataclass(frozen=True)
class _Counts:
    """The weights of one set of events: their sum, that of their squares, and the sum of each slice.

    Attributes:
        cut: by field, the number of events with a value that is not listed; ``least``: a bound that no such value
            exceeds.
    """

    total: float
    squares: float
    slices: Mapping[tuple[str, str], float]
    cut: Mapping[str, int]
    least: Mapping[str, float]


def _read_counts(bucket: Mapping[str, Any], fields: Sequence[str]) -> _Counts:
    slices, cut, least = {}, {}, {}
    for place, field in enumerate(fields):
        terms = bucket.get(str(place), {})
        weights = [listed["weight"]["value"] for listed in terms.get("buckets", ())]
        for listed in terms.get("buckets", ()):
            slices[field, str(listed["key"])] = listed["weight"]["value"]
        cut[field] = terms.get("sum_other_doc_count", 0)
        least[field] = min(weights, default=0.0) if cut[field] else 0.0
    weights = bucket["weights"]
    return _Counts(weights["sum"] or 0.0, weights["sum_of_squares"] or 0.0, slices, cut, least)


def find_slices(
    failing: _Counts,
    everything: _Counts,
    is_candidate: Callable[[str, str], bool] = lambda field, value: True,
) -> list[Json]:
    """Return the slices that are over-represented among the failing events, the foremost first.

    A slice needs ``MIN_SHARE`` of the failing events, ``MIN_RISE`` more than its share of all events, and a tail of
    Fisher's exact test, failing against all other events, below ``FALSE_SLICES`` divided by the number of slices
    that are large enough to be named at all (Bonferroni's correction as in Tarone, Biometrics 46 (1990)). Weighted
    events count as their effective number, (Σw)²/Σw² (Kish, Survey Sampling (1965), section 11.7). Among slices
    that explain about as much, the origin of an event comes before its content.
    """
    if failing.total <= 0:
        return []
    least = MIN_SHARE * failing.total
    tests = sum(weight >= least and is_candidate(*key) for key, weight in everything.slices.items())
    # Each event with an unlisted value may have a value that no other event has.
    tests += sum(number for name, number in everything.cut.items() if everything.least[name] >= least)
    drawn = count_effective(failing.total, failing.squares)
    rest = everything.total - failing.total
    others = count_effective(rest, everything.squares - failing.squares)
    found = []
    for (field, value), weight in failing.slices.items():
        share = min(weight / failing.total, 1.0)
        if share < MIN_SHARE or not is_candidate(field, value):
            continue
        of_all = max(everything.slices.get((field, value), everything.least[field]), weight)
        usual = of_all / everything.total
        if share - usual < MIN_RISE or rest <= 0:
            continue
        elsewhere = ceil(min((of_all - weight) / rest, 1.0) * others - 1e-9)
        if compute_fisher_tail(floor(share * drawn + 1e-9), drawn, elsewhere, others) * tests < FALSE_SLICES:
            found.append({"field": field, "value": value, "of_failing": share, "of_all": usual})
    return sorted(found, key=_rank)


def _rank(candidate: Json) -> tuple[int, int, float, str, str]:
    field = candidate["field"]
    rise = candidate["of_failing"] - candidate["of_all"]
    kind = 0 if field.startswith(_LABELS) else 2 if field == _BINS else 1
    return -floor(rise * 20), kind, -rise, field, candidate["value"]


def count_effective(total: float, squares: float) -> int:
    """Return the number of equally weighted events with the same information: (Σw)²/Σw²."""
    return floor(total * total / squares + 1e-6) if squares > 0 and total > 0 else 0


def compute_fisher_tail(hits: int, drawn: int, other_hits: int, others: int) -> float:
    """Compute the one-sided tail of Fisher's exact test: P(X >= hits) for a hypergeometric X.

    Source: Fisher, Statistical Methods for Research Workers, 5th ed. (1934), section 21.02.

    Args:
        hits: the number of the ``drawn`` events that are in the slice.
        other_hits: the number of the ``others`` that are in the slice.
    """
    inside, events = hits + other_hits, drawn + others
    if hits <= 0 or hits * events <= drawn * inside:
        return 1.0
    outside = events - inside
    most = min(drawn, inside)
    term = total = 1.0
    for k in range(hits, most):
        term *= (inside - k) / (k + 1.0) * (drawn - k) / (outside - drawn + k + 1.0)
        total += term
        if term < total * 1e-13:
            break
    log_first = _log_choose(inside, hits) + _log_choose(outside, drawn - hits) - _log_choose(events, drawn)
    return min(1.0, exp(log_first + log(total)))


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0)


def find_grown_bins(expected: Mapping[str, float], observed: Mapping[str, float]) -> set[str]:
    """Return the bins whose share rose since training, by at least a fifth of the greatest rise, to exclude
    chance."""
    rows = sum(count for name, count in expected.items() if _is_compared(name))
    total = sum(observed.values())
    if rows <= 0 or total <= 0:
        return set()
    rises = {name: weight / total - expected.get(name, 0.0) / rows for name, weight in observed.items()}
    greatest = max(rises.values())
    return {name for name, rise in rises.items() if rise > 0 and rise >= 0.2 * greatest}


def _is_compared(name: str) -> bool:
    """Return whether a bin is part of a distribution; missing and unseen values are findings of other watches."""
    return name in ("!other", "!below", "!above") or not name.startswith(("!", "oov:"))


# --- the line


def _add_slice(finding: Finding, candidate: Json) -> None:
    field, value = candidate["field"], candidate["value"]
    if field == _BINS:
        name, _, label = value.partition("=")
        name, value = decode_value(name), decode_value(label)
    else:
        name = _CONTEXT.get(field) or field.removeprefix(_LABELS)
    failing = "failing events" if "check" in finding else "events in the bins that grew"
    text = f"{shorten(name)}={shorten(value)}: {format_percent(candidate['of_failing'])} of the {failing}"
    finding["lines"].insert(0, new_line(LINE, f"{text}, {format_percent(candidate['of_all'])} of all"))
    finding["slice"] = candidate
