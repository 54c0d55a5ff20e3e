"""Metrics of moving windows are those of each window by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logging_lib.watch.backtest import moving
from logging_lib.watch.backtest.moving import Extreme, Sliding, differences, quantiles
from tests.strategies import examples

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
    sliding, least, most = Sliding(column), Extreme(column, np.minimum), Extreme(column, np.maximum)
    for start, end in windows:
        part = column[start:end]
        wanted = quantiles(np.sort(part), SHARES)
        assert sliding.quantiles(start, end, SHARES) == wanted
        assert (wanted is None) == (start == end)
        if wanted is not None:
            assert np.allclose(wanted, np.quantile(part, SHARES), rtol=1e-12, atol=1e-9)
        assert least.over(start, end) == (part.min() if len(part) else None)
        assert most.over(start, end) == (part.max() if len(part) else None)
    starts, stops = (np.array([window[side] for window in windows], np.int64) for side in (0, 1))
    sums = differences(column, starts, stops)
    assert np.allclose(sums, [column[start:end].sum() for start, end in windows], rtol=1e-12, atol=1e-6)
