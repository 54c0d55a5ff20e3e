"""The report's bins as bars, as Vega-Lite. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from logging_lib.dashboards.drawing import ALERT, SERVED, TEXT, TRAINED, Spec
from logging_lib.report.model import Share
from logging_lib.report.texts import bin_label
from logging_lib.schema.tokens import OTHER

MAX_BARS = 16
WIDE, NARROW = 560, 185
_TRAINING, _SERVED, _FAILED = "training", "served", "failed a check"


@dataclass(frozen=True)
class Drawing:
    """``specs``: the same for a wide column and, where it needs another shape, for a narrow one."""

    title: str
    description: str
    specs: tuple[Spec, ...]


def shares(
    title: str, kind: str, given: Sequence[Share], *, widths: Sequence[int] = (NARROW,)
) -> Drawing | None:
    """Bins as bars: training thick and gray, what was served thin upon it; None where there is nothing.

    Args:
        widths: pixels, of a drawing for a wide column and one for a narrow one.
    """
    trained = sum(share.trained for share in given)
    served = sum(share.served for share in given)
    if not given or (not trained and not served):
        return None
    rows, rest = _chosen(given, kind)
    data = []
    names: set[str] = set()
    for share in rows:
        label = bin_label(share.name, kind, special=share.special)
        while label in names:
            label += "\u200b"
        names.add(label)
        data.append(_row(label, share, trained, served))
    if rest:
        label = f"{len(rest)} others"
        total = Share(label, sum(r.trained for r in rest), sum(r.served for r in rest), special=False)
        data.append(_row(label, total, trained, served))
    order = [row["bin"] for row in data]
    y = {
        "field": "bin", "type": "nominal", "sort": order,
        # The reader's font can be wider than the one measured with.
        "axis": {"title": None, "labelLimit": 108, "minExtent": 128, "maxExtent": 128, "labelColor": TEXT},
    }  # fmt: skip
    layers: list[Spec] = []
    known = {_TRAINING: TRAINED, _SERVED: SERVED, _FAILED: ALERT}
    used = [
        name for name in known if any(row["who"] == name for row in data) or (name == _TRAINING and trained)
    ]
    scale = {"domain": used, "range": [known[name] for name in used]}
    for name, size in ((_TRAINING, 13), (_SERVED, 6)):
        if name == _TRAINING and not trained:
            continue
        layers.append(
            {
                "mark": {"type": "bar", "height": size},
                "encoding": {
                    "x": {
                        "field": name, "type": "quantitative",
                        "axis": {"format": ".0%", "title": None, "tickCount": 4, "labelOverlap": True},
                    },
                    "y": y,
                    "color": {"datum": name, "scale": scale}
                    if name == _TRAINING
                    else {"field": "who", "type": "nominal", "scale": scale},
                },
            }
        )  # fmt: skip
    spec: Spec = {
        "height": {"step": 18}, "data": {"values": data}, "layer": layers,
        "padding": {"left": 2, "top": 2, "bottom": 2, "right": 20},
    }  # fmt: skip
    most = max(data, key=lambda row: abs(row[_SERVED] - row[_TRAINING]))
    said = f"{len(data)} bins as bars."
    if trained and served:
        said += (
            f" The largest difference is at {most['bin']}: {most[_SERVED]:.1%} served,"
            f" {most[_TRAINING]:.1%} in training."
        )
    return Drawing(title, said, tuple({**spec, "width": width} for width in widths))


def _row(label: str, share: Share, trained: float, served: float) -> dict[str, Any]:
    return {
        "bin": label,
        _TRAINING: share.trained / trained if trained else 0,
        _SERVED: share.served / served if served else 0,
        "who": _FAILED if share.special and share.name != OTHER else _SERVED,
    }


def _chosen(given: Sequence[Share], kind: str) -> tuple[list[Share], list[Share]]:
    """Those that have a bar of their own, in their order; categories beyond the largest share one."""
    ordinary = [share for share in given if not share.special]
    if kind not in ("category", "boolean") or len(ordinary) <= MAX_BARS:
        return list(given), []
    largest = sorted(ordinary, key=lambda share: -max(share.trained, share.served))[: MAX_BARS - 1]
    names = {share.name for share in largest}
    kept = [share for share in given if share.special or share.name in names]
    return kept, [share for share in ordinary if share.name not in names]
