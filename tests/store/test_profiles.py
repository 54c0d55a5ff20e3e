"""Publishing profiles, over both stores."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from logging_lib import profile as profiles
from logging_lib.profile.io import with_content_hash
from logging_lib.store import Store, StoreError
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.profiles import is_published, list_published_models, load_published, publish
from tests.foreign_events import NOW, Call
from tests.store import elastic


@pytest.fixture(params=["memory", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        with EmbeddedStore(None) as embedded:
            yield embedded
    else:
        yield elastic.store(request.getfixturevalue("elasticsearch"))


def version(profile: profiles.Profile, number: str) -> profiles.Profile:
    return with_content_hash(dataclasses.replace(profile, version=number))


def found(store: Store, model: str) -> dict[str, dict[str, Any]]:
    body = {"size": 100, "query": {"term": {"ml.model.name": model}}}
    hits = store.search("ml-profiles", body)["hits"]["hits"]
    return {hit["_source"]["ml"]["model"]["version"]: hit["_source"] for hit in hits}


def test_one_version_of_a_model_is_flagged_as_deployed(store: Store, own: profiles.Profile) -> None:
    first, second = version(own, "1"), version(own, "2")
    assert publish(store, first, now=NOW, owners={"email": "a@example.org"}, overrides={"na-spike": 1}) == []
    assert is_published(store, first)
    assert not is_published(store, second)
    assert publish(store, second, now=NOW + timedelta(days=1)) == ["1"]
    assert is_published(store, second)
    assert not is_published(store, first)
    flags = {name: source["deployed"] for name, source in found(store, own.model).items()}
    assert flags == {"1": False, "2": True}
    assert list_published_models(store)[own.model] is True
    # Rolled back: the flag goes back, what people had set with the version is still there.
    assert publish(store, first, now=NOW + timedelta(days=2)) == ["2"]
    after = found(store, own.model)
    assert {name: source["deployed"] for name, source in after.items()} == {"1": True, "2": False}
    assert after["1"]["owners"] == {"email": "a@example.org"}
    assert after["1"]["overrides"] == {"na-spike": 1}
    assert after["1"]["@timestamp"].startswith("2018-03-03T12:00:00")
    assert publish(store, second, now=NOW, alone=False) == ["1"]
    assert {source["deployed"] for source in found(store, own.model).values()} == {True}
    publish(store, first, now=NOW, deployed=False)
    publish(store, second, now=NOW, deployed=False)
    assert list_published_models(store)[own.model] is False
    assert found(store, own.model)["2"]["deployed"] is False


def test_a_published_profile_is_read_back_whole(store: Store, own: profiles.Profile) -> None:
    publish(store, own, now=NOW)
    key = (own.model, own.version)
    assert list(load_published(store, [key, ("nobody", "1")])) == [own]
    assert list(load_published(store, [])) == []
    damaged = {"_id": f"{own.model}:damaged", "content": "{}"}
    store.index("ml-profile-files", [damaged])
    store.refresh()
    with pytest.raises(StoreError, match=r"damaged.*publish it again"):
        list(load_published(store, [(own.model, "damaged")]))


@pytest.mark.elasticsearch
def test_the_command_says_what_it_did(call: Call, own: profiles.Profile) -> None:
    profiles.save(version(own, "7"), "seven.json")
    profiles.save(version(own, "8"), "eight.json")
    first = call("profile", "publish", "seven.json").stdout
    assert f"{own.model} 7: published as deployed, id " in first
    second = call("profile", "publish", "eight.json").stdout
    assert f"{own.model} 7: no longer marked as deployed" in second
    assert "not deployed" in call("profile", "publish", "eight.json", "--not-deployed").stdout
    assert "nope.json: no such file" in call("profile", "publish", "nope.json", code=2).stderr
