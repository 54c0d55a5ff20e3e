"""The report as JSON: every number of the page, for a program. Pure."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from logging_lib._util.times import format_duration, format_instant
from logging_lib.report.model import ModelReport, Moment

FORMAT_VERSION = 1


def document(report: ModelReport) -> dict[str, Any]:
    """Return the fields of ``model.Report``; times in ISO 8601, durations as ``30m``, runbooks only by name."""
    fields = _plain(
        {
            **{
                name: value
                for name, value in asdict(report).items()
                if name not in ("moments", "shadow_moments")
            },
            "moments": [_moment(moment) for moment in report.moments],
            "shadow_moments": [_moment(moment) for moment in report.shadow_moments],
            "runbooks": list(report.runbooks),
        }
    )
    return {"format_version": FORMAT_VERSION, **fields}


def _moment(moment: Moment) -> dict[str, Any]:
    return {
        "time": moment.time,
        "predictions": moment.predictions,
        "failures": moment.failures,
        "checked": moment.checked,
        "latency": dict(moment.latency),
        "mean": moment.mean,
        "error": moment.error,
        "checks": [
            {"check": check, "feature": feature, "hits": hits}
            for (check, feature), hits in moment.checks.items()
        ],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, timedelta):
        return format_duration(value)
    return value
