"""Profile files: what round-trips, and the errors of damaged ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from logging_lib import profile as profiles
from logging_lib.profile import config


def test_a_profile_file_round_trips(tmp_path: Path, profile: profiles.Profile) -> None:
    profiles.save(profile, tmp_path / "p.json")
    assert profiles.load(tmp_path / "p.json") == profile


def damaged(profile: profiles.Profile, path: str, value: Any) -> bytes:
    document = orjson.loads(profiles.dumps(profile))
    *parents, leaf = path.split("/")
    node = document
    for parent in parents:
        node = node[parent]
    if value is ...:
        del node[leaf]
    else:
        node[leaf] = value
    return orjson.dumps(document)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("format_version", 99, r"\$\.format_version: is 99, this version of logging_lib reads 1"),
        ("rows", -1, r"\$\.rows: expected a whole number >= 0, found -1"),
        ("rows", ..., r"\$\.rows: is missing"),
        ("model", "", r"\$\.model: expected a text that is not empty, found ''"),
        ("extra", 1, r"\$\.extra: is not part of a profile"),
        ("features/income/kind", "float", r"\$\.features\.income\.kind: expected one of numeric"),
        ("features/income/edges", [3, 2], r"\$\.features\.income\.edges: expected edges that rise"),
        ("features/income/counts", [1], r"\$\.features\.income: has 1 counts for 10 bins"),
        ("features/income/moments/mean", "high", r"\.moments\.mean: expected a number, found 'high'"),
        ("features/home/values/RENT", 1.5, r"\.values\.RENT: expected a whole number"),
        ("features/home/name", "house", r"\$\.features\.home\.name: expected 'home', found 'house'"),
        ("features/home/expected/typo", {"count": 0, "rows": 1}, r"expected checks out of missing"),
        ("features/home/expected/missing/count", 10**6, r"missing\.count: expected no more than rows"),
        ("features", [], r"\$\.features: expected an object, found \[\]"),
        ("version", "2", r"\$\.id: is '\w+' but the content hashes to '\w+'"),
    ],
)
def test_the_error_of_a_damaged_profile_names_the_place(
    profile: profiles.Profile, path: str, value: Any, says: str
) -> None:
    with pytest.raises(profiles.ProfileError, match=says) as caught:
        profiles.loads(damaged(profile, path, value), source="p.json")
    assert str(caught.value).startswith("p.json: ")


def test_a_cut_file_is_refused_as_such(tmp_path: Path, profile: profiles.Profile) -> None:
    (tmp_path / "p.json").write_bytes(profiles.dumps(profile)[:500])
    with pytest.raises(profiles.ProfileError, match=r"p\.json: not JSON .* was the file cut\?"):
        profiles.load(tmp_path / "p.json")
    with pytest.raises(profiles.ProfileError, match=r"none\.json: no such file"):
        profiles.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("feature: {}", r"feature: unknown key; did you mean 'features'\?"),
        ("features: {a: {knd: text}}", r"features\.a\.knd: unknown key; did you mean 'kind'\?"),
        ("features: {a: {kind: float}}", r"features\.a\.kind: 'float' is not one of numeric"),
        ("features: {a: {range: [5, 1]}}", r"features\.a\.range: expected \[low, high\]"),
        ("features: {a: {bins: [2, 1]}}", r"features\.a\.bins: expected rising numbers"),
        ("features: {a: {values: x}}", r"features\.a\.values: expected a list"),
        (
            "features: {a: {values: [NO, SE]}}",
            r"features\.a\.values: YAML read False there, .* put it in quotes",
        ),
        ("na_values: [NO]", r"na_values: YAML read False there"),
        ("features: {a: {range: [1, b]}}", r"features\.a\.range: expected \[low, high\]"),
        ("features: {a: {range: [0, .inf]}}", r"features\.a\.range: expected \[low, high\]"),
        ("features: {a: {bins: -5}}", r"features\.a\.bins: expected a number of bins or their edges"),
        ("features: {a: {bins: x}}", r"features\.a\.bins: expected a number of bins"),
        ('features: {a: {hidden: "false"}}', r"features\.a\.hidden: expected true or false, found 'false'"),
        ("time: 3", r"time: expected a column's name"),
        ("max_values: 2.5", r"max_values: expected a whole number"),
        ("held_out: 2", r"held_out: expected a number from 0\.01 to 0\.9"),
        ("exclude: x", r"exclude: expected a list"),
        ("[1]", r"the file: expected keys and values"),
        ("a: [", r"not YAML"),
    ],
)
def test_a_wrong_configuration_is_refused_by_key(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "profile.yml").write_text(text)
    with pytest.raises(profiles.ProfileError, match=says):
        config.read(tmp_path / "profile.yml")


def test_a_configuration_is_read(tmp_path: Path) -> None:
    (tmp_path / "profile.yml").write_text(
        "time: issued_at\nfeatures:\n  home: {values: [RENT, 1, 'true']}\n  income: {range: [0, 1000000]}\n"
    )
    read = config.read(tmp_path / "profile.yml")
    assert read.time == "issued_at"
    assert read.features["home"].values == ("RENT", "1", "true")
    assert read.features["income"].range == (0, 1000000)


def test_a_configuration_that_names_no_column_is_refused() -> None:
    with pytest.raises(profiles.ProfileError, match=r"names the column 'hom', .* did you mean 'home'"):
        config.validate_columns(config.Config(exclude=("hom",)), ["home"])
