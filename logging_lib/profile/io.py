"""The writer and reader of ``profile.json``, with errors that say what is wrong with a damaged file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.suggestions import explain_unreadable
from logging_lib.profile.classifier import CONFIDENCE, SOURCES, Calibration, Classifier
from logging_lib.profile.coerce import is_number
from logging_lib.profile.model import (
    CHECKS,
    FORMAT_VERSION,
    KINDS,
    OOV_EDGES,
    Expectation,
    Feature,
    HeldOut,
    Moments,
    NaturalVariation,
    Profile,
    Quality,
    Rhythm,
    Variation,
)
from logging_lib.profile.vectors import derived_names


class ProfileError(LoggingLibError, ValueError):
    """The error for a damaged profile or unusable training data; the message names the place and the remedy."""


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────


def encode(profile: Profile) -> dict[str, Any]:
    """Encode the profile as JSON's types; fields with their default value are omitted."""
    return {"format_version": FORMAT_VERSION, **_encode_value(profile)}


def _encode_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: _encode_value(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if getattr(value, f.name) != _default_of(f)
        }
    if isinstance(value, Mapping):
        return {key: _encode_value(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_encode_value(item) for item in value]
    return value


def _default_of(f: dataclasses.Field[Any]) -> Any:
    if f.default is not dataclasses.MISSING:
        return f.default
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else dataclasses.MISSING


def with_content_hash(profile: Profile) -> Profile:
    """Set the profile's ``id`` to the first 16 hex digits of the SHA-256 of its content."""
    content = encode(dataclasses.replace(profile, id=""))
    return dataclasses.replace(profile, id=sha256(orjson.dumps(content)).hexdigest()[:16])


def dumps(profile: Profile) -> bytes:
    """Encode a profile as JSON; equal profiles have equal bytes."""
    return orjson.dumps(encode(profile), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def save(profile: Profile, path: str | Path) -> None:
    """Write a profile file.

    Args:
        profile: the profile, as ``fit`` returned it.
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
        ProfileError: the file cannot be read or is damaged; the message names the file and the field.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ProfileError(f"{path}: {explain_unreadable(path, error)}") from error
    return loads(raw, source=str(path))


def loads(raw: bytes, *, source: str = "profile") -> Profile:
    """Read a profile from JSON.

    Args:
        raw: the bytes, as ``dumps`` returned them.
        source: names the bytes in errors.

    Raises:
        ProfileError: the JSON is damaged; the message names the field.
    """
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProfileError(f"{source}: not JSON ({error}); {_explain_format(raw)}") from error
    return decode(document, source=source)


def _explain_format(raw: bytes) -> str:
    """Return what a file that is not JSON may be instead."""
    first = raw[:1000].partition(b"\n")[0]
    if raw[:4] == b"PAR1":
        return "it is Parquet: give the profile.json that `profile fit` writes"
    if b"{" not in raw[:1000] and any(mark in first for mark in (b",", b";", b"\t")):
        return "it looks like CSV: give the profile.json that `profile fit` writes"
    return "was the file cut? Fit the profile again"


def decode(document: Any, *, source: str = "profile") -> Profile:
    """Build a profile from parsed JSON; check each field, and the content against its id."""
    reader = _ProfileDecoder(source)
    root = reader.mapping(document, "$")
    version = root.get("format_version")
    if version != FORMAT_VERSION:
        raise ProfileError(
            f"{source}: $.format_version: is {version!r}, this version of logging_lib reads {FORMAT_VERSION}; "
            "fit the profile again or use the version that wrote it"
        )
    fields = {key: value for key, value in root.items() if key != "format_version"}
    profile: Profile = reader.build(Profile, fields, "$", _PROFILE)
    sealed = with_content_hash(profile)
    if profile.id != sealed.id:
        raise ProfileError(
            f"{source}: $.id: is {profile.id!r} but the content hashes to {sealed.id!r}: "
            "the file was edited or damaged; fit the profile again"
        )
    return profile


class _ProfileDecoder:
    def __init__(self, source: str) -> None:
        self.source = source

    def fail(self, path: str, expected: str, value: Any) -> ProfileError:
        quoted = repr(value)
        return ProfileError(f"{self.source}: {path}: expected {expected}, found {quoted[:60]}")

    def mapping(self, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(path, "an object", value)
        return value

    def build(self, cls: type[Any], value: Any, path: str, readers: Mapping[str, _Decode]) -> Any:
        mapping = self.mapping(value, path)
        unknown = [key for key in mapping if key not in readers]
        if unknown:
            raise ProfileError(f"{self.source}: {path}.{unknown[0]}: is not part of a profile")
        for f in dataclasses.fields(cls):
            if f.name not in mapping and _default_of(f) is dataclasses.MISSING:
                raise ProfileError(f"{self.source}: {path}.{f.name}: is missing")
        parts = {key: readers[key](self, item, f"{path}.{key}") for key, item in mapping.items()}
        return cls(**parts)


_Decode = Callable[[_ProfileDecoder, Any, str], Any]


def _decode_text(reader: _ProfileDecoder, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise reader.fail(path, "a text", value)
    return value


def _decode_name(reader: _ProfileDecoder, value: Any, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise reader.fail(path, "a text that is not empty", value)
    return value


def _decode_number(reader: _ProfileDecoder, value: Any, path: str) -> float:
    if not is_number(value) or not math.isfinite(value):
        raise reader.fail(path, "a number", value)
    return value


def _decode_count(reader: _ProfileDecoder, value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise reader.fail(path, "a whole number >= 0", value)
    return value


def _decode_flag(reader: _ProfileDecoder, value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise reader.fail(path, "true or false", value)
    return value


def _decode_choice(*allowed: str) -> _Decode:
    def read(reader: _ProfileDecoder, value: Any, path: str) -> str:
        if value not in allowed:
            raise reader.fail(path, "one of " + ", ".join(allowed), value)
        return str(value)

    return read


def _decode_tuple(item: _Decode) -> _Decode:
    def read(reader: _ProfileDecoder, value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise reader.fail(path, "a list", value)
        return tuple(item(reader, element, f"{path}[{i}]") for i, element in enumerate(value))

    return read


def _decode_map(item: _Decode) -> _Decode:
    def read(reader: _ProfileDecoder, value: Any, path: str) -> dict[str, Any]:
        return {k: item(reader, v, f"{path}.{k}") for k, v in reader.mapping(value, path).items()}

    return read


def _decode_object(cls: type[Any], readers: Mapping[str, _Decode]) -> _Decode:
    return lambda reader, value, path: reader.build(cls, value, path, readers)


def _decode_edges(reader: _ProfileDecoder, value: Any, path: str) -> tuple[float, ...]:
    edges: tuple[float, ...] = _decode_tuple(_decode_number)(reader, value, path)
    if any(b <= a for a, b in pairwise(edges)):
        raise reader.fail(path, "edges that rise", value)
    return edges


def _decode_feature(reader: _ProfileDecoder, value: Any, path: str) -> Feature:
    feature: Feature = reader.build(Feature, value, path, _FEATURE)
    sizes = []
    if feature.kind in ("numeric", "date", "vector") or (feature.kind == "text" and feature.edges):
        sizes.append((len(feature.counts), len(feature.bin_labels())))
    if feature.kind == "text":
        sizes.append((len(feature.oov_counts), len(OOV_EDGES) - 1))
    for counts, bins in sizes if not feature.hidden else ():
        if counts != bins:
            raise ProfileError(f"{reader.source}: {path}: has {counts} counts for {bins} bins")
    if set(feature.expected) - set(CHECKS):
        raise reader.fail(f"{path}.expected", "checks out of " + ", ".join(CHECKS), list(feature.expected))
    expectations = {f"expected.{check}": expectation for check, expectation in feature.expected.items()}
    if feature.new_words is not None:
        expectations["new_words"] = feature.new_words
    for name, expectation in expectations.items():
        if expectation.count > expectation.rows:
            raise reader.fail(f"{path}.{name}.count", "no more than rows", expectation.count)
    return feature


def _decode_features(reader: _ProfileDecoder, value: Any, path: str) -> dict[str, Feature]:
    features: dict[str, Feature] = _decode_map(_decode_feature)(reader, value, path)
    for key, feature in features.items():
        if key != feature.name:
            raise reader.fail(f"{path}.{key}.name", repr(key), feature.name)
    for key, feature in features.items():
        source = features.get(feature.derived_from)
        if feature.derived_from and not (
            source is not None and source.kind == "vector" and key in derived_names(source.name)
        ):
            raise reader.fail(f"{path}.{key}.derived_from", "the vector in its name", feature.derived_from)
        for name in derived_names(key) if feature.centroid else ():
            if name not in features or features[name].derived_from != key:
                raise reader.fail(path, f"the feature {name}, derived from {key}", list(features))
    return features


def _decode_variation(reader: _ProfileDecoder, value: Any, path: str) -> NaturalVariation:
    numbers = _decode_tuple(_decode_number)(reader, value, path)
    # Profiles of earlier versions have no design effect.
    if len(numbers) not in (3, len(NaturalVariation._fields)) or min(numbers) < 0:
        raise reader.fail(path, "variance, growth, factor and design effect, each at least 0", value)
    return NaturalVariation(*numbers)


def _decode_calibration(reader: _ProfileDecoder, value: Any, path: str) -> Calibration:
    curve: Calibration = reader.build(
        Calibration, value, path, {"scores": _decode_edges, "rates": _decode_tuple(_decode_number)}
    )
    if not curve.scores or len(curve.scores) != len(curve.rates):
        raise reader.fail(path, "one rate for each score, at least one", value)
    if not all(0 <= rate <= 1 for rate in curve.rates):
        raise reader.fail(f"{path}.rates", "numbers from 0 to 1", list(curve.rates))
    return curve


def _decode_classifier(reader: _ProfileDecoder, value: Any, path: str) -> Classifier:
    classifier: Classifier = reader.build(Classifier, value, path, _CLASSIFIER)
    if len(classifier.classes) < 2:
        raise reader.fail(f"{path}.classes", "two classes or more", list(classifier.classes))
    if classifier.positive and (
        len(classifier.classes) != 2 or classifier.positive not in classifier.classes
    ):
        raise reader.fail(f"{path}.positive", "one of two classes", classifier.positive)
    expected = {classifier.positive} if classifier.positive else {*classifier.classes}
    if classifier.calibration and set(classifier.calibration) not in (expected, {CONFIDENCE}):
        raise reader.fail(f"{path}.calibration", "a curve for each class", list(classifier.calibration))
    return classifier


_VARIATIONS = _decode_map(_decode_map(_decode_map(_decode_variation)))
_EXPECTATION: dict[str, _Decode] = {
    "count": _decode_count,
    "rows": _decode_count,
    "dispersion": _decode_number,
}
_MOMENTS: dict[str, _Decode] = {
    "count": _decode_count,
    "mean": _decode_number,
    "std": _decode_number,
    "min": _decode_number,
    "max": _decode_number,
    "quantiles": _decode_map(_decode_number),
}
_CLASSIFIER: dict[str, _Decode] = {
    "classes": _decode_tuple(_decode_text),
    "source": _decode_choice(*SOURCES),
    "positive": _decode_text,
    "threshold": _decode_number,
    "calibration": _decode_map(_decode_calibration),
    "expected_error": _decode_object(Moments, _MOMENTS),
    "metrics": _decode_map(_decode_number),
    "rows": _decode_count,
    "evaluated": _decode_flag,
    "notes": _decode_tuple(_decode_text),
}
_FEATURE: dict[str, _Decode] = {
    "name": _decode_text,
    "kind": _decode_choice(*KINDS),
    "nullable": _decode_flag,
    "hidden": _decode_flag,
    "values": _decode_map(_decode_count),
    "multiple": _decode_flag,
    "binned": _decode_count,
    "edges": _decode_edges,
    "counts": _decode_tuple(_decode_count),
    "vocabulary": _decode_tuple(_decode_text),
    "oov_threshold": _decode_number,
    "oov_counts": _decode_tuple(_decode_count),
    "new_words": _decode_object(Expectation, _EXPECTATION),
    "centroid": _decode_tuple(_decode_number),
    "derived_from": _decode_text,
    "moments": _decode_object(Moments, _MOMENTS),
    "special": _decode_map(_decode_count),
    "expected": _decode_map(_decode_object(Expectation, _EXPECTATION)),
    "notes": _decode_tuple(_decode_text),
}
_PROFILE: dict[str, _Decode] = {
    "id": _decode_text,
    "model": _decode_name,
    "version": _decode_name,
    "rows": _decode_count,
    "held_out": _decode_object(
        HeldOut, {"rows": _decode_count, "method": _decode_text, "blocks": _decode_count}
    ),
    "features": _decode_features,
    "prediction": _decode_feature,
    "target": _decode_feature,
    "quality": _decode_object(
        Quality,
        {
            "errors": _decode_object(Moments, _MOMENTS),
            "confusion": _decode_map(_decode_map(_decode_count)),
            "brier": _decode_object(Moments, _MOMENTS),
            "log_loss": _decode_object(Moments, _MOMENTS),
        },
    ),
    "classifier": _decode_classifier,
    "trained_at": _decode_text,
    "training_seconds": _decode_number,
    "libraries": _decode_map(_decode_text),
    "na_values": _decode_tuple(_decode_text),
    "variation": _decode_object(
        Variation,
        {
            "source": _decode_choice("training", "default", "learned"),
            "since": _decode_text,
            "until": _decode_text,
            "levels": _decode_map(_decode_number),
            "measures": _VARIATIONS,
            "notes": _decode_tuple(_decode_text),
            "rhythm": _decode_object(
                Rhythm,
                {
                    "timezone": _decode_text,
                    "traffic": _decode_tuple(_decode_number),
                    "longest_gap": _decode_number,
                    "bins": _decode_map(_decode_tuple(_decode_tuple(_decode_count))),
                    "measures": _VARIATIONS,
                },
            ),
        },
    ),
}
