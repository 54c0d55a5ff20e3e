"""``ml-latency``: whether predictions became slower than they were."""

from __future__ import annotations

from math import floor

from logging_lib.watch.scripts.common import (
    Document,
    Given,
    buckets,
    buckets_in,
    chance,
    found,
    judged,
    line,
    number,
    percent,
    profiles_of,
    quoted,
    serving,
    setting,
    whole,
)
from logging_lib.watch.statistics import beta_binomial_tail, predictive

MILLION = 1000000.0


def latency(ctx: Given, params: Given) -> Document:
    """The 95th percentile of ``event.duration`` against the model's own past and ``max_ms``.

    Of the past's durations one in twenty is above its own p95. The window's percentiles say what share of it is
    above that; the tail of the beta-binomial distribution says how likely so many are, and ``dispersion`` how
    much hours differ by themselves. A finding needs a p95 of at least ``min_ratio`` times the past's and
    ``min_rise_ms`` more, or one above ``max_ms``; and a longer window needs both of the shorter one, too.
    """
    metadata = ctx["metadata"]
    windows = metadata["windows"]
    profiles = profiles_of(ctx["payload"]["profiles"])
    past = {}
    for model in buckets_in(ctx["payload"]["baseline"], "models"):
        past[model["key"]] = model
    findings: list[Document] = []
    notes: list[Document] = []
    for model in buckets_in(ctx["payload"]["window"], "models"):
        for version in buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            alpha = setting(ctx, profile, "false_alarms_per_model_month") / (
                len(windows) * metadata["ticks_per_month"]
            )
            min_events, max_ms = setting(ctx, profile, "min_events"), setting(ctx, profile, "max_ms")
            most = int(version["windows"]["buckets"][windows[-1]]["timed"]["value"])
            if most < min_events:
                reason = f"{most} timed events in {windows[-1]}, at least {min_events} are needed"
                notes.append({"model": model["key"], "version": version["key"], "reason": reason})
                continue
            before = past.get(model["key"])
            known = before is not None and before["timed"]["value"] >= min_events
            if not known:
                reason = f"too few earlier events to compare with, at least {min_events} are needed"
                notes.append({"model": model["key"], "version": version["key"], "reason": reason})
            shorter: float | None = None
            told = False
            for window in windows:
                bucket = version["windows"]["buckets"][window]
                n = int(bucket["timed"]["value"])
                if n < min_events or told:
                    continue
                p95 = bucket["duration"]["values"]["95.0"]
                recent, shorter = shorter, p95
                limit = max_ms * MILLION
                tail = 0.0
                if known and before is not None:
                    usual = before["duration"]["values"]["95.0"]
                    tail = _tail(
                        bucket, n, usual, before["timed"]["value"], setting(ctx, profile, "dispersion")
                    )
                    grown = max(
                        setting(ctx, profile, "min_ratio") * usual,
                        usual + setting(ctx, profile, "min_rise_ms") * MILLION,
                    )
                    slower = p95 >= grown and tail < alpha and (recent is None or recent >= grown)
                else:
                    usual, slower = 0.0, False
                beyond = p95 >= limit and (recent is None or recent >= limit)
                if not slower and not beyond:
                    continue
                told = True
                lines = [
                    *serving(version),
                    line(
                        "observed",
                        f"p95 {_ms(p95)}, median {_ms(bucket['duration']['values']['50.0'])}, "
                        f"of {n} predictions in the last {window}",
                    ),
                ]
                if known and before is not None:
                    earlier = whole(before["timed"]["value"])
                    above = percent(_share(bucket, usual))
                    lines.append(line("usual", f"p95 {_ms(usual)}, of {earlier} earlier predictions"))
                    lines.append(line("above the usual p95", f"{above} % at least, expected 5.00 %"))
                if slower:
                    lines.append(line("by chance, had nothing changed", chance(tail)))
                lines.append(line("limit", _ms(limit)))
                against = f"usually {_ms(usual)}" if slower else f"limit {_ms(limit)}"
                since = bucket["first"]["value_as_string"]
                lines.append(line("since", f"{since} at the latest"))
                query = (
                    f"ml.model.name: {quoted(model['key'])} and ml.model.version: {quoted(version['key'])}"
                    f" and event.duration >= {whole(usual if slower else limit)}"
                    f' and event.ingested >= "{ctx["trigger"]["scheduled_time"]}||-{window}"'
                )
                what = f"p95 of the latency {_ms(p95)}, {against}"
                until = bucket["last"]["value_as_string"]
                finding = found(
                    profile, model["key"], version["key"], "latency", what, lines, query, since, until
                )
                finding["window"] = window
                finding["observed"] = n
                findings.append(finding)
    return {**judged(findings), "notes": notes}


def _share(bucket: Given, usual: float) -> float:
    """The share of the window that is surely above ``usual``: 1 less the lowest percentile that is."""
    found = 0.0
    for percentile, value in bucket["duration"]["values"].items():
        if value > usual:  # asked first: most are not
            found = max(found, 1.0 - float(percentile) / 100.0)
    return found


def _tail(bucket: Given, n: int, usual: float, rows: float, dispersion: float) -> float:
    a, b = predictive(0.05 * rows, rows, dispersion)
    return beta_binomial_tail(floor(n * _share(bucket, usual) + 1e-9), n, a, b)


def _ms(nanoseconds: float) -> str:
    return number(nanoseconds / MILLION) + " ms"
