"""Render a backtest as an HTML page with a timeline, the alerts per day, and the alerts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from logging_lib._util.formatting import format_count, format_day, names_year
from logging_lib.html.pages import render
from logging_lib.watch.backtest.backtest import Backtest

Changes = Mapping[str, Mapping[str, tuple[Any, Any]]]
_LEFT, _WIDTH, _ROW, _TOP = 190, 1120, 22, 26  # of the timeline, in its own units
_LABEL: Final = 75  # the width of a day's label: beyond the last place for one it would be cut
_MAX_ROWS: Final = 2_000
_MAX_TICKS: Final = 10


def render_page(
    result: Backtest,
    *,
    events: int,
    now: datetime,
    what_if: Backtest | None = None,
    changes: Changes | None = None,
    notes: Iterable[str] = (),
) -> str:
    """Render the page.

    Args:
        events: the number of replayed events.
        now: the time at which the page is rendered; days of other years are shown with their year.
        what_if: the result with the watches as altered by ``changes``, which has the two values by watch and key.
        notes: what a reader must know about the period.
    """
    return render(
        "backtest",
        start=result.start,
        end=result.end,
        size=f"{events:,} events · {result.ticks:,} ticks · {len(result.watches)} watches",
        settings=[
            (watch, key, before, after)
            for watch, keys in (changes or {}).items()
            for key, (before, after) in keys.items()
        ],
        compared=what_if is not None,
        timeline=_timeline(result, what_if, now),
        heads=["alerts", "per day", "busiest day", *(["what if", "per day"] if what_if else [])],
        rates=list(_rates(result, what_if)),
        as_is=result.alerts[:_MAX_ROWS],
        as_is_more=max(len(result.alerts) - _MAX_ROWS, 0),
        what_if=what_if.alerts[:_MAX_ROWS] if what_if else (),
        what_if_more=max(len(what_if.alerts) - _MAX_ROWS, 0) if what_if else 0,
        notes=[*notes, *_notes(result)],
        days=f"{result.days_with_traffic:.1f}",
    )


def _timeline(result: Backtest, what_if: Backtest | None, now: datetime) -> dict[str, Any]:
    length = max(result.end - result.start, timedelta(seconds=1))
    tops = {watch: _TOP + _ROW * position for position, watch in enumerate(result.watches)}

    def x(time: datetime) -> float:
        share = min(max((time - result.start) / length, 0.0), 1.0)
        return round(_LEFT + share * (_WIDTH - _LEFT - 10), 1)

    days = result.days()
    year = names_year(result.start, result.end, now.year)
    midnight = datetime.min.time()
    shift = 0 if what_if is None else 4
    return {
        "width": _WIDTH,
        "height": _TOP + _ROW * len(result.watches) + 4,
        "row": _ROW,
        "rows": [{"watch": watch, "y": y} for watch, y in tops.items()],
        "ticks": [
            {
                "x": x(datetime.combine(day, midnight, result.start.tzinfo)),
                "label": format_day(day, year=year),
            }
            for day in days[:: -(-len(days) // _MAX_TICKS)]
        ],
        "dots": [
            {
                "kind": kind,
                "x": x(alert.time),
                "y": tops.get(alert.watch, _TOP) + _ROW // 2 + offset,
                "time": alert.time,
                "watch": alert.watch,
                "subject": alert.subject,
            }
            for kind, backtest, offset in (("as-is", result, -shift), ("what-if", what_if, shift))
            for alert in (backtest.alerts if backtest is not None else ())
        ],
    }


def _rates(result: Backtest, what_if: Backtest | None) -> Iterable[dict[str, Any]]:
    for watch in result.watches:
        days = result.alerts_a_day(watch)
        cells = [str(sum(days)), f"{result.mean_a_day(watch):.2f}", str(max(days))]
        change = ""
        if what_if is not None and watch in what_if.watches:
            count = sum(what_if.alerts_a_day(watch))
            cells += [str(count), f"{what_if.mean_a_day(watch):.2f}"]
            change = "less" if count < sum(days) else "high" if count > sum(days) else ""
        elif what_if is not None:
            cells += ["unchanged", ""]
        yield {"watch": watch, "cells": cells, "change": change}
    total = len(result.alerts)
    yield {
        "watch": "all",
        "cells": [str(total), f"{result.mean_a_day():.2f}", *[""] * (1 if what_if is None else 3)],
        "change": "",
    }


def _notes(result: Backtest) -> Iterable[str]:
    for (watch, error), runs in result.failures.items():
        yield f"{watch}: {format_count(runs, 'run')} failed: {error}"
    for (model, version, reason), runs in result.skipped.items():
        yield f"not evaluated: {model} {version}: {reason} ({format_count(runs, 'run')})"
    for name, reason in result.slow.items():
        yield f"{name}: asked at each tick: {reason}"
