"""Files of lines, however they are cut into blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logging_lib.logger import jsonlines
from tests.strategies import examples

pieces = st.lists(
    st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b"\n\n", b" ", b"x" * 7, b"y" * 40]), max_size=40
)


@settings(
    max_examples=examples(300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pieces, st.integers(1, 30))
def test_every_line_is_found_at_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[bytes], block: int
) -> None:
    monkeypatch.setattr(jsonlines, "MAX_LINE", 20)
    monkeypatch.setattr(jsonlines, "_BLOCK", block)
    content = b"".join(parts)
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    expected, offset = [], 0
    for raw in content.splitlines(keepends=True) if b"\r" not in content else content.split(b"\n"):
        whole = raw.endswith(b"\n") or b"\r" in content
        data = raw.removesuffix(b"\n")
        size = len(raw) + (b"\r" in content)
        if len(data) > 20:
            expected.append((data[:21], offset, "too_large"))
        elif data.removesuffix(b"\r").strip():
            torn = not whole or offset + len(data) == len(content)
            expected.append((data.removesuffix(b"\r"), offset, "torn" if torn else ""))
        offset += size
    assert [(line.data, line.offset, line.fault) for line in jsonlines.read_lines(path)] == expected
