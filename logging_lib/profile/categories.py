"""Categories and booleans of training: each value with its count."""

from __future__ import annotations

import numpy as np

from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.held_out import Array, Split
from logging_lib.profile.model import MAX_BINS, Kind
from logging_lib.profile.taking import Column, Fitted
from logging_lib.profile.values import category_text


def fit_category(column: Column, name: str, split: Split, own: FeatureConfig, config: Config) -> Fitted:
    texts = [category_text(value) for value in column.uniques]
    labels = sorted({text for text in texts if text is not None})
    number = {label: i for i, label in enumerate(labels)}
    table = np.array([-1 if text is None else number[text] for text in texts] + [-1])
    wrong = np.array([text is None for text in texts] + [False])
    codes = table[column.codes]
    return _category(codes, labels, wrong[column.codes], name, "category", split, own, config)


def fit_boolean(column: Column, name: str, split: Split, own: FeatureConfig, config: Config) -> Fitted:
    table = np.array([int(v) if isinstance(v, bool) else -1 for v in column.uniques] + [-1])
    wrong = np.array([not isinstance(v, bool) for v in column.uniques] + [False])
    codes = table[column.codes]
    return _category(codes, ["false", "true"], wrong[column.codes], name, "boolean", split, own, config)


def _category(
    codes: Array,
    labels: list[str],
    wrong_type: Array,
    name: str,
    kind: Kind,
    split: Split,
    own: FeatureConfig,
    config: Config,
) -> Fitted:
    present = codes >= 0
    sizes = np.bincount(codes[present], minlength=len(labels))
    scoring = np.bincount(codes[present & split.scoring], minlength=len(labels))
    notes: list[str] = []

    def kept(counts: Array) -> list[int]:
        used = [i for i in range(len(labels)) if counts[i]]
        return sorted(used, key=lambda i: (-counts[i], labels[i]))[: config.max_values]

    if own.values is not None:
        by_label = dict(zip(labels, sizes.tolist(), strict=True))
        values = dict(sorted(((v, by_label.get(v, 0)) for v in own.values), key=lambda p: (-p[1], p[0])))
        known = np.array([label in values for label in labels], dtype=bool)
    else:
        values = {labels[i]: int(sizes[i]) for i in kept(sizes)}
        known = np.zeros(len(labels), dtype=bool)
        known[kept(scoring)] = True
        if int((sizes > 0).sum()) > len(values):
            notes.append(f"has more than {config.max_values} values: the rarer ones count as unseen")
    if len(values) == 1:
        notes.append("is constant in training: any other value is unseen")
    unseen = present & ~np.append(known, True)[codes]
    limit = own.bins if isinstance(own.bins, int) else MAX_BINS
    beyond = int(sizes.sum()) - sum(values.values())
    feature = {
        "name": name,
        "kind": kind,
        "values": values,
        "binned": min(limit, len(values)),
        "special": {"!unseen": beyond},
    }
    return Fitted(feature, {"unseen": unseen}, wrong_type, notes)
