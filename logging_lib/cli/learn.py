"""``logging-lib profile learn``: learn natural variation from a model's served data."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.times import format_instant, parse_duration
from logging_lib.cli import options, output
from logging_lib.cli.options import UsageError, instant
from logging_lib.cli.output import console, plain, safe
from logging_lib.cli.watch import watch_options
from logging_lib.profile import io
from logging_lib.profile.document import put_learned, read_variation, undo_learned
from logging_lib.profile.model import Profile, Variation
from logging_lib.store import history
from logging_lib.store.port import Store
from logging_lib.store.profiles import find_document, load_published, write_document
from logging_lib.watch.state.base import StateStore

if TYPE_CHECKING:
    from logging_lib.profile.learning import Learned, Period


class NotPublishedError(LoggingLibError):
    """A model version has no published profile to learn for; the message names the remedy."""


def learn(
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="Name of the model.")],
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="Version of the model.")],
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    profile: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The version's profile.json. Default: the published one."),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Learn from traffic since then, an ISO 8601 time or a duration ago such as 7d.",
        ),
    ] = "30d",
    max_rows: Annotated[
        int, typer.Option(metavar="N", help="Use at most the N latest predictions.", min=1)
    ] = history.MAX_ROWS,
    now: options.NowOption = None,
    state: options.StateOption = None,
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Put the result into the published profile. Default: only show it."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="PATH", help="Also write a profile.json with the result, under a new id."
        ),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Restore the variation that was published before the last one.")
    ] = False,
    user: options.UserOption = None,
    as_json: output.JsonOption = False,
) -> None:
    """Learn from served traffic how much it varies by itself, and show what would change.

    Served windows are compared with training, so a lasting shift is still a shift. Days that are far from all
    others, and windows with an open incident, are excluded; no limit becomes more than 1.5 times as wide in a
    month. Nothing is published without --publish. Exit code 2: fewer than 7 days of traffic, no profile, or other
    wrong input.

    Example: logging-lib profile learn --model loans --version 3 --store build/store
    """
    with output.handle_errors(), contextlib.ExitStack() as stack:
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        days = (moment - options.since(since, moment)).total_seconds() / 86_400
        if days < 1:
            raise options.reject("--since", since, "must be at least a day ago")
        stack.enter_context(output.progress("Learning"))
        opened = options.choose(store, elasticsearch, read_only=not (publish or undo))
        stack.callback(opened.close)
        document = find_document(opened, model, version)
        if undo:
            _undo(opened, document, model, version)
            return
        fitted = _find_profile(opened, profile, model, version)
        if publish and document is None:
            raise NotPublishedError(
                f"{model} {version}: no profile of this version is published here; publish it first: "
                "logging-lib profile publish FILE"
            )
        before = _find_variation(document, fitted)
        states = watch_options.open_state(store, elasticsearch, state)
        learned, notes = _learn(opened, states, fitted, before, moment, days=days, max_rows=max_rows)
        if publish:
            assert document is not None
            at, who = format_instant(moment), user or watch_options.user()
            write_document(opened, put_learned(document, fitted, learned.variation, at=at, by=who))
        if out is not None:
            from dataclasses import replace

            io.save(io.with_content_hash(replace(fitted, variation=learned.variation)), out)
    if as_json:
        output.print_json(_describe(learned, notes, is_published=publish))
        return
    _print(learned, notes, before)
    if out is not None:
        typer.echo(f"{out}: profile of {plain(model)} {plain(version)} written, with what was learned")
    typer.echo("published" if publish else "nothing was published; give --publish to do so")


def _undo(store: Store, document: dict[str, Any] | None, model: str, version: str) -> None:
    undone = undo_learned(document) if document is not None else None
    if undone is None:
        raise NotPublishedError(f"{model} {version}: no learned variation was published")
    write_document(store, undone)
    variation = undone["expected"].get("variation")
    source = variation["source"] if variation is not None else "none"
    typer.echo(plain(f"{model} {version}: the variation before it is restored (source: {source})"))


def _find_profile(store: Store, file: Path | None, model: str, version: str) -> Profile:
    if file is not None:
        fitted = io.load(file)
        if (fitted.model, fitted.version) != (model, version):
            raise UsageError(f"--profile {file}: this is the profile of {fitted.model} {fitted.version}")
        return fitted
    for fitted in load_published(store, [(model, version)]):
        return fitted
    raise NotPublishedError(f"{model} {version}: no profile is published here; give --profile PATH")


def _find_variation(document: dict[str, Any] | None, profile: Profile) -> Variation:
    """Return the variation in force: the published one, the file's, or the default."""
    from logging_lib.profile.variation import state_default

    if document is not None and document["expected"].get("variation") is not None:
        return read_variation(document["expected"]["variation"])
    return profile.variation or state_default()


def _learn(
    store: Store,
    states: StateStore,
    profile: Profile,
    before: Variation,
    now: datetime,
    *,
    days: float,
    max_rows: int,
) -> tuple[Learned, list[str]]:
    from logging_lib.analysis.served import encode_served
    from logging_lib.profile.learning import learn as learn_variation

    served = history.read_history(
        store, model=profile.model, version=profile.version, now=now, days=days, max_rows=max_rows
    )
    notes = []
    if served.is_truncated:
        notes.append(f"there are more than {max_rows:,} predictions; the latest were used (--max-rows)")
    incidents = _find_incidents(states, profile, now)
    if incidents is None:
        notes.append("the watch runner has no state here, so no incident is excluded (--state)")
    seconds, features = encode_served(profile, served)
    learned = learn_variation(
        before, seconds, features, weights=served.weights, incidents=tuple(incidents or ())
    )
    return learned, [*notes, *learned.notes]


def _find_incidents(states: StateStore, profile: Profile, now: datetime) -> list[Period] | None:
    """Find when incidents of the model were open, each from the window that found it; None without any state."""
    from logging_lib.profile.learning import Period

    watch_ids = states.watch_ids()
    periods = []
    for watch_id in watch_ids:
        for incident in states.load(watch_id).incidents:
            if incident.key.model != profile.model or incident.key.version not in ("", profile.version):
                continue
            since = incident.opened_at - parse_duration(incident.window or "0s")
            until = incident.absent_since or incident.closed_at or now
            periods.append(Period(incident.key.feature, since.timestamp(), until.timestamp()))
    return periods if watch_ids else None


def _describe(learned: Learned, notes: list[str], *, is_published: bool) -> dict[str, Any]:
    variation = learned.variation
    return {
        "source": variation.source,
        "since": variation.since,
        "until": variation.until,
        "is_published": is_published,
        "limits": [change._asdict() for change in learned.changes],
        "notes": notes,
    }


def _print(learned: Learned, notes: list[str], before: Variation) -> None:
    table = Table("feature", "measure", "limit before", "after", "", box=None, pad_edge=False)
    for change in learned.changes:
        table.add_row(
            safe(change.feature),
            change.measure,
            f"{change.before:.3g}",
            f"{change.after:.3g}",
            "as wide as allowed" if change.is_capped else "",
        )
    variation = learned.variation
    typer.echo(
        f"Learned from {variation.since} to {variation.until}; before: {before.source}. A window of a day is a "
        "finding above this distance from training, at the present traffic:"
    )
    console().print(table)
    for note in notes:
        typer.echo(plain(f"note: {note}"))
