"""What a profile expects of texts: unknown words, new words and lengths agree with what is served."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from logging_lib import profile as profiles
from logging_lib.logger.checks import Checker
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.model import NEW_WORDS, Expectation, Profile, Variation
from logging_lib.watch.scripts.variation import compute_rise

ZIPF = 1 / np.arange(1, 40_001) ** 1.05
CUMULATED = np.cumsum(ZIPF / ZIPF.sum())
DAYS = 30


def draw_texts(rng: np.random.Generator, number: int) -> list[str]:
    """Texts of 10 to 200 words, most of which are rare."""
    lengths = np.exp(rng.uniform(np.log(10), np.log(200), number)).astype(int)
    words = np.searchsorted(CUMULATED, rng.random(lengths.sum()))
    return [" ".join(f"w{word}" for word in part) for part in np.split(words, np.cumsum(lengths)[:-1])]


def fit(texts: list[str], *, timed: bool = False, **config: int) -> Profile:
    frame = pd.DataFrame({"text": texts})
    if timed:
        seconds = 1.7e9 + np.arange(len(texts)) * DAYS * 86400 / len(texts)
        frame["at"] = pd.to_datetime(seconds, unit="s", utc=True)
    settings = Config(features={"text": FeatureConfig(kind="text")}, time="at" if timed else None, **config)
    return profiles.fit(frame, model="m", version="1", config=settings)


@pytest.mark.parametrize("max_vocabulary", [50_000, 4000])
def test_as_many_texts_are_mostly_unknown_as_expected(max_vocabulary: int) -> None:
    rng = np.random.default_rng(1)
    profile = fit(draw_texts(rng, 4000), max_vocabulary=max_vocabulary)
    expected = profile.features["text"].expected["oov"].rate
    check = Checker(profile)
    served = np.mean(["oov" in check({"text": text}).failed for text in draw_texts(rng, 4000)])
    assert served == pytest.approx(expected, abs=0.015)


def test_texts_that_are_alike_expect_next_to_no_unknown_words() -> None:
    """Without the words' other rows, a twentieth of the texts would be expected to fail, and 0.5 % are served."""
    rng = np.random.default_rng(2)
    common = [f"word{i}" for i in range(2000)]

    def draw(number: int) -> list[str]:
        texts = [" ".join(rng.choice(common, 100)) for _ in range(number)]
        return [f"{text} id{rng.integers(10**9)}" if rng.random() < 0.006 else text for text in texts]

    profile = fit(draw(4000))
    check = Checker(profile)
    served = np.mean(["oov" in check({"text": text}).failed for text in draw(4000)])
    assert profile.features["text"].expected["oov"].rate == pytest.approx(0.006, abs=0.003)
    assert served == pytest.approx(0.006, abs=0.003)


@pytest.mark.parametrize("timed", [False, True])
def test_new_words_are_expected_as_often_as_they_are_served(timed: bool) -> None:
    rng = np.random.default_rng(3)
    profile = fit(draw_texts(rng, 4000), timed=timed)
    expected = profile.features["text"].new_words
    assert expected is not None
    known = set(profile.features["text"].vocabulary)
    served = [set(text.split()) - known for text in draw_texts(rng, expected.rows)]
    most = max(sum(word in words for words in served) for word in set().union(*served))
    assert expected.count / 3 <= most <= expected.count * 3


def test_a_word_that_only_a_block_or_the_last_rows_have_is_expected() -> None:
    texts = draw_texts(np.random.default_rng(4), 1000)
    late = [text + (" news" if i >= 900 else "") for i, text in enumerate(texts)]
    assert fit(late, timed=True).features["text"].new_words == Expectation(100, 200)
    spread = fit(late).features["text"].new_words
    assert spread is not None
    assert spread.rows == 100
    assert spread.count < 10


def test_few_rows_expect_any_word_to_be_new() -> None:
    assert fit(["some words"] * 10).features["text"].new_words == Expectation(10, 10)
    assert fit(["a b"]).features["text"].new_words == Expectation(1, 1)


def test_natural_variation_knows_the_words_that_come_and_go() -> None:
    rng = np.random.default_rng(5)
    texts = draw_texts(rng, 6000)
    topics = [f"{text} topic{i // 400}" if rng.random() < 0.3 else text for i, text in enumerate(texts)]
    steady, restless = fit(texts, timed=True).variation, fit(topics, timed=True).variation
    assert steady is not None
    assert restless is not None

    def limit(variation: Variation) -> float:
        natural = variation.measures[NEW_WORDS]["text"]["24h"]
        return variation.levels["24h"] * natural.factor * math.sqrt(natural.variance)

    assert limit(steady) < 0.1
    assert limit(restless) > compute_rise(0.3, 0.1)  # the next topic, and a third of held-out rows had one


def test_bins_of_length_have_room_for_shorter_and_longer_texts() -> None:
    feature = fit(["a b c"] * 40 + ["a b c d e"] * 60).features["text"]
    assert feature.edges == (0, 3, 5, 6, 20_000)
    assert feature.expected_bins() == {
        "len:[0,3)": 0,
        "len:[3,5)": 40,
        "len:[5,6)": 60,
        "len:[6,20000]": 0,
    }
    document = profiles.build_document(fit(["a b c"] * 40))["expected"]
    assert document["order"] == {"text": ["len:[0,3)", "len:[3,4)", "len:[4,20000]"]}
    assert document["checks"][NEW_WORDS]["text"] == {
        "count": 0, "rows": 20, "dispersion": 0.0, "candidates": 3,
    }  # fmt: skip


def test_natural_variation_counts_the_bins_that_training_left_empty() -> None:
    """Where lengths follow the part of the week, each bin has its count, in the order of the labels."""
    is_day = [8 <= hour % 24 < 20 for hour in range(24 * 42)]
    texts = ["a b c d" if day == (row % 4 > 0) else "a b" for day in is_day for row in range(40)]
    frame = pd.DataFrame({"text": texts})
    frame["at"] = pd.to_datetime(1.7e9 + np.arange(len(frame)) * 90, unit="s", utc=True)
    config = Config(features={"text": FeatureConfig(kind="text")}, time="at")
    profile = profiles.fit(frame, model="m", version="1", config=config)
    rhythm = profiles.build_document(profile)["expected"]["variation"]["rhythm"]
    labels = rhythm["labels"]["text"]
    assert labels[-1] == "len:[5,20000]"
    assert {len(counts) for counts in rhythm["bins"]["text"]} == {len(labels)}


def test_a_column_without_texts_has_one_bin_of_length() -> None:
    profile = fit([3, None, 5] * 10)  # type: ignore[list-item]
    assert profile.features["text"].edges == (0, 20_000)
    assert profiles.loads(profiles.dumps(profile)) == profile


def test_a_profile_of_an_earlier_version_is_read_and_published_as_it_was() -> None:
    profile = fit(draw_texts(np.random.default_rng(6), 200))
    text = replace(profile.features["text"], edges=(), counts=(), new_words=None)
    earlier = profiles.io.with_content_hash(replace(profile, features={"text": text}))
    assert profiles.loads(profiles.dumps(earlier)) == earlier
    expected = profiles.build_document(earlier)["expected"]
    assert list(expected["bins"]["text"]) == list(text.oov_labels())
    assert expected["order"] == {}
    assert expected["checks"][NEW_WORDS] == {}


def test_a_count_of_new_words_above_the_rows_is_refused() -> None:
    profile = fit(["some words"] * 10)
    text = replace(profile.features["text"], new_words=Expectation(11, 10))
    damaged = profiles.io.with_content_hash(replace(profile, features={"text": text}))
    with pytest.raises(profiles.ProfileError, match=r"text\.new_words\.count: expected no more than rows"):
        profiles.loads(profiles.dumps(damaged))
