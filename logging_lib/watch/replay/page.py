"""A backtest as one page of HTML that needs nothing else: a timeline, alerts a day, the alerts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from html import escape
from typing import Any, Final

from logging_lib.watch.replay.backtest import Backtest
from logging_lib.watch.results import Alert
from logging_lib.watch.templating import Medium
from logging_lib.watch.times import format_instant

Changes = Mapping[str, Mapping[str, tuple[Any, Any]]]
_LEFT, _WIDTH, _ROW, _TOP = 190, 1120, 22, 26  # of the timeline, in its own units
_MOST_ROWS: Final = 2_000
_MOST_TICKS: Final = 10

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1a1c21; --soft: #5a606b; --line: #d3d7de; --page: #fff; --band: #f4f6f9;
  --alert: #c4342b; --if: #0b64dd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa3b2; --line: #3a404a; --page: #14171c;
  --band: #1c2027; --alert: #f0736a; --if: #6ea8fe; } }
body { margin: 0 auto; max-width: 1180px; padding: 24px; background: var(--page); color: var(--ink);
  font: 14px/1.5 system-ui, sans-serif; }
h1 { font-size: 22px; margin: 0; } h2 { font-size: 16px; margin: 28px 0 8px; } p { margin: 6px 0; }
.soft, text.soft { color: var(--soft); fill: var(--soft); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 4px 10px 4px 0;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; } td.n, th.n { text-align: right; white-space: nowrap; }
td.t { white-space: nowrap; } .scroll { overflow-x: auto; }
svg { width: 100%; min-width: 720px; height: auto; font: 12px system-ui, sans-serif; fill: var(--ink); }
.band { fill: var(--band); } .grid { stroke: var(--line); } .as-is { fill: var(--alert); } .if { fill: var(--if); }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin: 0 4px 0 12px; }
.key.as-is { background: var(--alert); } .key.if { background: var(--if); }
.less { color: var(--if); } .more { color: var(--alert); }
"""


def page(
    result: Backtest, *, events: int, what_if: Backtest | None = None, changes: Changes | None = None
) -> str:
    """The page.

    Args:
        events: how many were replayed.
        what_if: the watches that ``changes`` alters, as they would have been; by watch and key its two values.
    """
    span = f"{_day(result.start)} to {_day(result.end)}"
    size = f"{events:,} events · {result.ticks:,} ticks · {len(result.watches)} watches"
    parts = [
        f"<p class=soft>{span} UTC · {size}</p>",
        *_settings(changes or {}),
        "<h2>Timeline</h2>",
        *(
            ["<p><span class='key as-is'></span>as it is<span class='key if'></span>what if</p>"]
            if what_if
            else []
        ),
        f"<div class=scroll>{_timeline(result, what_if)}</div>",
        "<h2>Alerts a day</h2>",
        _a_day(result, what_if),
        "<h2>Alerts</h2>",
        _alerts(result.alerts),
        *(["<h2>Alerts, what if</h2>", _alerts(what_if.alerts)] if what_if else []),
        *_faults(result),
    ]
    return (
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
        "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
        f"<title>Backtest {_text(span)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Backtest</h1>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _text(value: Any) -> str:
    """Whatever a log carries is hostile here."""
    return escape(Medium.HEADER.escape(str(value)))


def _day(moment: datetime) -> str:
    return format_instant(moment)[:16].replace("T", " ")


def _settings(changes: Changes) -> Iterable[str]:
    rows = [
        f"<tr><td>{_text(watch)}<td>{_text(key)}<td class=n>{_text(before)}<td class=n>{_text(after)}"
        for watch, keys in changes.items()
        for key, (before, after) in keys.items()
    ]
    if rows:
        yield "<h2>What if</h2><table><tr><th>watch<th>setting<th class=n>as it is<th class=n>what if"
        yield "".join(rows) + "</table>"


def _timeline(result: Backtest, what_if: Backtest | None) -> str:
    height = _TOP + _ROW * len(result.watches) + 4
    length = max(result.end - result.start, timedelta(seconds=1))

    def at(moment: datetime) -> float:
        share = min(max((moment - result.start) / length, 0.0), 1.0)
        return round(_LEFT + share * (_WIDTH - _LEFT - 10), 1)

    drawn = [
        f"<svg viewBox='0 0 {_WIDTH} {height}' role=img aria-label='The alerts of each watch over time'>"
    ]
    rows = {watch: _TOP + _ROW * place for place, watch in enumerate(result.watches)}
    for place, (watch, y) in enumerate(rows.items()):
        if place % 2 == 0:
            drawn.append(f"<rect class=band x=0 y={y} width={_WIDTH} height={_ROW} />")
        drawn.append(f"<text x=4 y={y + 15}>{_text(watch)}</text>")
    days = result.days()
    for day in days[:: -(-len(days) // _MOST_TICKS)]:
        x = at(datetime.combine(day, datetime.min.time(), result.start.tzinfo))
        drawn.append(f"<line class=grid x1={x} x2={x} y1={_TOP - 6} y2={height} />")
        drawn.append(f"<text class=soft x={x} y=14>{day:%b %d}</text>")
    for kind, one, shift in (("as-is", result, 0 if what_if is None else -4), ("if", what_if, 4)):
        for alert in one.alerts if one is not None else ():
            y = rows.get(alert.watch, _TOP) + _ROW // 2 + shift
            about = f"{_day(alert.time)} {alert.watch}: {alert.subject}"
            drawn.append(
                f"<circle class={kind} cx={at(alert.time)} cy={y} r=3.5><title>{_text(about)}</title></circle>"
            )
    return "\n".join(drawn) + "\n</svg>"


def _a_day(result: Backtest, what_if: Backtest | None) -> str:
    changed = set(what_if.watches) if what_if else set()
    head = "<th>watch<th class=n>alerts<th class=n>a day<th class=n>busiest day"
    rows = [f"<tr>{head}" + ("<th class=n>what if<th class=n>a day" if what_if else "")]
    for watch in result.watches:
        days = result.alerts_a_day(watch)
        numbers = (str(sum(days)), f"{result.mean_a_day(watch):.2f}", str(max(days)))
        cells = f"<td>{_text(watch)}" + "".join(f"<td class=n>{number}" for number in numbers)
        if what_if is not None and watch in changed:
            count = sum(what_if.alerts_a_day(watch))
            kind = "less" if count < sum(days) else "more" if count > sum(days) else ""
            cells += f"<td class='n {kind}'>{count}<td class='n {kind}'>{what_if.mean_a_day(watch):.2f}"
        elif what_if is not None:
            cells += "<td class='n soft'>unchanged<td>"
        rows.append(f"<tr>{cells}")
    total = len(result.alerts)
    per = max((result.end - result.start) / timedelta(days=1), 1.0)
    rows.append(
        f"<tr><th>all<th class=n>{total}<th class=n>{total / per:.2f}<th>{'<th><th>' if what_if else ''}"
    )
    return f"<div class=scroll><table>{''.join(rows)}</table></div>"


def _alerts(alerts: tuple[Alert, ...]) -> str:
    if not alerts:
        return "<p class=soft>None.</p>"
    rows = ["<tr><th>time<th>watch<th>model<th>version<th>features<th>subject"]
    for alert in alerts[:_MOST_ROWS]:
        cells = (alert.watch, alert.model, alert.version, ", ".join(alert.features), alert.subject)
        rows.append(f"<tr><td class=t>{_day(alert.time)}<td>" + "<td>".join(map(_text, cells)))
    more = len(alerts) - _MOST_ROWS
    rest = f"<p class=soft>and {more:,} more; --json has them all</p>" if more > 0 else ""
    return f"<div class=scroll><table>{''.join(rows)}</table></div>{rest}"


def _faults(result: Backtest) -> Iterable[str]:
    failed = [
        f"<li>{_text(watch)}: {runs:,} runs failed: {_text(error)}"
        for (watch, error), runs in result.failures.items()
    ]
    failed += [
        f"<li>not judged: {_text(model)} {_text(version)}: {_text(reason)} ({runs:,} runs)"
        for (model, version, reason), runs in result.skipped.items()
    ]
    failed += [
        f"<li>{_text(name)}: asked at each tick: {_text(reason)}" for name, reason in result.slow.items()
    ]
    if failed:
        yield f"<h2>Notes</h2><ul>{''.join(failed)}</ul>"
