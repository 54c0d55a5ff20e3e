"""``logging-lib watch list`` and ``show``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from logging_lib._util.times import format_duration, format_instant
from logging_lib.cli import options
from logging_lib.cli.output import console
from logging_lib.cli.watch import _state
from logging_lib.cli.watch._common import JsonOption, WatchesOption, explained, load, pick, print_json
from logging_lib.watch.incidents import Mute, is_muted
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.registry import channel_of, recipients
from logging_lib.watch.state.base import WatchState


def list_(
    watches: WatchesOption = None,
    as_json: JsonOption = False,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: _state.StateOption = None,
) -> None:
    """List the watches: what each looks for, how often, and whom it notifies.

    Where a state is named, also what the runner knows of each: open incidents, which of them are acknowledged or
    muted, notifications that wait.

    Example: logging-lib watch list
    """
    with explained():
        listed = load(watches)
        rows = [_summarize(watch) for watch in listed]
        has_state = _state.is_named(store, elasticsearch, state)
        if has_state:
            state_store = _state.open_state(store, elasticsearch, state)
            now, mutes = datetime.now(UTC), state_store.mutes()
            for row in rows:
                row |= _describe_state(row["id"], state_store.load(row["id"]), mutes, now)
    if as_json:
        print_json(rows)
        return
    more = ("last run", "open", "acked", "muted", "waiting") if has_state else ()
    table = Table("id", "title", "every", "windows", "notifies", *more, box=None, pad_edge=False)
    for row in rows:
        cells = [row["id"], row["title"], row["every"], ", ".join(row["windows"]), ", ".join(row["notifies"])]
        if has_state:
            cells += [
                (row["last_run"] or "")[:16].replace("T", " "),
                str(row["open"]),
                str(row["acknowledged"]),
            ]
            cells += ["all" if row["all_muted"] else str(row["muted"]), str(row["undelivered"])]
        table.add_row(*map(escape, cells))
    console().print(table)


def _describe_state(
    watch_id: str, watch_state: WatchState, mutes: tuple[Mute, ...], now: datetime
) -> dict[str, Any]:
    """Describe what the runner remembers of a watch."""
    open_incidents = [incident for incident in watch_state.incidents if incident.closed_at is None]

    def muted(model: str, version: str, feature: str) -> bool:
        return is_muted(mutes, now, watch=watch_id, model=model, version=version, feature=feature)

    watch_mutes = (mute for mute in mutes if not (mute.model or mute.version or mute.feature))
    return {
        "last_run": format_instant(watch_state.last_scheduled) if watch_state.last_scheduled else None,
        "open": len(open_incidents),
        "acknowledged": sum(incident.acked_at is not None for incident in open_incidents),
        "muted": sum(muted(*incident.key) for incident in open_incidents),
        "all_muted": is_muted(watch_mutes, now, watch=watch_id, model="", version="", feature=""),
        "undelivered": len(watch_state.queue),
        "incidents": [
            {
                **incident.key._asdict(),
                "opened_at": format_instant(incident.opened_at),
                "acknowledged_by": incident.acked_by or None,
                "muted": muted(*incident.key),
            }
            for incident in open_incidents
        ],
    }


def show(
    watch_id: Annotated[str, typer.Argument(metavar="ID", help="The file's name without .json.")],
    watches: WatchesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one watch: its concern, settings and actions; with --json the whole file.

    Example: logging-lib watch show na-spike
    """
    with explained():
        watch = pick(load(watches), [watch_id])[0]
    if as_json:
        print_json(json.loads(Path(watch.file).read_text("utf-8")))
        return
    out = console()
    out.print(f"[bold]{escape(watch.title)}[/bold] ({escape(watch.id)}), {escape(watch.file)}")
    if "concern" in watch.metadata:
        out.print(escape(str(watch.metadata["concern"])))
    table = Table("setting", "value", box=None, pad_edge=False)
    table.add_row("every", escape(watch.schedule_text))
    for name, value in watch.metadata.items():
        if name not in ("title", "concern"):
            table.add_row(escape(name), escape(value if isinstance(value, str) else json.dumps(value)))
    for name, action in watch.actions.items():
        period = format_duration(watch.throttle_period(name))
        table.add_row(
            f"action {escape(name)}", f"{channel_of(action).name}, at most once in {period} an incident"
        )
    out.print(table)


def _summarize(watch: Watch) -> dict[str, Any]:
    windows = watch.metadata.get("windows", [])
    return {
        "id": watch.id,
        "title": watch.title,
        "every": watch.schedule_text,
        "windows": [str(window) for window in windows] if isinstance(windows, list) else [str(windows)],
        "notifies": recipients(watch),
    }
