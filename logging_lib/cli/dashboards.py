"""``logging-lib dashboards``: build Kibana's saved objects, and import, export, compare and list them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from logging_lib._util import content
from logging_lib._util.ownership import OwnershipState
from logging_lib.cli import options, output
from logging_lib.cli.command_line import App
from logging_lib.cli.output import progress
from logging_lib.dashboards.build import for_profile
from logging_lib.dashboards.kibana import objects, reconcile
from logging_lib.dashboards.kibana.client import Kibana, dashboard_url, explain_newer, settings_from
from logging_lib.dashboards.kibana.validate import check_ndjson
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.dashboards.spec import Dashboard
from logging_lib.profile.io import load as load_profile
from logging_lib.store.port import StoreError
from logging_lib.store.profiles import overlay_profiles

app = App(help="Dashboards for Kibana, from panel specs.", no_args_is_help=True)

Json = dict[str, Any]

ProfilesOption = Annotated[
    list[Path] | None,
    typer.Option("--profile", help="profile.json of a model to make a dashboard for; repeatable."),
]
SpecsOption = Annotated[
    Path | None, typer.Option("--specs", help="Folder with your own *.yml; default: the shipped ones.")
]
KibanaOption = Annotated[
    str | None,
    typer.Option(
        "--kibana",
        metavar="URL",
        help="Kibana, with its base path. Credentials come from LOGGING_LIB_KIBANA_API_KEY, or _USER and "
        "_PASSWORD; else from LOGGING_LIB_ELASTICSEARCH_*. [LOGGING_LIB_KIBANA_URL]",
    ),
]
SpaceOption = Annotated[str, typer.Option("--space", help="The id of the space.")]
FileOption = Annotated[
    Path | None, typer.Argument(help="NDJSON from elsewhere; default: what is made from the specs.")
]


@app.command()
def build(
    profiles: ProfilesOption = None,
    specs: SpecsOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("build/dashboards"),
    as_json: output.JsonOption = False,
) -> None:
    """Write the NDJSON that Kibana imports: all dashboards, and one for each profile given.

    Exit code 2: wrong input.

    Example: logging-lib dashboards build --profile profile.json -o build/dashboards
    """
    with output.handle_errors(OSError, ValueError, extra="report"):
        shipped = load_dashboards(specs or content.path("kibana_dashboards"))
        files = {"logging-lib.ndjson": shipped}
        for path in profiles or ():
            dashboard = for_profile(load_profile(path))
            files[f"logging-lib-{dashboard.id}.ndjson"] = [dashboard]
        out.mkdir(parents=True, exist_ok=True)
        written: list[dict[str, Any]] = []
        for name, dashboards in files.items():
            text = objects.ndjson(objects.saved_objects(dashboards))
            if problems := check_ndjson(text, elsewhere=_ids(shipped)):
                raise StoreError("\n".join(map(str, problems)))
            (out / name).write_text(text, "utf-8")
            panels = sum(len(dashboard.panels) for dashboard in dashboards)
            written.append({"file": str(out / name), "dashboards": len(dashboards), "panels": panels})
    if as_json:
        typer.echo(json.dumps(written, indent=1))
        return
    for file in written:
        typer.echo(f"{file['file']}: {file['dashboards']} dashboards, {file['panels']} panels")


@app.command("import")
def import_(
    file: FileOption = None,
    profiles: ProfilesOption = None,
    specs: SpecsOption = None,
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Over what is there, even if somebody edited it.")
    ] = False,
    new_copies: Annotated[
        bool, typer.Option("--new-copies", help="Under new ids, so that nothing is touched.")
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Put the dashboards, with data views and saved searches, into a Kibana.

    Run it again after each upgrade: what somebody edited is refused unless you say --overwrite.
    Exit code 1: not all was imported; 2: wrong input, or Kibana says no.

    Example: logging-lib dashboards import --kibana https://localhost:5601
    """
    with output.handle_errors(OSError, ValueError, extra="report"), _connect(kibana, space) as connection:
        if overwrite and new_copies:
            raise StoreError("give either --overwrite or --new-copies, not both")
        wanted = _read(file) if file is not None else _wanted(specs, profiles)
        version = connection.version()
        if (reason := explain_newer(wanted, version)) is not None:
            raise StoreError(
                f"{file}: {reason}, this Kibana is {version}: upgrade it, or export from an older one"
            )
        if file is not None or new_copies:
            imported = connection.import_objects(wanted, overwrite=overwrite, new_copies=new_copies)
        else:
            comparison = reconcile.inspect_objects(connection, wanted, version=version)
            if comparison.current:
                _print_import(len(wanted), 0, [], [], as_json=as_json)
                return
            if comparison.protected and not overwrite:
                for kind, identity in comparison.protected:
                    typer.echo(f"refused: {kind} {identity}: {comparison.note((kind, identity))}", err=True)
                typer.echo(
                    "nothing was changed; logging-lib dashboards diff shows how they differ, --overwrite replaces "
                    "them, --new-copies leaves them",
                    err=True,
                )
                raise typer.Exit(1)
            imported = reconcile.import_objects(connection, wanted, version=version)
    dashboard_ids = (
        [] if new_copies else [document["id"] for document in wanted if document["type"] == "dashboard"]
    )
    urls = [dashboard_url(settings_from(url=kibana), space, identity) for identity in dashboard_ids]
    _print_import(len(wanted), imported.taken, list(imported.refused), urls, as_json=as_json)
    raise typer.Exit(1 if imported.refused else 0)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="A dashboard's id; repeatable. Default: all of ours.")
    ] = None,
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    as_json: output.JsonOption = False,
) -> None:
    """Write Kibana's dashboards, with all that they refer to, into a file. Exit code 2: Kibana says no.

    Example: logging-lib dashboards export mine.ndjson --id logging-lib-fleet
    """
    with output.handle_errors(OSError, ValueError, extra="report"), _connect(kibana, space) as connection:
        exported = (
            connection.export([("dashboard", dashboard) for dashboard in ids])
            if ids
            else connection.export_ours()
        )
        if not exported:
            raise StoreError(
                "there is nothing of ours in this space; logging-lib dashboards import puts it there"
            )
        out.write_text(objects.ndjson(exported), "utf-8")
    typer.echo(
        json.dumps({"file": str(out), "objects": len(exported)})
        if as_json
        else f"{out}: {len(exported)} objects"
    )


@app.command()
def diff(
    file: FileOption = None,
    profiles: ProfilesOption = None,
    specs: SpecsOption = None,
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    every: Annotated[
        bool, typer.Option("--all", help="Also what only Kibana itself brought into another form.")
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Show how what is in Kibana differs from what should be, line by line. Exit code 1: it does.

    Example: logging-lib dashboards diff --kibana https://localhost:5601
    """
    with output.handle_errors(OSError, ValueError, extra="report"), _connect(kibana, space) as connection:
        wanted = _read(file) if file is not None else _wanted(specs, profiles)
        comparison = reconcile.inspect_objects(connection, wanted, version=connection.version())
    differ = reconcile.diff_objects(comparison, wanted)
    if not every:
        differ = {
            key: text for key, text in differ.items() if comparison.states[key] is not OwnershipState.CURRENT
        }
    if as_json:
        rows = [
            {"type": key[0], "id": key[1], "state": comparison.states[key], "diff": text}
            for key, text in differ.items()
        ]
        typer.echo(json.dumps({"objects": len(wanted), "differ": rows}, indent=1))
        raise typer.Exit(0 if comparison.current else 1)
    for key, text in differ.items():
        typer.echo(f"{' '.join(key)}: {comparison.states[key]}")
        for line in text.splitlines():
            typer.echo(output.plain(line))
    typer.echo(f"{len(differ)} of {len(wanted)} objects differ")
    raise typer.Exit(0 if comparison.current else 1)


@app.command("list")
def list_(
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    as_json: output.JsonOption = False,
) -> None:
    """List what is ours in a Kibana. Exit code 2: Kibana says no.

    Example: logging-lib dashboards list --kibana https://localhost:5601
    """
    with output.handle_errors(OSError, ValueError, extra="report"), _connect(kibana, space) as connection:
        own_objects = connection.export_ours()
        settings = settings_from(url=kibana)
    rows = [
        {
            "type": document["type"],
            "id": document["id"],
            "title": document["attributes"].get("title") or document["attributes"].get("name", ""),
            "url": dashboard_url(settings, space, document["id"])
            if document["type"] == "dashboard"
            else None,
        }
        for document in sorted(own_objects, key=lambda document: (document["type"], document["id"]))
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table("type", "id", "title", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(output.plain(str(row[name])).replace("[", "\\[") for name in ("type", "id", "title")))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
    typer.echo(f"{len(rows)} objects in the space {space}")


@app.command()
def preview(
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    profiles: ProfilesOption = None,
    specs: SpecsOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write the page into this folder instead of serving it."),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="With --out: only these models; repeatable.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")] = 8601,
) -> None:
    """Show the same dashboards in a browser, without Kibana: served on this machine, or written as one page.

    Exit code 2: wrong input.

    Example: logging-lib dashboards preview --store build/store --out build/preview
    """
    with output.handle_errors(OSError, ValueError, extra="report"), contextlib.ExitStack() as stack:
        from logging_lib.dashboards import preview as previewing
        from logging_lib.dashboards.page import render_preview
        from logging_lib.dashboards.serve import server

        dashboards = sorted(
            load_dashboards(specs or content.path("kibana_dashboards")), key=lambda dashboard: dashboard.title
        )
        progress_display = stack.enter_context(contextlib.ExitStack())
        report_progress = progress_display.enter_context(progress("Reading the store"))
        opened = options.choose(store, elasticsearch, read_only=True, progress=report_progress)
        stack.callback(opened.close)
        if profiles:
            dashboards += [for_profile(load_profile(path)) for path in profiles]
            opened = overlay_profiles(opened, profiles)
            stack.callback(opened.close)
        previewing.prepare(opened, dashboards)
        progress_display.close()
        if out is not None:
            now = datetime.now(UTC)
            available = previewing.choices(opened, now=now)
            selections = list(previewing.combinations(available, models or ()))
            views = previewing.static_views(
                previewing.CachingStore(opened), dashboards, available, selections, now=now
            )
            periods = list(dict.fromkeys(dashboard["period"] for dashboard in selections))
            out.mkdir(parents=True, exist_ok=True)
            (out / "index.html").write_text(
                render_preview(dashboards, available, views=views, periods=periods), "utf-8"
            )
            typer.echo(f"{out / 'index.html'}: {len(dashboards)} dashboards, {len(selections)} choices")
            return
        preview_server = stack.enter_context(
            server(opened, dashboards, port=port, clock=lambda: datetime.now(UTC))
        )
        typer.echo(f"http://127.0.0.1:{preview_server.server_port}/ (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            preview_server.serve_forever()


# --- helpers


def _print_import(wanted: int, taken: int, refused: list[str], urls: list[str], *, as_json: bool) -> None:
    if as_json:
        document = {"objects": wanted, "imported": taken, "refused": refused, "dashboards": urls}
        typer.echo(json.dumps(document, indent=1))
        return
    typer.echo(
        f"{taken} of {wanted} objects imported" if taken or refused else f"{wanted} objects, unchanged"
    )
    for reason in refused:
        typer.echo(f"not imported: {reason}", err=True)
    for url in urls:
        typer.echo(output.plain(url))


@contextlib.contextmanager
def _connect(url: str | None, space: str) -> Iterator[Kibana]:
    with Kibana(settings_from(url=url), space=space) as connection:
        yield connection


def _wanted(specs: Path | None, profiles: list[Path] | None) -> list[Json]:
    dashboards = load_dashboards(specs or content.path("kibana_dashboards"))
    return objects.saved_objects([*dashboards, *(for_profile(load_profile(path)) for path in profiles or ())])


def _ids(dashboards: list[Dashboard]) -> list[str]:
    return [objects.dashboard_id(dashboard.id) for dashboard in dashboards]


def _read(file: Path) -> list[Json]:
    """The objects of an NDJSON file, without its summary. Raises StoreError."""
    documents = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError as error:
            raise StoreError(f"{file}:{number}: is no JSON: {error}") from error
        if isinstance(document, dict) and "exportedCount" in document:
            continue
        if not isinstance(document, dict) or not {"type", "id", "attributes"} <= document.keys():
            raise StoreError(f"{file}:{number}: is no saved object; export from Kibana as NDJSON")
        documents.append(document)
    if not documents:
        raise StoreError(f"{file}: holds no saved objects")
    return documents
