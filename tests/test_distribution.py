"""Which tests run in one process."""

from __future__ import annotations

import pytest

from tests.distribution import EARLY, arrange, unit


def test_a_test_belongs_to_its_file(request: pytest.FixtureRequest) -> None:
    assert unit(request.node) == "tests/test_distribution.py"


@pytest.mark.elasticsearch
def test_a_test_that_needs_elasticsearch_belongs_to_it(request: pytest.FixtureRequest) -> None:
    assert unit(request.node) == "elasticsearch"


@pytest.mark.elasticsearch(secured=True)
def test_a_test_that_needs_its_security_belongs_to_the_secured_one(request: pytest.FixtureRequest) -> None:
    assert unit(request.node) == "secured"


def test_long_units_begin_first_and_keep_their_order(request: pytest.FixtureRequest) -> None:
    items = list(request.session.items)
    arranged = list(items)
    arrange(arranged)
    ranks = [EARLY.index(name) if (name := unit(item)) in EARLY else len(EARLY) for item in arranged]
    assert ranks == sorted(ranks)
    for name in {unit(item) for item in items}:
        assert [i for i in arranged if unit(i) == name] == [i for i in items if unit(i) == name]


def test_every_test_that_begins_first_exists(request: pytest.FixtureRequest) -> None:
    folder = request.config.rootpath
    assert [name for name in EARLY if "/" in name and not (folder / name).is_file()] == []
