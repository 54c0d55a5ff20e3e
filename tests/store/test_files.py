"""Stretches of files give all lines once, in their order."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from logging_lib.store.duckdb.files import OWN_FILE, ByteRange, TargetFolder

LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=30)


@given(lines=LINES, at_once=st.integers(1, 100))
def test_a_stretch_gives_the_same_as_the_folder(lines: list[bytes], at_once: int) -> None:
    """Whatever the size of the blocks, also with lines that are longer."""
    with TemporaryDirectory() as name:
        file = Path(name) / OWN_FILE
        file.write_bytes(b"".join(lines))
        blocks = list(ByteRange(file, 0, file.stat().st_size).read_blocks(at_once))
        assert b"".join(blocks) == b"".join(block for _, block in TargetFolder(Path(name)).read_new())
        assert all(block.endswith(b"\n") for block in blocks)


def test_a_line_without_its_end_is_given_one(tmp_path: Path) -> None:
    """It is for the reader to say whether it is torn."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n{"b": 2}')
    assert b"".join(ByteRange(file, 0, 17).read_blocks(4)) == b'{"a": 1}\n{"b": 2}\n'


def test_a_file_that_became_shorter_ends_sooner(tmp_path: Path) -> None:
    """Whoever reads it finds fewer lines, and an end."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n{"b": 2}')
    assert b"".join(ByteRange(file, 0, 500).read_blocks(4)) == b'{"a": 1}\n{"b": 2}\n'
    assert list(ByteRange(file, 100, 500).read_blocks(4)) == []
