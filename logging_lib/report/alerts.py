"""Find the alerts of a report, written by the runner or by replaying watches, and the runbooks they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final

from logging_lib._util import content as resources
from logging_lib._util.datemath import from_millis
from logging_lib._util.formatting import format_time
from logging_lib._util.text import shorten
from logging_lib._util.times import format_duration, parse_instant
from logging_lib.report import queries
from logging_lib.report.drift import is_elevated
from logging_lib.report.merging import REPEATED
from logging_lib.report.model import AlertSource, Moment, Rate, ReportedAlert, Subject
from logging_lib.store.port import Store
from logging_lib.watch.backtest import event_time
from logging_lib.watch.backtest.backtest import backtest
from logging_lib.watch.model import Watch

SHIPPED_RUNBOOKS: Final = "docs/runbooks"
MAX_TICKS = 9000
_STEPS = tuple(timedelta(minutes=minutes) for minutes in (5, 10, 15, 30, 60, 120, 360, 720, 1440))
_PROBLEMS = 10
_REACH = 25  # hours for which a window can still include an event


@dataclass(frozen=True)
class FoundAlerts:
    """The alerts of the period, and where they come from.

    Attributes:
        documents: alerts as the runner writes them.
        searched_by: the source for the verdict's sentence, such as ``25 watches``; empty if no watch was run.
    """

    documents: Sequence[Mapping[str, Any]] = ()
    source: AlertSource = field(
        default_factory=lambda: AlertSource("No watches were run for this report.", 0)
    )
    searched_by: str = ""


def name_files(files: Iterable[Path]) -> AlertSource:
    """Return the files of alerts that the runner wrote as an alert source."""
    return AlertSource(f"Alerts written by the watch runner: {', '.join(file.name for file in files)}.", 0)


def select(
    documents: Iterable[Mapping[str, Any]], model: str, start: datetime | None, end: datetime | None
) -> list[Mapping[str, Any]]:
    """Return the alerts of a period about a model, or about all models, in the order of time."""
    chosen = []
    for document in documents:
        moment = parse_instant(str(document["time"]))
        if document.get("model") not in (model, "", None):
            continue
        if (start is None or moment >= start) and (end is None or moment <= end):
            chosen.append((moment, document))
    return [document for _, document in sorted(chosen, key=lambda pair: pair[0])]


def name_checks(alerts: Iterable[ReportedAlert]) -> list[tuple[str, str]]:
    """Return (check, feature) of all findings that name a check."""
    return [
        (finding.check, finding.feature) for alert in alerts for finding in alert.findings if finding.check
    ]


def add_state(
    alert: ReportedAlert,
    rates: Mapping[tuple[str, str], Rate],
    moments: Sequence[Moment],
    interval: timedelta,
) -> ReportedAlert:
    """Add the state at an alert's end according to the events: still open, or resolved since when.

    Whatever happened long after its last repeat belongs to a later incident.
    """
    pairs = {(finding.check, finding.feature) for finding in alert.findings} & rates.keys()
    last: datetime | None = None
    for moment in moments:
        if moment.time > alert.times[-1] + REPEATED:
            break
        if moment.checked > 0 and any(
            is_elevated(moment.checks[pair], moment.checked, rates[pair].expected)
            for pair in pairs
            if pair in moment.checks
        ):
            last = moment.time
    if last is None:
        return alert
    alert = replace(alert, until=max(alert.until, last + interval))
    if last >= moments[-1].time or last >= moments[-2].time:
        return replace(alert, state="still open when the period ended", going_on=True)
    return replace(alert, state=f"resolved since {format_time(last + interval)}")


def replay(
    store: Store, watches: Sequence[Watch], subject: Subject, every: timedelta | None = None
) -> FoundAlerts:
    """Run the watches over the period, as if they had run while the model's events arrived.

    If the events were loaded after they happened, the replay uses the time at which they happened. It ends with the
    model's last prediction.

    Args:
        every: the time between ticks; None: the shortest of at least 5 minutes that needs at most ``MAX_TICKS``
            ticks.
    """
    times = store.search(queries.PREDICTIONS, queries.times(subject)).get("aggregations", {})
    happened, arrived = (event_time.read_percentiles(times.get(name)) for name in ("happened", "arrived"))
    if not happened:
        return FoundAlerts(
            source=AlertSource("No watches were replayed, because there are no predictions.", 0)
        )
    late = event_time.were_loaded_later(happened, arrived)
    time_field = event_time.HAPPENED if late else event_time.ARRIVED
    arrivals = store.search(queries.PREDICTIONS, queries.arrivals(subject, time_field))["aggregations"]
    hours = [from_millis(bucket["key"]) for bucket in arrivals["hours"]["buckets"]]
    covered = {hour + timedelta(hours=later) for hour in hours for later in range(_REACH)}
    step = every or next(
        (step for step in _STEPS if len(covered) * timedelta(hours=1) / step <= MAX_TICKS), _STEPS[-1]
    )
    result = backtest(
        event_time.EventTimeStore(store) if late else store,
        watches,
        start=from_millis(arrivals["min"]["value"]),
        end=from_millis(arrivals["max"]["value"]),
        every=step,
        arrivals=hours,
    )
    problems = [f"{watch}: {runs} runs failed: {error}" for (watch, error), runs in result.failures.items()]
    problems += [
        f"Version {shorten(version)} was not evaluated in {runs} runs: {reason}."
        for (model, version, reason), runs in result.skipped.items()
        if model == subject.model
    ]
    source = f"Found by replaying {len(watches)} watches every {format_duration(step)} over " + (
        "the events' own time, because they were loaded later." if late else "the arrival of the events."
    )
    return FoundAlerts(
        select((alert.document() for alert in result.alerts), subject.model, None, None),
        AlertSource(source, len(watches), tuple(problems[:_PROBLEMS])),
        f"{len(watches)} watches",
    )


def read_runbooks(watches: Iterable[Watch], folder: Path | None = None) -> dict[str, str]:
    """Read the runbooks that watches name: name in ``metadata.runbook`` → Markdown.

    A name that is not a local file's is skipped.

    Args:
        folder: the folder of the watches, if they are not the shipped ones: a team's runbooks are relative to it or
            to its parent folder.
    """
    texts: dict[str, str] = {}
    for name in {str(watch.metadata.get("runbook", "")) for watch in watches}:
        path = PurePosixPath(name)
        if path.suffix != ".md" or path.is_absolute() or ".." in path.parts or "://" in name:
            continue
        places = [folder.parent / path, folder / path] if folder is not None else []
        if str(path.parent) == SHIPPED_RUNBOOKS:
            places.append(resources.path(SHIPPED_RUNBOOKS) / path.name)
        file = next((place for place in places if place.is_file()), None)
        if file is not None:
            texts[name] = file.read_text("utf-8")
    return texts
