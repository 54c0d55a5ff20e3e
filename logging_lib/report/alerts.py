"""Alerts, as the runner wrote them or a backtest found them, put in order for a reader. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from logging_lib._util.formatting import format_time
from logging_lib._util.times import parse_instant
from logging_lib.report.judging import is_elevated
from logging_lib.report.model import Alert, Finding, Judging, Moment, Rate
from logging_lib.watch.model import Watch

PREDICTION = "(prediction)"


@dataclass(frozen=True)
class Told:
    """The alerts of the period as documents (``watch.results.Alert.document``), and where they come from.

    ``judged`` is the source for the verdict's sentence: ``22 watches``; empty where nothing was judged.
    """

    documents: Sequence[Mapping[str, Any]] = ()
    judging: Judging = field(default_factory=lambda: Judging("No watch was run for this report.", 0))
    judged: str = ""


def from_files(files: Iterable[Path]) -> Judging:
    """Where alerts come from that the runner wrote."""
    return Judging(f"Alerts as the runner wrote them: {', '.join(file.name for file in files)}.", 0)


def of_model(
    documents: Iterable[Mapping[str, Any]], model: str, start: datetime | None, end: datetime | None
) -> list[Mapping[str, Any]]:
    """Those about a model, or about all models, in a time; in the order of time."""
    chosen = []
    for document in documents:
        moment = parse_instant(str(document["time"]))
        if document.get("model") not in (model, "", None):
            continue
        if (start is None or moment >= start) and (end is None or moment <= end):
            chosen.append((moment, document))
    return [document for _, document in sorted(chosen, key=lambda pair: pair[0])]


def grouped(documents: Iterable[Mapping[str, Any]], watches: Mapping[str, Watch]) -> tuple[Alert, ...]:
    """One alert a watch, version and set of features; the findings are those of the first time."""
    found: dict[tuple[str, str, tuple[str, ...]], Alert] = {}
    for document in documents:
        features = tuple(str(name) for name in document.get("features") or ())
        version = str(document.get("version") or "")
        key = (str(document["watch"]), version, features)
        moment = parse_instant(str(document["time"]))
        if key in found:
            found[key] = replace(found[key], times=(*found[key].times, moment))
            continue
        watch = watches.get(key[0])
        metadata = watch.metadata if watch is not None else {}
        found[key] = Alert(
            number=len(found) + 1,
            watch=key[0],
            title=watch.title if watch is not None else key[0],
            concern=str(metadata.get("concern", "")),
            runbook=str(metadata.get("runbook", "")),
            version=version,
            subject=str(document.get("subject") or key[0]),
            features=features,
            times=(moment,),
            findings=tuple(map(_finding, document.get("findings") or ())),
        )
    return tuple(found.values())


def _finding(given: Mapping[str, Any]) -> Finding:
    lines = given.get("lines") or ()
    return Finding(
        feature=str(given.get("feature") or ""),
        what=str(given.get("what") or ""),
        evidence=tuple((str(each["name"]), str(each["value"])) for each in lines),
        query=str(given.get("query") or ""),
        check=str(given.get("check") or ""),
    )


def told(alerts: Iterable[Alert]) -> list[tuple[str, str]]:
    """(check, feature) of all findings that name a check."""
    return [(each.check, each.feature) for alert in alerts for each in alert.findings if each.check]


def with_state(
    alert: Alert, rates: Mapping[tuple[str, str], Rate], moments: Sequence[Moment], interval: timedelta
) -> Alert:
    """The alert with what the events say of its end: still going on, or over since when."""
    pairs = {(each.check, each.feature) for each in alert.findings} & rates.keys()
    last: datetime | None = None
    for moment in moments:
        if moment.checked > 0 and any(
            is_elevated(moment.checks[pair], moment.checked, rates[pair].expected)
            for pair in pairs
            if pair in moment.checks
        ):
            last = moment.time
    if last is None:
        return alert
    if last >= moments[-1].time or last >= moments[-2].time:
        return replace(alert, state="still going on when the period ended", going_on=True)
    return replace(alert, state=f"over since {format_time(last + interval)}")
