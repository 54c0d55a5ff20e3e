"""``docs/sizing.md`` says what is measured, and its formula and tables follow from that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.event_size import FAULTY, label, spooled

PAGE = (Path(__file__).parents[1] / "docs" / "sizing.md").read_text("utf-8")


def rows(head: str) -> list[list[str]]:
    """The cells of the table whose first row begins with ``head``."""
    lines = PAGE[PAGE.index(f"| {head}") :].splitlines()[2:]
    table = lines[: next((n for n, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def number(cell: str) -> float:
    found = re.match(r"[\d.,]+", cell)
    assert found, cell
    return float(found[0].replace(",", "")) * (1e6 if "million" in cell else 1)


SIZES = {
    int(number(features)): (number(plain), number(texts)) for features, plain, texts in rows("features |")
}


@pytest.mark.parametrize(("features", "texts"), [(5, 2), (20, 0), (100, 0)])
def test_the_sizes_are_those_measured(features: int, texts: int) -> None:
    size, events = spooled(features, texts)
    assert events == 1
    assert size == pytest.approx(SIZES[features][bool(texts)], rel=0.05)


def test_a_label_has_the_documented_size() -> None:
    stated = re.search(r"A label .* takes (\d+) bytes", PAGE)
    assert stated
    assert label() == pytest.approx(int(stated[1]), rel=0.05)


def test_the_formula_gives_the_sizes() -> None:
    text = 10 * 6.5  # ten words with a space each
    for features, (plain, texts) in SIZES.items():
        assert 600 + 50 * features == pytest.approx(plain, rel=0.05)
        assert 600 + 50 * features + 2 * text == pytest.approx(texts, rel=0.05)


def test_the_days_follow_from_the_formula() -> None:
    units = {"days": 86_400, "hours": 3_600, "minutes": 60}
    for models, features, rate, documents, day, lasts in rows("models |"):
        a_second = number(models) * number(rate)
        size = 600 + 50 * number(features)
        assert number(documents) == pytest.approx(a_second * 86_400, rel=0.01)
        assert number(day) * 1e9 == pytest.approx(a_second * 86_400 * size, rel=0.05)
        assert number(lasts) * units[lasts.split()[1]] == pytest.approx(2**30 / (a_second * size), rel=0.2)


def test_sampling_saves_the_stated_share_of_storage() -> None:
    for option, events, size in rows("20 features"):
        rate = float(option.strip("`").split("=")[1])
        assert number(events) == pytest.approx(FAULTY + rate * (1 - FAULTY), rel=0.02)
        assert number(size) == pytest.approx(spooled(20, 0, sample=rate, faulty=FAULTY)[0], rel=0.15)
