"""``logging-lib audit``: show everything known about one event."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from logging_lib.cli import options, output
from logging_lib.logger import jsonlines
from logging_lib.privacy.audit import Audit
from logging_lib.privacy.audit import audit as audit_event


def audit(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event.id of a prediction.")],
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    alerts: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", help="File that `watch run --alerts` wrote, or its history.jsonl; repeatable."
        ),
    ] = None,
    as_json: output.JsonOption = False,
) -> None:
    """Print all that is known of an event: inputs, checks, profile, model version, labels and alerts.

    Exit code 1: there is no such event; 2: wrong input.

    Example: logging-lib audit 0195d3b2-7c1e-7a44-9b1a-3f0c2d5e6f70 --store build/demo/store
    """
    with output.handle_errors(OSError), output.progress("Searching"):
        sent_alerts = list(_read_alerts(alerts or ()))
        with contextlib.closing(options.choose(store, elasticsearch, read_only=True)) as opened:
            record = audit_event(opened, event_id, sent_alerts)
    if record is None:
        raise output.fail(
            f"{event_id}: there is no event with this id; erased, past its retention, or never indexed",
            code=1,
        )
    if as_json:
        typer.echo(json.dumps(record.document(), indent=1))
    else:
        _show(record)


def _read_alerts(files: list[Path] | tuple[Path, ...]) -> Iterator[dict[str, Any]]:
    """Yield the alerts in these files; skip lines that are not alerts, since the runner may be writing them."""
    for file in jsonlines.find_files(files):
        for line in jsonlines.read_lines(file):
            with contextlib.suppress(orjson.JSONDecodeError):
                alert = orjson.loads(line.data)
                if isinstance(alert, dict):
                    yield alert


def _show(record: Audit) -> None:
    console = output.console()
    event, ml = record.event, record.event["ml"]
    table = Table(show_header=False, box=None, pad_edge=False)

    def row(name: str, value: Any) -> None:
        if value not in (None, "", {}, []):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            table.add_row(name, output.safe(text))

    row("event", f"{event['event']['id']} in {record.index}")
    row("logged, arrived", f"{event['@timestamp']}, {event['event'].get('ingested', 'not known')}")
    row("service", " ".join(str(value) for value in (event.get("service") or {}).values()))
    row(
        "host, process", f"{(event.get('host') or {}).get('name')}, {(event.get('process') or {}).get('pid')}"
    )
    model = ml.get("model") or {}
    row("model", f"{model.get('name')} {model.get('version')} ({model.get('role', 'live')})")
    row(
        "request, trace",
        ", ".join(filter(None, [(ml.get("request") or {}).get("id"), (event.get("trace") or {}).get("id")])),
    )
    row("outcome", event["event"].get("outcome"))
    row("error", (event.get("error") or {}).get("message"))
    row("prediction", ml.get("prediction"))
    row("profile", _profile(record))
    row("libraries", ", ".join((record.start or {}).get("ml", {}).get("start", {}).get("libraries") or ()))
    row("inputs", {name: value for name, value in (ml.get("input") or {}).items() if name != "bins"})
    for check, features in record.checks.items():
        for failure in features:
            row(
                f"failed: {check}",
                f"{failure['feature']} was {json.dumps(failure['value'])} ({failure['bin'] or 'no bin'})",
            )
    for label in record.labels:
        row("label", {name: value for name, value in label["ml"]["label"].items() if value is not None})
    for sibling in record.siblings:
        sibling_model = sibling["ml"]["model"]
        row(
            "same request",
            f"{sibling_model['name']} {sibling_model['version']} ({sibling_model.get('role', 'live')}): "
            f"{sibling['event']['id']}",
        )
    for alert in record.alerts:
        about = f"{alert.alert['time']} {alert.alert.get('watch')}: {alert.alert.get('subject')}"
        row(f"alert ({alert.part})", about)
    console.print(table)
    if not record.checks:
        checked = (ml.get("profile") or {}).get("status") in ("matched", "mismatch")
        console.print("no check failed" if checked else "the inputs were not checked")


def _profile(record: Audit) -> str:
    logged_profile = record.event["ml"].get("profile") or {}
    text = f"{logged_profile.get('id', 'none')} ({logged_profile.get('status', 'unknown')})"
    if record.profile is None:
        return f"{text}; no profile is published for this version"
    trained = record.profile.get("trained_at") or "not recorded"
    comparison = {True: "the published one", False: "not the one that is published now", None: "not compared"}
    return f"{text}; {comparison[record.same_profile]}; trained at {trained}"
