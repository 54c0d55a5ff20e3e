"""Profiles with any part replaced and their id made to fit: refused with the place, or taken and used."""

from __future__ import annotations

import functools
import random
import re
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from logging_lib import PredictionProcessor
from logging_lib import profile as profiles
from logging_lib.profile.config import Config
from logging_lib.profile.document import build_document
from logging_lib.profile.io import ProfileError, dumps, loads
from tests.mutation import CASES, SEEDS, Mutator, to_json

_SEAL = re.compile(r"content hashes to '(\w+)'")
INPUTS: dict[str, Any] = {
    "income": 64000.5,
    "home": "RENT",
    "title": "registered nurse",
    "joint": True,
    "opened": "2011-05-01",
    "vector": [0.1, 0.2, 0.3],
    "new": 1,
}


@functools.cache
def fit_small() -> profiles.Profile:
    """A small classifier's profile with each kind of feature, natural variation and a rhythm."""
    random_rows, rows = np.random.default_rng(3), 400
    score = random_rows.random(rows)
    frame = pd.DataFrame(
        {
            "income": random_rows.lognormal(11, 0.5, rows),
            "home": random_rows.choice(["RENT", "OWN"], rows),
            "title": random_rows.choice(["nurse", "registered nurse", "cook"], rows),
            "joint": random_rows.random(rows) < 0.3,
            "opened": pd.date_range("2010-01-01", periods=rows, freq="D", tz="UTC"),
            "vector": list(random_rows.normal(size=(rows, 3))),
            "at": pd.date_range("2018-01-01", periods=rows, freq="1h", tz="UTC"),
            "score": score,
            "target": (random_rows.random(rows) < score).astype(int),
        }
    )
    return profiles.fit(
        frame, model="m", version="1", prediction="score", target="target", config=Config(time="at")
    )


def read_resealed(document: Any) -> profiles.Profile:
    """Read a profile whose id is made to fit its content.

    Raises:
        ProfileError: it is refused for another reason than its id.
    """
    try:
        return loads(to_json(document), source="p.json")
    except ProfileError as error:
        seal = _SEAL.search(str(error))
        if seal is None:
            raise
        return loads(to_json({**document, "id": seal[1]}), source="p.json")


def check(document: Any) -> str:
    """Read a profile and use it; return whether it is refused or taken."""
    try:
        profile = read_resealed(document)
    except ProfileError as error:
        if not str(error).startswith(("p.json: $", "p.json: not JSON")):
            raise
        return "refused"
    assert loads(dumps(profile)) == profile
    orjson.dumps(build_document(profile))
    processor = PredictionProcessor(model=profile.model, version=profile.version, profile=profile)
    for prediction in (0.7, "x"):
        event = processor(None, "info", {"inputs": INPUTS, "prediction": prediction})
        assert event["event"]["dataset"] == "ml.prediction", event
    return "taken"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_profile_is_read_or_refused_with_its_place(seed: int) -> None:
    document = orjson.loads(dumps(fit_small()))
    chance, mutator = random.Random(seed), Mutator([document])
    results = [check(mutator.draw(chance)) for _ in range(CASES)]
    assert 0.1 < results.count("taken") / CASES < 0.9
