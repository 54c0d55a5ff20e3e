"""Run the whole chain for an hour while its parts are killed and its disks are full, and account for every event.

``make soak``, or ``python -m tools.soak``. Two services under gunicorn log to one spool; a shipper sends it to
Elasticsearch, through Logstash if it is on PATH; the watch runner sends mails about faults that are planted in the
stream. All are real, each in its own processes. At the end, each event whose call returned must be in the store, be
a dead letter, or be counted as dropped, and each alert that was due must be delivered. The account is printed
and written to ``build/soak/account.json``; the parts' logs are beside it.

Exit code 0: everything is accounted for; 1: something is not; 2: this machine cannot run it.

Environment:
    LOGGING_LIB_SOAK_MINUTES: how long the services are called; default 60.
    LOGGING_LIB_SOAK_SEED: repeats the plan of an earlier run; default: a random one, which is printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from logging_lib import profile
from logging_lib._util import content
from logging_lib._util.times import format_instant
from logging_lib.ship.spool_reader import SpoolReader
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.profiles import publish
from tests import logstash_server
from tests.cache import Unavailable
from tests.ports import free_port
from tests.store import elastic
from tools.soak.account import Account, AlertAccount, AlertKey, account_for_alerts, account_for_events
from tools.soak.mail import read_mails
from tools.soak.parts import ProcessPart, StorePart, closing_disk
from tools.soak.plan import MODELS, Disruption, Fault, plan_disruptions, plan_faults
from tools.soak.traffic import Client, Ledger, fit_profile

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "soak"
RATE = 80.0
"""Rows per second of each service."""
_CLIENTS, _WORKERS = 2, 3
_WATCHES = {"na-spike": "missing", "out-of-range": "out_of_range", "unseen-categories": "unseen"}
_WINDOWS = ["1m", "2m", "5m", "10m"]
_INTERVAL = 10
_MARK = "ALERT"
_SPOOL_SECONDS, _ALERT_SECONDS = 600.0, 300.0
_LOOK, _SETTLE_LOOK = 0.2, 2.0
_COMMAND = (sys.executable, "-c", "from logging_lib.cli import main; main()")
_PAGE = 10_000


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no part keeps running
    minutes = float(os.environ.get("LOGGING_LIB_SOAK_MINUTES", "60"))
    seed = int(os.environ.get("LOGGING_LIB_SOAK_SEED") or random.SystemRandom().randrange(10**6))
    _say(f"seed {seed}, {minutes:g} minutes; logs are in {FOLDER}/logs")
    _clear(FOLDER)
    try:
        with contextlib.ExitStack() as stack:
            account = Soak(stack, seed, minutes * 60.0).run()
    except Unavailable as reason:
        _say(f"this machine cannot run it: {reason}")
        return 2
    document = account.document()
    (FOLDER / "account.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(format_account(account))
    return 1 if document["problems"] else 0


class Soak:
    """One run; its parts end with ``stack``.

    Raises:
        Unavailable: this machine has no Elasticsearch, or no Java for it.
    """

    def __init__(self, stack: contextlib.ExitStack, seed: int, seconds: float) -> None:
        self._seed, self._seconds = seed, seconds
        self._chance = random.Random(seed)
        self._has_logstash = shutil.which("logstash") is not None
        self._faults = plan_faults(self._chance, seconds)
        self._plan = plan_disruptions(
            self._chance, seconds, without=() if self._has_logstash else ("logstash",)
        )
        self._done: Counter[str] = Counter()
        self._ledger = Ledger()
        self._waiting = 0
        (FOLDER / "logs").mkdir(parents=True)
        self._mails = FOLDER / "mail"
        self._mails.mkdir()
        self._store = stack.enter_context(StorePart())
        self._prepare_store()
        self._spool = stack.enter_context(closing_disk(FOLDER / "spool", self._list_loggers))
        self._state = stack.enter_context(closing_disk(FOLDER / "state", self._list_runners))
        self._ports = {model: free_port() for model in MODELS}
        self._parts = self._make_parts()
        for part in self._parts.values():
            stack.callback(part.stop)

    def _prepare_store(self) -> None:
        """Deploy the stack, a label that the store refuses unless it is a number, and the models' profiles."""
        size = {"type": "long", "ignore_malformed": False}
        labels = {"type": "object", "dynamic": True, "subobjects": False, "properties": {"size": size}}
        custom = {"template": {"mappings": {"properties": {"labels": labels}}}}
        with elastic.deployed(self._store.url) as connection:
            connection.call("PUT", "/_component_template/logs-ml.prediction@custom", custom)
            store = ElasticsearchStore(connection, retry_seconds=60)
            for model in MODELS:
                fitted = fit_profile(model)
                profile.save(fitted, FOLDER / f"{model}.json")
                publish(store, fitted, now=datetime.now(UTC))

    def _make_parts(self) -> dict[str, ProcessPart]:
        paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        smtp_port = free_port()

        def make(name: str, *command: object, **variables: str) -> ProcessPart:
            log = FOLDER / "logs" / f"{name.replace(' ', '-')}.log"
            return ProcessPart(command, log, {**paths, **variables})

        parts = {
            f"service {model}": make(
                f"service {model}", sys.executable, "-m", "gunicorn", "tools.soak.service:application",
                "--workers", _WORKERS, "--bind", f"127.0.0.1:{port}", "--reuse-port", "--timeout", 8,
                "--graceful-timeout", 10, "--log-level", "warning",
                SOAK_MODEL=model, SOAK_SPOOL=str(self._spool.folder), SOAK_PROFILE=str(FOLDER / f"{model}.json"),
            )
            for model, port in self._ports.items()
        }  # fmt: skip
        target = f"es+{self._store.url}"
        if self._has_logstash:
            target = f"beats://127.0.0.1:{(beats := free_port())}"
            ports = {"ML_BEATS_PORT": beats, "ML_TCP_PORT": free_port(), "ML_HTTP_PORT": free_port()}
            variables = {name: str(port) for name, port in ports.items()}
            variables |= {"ML_OUTPUT": "elasticsearch-open", "ML_ELASTICSEARCH_URL": self._store.url}
            command, variables = logstash_server.prepare(
                FOLDER / "logstash", logstash_server.shipped(), variables
            )
            parts["logstash"] = make("logstash", *command, **variables)
        parts["shipper"] = make("shipper", *_COMMAND, "ship", self._spool.folder, "--to", target)
        parts["mail server"] = make(
            "mail server", sys.executable, "-m", "tools.soak.mail", smtp_port, self._mails
        )
        parts["runner"] = make(
            "runner", *_COMMAND, "watch", "run", "--elasticsearch", self._store.url,
            "--watches", write_watches(FOLDER / "watches"), "--state", self._state.folder,
            "--smtp-url", f"smtp://127.0.0.1:{smtp_port}", "--catch-up", "--lease", "6s", "--digest-over", 0,
        )  # fmt: skip
        return parts

    def _list_loggers(self) -> Iterator[int]:
        for name, part in self._parts.items():
            if name.startswith("service"):
                yield from part.children()
        yield from self._pid_of("shipper")

    def _list_runners(self) -> Iterator[int]:
        yield from self._pid_of("runner")

    def _pid_of(self, name: str) -> Iterator[int]:
        if (pid := self._parts[name].pid) is not None:
            yield pid

    def run(self) -> Account:
        """Call the services, disrupt the parts, let all logged events arrive, and account for them."""
        for part in self._parts.values():
            part.start()
        began, at = time.monotonic(), datetime.now(UTC)
        over = threading.Event()
        clients = [
            Client(
                model, port, RATE / _CLIENTS, self._faults, self._ledger,
                name=f"{model}-{number}", seed=f"{self._seed}-{model}-{number}", began=began, over=over,
            )
            for model, port in self._ports.items()
            for number in range(_CLIENTS)
        ]  # fmt: skip
        for client in clients:
            client.start()
        self._disrupt(began)
        over.set()
        for client in clients:
            client.join()
        failures = self._settle()
        return self._account(at, failures)

    def _disrupt(self, began: float) -> None:
        plan = list(self._plan)
        while (passed := time.monotonic() - began) < self._seconds:
            while plan and plan[0].at <= passed:
                disruption = plan.pop(0)
                if self._apply(disruption):
                    self._done[f"{disruption.what} {disruption.part}"] += 1
                    _say(str(disruption))
            self._watch_over()
            time.sleep(_LOOK)

    def _apply(self, disruption: Disruption) -> bool:
        """Disrupt a part; return whether that was possible."""
        what, part, seconds = disruption.what, disruption.part, disruption.seconds
        if part == "elasticsearch":
            return self._store.kill(seconds) if what == "kill" else self._store.fill(seconds)
        if what == "fill":
            (self._spool if part == "spool" else self._state).fill(seconds)
            return True
        if not part.startswith("workers of "):
            self._parts[part].kill(seconds)
            return True
        workers = self._parts[f"service {part.removeprefix('workers of ')}"].children()
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        return bool(workers)

    def _watch_over(self) -> None:
        for part in (*self._parts.values(), self._store, self._spool, self._state):
            part.watch_over()

    def _settle(self) -> list[str]:
        """End all disruptions and the services, wait for events in transit, and return what did not arrive."""
        _say("the calls have ended; waiting for what is on its way")
        for disk in (self._spool, self._state):
            disk.free()
        failures = []
        if not self._wait(lambda: not self._store.is_disrupted, _SPOOL_SECONDS):
            failures.append(f"Elasticsearch did not start again: {self._store.failure}")
        for model in MODELS:
            self._parts[f"service {model}"].stop()
        if not self._wait(self._is_spool_empty, _SPOOL_SECONDS):
            failures.append("the spool was not emptied")
        if not self._wait(lambda: not self._account_for_alerts().missing, _ALERT_SECONDS):
            failures.append("alerts are missing")
        for name in ("runner", "shipper", "mail server"):
            self._parts[name].stop()
        for name, part in self._parts.items():
            if part.crashes and name != "runner":  # a runner ends with an error if its store is down
                failures.append(f"{name} ended by itself {part.crashes} times")
        return failures

    def _wait(self, is_so: Callable[[], bool], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() >= until:
                return False
            self._watch_over()
            time.sleep(_SETTLE_LOOK)
        return True

    def _is_spool_empty(self) -> bool:
        self._waiting, size, _ = SpoolReader(self._spool.folder).measure_backlog()
        return size == 0

    def _account_for_alerts(self) -> AlertAccount:
        mails = [(str(mail["Message-ID"]), read_alerts(mail)) for mail in read_mails(self._mails)]
        with self._store.connect() as connection:
            store = ElasticsearchStore(connection, retry_seconds=60)
            return account_for_alerts(self._faults, count_faults(store, self._faults), mails)

    def _account(self, at: datetime, failures: Sequence[str]) -> Account:
        with self._store.connect() as connection:
            store = ElasticsearchStore(connection, retry_seconds=60)
            store.refresh()
            events = account_for_events(
                self._ledger,
                (hit["_id"] for hit in list_hits(store, "logs-ml.prediction-*", False)),
                (
                    hit["_source"]["event"]["original"]
                    for hit in list_hits(store, "logs-ml.deadletter-*", ["event.original"])
                ),
                waiting=self._waiting,
            )
        run = {
            "seed": self._seed,
            "minutes": self._seconds / 60.0,
            "began": format_instant(at),
            "ended": format_instant(datetime.now(UTC)),
            "way": "Logstash" if self._has_logstash else "straight to Elasticsearch",
            "workers": _WORKERS * len(MODELS),
            "full_disk": self._spool.kind,
            "starts": {name: part.starts for name, part in self._parts.items()},
        }
        return Account(
            run, dict(sorted(self._done.items())), events, self._account_for_alerts(), tuple(failures)
        )


def write_watches(folder: Path) -> Path:
    """Write the shipped watches of the planted faults' checks, with shorter windows and a mail that lists keys."""
    folder.mkdir()
    alert = f"{{{{#ctx.payload.result.findings}}}}{_MARK} {{{{model}}}} {{{{feature}}}} {{{{ctx.metadata.kind}}}}\n"
    body = alert + "{{/ctx.payload.result.findings}}"
    for name, check in _WATCHES.items():
        watch = json.loads((content.path("watchers") / f"{name}.json").read_text("utf-8"))
        watch["metadata"] |= {
            "windows": _WINDOWS,
            "kind": check,
            "ticks_per_month": 30 * 86_400 // _INTERVAL,
        }
        watch["trigger"]["schedule"]["interval"] = f"{_INTERVAL}s"
        mail = {"to": "ml@example.org", "subject": f"[{name}] {{{{ctx.payload.result.count}}}}"}
        watch["actions"] = {
            "email": {"throttle_period": "24h", "email": {**mail, "body": {"text": body}}},
        }
        (folder / f"{name}.json").write_text(json.dumps(watch), "utf-8")
    return folder


def read_alerts(mail: EmailMessage) -> set[AlertKey]:
    """Return the alerts that a mail contains."""
    part = mail.get_body(("plain",))
    lines = part.get_content().splitlines() if part is not None else []
    alerts = set()
    for words in (line.split() for line in lines):
        if words[:1] == [_MARK]:
            model, feature, check = words[1:]
            alerts.add((model, feature, check))
    return alerts


def count_faults(store: ElasticsearchStore, faults: Sequence[Fault]) -> dict[AlertKey, int]:
    """Count the stored events that fail the check of each planted fault."""
    counts = {}
    for fault in faults:
        terms = {"ml.model.name": fault.model, f"ml.check.{fault.check}": fault.feature}
        body = {
            "size": 0,
            "track_total_hits": True,
            "query": {"bool": {"filter": [{"term": {name: value}} for name, value in terms.items()]}},
        }
        counts[fault.key] = store.search("logs-ml.prediction-*", body)["hits"]["total"]["value"]
    return counts


def list_hits(store: ElasticsearchStore, target: str, source: Any) -> Iterator[dict[str, Any]]:
    """List all documents of a stream, in pages."""
    body: dict[str, Any] = {"size": _PAGE, "sort": ["event.id"], "_source": source}
    while hits := store.search(target, body)["hits"]["hits"]:
        yield from hits
        body["search_after"] = hits[-1]["sort"]


def format_account(account: Account) -> str:
    """Format the account as a table of text."""
    events, alerts = account.events, account.alerts
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in events.dropped_by_reason.items())
    disruptions = ", ".join(f"{name} {number}" for name, number in account.disruptions.items())
    rows: list[tuple[str, int, str]] = [
        ("rows in calls that reached a service", events.rows, ""),
        ("logged: calls that returned, counted as written", events.logged, f"stats(): {events.logged_by_stats:,}"),
        ("  stored", events.stored, ""),
        ("  dead-lettered", events.dead_lettered, ""),
        ("  unaccounted for", events.unaccounted, " ".join(events.unaccounted_ids)),
        ("dropped and counted", events.dropped, f"health events included: {reasons}" if reasons else ""),
        ("unanswered: the process was killed", events.unanswered, f"of them stored: {events.stored_unanswered:,}"),
        ("dead letters of cut lines and others", events.torn, ""),
        ("alerts due", alerts.due, f"of {alerts.planted} planted faults"),
        ("alerts delivered", alerts.delivered, f"{alerts.mails} mails, {alerts.repeated} of them repeated"),
        ("alerts missing", len(alerts.missing), " ".join("/".join(key) for key in alerts.missing)),
        ("alerts about no planted fault", len(alerts.unplanted), " ".join("/".join(k) for k in alerts.unplanted)),
        ("disruptions", sum(account.disruptions.values()), disruptions),
    ]  # fmt: skip
    lines = [f"{name:<50} {number:>10,}  {note}".rstrip() for name, number, note in rows]
    problems = account.problems()
    verdict = (
        ["everything is accounted for"] if not problems else [f"PROBLEM: {problem}" for problem in problems]
    )
    return "\n".join([*lines, *verdict])


def _clear(folder: Path) -> None:
    """Delete the files of an earlier run, even of one that was killed with its disks mounted."""
    for disk in ("spool", "state"):
        if (folder / disk).is_mount():
            subprocess.run(["umount", "--lazy", str(folder / disk)], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
