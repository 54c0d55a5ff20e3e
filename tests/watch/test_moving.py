"""Metrics of moving windows are those of each window by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from logging_lib.store.counting import CountTable
from logging_lib.watch.backtest import moving
from logging_lib.watch.backtest.moving import Sliding, quantiles
from tests.strategies import examples

NUMBER = ("sum", "x", "null")
SHARES = [0.0, 0.25, 0.5, 0.925, 1.0]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and limits so small that each way is gone."""
    monkeypatch.setattr(moving, "_BLOCK", 4)
    monkeypatch.setattr(moving, "_FEW", 5)


numbers = st.lists(
    st.sampled_from([0.0, 1.0, 1.5, -2.0, 1e9, 3.25]) | st.floats(-1e6, 1e6), min_size=1, max_size=60
)


@given(
    values=numbers,
    ends=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12),
    data=st.data(),
)
@settings(max_examples=examples(200), deadline=None)
def test_any_windows_in_any_order(
    values: list[float], ends: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Forward by little, far ahead, back; empty ones, too."""
    column = np.array(values)
    windows = [(min(end, len(values)), min(max(end, other), len(values))) for end, other in ends]
    if data.draw(st.booleans()):
        windows.sort()
    sliding = Sliding(column)
    for start, end in windows:
        part = column[start:end]
        wanted = quantiles(np.sort(part), SHARES)
        assert sliding.quantiles(start, end, SHARES) == wanted
        assert (wanted is None) == (start == end)
        if wanted is not None:
            assert np.allclose(wanted, np.quantile(part, SHARES), rtol=1e-12, atol=1e-9)
    assert_sums(column, windows)


def assert_sums(column: NDArray[np.float64], windows: list[tuple[int, int]]) -> None:
    """Sums of a table's rows: from running totals, or one by one where a value would hide the others."""
    rows = np.arange(len(column))
    table = CountTable(rows, [], {}, None, np.ones(len(column), np.int64), {NUMBER: column})
    starts, stops = (np.array([window[side] for window in windows], np.int64) for side in (0, 1))
    wanted = [column[start:end].sum() for start, end in windows]
    assert np.allclose(table.sums(NUMBER, starts, stops), wanted, rtol=1e-12, atol=1e-6)
    assert table.sums(None, starts, stops).tolist() == [end - start for start, end in windows]
