"""``logging-lib profile``: fit and show training profiles."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from logging_lib.cli import options
from logging_lib.cli import output as _print
from logging_lib.profile import io
from logging_lib.profile.coerce import iso, number_text
from logging_lib.profile.config import Config
from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import Feature, Kind, Profile
from logging_lib.store import history
from logging_lib.store.history import PREDICTION
from logging_lib.store.port import StoreError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

app = typer.Typer(help="What training looked like.", no_args_is_help=True)


@app.command()
def fit(
    model: Annotated[str, typer.Option(help="The model's name, as the logger gives it.")],
    version: Annotated[str, typer.Option(help="The model's version.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="CSV, Parquet or JSON lines; one row an example.", show_default=False),
    ] = None,
    from_elasticsearch: Annotated[
        bool,
        typer.Option(
            "--from-elasticsearch", help="Fit from the predictions that were logged, where there is no file."
        ),
    ] = False,
    elasticsearch: options.ElasticsearchOption = None,
    days: Annotated[float, typer.Option(help="With --from-elasticsearch: how far back.", min=0.001)] = 30,
    target: Annotated[str | None, typer.Option(help="The column with the truth.")] = None,
    prediction: Annotated[str | None, typer.Option(help="The column with the model's outputs.")] = None,
    config: Annotated[Path | None, typer.Option(help="profile.yml with overrides.")] = None,
    time: Annotated[
        str | None, typer.Option(help="The column that says when a row happened; the last rows are held out.")
    ] = None,
    trained_at: Annotated[
        str | None, typer.Option(help="When the model was trained (ISO 8601). Default: the last --time.")
    ] = None,
    training_seconds: Annotated[float | None, typer.Option(help="How long the training took.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the profile.")] = Path(
        "profile.json"
    ),
    as_json: _print.JsonOption = False,
) -> None:
    """Fit a profile from the rows that the model was trained on, or from what it served.

    Examples: logging-lib profile fit train.csv --model loans --version 3 --target interest_rate;
    logging-lib profile fit --from-elasticsearch --days 30 --model loans --version 3
    """
    from dataclasses import replace

    from logging_lib.profile import config as configuration
    from logging_lib.profile.fitting import fit as fit_profile
    from logging_lib.profile.readers import read

    if (data is None) != from_elasticsearch:
        raise _print.fail("give either a file or --from-elasticsearch")
    source = str(data or "Elasticsearch")
    try:
        chosen = configuration.read(config) if config else configuration.Config()
        if time is not None:
            chosen = replace(chosen, time=time)
        if data is None:
            frame, absent, chosen = _served(elasticsearch, model, version, days, chosen)
            prediction = prediction or (PREDICTION if PREDICTION in frame else None)
        else:
            texts = [name for name, own in chosen.features.items() if own.kind in ("category", "text")]
            frame, absent = read(data, na_values=chosen.na_values, texts=texts)
        made = fit_profile(
            frame,
            model=model,
            version=version,
            target=target,
            prediction=prediction,
            config=chosen,
            trained_at=trained_at,
            training_seconds=training_seconds,
            absent=absent,
        )
        io.save(made, output)
    except ProfileError as error:
        raise _print.fail(f"{source}: {error}" if not str(error).startswith(source) else str(error)) from None
    except StoreError as error:
        raise _print.fail(str(error)) from None
    except OSError as error:
        raise _print.fail(f"{output}: cannot be written: {error.strerror}") from None
    if as_json:
        notes = {feature.name: list(feature.notes) for feature in made.features.values() if feature.notes}
        about = {"model": made.model, "version": made.version, "id": made.id, "trained_at": made.trained_at}
        counted = {"rows": made.rows, "features": len(made.features), "held_out": made.held_out.method}
        typer.echo(json.dumps({"profile": str(output), **about, **counted, "notes": notes}, indent=1))
        return
    typer.echo(
        f"{output}: {made.model} {made.version}, {made.rows} rows, {len(made.features)} features, id {made.id}"
    )
    typer.echo(f"expected rates from {made.held_out.method}")
    for feature in made.features.values():
        for note in feature.notes:
            typer.echo(f"note: {feature.name} {note}")
    if made.trained_at is None:
        typer.echo("note: when it was trained is not recorded; give --trained-at or --time")


def _served(
    url: str | None, model: str, version: str, days: float, chosen: Config
) -> tuple[pd.DataFrame, Mapping[str, np.ndarray[Any, Any]], Config]:
    """The logged predictions as training data: typed as they were stored, held out by time."""
    from dataclasses import replace

    from logging_lib.profile.config import FeatureConfig

    with contextlib.closing(options.open_elasticsearch(url)) as store:
        found = history.read_history(store, model=model, version=version, now=datetime.now(UTC), days=days)
    if found.is_truncated:
        typer.echo(f"note: more than {len(found.frame)} predictions; these are the latest", err=True)
    features = {}
    for name, kind in found.kinds.items():
        own = chosen.features.get(name, FeatureConfig())
        features[name] = own if own.kind is not None else replace(own, kind=cast("Kind", kind))
    features = {**chosen.features, **features}
    return found.frame, found.absent, replace(chosen, features=features, time=chosen.time or history.TIME)


@app.command()
def publish(
    files: Annotated[list[Path], typer.Argument(help="profile.json, one or several.")],
    elasticsearch: options.ElasticsearchOption = None,
    deployed: Annotated[
        bool, typer.Option("--deployed/--not-deployed", help="Flag the version as the one that serves.")
    ] = True,
    keep_others: Annotated[
        bool, typer.Option("--keep-others", help="Let other versions of the model keep their flag.")
    ] = False,
    as_json: _print.JsonOption = False,
) -> None:
    """Publish profiles into Elasticsearch, where watches and annotate find them.

    Owners and thresholds that were published with the same version stay.

    Example: logging-lib profile publish profile.json --elasticsearch https://localhost:9200
    """
    from logging_lib.store.profiles import publish as publish_profile

    try:
        profiles = [io.load(file) for file in files]
        done: list[dict[str, Any]] = []
        with contextlib.closing(options.open_elasticsearch(elasticsearch)) as store:
            for profile in profiles:
                before = publish_profile(
                    store, profile, now=datetime.now(UTC), deployed=deployed, alone=not keep_others
                )
                if as_json:
                    about = {"model": profile.model, "version": profile.version, "id": profile.id}
                    retired = before if deployed and not keep_others else []
                    done.append({**about, "deployed": deployed, "retired": retired})
                    continue
                flag = "deployed" if deployed else "not deployed"
                typer.echo(f"{profile.model} {profile.version}: published as {flag}, id {profile.id}")
                if deployed and not keep_others:
                    for version in before:
                        typer.echo(f"{profile.model} {version}: not flagged as deployed any more")
        if as_json:
            typer.echo(json.dumps(done, indent=1))
    except (ProfileError, StoreError) as error:
        raise _print.fail(str(error)) from None


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A profile.json.")],
    as_json: _print.JsonOption = False,
) -> None:
    """Print a profile as a table, or with --json as it is.

    Example: logging-lib profile show profile.json
    """
    try:
        profile = io.load(file)
    except ProfileError as error:
        raise _print.fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(io.encode(profile), indent=1))
        return
    Console().print(_heading(profile), _table(profile))


def _heading(profile: Profile) -> str:
    trained = profile.trained_at or "not recorded"
    lines = [
        f"[bold]{escape(profile.model)} {escape(profile.version)}[/bold]  profile {profile.id}",
        f"{profile.rows} rows; trained at {trained}; expected rates from {escape(profile.held_out.method)}",
    ]
    if profile.prediction is not None:
        lines.append(f"prediction ({profile.prediction.kind}): {escape(_summary(profile.prediction))}")
    return "\n".join(lines)


def _table(profile: Profile) -> Table:
    table = Table()
    for column in ("feature", "kind", "in training", "expected on held-out rows", "notes"):
        table.add_column(column, overflow="fold")
    for feature in profile.features.values():
        expected = ", ".join(
            f"{check} {100 * found.rate:.2f} %" for check, found in feature.expected.items() if found.count
        )
        row: list[Any] = [feature.name, feature.kind, _summary(feature), expected or "no failed check"]
        table.add_row(*(escape(str(cell)) for cell in (*row, "; ".join(feature.notes))))
    return table


def _summary(feature: Feature) -> str:
    if feature.hidden:
        return "hidden: no values kept"
    if feature.kind in ("category", "boolean"):
        shown = list(feature.values.items())[:3]
        total = sum(feature.values.values()) or 1
        text = ", ".join(f"{value[:30]} {100 * count / total:.0f} %" for value, count in shown)
        rest = len(feature.values) - len(shown)
        return text + (f" and {rest} more" if rest > 0 else "")
    if feature.kind == "text":
        mean = f"{feature.moments.mean:.1f}" if feature.moments else "0"
        return f"{len(feature.vocabulary)} known words, {mean} words a text"
    if feature.range is None:
        return "no value"
    low, high = (iso(b) if feature.kind == "date" else number_text(b) for b in feature.range)
    mean = f", mean {feature.moments.mean:.6g}" if feature.moments and feature.kind == "numeric" else ""
    return f"{low} to {high}{mean}"
