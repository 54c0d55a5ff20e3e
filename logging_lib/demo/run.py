"""Runs the demo: train, profile, serve two months through the real logger, watch, tell people."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from logging_lib._util import resources
from logging_lib.capture.reading import files, lines
from logging_lib.demo import loans, model
from logging_lib.demo.receivers import Receivers
from logging_lib.jobs.publish import publish
from logging_lib.normalize import normalize_line
from logging_lib.profile.config import Config
from logging_lib.report import alerts as alerting
from logging_lib.report import collect
from logging_lib.report.model import AlertSource
from logging_lib.report.page import render_page
from logging_lib.store.embedded.store import EmbeddedStore
from logging_lib.watch.actions import SlackOutlet, SmtpOutlet
from logging_lib.watch.checking.loading import load_watches
from logging_lib.watch.model import Watch
from logging_lib.watch.runner.filestate import FOLDER, FileState
from logging_lib.watch.runner.results import Alert
from logging_lib.watch.runner.runner import Runner
from logging_lib.watch.runner.state import MemoryState, Wanted, WatchState

TICK = timedelta(minutes=5)
AFTER_HOURS = timedelta(minutes=15)
KNOWN_AFTER = timedelta(hours=2)
SIMULATED = ("ml.prediction", "ml.label")


Truths = deque[tuple[datetime, str, float]]
"""Waiting to be known: when, of which request, what."""


@dataclass
class Served:
    """What the service did: the moment of each event it logged, and how many each incident hit."""

    moments: list[datetime]
    hit: dict[str, int]


def run(out: Path, *, seed: int = 1) -> int:
    """Run the demo and leave all that it makes in ``out``; 0 where every promise was kept."""
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
    per_hour = {name: _rate(months[name]) for name in ("Feb", "Mar")}
    console.print(
        f"[bold]2. Serve[/bold] {len(served_rows)} loans of February and March through the logger. The data name "
        "only the month of a loan:\n   each month's rows are spread evenly over its first "
        f"{loans.SERVING_DAYS} business days, 9:00 to 17:00 UTC,\n   "
        f"{per_hour['Feb']:.0f} an hour in February and {per_hour['Mar']:.0f} in March. "
        f"{len(_watches())} of the {len(load_watches(resources.path('watchers')))} watches run every 5 simulated "
        "minutes, those for the three incidents: all of them would take minutes."
    )
    with Receivers(out) as receivers:
        with EmbeddedStore(out / "store") as store:
            served, alerts = _serve(store, served_rows, pipeline, out, receivers, seed, console)
            sentence = _write_report(store, alerts, out)
        subjects = list(receivers.subjects)

    summary = _summarize(served, alerts, subjects, time.perf_counter() - started)
    (out / "summary.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
    _tell(summary, sentence, out, console)
    return 0 if summary["ok"] else 1


def train(january: pd.DataFrame) -> tuple[Any, profile.Profile]:
    """The model of a month's loans, and its profile."""
    started = time.perf_counter()
    requests = loans.requests(january)
    pipeline = model.train(requests, january[loans.TARGET])
    seconds = round(time.perf_counter() - started, 3)
    fitted = profile.fit(
        january.assign(predicted=model.out_of_fold(requests, january[loans.TARGET])),
        model=loans.MODEL,
        version=loans.VERSION,
        target=loans.TARGET,
        prediction="predicted",
        config=Config(time=loans.TIME),
        training_seconds=seconds,
    )
    return pipeline, fitted


def _watches() -> list[Watch]:
    wanted = {incident.watch for incident in loans.INCIDENTS}
    return [watch for watch in load_watches(resources.path("watchers")) if watch.id in wanted]


def _rate(rows: pd.DataFrame) -> float:
    return len(rows) / (loans.SERVING_DAYS * (loans.CLOSES - loans.OPENS))


def _serve(
    store: EmbeddedStore,
    rows: pd.DataFrame,
    pipeline: Any,
    out: Path,
    receivers: Receivers,
    seed: int,
    console: Console,
) -> tuple[Served, list[Alert]]:
    fitted = profile.load(out / "profile.json")
    publish(store, fitted, now=rows[loans.TIME].iloc[0].to_pydatetime())
    state = MemoryState()
    runner = Runner(
        store,
        _watches(),
        outlets={
            "email": SmtpOutlet(receivers.smtp_url, sender="logging-lib <ml-watch@example.org>"),
            "slack": SlackOutlet(receivers.slack_url),
        },
        state=state,
        alerts=out / "alerts.jsonl",
    )
    (out / "alerts.jsonl").touch()
    log = logging_lib.configure(
        model=loans.MODEL,
        version=loans.VERSION,
        profile=fitted,
        spool=out / "spool",
        service="loan-pricing",
        remember=10_000,
    )
    served, alerts = Served([], {}), []
    truths: Truths = deque()
    random, position = Random(seed), 0
    progress = Progress(
        TextColumn("   {task.fields[day]}"), BarColumn(), TextColumn("{task.completed} events"),
        TimeElapsedColumn(), console=console, transient=True,
    )  # fmt: skip
    with progress:
        task = progress.add_task("serving", total=len(rows), day="")
        for now, arrived in _ticks(rows):
            _predict_and_log(arrived, pipeline, log, random, served, truths)
            _log_truths(truths, log, now)
            position = _ship(out / "spool", position, store, now)
            alerts += _judge(runner, now, console)
            progress.update(task, advance=len(arrived), day=f"{now:%a %d %b %H:%M}")
    _keep(state, out / "store" / FOLDER)
    return served, alerts


def _keep(state: MemoryState, folder: Path) -> None:
    """Leave the runner's state where the command line looks for it; at each tick that would take too long."""
    kept = FileState(folder)
    for watch_id in state.watch_ids():
        kept.update(watch_id, _replaced_by(state.load(watch_id)))
    kept.record(state.history(Wanted(most=1_000_000)))


def _replaced_by(found: WatchState) -> Callable[[WatchState], WatchState]:
    return lambda _: found


def _ticks(rows: pd.DataFrame) -> Iterator[tuple[datetime, pd.DataFrame]]:
    """Every five minutes of every business day, with the loans that arrived since."""
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
    served: Served,
    truths: Truths,
) -> None:
    """What a service does with each request: receive the inputs, predict, log."""
    requests = loans.requests(arrived)
    for inputs, arrival, truth in zip(requests, arrived[loans.TIME], arrived[loans.TARGET], strict=True):
        moment = arrival.to_pydatetime()
        for incident in loans.INCIDENTS:
            if incident.hits(moment) and incident.apply(inputs, random):
                served.hit[incident.name] = served.hit.get(incident.name, 0) + 1
        request_id = f"loan-{len(served.moments)}"
        with log.prediction(inputs, timestamp=moment, request_id=request_id) as p:
            p.prediction = pipeline.predict([inputs])[0]
        served.moments.append(moment)
        truths.append((moment + KNOWN_AFTER, request_id, truth))


def _log_truths(truths: Truths, log: logging_lib.PredictionLogger, now: datetime) -> None:
    """The rate at which a loan was granted is known two hours after it was asked for."""
    while truths and truths[0][0] <= now:
        known, request_id, truth = truths.popleft()
        log.label(request_id, truth, timestamp=known)


def _ship(spool: Path, position: int, store: EmbeddedStore, now: datetime) -> int:
    """What the shipper and Logstash do: new lines of the spool, normalized, into the store."""
    if not spool.is_dir():
        return position
    (file,) = files([spool])
    streams: dict[str, list[dict[str, Any]]] = {}
    for line in lines(file, position):
        document = normalize_line(line, now=datetime.now(UTC)).document
        dataset = document["event"]["dataset"]
        # What was served arrives on the simulated day. The logger's start and counters are of today, and stay
        # there: a minute of them counts weeks of simulated events, which would look like a loss.
        if dataset in SIMULATED:
            document["event"].pop("ingested", None)
        streams.setdefault(f"logs-{dataset}-default", []).append(document)
    for stream, documents in streams.items():
        store.index(stream, documents, now=now)
    return file.stat().st_size


def _judge(runner: Runner, now: datetime, console: Console) -> list[Alert]:
    report = runner.tick(now)
    for run in report.runs:
        if run.error:
            console.print(f"   [red]{run.watch} failed: {run.error}[/red]")
    for alert in report.alerts:
        console.print(f"   {now:%a %d %b %H:%M}  [bold]{alert.title}[/bold]: {', '.join(alert.features)}")
    return list(report.alerts)


def _summarize(served: Served, alerts: list[Alert], subjects: list[str], seconds: float) -> dict[str, Any]:
    first_onset = min(incident.onset for incident in loans.INCIDENTS)
    before = [alert for alert in alerts if alert.time <= first_onset]
    found = []
    for incident in loans.INCIDENTS:
        told = [
            alert
            for alert in alerts
            if alert.watch == incident.watch
            and incident.feature in alert.features
            and alert.time > incident.onset
        ]
        alert = told[0] if told else None
        found.append(
            {
                "incident": incident.name,
                "cause": incident.cause,
                "watch": incident.watch,
                "feature": incident.feature,
                "onset": incident.onset.isoformat(),
                "first_alert": alert.time.isoformat() if alert else None,
                "minutes": round((alert.time - incident.onset).total_seconds() / 60) if alert else None,
                "events": sum(incident.onset <= m < alert.time for m in served.moments) if alert else None,
                "events_hit": served.hit.get(incident.name, 0),
                "subject": alert.actions["email"].subject if alert else None,
            }
        )
    expected = {(entry["watch"], entry["feature"]) for entry in found}
    others = [a for a in alerts if not {(a.watch, feature) for feature in a.features} & expected]
    return {
        "ok": not before and not others and all(entry["first_alert"] for entry in found),
        "events": len(served.moments),
        "events_before_first_incident": sum(moment < first_onset for moment in served.moments),
        "alerts_before_first_incident": len(before),
        "other_alerts": [f"{a.watch}: {', '.join(a.features)} at {a.time.isoformat()}" for a in others],
        "alerts": len(alerts),
        "mails": subjects,
        "incidents": found,
        "seconds": round(seconds, 1),
    }


def _write_report(store: EmbeddedStore, alerts: list[Alert], out: Path) -> str:
    """Leave the page that a data scientist would forward; its first sentence."""
    watches = load_watches(resources.path("watchers"))
    subject = collect.subject_of(store, model=loans.MODEL, version=None, role=None, start=None, end=None)
    made = collect.collect(
        store,
        subject,
        now=datetime.now(UTC),
        found=alerting.FoundAlerts(
            [alert.document() for alert in alerts],
            AlertSource(
                f"Found by the {len(_watches())} watches of the demo as the events arrived.", len(_watches())
            ),
            f"{len(_watches())} watches",
        ),
        watches=watches,
        runbooks=alerting.read_runbooks(watches),
    )
    (out / "report.html").write_text(render_page(made), "utf-8")
    return made.verdict.sentence


def _tell(summary: dict[str, Any], sentence: str, out: Path, console: Console) -> None:
    console.print(
        f"[bold]3. Told[/bold] in {summary['alerts']} alerts, by a real SMTP server and a Slack receiver on "
        f"127.0.0.1. Before the first incident: {summary['alerts_before_first_incident']} alerts in "
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
    console.print(f"[bold]4. Report[/bold] {out / 'report.html'}: {escape(sentence)}")
    console.print(f"   The same events as dashboards: logging-lib dashboards preview --store {out / 'store'}")
    console.print(
        f"Left in {out}/: report.html, profile.json, spool/, store/, alerts.jsonl, mail/*.eml, slack.jsonl, "
        "summary.json. "
        f"{summary['seconds']} s."
    )
    console.print(f"   Served against training: logging-lib compare --store {out / 'store'}")
    console.print("What you saw is explained in docs/concepts.md; with your own model: docs/quickstart.md.")
