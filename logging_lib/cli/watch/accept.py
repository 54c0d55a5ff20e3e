"""``logging-lib watch incidents | accept``: list open incidents, and accept changes as expected from now on."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from logging_lib._util.times import format_instant
from logging_lib.cli import options, output
from logging_lib.cli.options import UsageError, instant
from logging_lib.cli.output import console, safe
from logging_lib.cli.watch import watch_options
from logging_lib.cli.watch.watch_options import JsonOption, lines_safe, print_json
from logging_lib.store.port import Store
from logging_lib.store.profiles import find_document, list_accepted, write_document
from logging_lib.watch import acceptances
from logging_lib.watch import incidents as inc
from logging_lib.watch.evaluate import evaluate, run_dependencies
from logging_lib.watch.findings import Key, findings_of, name_incident
from logging_lib.watch.state.base import WatchState, manual_record


def list_incidents(
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: options.StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the open incidents, each by the name that `watch accept` takes, and the changes that were accepted.

    Example: logging-lib watch incidents --store build/store
    """
    with output.handle_errors(), contextlib.ExitStack() as stack:
        opened = options.choose(store, elasticsearch, read_only=True)
        stack.callback(opened.close)
        states = watch_options.open_state(store, elasticsearch, state)
        rows = [
            {
                "incident": name_incident(watch_id, incident.key),
                "severity": incident.severity,
                "opened_at": format_instant(incident.opened_at),
                "is_found": incident.absent_since is None,
                "acknowledged_by": incident.acked_by or None,
                "related": incident.related or None,
            }
            for watch_id in states.watch_ids()
            for incident in states.load(watch_id).incidents
            if incident.closed_at is None
        ]
        accepted = list_accepted(opened)
    if as_json:
        print_json({"open": rows, "accepted": accepted})
        return
    table = Table("incident", "severity", "open since", "acknowledged", "related", box=None, pad_edge=False)
    for row in rows:
        cells = (row["incident"], row["severity"], row["opened_at"], row["acknowledged_by"], row["related"])
        table.add_row(*(safe(str(cell or "")) for cell in cells))
    if rows:
        console().print(table)
    else:
        typer.echo("no incident is open")
    for entry in accepted:
        about = " ".join(entry[name] for name in ("model", "version", "feature"))
        comment = f": {entry['comment']}" if entry["comment"] else ""
        line = f"accepted {entry['id']}: {entry['watch']} {about}, {entry['at']} by {entry['by']}{comment}"
        typer.echo(lines_safe(line))


def accept(
    incident: Annotated[
        str,
        typer.Argument(
            metavar="INCIDENT",
            help="Name of the incident, as `watch incidents` prints it; with --undo the acceptance's id.",
        ),
    ],
    undo: Annotated[
        bool, typer.Option("--undo", help="Undo the acceptance: expect again what was expected before.")
    ] = False,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Reason, for the history.")] = "",
    user: options.UserOption = None,
    watches: options.WatchesOption = None,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: options.StateOption = None,
    now: options.NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accept a change: what the watch finds now is expected from now on, and only a further change is found.

    The present rates and shares replace those of training in the profile's document, with who accepted them and
    when. The incident is resolved without a notification. --undo restores the old ones. Exit code 2: the watch does
    not find it, it does not compare with a profile, or there is no such acceptance.

    Example: logging-lib watch accept input-drift/loans/3/homeownership --store build/store
    """
    with output.handle_errors(), contextlib.ExitStack() as stack:
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        opened = options.choose(store, elasticsearch, read_only=False)
        stack.callback(opened.close)
        states = watch_options.open_state(store, elasticsearch, state)
        who = user or watch_options.user()
        if undo:
            entry = _undo(opened, incident)
        else:
            watch_id, key = _parse(incident)
            (watch,) = watch_options.pick(watch_options.load(watches), [watch_id])
            known = states.load(watch_id).by_key().get(key)
            opened_at = known.opened_at if known is not None and known.closed_at is None else moment
            dependencies = run_dependencies(opened, now=moment)
            payload = evaluate(watch, dependencies=dependencies, now=moment, scheduled=moment).payload
            finding = acceptances.find_finding(findings_of(payload) or [], key)
            document = find_document(opened, key.model, key.version) or {}
            changed, entry = acceptances.accept(
                document,
                watch_id,
                watch.metadata,
                payload,
                finding,
                opened_at=opened_at,
                now=moment,
                by=who,
                comment=comment,
            )
            write_document(opened, changed)
            entry = {**entry, "model": key.model, "version": key.version}

            def close(stored: WatchState) -> WatchState:
                by_key = stored.by_key()
                return stored.with_incidents(inc.close(by_key, key, moment)) if key in by_key else stored

            states.update(watch_id, close)
        about = {name: entry[name] for name in ("id", "version", "feature", "comment")}
        kind = "undo" if undo else "accept"
        states.record([manual_record(kind, moment, entry["watch"], entry["model"], by=who, **about)])
    if as_json:
        print_json(entry)
    elif undo:
        typer.echo(lines_safe(f"{entry['id']}: {entry['watch']} {entry['feature']} is no longer accepted"))
    else:
        typer.echo(lines_safe(f"{entry['id']}: expected from now on: {entry['what']}"))


def _parse(name: str) -> tuple[str, Key]:
    parts = [part.replace("%2F", "/") for part in name.split("/")]
    if len(parts) != 4:
        raise UsageError(
            f"{name:.200}: not WATCH/MODEL/VERSION/FEATURE, as `logging-lib watch incidents` prints it"
        )
    return parts[0], Key(*parts[1:])


def _undo(store: Store, acceptance_id: str) -> dict[str, Any]:
    for entry in list_accepted(store):
        if entry["id"] == acceptance_id:
            document = find_document(store, entry["model"], entry["version"]) or {}
            changed = acceptances.undo(document, acceptance_id)
            if changed is not None:
                write_document(store, changed)
            return entry
    raise acceptances.AcceptanceError(
        f"{acceptance_id}: there is no such acceptance; `logging-lib watch incidents` lists them"
    )
