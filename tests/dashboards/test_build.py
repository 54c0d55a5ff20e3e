"""A model's own dashboard, whatever its features are called and however many there are."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logging_lib._util.text import find_half_characters
from logging_lib.dashboards import queries, tables
from logging_lib.dashboards.build import MAX_NAME, for_profile, model_id
from logging_lib.dashboards.kibana import objects, validate
from logging_lib.dashboards.selection import PanelSelection
from logging_lib.profile import Profile
from logging_lib.schema import tokens
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import SearchError
from logging_lib.watch.testing import streams

HOSTILE = [
    "<script>alert(1)</script>", "it's", 'a"b\\c', "a=b", "!missing", "%25", "a.b", "مرحبا", "\u202egnp.exe", "😀",
    "x" * 10_000, "x" * 10_001, "line\nbreak", "\x85\u2028",
    "{{mustache}}", "a*b?c[d]~1", "\ud800", "", " ",
]  # fmt: skip


def renamed(profile: Profile, names: list[str]) -> Profile:
    """The profile with its first feature under these names."""
    one = next(iter(profile.features.values()))
    return replace(profile, features={name: replace(one, name=name) for name in names})


def faults(profile: Profile) -> list[str]:
    made = for_profile(profile)
    text = objects.ndjson(objects.saved_objects([made]))
    text.encode()
    links = [f"logging-lib-{name}" for name in ("fleet", "inputs", "investigate")]
    return [str(fault) for fault in validate.check_ndjson(text, elsewhere=links)]


def test_hostile_names_are_text(profile: Profile, selection: PanelSelection) -> None:
    made = for_profile(renamed(profile, HOSTILE))
    assert faults(renamed(profile, HOSTILE)) == []
    titles = [panel.title for panel in made.panels]
    assert len(set(titles)) == len(titles)
    assert all(title.isprintable() for title in titles)
    with EmbeddedStore(None) as store:
        for panel in made.panels:
            if panel.chart == "text":
                continue
            indices, body = queries.request(panel, selection)
            if find_half_characters(body):
                with pytest.raises(SearchError, match="half of a surrogate pair"):
                    store.search(indices, body)
            else:
                store.search(indices, body)


@given(st.lists(st.text(max_size=60), min_size=1, max_size=6, unique=True))
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
def test_any_names_make_a_sound_dashboard(profile: Profile, names: list[str]) -> None:
    assert faults(renamed(profile, names)) == []


def test_a_dashboard_of_three_hundred_features_is_built_fast(profile: Profile) -> None:
    begun = time.process_time()
    wide = renamed(profile, [f"feature {number}" for number in range(300)])
    made = for_profile(wide)
    text = objects.ndjson(objects.saved_objects([made]))
    assert len(made.panels) == 600 + 7
    assert len(text) < 10_000_000  # Kibana takes 25 MB
    assert time.process_time() - begun < 20
    objects_made = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    (one,) = [one for one in objects_made if one.get("type") == "dashboard"]
    assert len(json.loads(one["attributes"]["panelsJSON"])) == len(made.panels)


def test_training_shares_are_shown_beside_current_shares(
    filled: EmbeddedStore, maker: streams.DocumentGenerator, selection: PanelSelection
) -> None:
    panel = next(panel for panel in for_profile(maker.profile).panels if panel.feature == "home")
    rows = tables.rows(panel, selection, filled.search(*queries.request(panel, selection)))
    feature = maker.profile.features["home"]
    total = sum(feature.expected_bins().values())
    for row in rows:
        if row["bin"] != tokens.UNSEEN:
            assert row["training"] == feature.expected_bins()[row["bin"]] / total
        assert row["before"] is None
    assert sum(row["now"] for row in rows) == 1


def test_ids_of_models_are_their_own() -> None:
    assert model_id("loans", "2018.01").startswith("model-loans-2018-01-")
    assert len({model_id("a", "b-c"), model_id("a-b", "c"), model_id("A", "b-c"), model_id("a", "b.c")}) == 4
    assert model_id("模型", "一").startswith("model-")
    assert len(model_id("x" * 500, "y")) < MAX_NAME + 20
