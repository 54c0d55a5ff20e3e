"""Load JSON lines into DuckDB: convert lines to Arrow arrays, and write the SQL that extracts typed columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from logging_lib.schema.fields import Field, load
from logging_lib.store import mapping

# Keys such as "ml.model.name", which a table of flat columns has, mean the same as nested objects.
_DOTTED_KEY: Final = r'[{,]\s*"(ecs|event|service|host|process|trace|span|error|log|labels|ml)\.[^"]*"\s*:'


def extraction_sql(raw: str, columns: Mapping[str, str], many: Collection[str], *, unchecked: bool) -> str:
    """Return the SQL of a stream's columns from the event ``$from`` on: ``seq``, ``odd``, then the fields' columns.

    Args:
        raw: the table of events.
        columns: the column of each field.
        many: fields that hold lists although ``fields.yml`` declares single values.
        unchecked: some events may come from files; ``odd`` marks those whose values must go through ``conform``.
    """
    values, odd, pointers = list[str](), list[str](), list[str]()
    for place, (name, column) in enumerate(columns.items(), 1):
        located = mapping.locate_field(load(), name)
        assert located is not None
        entry, path = located
        pointers.append(_literal(mapping.json_pointer(path)))
        value, check = _column_sql(f"x[{place}]", entry, f"pointers[{place}]", name in many)
        values.append(f"{value} AS {column}")
        odd.append(check)
    odd.append(f"regexp_matches(line, {_literal(_DOTTED_KEY)})")
    listed = "[" + ", ".join(pointers) + "]"
    test = f"CASE WHEN checked THEN false ELSE coalesce({' OR '.join(odd)}, false) END"
    return (
        f"SELECT seq, {test if unchecked else 'false'} AS odd, {', '.join(values)}"  # noqa: S608
        f" FROM (SELECT seq, checked, line, {listed} AS pointers, json_extract_string(line, {listed}) AS x"
        f" FROM (SELECT seq, checked, coalesce(line, source) AS line FROM {raw} WHERE seq >= $from))"
    )


def _column_sql(text: str, entry: Field, pointer: str, many: bool) -> tuple[str, str]:
    """Return the SQL of a column's value, and the SQL of whether that value must first go through ``conform``."""
    shape = f"json_type(line, {pointer})"
    if entry.array or many:
        cast = _cast_sql("e", entry.type)
        single = f"[{text}]" if cast == "e" else f"[{_cast_sql(text, entry.type)}]"
        # A text in place of a list goes through ``conform`` later; from_json would fail on it.
        inner = f"from_json(CASE WHEN starts_with({text}, '[') THEN {text} END, '[\"VARCHAR\"]')"
        # Keywords are a set, as in Elasticsearch's doc values; numbers and dates keep their duplicates.
        listed = f"list_distinct({inner})" if cast == "e" else f"list_transform({inner}, lambda e: {cast})"
        if entry.array:
            return listed, f"({text} IS NOT NULL AND NOT starts_with({text}, '['))"
        value = f"CASE WHEN {text} IS NULL THEN NULL WHEN {shape} = 'ARRAY' THEN {listed} ELSE {single} END"
        return value, f"({text} IS NOT NULL AND {shape} IN ('ARRAY', 'OBJECT'))"
    value = _cast_sql(text, entry.type)
    if value == text:
        brackets = f"(starts_with({text}, '[') OR starts_with({text}, '{{'))"
        return value, f"CASE WHEN {brackets} THEN {shape} IN ('ARRAY', 'OBJECT') ELSE false END"
    if entry.type in mapping.WHOLE_TYPES:
        return value, f"({text} IS NOT NULL AND NOT regexp_full_match({text}, '-?[0-9]{{1,18}}'))"
    if entry.type == "date":
        return value, f"({text} IS NOT NULL AND ({value} IS NULL OR {text} NOT LIKE '____-__-__T%'))"
    if entry.type == "boolean":
        return value, f"({text} IS NOT NULL AND {value} IS NULL)"
    return value, f"({text} IS NOT NULL AND ({value} IS NULL OR NOT isfinite({value})))"


def _cast_sql(text: str, kind: str) -> str:
    if kind == "date":
        # This rounds down, before 1970 too; epoch_ms() rounds to the nearest millisecond.
        micros = f"epoch_us(TRY_CAST({text} AS TIMESTAMP))"
        return f"(({micros} - (({micros} % 1000) + 1000) % 1000) // 1000)"
    if kind == "boolean":
        return f"CASE {text} WHEN 'true' THEN true WHEN 'false' THEN false END"
    sql_type = mapping.SQL_TYPES[kind]
    return text if sql_type == "VARCHAR" else f"TRY_CAST({text} AS {sql_type})"


def _literal(text: str) -> str:
    """Return a string literal for DuckDB, where a doubled quote is the only escape; NUL would end the text."""
    return " || chr(0) || ".join("'" + part.replace("'", "''") + "'" for part in text.split("\0"))


def is_text(line: bytes) -> bool:
    """Return whether a line is UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def lines_to_arrow(block: bytes) -> Any:
    """Return whole lines as an Arrow array over the same memory; None if they are not UTF-8."""
    import numpy as np
    import pyarrow as pa

    if not is_text(block):
        return None
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    return pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(block))


def number_lines(texts: Any, start: int) -> Any:
    """Return a table of numbered lines in small batches, so that DuckDB's threads share the work."""
    import numpy as np
    import pyarrow as pa

    table = pa.table({"seq": np.arange(start, start + len(texts)), "source": texts})
    return pa.Table.from_batches(table.to_batches(max_chunksize=8192))
