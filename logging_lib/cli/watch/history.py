"""``logging-lib watch history``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from logging_lib._util.times import parse_duration
from logging_lib.cli import options
from logging_lib.cli.options import UsageError, instant
from logging_lib.cli.output import console, safe
from logging_lib.cli.watch import _state
from logging_lib.cli.watch._common import JsonOption, explained, print_json
from logging_lib.cli.watch.ack import ModelOption, NowOption
from logging_lib.cli.watch.mute import WatchOption
from logging_lib.watch.state.base import HISTORY_LIMIT, KINDS, HistoryQuery, Record

_SHOWN = ("time", "kind", "watch", "model", "version", "status")


def history(
    watch: WatchOption = None,
    model: ModelOption = None,
    since: Annotated[str | None, typer.Option(help="Since this ISO time, or for so long: 2h, 7d.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only of {', '.join(KINDS)}; repeatable. Default: all but quiet, the runs that found nothing."
        ),
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, max=10_000, help="Show at most this many, the latest.")
    ] = HISTORY_LIMIT,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: _state.StateOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the runner did: runs, alerts, deliveries, and what people acknowledged and muted.

    Example: logging-lib watch history --store build/store
    """
    with explained():
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        unknown = [name for name in kind or () if name not in KINDS]
        if unknown:
            raise UsageError(f"--kind: {unknown[0]!r}: write one of {', '.join(KINDS)}")
        opened = _state.open_state(store, elasticsearch, state)
        kinds = tuple(kind or (name for name in KINDS if name != "quiet"))
        records = opened.history(HistoryQuery(watch, model, _since(since, moment), kinds, most))
    if as_json:
        print_json(records)
        return
    table = Table("time", "what", "watch", "model", "version", "outcome", "about", box=None, pad_edge=False)
    for record in records:
        table.add_row(*(safe(str(record.get(name, ""))) for name in _SHOWN), safe(_about(record)))
    if records:
        console().print(table)
    else:
        typer.echo("no matching history records")


def _since(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        return now - parse_duration(text)
    except ValueError:
        return instant(text, "--since")
    except OverflowError:
        raise UsageError(f"--since: {text!r} is too long ago") from None


def _about(record: Record) -> str:
    """What a kind of record has beside the columns."""
    if record["kind"] == "alert":
        actions = ", ".join(f"{name} {status}" for name, status in record.get("actions", {}).items())
        return f"{record.get('subject', '')} ({actions})"
    parts = [
        str(record[name]) for name in ("action", "subject", "feature", "until", "reason") if record.get(name)
    ]
    if record.get("attempts", 1) > 1:
        parts.append(f"attempt {record['attempts']}")
    if record.get("sent_by"):
        parts.append(f"by {record['sent_by']} instead")
    if record.get("digest_of"):
        parts.append(f"in a digest of {record['digest_of']}")
    if record.get("by"):
        parts.append(f"by {record['by']}")
    return "; ".join(parts)
