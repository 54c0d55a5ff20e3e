"""``logging-lib skew``: do training and serving compute the same features?"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from logging_lib.analysis import samples, scorecard_data
from logging_lib.analysis.samples import Selection
from logging_lib.cli import options, output
from logging_lib.profile.coerce import NA_VALUES, parse_scalar
from logging_lib.profile.io import ProfileError
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.history import PREDICTION
from logging_lib.store.port import Store, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from logging_lib.analysis.skewing import Skew

ABOUT = {"@timestamp": "@timestamp", "event.id": "@event.id", "ml.request.id": "@ml.request.id"}
_KEYS = {"event.id": "@event.id", "event_id": "@event.id", "ml.request.id": "@ml.request.id",
         "request_id": "@ml.request.id"}  # fmt: skip
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def skew(
    recomputed: Annotated[
        str,
        typer.Argument(
            help="The same features computed again: CSV, Parquet or JSON lines, or module:function, which is given "
            "the logged events as a DataFrame."
        ),
    ],
    which: Annotated[str, typer.Argument(help="Which events: 'last=7d', 'version=2'. Default: all.")] = "",
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: Annotated[str | None, typer.Option(help="The model. Default: the only one there is.")] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="What both are joined by: event.id, request_id, or a feature; KEY=COLUMN where the column has "
            "another name. Default: event.id or request_id, whichever is recomputed."
        ),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            help="Relative difference that is none, 1e-6 by default; feature=VALUE for one; repeatable."
        ),
    ] = None,
    absolute: Annotated[
        float, typer.Option(min=0, help="Absolute difference that is allowed besides.")
    ] = 0.0,
    max_rate: Annotated[
        float, typer.Option(min=0, max=1, help="The share of differing rows that is allowed.")
    ] = 0.01,
    max_rows: Annotated[
        int, typer.Option(min=1, help="Of more events, so many are drawn at random.")
    ] = samples.MAX_ROWS,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    keep: Annotated[
        bool, typer.Option("--record", help="Remember the result in the store, for the scorecard.")
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Join logged inputs with recomputed features, and say which differ, how often, and the likeliest cause.

    Exit code 0: no skew; 1: a feature differs in more than --max-rate of the rows, or as many events have no
    recomputed row; 2: wrong input.

    Examples: logging-lib skew features.parquet last=7d --store build/store;
    logging-lib skew pipeline.features:compute --key request_id --store build/store
    """
    from logging_lib.analysis.skewing import skew as find

    now = datetime.now(UTC)
    try:
        default, by_feature = _tolerances(tolerance or [])
        opened: Store = (
            EmbeddedStore(_existing(store))
            if keep and store is not None and elasticsearch is None
            else options.choose(store, elasticsearch, read_only=not keep)
        )
        try:
            name = model or _only(samples.models(opened))
            base = Selection(model=name, role="live")
            selection = Selection.parse(which, now=now, base=base) if which else base
            served = samples.read(opened, selection, max_rows=max_rows, seed=seed, about=ABOUT)
            other = _recomputed(recomputed, served.frame)
            own, theirs = _key(key, served.frame, other)
            found = find(
                served.frame,
                other,
                key=own,
                recomputed_key=theirs,
                kinds=served.kinds,
                tolerance=default,
                tolerances=by_feature,
                absolute=absolute,
                max_rate=max_rate,
                ignore=(PREDICTION, samples.SCORE),
            )
            if keep:
                summary = {
                    "ok": found.ok,
                    "joined": found.joined,
                    "skewed": [one.name for one in found.skewed],
                    "max_rate": max_rate,
                }
                scorecard_data.write(
                    opened, "skew", model=name, version=selection.version, summary=summary, now=now
                )
        finally:
            opened.close()
    except (ProfileError, StoreError, ValueError, OSError) as error:
        raise output.fail(error) from None
    if as_json:
        output.print_json({**found.document(), "notes": list(served.notes)})
    else:
        _show(found)
        for line in served.notes:
            output.note(line)
    raise typer.Exit(0 if found.ok else 1)


def _existing(store: Path) -> Path:
    if not store.is_dir():
        raise StoreError(f"{store}: no such folder; give the folder that the events were stored in")
    return store


def _only(known: list[str]) -> str:
    if len(known) != 1:
        raise ValueError(f"choose a model with --model: there are {', '.join(known) or 'none'}")
    return known[0]


def _tolerances(given: list[str]) -> tuple[float, Mapping[str, float]]:
    default, by_feature = 1e-6, {}
    for text in given:
        name, sign, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not number >= 0:
            raise ValueError(f"--tolerance: {text!r} is no number of 0 or more, nor feature=NUMBER")
        if sign:
            by_feature[name] = number
        else:
            default = number
    return default, by_feature


def _recomputed(source: str, logged: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from logging_lib.profile.readers import read_table

    if Path(source).exists() or not _FUNCTION.fullmatch(source):
        frame = read_table(Path(source), na_values=NA_VALUES, texts=list(_KEYS))[0]
        if ".csv" in [suffix.lower() for suffix in Path(source).suffixes]:
            # CSV has no types: a number among texts is a number.
            for name in frame.columns:
                if not pd.api.types.is_numeric_dtype(frame[name]) and name not in _KEYS:
                    frame[name] = frame[name].astype(object).map(parse_scalar)
        return frame
    module, _, name = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the reader's own folder, as with python -m
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{source}: cannot be imported: {error}") from None
    events = logged.rename(columns={column: field for field, column in ABOUT.items()})
    made: Any = function(events)
    if not isinstance(made, pd.DataFrame):
        raise ValueError(f"{source}: expected a DataFrame, found {type(made).__name__}")
    return made


def _key(given: str | None, logged: pd.DataFrame, recomputed: pd.DataFrame) -> tuple[str, str]:
    """The key's column in either."""
    if given is not None:
        name, sign, column = given.partition("=")
        own = _KEYS.get(name, name)
        if sign:
            return own, column
        return own, next((one for one in (name, *_aliases(own)) if one in recomputed), name)
    for name, own in _KEYS.items():
        if name in recomputed and logged[own].notna().any():
            return own, name
    raise ValueError(
        f"what are both joined by? Recomputed columns are {', '.join(map(str, recomputed.columns))}; "
        "give --key, such as --key customer_id or --key event.id=id"
    )


def _aliases(own: str) -> list[str]:
    return [name for name, column in _KEYS.items() if column == own]


def _show(found: Skew) -> None:
    table = Table("feature", "differs", "cause", "example: logged, recomputed", box=None, pad_edge=False)
    for one in found.features:
        color = "default" if one.allowed else "red"
        cause = f"{one.cause.name}: {one.cause.detail} ({one.cause.share:.0%})" if one.cause else ""
        example = f"{one.examples[0][1]!r:.40}, {one.examples[0][2]!r:.40}" if one.examples else ""
        table.add_row(
            output.safe(one.name),
            f"[{color}]{one.rate:.2%} of {one.rows:,}[/{color}]",
            output.safe(cause),
            output.safe(example),
        )
    output.console().print(table)
    if found.only_logged:
        typer.echo(f"join miss: {found.only_logged:,} logged events have no recomputed row")
    if found.only_recomputed:
        typer.echo(f"{found.only_recomputed:,} recomputed rows have no logged event")
    if found.repeated_keys:
        typer.echo(f"{found.repeated_keys:,} recomputed rows repeat a key; the first of each was taken")
    for what, names in (
        ("logged only", found.features_only_logged),
        ("recomputed only", found.features_only_recomputed),
    ):
        if names:
            typer.echo(output.plain(f"{what}: {', '.join(names)}"))
    skewed = len(found.skewed)
    about = f"{skewed} of {len(found.features)} features are skewed" if skewed else "no feature is skewed"
    typer.echo(f"{about} in {found.joined:,} joined events (more than {found.max_rate:.2%} of them differ)")
