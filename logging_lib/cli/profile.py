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
from rich.table import Table

from logging_lib.cli import options, output
from logging_lib.cli.command_line import App
from logging_lib.cli.learn import learn
from logging_lib.profile import io
from logging_lib.profile.coerce import format_epoch, number_text
from logging_lib.profile.config import Config
from logging_lib.profile.document import build_classifier
from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import PREDICTION as PREDICTION_FEATURE
from logging_lib.profile.model import Feature, Kind, Profile
from logging_lib.profile.notes import MAX_LISTED, Notes, draft_config, name_columns, rank_notes
from logging_lib.profile.words import describe_age, describe_classifier, describe_variation
from logging_lib.store import history
from logging_lib.store.history import PREDICTION
from logging_lib.store.port import StoreError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

app = App(help="What training looked like.", no_args_is_help=True)
app.command()(learn)


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
    target: Annotated[str | None, typer.Option(help="The column with the actual values.")] = None,
    prediction: Annotated[str | None, typer.Option(help="The column with the model's outputs.")] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a classifier: the column with the probability of the predicted class, or CLASS=COLUMN, "
            "once for each class."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Of two classes: the least probability of the positive one that predicts it.", min=0, max=1
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(help="Of two classes: the one that probabilities are about. Default: 1, true or yes."),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            help="Rows that the model was not trained on, with the same columns: quality is measured there."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="profile.yml with overrides.")] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="The column that says when a row happened. From it alerts learn how much traffic varies by itself."
        ),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="With --time: whose hours and weekdays traffic follows. Default: UTC.")
    ] = None,
    trained_at: Annotated[
        str | None, typer.Option(help="When the model was trained (ISO 8601). Default: the last --time.")
    ] = None,
    training_seconds: Annotated[float | None, typer.Option(help="How long the training took.")] = None,
    out: Annotated[Path, typer.Option("-o", "--output", help="Where to write the profile.")] = Path(
        "profile.json"
    ),
    suggest_config: Annotated[
        Path | None, typer.Option("--suggest-config", help="Also write a draft of profile.yml to this file.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace a file that is there, also the profile of another model or version."
        ),
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Fit a profile from the rows that the model was trained on, or from what it served.

    It ends with what is odd about the columns, the most important first; a draft of profile.yml says what to do.

    Examples: logging-lib profile fit train.csv --model loans --version 3 --target interest_rate;
    logging-lib profile fit --from-elasticsearch --days 30 --model loans --version 3
    """
    from dataclasses import replace

    from logging_lib.profile import config as configuration
    from logging_lib.profile.fitting import fit_with_notes
    from logging_lib.profile.readers import TrainingTable, read_table

    if (data is None) != from_elasticsearch:
        raise output.fail("give either a file or --from-elasticsearch")
    source = str(data or "Elasticsearch")
    try:
        if not force:
            _protect(out, model, version)
            if suggest_config is not None and suggest_config.exists():
                raise ProfileError(f"{suggest_config}: is there already; --force replaces it")
        settings = configuration.read(config) if config else configuration.Config()
        if time is not None:
            settings = replace(settings, time=time)
        if timezone is not None:
            settings = replace(settings, timezone=configuration.parse_timezone(timezone, "--timezone"))
            if settings.time is None and data is not None:
                raise output.fail("--timezone needs --time")
        if data is None:
            frame, absent, settings = _served(elasticsearch, model, version, days, settings)
            table = TrainingTable(frame, dict(absent))
            prediction = prediction or (PREDICTION if PREDICTION in frame else None)
        else:
            texts = [
                name
                for name, feature_settings in settings.features.items()
                if feature_settings.kind in ("category", "text")
            ]
            table = read_table(data, na_values=settings.na_values, texts=texts)
        evaluated = None if evaluation is None else read_table(evaluation, na_values=settings.na_values).frame
        fitted, notes = fit_with_notes(
            table.frame,
            model=model,
            version=version,
            target=target,
            prediction=prediction,
            config=settings,
            trained_at=trained_at,
            training_seconds=training_seconds,
            absent=table.absent,
            scores=score or (),
            threshold=threshold,
            positive=positive,
            evaluation=evaluated,
        )
        io.save(fitted, out)
        if suggest_config is not None:
            draft = draft_config(notes, fitted.na_values, source=source, has_time=settings.time is not None)
            suggest_config.write_text(draft, "utf-8")
    except ProfileError as error:
        raise output.fail(f"{source}: {error}" if not str(error).startswith(source) else str(error)) from None
    except StoreError as error:
        raise output.fail(str(error)) from None
    except OSError as error:
        raise output.fail(f"{error.filename or out}: cannot be written: {error.strerror}") from None
    if as_json:
        texts_by_name = {name: [note.text for note in noted] for name, noted in notes.items() if noted}
        about = {
            "model": fitted.model,
            "version": fitted.version,
            "id": fitted.id,
            "trained_at": fitted.trained_at,
        }
        counts = {"rows": fitted.rows, "features": len(fitted.features), "held_out": fitted.held_out.method}
        ranked = [{"columns": names, "note": note.text} for names, note in rank_notes(notes)]
        of_file = {"notes": texts_by_name, "look_at": ranked, "file_notes": list(table.notes)}
        document: dict[str, Any] = {"profile": str(out), **about, **counts, **of_file}
        if fitted.classifier is not None:
            document["classifier"] = build_classifier(fitted.classifier) | {
                "notes": list(fitted.classifier.notes)
            }
        typer.echo(json.dumps(document, indent=1))
        return
    about_fit = f"{fitted.model} {fitted.version}, {fitted.rows} rows, {len(fitted.features)} features"
    print(output.plain(f"{out}: {about_fit}, id {fitted.id}"))
    print(output.plain(f"expected rates from {fitted.held_out.method}"))
    for note in table.notes:
        print(output.plain(f"note: {source}: {note}"))
    for line in describe_classifier(fitted):
        print(output.plain(line))
    for note in fitted.variation.notes if fitted.variation is not None else ():
        print(output.plain(f"note: {note}"))
    if settings.time is None:
        typer.echo(
            "note: how much the traffic varies by itself is not known, and a stated default is used; give --time, "
            "or learn it from what is served: logging-lib profile learn"
        )
    if fitted.trained_at is None:
        typer.echo("note: when it was trained is not recorded; give --trained-at or --time")
    _print_notes(notes, out)


def _protect(out: Path, model: str, version: str) -> None:
    """Check that a file is not replaced that is something else than an earlier profile of the same model version.

    Raises:
        ProfileError: names the file, what it is and the remedy.
    """
    if not out.exists():
        return
    try:
        before = io.load(out)
    except ProfileError as error:
        raise ProfileError(f"{error}\n--force replaces it") from None
    if (before.model, before.version) != (model, version):
        raise ProfileError(
            f"{out}: is the profile of {before.model} {before.version}, not of {model} {version}; "
            "give another file with -o, or --force to replace it"
        )


def _print_notes(notes: Notes, out: Path) -> None:
    ranked = rank_notes(notes)
    if not ranked:
        return
    typer.echo("look at these, the most important first:")
    for number, (names, note) in enumerate(ranked[:MAX_LISTED], 1):
        typer.echo(output.plain(f"{number:2}. {name_columns(names)} {note.text}"))
    if len(ranked) > MAX_LISTED:
        typer.echo(f"and {len(ranked) - MAX_LISTED} more: logging-lib profile show {out}")


def _served(
    url: str | None, model: str, version: str, days: float, settings: Config
) -> tuple[pd.DataFrame, Mapping[str, np.ndarray[Any, Any]], Config]:
    """The logged predictions as training data: typed as they were stored, held out by time."""
    from dataclasses import replace

    from logging_lib.profile.config import FeatureConfig

    with contextlib.closing(options.open_elasticsearch(url)) as store:
        logged = history.read_history(store, model=model, version=version, now=datetime.now(UTC), days=days)
    if logged.is_truncated:
        typer.echo(f"note: more than {len(logged.frame)} predictions; these are the latest", err=True)
    features = {}
    for name, kind in logged.kinds.items():
        feature_settings = settings.features.get(name, FeatureConfig())
        features[name] = (
            feature_settings
            if feature_settings.kind is not None
            else replace(feature_settings, kind=cast("Kind", kind))
        )
    features = {**settings.features, **features}
    return (
        logged.frame,
        logged.absent,
        replace(settings, features=features, time=settings.time or history.TIME),
    )


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
    as_json: output.JsonOption = False,
) -> None:
    """Publish profiles into Elasticsearch, where watches and annotate find them.

    Owners and thresholds that were published with the same version stay.

    Example: logging-lib profile publish profile.json --elasticsearch https://localhost:9200
    """
    from logging_lib.store.profiles import publish as publish_profile

    with output.handle_errors():
        profiles = [io.load(file) for file in files]
        published: list[dict[str, Any]] = []
        with contextlib.closing(options.open_elasticsearch(elasticsearch)) as store:
            for profile in profiles:
                retired_versions = publish_profile(
                    store, profile, now=datetime.now(UTC), deployed=deployed, alone=not keep_others
                )
                if as_json:
                    about = {"model": profile.model, "version": profile.version, "id": profile.id}
                    retired = retired_versions if deployed and not keep_others else []
                    published.append({**about, "deployed": deployed, "retired": retired})
                    continue
                flag = "deployed" if deployed else "not deployed"
                print(
                    output.plain(f"{profile.model} {profile.version}: published as {flag}, id {profile.id}")
                )
                if age := describe_age(profile):
                    print(output.plain(f"note: {age}"))
                if deployed and not keep_others:
                    for version in retired_versions:
                        print(output.plain(f"{profile.model} {version}: not flagged as deployed any more"))
        if as_json:
            typer.echo(json.dumps(published, indent=1))


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A profile.json.")],
    as_json: output.JsonOption = False,
) -> None:
    """Print a profile as a table, or with --json as it is.

    Example: logging-lib profile show profile.json
    """
    with output.handle_errors():
        profile = io.load(file)
    if as_json:
        typer.echo(json.dumps(io.encode(profile), indent=1))
        return
    Console().print(_heading(profile), _table(profile))


def _heading(profile: Profile) -> str:
    trained = output.safe(profile.trained_at or "not recorded")
    lines = [
        f"[bold]{output.safe(f'{profile.model} {profile.version}')}[/bold]  profile {output.safe(profile.id)}",
        f"{profile.rows} rows; trained at {trained}; expected rates from {output.safe(profile.held_out.method)}",
    ]
    if profile.prediction is not None:
        varies = describe_variation(profile, PREDICTION_FEATURE)
        lines.append(
            f"prediction ({profile.prediction.kind}): {output.safe(_summary(profile.prediction))}; {varies}"
        )
    lines += [output.safe(line) for line in describe_classifier(profile)]
    notes = [describe_age(profile), *(profile.variation.notes if profile.variation is not None else ())]
    lines += [f"note: {output.safe(note)}" for note in notes if note]
    return "\n".join(lines)


def _table(profile: Profile) -> Table:
    table = Table()
    for column in (
        "feature",
        "kind",
        "in training",
        "expected on held-out rows",
        "varies by itself",
        "notes",
    ):
        table.add_column(column, overflow="fold")
    for feature in profile.features.values():
        expected = ", ".join(
            f"{check} {100 * expectation.rate:.2f} %"
            for check, expectation in feature.expected.items()
            if expectation.count
        )
        varies = describe_variation(profile, feature.name)
        row: list[Any] = [
            feature.name,
            feature.kind,
            _summary(feature),
            expected or "no failed check",
            varies,
        ]
        table.add_row(*(output.safe(str(cell)) for cell in (*row, "; ".join(feature.notes))))
    return table


def _summary(feature: Feature) -> str:
    if feature.hidden:
        return "hidden: no values kept"
    if feature.kind in ("category", "boolean"):
        most_common = list(feature.values.items())[:3]
        total = sum(feature.values.values()) or 1
        text = ", ".join(f"{value[:30]} {100 * count / total:.0f} %" for value, count in most_common)
        others = len(feature.values) - len(most_common)
        return text + (f" and {others} more" if others > 0 else "")
    if feature.kind == "text":
        mean = f"{feature.moments.mean:.1f}" if feature.moments else "0"
        return f"{len(feature.vocabulary)} known words, {mean} words a text"
    if feature.kind == "vector":
        return (
            f"{len(feature.centroid)} numbers each; its norm and its cosine to their mean are features below"
        )
    if feature.range is None:
        return "no value"
    low, high = (format_epoch(b) if feature.kind == "date" else number_text(b) for b in feature.range)
    mean = f", mean {feature.moments.mean:.6g}" if feature.moments and feature.kind == "numeric" else ""
    return f"{low} to {high}{mean}"
