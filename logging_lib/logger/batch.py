"""A DataFrame's rows as the JSON of events, column by column: for batch scoring. Needs pandas and numpy.

The event of a row is the same text as that of any other row but for its values and bins. So each column is written
as one list of pieces of that text, and a row is a join of its pieces. A value that is not ordinary is looked at by
itself, with the checks of a single call. What would change the text's layout (a value of a wrong type is kept under
``ml.input.other``) is left to the caller, who makes that row's event as a single call would.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from logging_lib.logger.checks import MAX_CHECKED_TEXT, Checker, CheckResult, FeatureTable
from logging_lib.logger.event import OutputEncoder
from logging_lib.profile.model import KINDS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Mask = np.ndarray[Any, np.dtype[np.bool_]]
    Numbers = np.ndarray[Any, np.dtype[np.float64]]

Fragments = list[bytes]
RenderSlice = Callable[[int, int], Fragments]
RenderColumn = Callable[["BatchColumn"], "RenderedColumn"]
_EXACT = 2**53  # integers up to here are themselves as floats


class RowFragments:
    """What became of so many rows: a result of ``Prepared.write``.

    Attributes:
        pieces: lists of length (rows,), to be joined by row: ``ml.input``, and ``ml.check`` and ``ml.text``.
        exceptions: row → what was found in its values that are not ordinary.
        left: the rows for which the pieces mean nothing.
        words: by text feature, the known words of each row's ordinary text.
        rows: how many.
    """

    def __init__(self, rows: int) -> None:
        self.pieces: list[Fragments] = []
        self.exceptions: dict[int, CheckResult] = {}
        self.left: set[int] = set()
        self.words: list[list[int]] = []
        self.rows = rows

    def checks(self) -> list[bytes]:
        """The end of ``ml.input``, and what follows it: ``ml.check`` and ``ml.text``."""
        words = list(map(sum, zip(*self.words, strict=True))) if self.words else [0] * self.rows
        ordinary = [
            b']},"text":' + orjson.dumps({"tokens": n, "oov_tokens": 0}) for n in range(max(words) + 1)
        ]
        ordinary[0] = b"]}"
        pieces = list(map(ordinary.__getitem__, words))
        for i, out in self.exceptions.items():
            out.tokens += words[i]
            piece = b"]}"
            if out.failed:
                piece += b',"check":' + orjson.dumps(out.check_document())
            if out.tokens:
                piece += b',"text":' + orjson.dumps(out.text_document())
            pieces[i] = piece
        return pieces


class FrameRenderer:
    """Writes the columns of a frame that has the profile's features, for one profile.

    The JSON of ``ml.input`` is laid out once; what is constant goes in front of the piece that follows it.
    """

    def __init__(self, check: Checker) -> None:
        self._check = check
        self.names = frozenset(check.features)
        writers: dict[str, RenderColumn] = {entry[0]: _render_numeric for entry in check.numeric}
        writers |= {entry[0]: _render_category for entry in check.category} | {
            entry[0]: _render_text for entry in check.text
        }
        tables = sorted(check.features.values(), key=lambda table: (table.hidden, KINDS.index(table.kind)))
        before, group = b"{", ""
        self._columns: list[tuple[FeatureTable, RenderColumn, bytes]] = []
        for table in tables:
            opened = b""
            if not table.hidden:
                same = table.kind == group
                before += b"," if same else (b"}," if group else b"") + orjson.dumps(table.kind) + b":{"
                opened, before, group = before + orjson.dumps(table.name) + b":", b"", table.kind
            self._columns.append((table, writers.get(table.name, _render_other), opened))
        self._bins = (b"}," if group else b"{") + b'"bins":['

    def prepare(self, frame: pd.DataFrame) -> PreparedFrame | None:
        """Look at a whole frame's columns; None where they are not the profile's features."""
        columns = {
            name if type(name) is str else str(name): frame.iloc[:, i] for i, name in enumerate(frame.columns)
        }
        if columns.keys() != self.names:
            return None
        found = []
        before = self._bins
        for table, look, opened in self._columns:
            column = BatchColumn(self._check, table, columns[table.name], opened, before)
            found.append((column, look(column)))
            before = b","
        return PreparedFrame(found)


class PreparedFrame:
    """The columns of a frame, ready to be written slice by slice: short ones stay in the processor's cache."""

    def __init__(self, columns: list[tuple[BatchColumn, RenderedColumn]]) -> None:
        self._columns = columns

    def write(self, start: int, stop: int) -> RowFragments:
        """``ml.input`` and what follows it, for the rows from ``start`` to before ``stop``, at least one."""
        made = RowFragments(stop - start)
        inputs: list[Fragments] = []
        bins: list[Fragments] = []
        for column, looked in self._columns:
            written, labels = looked.written(start, stop), looked.labels(start, stop)
            _render_exceptions(column, written, labels, looked.exceptions[start:stop].nonzero()[0], start, made)
            if not column.table.hidden:
                inputs.append(written)
            bins.append(labels)
            if looked.words is not None:
                made.words.append(looked.words[start:stop])
        try:
            made.pieces = [*inputs, *bins, made.checks()]
        except (TypeError, ValueError):  # a lone surrogate in an unknown word, say
            made.left = set(range(stop - start))
        return made


class BatchColumn(NamedTuple):
    """One column on its way, with what stands before each of its values, and before each of its bins."""

    check: Checker
    table: FeatureTable
    series: pd.Series
    opened: bytes
    before: bytes

    def token(self, text: str) -> bytes:
        return self.before + orjson.dumps(text)


class RenderedColumn(NamedTuple):
    """A column that was looked at.

    Attributes:
        written: its values' pieces from one row to before another; of unusual values they mean nothing.
        labels: its bins', likewise.
        exceptions: by row, whether the value has to be looked at by itself; shape (rows,).
        words: a text's known words by row.
    """

    written: RenderSlice
    labels: RenderSlice
    exceptions: Mask
    words: list[int] | None = None


def _render_exceptions(
    column: BatchColumn, written: list[bytes], labels: list[bytes], where: Any, start: int, made: RowFragments
) -> None:
    """Look at each value of a column that is not ordinary by itself."""
    if not len(where):
        return
    table = column.table
    for i, value in zip(where.tolist(), column.series.iloc[where + start].tolist(), strict=True):
        out = made.exceptions.setdefault(i, CheckResult())
        column.check.check_value(table, value, out)
        labels[i] = column.token(out.bins[-1])
        if table.hidden:
            continue
        try:
            written[i] = column.opened + orjson.dumps(out.input[table.kind][table.name])
        except (KeyError, TypeError):  # kept as another kind; or a lone surrogate
            made.left.add(i)


def _render_numeric(column: BatchColumn) -> RenderedColumn:
    import numpy as np

    table = column.table
    values, numbers, ordinary = split_numbers(column.series)
    low, high = table.range or (0.0, 0.0)
    ordinary &= (numbers >= low) & (numbers <= high)
    if not ordinary.all():
        numbers = np.where(ordinary, numbers, low)
        if isinstance(values, list):
            values = [value if good else low for value, good in zip(values, ordinary.tolist(), strict=True)]
        else:
            values = numbers
    tokens = np.array([column.token(label) for label in table.bins], dtype=object)
    bins = np.searchsorted(table.inner_edges, numbers, "right")
    return RenderedColumn(
        lambda start, stop: render_numbers(column.opened, values[start:stop]),
        lambda start, stop: tokens[bins[start:stop]].tolist(),
        ~ordinary,
    )


def split_numbers(series: pd.Series) -> tuple[Numbers | list[Any], Numbers, Mask]:
    """A column as it is written, as floats, and which of its values are numbers that a float holds exactly."""
    import numpy as np

    if series.dtype == np.float64:
        numbers = np.ascontiguousarray(series.to_numpy())
        return numbers, numbers, np.isfinite(numbers)
    values = series.tolist()
    known = [type(v) is float or (type(v) is int and -_EXACT < v < _EXACT) for v in values]
    numbers = np.array([v if ok else 0.0 for v, ok in zip(values, known, strict=True)], float)
    return values, numbers, np.array(known, bool) & np.isfinite(numbers)


def render_numbers(before: bytes, values: Numbers | list[Any]) -> list[bytes]:
    """Each number's JSON with a constant text before it; the values are ints and finite floats."""
    if not len(values):
        return []
    written = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    return (before + written.replace(b",", b"\n" + before)).split(b"\n")


def render_texts(before: bytes, values: Sequence[str]) -> list[bytes]:
    """Each text's JSON with a constant text before it.

    Raises:
        UnicodeEncodeError: one of them holds a lone surrogate.
    """
    if not values:
        return []
    try:
        written = orjson.dumps(values)[1:-1]
    except TypeError:
        written = b"\\"
    if b"\\" not in written:  # then no text holds a quote, and this stands only between two of them
        written = written.replace(b'","', b'"\n"')
    else:  # a newline within a text is escaped: those that are left stand between the texts
        written = json.dumps(values, ensure_ascii=False, separators=("\n", ":"))[1:-1].encode()
    return (before + written.replace(b"\n", b"\n" + before)).split(b"\n")


def _render_category(column: BatchColumn) -> RenderedColumn:
    import numpy as np
    import pandas as pd

    known = column.table.value_tokens
    try:
        codes, found = pd.factorize(column.series)
    except TypeError:  # a list, say
        codes, found = np.full(len(column.series), -1), pd.Index([])
    labels = [known.get(value) if type(value) is str else None for value in found.tolist()]
    pairs = list(zip(found.tolist(), labels, strict=True))
    values = [column.opened + orjson.dumps(value) if label is not None else b"" for value, label in pairs]
    tokens = [column.token(label) if label is not None else b"" for label in labels]
    written, binned = (np.array([*pieces, b""], dtype=object) for pieces in (values, tokens))
    return RenderedColumn(
        lambda start, stop: written[codes[start:stop]].tolist(),
        lambda start, stop: binned[codes[start:stop]].tolist(),
        np.array([label is None for label in labels] + [True])[codes],
    )


def _render_text(column: BatchColumn) -> RenderedColumn:
    import numpy as np

    values, na_values = column.series.tolist(), column.check.na_values
    if set(map(type, values)) != {str} or max(map(len, values)) > MAX_CHECKED_TEXT:
        values = [v if type(v) is str and len(v) <= MAX_CHECKED_TEXT else "" for v in values]
    if not na_values.isdisjoint(values):
        values = [value if value not in na_values else "" for value in values]
    known = column.table.vocabulary.issuperset
    counts = [len(found) if known(found := value.lower().split()) else 0 for value in values]
    ordinary = np.array(counts, dtype=bool)
    if not ordinary.all():
        values = [value if count else "" for value, count in zip(values, counts, strict=True)]
    try:
        "".join(values).encode()
    except UnicodeEncodeError:  # a vocabulary with a lone surrogate
        values, counts, ordinary = [""] * len(values), [0] * len(values), np.zeros(len(values), dtype=bool)
    token = column.token(column.table.bins[0])
    return RenderedColumn(
        lambda start, stop: render_texts(column.opened, values[start:stop]),
        lambda start, stop: [token] * (stop - start),
        ~ordinary,
        counts,
    )


def _render_other(column: BatchColumn) -> RenderedColumn:
    """Booleans, dates and hidden features: each distinct value is checked once, as a single call checks it."""
    import numpy as np

    values = column.series.tolist()
    pieces: dict[Any, tuple[bytes, bytes]] = {}
    if len(set(map(type, values))) == 1:  # 1 and True are one key of a dict, and not one value
        with contextlib.suppress(TypeError):
            pieces = {value: _render_value(column, value) for value in set(values)}
    found = (
        [pieces.get(value, _NO_FRAGMENTS) for value in values] if pieces else [_NO_FRAGMENTS] * len(values)
    )
    return RenderedColumn(
        lambda start, stop: [written for written, _ in found[start:stop]],
        lambda start, stop: [label for _, label in found[start:stop]],
        np.array([piece is _NO_FRAGMENTS for piece in found], bool),
    )


_NO_FRAGMENTS = (b"", b"")


def _render_value(column: BatchColumn, value: Any) -> tuple[bytes, bytes]:
    table, out = column.table, CheckResult()
    column.check.check_value(table, value, out)
    if out.failed or set(out.input) - {table.kind}:
        return _NO_FRAGMENTS
    kept = b"" if table.hidden else column.opened + orjson.dumps(out.input[table.kind][table.name])
    return kept, column.token(out.bins[0])


def render_outputs(output: OutputEncoder, values: list[Any], before: bytes) -> list[bytes]:
    """``ml.prediction`` of each row, with a constant text before it."""
    if set(map(type, values)) == {float}:
        return _render_floats(output, values, before)
    made: dict[str, bytes] = {}
    pieces: list[bytes] = []
    for value in values:
        text = type(value) is str
        piece = made.get(value) if text else None
        if piece is None:
            piece = before + orjson.dumps(output(value, None, None))
            if text:
                made[value] = piece
        pieces.append(piece)
    return pieces


def _render_floats(output: OutputEncoder, values: list[Any], before: bytes) -> list[bytes]:
    import numpy as np

    numbers = np.array(values, float)
    ordinary = np.isfinite(numbers)
    after: list[bytes] = [b"}"] * len(values)
    if output.is_numeric:
        ordinary &= (numbers >= output.min) & (numbers <= output.max)
        labels = np.array([b',"bin":' + orjson.dumps(label) + b"}" for label in output.labels], dtype=object)
        after = labels[np.searchsorted(output.inner_edges, numbers, "right").clip(max=len(labels) - 1)].tolist()
    elif output.has_profile:
        ordinary[:] = False  # numbers that are classes
    written = render_numbers(before + b'{"value":', np.where(ordinary, numbers, 0.0))
    pieces = list(map(bytes.__add__, written, after))
    for i in np.flatnonzero(~ordinary).tolist():
        pieces[i] = before + orjson.dumps(output(values[i], None, None))
    return pieces
