"""``logging-lib watch list`` and ``show``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from logging_lib.cli.watch._common import (
    JsonOption,
    WatchesOption,
    console,
    explained,
    load,
    pick,
    print_json,
)
from logging_lib.watch.messages import recipients
from logging_lib.watch.model import Watch
from logging_lib.watch.times import format_duration


def list_(watches: WatchesOption = None, as_json: JsonOption = False) -> None:
    """List the watches: what each looks for, how often, and whom it tells.

    Example: logging-lib watch list
    """
    with explained():
        found = load(watches)
    rows = [_summary(watch) for watch in found]
    if as_json:
        print_json(rows)
        return
    table = Table("id", "title", "every", "windows", "tells", box=None, pad_edge=False)
    for row in rows:
        cells = (row["id"], row["title"], row["every"], ", ".join(row["windows"]), ", ".join(row["tells"]))
        table.add_row(*map(escape, cells))
    console().print(table)


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
    table.add_row("every", format_duration(watch.interval))
    for name, value in watch.metadata.items():
        if name not in ("title", "concern"):
            table.add_row(escape(name), escape(value if isinstance(value, str) else json.dumps(value)))
    for name, action in watch.actions.items():
        period = format_duration(watch.throttle_period(name))
        table.add_row(f"action {escape(name)}", f"{action.kind}, at most once in {period} an incident")
    out.print(table)


def _summary(watch: Watch) -> dict[str, Any]:
    windows = watch.metadata.get("windows", [])
    return {
        "id": watch.id,
        "title": watch.title,
        "every": format_duration(watch.interval),
        "windows": [str(window) for window in windows] if isinstance(windows, list) else [str(windows)],
        "tells": recipients(watch),
    }
