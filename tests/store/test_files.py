"""Stretches of files give all lines once, in their order."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet
from hypothesis import given
from hypothesis import strategies as st

from logging_lib.store.duckdb.files import OWN_FILE, ByteRange, TargetFolder, byte_ranges

LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=30)


@given(files=st.lists(LINES, min_size=1, max_size=3), size=st.integers(1, 200), at_once=st.integers(1, 100))
def test_stretches_give_what_the_folder_gives(files: list[list[bytes]], size: int, at_once: int) -> None:
    """Whatever their size and that of the blocks, also with lines that are longer than both."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        names = [*(f"{number}.jsonl" for number in range(len(files) - 1)), OWN_FILE]
        for file, lines in zip(names, files, strict=True):
            (folder / file).write_bytes(b"".join(lines))
        ranges = byte_ranges(folder, size)
        blocks = [block for byte_range in ranges for block in byte_range.read_blocks(at_once)]
        assert b"".join(blocks) == b"".join(block for _, block in TargetFolder(folder).read_new())
        assert all(block.endswith(b"\n") for block in blocks)
        assert all(len(byte_range) > 0 for byte_range in ranges)


def test_a_line_without_its_end_is_given_one(tmp_path: Path) -> None:
    """It is for the reader to say whether it is torn."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n{"b": 2}')
    assert byte_ranges(tmp_path, 100) == [ByteRange(file, 0, 17)]
    assert b"".join(ByteRange(file, 0, 17).read_blocks(4)) == b'{"a": 1}\n{"b": 2}\n'


def test_what_is_not_made_of_lines_has_no_stretches(tmp_path: Path) -> None:
    """Another way to read has to be taken for all of the folder."""
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    pyarrow.parquet.write_table(pa.table({"a": [1]}), tmp_path / "b.parquet")
    assert byte_ranges(tmp_path, 100) == []
    assert byte_ranges(tmp_path / "missing", 100) == []


def test_a_file_that_became_shorter_ends_sooner(tmp_path: Path) -> None:
    """Whoever reads it finds fewer lines, and an end."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n{"b": 2}')
    assert b"".join(ByteRange(file, 0, 500).read_blocks(4)) == b'{"a": 1}\n{"b": 2}\n'
    assert list(ByteRange(file, 100, 500).read_blocks(4)) == []
