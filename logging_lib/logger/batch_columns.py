"""The rendering of a DataFrame's rows as the JSON of events, column by column. It needs pandas and numpy.

The texts of two rows' events differ only in their values and bins. So each column is rendered as one list of
fragments of that text, and a row's line joins its fragments. A value that is not ordinary is checked by itself, as
in a single call. A row whose text has another layout (a value of a wrong type goes to ``ml.input.other``) is
skipped: the caller renders its event as a single call would.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from logging_lib.logger.checks import Checker, CheckResult, FeatureTable
from logging_lib.logger.output import OutputEncoder
from logging_lib.profile.coerce import MAX_CHECKED_TEXT
from logging_lib.profile.model import KINDS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Mask = np.ndarray[Any, np.dtype[np.bool_]]
    Numbers = np.ndarray[Any, np.dtype[np.float64]]

Fragments = list[bytes]
RenderSlice = Callable[[int, int], Fragments]
RenderColumn = Callable[["BatchColumn"], "RenderedColumn"]
_EXACT = 2**53  # a float holds integers up to here exactly


class RowFragments:
    """The rendered fragments of a slice of rows: the result of ``PreparedFrame.render``.

    Attributes:
        fragments: lists of length (rows,), to be joined by row: ``ml.input``, and ``ml.check`` and ``ml.text``.
        exceptions: row → the check result of its values that are not ordinary.
        skipped: the rows whose fragments are meaningless.
        words: by text feature, the number of known words in each row's ordinary text.
        count: the number of rows.
    """

    def __init__(self, count: int) -> None:
        self.fragments: list[Fragments] = []
        self.exceptions: dict[int, CheckResult] = {}
        self.skipped: set[int] = set()
        self.words: list[list[int]] = []
        self.count = count

    def checks(self) -> list[bytes]:
        """Render the end of ``ml.input``, and ``ml.check`` and ``ml.text`` after it."""
        words = list(map(sum, zip(*self.words, strict=True))) if self.words else [0] * self.count
        ordinary = [
            b']},"text":' + orjson.dumps({"tokens": count, "oov_tokens": 0})
            for count in range(max(words) + 1)
        ]
        ordinary[0] = b"]}"
        fragments = list(map(ordinary.__getitem__, words))
        for i, result in self.exceptions.items():
            result.tokens += words[i]
            fragment = b"]}"
            if result.failed:
                fragment += b',"check":' + orjson.dumps(result.check_document())
            if result.tokens:
                fragment += b',"text":' + orjson.dumps(result.text_document())
            fragments[i] = fragment
        return fragments


class FrameRenderer:
    """A renderer of frames that have the profile's features as their columns.

    The JSON of ``ml.input`` is laid out once; constant text becomes the prefix of the fragment after it.
    """

    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self.names = frozenset(checker.features)
        writers: dict[str, RenderColumn] = {entry[0]: _render_numeric for entry in checker.numeric}
        writers |= {entry[0]: _render_category for entry in checker.category} | {
            entry[0]: _render_text for entry in checker.text
        }
        tables = sorted(checker.features.values(), key=lambda table: (table.hidden, KINDS.index(table.kind)))
        prefix, kind = b"{", ""
        self._columns: list[tuple[FeatureTable, RenderColumn, bytes]] = []
        for table in tables:
            value_prefix = b""
            if not table.hidden:
                is_same_kind = table.kind == kind
                prefix += (
                    b"," if is_same_kind else (b"}," if kind else b"") + orjson.dumps(table.kind) + b":{"
                )
                value_prefix, prefix, kind = prefix + orjson.dumps(table.name) + b":", b"", table.kind
            self._columns.append((table, writers.get(table.name, _render_other), value_prefix))
        self._bins = (b"}," if kind else b"{") + b'"bins":['

    def prepare(self, frame: pd.DataFrame) -> PreparedFrame | None:
        """Prepare a frame's columns; return None if they are not the profile's features."""
        columns = {
            name if type(name) is str else str(name): frame.iloc[:, i] for i, name in enumerate(frame.columns)
        }
        if columns.keys() != self.names:
            return None
        rendered = []
        bin_prefix = self._bins
        for table, render_column, value_prefix in self._columns:
            column = BatchColumn(self._checker, table, columns[table.name], value_prefix, bin_prefix)
            rendered.append((column, render_column(column)))
            bin_prefix = b","
        return PreparedFrame(rendered)


class PreparedFrame:
    """The columns of a frame, to be rendered in slices that are short enough for the processor's cache."""

    def __init__(self, columns: list[tuple[BatchColumn, RenderedColumn]]) -> None:
        self._columns = columns

    def render(self, start: int, stop: int) -> RowFragments:
        """Render ``ml.input``, ``ml.check`` and ``ml.text`` of the rows from ``start`` to before ``stop``."""
        rows = RowFragments(stop - start)
        inputs: list[Fragments] = []
        bins: list[Fragments] = []
        for column, rendered in self._columns:
            values, bin_tokens = rendered.values(start, stop), rendered.bins(start, stop)
            _render_exceptions(
                column, values, bin_tokens, rendered.exceptions[start:stop].nonzero()[0], start, rows
            )
            if not column.table.hidden:
                inputs.append(values)
            bins.append(bin_tokens)
            if rendered.words is not None:
                rows.words.append(rendered.words[start:stop])
        try:
            rows.fragments = [*inputs, *bins, rows.checks()]
        except (TypeError, ValueError):  # such as a lone surrogate in an unknown word
            rows.skipped = set(range(stop - start))
        return rows


class BatchColumn(NamedTuple):
    """One column, with the constant text before each of its values and before each of its bins."""

    checker: Checker
    table: FeatureTable
    series: pd.Series
    value_prefix: bytes
    bin_prefix: bytes

    def render_bin(self, token: str) -> bytes:
        return self.bin_prefix + orjson.dumps(token)


class RenderedColumn(NamedTuple):
    """The functions that render a column's slices.

    Attributes:
        values: renders the values from one row up to another, which is excluded; meaningless for exceptions.
        bins: renders their bins in the same way.
        exceptions: by row, whether the value must be checked by itself; shape (rows,).
        words: the number of a text's known words by row.
    """

    values: RenderSlice
    bins: RenderSlice
    exceptions: Mask
    words: list[int] | None = None


def _render_exceptions(
    column: BatchColumn,
    values: list[bytes],
    bin_tokens: list[bytes],
    positions: Any,
    start: int,
    rows: RowFragments,
) -> None:
    """Check and render, one by one, the values of a column that are not ordinary."""
    if not len(positions):
        return
    table = column.table
    for i, value in zip(positions.tolist(), column.series.iloc[positions + start].tolist(), strict=True):
        result = rows.exceptions.setdefault(i, CheckResult())
        column.checker.check_value(table, value, result)
        bin_tokens[i] = column.render_bin(result.bins[-1])
        if table.hidden:
            continue
        try:
            values[i] = column.value_prefix + orjson.dumps(result.input[table.kind][table.name])
        except (KeyError, TypeError):  # the value went to another kind, or has a lone surrogate
            rows.skipped.add(i)


def _render_numeric(column: BatchColumn) -> RenderedColumn:
    import numpy as np

    table = column.table
    values, numbers, ordinary = split_numbers(column.series)
    low, high = table.range or (0.0, 0.0)
    ordinary &= (numbers >= low) & (numbers <= high)
    if not ordinary.all():
        numbers = np.where(ordinary, numbers, low)
        if isinstance(values, list):
            values = [
                value if is_ordinary else low
                for value, is_ordinary in zip(values, ordinary.tolist(), strict=True)
            ]
        else:
            values = numbers
    tokens = np.array([column.render_bin(label) for label in table.bins], dtype=object)
    bins = np.searchsorted(table.inner_edges, numbers, "right")
    return RenderedColumn(
        lambda start, stop: render_numbers(column.value_prefix, values[start:stop]),
        lambda start, stop: tokens[bins[start:stop]].tolist(),
        ~ordinary,
    )


def split_numbers(series: pd.Series) -> tuple[Numbers | list[Any], Numbers, Mask]:
    """Return a column's values to render, the same values as floats, and a mask of those that are exact floats."""
    import numpy as np

    if series.dtype == np.float64:
        numbers = np.ascontiguousarray(series.to_numpy())
        return numbers, numbers, np.isfinite(numbers)
    values = series.tolist()
    is_exact = [type(value) is float or (type(value) is int and -_EXACT < value < _EXACT) for value in values]
    numbers = np.array(
        [value if exact else 0.0 for value, exact in zip(values, is_exact, strict=True)], float
    )
    return values, numbers, np.array(is_exact, bool) & np.isfinite(numbers)


def render_numbers(prefix: bytes, values: Numbers | list[Any]) -> list[bytes]:
    """Render each number's JSON with a constant prefix; the values are ints and finite floats."""
    if not len(values):
        return []
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    return (prefix + text.replace(b",", b"\n" + prefix)).split(b"\n")


def render_texts(prefix: bytes, values: Sequence[str]) -> list[bytes]:
    """Render each text's JSON with a constant prefix.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate.
    """
    if not values:
        return []
    try:
        text = orjson.dumps(values)[1:-1]
    except TypeError:
        text = b"\\"
    if b"\\" not in text:  # no text contains a quote, so this occurs only between texts
        text = text.replace(b'","', b'"\n"')
    else:  # a newline within a text is escaped, so all others are between texts
        text = json.dumps(values, ensure_ascii=False, separators=("\n", ":"))[1:-1].encode()
    return (prefix + text.replace(b"\n", b"\n" + prefix)).split(b"\n")


def _render_category(column: BatchColumn) -> RenderedColumn:
    import numpy as np
    import pandas as pd

    value_tokens = column.table.value_tokens
    try:
        codes, distinct = pd.factorize(column.series)
    except TypeError:  # such as a list
        codes, distinct = np.full(len(column.series), -1), pd.Index([])
    known_tokens = [value_tokens.get(value) if type(value) is str else None for value in distinct.tolist()]
    pairs = list(zip(distinct.tolist(), known_tokens, strict=True))
    rendered = [
        column.value_prefix + orjson.dumps(value) if token is not None else b"" for value, token in pairs
    ]
    tokens = [column.render_bin(token) if token is not None else b"" for token in known_tokens]
    value_fragments, bin_fragments = (
        np.array([*fragments, b""], dtype=object) for fragments in (rendered, tokens)
    )
    return RenderedColumn(
        lambda start, stop: value_fragments[codes[start:stop]].tolist(),
        lambda start, stop: bin_fragments[codes[start:stop]].tolist(),
        np.array([token is None for token in known_tokens] + [True])[codes],
    )


def _render_text(column: BatchColumn) -> RenderedColumn:
    import numpy as np

    values, na_values = column.series.tolist(), column.checker.na_values
    if set(map(type, values)) != {str} or max(map(len, values)) > MAX_CHECKED_TEXT:
        values = [value if type(value) is str and len(value) <= MAX_CHECKED_TEXT else "" for value in values]
    if not na_values.isdisjoint(values):
        values = [value if value not in na_values else "" for value in values]
    is_known = column.table.vocabulary.issuperset
    counts = [len(words) if is_known(words := value.lower().split()) else 0 for value in values]
    ordinary = np.array(counts, dtype=bool)
    if not ordinary.all():
        values = [value if count else "" for value, count in zip(values, counts, strict=True)]
    try:
        "".join(values).encode()
    except UnicodeEncodeError:  # a vocabulary with a lone surrogate
        values, counts, ordinary = [""] * len(values), [0] * len(values), np.zeros(len(values), dtype=bool)
    tokens = np.array([column.render_bin(label) for label in column.table.bins], dtype=object)
    bins = np.searchsorted(column.table.inner_edges, counts, "right")
    return RenderedColumn(
        lambda start, stop: render_texts(column.value_prefix, values[start:stop]),
        lambda start, stop: tokens[bins[start:stop]].tolist(),
        ~ordinary,
        counts,
    )


def _render_other(column: BatchColumn) -> RenderedColumn:
    """Render booleans, dates and hidden features: each distinct value is checked once, as in a single call."""
    import numpy as np

    values = column.series.tolist()
    fragments: dict[Any, tuple[bytes, bytes]] = {}
    if len(set(map(type, values))) == 1:  # a dict takes 1 and True for the same key
        with contextlib.suppress(TypeError):
            fragments = {value: _render_value(column, value) for value in set(values)}
    rendered = (
        [fragments.get(value, _NO_FRAGMENTS) for value in values]
        if fragments
        else [_NO_FRAGMENTS] * len(values)
    )
    return RenderedColumn(
        lambda start, stop: [value_fragment for value_fragment, _ in rendered[start:stop]],
        lambda start, stop: [bin_token for _, bin_token in rendered[start:stop]],
        np.array([pair is _NO_FRAGMENTS for pair in rendered], bool),
    )


_NO_FRAGMENTS = (b"", b"")


def _render_value(column: BatchColumn, value: Any) -> tuple[bytes, bytes]:
    table, result = column.table, CheckResult()
    column.checker.check_value(table, value, result)
    if result.failed or set(result.input) - {table.kind}:
        return _NO_FRAGMENTS
    fragment = (
        b"" if table.hidden else column.value_prefix + orjson.dumps(result.input[table.kind][table.name])
    )
    return fragment, column.render_bin(result.bins[0])


def render_outputs(output: OutputEncoder, values: list[Any], prefix: bytes) -> list[bytes]:
    """Render ``ml.prediction`` of each row with a constant prefix."""
    if output.is_plain and set(map(type, values)) == {float}:
        return _render_floats(output, values, prefix)
    cache: dict[str, bytes] = {}
    fragments: list[bytes] = []
    for value in values:
        is_text = type(value) is str
        fragment = cache.get(value) if is_text else None
        if fragment is None:
            fragment = prefix + orjson.dumps(output(value, None, None))
            if is_text:
                cache[value] = fragment
        fragments.append(fragment)
    return fragments


def _render_floats(output: OutputEncoder, values: list[Any], prefix: bytes) -> list[bytes]:
    import numpy as np

    numbers = np.array(values, float)
    ordinary = np.isfinite(numbers)
    suffixes: list[bytes] = [b"}"] * len(values)
    if output.is_numeric:
        ordinary &= (numbers >= output.min) & (numbers <= output.max)
        labels = np.array([b',"bin":' + orjson.dumps(label) + b"}" for label in output.labels], dtype=object)
        suffixes = labels[
            np.searchsorted(output.inner_edges, numbers, "right").clip(max=len(labels) - 1)
        ].tolist()
    elif output.has_profile:
        ordinary[:] = False  # numbers that are classes
    rendered = render_numbers(prefix + b'{"value":', np.where(ordinary, numbers, 0.0))
    fragments = list(map(bytes.__add__, rendered, suffixes))
    for i in np.flatnonzero(~ordinary).tolist():
        fragments[i] = prefix + orjson.dumps(output(values[i], None, None))
    return fragments
