"""The Python twins of ``watchers/scripts/*.painless``: pure functions from ``ctx`` to a payload.

A parity test runs both on the same payloads. Keep them alike, line by line where that is possible.
"""

from __future__ import annotations

from collections.abc import Mapping

from logging_lib.watch.scripts.check_rate import check_rate
from logging_lib.watch.scripts.common import Script, ScriptError, build_result
from logging_lib.watch.scripts.distribution import distribution
from logging_lib.watch.scripts.estimate import estimate
from logging_lib.watch.scripts.latency import latency
from logging_lib.watch.scripts.limits import limits
from logging_lib.watch.scripts.quality import quality
from logging_lib.watch.scripts.versions import versions

__all__ = ["SCRIPTS", "Script", "ScriptError", "build_result"]

SCRIPTS: Mapping[str, Script] = {
    "ml-check-rate": check_rate,
    "ml-distribution": distribution,
    "ml-estimate": estimate,
    "ml-latency": latency,
    "ml-limits": limits,
    "ml-quality": quality,
    "ml-versions": versions,
}
