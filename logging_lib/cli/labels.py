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

from logging_lib.analysis import joins, labels
from logging_lib.analysis.labels import Columns, Done
from logging_lib.analysis.samples import Selection
from logging_lib.cli import options, output
from logging_lib.cli.command_line import App
from logging_lib.profile.document import read_classifier
from logging_lib.schema import DEFAULT_NAMESPACE
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import Store, StoreError

app = App(help="Labels that arrive late: ingest, join, quality, delay.", no_args_is_help=True)

ModelOption = Annotated[str | None, typer.Option(help="The model.")]
NamespaceOption = Annotated[str, typer.Option(help="Namespace of the label stream.")]
WhichArgument = Annotated[
    str, typer.Argument(help="Which labels: 'last=30d', 'version=2,role=shadow', 'since=2018-02-01'.")
]


@app.command()
def ingest(
    file: Annotated[str, typer.Argument(help="CSV, Parquet or JSON lines; - reads JSON lines as they come.")],
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: ModelOption = None,
    request_id: Annotated[str, typer.Option(help="The column with the request's id.")] = "request_id",
    event_id: Annotated[str, typer.Option(help="The column with the prediction's event.id.")] = "event_id",
    actual: Annotated[str, typer.Option(help="The column with the actual values.")] = "actual",
    timestamp: Annotated[str, typer.Option(help="The column that says when it was known.")] = "timestamp",
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    new_classes: Annotated[
        bool, typer.Option("--new-classes", help="Keep labels of classes that the model does not have.")
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Write label events with the prediction, version, role and error copied in.

    What is already indexed is skipped, so a run that was stopped may be started again. A label whose prediction
    has not arrived is kept without it: `labels join` completes it. A label that is none of the classes in the
    model's published profile is refused. Exit code 1: some rows were refused; 2: wrong
    input.

    Example: logging-lib labels ingest labels.csv --model loans --store build/store
    """
    names = Columns(request=request_id, actual=actual, timestamp=timestamp, event=event_id)
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
                raise ValueError(f"{path}: no such file")
            rows_of_file = labels.check_columns(labels.rows_of(path), names, str(path))
            total = labels.ingest(
                opened, rows_of_file, now=now, model=model, columns=names, namespace=namespace,
                new_classes=new_classes,
            )  # fmt: skip
    _report(total, as_json, "rows")


@app.command()
def join(
    which: WhichArgument = "",
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: ModelOption = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    as_json: output.JsonOption = False,
) -> None:
    """Join the labels in the store with the predictions that have no label event yet.

    For labels that came before their prediction, of a service that had forgotten it, or that a shadow model's
    prediction needs, too. Exit code 1: some could not be written; 2: wrong input.

    Example: logging-lib labels join last=30d --store build/store
    """
    now = datetime.now(UTC)
    with output.handle_errors(ValueError, OSError):
        selection = _selection(which, model, now)
        with _opened(store, elasticsearch) as opened:
            done = labels.join(opened, now=now, selection=selection, namespace=namespace)
    _report(done, as_json, "labels")


@app.command()
def quality(
    which: WhichArgument = "",
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: ModelOption = None,
    by: Annotated[
        str | None, typer.Option(help="A segment: version, role, a feature, or labels.KEY.")
    ] = None,
    every: Annotated[str | None, typer.Option(help="Measure each period of this length, such as 7d.")] = None,
    as_json: output.JsonOption = False,
) -> None:
    """Measure the model's quality where labels are known, beside training's; by segment or period; calibration.

    Of a classifier with probabilities also the areas under its curves, log loss, Brier score, the confusion matrix,
    and what other thresholds would give. Exit code 0: printed; 2: wrong input, no joined label, or no label that is
    one of the model's classes.

    Example: logging-lib labels quality last=30d --by homeownership --store build/store
    """

    from logging_lib.analysis import quality as measures
    from logging_lib.cli.quality import show_quality

    now = datetime.now(UTC)
    with output.handle_errors(ValueError, OSError):
        if by is not None and every is not None:
            raise options.UsageError("give either --by or --every")
        length = None if every is None else options.duration(every, "--every")
        with _opened(store, elasticsearch, read_only=True) as opened:
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
                f"{corrected[which_version]:,} predictions had another label before; the latest counts"
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

    Exit code 0: printed; 2: wrong input, or no joined label.

    Example: logging-lib labels delay --model loans --store build/store
    """

    from logging_lib.analysis import quality as measures

    now = datetime.now(UTC)
    with output.handle_errors(ValueError, OSError), _opened(store, elasticsearch, read_only=True) as opened:
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
            *(_span(seconds.get(name)) for name in ("p50", "p95", "max")),
        )
    output.console().print(table)


def _opened(store: Path | None, url: str | None, *, read_only: bool = False) -> Any:
    import contextlib

    if store is not None and url is None and not read_only and not store.is_dir():
        raise StoreError(
            f"{store}: no such folder; index predictions first: logging-lib index SPOOL --store DIR"
        )
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
    """What the published profile says of the quality that is expected; empty without one."""
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
            f"{done.rows:,} {what}: {done.joined:,} label events written, {done.known:,} were there already, "
            f"{done.waiting:,} without a prediction yet"
        )
        for name, reason in done.refused[:10]:
            output.note(f"refused: {name}: {reason}")
        if len(done.refused) > 10:
            output.note(f"and {len(done.refused) - 10} more were refused")
    raise typer.Exit(1 if done.refused else 0)


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
