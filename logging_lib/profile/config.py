"""``profile.yml``: what a data scientist knows better than inference does."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import KINDS, Kind
from logging_lib.profile.values import NA_VALUES, epoch, number_text


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """Overrides for one feature; None leaves a part to inference.

    Attributes:
        kind: numeric, category, text, boolean or date.
        values: category: the allowed values; any other is unseen, also if training had it.
        range: numeric (or date, as ISO text): the allowed (low, high).
        nullable: False expects no missing value at all, also if training had some.
        bins: numeric: the edges between bins; category: how many values have a bin of their own.
        hidden: keep neither values nor words; only presence is checked.
    """

    kind: Kind | None = None
    values: tuple[str, ...] | None = None
    range: tuple[Any, Any] | None = None
    nullable: bool = True
    bins: int | tuple[float, ...] | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """How to fit a profile.

    Attributes:
        features: overrides by feature.
        exclude: columns that the service does not receive.
        time: the column that says when a row happened: held-out rows are then the last ones.
        na_values: spellings of a missing value.
        min_word_count: how often training must have a word for it to be known.
        max_vocabulary: how many words of a text feature are known at most, the most frequent ones.
        max_values: how many values of a category are known at most, the most frequent ones; the rest is unseen.
        held_out: the share of the rows that the expected rates are measured on, 0 to 1.
    """

    features: Mapping[str, FeatureConfig] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    time: str | None = None
    na_values: tuple[str, ...] = NA_VALUES
    min_word_count: int = 2
    max_vocabulary: int = 50_000
    max_values: int = 10_000
    held_out: float = 0.2


def read(path: str | Path) -> Config:
    """Read ``profile.yml``.

    Raises:
        ProfileError: naming the file, the key and the remedy.
    """
    import yaml

    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text("utf-8")) or {}
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: not YAML: {error}") from error
    return parse(document, source=str(path))


def parse(document: Any, *, source: str = "profile.yml") -> Config:
    """Build a ``Config`` from parsed YAML."""
    given = _mapping(document, source, "the file")
    _known(given, Config.__slots__, source, "")
    made = dict(given)
    made["features"] = {
        str(name): _feature(value or {}, source, f"features.{name}")
        for name, value in _mapping(given.get("features") or {}, source, "features").items()
    }
    for key in ("exclude", "na_values"):
        if key in made:
            if not isinstance(made[key], list):
                raise ProfileError(f"{source}: {key}: expected a list, found {made[key]!r}")
            made[key] = _texts(made[key], source, key)
    for key, low, high in (
        ("min_word_count", 1, 10**9),
        ("max_vocabulary", 1, 10**6),
        ("max_values", 1, 10**6),
        ("held_out", 0.01, 0.9),
    ):
        value = made.get(key, low)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ProfileError(f"{source}: {key}: expected a number from {low} to {high}, found {value!r}")
    if not isinstance(made.get("time"), str | None):
        raise ProfileError(f"{source}: time: expected a column's name, found {made['time']!r}")
    for key in ("min_word_count", "max_vocabulary", "max_values"):
        if not isinstance(made.get(key, 1), int):
            raise ProfileError(f"{source}: {key}: expected a whole number, found {made[key]!r}")
    return Config(**made)


def _feature(document: Any, source: str, path: str) -> FeatureConfig:
    given = dict(_mapping(document, source, path))
    _known(given, FeatureConfig.__slots__, source, f"{path}.")
    kind = given.get("kind")
    if kind is not None and kind not in KINDS:
        raise ProfileError(f"{source}: {path}.kind: {kind!r} is none of {', '.join(KINDS)}")
    if given.get("values") is not None:
        if not isinstance(given["values"], list):
            raise ProfileError(f"{source}: {path}.values: expected a list, found {given['values']!r}")
        given["values"] = _texts(given["values"], source, f"{path}.values")
        given.setdefault("kind", "category")
    if given.get("range") is not None:
        bounds = given["range"]
        if not isinstance(bounds, list) or len(bounds) != 2 or not _rises(bounds):
            raise ProfileError(f"{source}: {path}.range: expected [low, high], found {bounds!r}")
        given["range"] = tuple(bounds)
    bins = given.get("bins")
    if isinstance(bins, list):
        rising = all(_is_number(e) for e in bins) and bins == sorted(set(bins))
        if not rising or not bins:
            raise ProfileError(f"{source}: {path}.bins: expected rising numbers, found {bins!r}")
        given["bins"] = tuple(float(e) for e in bins)
    elif bins is not None and (isinstance(bins, bool) or not isinstance(bins, int) or bins < 1):
        raise ProfileError(f"{source}: {path}.bins: expected a number of bins or their edges, found {bins!r}")
    for key in ("hidden", "nullable"):
        if not isinstance(given.get(key, True), bool):
            raise ProfileError(f"{source}: {path}.{key}: expected true or false, found {given[key]!r}")
    return FeatureConfig(**given)


def _texts(items: list[Any], source: str, path: str) -> tuple[str, ...]:
    """Texts and numbers as texts. YAML reads ``NO`` as false and ``2018-01-01`` as a date: those must be quoted."""
    for item in items:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise ProfileError(
                f"{source}: {path}: YAML read {item!r} there, which is no text; put it in quotes"
            )
    return tuple(item if isinstance(item, str) else number_text(item) for item in items)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rises(bounds: list[Any]) -> bool:
    """Two finite numbers, or two dates, the second not before the first."""
    if all(map(_is_number, bounds)):
        return bool(bounds[0] <= bounds[1])
    low, high = (epoch(bound) for bound in bounds)
    return low is not None and high is not None and low <= high


def _mapping(value: Any, source: str, path: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ProfileError(f"{source}: {path}: expected keys and values, found {value!r}")
    return value


def _known(given: Mapping[str, Any], allowed: Collection[str], source: str, prefix: str) -> None:
    for key in given:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), list(allowed), 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(allowed))}"
            raise ProfileError(f"{source}: {prefix}{key}: unknown key{hint}")


def check_columns(config: Config, columns: Collection[str]) -> None:
    """Refuse a configuration that names a column the data do not have."""
    named = [*config.features, *config.exclude, *([config.time] if config.time else [])]
    for name in named:
        if name not in columns:
            close = difflib.get_close_matches(name, list(columns), 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ProfileError(
                f"the configuration names the column {name!r}, which the data do not have{hint}"
            )
