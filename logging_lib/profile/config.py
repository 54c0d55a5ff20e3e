"""The reader of ``profile.yml``, the settings with which a data scientist overrides inference."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from logging_lib._util.suggestions import explain_unreadable, suggest
from logging_lib.profile.coerce import NA_VALUES, is_number, number_text, to_epoch
from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import KINDS, Kind


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """The overrides for one feature; a setting that is None is inferred from the data.

    Attributes:
        kind: numeric, category, text, boolean, date or vector.
        values: category: the allowed values; any other counts as unseen, even if training had it.
        range: numeric (or date, as ISO text): the allowed (low, high).
        nullable: if False, no missing value is expected, even if training had some.
        bins: numeric: the edges between bins; category: how many values have a bin of their own.
        hidden: store neither values nor words; only presence is checked.
    """

    kind: Kind | None = None
    values: tuple[str, ...] | None = None
    range: tuple[Any, Any] | None = None
    nullable: bool = True
    bins: int | tuple[float, ...] | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """The settings for fitting a profile.

    Attributes:
        features: overrides by feature.
        exclude: columns that the service does not receive.
        time: the column with the time of each row. If given, the last rows are held out, and natural variation is
            measured.
        timezone: the time zone whose hours and days traffic may follow, such as ``Europe/Berlin``.
        na_values: spellings of a missing value.
        min_word_count: how often a word must occur in training to be known.
        max_vocabulary: maximum number of known words per text feature; the most frequent are chosen.
        max_values: maximum number of values per category; the most frequent are chosen, the others are unseen.
        held_out: the share of the rows that are held out to measure the expected rates.
    """

    features: Mapping[str, FeatureConfig] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    time: str | None = None
    timezone: str = "UTC"
    na_values: tuple[str, ...] = NA_VALUES
    min_word_count: int = 2
    max_vocabulary: int = 50_000
    max_values: int = 10_000
    held_out: float = 0.2


def read(path: str | Path) -> Config:
    """Read ``profile.yml``.

    Raises:
        ProfileError: the file cannot be used; the message names the file, the key and the remedy.
    """
    import yaml

    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text("utf-8")) or {}
    except OSError as error:
        raise ProfileError(f"{path}: {explain_unreadable(path, error)}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: not YAML: {error}") from error
    return parse(document, source=str(path))


def parse(document: Any, *, source: str = "profile.yml") -> Config:
    """Build a ``Config`` from parsed YAML."""
    mapping = _expect_mapping(document, source, "the file")
    _reject_unknown_keys(mapping, Config.__slots__, source, "")
    options = dict(mapping)
    options["features"] = {
        str(name): _parse_feature(value or {}, source, f"features.{name}")
        for name, value in _expect_mapping(mapping.get("features") or {}, source, "features").items()
    }
    for key in ("exclude", "na_values"):
        if key in options:
            if not isinstance(options[key], list):
                raise ProfileError(f"{source}: {key}: expected a list, found {options[key]!r}")
            options[key] = _parse_texts(options[key], source, key)
    for key, low, high in (
        ("min_word_count", 1, 10**9),
        ("max_vocabulary", 1, 10**6),
        ("max_values", 1, 10**6),
        ("held_out", 0.01, 0.9),
    ):
        value = options.get(key, low)
        if not is_number(value) or not low <= value <= high:
            raise ProfileError(f"{source}: {key}: expected a number from {low} to {high}, found {value!r}")
    if not isinstance(options.get("time"), str | None):
        raise ProfileError(f"{source}: time: expected a column's name, found {options['time']!r}")
    if "timezone" in options:
        options["timezone"] = parse_timezone(options["timezone"], f"{source}: timezone")
    for key in ("min_word_count", "max_vocabulary", "max_values"):
        if not isinstance(options.get(key, 1), int):
            raise ProfileError(f"{source}: {key}: expected a whole number, found {options[key]!r}")
    return Config(**options)


def parse_timezone(name: Any, source: str) -> str:
    """Check that a time zone is known; ``source`` says in errors where it was given."""
    try:
        if isinstance(name, str):
            ZoneInfo(name)
            return name
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    hint = suggest(name, available_timezones()) or ", such as Europe/Berlin"
    raise ProfileError(f"{source}: {name!r} is not a time zone{hint}")


def _parse_feature(document: Any, source: str, path: str) -> FeatureConfig:
    options = dict(_expect_mapping(document, source, path))
    _reject_unknown_keys(options, FeatureConfig.__slots__, source, f"{path}.")
    kind = options.get("kind")
    if kind is not None and kind not in KINDS:
        raise ProfileError(f"{source}: {path}.kind: {kind!r} is not one of {', '.join(KINDS)}")
    if options.get("values") is not None:
        if not isinstance(options["values"], list):
            raise ProfileError(f"{source}: {path}.values: expected a list, found {options['values']!r}")
        options["values"] = _parse_texts(options["values"], source, f"{path}.values")
        options.setdefault("kind", "category")
    if options.get("range") is not None:
        bounds = options["range"]
        if not isinstance(bounds, list) or len(bounds) != 2 or not _is_rising(bounds):
            raise ProfileError(f"{source}: {path}.range: expected [low, high], found {bounds!r}")
        options["range"] = tuple(bounds)
    bins = options.get("bins")
    if isinstance(bins, list):
        is_rising = all(_is_finite_number(edge) for edge in bins) and bins == sorted(set(bins))
        if not is_rising or not bins:
            raise ProfileError(f"{source}: {path}.bins: expected rising numbers, found {bins!r}")
        options["bins"] = tuple(float(edge) for edge in bins)
    elif bins is not None and (isinstance(bins, bool) or not isinstance(bins, int) or bins < 1):
        raise ProfileError(f"{source}: {path}.bins: expected a number of bins or their edges, found {bins!r}")
    for key in ("hidden", "nullable"):
        if not isinstance(options.get(key, True), bool):
            raise ProfileError(f"{source}: {path}.{key}: expected true or false, found {options[key]!r}")
    return FeatureConfig(**options)


def _parse_texts(items: list[Any], source: str, path: str) -> tuple[str, ...]:
    """Convert texts and numbers to texts; ``NO`` and ``2018-01-01`` are other types in YAML unless quoted."""
    for item in items:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise ProfileError(
                f"{source}: {path}: YAML read {item!r} there, which is not text; put it in quotes"
            )
    return tuple(item if isinstance(item, str) else number_text(item) for item in items)


def _is_finite_number(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def _is_rising(bounds: list[Any]) -> bool:
    """Return whether the bounds are two finite numbers, or two dates, and the second is not below the first."""
    if all(map(_is_finite_number, bounds)):
        return bool(bounds[0] <= bounds[1])
    low, high = (to_epoch(bound) for bound in bounds)
    return low is not None and high is not None and low <= high


def _expect_mapping(value: Any, source: str, path: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ProfileError(f"{source}: {path}: expected keys and values, found {value!r}")
    return value


def _reject_unknown_keys(
    mapping: Mapping[str, Any], allowed: Collection[str], source: str, prefix: str
) -> None:
    for key in mapping:
        if key not in allowed:
            hint = suggest(key, allowed) or f"; known: {', '.join(sorted(allowed))}"
            raise ProfileError(f"{source}: {prefix}{key}: unknown key{hint}")


def validate_columns(config: Config, columns: Collection[str]) -> None:
    """Check that the data have the columns that a configuration names.

    Raises:
        ProfileError: a column is missing; the message names it and the most similar one.
    """
    named = [*config.features, *config.exclude, *([config.time] if config.time else [])]
    for name in named:
        if name not in columns:
            raise ProfileError(
                f"the configuration names the column {name!r}, which the data do not have{suggest(name, columns)}"
            )
