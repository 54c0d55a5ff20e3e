"""Objects that are ours, edited or somebody else's are distinguished without a server."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logging_lib._util import content
from logging_lib._util.ownership import OwnershipState
from logging_lib.stack import resources
from logging_lib.stack.marks import compare, is_ours, with_mark
from logging_lib.stack.resources import COMPONENT, ROLE, SCRIPT, Resource
from logging_lib.store.port import StoreError

FOLDER = content.path("pipelines") / "elasticsearch"
ALL = [
    *resources.load_templates(FOLDER),
    *resources.load_scripts(content.path("watchers") / "scripts"),
    *resources.load_roles(FOLDER / "roles"),
    *resources.render_watches(content.path("watchers"), ["loans"]),
]


def stored(part: Resource, version: str = "1") -> Any:
    marked = copy.deepcopy(with_mark(part, version))
    return marked["script"] if part.kind is SCRIPT else marked


@pytest.mark.parametrize("part", ALL, ids=str)
def test_a_part_is_current_until_another_one_is_wanted(part: Resource) -> None:
    assert compare(part, None) is OwnershipState.MISSING
    assert compare(part, stored(part)) is OwnershipState.CURRENT
    assert compare(part, stored(part, "0.0.1")) is OwnershipState.CURRENT
    other = copy.deepcopy(part.body)
    other["lang" if part.kind is SCRIPT else "note"] = "another"
    newer = Resource(part.kind, part.name, other)
    assert compare(newer, stored(part)) is OwnershipState.OUTDATED
    edited = stored(part)
    edited["lang" if part.kind is SCRIPT else "by_hand"] = "x"
    assert compare(part, edited) is OwnershipState.EDITED
    assert is_ours(part.kind, edited)
    foreign = {key: value for key, value in edited.items() if key != part.kind.mark_key}
    if part.kind is SCRIPT:
        foreign = {**part.body, "source": "return 1"}
    assert compare(part, foreign) is OwnershipState.FOREIGN


def test_the_form_that_elasticsearch_gives_a_body_does_not_count_as_an_edit() -> None:
    """Settings come back as texts, dates and defaults are added."""
    body = {
        "template": {
            "settings": {"index": {"number_of_shards": 1, "mapping": {"ignore_malformed": True}}},
            "lifecycle": {"data_retention": "30d"},
        }
    }
    part = Resource(COMPONENT, "x", body)
    back = with_mark(part, "1") | {
        "template": {
            "settings": {"index": {"mapping": {"ignore_malformed": "true"}, "number_of_shards": "1"}},
            "lifecycle": {"enabled": True, "data_retention": "30d"},
        },
        "created_date_millis": 5,
        "modified_date": "2026",
    }
    assert compare(part, back) is OwnershipState.CURRENT
    back["template"]["lifecycle"]["data_retention"] = "31d"
    assert compare(part, back) is OwnershipState.EDITED
    role = Resource(ROLE, "x", {"cluster": [], "indices": [{"names": ["a"], "privileges": ["read"]}]})
    answered = {
        **with_mark(role, "1"),
        "applications": [],
        "run_as": [],
        "transient_metadata": {"enabled": True},
        "indices": [{"names": ["a"], "privileges": ["read"], "allow_restricted_indices": False}],
    }
    assert compare(role, answered) is OwnershipState.CURRENT


def test_watchers_defaults_do_not_count_as_an_edit_but_a_threshold_does() -> None:
    (part,) = (resource for resource in ALL if resource.name == "logging-lib-na-spike--loans")
    back = stored(part)
    request = back["input"]["chain"]["inputs"][0]["window"]["search"]["request"]
    request |= {"search_type": "query_then_fetch", "rest_total_hits_as_int": True}
    for action in back["actions"].values():
        action |= {"throttle_period_in_millis": 86_400_000} if action.pop("throttle_period", None) else {}
    assert compare(part, back) is OwnershipState.CURRENT
    back["metadata"]["min_hits"] = 50
    assert compare(part, back) is OwnershipState.EDITED


@settings(deadline=None)  # each example reads all watches from files
@given(st.text(min_size=1), st.text(min_size=1))
def test_watches_of_different_models_have_different_ids(first: str, second: str) -> None:
    folder = content.path("watchers")
    ids, other_ids = (
        {part.name for part in resources.render_watches(folder, [name])} for name in (first, second)
    )
    assert (ids == other_ids) == (first == second)
    assert all(name.isprintable() and " " not in name and len(name) < 200 for name in ids)


def test_a_watch_of_a_model_matches_that_model_alone() -> None:
    (part, *_) = resources.render_watches(content.path("watchers"), ["a*b?c\\"])
    assert part.body["metadata"]["model"] == "a\\*b\\?c\\\\"


def test_retention_names_a_dataset() -> None:
    chosen = resources.load_templates(FOLDER, retention={"ml.label": "7d"})
    (part,) = (resource for resource in chosen if resource.name == "logs-ml.label@lifecycle")
    assert part.body["template"]["lifecycle"]["data_retention"] == "7d"
    with pytest.raises(StoreError, match=r"'ml.x' is not a dataset; there are ml.prediction"):
        resources.load_templates(FOLDER, retention={"ml.x": "7d"})
