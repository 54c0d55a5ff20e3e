"""The rendering of the events of a DataFrame of predictions, for batch scoring.

All rows that share one layout are rendered together (see ``batch_columns``); the others are built one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import TYPE_CHECKING, Any

from structlog import DropEvent

from logging_lib.logger.batch_columns import FrameRenderer, RowFragments, render_outputs, render_texts
from logging_lib.logger.checks import CheckResult
from logging_lib.logger.event import new_ids, render_event, to_label_text
from logging_lib.logger.jsonlines import MAX_LINE
from logging_lib.logger.rows import REPEATED_NAME, InputsError, describe, has_repeated_name

if TYPE_CHECKING:
    import pandas as pd

    from logging_lib.logger.processor import PredictionProcessor

CHUNK_ROWS = 1 << 16
"""The number of rows whose columns are prepared at one time."""
SLICE_ROWS = 1 << 10
"""The number of rows that are in memory as text at one time."""
_OUTPUT_KEYS = ("score", "scores")
_EXPECTED = (
    "inputs of predictions() must be a pandas DataFrame, one row for each prediction and one column for each "
    "feature, such as pandas.DataFrame(rows, columns=names)"
)


class BatchRenderer:
    """A renderer of one event per row.

    Args:
        processor: builds the events.
        columns: renders the columns of a frame; if None, each row is built by itself.
    """

    def __init__(self, processor: PredictionProcessor, columns: FrameRenderer | None) -> None:
        self._processor = processor
        self._columns = columns

    def render(
        self, frame: pd.DataFrame, shared: Mapping[str, Any], **columns: Iterable[Any]
    ) -> Iterator[list[bytes]]:
        """Render the events of a DataFrame of inputs, in lists of up to ``SLICE_ROWS`` lines.

        Args:
            frame: one row per prediction, one column per feature; shape (rows, columns). Anything but a DataFrame,
                or a DataFrame with two columns of the same name, becomes a single dead letter.
            shared: the fields of all rows: labels, a timestamp.
            columns: the fields that differ by row: ``prediction``, ``request_id``, ...; each of length (rows,).

        Raises:
            ValueError: a column is shorter or longer than the frame.
        """
        if not hasattr(frame, "iloc") or frame.ndim != 2:
            found = f"found {describe(frame)}"
            yield [self._refuse(frame, shared, f"{_EXPECTED}; {found}")]
            return
        if has_repeated_name(list(frame.columns)):
            yield [self._refuse(frame, shared, f"{REPEATED_NAME}: {describe(frame)}")]
            return
        fields = {name: list(values) for name, values in columns.items()}
        for name, values in fields.items():
            if len(values) != len(frame):
                raise ValueError(f"{name}: expected {len(frame)} values, one a row, found {len(values)}")
        has_one_layout = shared.keys().isdisjoint(_OUTPUT_KEYS) and "timestamp" not in fields
        for begin in range(0, len(frame), CHUNK_ROWS):
            chunk = frame.iloc[begin : begin + CHUNK_ROWS]
            prepared = self._columns.prepare(chunk) if self._columns is not None and has_one_layout else None
            for start in range(0, len(chunk), SLICE_ROWS):
                stop = min(start + SLICE_ROWS, len(chunk))
                row_fields = {name: values[begin + start : begin + stop] for name, values in fields.items()}
                lines: list[bytes | None] = [None] * (stop - start)
                if prepared is not None and None not in row_fields.get("request_id", ()):
                    lines = self._join_fragments(prepared.render(start, stop), row_fields, shared)
                rendered = self._fill_missing(lines, chunk.iloc[start:stop], row_fields, shared)
                self._processor.counts.built += stop - start
                yield rendered

    def _refuse(self, inputs: Any, shared: Mapping[str, Any], reason: str) -> bytes:
        """Render the one dead letter of a batch whose rows have no names."""
        self._processor.counts.built += 1
        return render_event(
            self._processor.build_dead_letter({"inputs": inputs, **shared}, InputsError(reason))
        )

    def _join_fragments(
        self, rows: RowFragments, row_fields: dict[str, list[Any]], shared: Mapping[str, Any]
    ) -> list[bytes | None]:
        """Join the lines; return None for a row to be built by itself, and b"" for one that is sampled out."""
        processor = self._processor
        ids = new_ids(processor.clock(), rows.count)
        has_request_ids = "request_id" in row_fields
        request_ids = [to_label_text(value) for value in row_fields["request_id"]] if has_request_ids else ids
        unreadable_before = processor.counts.unreadable_times
        first, *between, last = self._split_template(shared, row_fields)
        is_time_unreadable = processor.counts.unreadable_times > unreadable_before
        separators = iter(between)
        parts: list[Iterable[bytes]] = [render_texts(first, ids), repeat(next(separators)), *rows.fragments]
        if "prediction" in row_fields:
            parts.append(render_outputs(processor.encode_output, row_fields["prediction"], next(separators)))
        if has_request_ids:
            parts.append(render_texts(next(separators), request_ids))
        parts.append(repeat(last))
        lines: list[bytes | None] = list(map(b"".join, zip(*parts, strict=False)))
        if max(map(len, filter(None, lines))) > MAX_LINE:
            rows.skipped.update(i for i, line in enumerate(lines) if line and len(line) > MAX_LINE)
        if processor.may_sample_out(shared):
            is_ordinary = processor.sampler.is_ordinary
            # A row with a failed check that is not usual is kept, and has another weight.
            rows.skipped.update(i for i, row in rows.exceptions.items() if not is_ordinary(row.failed))
            for i, request_id in enumerate(request_ids):
                if i not in rows.skipped and not processor.sampler.includes(request_id):
                    processor.counts.sampled_out += 1
                    lines[i] = b""
        for i in rows.skipped:
            lines[i] = None
        if (
            is_time_unreadable
        ):  # the template counted as one event; the rows that are built later count themselves
            processor.counts.unreadable_times = unreadable_before + rows.count - len(rows.skipped)
        return lines

    def _split_template(self, shared: Mapping[str, Any], row_fields: Mapping[str, Any]) -> list[bytes]:
        """Render one event with marks in the places where rows differ, and split it there."""
        mark = os.urandom(16).hex()
        fields = {**shared, "inputs": {}, "event_id": mark, "keep": True, **dict.fromkeys(row_fields, mark)}
        event = self._processor.build_event(fields, CheckResult())
        ml = event["ml"]
        ml["input"] = mark
        if self._processor.may_sample_out(shared):
            ml["sample"] = self._processor.sampler.weight
        for name in ("prediction", "request"):
            ml.pop(name, None)
        if "prediction" in row_fields:
            ml["prediction"] = mark
        if "request_id" in row_fields:
            ml["request"] = {"id": mark}
        return render_event(event).split(b'"%b"' % mark.encode())

    def _fill_missing(
        self,
        lines: list[bytes | None],
        frame: pd.DataFrame,
        row_fields: dict[str, list[Any]],
        shared: Mapping[str, Any],
    ) -> list[bytes]:
        """Render the missing lines as single calls would, and leave out the empty ones."""
        missing = [i for i, line in enumerate(lines) if line is None]
        if missing:
            rows = frame.iloc[missing]
            columns = {str(name): rows.iloc[:, i].tolist() for i, name in enumerate(rows.columns)}
            for position, i in enumerate(missing):
                inputs = {name: values[position] for name, values in columns.items()}
                fields = {name: values[i] for name, values in row_fields.items()}
                lines[i] = self._render_row({"inputs": inputs, **shared, **fields})
        return [line for line in lines if line]

    def _render_row(self, fields: dict[str, Any]) -> bytes:
        """Render one event; return b"" if it is sampled out."""
        try:
            event = self._processor.build_event(fields)
        except DropEvent:
            return b""
        except Exception as error:  # noqa: BLE001 - an error in one row must not affect the others
            event = self._processor.build_dead_letter(fields, error)
        return render_event(event)
