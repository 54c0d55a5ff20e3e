"""The checks of a whole DataFrame, column by column: for batch scoring. Needs pandas, which is imported late.

A row in which every value is ordinary is put together from columns; any other row goes through ``Checker`` as a
single call would, so that both always say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from logging_lib.capture.checks import MAX_CHECKED_TEXT, Checked, Checker, type_all

if TYPE_CHECKING:
    import pandas as pd

_ORDINARY = ("numeric", "category", "text")


def check_rows(check: Checker | None, frame: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Checked]]:
    """The inputs of each row and what became of them, in order.

    Args:
        check: the profile's checks; None: typed by value, unchecked.
        frame: one row a prediction, one column a feature; shape (rows, columns).
    """
    names = [name if type(name) is str else str(name) for name in frame.columns]
    columns = {name: _values(frame.iloc[:, i]) for i, name in enumerate(names)}
    rows = zip(*columns.values(), strict=True) if columns else iter([()] * len(frame))
    if check is None:
        for row in rows:
            inputs = dict(zip(names, row, strict=True))
            yield inputs, type_all(inputs)
        return
    if set(names) != set(check.features):  # a feature is absent or unexpected in every row
        for row in rows:
            inputs = dict(zip(names, row, strict=True))
            yield inputs, check(inputs)
        return
    tokens, words = _tokens(check, frame.set_axis(names, axis=1), columns)
    kinds = [(kind, found) for kind in _ORDINARY if (found := [entry[0] for entry in getattr(check, kind)])]
    typed = [zip(*(columns[name] for name in found), strict=True) for _, found in kinds]
    parts = zip(*typed, strict=True) if typed else iter([()] * len(frame))
    bins = zip(*tokens, strict=True) if tokens else iter([()] * len(frame))
    for row, kept, labels, count in zip(rows, parts, bins, words, strict=True):
        inputs = dict(zip(names, row, strict=True))
        if None in labels:
            yield inputs, check(inputs)
            continue
        checked = Checked()
        checked.bins = list(labels)
        checked.tokens = count
        for (kind, found), values in zip(kinds, kept, strict=True):
            checked.input[kind] = dict(zip(found, values, strict=True))
        for table in check.others:
            check.unusual(table, inputs[table.name], checked)
        yield inputs, checked


def _values(column: pd.Series) -> list[Any]:
    """Python's own scalars; a missing value stays as pandas has it."""
    values: list[Any] = column.tolist()
    return values


def _tokens(
    check: Checker, frame: pd.DataFrame, columns: dict[str, list[Any]]
) -> tuple[list[list[str | None]], list[int]]:
    """By feature, the token of each row's bin, or None where the value is not ordinary; and the words a row."""
    import numpy as np
    import pandas as pd

    tokens: list[list[str | None]] = []
    words = np.zeros(len(frame), dtype=np.int64)
    for name, inner, bins, low, high in check.numeric:
        values = columns[name]
        plain = set(map(type, values)) <= {int, float}
        numbers = np.array(
            values if plain else [v if type(v) in (int, float) else np.nan for v in values], float
        )
        ordinary = (numbers >= low) & (numbers <= high)
        found = np.array(bins, dtype=object)[
            np.searchsorted(inner, np.where(ordinary, numbers, low), "right")
        ]
        found[~ordinary] = None
        tokens.append(found.tolist())
    for name, known in check.category:
        codes, uniques = pd.factorize(frame[name])
        labels = [known(value) if type(value) is str else None for value in uniques]
        tokens.append(np.array([*labels, None], dtype=object)[codes].tolist())
    for name, vocabulary, first in check.text:
        codes, uniques = pd.factorize(frame[name])
        counts = [_known_words(value, vocabulary, check.na_values) for value in uniques]
        words += np.array([*counts, 0])[codes]
        labels = [first if count else None for count in counts]
        tokens.append(np.array([*labels, None], dtype=object)[codes].tolist())
    return tokens, words.tolist()


def _known_words(value: Any, vocabulary: frozenset[str], na_values: frozenset[str]) -> int:
    """How many words a text has, or 0 where it is no ordinary text of known words."""
    if type(value) is not str or len(value) > MAX_CHECKED_TEXT or value in na_values:
        return 0
    found = value.lower().split()
    return len(found) if vocabulary.issuperset(found) else 0
