"""Live and shadow predictions of the same requests, with their labels where those have arrived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from logging_lib.jobs.history import STREAMS, output_of
from logging_lib.jobs.samples import Selection
from logging_lib.store.port import Store, StoreError
from logging_lib.store.scan import scan

if TYPE_CHECKING:
    from logging_lib.analysis.shadow import Shadow

LABELS: Final = "logs-ml.label-*"
MAX_REQUESTS: Final = 1_000_000
_SOURCE: Final = ("ml.request.id", "ml.model.version", "ml.prediction", "event.duration")
_Answers = dict[str, tuple[Any, float | None]]


def shadow(store: Store, selection: Selection, *, max_rows: int = MAX_REQUESTS) -> list[Shadow]:
    """Each shadow version against each live version that answered the same requests.

    Args:
        selection: of the requests; its role and version are not looked at.
        max_rows: so many of the latest shadow predictions are looked at.

    Raises:
        StoreError: there are no shadow predictions, or none of a request that the live model answered, too.
    """
    import pandas as pd

    from logging_lib.analysis.shadow import judge

    either = replace(selection, version=None)
    shadows, lives = (_answers(store, replace(either, role=role), max_rows) for role in ("shadow", "live"))
    if not shadows:
        raise StoreError(f"{STREAMS}: no prediction with {replace(either, role='shadow')}")
    truths = _truths(store, either)
    found = []
    for version, own in shadows.items():
        for live_version, live in lives.items():
            both = [request for request in own if request in live]
            if not both:
                continue
            frame = pd.DataFrame(
                {
                    "live": pd.Series([live[request][0] for request in both]),
                    "shadow": pd.Series([own[request][0] for request in both]),
                    "live_ms": [live[request][1] for request in both],
                    "shadow_ms": [own[request][1] for request in both],
                    "truth": pd.Series([truths.get(request) for request in both]),
                }
            ).dropna(subset=["live", "shadow"])
            if frame.empty:
                continue
            found.append(
                judge(
                    frame,
                    live=live_version,
                    shadow=version,
                    only_live=len(live) - len(both),
                    only_shadow=len(own) - len(both),
                )
            )
    if not found:
        raise StoreError(
            f"{STREAMS}: no request was answered by both the live and the shadow model: do both log the same "
            "request_id?"
        )
    return found


def _answers(store: Store, selection: Selection, most: int) -> dict[str, _Answers]:
    """Version → request → (output, milliseconds), the latest first."""
    found: dict[str, _Answers] = {}
    number = 0
    for source in _events(store, STREAMS, selection.query(), _SOURCE):
        ml = source["ml"]
        request = (ml.get("request") or {}).get("id")
        if request is None:
            continue
        duration = (source.get("event") or {}).get("duration")
        answer = output_of(ml.get("prediction") or {})
        found.setdefault(ml["model"]["version"], {}).setdefault(
            request, (answer, None if duration is None else duration / 1e6)
        )
        number += 1
        if number >= most:
            break
    return found


def _truths(store: Store, selection: Selection) -> dict[str, Any]:
    """Request → truth; where there are several, the latest."""
    query = Selection(model=selection.model).query()
    found: dict[str, Any] = {}
    for source in _events(store, LABELS, query, ("ml.request.id", "ml.label.value", "ml.label.label")):
        request = (source["ml"].get("request") or {}).get("id")
        if request is not None:
            found.setdefault(request, output_of(source["ml"].get("label") or {}))
    return found


def _events(
    store: Store, indices: str, query: Mapping[str, Any], fields: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    for page in scan(store, indices, query, source=fields, newest_first=True, page=5000):
        yield from (hit["_source"] for hit in page)
