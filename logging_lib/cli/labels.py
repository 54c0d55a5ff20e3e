"""``logging-lib labels``: ingest and join labels that arrive late; measure quality and delay."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from logging_lib._util.formatting import format_count, format_seconds
from logging_lib._util.suggestions import suggest_file
from logging_lib.analysis import joins, labels, samples
from logging_lib.analysis.labels import Columns, Done
from logging_lib.analysis.samples import Selection
from logging_lib.cli import options, output
from logging_lib.cli.command_line import App
from logging_lib.profile.document import read_classifier
from logging_lib.schema import DEFAULT_NAMESPACE
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import Store, StoreError

app = App(
    help="Ingest late labels, and measure the quality of predictions with them.",
    no_args_is_help=True,
)

ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Name of the model. Default: all models.")
]
NewClassesOption = Annotated[
    bool, typer.Option("--new-classes", help="Keep labels of classes that the model does not have.")
]
WhichArgument = Annotated[
    str,
    typer.Argument(
        metavar="SELECTION",
        help="Which labels: 'last=30d', 'version=2,role=shadow', 'since=2018-02-01'. Default: all.",
    ),
]


@app.command()
def ingest(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="CSV, Parquet or JSON lines; - reads JSON lines from standard input."
        ),
    ],
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: ModelOption = None,
    request_id: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column with the request's id.")
    ] = "request_id",
    event_id: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column with the prediction's event.id.")
    ] = "event_id",
    actual: Annotated[str, typer.Option(metavar="COLUMN", help="Column with the actual values.")] = "actual",
    time: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column with the time at which the label was known.")
    ] = "timestamp",
    namespace: options.NamespaceOption = DEFAULT_NAMESPACE,
    new_classes: NewClassesOption = False,
    as_json: output.JsonOption = False,
) -> None:
    """Write label events, with the prediction, version, role and error copied into each.

    Labels that are already indexed are skipped, so a run that was stopped may be started again. A label whose
    prediction has not arrived is kept without it, and `labels join` completes it. A label that is none of the
    classes in the model's published profile is refused. Several labels are a list, in CSV as JSON. Exit code
    1: some rows were refused; 2: wrong input.

    Example: logging-lib labels ingest labels.csv --model loans --store build/store
    """
    names = Columns(request=request_id, actual=actual, timestamp=time, event=event_id)
    now = datetime.now(UTC)
    total = Done()
    with output.handle_errors(ValueError, OSError), _opened(store, elasticsearch) as opened:
        if file == "-":
            for rows in labels.lines_of(sys.stdin.buffer):
                _add(total, labels.ingest(opened, rows, now=datetime.now(UTC), model=model, columns=names,
                                          namespace=namespace, new_classes=new_classes))  # fmt: skip
        else:
            path = Path(file)
            if not path.exists():
                raise ValueError(f"{path}: no such file{suggest_file(path)}")
            rows_of_file = labels.check_columns(labels.rows_of(path), names, str(path))
            with output.progress("Ingesting labels"):
                total = labels.ingest(
                    opened, rows_of_file, now=now, model=model, columns=names, namespace=namespace,
                    new_classes=new_classes,
                )  # fmt: skip
    _report(total, as_json, "row")


@app.command()
def join(
    which: WhichArgument = "",
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: ModelOption = None,
    namespace: options.NamespaceOption = DEFAULT_NAMESPACE,
    new_classes: NewClassesOption = False,
    as_json: output.JsonOption = False,
) -> None:
    """Join labels in the store with predictions that have no label event yet.

    For labels that arrived before their prediction, or that a shadow model's prediction needs, too. A label that is
    none of the classes in the model's published profile is refused. Exit code 1: some were refused; 2: wrong input.

    Example: logging-lib labels join last=30d --store build/store
    """
    now = datetime.now(UTC)
    with output.handle_errors(ValueError, OSError):
        selection = _selection(which, model, now)
        with _opened(store, elasticsearch) as opened, output.progress("Joining labels"):
            done = labels.join(
                opened, now=now, selection=selection, namespace=namespace, new_classes=new_classes
            )
    _report(done, as_json, "label")


@app.command()
def quality(
    which: WhichArgument = "",
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: ModelOption = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Measure each segment: version, role, a feature, or labels.KEY."),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Measure each period of this length, such as 7d."),
    ] = None,
    as_json: output.JsonOption = False,
) -> None:
    """Measure the model's quality where labels are known, beside that of training; by segment or period.

    For a classifier with probabilities also the areas under its curves, log loss, Brier score, confusion matrix,
    calibration, and what other thresholds would give. Exit code 2: wrong input, no joined label, or none of the
    model's classes.

    Example: logging-lib labels quality last=30d --by homeownership --store build/store
    """

    from logging_lib.analysis import quality as measures
    from logging_lib.cli.quality import show_quality

    now = datetime.now(UTC)
    with output.handle_errors(ValueError, OSError):
        if by is not None and every is not None:
            raise options.UsageError("give either --by or --every")
        length = None if every is None else options.duration(every, "--every")
        with _opened(store, elasticsearch, read_only=True) as opened, output.progress("Reading labels"):
            if model is not None:
                options.choose_model(model, samples.models(opened))
            frame = joins.read(opened, _selection(which, model, now), by=by)
            expected = {key: _expected(opened, *key) for key in _versions(frame)}
        by_version, corrected = {}, {}
        for key in _versions(frame):
            rows = frame[(frame["model"] == key[0]) & (frame["version"] == key[1])]
            stored = expected[key].get("classifier")
            classifier = None if stored is None else read_classifier(stored)
            by_version[key] = (
                measures.by_segment(rows, classifier=classifier)
                if length is None
                else measures.by_period(rows, length, classifier=classifier)
            )
            corrected[key] = int(rows["changed"].sum())
    if as_json:
        output.print_json(
            [
                {
                    "model": key[0],
                    "version": key[1],
                    "training": expected[key].get("quality"),
                    "classifier": expected[key].get("classifier"),
                    "changed": corrected[key],
                    "segments": [segment.document() for segment in segments],
                }
                for key, segments in by_version.items()
            ]
        )
        return
    for which_version, segments in by_version.items():
        typer.echo(output.plain(" ".join(which_version)))
        show_quality(segments, expected[which_version])
        if corrected[which_version]:
            output.note(
                f"{format_count(corrected[which_version], 'prediction')} with several labels; the last counts"
            )


@app.command()
def delay(
    which: WhichArgument = "",
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: ModelOption = None,
    as_json: output.JsonOption = False,
) -> None:
    """Measure how long after its prediction a label is known, and what share of predictions has one.

    Exit code 2: wrong input, or no joined label.

    Example: logging-lib labels delay --model loans --store build/store
    """

    from logging_lib.analysis import quality as measures

    now = datetime.now(UTC)
    with output.handle_errors(ValueError, OSError), _opened(store, elasticsearch, read_only=True) as opened:
        if model is not None:
            options.choose_model(model, samples.models(opened))
        selection = _selection(which, model, now)
        frame = joins.read(opened, selection)
        shares = {key: joins.share(opened, selection, *key) for key in _versions(frame)}
    delays = [
        {
            "model": key[0],
            "version": key[1],
            **shares[key],
            "seconds": measures.delays(frame[(frame["model"] == key[0]) & (frame["version"] == key[1])]),
        }
        for key in _versions(frame)
    ]
    if as_json:
        output.print_json(delays)
        return
    table = Table("model", "version", "labelled", "median", "p95", "max", box=None, pad_edge=False)
    for delay in delays:
        seconds = delay["seconds"]
        table.add_row(
            output.safe(delay["model"]),
            output.safe(delay["version"]),
            f"{delay['labelled']:,} of {delay['predictions']:,}",
            *(format_seconds(seconds.get(name)) for name in ("p50", "p95", "max")),
        )
    output.console().print(table)


REMEDY = "; index predictions first: logging-lib index SPOOL --store PATH"


def _opened(store: Path | None, url: str | None, *, read_only: bool = False) -> Any:
    import contextlib

    if store is not None and url is None and not read_only and not store.is_dir():
        raise StoreError(f"{store}: no such folder{suggest_file(store) or REMEDY}")
    opened: Store = (
        EmbeddedStore(store)
        if store is not None and url is None and not read_only
        else options.choose(store, url, read_only=read_only)
    )
    return contextlib.closing(opened)


def _selection(which: str, model: str | None, now: datetime) -> Selection:
    base = Selection(model=model)
    return Selection.parse(which, now=now, base=base) if which else base


def _versions(frame: Any) -> list[tuple[str, str]]:
    return sorted(set(zip(frame["model"], frame["version"], strict=True)))


def _expected(store: Store, model: str, version: str) -> Mapping[str, Any]:
    """Return the expected quality from the published profile; empty without one."""
    fields = ["expected.quality", "expected.classifier"]
    body = {"size": 1, "query": {"ids": {"values": [f"{model}:{version}"]}}, "_source": fields}
    for hit in store.search("ml-profiles", body)["hits"]["hits"]:
        expected: Mapping[str, Any] = hit["_source"].get("expected") or {}
        return expected
    return {}


def _add(total: Done, more: Done) -> None:
    total.rows += more.rows
    total.joined += more.joined
    total.known += more.known
    total.waiting += more.waiting
    total.refused += more.refused


def _report(done: Done, as_json: bool, what: str) -> None:
    if as_json:
        typer.echo(json.dumps(done.document()))
    else:
        typer.echo(
            f"{format_count(done.rows, what)}: {format_count(done.joined, 'label event')} written, "
            f"{done.known:,} already indexed, {done.waiting:,} without a prediction yet"
        )
        for name, reason in done.refused[:10]:
            output.warn(f"refused: {name}: {reason}")
        if len(done.refused) > 10:
            output.warn(f"and {len(done.refused) - 10:,} more refused")
    raise typer.Exit(1 if done.refused else 0)
