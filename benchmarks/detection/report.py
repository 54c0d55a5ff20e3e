"""From the cells to the figures, and from the figures to the page."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.detection.faults import FAULTS

MONTH_WEEKS = 30.44 / 7
SOON, LATE = 150, 500
METHOD = Path(__file__).parent / "method.md"


def summarize(
    cells: list[dict[str, Any]], peers: dict[str, list[dict[str, Any]]], versions: dict[str, str]
) -> dict[str, Any]:
    faulty = [cell for cell in cells if "fault" in cell]
    clean = [cell for cell in cells if "alarms" in cell]
    large = {fault.name for fault in FAULTS if fault.large}
    big = [cell for cell in faulty if cell["fault"] in large]
    months = sum(cell["weeks"] for cell in clean) / MONTH_WEEKS
    alarms = [alarm for cell in clean for alarm in cell["alarms"]]
    streams = sorted({cell["stream"] for cell in faulty})
    return {
        "streams": streams,
        "seeds": len({cell["seed"] for cell in faulty}),
        "faults": [
            {
                "fault": fault.name,
                "large": fault.large,
                "all": _of([c for c in faulty if c["fault"] == fault.name]),
            }
            | {s: _of([c for c in faulty if c["fault"] == fault.name and c["stream"] == s]) for s in streams}
            for fault in FAULTS
        ],
        "large": _of(big),
        "large_without_oov": _of([cell for cell in big if not cell["fault"].startswith("OOV")]),
        "clean": {
            "events": sum(cell["events"] for cell in clean),
            "model_months": round(months, 2),
            "alarms": len(alarms),
            "a_model_month": round(len(alarms) / months, 3) if months else None,
            "of": [f"{alarm['watch']}: {alarm['what'][0]}" for alarm in alarms],
        },
        "peers": {name: _of_peer(records) | {"version": versions[name]} for name, records in peers.items()},
    }


def _of(cells: list[dict[str, Any]]) -> dict[str, Any]:
    found = [cell for cell in cells if cell["found"]]
    counts = sorted(cell["events"] for cell in found)
    return {
        "cells": len(cells),
        "found": len(found),
        "within_150": sum(count <= SOON for count in counts),
        "within_500": sum(count <= LATE for count in counts),
        "median_events": median(counts) if counts else None,
        "most_events": counts[-1] if counts else None,
        "median_minutes": round(median(cell["minutes"] for cell in found), 1) if found else None,
    }


def _of_peer(records: list[dict[str, Any]]) -> dict[str, Any]:
    clean = [record for record in records if record["fault"] == "clean"]
    faults: dict[str, dict[str, int]] = {}
    for record in records:
        if record["fault"] != "clean":
            entry = faults.setdefault(record["fault"], {"windows": 0, "found": 0, "failed": 0})
            entry["windows"] += 1
            entry["found"] += record["found"]
            entry["failed"] += bool(record["failed"])
    return {
        "clean": len(clean),
        "flagged": sum(record["found"] for record in clean),
        "flagged_by_share": sum(record.get("dataset", False) for record in clean),
        "faults": faults,
        "errors": sorted({record["failed"].split("\n")[0] for record in records if record["failed"]})[:5],
    }


def page(results: dict[str, Any]) -> str:
    """The report in Markdown."""
    large, clean, streams = results["large"], results["clean"], results["streams"]
    rest = results["large_without_oov"]
    peers = results["peers"]
    lines = [
        "# How soon the watches find what goes wrong",
        "",
        "Written by `make bench-detection`; the figures are in `results.json`. What was not found is in the table.",
        "",
        "| goal | found |",
        "|---|---|",
        f"| all of the larger faults are found | {large['found']} of {large['cells']} |",
        f"| half of them within {SOON} events of the onset | {large['within_150']} of {large['cells']}, "
        f"median {large['median_events']} |",
        f"| none later than {LATE} events | {large['cells'] - large['within_500']} of {large['cells']} are; "
        f"without OOV x 2: {rest['cells'] - rest['within_500']} of {rest['cells']} |",
        f"| at most 1 false alarm a model-month | {clean['a_model_month']} ({clean['alarms']} in "
        f"{clean['model_months']} model-months) |",
        f"| none in 40,000 clean events | {clean['alarms']} in {clean['events']:,} clean events |",
    ]
    of_all = [entry for entry in results["faults"] if "leak" not in entry["fault"]]
    soon = sum(entry["all"]["within_500"] for entry in of_all)
    cells = sum(entry["all"]["cells"] for entry in of_all)
    lines += [
        "",
        f"Ahead of the peers? In the first {LATE} events after the onset, and in clean windows of {LATE}. A "
        "verdict that is always *alarm* finds everything; so J is the share found less the share of clean "
        "windows flagged: 1 where all faults are found without a false alarm, 0 where it is chance (Youden, "
        "*Index for rating diagnostic tests*, Cancer 3, 1950).",
        "",
        "| | larger faults found | all faults found | clean windows flagged | J, larger faults | J, all faults |",
        "|---|---|---|---|---|---|",
        _row(
            "the watches",
            (large["within_500"], large["cells"]),
            (soon, cells),
            (clean["alarms"], clean["events"] // LATE),
        ),
    ]
    for peer in peers.values():
        version = peer["version"].split()[0].replace("==", " ")
        names = {entry["fault"] for entry in results["faults"] if entry["large"]}
        larger, every = (
            (
                sum(entry["found"] for name, entry in peer["faults"].items() if name in wanted),
                sum(entry["windows"] for name, entry in peer["faults"].items() if name in wanted),
            )
            for wanted in (names, peer["faults"].keys())
        )
        lines.append(_row(version, larger, every, (peer["flagged"], peer["clean"])))
    lines += [
        "",
        "## By fault",
        "",
        f"{results['seeds']} seeds on each of the streams {', '.join(streams)}; found / cells, median events until "
        "the first alert, the latest. Larger faults are **bold**.",
        "",
        "| fault | " + " | ".join([*streams, "minutes", *peers]) + " |",
        "|---|" + "---|" * (len(streams) + 1 + len(peers)),
    ]
    for entry in results["faults"]:
        name = f"**{entry['fault']}**" if entry["large"] else entry["fault"]
        cells = [_cell(entry[stream]) for stream in streams]
        cells.append(str(entry["all"]["median_minutes"] or "-"))
        for peer in peers.values():
            of = peer["faults"].get(entry["fault"])
            failed = f", {of['failed']} crashed" if of and of["failed"] else ""
            cells.append(f"{of['found']}/{of['windows']}{failed}" if of else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "## False alarms", ""]
    lines += [f"- {text}" for text in clean["of"]] or [
        "None of the watches said anything in the clean weeks."
    ]
    lines += ["", METHOD.read_text("utf-8").rstrip("\n")]
    for name, peer in peers.items():
        if peer["errors"]:
            lines.append(
                f"- {name} could not judge some windows: " + "; ".join(f"`{each}`" for each in peer["errors"])
            )
    return "\n".join(lines) + "\n"


def _row(name: str, larger: tuple[int, int], every: tuple[int, int], flagged: tuple[int, int]) -> str:
    """A row of the comparison; each pair is (found, of how many)."""
    shares = [_share(*pair) for pair in (larger, every, flagged)]
    beyond = [f"{youden(pair, flagged):.2f}" if pair[1] and flagged[1] else "-" for pair in (larger, every)]
    return f"| {name} | " + " | ".join([*shares, *beyond]) + " |"


def youden(found: tuple[int, int], flagged: tuple[int, int]) -> float:
    """Youden's J = share of faults found - share of clean windows flagged, from -1 to 1."""
    return found[0] / found[1] - flagged[0] / flagged[1]


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}, {100 * part / whole:.0f} %" if whole else "-"


def _cell(of: dict[str, Any]) -> str:
    if not of["found"]:
        return f"{of['found']}/{of['cells']}"
    return f"{of['found']}/{of['cells']}, {of['median_events']:.0f}, {of['most_events']}"
