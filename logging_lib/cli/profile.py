"""``logging-lib profile``: fit and show training profiles."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.table import Table

from logging_lib._util.formatting import format_count, format_number, format_percent
from logging_lib._util.suggestions import suggest_file
from logging_lib.analysis import samples
from logging_lib.cli import options, output
from logging_lib.cli.command_line import App
from logging_lib.cli.learn import learn
from logging_lib.profile import io
from logging_lib.profile.coerce import format_epoch
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

app = App(help="Fit, publish and show the profile of a model's training data.", no_args_is_help=True)
app.command()(learn)


@app.command()
def fit(
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="Name of the model, as the logger gives it.")
    ],
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="Version of the model.")],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="CSV, Parquet or JSON lines, one row per example. Default: fit from the predictions in the store.",
            show_default=False,
        ),
    ] = None,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Without a file: fit from predictions since then, an ISO 8601 time or a duration ago.",
        ),
    ] = "30d",
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column with the actual values.")
    ] = None,
    prediction: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column with the model's predictions.")
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CLASS=]COLUMN",
            help="For a classifier: column with the probability of the predicted class, or of the class that is "
            "named; repeatable.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="For two classes: lowest probability of the positive class that predicts it.",
            min=0,
            max=1,
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="For two classes: class that the probabilities are of. Default: 1, true or yes.",
        ),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="File of rows that the model was not trained on, with the same columns, to measure quality with.",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A profile.yml that overrides what is recognized.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column with the time of each row: watches learn from it how much traffic varies by itself.",
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="With --time: time zone whose hours and weekdays traffic follows. Default: UTC.",
        ),
    ] = None,
    trained_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="When the model was trained, an ISO 8601 time. Default: the last --time."
        ),
    ] = None,
    training_time: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long the training took, such as 90m.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="File to write the profile to.")
    ] = Path("profile.json"),
    suggest_config: Annotated[
        Path | None,
        typer.Option(
            "--suggest-config", metavar="PATH", help="Also write a draft of profile.yml to this file."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace an existing file, even the profile of another model or version."
        ),
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Fit a profile from the rows that the model was trained on, or from what it served.

    The output ends with what is unusual about the columns, the most important first; a draft of profile.yml
    (--suggest-config) says what to do about it. Exit code 2: wrong input.

    Examples: logging-lib profile fit train.csv --model loans --version 3 --target interest_rate;
    logging-lib profile fit --since 30d --model loans --version 3 --store build/store
    """
    from dataclasses import replace

    from logging_lib.profile import config as configuration
    from logging_lib.profile.fitting import fit_with_notes
    from logging_lib.profile.readers import TrainingTable, read_table

    source = str(data or store or "Elasticsearch")
    try:
        if data is not None and elasticsearch:
            raise options.UsageError("give either a file or --elasticsearch, not both")
        length = None if training_time is None else options.duration(training_time, "--training-time")
        if data is not None and not data.exists():
            raise ProfileError(f"{data}: no such file{suggest_file(data)}")
        if not force:
            _protect(out, model, version)
            if suggest_config is not None and suggest_config.exists():
                raise ProfileError(f"{suggest_config}: the file exists; give --force to replace it")
        settings = configuration.read(config) if config else configuration.Config()
        if time is not None:
            settings = replace(settings, time=time)
        if timezone is not None:
            settings = replace(settings, timezone=configuration.parse_timezone(timezone, "--timezone"))
            if settings.time is None and data is not None:
                raise options.UsageError("--timezone needs --time")
        if data is None:
            frame, absent, settings = _served(
                store,
                elasticsearch,
                model,
                version,
                options.since(since, datetime.now(UTC)),
                settings,
            )
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
            training_seconds=None if length is None else length.total_seconds(),
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
        is_named = str(error).startswith((source, "--", str(out), str(suggest_config)))
        raise output.fail(error if is_named else f"{source}: {error}") from None
    except (StoreError, options.UsageError) as error:
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
    about_fit = f"{format_count(fitted.rows, 'row')}, {format_count(len(fitted.features), 'feature')}"
    print(output.plain(f"{out}: {fitted.model} {fitted.version}, {about_fit}, id {fitted.id}"))
    print(output.plain(f"expected rates from {fitted.held_out.method}"))
    for note in table.notes:
        output.note(f"note: {source}: {note}")
    for line in describe_classifier(fitted):
        print(output.plain(line))
    for note in fitted.variation.notes if fitted.variation is not None else ():
        output.note(f"note: {note}")
    if settings.time is None:
        output.note(
            "note: a default is used for how much the traffic varies by itself; give --time, or learn it from what "
            "is served: logging-lib profile learn"
        )
    if fitted.trained_at is None:
        output.note("note: the time of training is not recorded; give --trained-at or --time")
    _print_notes(notes, out)


def _protect(out: Path, model: str, version: str) -> None:
    """Refuse to replace a file unless it is an earlier profile of the same model version.

    Raises:
        ProfileError: the file is something else; names the file, what it is and the remedy.
    """
    if not out.exists():
        return
    try:
        before = io.load(out)
    except ProfileError as error:
        raise ProfileError(f"{error}; give --force to replace it") from None
    if (before.model, before.version) != (model, version):
        raise ProfileError(
            f"{out}: this file is the profile of {before.model} {before.version}, not of {model} {version}; "
            "give another file with --out, or --force to replace it"
        )


def _print_notes(notes: Notes, out: Path) -> None:
    ranked = rank_notes(notes)
    if not ranked:
        return
    typer.echo("Check these, the most important first:")
    for number, (names, note) in enumerate(ranked[:MAX_LISTED], 1):
        typer.echo(output.plain(f"{number:2}. {name_columns(names)} {note.text}"))
    if len(ranked) > MAX_LISTED:
        typer.echo(f"and {len(ranked) - MAX_LISTED} more: logging-lib profile show {out}")


def _served(
    directory: Path | None, url: str | None, model: str, version: str, since: datetime, settings: Config
) -> tuple[pd.DataFrame, Mapping[str, np.ndarray[Any, Any]], Config]:
    """Read the logged predictions as training data: typed as they were stored, held out by time."""
    from dataclasses import replace

    from logging_lib.profile.config import FeatureConfig

    now = datetime.now(UTC)
    days = (now - since).total_seconds() / 86_400
    with contextlib.closing(options.choose(directory, url, read_only=True)) as store:
        options.choose_model(model, samples.models(store))
        logged = history.read_history(store, model=model, version=version, now=now, days=days)
    if logged.is_truncated:
        output.note(f"note: there are more than {len(logged.frame):,} predictions; the latest were used")
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
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Profiles: profile.json files.")],
    elasticsearch: options.ClusterOption = None,
    deployed: Annotated[
        bool,
        typer.Option("--deployed/--not-deployed", help="Mark the version as the one that serves, or not."),
    ] = True,
    keep_others: Annotated[
        bool, typer.Option("--keep-others", help="Keep other versions of the model marked as deployed, too.")
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Publish profiles to Elasticsearch, where watches and annotate find them.

    Owners and thresholds that were published with the same version are kept.

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
                    output.note(f"note: {age}")
                if deployed and not keep_others:
                    for version in retired_versions:
                        print(output.plain(f"{profile.model} {version}: no longer marked as deployed"))
        if as_json:
            typer.echo(json.dumps(published, indent=1))


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A profile.json.")],
    as_json: output.JsonOption = False,
) -> None:
    """Print a profile as a table, or the whole file with --json.

    Example: logging-lib profile show profile.json
    """
    with output.handle_errors():
        profile = io.load(file)
    if as_json:
        typer.echo(json.dumps(io.encode(profile), indent=1))
        return
    output.console().print(_heading(profile), _table(profile))


def _heading(profile: Profile) -> str:
    trained = output.safe(profile.trained_at or "not recorded")
    lines = [
        f"[bold]{output.safe(f'{profile.model} {profile.version}')}[/bold]  profile {output.safe(profile.id)}",
        f"{format_count(profile.rows, 'row')}; trained at {trained}; "
        f"expected rates from {output.safe(profile.held_out.method)}",
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
            f"{check} {format_percent(expectation.rate)}"
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
        text = ", ".join(f"{value[:30]} {format_percent(count / total)}" for value, count in most_common)
        others = len(feature.values) - len(most_common)
        return text + (f" and {others} more" if others > 0 else "")
    if feature.kind == "text":
        mean = f"{feature.moments.mean:.1f}" if feature.moments else "0"
        return f"{format_count(len(feature.vocabulary), 'known word')}, {mean} words per text"
    if feature.kind == "vector":
        return (
            f"{len(feature.centroid)} numbers each; its norm and its cosine to their mean are features below"
        )
    if feature.range is None:
        return "no value"
    low, high = (format_epoch(b) if feature.kind == "date" else format_number(b) for b in feature.range)
    mean = (
        f", mean {format_number(feature.moments.mean)}"
        if feature.moments and feature.kind == "numeric"
        else ""
    )
    return f"{low} to {high}{mean}"
