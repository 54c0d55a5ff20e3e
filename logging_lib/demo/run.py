"""Run the demo: train a model, fit its profile, serve two months through the logger, watch, notify, report."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import logging_lib
from logging_lib import profile
from logging_lib._util import content
from logging_lib.demo import loans
from logging_lib.demo import loans as model
from logging_lib.demo.receivers import Receivers
from logging_lib.logger.jsonlines import find_files, read_lines
from logging_lib.normalize import normalize_line
from logging_lib.profile.config import Config
from logging_lib.report import alerts as alerting
from logging_lib.report import collect
from logging_lib.report.model import AlertSource
from logging_lib.report.page import render_page
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.profiles import publish
from logging_lib.watch.backtest.asof import AsOf
from logging_lib.watch.backtest.backtest import find_runs
from logging_lib.watch.backtest.history import EventHistory
from logging_lib.watch.evaluate import DependenciesOf, Due, run_dependencies
from logging_lib.watch.loading import load_watches, with_settings
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.registry import configure_channels
from logging_lib.watch.results import Alert
from logging_lib.watch.runner import Runner
from logging_lib.watch.state.base import HistoryQuery, MemoryState, WatchState
from logging_lib.watch.state.file import FOLDER, FileState

TICK = timedelta(minutes=5)
AFTER_HOURS = timedelta(minutes=15)
LABEL_DELAY = timedelta(hours=2)
SIMULATED_DATASETS = ("ml.prediction", "ml.label")


PendingLabels = deque[tuple[datetime, str, float]]
"""Labels that are not known yet: the time at which each becomes known, its request id, its value."""


@dataclass
class ServiceLog:
    """The record of the service: the time of each logged event, and how many events each incident hit."""

    event_times: list[datetime]
    hits_by_incident: dict[str, int]


def run(out: Path, *, seed: int = 1) -> int:
    """Run the demo, with all its output in ``out``; return 0 if exactly the three incidents were found."""
    started = time.perf_counter()
    console = Console()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)

    months = loans.load()
    console.print(
        f"[bold]1. Train[/bold] a ridge regression of the interest rate on {len(months['Jan'])} real loans of "
        "January 2018, and fit their profile"
    )
    pipeline, fitted = train(months["Jan"])
    profile.save(fitted, out / "profile.json")
    console.print(
        f"   {out / 'profile.json'}: {len(fitted.features)} features, id {fitted.id}, expected rates from "
        f"{fitted.held_out.method}"
    )

    served_rows = pd.concat([months["Feb"], months["Mar"]])
    per_hour = {name: _loans_per_hour(months[name]) for name in ("Feb", "Mar")}
    console.print(
        f"[bold]2. Serve[/bold] {len(served_rows)} loans of February and March through the logger. The data name "
        "only the month of a loan:\n   each month's rows are spread evenly over its first "
        f"{loans.SERVING_DAYS} business days, 9:00 to 17:00 UTC,\n   "
        f"{per_hour['Feb']:.0f} an hour in February and {per_hour['Mar']:.0f} in March."
    )
    with Receivers(out) as receivers:
        with EmbeddedStore(out / "store") as store:
            served = _run_service(store, served_rows, pipeline, out, seed, console)
            watches = with_settings(load_watches(content.path("watchers")), receivers.settings)
            console.print(
                f"[bold]3. Watch[/bold] what arrived, every 5 simulated minutes, with all {len(watches)} watches"
            )
            alerts = _run_watches(store, watches, served_rows, out, receivers, console)
            sentence = _write_report(store, watches, alerts, out)
        subjects = list(receivers.subjects)

    summary = _summarize(served, alerts, subjects, len(watches), time.perf_counter() - started)
    (out / "summary.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
    _print_summary(summary, sentence, out, console)
    return 0 if summary["ok"] else 1


def train(january: pd.DataFrame) -> tuple[Any, profile.Profile]:
    """Train the model on a month's loans, and fit its profile."""
    started = time.perf_counter()
    requests = loans.requests(january)
    pipeline = model.train(requests, january[loans.TARGET])
    seconds = round(time.perf_counter() - started, 3)
    fitted = profile.fit(
        january.assign(predicted=model.predict_out_of_fold(requests, january[loans.TARGET])),
        model=loans.MODEL,
        version=loans.VERSION,
        target=loans.TARGET,
        prediction="predicted",
        config=Config(time=loans.TIME),
        training_seconds=seconds,
    )
    return pipeline, fitted


def _loans_per_hour(rows: pd.DataFrame) -> float:
    return len(rows) / (loans.SERVING_DAYS * (loans.CLOSES - loans.OPENS))


def _run_service(
    store: EmbeddedStore, rows: pd.DataFrame, pipeline: Any, out: Path, seed: int, console: Console
) -> ServiceLog:
    fitted = profile.load(out / "profile.json")
    publish(store, fitted, now=rows[loans.TIME].iloc[0].to_pydatetime())
    log = logging_lib.configure(
        model=loans.MODEL,
        version=loans.VERSION,
        profile=fitted,
        spool=out / "spool",
        service="loan-pricing",
        label_cache_size=10_000,
    )
    served = ServiceLog([], {})
    pending: PendingLabels = deque()
    random, durations, position = Random(seed), Random(seed), 0
    progress = Progress(
        TextColumn("   {task.fields[day]}"), BarColumn(), TextColumn("{task.completed} events"),
        TimeElapsedColumn(), console=console, transient=True,
    )  # fmt: skip
    with progress:
        task = progress.add_task("serving", total=len(rows), day="")
        for now, arrived in _ticks(rows):
            _predict_and_log(arrived, pipeline, log, random, durations, served, pending)
            _log_known_labels(pending, log, now)
            position = _ship(out / "spool", position, store, now)
            progress.update(task, advance=len(arrived), day=f"{now:%a %d %b %H:%M}")
    return served


def _run_watches(
    store: EmbeddedStore,
    watches: list[Watch],
    rows: pd.DataFrame,
    out: Path,
    receivers: Receivers,
    console: Console,
) -> list[Alert]:
    """Run the watches at each tick on the events received so far, counted for all ticks at once; deliver."""
    moments = [now for now, _ in _ticks(rows)]
    runs = find_runs(watches, moments)
    answers = dict(zip((watch.id for watch in watches), EventHistory(store).searches(runs), strict=True))
    past, state = AsOf(store), MemoryState()

    def prepare(due: Due, now: datetime) -> DependenciesOf:
        return lambda watch, scheduled: replace(
            run_dependencies(past, now=now), search=answers[watch.id].search(now)
        )

    (out / "alerts.jsonl").touch()
    runner = Runner(
        store,
        watches,
        channels=configure_channels(receivers.settings),
        state=state,
        alerts=out / "alerts.jsonl",
        prepare=prepare,
    )
    alerts: list[Alert] = []
    for now in moments:
        report = runner.tick(now)
        for run in report.runs:
            if run.error:
                console.print(f"   [red]{run.watch} failed: {run.error}[/red]")
        for alert in report.alerts:
            console.print(f"   {now:%a %d %b %H:%M}  [bold]{alert.title}[/bold]: {', '.join(alert.features)}")
        alerts += report.alerts
    _save_state(state, out / "store" / FOLDER)
    return alerts


def _save_state(state: MemoryState, folder: Path) -> None:
    """Save the runner's state where the command line reads it; doing so at each tick would take too long."""
    file_state = FileState(folder)
    for watch_id in state.watch_ids():
        file_state.update(watch_id, _constant_state(state.load(watch_id)))
    file_state.record(state.history(HistoryQuery(limit=1_000_000)))


def _constant_state(state: WatchState) -> Callable[[WatchState], WatchState]:
    return lambda _: state


def _ticks(rows: pd.DataFrame) -> Iterator[tuple[datetime, pd.DataFrame]]:
    """Yield every five minutes of every business day, with the loans that arrived since."""
    moments = rows[loans.TIME]
    for _, day in rows.groupby(moments.dt.date):
        now = day[loans.TIME].iloc[0].to_pydatetime().astimezone(UTC)
        closing = now.replace(hour=loans.CLOSES, minute=0, second=0, microsecond=0) + AFTER_HOURS
        while (now := now + TICK) <= closing:
            since = day[loans.TIME]
            yield now, day[(since >= now - TICK) & (since < now)]


def _predict_and_log(
    arrived: pd.DataFrame,
    pipeline: Any,
    log: logging_lib.PredictionLogger,
    random: Random,
    durations: Random,
    served: ServiceLog,
    pending: PendingLabels,
) -> None:
    """Do what a service does with each request: receive the inputs, predict, log.

    Args:
        durations: draws the duration of a request, because the load of this machine must not raise an alert.
    """
    requests = loans.requests(arrived)
    for inputs, arrival, actual in zip(requests, arrived[loans.TIME], arrived[loans.TARGET], strict=True):
        moment = arrival.to_pydatetime()
        for incident in loans.INCIDENTS:
            if incident.is_active(moment) and incident.apply(inputs, random):
                served.hits_by_incident[incident.name] = served.hits_by_incident.get(incident.name, 0) + 1
        request_id = f"loan-{len(served.event_times)}"
        took = durations.lognormvariate(-4.0, 0.3)
        with log.prediction(inputs, timestamp=moment, request_id=request_id, duration=took) as p:
            p.prediction = pipeline.predict([inputs])[0]
        served.event_times.append(moment)
        pending.append((moment + LABEL_DELAY, request_id, actual))


def _log_known_labels(pending: PendingLabels, log: logging_lib.PredictionLogger, now: datetime) -> None:
    """Log the labels: the rate of a loan is known two hours after the application."""
    while pending and pending[0][0] <= now:
        known, request_id, actual = pending.popleft()
        log.label(request_id, actual, timestamp=known)


def _ship(spool: Path, position: int, store: EmbeddedStore, now: datetime) -> int:
    """Do what the shipper and Logstash do: index new lines of the spool, normalized, into the store."""
    if not spool.is_dir():
        return position
    (file,) = find_files([spool])
    streams: dict[str, list[dict[str, Any]]] = {}
    for line in read_lines(file, position):
        document = normalize_line(line, now=datetime.now(UTC)).document
        dataset = document["event"]["dataset"]
        # Served events arrive on the simulated day. The logger's start and counters keep today's time: one minute
        # of them counts weeks of simulated events, which would look like a loss.
        if dataset in SIMULATED_DATASETS:
            document["event"].pop("ingested", None)
        streams.setdefault(f"logs-{dataset}-default", []).append(document)
    for stream, documents in streams.items():
        store.index(stream, documents, now=now)
    return file.stat().st_size


def _summarize(
    served: ServiceLog, alerts: list[Alert], subjects: list[str], watches: int, seconds: float
) -> dict[str, Any]:
    first_onset = min(incident.onset for incident in loans.INCIDENTS)
    before = [alert for alert in alerts if alert.time <= first_onset]
    summaries = []
    for incident in loans.INCIDENTS:
        alert = next((alert for alert in alerts if _is_about(alert, incident)), None)
        summaries.append(
            {
                "incident": incident.name,
                "cause": incident.cause,
                "watch": alert.watch if alert else None,
                "feature": incident.feature,
                "onset": incident.onset.isoformat(),
                "first_alert": alert.time.isoformat() if alert else None,
                "minutes": round((alert.time - incident.onset).total_seconds() / 60) if alert else None,
                "events": sum(incident.onset <= m < alert.time for m in served.event_times)
                if alert
                else None,
                "events_hit": served.hits_by_incident.get(incident.name, 0),
                "subject": alert.actions["email"].subject if alert else None,
            }
        )
    others = [a for a in alerts if not any(_is_about(a, incident) for incident in loans.INCIDENTS)]
    return {
        "ok": not before and not others and all(entry["first_alert"] for entry in summaries),
        "events": len(served.event_times),
        "events_before_first_incident": sum(moment < first_onset for moment in served.event_times),
        "alerts_before_first_incident": len(before),
        "other_alerts": [f"{a.watch}: {', '.join(a.features)} at {a.time.isoformat()}" for a in others],
        "watches": watches,
        "alerts": len(alerts),
        "mails": subjects,
        "incidents": summaries,
        "seconds": round(seconds, 1),
    }


def _is_about(alert: Alert, incident: loans.DemoIncident) -> bool:
    """Return whether an incident explains an alert: several watches see the same mistake."""
    return incident.feature in alert.features and alert.time > incident.onset


def _write_report(store: EmbeddedStore, watches: list[Watch], alerts: list[Alert], out: Path) -> str:
    """Write the report and return its verdict's sentence."""
    subject = collect.subject_of(store, model=loans.MODEL, version=None, role=None, start=None, end=None)
    report = collect.collect(
        store,
        subject,
        now=datetime.now(UTC),
        found=alerting.FoundAlerts(
            [alert.document() for alert in alerts],
            AlertSource(
                f"Found by the {len(watches)} watches of the demo as the events arrived.",
                len(watches),
            ),
            f"{len(watches)} watches",
        ),
        watches=watches,
        runbooks=alerting.read_runbooks(watches),
    )
    (out / "report.html").write_text(render_page(report), "utf-8")
    return report.verdict.sentence


def _print_summary(summary: dict[str, Any], sentence: str, out: Path, console: Console) -> None:
    console.print(
        f"[bold]4. Notify[/bold]: {summary['alerts']} alerts of {summary['watches']} watches, sent to a "
        "real SMTP server and a Slack receiver on 127.0.0.1. Before the first incident: "
        f"{summary['alerts_before_first_incident']} alerts in "
        f"{summary['events_before_first_incident']} events."
    )
    table = Table()
    for column in ("incident", "onset", "first alert", "events", "minutes"):
        table.add_column(column, overflow="fold")
    for entry in summary["incidents"]:
        first = entry["first_alert"]
        table.add_row(
            entry["cause"],
            f"{datetime.fromisoformat(entry['onset']):%a %d %b %H:%M}",
            f"{datetime.fromisoformat(first):%a %d %b %H:%M}" if first else "[red]not found[/red]",
            str(entry["events"]),
            str(entry["minutes"]),
        )
    console.print(table)
    for entry in summary["incidents"]:
        console.print(f"   mail: {escape(entry['subject'] or 'none')}")
    if summary["other_alerts"]:
        console.print("[red]Alerts that no incident explains:[/red] " + "; ".join(summary["other_alerts"]))
    console.print(f"[bold]5. Report[/bold] {out / 'report.html'}: {escape(sentence)}")
    console.print(f"   The same events as dashboards: logging-lib dashboards preview --store {out / 'store'}")
    console.print(
        f"Left in {out}/: report.html, profile.json, spool/, store/, alerts.jsonl, mail/*.eml, slack.jsonl, "
        "summary.json. "
        f"{summary['seconds']} s."
    )
    console.print(f"   Served against training: logging-lib compare --store {out / 'store'}")
    console.print("What you saw is explained in docs/concepts.md; with your own model: docs/quickstart.md.")
