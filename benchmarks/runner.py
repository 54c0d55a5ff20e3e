"""500 watches due at once on one runner: from the first slot to the last run's end, and every alert delivered.

The na-spike watch runs under 500 names, over a model's day of predictions; a tenth of the copies look for a fault
that exists, and alert. One run has state and events in a real Elasticsearch, one is embedded, with both in files.
The mails go to a real SMTP server in this process. ``LOGGING_LIB_TEST_ES_URL`` names a server to use.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks import _elasticsearch
from benchmarks._common import Result
from logging_lib._util import content
from logging_lib.schema import fields
from logging_lib.store.connection import Connection, ConnectionSettings
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import Store
from logging_lib.watch.daemon import Daemon, Heartbeat, Pace
from logging_lib.watch.lease import LEASE, LeaderElector, LeaderState
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.email import EmailChannel
from logging_lib.watch.results import RunReport
from logging_lib.watch.runner import Runner
from logging_lib.watch.state.base import StateStore
from logging_lib.watch.state.elasticsearch import ElasticsearchState
from logging_lib.watch.state.file import FileState
from tests.watch.conftest import MailServer

WATCHES, ALERTING, EVENTS = 500, 50, 20_000


def run() -> Iterator[Result]:
    with _elasticsearch.deployed() as connection:
        if connection is not None:
            space = f"bench{uuid4().hex[:8]}"
            store = ElasticsearchStore(connection, retry_seconds=60)
            index = f"ml-watch-state-{space}"
            template = connection.call("GET", "/_index_template/ml-watch-state")["index_templates"][0]
            connection.call("PUT", f"/{index}", template["index_template"]["template"])
            state = ElasticsearchState(
                ElasticsearchStore(Connection(ConnectionSettings(connection.url)), retry_seconds=10), index
            )
            yield from _measure("runner", store, state, space)
            connection.call("DELETE", f"/{index}")
    with tempfile.TemporaryDirectory() as folder, EmbeddedStore(Path(folder) / "store") as embedded:
        yield from _measure("runner_embedded", embedded, FileState(Path(folder) / "state"), "default")


def _measure(name: str, store: Store, state: StateStore, space: str) -> Iterator[Result]:
    now = datetime.now(UTC)
    store.index(f"logs-ml.prediction-{space}", _events(now), now=now)
    store.index("ml-profiles", [_profile()])
    store.refresh()
    mail, reports = MailServer(), list[RunReport]()
    try:
        elector = LeaderElector(state, LEASE)
        engine = Runner(
            store,
            list(_watches(space)),
            channels={"email": EmailChannel(mail.url)},
            state=LeaderState(state, elector),
            check_leader=lambda: elector.check(datetime.now(UTC)),
        )
        beat = Heartbeat(store, now, namespace=space)
        stop, done = threading.Event(), threading.Event()

        def collect(report: RunReport) -> None:
            reports.append(report)
            if sum(len(one.runs) for one in reports) >= WATCHES:
                done.set()

        daemon = Daemon(engine, elector, heartbeat=beat, pace=Pace(), on_report=collect)
        worker = threading.Thread(target=daemon.run, args=(stop,))
        began = time.perf_counter()
        worker.start()
        finished = done.wait(600)
        taken = time.perf_counter() - began
        stop.set()
        worker.join()
    finally:
        mail.stop()
    runs = [one for report in reports for one in report.runs]
    assert finished, f"{len(runs)} of {WATCHES} runs after 600 s"
    failed = [one.error for one in runs if one.error]
    assert not failed, failed[:3]
    alerts = [alert for one in runs for alert in one.alerts]
    assert len(alerts) == ALERTING, f"{len(alerts)} alerts"
    unsent = [alert.actions["email"] for alert in alerts if alert.actions["email"].status != "executed"]
    assert not unsent, unsent[:3]
    yield Result(name, taken, "s for 500 watches", "<= 60 s")
    yield Result(f"{name}_mails", len(mail.mails), f"mails of {ALERTING} alerts", "reported")


def _events(now: datetime) -> Iterator[dict[str, Any]]:
    """Yield a day of predictions; in the last hour `income` is missing in every fifth."""
    schema = fields.load()
    for number in range(EVENTS):
        moment = now - timedelta(days=1) + timedelta(days=1) * number / EVENTS
        stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        late = now - moment < timedelta(hours=1)
        yield {
            "@timestamp": stamp,
            "ecs": {"version": schema.ecs_version},
            "event": {
                "id": uuid4().hex,
                "kind": "event",
                "dataset": "ml.prediction",
                "outcome": "success",
                "ingested": stamp,
            },
            "ml": {
                "schema_version": schema.schema_version,
                "model": {"name": "bench", "version": "1", "role": "live"},
                "profile": {"status": "matched"},
                "sample": {"weight": 1.0},
                "check": {"missing": ["income"]} if late and not number % 5 else {},
            },
        }


def _profile() -> dict[str, Any]:
    from benchmarks._common import frame
    from logging_lib import profile

    rows = frame(2_000, numbers=2, categories=1, texts=0).rename(columns={"number_0": "income"})
    return profile.build_document(profile.fit(rows, model="bench", version="1"))


def _watches(space: str) -> Iterator[Watch]:
    definition = json.loads((content.path("watchers") / "na-spike.json").read_text("utf-8"))
    text = json.dumps(definition).replace("logs-ml.prediction-*", f"logs-ml.prediction-{space}")
    for number in range(WATCHES):
        made = json.loads(text)
        made["metadata"]["model"] = "bench"
        made["actions"].pop("slack")
        if number % (WATCHES // ALERTING):
            made["metadata"]["min_effect"] = 0.9
        yield parse_watch(made, id=f"na-spike-{number}")


if __name__ == "__main__":
    for result in run():
        print(result)
