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

from logging_lib import content
from logging_lib._util.ownership import OwnershipState
from logging_lib.cli import options, output
from logging_lib.cli.output import progress
from logging_lib.dashboards.build import for_profile
from logging_lib.dashboards.kibana import objects, reconcile
from logging_lib.dashboards.kibana.client import Kibana, dashboard_url, newer, settings_from
from logging_lib.dashboards.kibana.validate import check_ndjson
from logging_lib.dashboards.loading import SpecError, load_dashboards
from logging_lib.dashboards.spec import Dashboard
from logging_lib.profile.io import ProfileError
from logging_lib.profile.io import load as load_profile
from logging_lib.store.port import StoreError
from logging_lib.store.profiles import overlay_profiles
from logging_lib.watch.templating import Medium

app = typer.Typer(help="Dashboards for Kibana, from panel specs.", no_args_is_help=True)

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


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        raise output.not_installed(missing, "report") from None
    except (StoreError, ProfileError, SpecError, OSError, ValueError) as error:
        raise output.fail(error) from None


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
    with _explained():
        shipped = load_dashboards(specs or content.path("kibana_dashboards"))
        made = {"logging-lib.ndjson": shipped}
        for path in profiles or ():
            one = for_profile(load_profile(path))
            made[f"logging-lib-{one.id}.ndjson"] = [one]
        out.mkdir(parents=True, exist_ok=True)
        written: list[dict[str, Any]] = []
        for name, dashboards in made.items():
            text = objects.ndjson(objects.saved_objects(dashboards))
            if faults := check_ndjson(text, elsewhere=_ids(shipped)):
                raise StoreError("\n".join(map(str, faults)))
            (out / name).write_text(text, "utf-8")
            panels = sum(len(one.panels) for one in dashboards)
            written.append({"file": str(out / name), "dashboards": len(dashboards), "panels": panels})
    if as_json:
        typer.echo(json.dumps(written, indent=1))
        return
    for made_file in written:
        typer.echo(f"{made_file['file']}: {made_file['dashboards']} dashboards, {made_file['panels']} panels")


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
    with _explained(), _connect(kibana, space) as connection:
        if overwrite and new_copies:
            raise StoreError("give either --overwrite or --new-copies, not both")
        wanted = _read(file) if file is not None else _wanted(specs, profiles)
        version = connection.version()
        if (reason := newer(wanted, version)) is not None:
            raise StoreError(
                f"{file}: {reason}, this Kibana is {version}: upgrade it, or export from an older one"
            )
        if file is not None or new_copies:
            made = connection.import_objects(wanted, overwrite=overwrite, new_copies=new_copies)
        else:
            found = reconcile.inspect_objects(connection, wanted, version=version)
            if found.current:
                _print_import(len(wanted), 0, [], [], as_json=as_json)
                return
            if found.protected and not overwrite:
                for kind, identity in found.protected:
                    typer.echo(f"refused: {kind} {identity}: {found.note((kind, identity))}", err=True)
                typer.echo(
                    "nothing was changed; logging-lib dashboards diff shows how they differ, --overwrite replaces "
                    "them, --new-copies leaves them",
                    err=True,
                )
                raise typer.Exit(1)
            made = reconcile.import_objects(connection, wanted, version=version)
    shown = [] if new_copies else [one["id"] for one in wanted if one["type"] == "dashboard"]
    urls = [dashboard_url(settings_from(url=kibana), space, identity) for identity in shown]
    _print_import(len(wanted), made.taken, list(made.refused), urls, as_json=as_json)
    raise typer.Exit(1 if made.refused else 0)


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
    with _explained(), _connect(kibana, space) as connection:
        found = connection.export([("dashboard", one) for one in ids]) if ids else connection.ours()
        if not found:
            raise StoreError(
                "there is nothing of ours in this space; logging-lib dashboards import puts it there"
            )
        out.write_text(objects.ndjson(found), "utf-8")
    typer.echo(
        json.dumps({"file": str(out), "objects": len(found)}) if as_json else f"{out}: {len(found)} objects"
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
    with _explained(), _connect(kibana, space) as connection:
        wanted = _read(file) if file is not None else _wanted(specs, profiles)
        found = reconcile.inspect_objects(connection, wanted, version=connection.version())
    differ = reconcile.differences(found, wanted)
    if not every:
        differ = {
            key: text for key, text in differ.items() if found.states[key] is not OwnershipState.CURRENT
        }
    if as_json:
        rows = [
            {"type": key[0], "id": key[1], "state": found.states[key], "diff": text}
            for key, text in differ.items()
        ]
        typer.echo(json.dumps({"objects": len(wanted), "differ": rows}, indent=1))
        raise typer.Exit(0 if found.current else 1)
    for key, text in differ.items():
        typer.echo(f"{' '.join(key)}: {found.states[key]}")
        for line in text.splitlines():
            typer.echo(Medium.HEADER.escape(line))
    typer.echo(f"{len(differ)} of {len(wanted)} objects differ")
    raise typer.Exit(0 if found.current else 1)


@app.command("list")
def list_(
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    as_json: output.JsonOption = False,
) -> None:
    """List what is ours in a Kibana. Exit code 2: Kibana says no.

    Example: logging-lib dashboards list --kibana https://localhost:5601
    """
    with _explained(), _connect(kibana, space) as connection:
        found = connection.ours()
        settings = settings_from(url=kibana)
    rows = [
        {
            "type": one["type"],
            "id": one["id"],
            "title": one["attributes"].get("title") or one["attributes"].get("name", ""),
            "url": dashboard_url(settings, space, one["id"]) if one["type"] == "dashboard" else None,
        }
        for one in sorted(found, key=lambda one: (one["type"], one["id"]))
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table("type", "id", "title", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            *(Medium.HEADER.escape(str(row[name])).replace("[", "\\[") for name in ("type", "id", "title"))
        )
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
    """The same dashboards in a browser, without Kibana: served on this machine, or written as one page.

    Exit code 2: wrong input.

    Example: logging-lib dashboards preview --store build/store --out build/preview
    """
    with _explained(), contextlib.ExitStack() as stack:
        from logging_lib.dashboards import preview as previewing
        from logging_lib.dashboards.page import page
        from logging_lib.dashboards.serve import server

        dashboards = sorted(
            load_dashboards(specs or content.path("kibana_dashboards")), key=lambda one: one.title
        )
        reading = stack.enter_context(contextlib.ExitStack())
        told = reading.enter_context(progress("Reading the store"))
        opened = options.choose(store, elasticsearch, read_only=True, progress=told)
        stack.callback(opened.close)
        if profiles:
            dashboards += [for_profile(load_profile(path)) for path in profiles]
            opened = overlay_profiles(opened, profiles)
            stack.callback(opened.close)
        previewing.prepare(opened, dashboards)
        reading.close()
        if out is not None:
            now = datetime.now(UTC)
            known = previewing.choices(opened, now=now)
            combined = list(previewing.combinations(known, models or ()))
            views = previewing.static_views(
                previewing.Remembering(opened), dashboards, known, combined, now=now
            )
            periods = list(dict.fromkeys(one["period"] for one in combined))
            out.mkdir(parents=True, exist_ok=True)
            (out / "index.html").write_text(page(dashboards, known, views=views, periods=periods), "utf-8")
            typer.echo(f"{out / 'index.html'}: {len(dashboards)} dashboards, {len(combined)} choices")
            return
        serving = stack.enter_context(server(opened, dashboards, port=port, clock=lambda: datetime.now(UTC)))
        typer.echo(f"http://127.0.0.1:{serving.server_port}/ (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve_forever()


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
        typer.echo(Medium.HEADER.escape(url))


@contextlib.contextmanager
def _connect(url: str | None, space: str) -> Iterator[Kibana]:
    with Kibana(settings_from(url=url), space=space) as connection:
        yield connection


def _wanted(specs: Path | None, profiles: list[Path] | None) -> list[Json]:
    dashboards = load_dashboards(specs or content.path("kibana_dashboards"))
    return objects.saved_objects([*dashboards, *(for_profile(load_profile(path)) for path in profiles or ())])


def _ids(dashboards: list[Dashboard]) -> list[str]:
    return [objects.dashboard_id(one.id) for one in dashboards]


def _read(file: Path) -> list[Json]:
    """The objects of an NDJSON file, without its summary. Raises StoreError."""
    made = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
        except ValueError as error:
            raise StoreError(f"{file}:{number}: is no JSON: {error}") from error
        if isinstance(one, dict) and "exportedCount" in one:
            continue
        if not isinstance(one, dict) or not {"type", "id", "attributes"} <= one.keys():
            raise StoreError(f"{file}:{number}: is no saved object; export from Kibana as NDJSON")
        made.append(one)
    if not made:
        raise StoreError(f"{file}: holds no saved objects")
    return made
