"""The benchmarks' pages say what their figures say."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.detection import report

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "detection"


def test_the_detection_page_is_made_from_its_results() -> None:
    results = orjson.loads((FOLDER / "results.json").read_bytes())
    assert (FOLDER / "README.md").read_text("utf-8") == report.page(results), "write it by report.page"


def test_the_detection_figures_of_the_readme_match_the_results() -> None:
    results = orjson.loads((FOLDER / "results.json").read_bytes())
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    results = results["shuffled"]
    large = results["large"]
    assert f"{large['found']} of {large['cells']} larger faults were found" in text
    assert f"half of them within {large['median_events']:.0f} events" in text
    assert f"none in {results['clean']['events'] // 1000},000 clean events" in text
    assert results["clean"]["alarms"] == 0


@given(share=st.integers(0, 100))
def test_flagging_regardless_of_the_data_has_a_youden_index_of_0(share: int) -> None:
    assert report.youden((share, 100), (share, 100)) == 0


def test_youdens_index_of_known_numbers() -> None:
    assert report.youden((5, 5), (0, 7)) == 1
    assert report.youden((90, 100), (20, 100)) == pytest.approx(0.7)
