"""Read stored events back, page by page, and logged predictions as a DataFrame."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from logging_lib._util.times import format_instant
from logging_lib.store.port import Store, StoreError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


PAGE = 2000


def scan_pages(
    store: Store,
    indices: str,
    query: Mapping[str, Any],
    *,
    source: Sequence[str] | None = None,
    newest_first: bool = False,
    page: int = PAGE,
) -> Iterator[list[dict[str, Any]]]:
    """Yield pages of hits, ordered by ``@timestamp`` and then by ``event.id``.

    Args:
        indices: indices of events, which have an ``@timestamp`` and an ``event.id``.
        source: the fields to return; default: the whole event.
        page: hits per page, up to 10,000.
    """
    order = "desc" if newest_first else "asc"
    body: dict[str, Any] = {
        "size": page,
        "query": query,
        "sort": [{"@timestamp": order}, {"event.id": order}],
        "track_total_hits": False,
    }
    if source is not None:
        body["_source"] = list(source)
    while hits := store.search(indices, body)["hits"]["hits"]:
        yield hits
        if len(hits) < page:
            return
        body["search_after"] = hits[-1]["sort"]


STREAMS = "logs-ml.prediction-*"
TIME, PREDICTION = "@timestamp", "ml.prediction"
MAX_ROWS = 200_000
KINDS = ("numeric", "category", "text", "boolean", "date")
_INPUTS = [f"ml.input.{kind}" for kind in ("other", *KINDS)]


@dataclass(frozen=True)
class PredictionHistory:
    """Logged predictions as a table.

    Attributes:
        frame: one row per event, oldest first; one column per feature, ``TIME`` and, if there were any predictions,
            ``PREDICTION``.
        absent: by feature, a mask of the rows that lack its key, shape (rows,).
        kinds: the features' kinds from their profile, if the events had one.
        is_truncated: there were more events than requested.
        weights: how many events each one counts for, shape (rows,).
    """

    frame: pd.DataFrame
    absent: Mapping[str, np.ndarray[Any, Any]]
    kinds: Mapping[str, str]
    is_truncated: bool
    weights: np.ndarray[Any, Any]


def read_history(
    store: Store, *, model: str, version: str, now: datetime, days: float, max_rows: int = MAX_ROWS
) -> PredictionHistory:
    """Read the live predictions of a model version in the last ``days``; the latest if there are too many.

    Raises:
        StoreError: there are none, or a feature has the name of one of our columns.
    """
    import numpy as np
    import pandas as pd

    rows: list[dict[str, Any]] = []
    times: list[str] = []
    outputs: list[Any] = []
    weights: list[float] = []
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    cut = False
    for source in _newest_predictions(store, model, version, now - timedelta(days=days), now):
        if len(rows) == max_rows:
            cut = True
            break
        inputs = source["ml"].get("input") or {}
        typed = (source["ml"].get("profile") or {}).get("status") == "matched"
        for kind in KINDS if typed else ():
            for name, value in (inputs.get(kind) or {}).items():
                if value is not None:
                    seen[name][kind] += 1
        rows.append(inputs_of(inputs))
        times.append(source["@timestamp"])
        weights.append((source["ml"].get("sample") or {}).get("weight") or 1.0)
        output = source["ml"].get("prediction") or {}
        outputs.append(output.get("labels", output_of(output)))
    if not rows:
        raise StoreError(
            f"{STREAMS}: no prediction of the model {model!r}, version {version!r}, in the last {days:g} days"
        )
    names = list(dict.fromkeys(name for row in reversed(rows) for name in row))
    for column in (TIME, PREDICTION):
        if column in names:
            raise StoreError(f"{STREAMS}: a feature is named {column!r}, as a column of the history is")
    rows.reverse()
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows]) for name in names})
    frame[TIME] = times[::-1]
    if any(output is not None for output in outputs):
        frame[PREDICTION] = outputs[::-1]
    absent = {name: np.array([name not in row for row in rows], dtype=bool) for name in names}
    kinds = {name: counts.most_common(1)[0][0] for name, counts in seen.items()}
    missing_keys = {name: mask for name, mask in absent.items() if mask.any()}
    return PredictionHistory(frame, missing_keys, kinds, cut, np.array(weights[::-1], dtype=float))


def inputs_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the original inputs from a document's ``ml.input``."""
    return {name: value for kind in ("other", *KINDS) for name, value in (stored.get(kind) or {}).items()}


def output_of(stored: Mapping[str, Any]) -> Any:
    """Return the output in a document's ``ml.prediction``, or None."""
    return stored.get("label") if stored.get("value") is None else stored["value"]


def _newest_predictions(
    store: Store, model: str, version: str, since: datetime, now: datetime
) -> Iterator[dict[str, Any]]:
    """Yield the predictions, the newest first."""
    query = {
        "bool": {
            "filter": [
                {"term": {"ml.model.name": model}},
                {"term": {"ml.model.version": version}},
                {"term": {"ml.model.role": "live"}},
                {"range": {"@timestamp": {"gt": format_instant(since), "lte": format_instant(now)}}},
            ]
        }
    }
    source = ["@timestamp", *_INPUTS, "ml.prediction", "ml.profile.status", "ml.sample.weight"]
    for page in scan_pages(store, STREAMS, query, source=source, newest_first=True, page=PAGE):
        for hit in page:
            yield hit["_source"]
