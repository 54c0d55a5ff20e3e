"""``profile.json``: writing, reading, and saying what is wrong with a damaged one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from logging_lib.profile.model import (
    CHECKS,
    FORMAT_VERSION,
    KINDS,
    OOV_EDGES,
    Expectation,
    Feature,
    HeldOut,
    Moments,
    Profile,
    Quality,
)


class ProfileError(ValueError):
    """Raised for a damaged profile or unusable training data; the message names the place and the remedy."""


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────


def encode(profile: Profile) -> dict[str, Any]:
    """The profile as JSON has it; parts at their default are left out."""
    return {"format_version": FORMAT_VERSION, **_encode(profile)}


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: _encode(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if getattr(value, f.name) != _default(f)
        }
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return value


def _default(f: dataclasses.Field[Any]) -> Any:
    if f.default is not dataclasses.MISSING:
        return f.default
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else dataclasses.MISSING


def seal(profile: Profile) -> Profile:
    """The profile with its ``id``: the first 16 hex digits of the SHA-256 of its content."""
    content = encode(dataclasses.replace(profile, id=""))
    return dataclasses.replace(profile, id=sha256(orjson.dumps(content)).hexdigest()[:16])


def dumps(profile: Profile) -> bytes:
    """Write a profile as indented JSON; the same profile gives the same bytes."""
    return orjson.dumps(encode(profile), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def save(profile: Profile, path: str | Path) -> None:
    """Write a profile file.

    Args:
        profile: what ``fit`` returned.
        path: the file; it is replaced if it exists.

    Raises:
        OSError: the file cannot be written.
    """
    Path(path).write_bytes(dumps(profile))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────


def load(path: str | Path) -> Profile:
    """Read a profile file.

    Args:
        path: a file that ``save`` or ``logging-lib profile fit`` wrote.

    Raises:
        ProfileError: the file cannot be read, or is damaged; the message names the file and the field.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from error
    return loads(raw, source=str(path))


def loads(raw: bytes, *, source: str = "profile") -> Profile:
    """Read a profile from JSON.

    Args:
        raw: what ``dumps`` returned.
        source: names the bytes in errors.

    Raises:
        ProfileError: the JSON is damaged; the message names the field.
    """
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProfileError(
            f"{source}: not JSON ({error}); was the file cut? Fit the profile again"
        ) from error
    return decode(document, source=source)


def decode(document: Any, *, source: str = "profile") -> Profile:
    """Build a profile from parsed JSON, checking each part and the content against its id."""
    reader = _Reader(source)
    root = reader.mapping(document, "$")
    version = root.get("format_version")
    if version != FORMAT_VERSION:
        raise ProfileError(
            f"{source}: $.format_version: is {version!r}, this version of logging_lib reads {FORMAT_VERSION}; "
            "fit the profile again or use the version that wrote it"
        )
    fields = {key: value for key, value in root.items() if key != "format_version"}
    profile: Profile = reader.build(Profile, fields, "$", _PROFILE)
    sealed = seal(profile)
    if profile.id != sealed.id:
        raise ProfileError(
            f"{source}: $.id: is {profile.id!r} but the content hashes to {sealed.id!r}: "
            "the file was edited or damaged; fit the profile again"
        )
    return profile


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source

    def fail(self, path: str, expected: str, value: Any) -> ProfileError:
        shown = repr(value)
        return ProfileError(f"{self.source}: {path}: expected {expected}, found {shown[:60]}")

    def mapping(self, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(path, "an object", value)
        return value

    def build(self, cls: type[Any], value: Any, path: str, readers: Mapping[str, _Read]) -> Any:
        given = self.mapping(value, path)
        unknown = [key for key in given if key not in readers]
        if unknown:
            raise ProfileError(f"{self.source}: {path}.{unknown[0]}: is no part of a profile")
        for f in dataclasses.fields(cls):
            if f.name not in given and _default(f) is dataclasses.MISSING:
                raise ProfileError(f"{self.source}: {path}.{f.name}: is missing")
        parts = {key: readers[key](self, item, f"{path}.{key}") for key, item in given.items()}
        return cls(**parts)


_Read = Callable[[_Reader, Any, str], Any]


def _text(reader: _Reader, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise reader.fail(path, "a text", value)
    return value


def _number(reader: _Reader, value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise reader.fail(path, "a number", value)
    return value


def _count(reader: _Reader, value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise reader.fail(path, "a whole number >= 0", value)
    return value


def _flag(reader: _Reader, value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise reader.fail(path, "true or false", value)
    return value


def _one_of(*allowed: str) -> _Read:
    def read(reader: _Reader, value: Any, path: str) -> str:
        if value not in allowed:
            raise reader.fail(path, "one of " + ", ".join(allowed), value)
        return str(value)

    return read


def _tuple(item: _Read) -> _Read:
    def read(reader: _Reader, value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise reader.fail(path, "a list", value)
        return tuple(item(reader, each, f"{path}[{i}]") for i, each in enumerate(value))

    return read


def _map(item: _Read) -> _Read:
    def read(reader: _Reader, value: Any, path: str) -> dict[str, Any]:
        return {k: item(reader, v, f"{path}.{k}") for k, v in reader.mapping(value, path).items()}

    return read


def _object(cls: type[Any], readers: Mapping[str, _Read]) -> _Read:
    return lambda reader, value, path: reader.build(cls, value, path, readers)


def _edges(reader: _Reader, value: Any, path: str) -> tuple[float, ...]:
    edges: tuple[float, ...] = _tuple(_number)(reader, value, path)
    if any(b <= a for a, b in pairwise(edges)):
        raise reader.fail(path, "edges that rise", value)
    return edges


def _feature(reader: _Reader, value: Any, path: str) -> Feature:
    feature: Feature = reader.build(Feature, value, path, _FEATURE)
    bins = len(feature.bin_labels()) if feature.kind in ("numeric", "date") else len(OOV_EDGES) - 1
    counts = feature.oov_counts if feature.kind == "text" else feature.counts
    if feature.kind not in ("category", "boolean") and not feature.hidden and len(counts) != bins:
        raise ProfileError(f"{reader.source}: {path}: has {len(counts)} counts for {bins} bins")
    if set(feature.expected) - set(CHECKS):
        raise reader.fail(f"{path}.expected", "checks out of " + ", ".join(CHECKS), list(feature.expected))
    for name, expectation in feature.expected.items():
        if expectation.count > expectation.rows:
            raise reader.fail(f"{path}.expected.{name}.count", "no more than rows", expectation.count)
    return feature


def _features(reader: _Reader, value: Any, path: str) -> dict[str, Feature]:
    features: dict[str, Feature] = _map(_feature)(reader, value, path)
    for key, feature in features.items():
        if key != feature.name:
            raise reader.fail(f"{path}.{key}.name", repr(key), feature.name)
    return features


_EXPECTATION: dict[str, _Read] = {"count": _count, "rows": _count, "dispersion": _number}
_MOMENTS: dict[str, _Read] = {
    "count": _count,
    "mean": _number,
    "std": _number,
    "min": _number,
    "max": _number,
    "quantiles": _map(_number),
}
_FEATURE: dict[str, _Read] = {
    "name": _text,
    "kind": _one_of(*KINDS),
    "nullable": _flag,
    "hidden": _flag,
    "values": _map(_count),
    "binned": _count,
    "edges": _edges,
    "counts": _tuple(_count),
    "vocabulary": _tuple(_text),
    "oov_threshold": _number,
    "oov_counts": _tuple(_count),
    "moments": _object(Moments, _MOMENTS),
    "special": _map(_count),
    "expected": _map(_object(Expectation, _EXPECTATION)),
    "notes": _tuple(_text),
}
_PROFILE: dict[str, _Read] = {
    "id": _text,
    "model": _text,
    "version": _text,
    "rows": _count,
    "held_out": _object(HeldOut, {"rows": _count, "method": _text, "blocks": _count}),
    "features": _features,
    "prediction": _feature,
    "target": _feature,
    "quality": _object(Quality, {"errors": _object(Moments, _MOMENTS), "confusion": _map(_map(_count))}),
    "trained_at": _text,
    "training_seconds": _number,
    "libraries": _map(_text),
    "na_values": _tuple(_text),
}
