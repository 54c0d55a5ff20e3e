"""Read search answers into a report's values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

from logging_lib._util.datemath import from_millis
from logging_lib.report.model import Answer, Moment, QualityMoment, QualityReport, Share, Variant
from logging_lib.schema import tokens
from logging_lib.store.port import StoreError

ABSOLUTE_ERROR, ACCURACY = "mean absolute error", "accuracy"


def buckets(aggregation: Answer, name: str) -> list[Any]:
    """Return the buckets of an aggregation. Raise StoreError if some were cut off: the report would be partial."""
    omitted = aggregation.get("sum_other_doc_count", 0)
    if omitted > 0 and not (aggregation.get("meta") or {}).get("top"):
        raise StoreError(f"the aggregation {name} left out {omitted} documents; report on a shorter period")
    complete: list[Any] = aggregation["buckets"]
    return complete


def weight(bucket: Answer) -> float:
    value: float = bucket["weight"]["value"]
    return value


def weights(aggregation: Answer, name: str) -> dict[str, float]:
    """Return key → weight."""
    return {str(bucket["key"]): weight(bucket) for bucket in buckets(aggregation, name)}


def variants(answer: Answer) -> Iterator[Variant]:
    """Yield every version and role of the answer to ``queries.variants``."""
    if "aggregations" not in answer:
        return
    for version in buckets(answer["aggregations"]["versions"], "versions"):
        for role in buckets(version["roles"], "roles"):
            mean, std, _ = compute_moments(role["strata"])
            yield Variant(
                version=version["key"],
                role=role["key"],
                documents=role["doc_count"],
                predictions=weight(role),
                failures=weight(role["failed"]),
                checked=weight(role["checked"]),
                mismatched=weight(role["mismatched"]),
                first=from_millis(role["first"]["value"]),
                last=from_millis(role["last"]["value"]),
                latency=latency(role["latency"]),
                mean=mean,
                std=std,
            )


def latency(percentiles: Answer) -> dict[str, float]:
    """Return percentile → milliseconds, from an answer in nanoseconds."""
    return {
        f"{float(percent):g}": value / 1e6
        for percent, value in percentiles["values"].items()
        if value is not None
    }


def compute_moments(strata: Answer) -> tuple[float | None, float | None, float | None]:
    """Return (mean, standard deviation, the mean's standard error) of a number, from a bucket per sampling weight.

    The weights w count for the mean and the variance. The error uses Kish's effective number of events,
    (Σw)² / Σw² (Kish, Survey Sampling, 1965, section 11.7): sampling reduces what is known, not what is counted.
    """
    total = first = second = squares = 0.0
    for stratum in buckets(strata, "strata"):
        numbers = stratum["value"]
        if numbers["count"] > 0:
            w, n = float(stratum["key"]), float(numbers["count"])
            total += w * n
            first += w * numbers["sum"]
            second += w * numbers["sum_of_squares"]
            squares += w * w * n
    if total == 0:
        return None, None, None
    mean = first / total
    effective = total * total / squares
    if effective <= 1:
        return mean, None, None
    std = sqrt(max(second / total - mean * mean, 0.0) * effective / (effective - 1))
    return mean, std, std / sqrt(effective)


def moments(answer: Answer, followed: Sequence[tuple[str, str]] = ()) -> Iterator[Moment]:
    """Yield the moments of the answer to ``queries.over_time`` with the same ``followed``."""
    if "aggregations" not in answer:
        return
    for bucket in answer["aggregations"]["moments"]["buckets"]:
        mean, _, error = compute_moments(bucket["strata"])
        followed_buckets = bucket.get("followed", {"buckets": {}})["buckets"]
        yield Moment(
            time=from_millis(bucket["key"]),
            predictions=weight(bucket),
            failures=weight(bucket["failed"]),
            checked=weight(bucket["checked"]),
            latency=latency(bucket["latency"]),
            mean=mean,
            error=error,
            checks={key: weight(followed_buckets[str(position)]) for position, key in enumerate(followed)},
        )


def group_by_feature(answer: Answer, name: str, features: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return feature → bin → weight from ``terms`` over tokens; the bins are the token parts unchanged."""
    parts = {tokens.escape(feature): feature for feature in features}
    bins_by_feature: dict[str, dict[str, float]] = {}
    for bucket in buckets(answer, name):
        part, _, bin_name = str(bucket["key"]).partition("=")
        feature = parts.get(part)
        if feature is not None:
            bins_by_feature.setdefault(feature, {})[bin_name] = weight(bucket)
    return bins_by_feature


def shares(expected: Mapping[str, float], served: Mapping[str, float]) -> tuple[Share, ...]:
    """Return each bin of training, in its order, then those that training did not have; special bins come last."""
    names = dict.fromkeys([*expected, *served])
    ordered = sorted(names, key=lambda name: name.startswith("!"))
    return tuple(
        Share(
            name=name if name.startswith("!") else tokens.split(f"={name}")[1],
            trained=float(expected.get(name, 0)),
            served=served.get(name, 0.0),
            special=name.startswith("!"),
        )
        for name in ordered
        if expected.get(name, 0) or served.get(name, 0.0)
    )


def quality(answer: Answer, trained: Mapping[str, float]) -> Iterator[QualityReport]:
    """Yield the reports of the answer to ``queries.labels``; ``trained``: measure → value on held-out rows."""
    if "aggregations" not in answer:
        return
    for version in buckets(answer["aggregations"]["versions"], "versions"):
        for role in buckets(version["roles"], "roles"):
            numbers = role["errors"]["count"] > 0
            if not numbers and not role["labeled"]["value"]:
                continue
            measure = ABSOLUTE_ERROR if numbers else ACCURACY
            _, value, error = _measure_quality(role, numbers)
            delay = next(iter(role["delay"]["values"].values()), None)
            squared = role["squared"]["value"]
            yield QualityReport(
                version=version["key"],
                role=role["key"],
                measure=measure,
                labels=weight(role),
                value=value,
                error=error,
                trained=trained.get(measure),
                rmse=sqrt(squared) if numbers and squared is not None else None,
                bias=role["bias"]["value"] if numbers else None,
                delay=delay,
                moments=tuple(
                    QualityMoment(from_millis(bucket["key"]), *_measure_quality(bucket, numbers))
                    for bucket in role["moments"]["buckets"]
                    if (bucket["errors"]["count"] if numbers else bucket["labeled"]["value"])
                ),
                confusion={
                    str(actual["key"]): weights(actual["predicted"], "predicted")
                    for actual in buckets(role["confusion"], "confusion")
                },
            )


def _measure_quality(bucket: Answer, numbers: bool) -> tuple[float, float, float]:
    """Return (labels, value, its standard error)."""
    if numbers:
        errors = bucket["errors"]
        n = errors["count"]
        std = sqrt(max(errors["variance"] or 0.0, 0.0) * n / (n - 1)) if n > 1 else 0.0
        return float(n), errors["avg"], std / sqrt(n)
    n, share = bucket["labeled"]["value"], bucket["correct"]["value"]
    return float(n), share, sqrt(share * (1 - share) / n)
