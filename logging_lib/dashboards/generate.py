"""Write the files generated from ``kibana_dashboards/*.yml``: the NDJSON, and the list in the folder's README.

``python -m logging_lib.dashboards.generate [--check] [ROOT]``
"""

from __future__ import annotations

import sys
from pathlib import Path

from logging_lib.dashboards.kibana.objects import dashboard_id, ndjson, saved_objects
from logging_lib.dashboards.kibana.validate import check_ndjson
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.dashboards.spec import Dashboard

FOLDER = "kibana_dashboards"
NDJSON = "logging-lib.ndjson"
_BEGIN, _END = "<!-- generated: the dashboards -->", "<!-- end of what is generated -->"


def render_list(dashboards: list[Dashboard]) -> str:
    """Render the dashboards and their panels as Markdown."""
    lines = []
    for board in dashboards:
        controls = ", ".join(board.controls)
        lines += [
            f"### {board.title}",
            "",
            f"`{board.id}.yml` → `{dashboard_id(board.id)}`. {board.description} Controls: {controls}.",
            "",
            "| panel | chart | of |",
            "|---|---|---|",
        ]
        lines += [
            f"| {panel.title} | {panel.chart} | {panel.dataset} |"
            for panel in board.panels
            if panel.chart != "text"
        ]
        lines.append("")
    return "\n".join(lines)


def outputs(root: Path) -> dict[str, str]:
    """Render the files: path below the project's root → content.

    Raises:
        SpecError: a dashboard's file is wrong.
        ValueError: the generated objects have faults, or the README has no place for the list.
    """
    dashboards = load_dashboards(root / FOLDER)
    ndjson_text = ndjson(saved_objects(dashboards))
    if faults := check_ndjson(ndjson_text):
        raise ValueError("\n".join(map(str, faults)))
    readme = (root / FOLDER / "README.md").read_text("utf-8")
    before, begin, after = readme.partition(_BEGIN)
    _, end, after = after.partition(_END)
    if not begin or not end:
        raise ValueError(f"{FOLDER}/README.md: lacks the lines {_BEGIN} and {_END}")
    readme = f"{before}{begin}\n\n{render_list(dashboards)}\n{end}{after}"
    return {f"{FOLDER}/{NDJSON}": ndjson_text, f"{FOLDER}/README.md": readme}


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    root = Path(next((a for a in arguments if not a.startswith("-")), "."))
    try:
        files = outputs(root)
    except ValueError as error:
        print(error)
        return 1
    stale = []
    for name, content in files.items():
        path = root / name
        if path.exists() and path.read_text("utf-8") == content:
            continue
        stale.append(name)
        if not check:
            path.write_text(content, "utf-8")
    for name in stale:
        remedy = "differs from the *.yml beside it; run `make generate`" if check else "brought up to date"
        print(f"{name}: {remedy}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
