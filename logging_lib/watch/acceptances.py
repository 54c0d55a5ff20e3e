"""Accept a change, so that a profile's document expects from now on what a watch has found. All functions are pure.

``accepted`` in a document of ``ml-profiles`` lists the accepted changes, with the person and the time. If a script
compares with a part of ``expected`` (the rate of a check, the bins of a feature), the observed values replace that
part, and the old ones are kept in ``replaced``. So every watch that reads the document, in any runner, is silent
about the change but finds a further one. A window that begins before the incident opened has bins of both times and
is not compared. If a script compares with something else, our runner omits the finding while its effect is less
than twice the accepted one.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.times import format_instant, parse_duration
from logging_lib.profile.model import NEW_WORDS, PREDICTION
from logging_lib.watch.findings import Finding, Key, key_of
from logging_lib.watch.scripts.bins import Features, is_ordinary
from logging_lib.watch.scripts.common import (
    encode_prefix,
    get_answer_buckets,
    get_buckets,
    get_sampled_share,
    index_profiles,
)

Document = dict[str, Any]
BINS = "bins"
"""The ``part`` of an accepted distribution; the ``part`` of an accepted rate is its check."""


class AcceptanceError(LoggingLibError):
    """Raised if a change cannot be accepted; the message says why, and the remedy."""


def find_finding(findings: list[Finding], key: Key) -> Finding:
    """Return a watch's present finding about an incident. Raises AcceptanceError if there is none."""
    for finding in findings:
        if key_of(finding) == key:
            return finding
    raise AcceptanceError(
        "the watch does not find it now, so there is nothing to expect: give --now, a time at which it was found"
    )


def accept(
    document: Mapping[str, Any],
    watch_id: str,
    metadata: Mapping[str, Any],
    payload: Mapping[str, Any],
    finding: Finding,
    *,
    opened_at: datetime,
    now: datetime,
    by: str,
    comment: str,
) -> tuple[Document, Document]:
    """Return a profile's document that expects the finding, and its entry in ``accepted``.

    The observed counts are those of the longest window that has only events since the incident opened or, if there
    is none, of the window that flagged it.

    Args:
        payload: the payload of the watch's evaluation, with the searches' answers.

    Raises:
        AcceptanceError: the watch compares with its own past, not with a profile.
    """
    key = key_of(finding)
    if "profiles" not in payload or f"{key.model}:{key.version}" not in index_profiles(payload["profiles"]):
        raise AcceptanceError(
            f"{watch_id} compares {key.feature} with no profile of a model version: mute it, or change its limit"
        )
    entry = {
        "id": hashlib.sha256(repr((watch_id, key, now)).encode()).hexdigest()[:8],
        "watch": watch_id,
        "feature": key.feature,
        "part": "",
        "what": str(finding.get("what", "")),
        "leading": str(finding.get("leading") or ""),
        "effect": finding.get("effect", 1.0),
        "at": format_instant(now),
        "since": format_instant(min(opened_at, now)),
        "by": by,
        "comment": comment,
    }
    changed = copy.deepcopy(dict(document))
    replaced = changed.setdefault("replaced", {})
    bucket = _find_bucket(metadata, payload, key, finding, now - opened_at)
    if "measures" in metadata and bucket is not None:
        entry["part"] = BINS
        replaced[entry["id"]] = _replace_bins(changed["expected"], changed, key.feature, bucket)
    elif "check" in finding and "usual_rate" not in metadata and bucket is not None:
        entry["part"] = finding["check"]
        aggregation = finding["check"] if "checks" in metadata else "features"
        replaced[entry["id"]] = _replace_rate(changed["expected"], entry, aggregation, bucket)
    changed["accepted"] = [*changed.get("accepted", ()), entry]
    return changed, entry


def undo(document: Mapping[str, Any], acceptance_id: str) -> Document | None:
    """Return a document without an acceptance, with the replaced part restored; None if it has no such
    acceptance."""
    changed = copy.deepcopy(dict(document))
    entries = changed.get("accepted") or []
    undone = next((entry for entry in entries if entry["id"] == acceptance_id), None)
    if undone is None:
        return None
    changed["accepted"] = [entry for entry in entries if entry is not undone]
    before = changed.get("replaced", {}).pop(acceptance_id, None)
    later = [
        entry
        for entry in entries[entries.index(undone) + 1 :]
        if (entry["feature"], entry["part"]) == (undone["feature"], undone["part"])
    ]
    if before is not None and later and later[0]["id"] in changed["replaced"]:
        changed["replaced"][later[0]["id"]] = before  # the later one then replaces what was there before both
    elif before is not None:
        _put_back(changed["expected"], undone, before["value"])
    return changed


def _find_bucket(
    metadata: Mapping[str, Any], payload: Mapping[str, Any], key: Key, finding: Finding, age: timedelta
) -> Document | None:
    """Return the bucket with the observed counts of the chosen window."""
    windows = metadata.get("windows") or []
    chosen = finding.get("window")
    for window in windows:
        if (
            chosen in windows
            and parse_duration(window) <= age
            and windows.index(window) > windows.index(chosen)
        ):
            chosen = window
    for model in get_answer_buckets(payload["window"], "models"):
        for version in get_buckets(model["versions"], "versions") if model["key"] == key.model else ():
            if version["key"] == key.version and chosen in version.get("windows", {}).get("buckets", {}):
                found: Document = version["windows"]["buckets"][chosen]
                return found
    return None


def _replace_rate(expected: Document, entry: Document, aggregation: str, bucket: Document) -> Document:
    name, checks = entry["feature"], expected.setdefault("checks", {})
    features = checks.setdefault(entry["part"], {})
    before = features.get(name)
    counts = {feature["key"]: feature["weight"]["value"] for feature in bucket[aggregation]["buckets"]}
    if entry["part"] == NEW_WORDS:  # each word of the text separately, as common as the most frequent one
        prefix = encode_prefix(name)
        hits = max((count for key, count in counts.items() if key.startswith(prefix)), default=0.0)
    else:
        hits = counts.get(name, 0.0)
    dispersion = before["dispersion"] if before else 0.0
    seen = get_sampled_share(bucket)
    rows = bucket["weight"]["value"] * seen
    features[name] = {**(before or {}), "count": hits * seen, "rows": rows, "dispersion": dispersion}
    return {"value": before}


def _replace_bins(expected: Document, document: Document, feature: str, bucket: Document) -> Document:
    """Replace the expected bins by the observed ones; special bins keep their shares from training."""
    is_prediction = feature == PREDICTION
    features = Features(document, inputs=not is_prediction, prediction=is_prediction)
    counted = features.count_observed(bucket)[feature]
    observed = counted.counts
    before = expected["prediction"] if is_prediction else expected["bins"][feature]
    bins = before["bins"] if is_prediction else before
    rows = sum(count for name, count in bins.items() if is_ordinary(name))
    now = sum(count for name, count in observed.items() if is_ordinary(name))
    if is_multiple := is_prediction and "rows" in before:
        rows, now = before["rows"], counted.total
    scale = now / rows if rows else 1.0
    replaced = {
        name: observed.get(name, 0.0) if is_ordinary(name) else count * scale for name, count in bins.items()
    }
    if not is_prediction:
        expected["bins"][feature] = replaced
        return {"value": before}
    moments = dict(before["moments"])
    values = [stratum for stratum in bucket.get("values", {}).get("buckets", ()) if stratum["value"]["count"]]
    if values and "mean" in moments:
        weights = [stratum["key"] * stratum["value"]["count"] for stratum in values]
        totals = [weight * stratum["value"]["avg"] for weight, stratum in zip(weights, values, strict=True)]
        moments |= {"count": bucket["doc_count"], "mean": sum(totals) / sum(weights)}
    expected["prediction"] = {**before, "bins": replaced, "moments": moments}
    if is_multiple:
        expected["prediction"]["rows"] = now
    return {"value": before}


def _put_back(expected: Document, entry: Mapping[str, Any], value: Any) -> None:
    feature, part = entry["feature"], entry["part"]
    if part == BINS and feature == PREDICTION:
        expected["prediction"] = value
    elif part == BINS:
        expected["bins"][feature] = value
    elif value is None:
        del expected["checks"][part][feature]
    else:
        expected["checks"][part][feature] = value
