"""``logging-lib skew``: check whether training and serving compute the same features."""

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

from logging_lib._util.formatting import format_count, format_percent
from logging_lib.analysis import samples, scorecard_data
from logging_lib.analysis.samples import Selection
from logging_lib.cli import options, output
from logging_lib.profile.coerce import NA_VALUES, parse_scalar
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.history import PREDICTION
from logging_lib.store.port import Store

if TYPE_CHECKING:
    import pandas as pd

    from logging_lib.analysis.skew import Skew

ABOUT = {"@timestamp": "@timestamp", "event.id": "@event.id", "ml.request.id": "@ml.request.id"}
_KEYS = {"event.id": "@event.id", "event_id": "@event.id", "ml.request.id": "@ml.request.id",
         "request_id": "@ml.request.id"}  # fmt: skip
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def skew(
    recomputed: Annotated[
        str,
        typer.Argument(
            metavar="RECOMPUTED",
            help="The same features computed again: CSV, Parquet or JSON lines, or module:function, which gets the "
            "logged events as a DataFrame.",
        ),
    ],
    which: Annotated[
        str, typer.Argument(metavar="SELECTION", help="Which events: 'last=7d', 'version=2'. Default: all.")
    ] = "",
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: options.ModelOption = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="KEY[=COLUMN]",
            help="Join on event.id, request_id or a feature, and name its COLUMN in the recomputed file where that "
            "differs. Default: event.id or request_id, whichever the file has.",
        ),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[FEATURE=]N",
            help="Relative tolerance, of all features or of one; repeatable. Default: 1e-6.",
        ),
    ] = None,
    absolute: Annotated[
        float, typer.Option(metavar="N", min=0, help="Absolute tolerance, in the feature's unit.")
    ] = 0.0,
    max_rate: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Share of rows that may differ.")
    ] = 0.01,
    max_rows: Annotated[
        int, typer.Option(metavar="N", min=1, help="Sample at most N events.")
    ] = samples.MAX_ROWS,
    seed: options.SeedOption = 0,
    save: Annotated[
        bool, typer.Option("--save", help="Save the result in the store, for the scorecard.")
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Join logged inputs with recomputed features; print which differ, how often, and the likeliest cause.

    Exit code 0: no skew; 1: a feature differs in more than --max-rate of the rows, or as many events have no
    recomputed row; 2: wrong input.

    Examples: logging-lib skew features.parquet last=7d --store build/store;
    logging-lib skew pipeline.features:compute --on request_id --store build/store
    """
    from logging_lib.analysis.skew import find_skew

    now = datetime.now(UTC)
    with output.handle_errors(ValueError, OSError), output.progress("Comparing"):
        default, by_feature = _tolerances(tolerance or [])
        opened: Store = (
            EmbeddedStore(options.existing_folder(store))
            if save and store is not None and elasticsearch is None
            else options.choose(store, elasticsearch, read_only=not save)
        )
        try:
            model_name = options.choose_model(model, samples.models(opened))
            all_of_model = Selection(model=model_name, role="live")
            selection = Selection.parse(which, now=now, base=all_of_model) if which else all_of_model
            served = samples.read(opened, selection, max_rows=max_rows, seed=seed, about=ABOUT)
            recomputed_frame = _recomputed(recomputed, served.frame)
            logged_key, recomputed_key = _key(on, served.frame, recomputed_frame)
            result = find_skew(
                served.frame,
                recomputed_frame,
                key=logged_key,
                recomputed_key=recomputed_key,
                kinds=served.kinds,
                tolerance=default,
                tolerances=by_feature,
                absolute=absolute,
                max_rate=max_rate,
                ignore=(PREDICTION, samples.SCORE),
            )
            if save:
                summary = {
                    "ok": result.ok,
                    "joined": result.joined,
                    "skewed": [feature.name for feature in result.skewed],
                    "max_rate": max_rate,
                }
                scorecard_data.write(
                    opened, "skew", model=model_name, version=selection.version, summary=summary, now=now
                )
        finally:
            opened.close()
    if as_json:
        output.print_json({**result.document(), "notes": list(served.notes)})
    else:
        _show(result)
        for line in served.notes:
            output.note(line)
    raise typer.Exit(0 if result.ok else 1)


def _tolerances(texts: list[str]) -> tuple[float, Mapping[str, float]]:
    default, by_feature = 1e-6, {}
    for text in texts:
        name, sign, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not number >= 0:
            raise ValueError(f"--tolerance {text}: neither a number of 0 or more nor FEATURE=NUMBER")
        if sign:
            by_feature[name] = number
        else:
            default = number
    return default, by_feature


def _recomputed(source: str, logged: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from logging_lib.profile.readers import read_table

    if Path(source).exists() or not _FUNCTION.fullmatch(source):
        frame, _, notes = read_table(Path(source), na_values=NA_VALUES, texts=list(_KEYS))
        for note in notes:
            output.note(f"{source}: {note}")
        if ".csv" in [suffix.lower() for suffix in Path(source).suffixes]:
            # CSV has no types, so texts that spell numbers become numbers.
            for name in frame.columns:
                if not pd.api.types.is_numeric_dtype(frame[name]) and name not in _KEYS:
                    frame[name] = frame[name].astype(object).map(parse_scalar)
        return frame
    module, _, name = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, where the user's reader is, as with python -m
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{source}: cannot be imported: {error}") from None
    events = logged.rename(columns={column: field for field, column in ABOUT.items()})
    result: Any = function(events)
    if not isinstance(result, pd.DataFrame):
        raise ValueError(f"{source}: expected a DataFrame, found {type(result).__name__}")
    return result


def _key(key: str | None, logged: pd.DataFrame, recomputed: pd.DataFrame) -> tuple[str, str]:
    """Return the key's column in both tables."""
    if key is not None:
        name, sign, column = key.partition("=")
        logged_column = _KEYS.get(name, name)
        if sign:
            return logged_column, column
        return logged_column, next(
            (candidate for candidate in (name, *_aliases(logged_column)) if candidate in recomputed), name
        )
    for name, logged_column in _KEYS.items():
        if name in recomputed and logged[logged_column].notna().any():
            return logged_column, name
    raise ValueError(
        f"what are both joined by? Recomputed columns are {', '.join(map(str, recomputed.columns))}; "
        "give --key, such as --key customer_id or --key event.id=id"
    )


def _aliases(logged_column: str) -> list[str]:
    return [name for name, column in _KEYS.items() if column == logged_column]


def _show(result: Skew) -> None:
    table = Table("feature", "differs", "cause", "example: logged, recomputed", box=None, pad_edge=False)
    for feature in result.features:
        color = "default" if feature.allowed else "red"
        cause = (
            f"{feature.cause.name}: {feature.cause.detail}"
            + (f" ({format_percent(feature.cause.share)})" if feature.cause.share else "")
            if feature.cause
            else ""
        )
        example = (
            f"{feature.examples[0][1]!r:.40}, {feature.examples[0][2]!r:.40}" if feature.examples else ""
        )
        table.add_row(
            output.safe(feature.name),
            f"[{color}]{format_percent(feature.rate)} of {feature.rows:,}[/{color}]",
            output.safe(cause),
            output.safe(example),
        )
    output.console().print(table)
    joins = {
        feature.cause.features for feature in result.features if feature.cause and feature.cause.features
    }
    for names in sorted(joins):
        typer.echo(output.plain(f"one lost join explains {', '.join(sorted(names))}"))
    if result.only_logged:
        typer.echo(f"join miss: {format_count(result.only_logged, 'logged event')} without a recomputed row")
    if result.only_recomputed:
        typer.echo(f"{format_count(result.only_recomputed, 'recomputed row')} without a logged event")
    if result.repeated_keys:
        typer.echo(
            f"{format_count(result.repeated_keys, 'recomputed row')} with a repeated key; the first one counts"
        )
    for what, names in (
        ("logged only", result.features_only_logged),
        ("recomputed only", result.features_only_recomputed),
    ):
        if names:
            typer.echo(output.plain(f"{what}: {', '.join(names)}"))
    skewed, limit = len(result.skewed), format_percent(result.max_rate)
    features = format_count(len(result.features), "feature")
    about = (
        f"{skewed} of {features} skewed (over {limit} of rows differ)" if skewed else "no feature is skewed"
    )
    typer.echo(f"{about}, {format_count(result.joined, 'joined event')}")
