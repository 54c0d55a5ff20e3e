"""Compute the figures from the records, and the page from the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import chi2

from benchmarks.detection import detectable
from benchmarks.detection.datasets import REPORTING, TUNING, Stream
from benchmarks.detection.faults import FAULTS

MONTH_WEEKS = 30.44 / 7
SOON, LATE = 150, 500
SLOW = 200  # events per day; faults in streams with fewer may take a day to be found
LISTED = 40
METHOD = Path(__file__).parent / "method.md"
Record = dict[str, Any]


# --- the figures


def summarize_shuffled(cells: list[Record]) -> Record:
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
            {"fault": fault.name, "large": fault.large}
            | {"all": _of([c for c in faulty if c["fault"] == fault.name])}
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
            "of": [f"{alarm['watch']}: {alarm['what']}" for alarm in alarms],
        },
    }


def _of(cells: list[Record]) -> Record:
    found = [cell for cell in cells if cell["found"]]
    counts = sorted(cell["events"] for cell in found)
    minutes = [cell.get("minutes", 60.0 * cell.get("hours", 0.0)) for cell in found]
    return {
        "cells": len(cells),
        "found": len(found),
        "within_150": sum(count <= SOON for count in counts),
        "within_500": sum(count <= LATE for count in counts),
        "median_events": median(counts) if counts else None,
        "most_events": counts[-1] if counts else None,
        "median_minutes": round(median(minutes), 1) if found else None,
    }


def summarize_natural(measured: dict[str, list[Record]], peers: dict[str, list[Record]]) -> Record:
    return {
        use: _natural(measured, peers, streams)
        for use, streams in (("tuning", TUNING), ("reporting", REPORTING))
        if any(record["stream"] == stream.name for record in measured["clean"] for stream in streams)
    }


def _natural(
    measured: dict[str, list[Record]], peers: dict[str, list[Record]], streams: Iterable[Stream]
) -> Record:
    names = {stream.name: stream for stream in streams}

    def of(records: list[Record]) -> list[Record]:
        return [record for record in records if record["stream"] in names]

    clean, faults, early = of(measured["clean"]), of(measured["faults"]), of(measured["early"])
    alerts = [{"stream": r["stream"], **alert} for r in clean for alert in r["alerts"]]
    days = sum(record["days"] for record in clean)
    alarm_days = sum(len({alert["time"][:10] for alert in record["alerts"]}) for record in clean)
    found = sum(fault["found"] for fault in faults)
    early_faults = of(measured["early faults"])
    return {
        "streams": [
            {"name": name, "about": stream.about}
            | _rate([record for record in clean if record["stream"] == name])
            | _of([fault for fault in faults if fault["stream"] == name])
            for name, stream in names.items()
        ],
        "clean": _rate(clean),
        "alerts": [
            {key: alert[key] for key in ("stream", "time", "watch", "subject", "effects")} for alert in alerts
        ][:LISTED],
        "early": _rate(early) | {"found": sum(f["found"] for f in early_faults), "cells": len(early_faults)},
        "faults": [
            {"fault": name} | _of([f for f in faults if f["fault"] == name]) for name in detectable.FAULTS
        ],
        "all": _of(faults) | {"late": sum(f["found"] and not _is_in_time(f) for f in faults)},
        "missed": [
            f"{f['stream']} {f['fold']}: {f['fault']} of {', '.join(f['features'])}"
            for f in faults
            if not f["found"]
        ],
        "sampled": [
            {
                "sample": rate,
                "alerts": sum(len(r["alerts"]) for r in chosen),
                "kept": _mean(r["kept"] for r in chosen),
            }
            for rate in sorted({r["sample"] for r in of(measured["sampled"])}, reverse=True)
            if (chosen := [r for r in of(measured["sampled"]) if r["sample"] == rate])
        ],
        "shifts": of(measured["shifts"]),
        "youden": {"the watches": [found, len(faults), alarm_days, days]}
        | {name: _best(of(records)) for name, records in peers.items()},
    }


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return round(sum(listed) / len(listed), 4)


def _rate(records: list[Record]) -> Record:
    """Return the rate of alerts in clean weeks; ``at_most``: upper end of a one-sided 95 % Poisson interval."""
    weeks = sum(record["weeks"] for record in records)
    count = sum(len(record["alerts"]) for record in records)
    worst = max((len(record["alerts"]) / record["weeks"] for record in records), default=0.0)
    rates = {
        "a_month": count / weeks * MONTH_WEEKS,
        "at_most": float(chi2.ppf(0.95, 2 * (count + 1))) / 2 / weeks * MONTH_WEEKS,
        "worst_a_week": worst,
    } if weeks else {}  # fmt: skip
    return {
        "weeks": round(weeks, 1),
        "alerts": count,
        **{name: round(rate, 2) for name, rate in rates.items()},
    }


def _is_in_time(fault: Record) -> bool:
    return bool(fault["events"] <= LATE or fault["a_day"] < SLOW)


def _best(records: list[Record]) -> list[int]:
    """Return (found, faults, flagged, clean days) at the threshold of the highest J. Failures count as found."""
    faults = [float("inf") if r["failed"] else r["score"] for r in records if r["fault"]]
    clean = [r["score"] for r in records if not r["fault"] and r["score"] is not None]
    options = [
        [sum(s > limit for s in faults), len(faults), sum(s > limit for s in clean), len(clean)]
        for limit in sorted({-1.0, *clean, *(s for s in faults if s != float("inf"))})
    ]
    return max(options, key=lambda four: youden((four[0], four[1]), (four[2], four[3])))


def youden(found: tuple[int, int], flagged: tuple[int, int]) -> float:
    """Return Youden's J = share of faults found - share of clean days flagged, from -1 to 1."""
    return (found[0] / found[1] if found[1] else 0.0) - (flagged[0] / flagged[1] if flagged[1] else 0.0)


# --- the page


def page(results: Record) -> str:
    """Return the report in Markdown."""
    natural, shuffled = results["natural"], results["shuffled"]
    lines = [
        "# How soon the watches find what goes wrong, and how often they cry without cause",
        "",
        "Written by `make bench-detection`; the figures are in `results.json`.",
        *_goals(natural.get("reporting"), shuffled),
    ]
    for use, about in (
        ("reporting", "## Natural streams"),
        ("tuning", "## The streams that thresholds were chosen with"),
    ):
        if use in natural:
            lines += ["", about, *_stream_tables(natural[use], results["peers"])]
    lines += _shift_table(natural, results.get("before", {}))
    lines += _shuffled_tables(shuffled)
    lines += ["", METHOD.read_text("utf-8").rstrip("\n"), *_excluded()]
    return "\n".join(lines) + "\n"


def _goals(reporting: Record | None, shuffled: Record) -> list[str]:
    rows = []
    if reporting:
        clean, early, all_faults = reporting["clean"], reporting["early"], reporting["all"]
        own, *others = (_youden_of(four) for four in reporting["youden"].values())
        ahead = f"{own:.2f}, above both peers"
        rows = [
            _goal(
                "alerts in clean weeks, all watches that read predictions",
                f"{clean['a_month']:.1f} a model-month ({clean['alerts']} in {clean['weeks']:.0f} model-weeks, "
                f"at most {clean['at_most']:.1f}), worst fold {clean['worst_a_week']:.1f} a week",
                "at most 1 a model-month, none above 1 a week; 40 model-weeks or more",
                clean["a_month"] <= 1 and clean["worst_a_week"] <= 1 and clean["weeks"] >= 40,
            ),
            _goal(
                "the same without times in training, weeks 1 and 2",
                f"{early['alerts'] / early['weeks']:.1f} a model-week; "
                f"{early['found']} of {early['cells']} faults found",
                "at most 1 a model-week",
                early["alerts"] <= early["weeks"],
            ),
            _goal(
                "detectable larger faults found within a day",
                _share(all_faults["found"], all_faults["cells"]),
                "at least 95 %",
                all_faults["found"] >= 0.95 * all_faults["cells"],
            ),
            _goal(
                "half of them within 150 events",
                f"{all_faults['within_150']} of {all_faults['cells']}, median {all_faults['median_events']}",
                "median at most 150",
                all_faults["within_150"] >= 0.5 * all_faults["cells"],
            ),
            _goal(
                "later than 500 events, where there are 200 a day or more",
                f"{all_faults['late']}, the last after {all_faults['most_events']} events",
                "none",
                not all_faults["late"],
            ),
            _goal(
                "J (Youden, per day)",
                ahead if all(own > other for other in others) else f"{own:.2f}, not above both peers",
                "at least 0.9, above both peers",
                own >= 0.9 and all(own > other for other in others),
            ),
        ]
        for each in reporting["sampled"]:
            rows.append(
                _goal(
                    f"clean weeks, sampled at {each['sample']}",
                    f"{each['alerts']} alerts, {100 * each['kept']:.1f} % kept",
                    f"0 alerts, at most {120 * each['sample']:.1f} % kept",
                    not each["alerts"] and each["kept"] <= 1.2 * each["sample"],
                )
            )
    large, leak = shuffled["large"], next(f for f in shuffled["faults"] if "leak" in f["fault"])["all"]
    rows += [
        _goal(
            "shuffled streams: larger faults found, false alarms",
            f"{large['found']} of {large['cells']}, {shuffled['clean']['alarms']}",
            "595 of 600, 0",
            large["found"] >= 595 / 600 * large["cells"] and not shuffled["clean"]["alarms"],
        ),
        _goal(
            "shuffled streams: slow leak",
            f"{leak['found']} of {leak['cells']}",
            "all",
            leak["found"] == leak["cells"],
        ),
    ]
    return ["", "| figure | found | goal | |", "|---|---|---|---|", *rows]


def _goal(name: str, found: str, goal: str, met: bool) -> str:
    return f"| {name} | {found} | {goal} | {'met' if met else '**missed**'} |"


def _stream_tables(part: Record, peers: dict[str, str]) -> list[str]:
    lines = [
        "",
        "| stream | | weeks | clean alerts | a model-month | worst fold, a week | faults found | median events | "
        "latest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {s['name']} | {s['about']} | {s['weeks']:.0f} | {s['alerts']} | {s['a_month']} | {s['worst_a_week']} | "
        f"{s['found']} of {s['cells']} | {_number(s['median_events'])} | {_number(s['most_events'])} |"
        for s in part["streams"]
        if s["weeks"]
    ]
    lines += [
        "",
        "| fault | found | within 150 events | median events | latest | median hours |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {f['fault']} | {f['found']} of {f['cells']} | {f['within_150']} | {_number(f['median_events'])} | "
        f"{_number(f['most_events'])} | {(f['median_minutes'] or 0) / 60:.1f} |"
        for f in part["faults"]
        if f["cells"]
    ]
    lines += [
        "",
        "A tool that always says *alarm* finds every fault, so J is the share of faults found within a day less "
        "the share of clean days flagged: 1 at best, 0 for chance (Youden, *Index for rating diagnostic tests*, "
        "Cancer 3, 1950). The peers have the threshold that is best for them on these very days.",
        "",
        "| | faults found within a day | clean days flagged | J |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {peers.get(name, name)} | {_share(*four[:2])} | {_share(*four[2:])} | {_youden_of(four):.2f} |"
        for name, four in part["youden"].items()
    ]
    if part["missed"]:
        lines += ["", "Not found within a day:", "", *(f"- {text}" for text in part["missed"])]
    lines += ["", "Alerts in clean weeks" + (":" if part["alerts"] else ": none."), ""]
    if part["alerts"]:
        lines += [
            "In brackets: how far the 24 hours before it are from training, and in parentheses how far the days of "
            "training are from the rest of it at the most.",
            "",
        ]
    for alert in part["alerts"]:
        effects = "; ".join(f"{name} {value}" for name, value in alert["effects"].items())
        lines.append(
            f"- {alert['stream']} {alert['time'][:16]} {alert['watch']}: {_plain(alert['subject'])} [{effects}]"
        )
    if part["clean"]["alerts"] > len(part["alerts"]):
        lines.append(f"- and {part['clean']['alerts'] - len(part['alerts'])} more")
    return lines


def _plain(subject: str) -> str:
    return subject.split(", version ", 1)[-1].replace("|", "\\|")


def _shift_table(natural: Record, before: dict[str, float | None]) -> list[str]:
    """Return the table of shifts; ``before``: stream and feature → smallest shift found by an earlier version."""
    rows = [record for part in natural.values() for record in part["shifts"]]
    lines = [
        "",
        "## The smallest change that is found within a day",
        "",
        "All features of a stream move at once: numbers by 0.25, 0.5, 1, 2 or 4 standard deviations, categories to "
        "one value in 5, 10, 20, 30 or 50 % of the events. *Blind*: what version 0.2 found and this one does not, "
        "or only at four times the change.",
        "",
        "| stream | feature | version 0.2 | now | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        was, now = before.get(f"{row['stream']} {row['feature']}"), row["smallest"]
        blind = "blind" if was is not None and (now is None or now >= 4 * was) else ""
        form: Callable[[float | None], str] = _deviations if row["number"] else _percent
        lines.append(f"| {row['stream']} | {row['feature']} | {form(was)} | {form(now)} | {blind} |")
    return lines if rows else []


def _deviations(value: float | None) -> str:
    return "-" if value is None else f"{value} sd"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _excluded() -> list[str]:
    cells = detectable.load()
    excluded = [cell for cell in cells if cell.excluded]
    lines = ["", "## Faults that need not be found", ""]
    lines.append(f"{len(excluded)} of {len(cells)}, by `detectable.py`, before anything ran:")
    lines.append("")
    for stream, fault in dict.fromkeys((cell.stream, cell.fault) for cell in excluded):
        alike = [cell for cell in excluded if (cell.stream, cell.fault) == (stream, fault)]
        folds = ", ".join(str(cell.fold) for cell in alike)
        reason, _, more = alike[0].excluded.partition("; ")
        reason += ", and its other features alike" if more else ""
        lines.append(
            f"- {stream}, {fault}, fold {folds}: " + ("for example " if len(alike) > 1 else "") + reason
        )
    return lines


def _shuffled_tables(shuffled: Record) -> list[str]:
    large, rest, streams = shuffled["large"], shuffled["large_without_oov"], shuffled["streams"]
    clean = shuffled["clean"]
    lines = [
        "",
        "## Shuffled streams",
        "",
        f"{large['found']} of {large['cells']} larger faults found, {large['within_150']} within {SOON} events, "
        f"median {large['median_events']}; later than {LATE} events: {large['cells'] - large['within_500']}, "
        f"without OOV x 2 {rest['cells'] - rest['within_500']} of {rest['cells']}. {clean['alarms']} alarms in "
        f"{clean['events']:,} clean events, {clean['model_months']} model-months.",
        "",
        f"{shuffled['seeds']} seeds on each of the streams {', '.join(streams)}; found / cells, median events "
        "until the first alert, the latest. Larger faults are **bold**.",
        "",
        "| fault | " + " | ".join([*streams, "minutes"]) + " |",
        "|---|" + "---|" * (len(streams) + 1),
    ]
    for entry in shuffled["faults"]:
        name = f"**{entry['fault']}**" if entry["large"] else entry["fault"]
        cells = [_cell(entry[stream]) for stream in streams]
        lines.append(f"| {name} | " + " | ".join([*cells, _number(entry["all"]["median_minutes"])]) + " |")
    return [*lines, *(f"- {text}" for text in clean["of"])]


def _youden_of(four: list[int]) -> float:
    return youden((four[0], four[1]), (four[2], four[3]))


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}, {100 * part / whole:.0f} %" if whole else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _cell(of: Record) -> str:
    if not of["found"]:
        return f"{of['found']}/{of['cells']}"
    return f"{of['found']}/{of['cells']}, {of['median_events']:.0f}, {of['most_events']}"
