"""The rules for what leaves the process: which private values are hidden, and which events are sampled out."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping
from hashlib import blake2b, sha256
from typing import Any, Literal

from logging_lib.logger.checks import CheckResult
from logging_lib.logger.values import to_jsonable
from logging_lib.profile.model import Profile
from logging_lib.schema import tokens

Treatment = Literal["drop", "redact", "hmac"]
KEY_VARIABLE = "LOGGING_LIB_HMAC_KEY"
REDACTED = "<redacted>"
_HIDDEN_ERROR = "<hidden: it may hold the value of a private or hidden feature>"
_PRESENCE_BINS = frozenset((tokens.MISSING, tokens.ABSENT))


class PrivacyFilter:
    """A filter that hides the values of private features.

    Args:
        features: feature → ``drop`` (no value), ``redact`` (a fixed text) or ``hmac`` (HMAC-SHA256 of the value).
        key: the key of the hashes; default: the environment variable ``LOGGING_LIB_HMAC_KEY``.

    Raises:
        ValueError: an unknown treatment, or ``hmac`` without a key.
    """

    def __init__(self, features: Mapping[str, Treatment], key: bytes | None = None) -> None:
        for name, treatment in features.items():
            if treatment not in ("drop", "redact", "hmac"):
                raise ValueError(f"private: {name}: expected 'drop', 'redact' or 'hmac', found {treatment!r}")
        self._key = key if key is not None else os.environb.get(KEY_VARIABLE.encode(), b"")
        if "hmac" in features.values() and not self._key:
            raise ValueError(f"private: 'hmac' needs a key: set {KEY_VARIABLE}")
        self._features = {name: (treatment, tokens.escape(name)) for name, treatment in features.items()}
        self._prefixes = tuple(f"{part}=" for _, part in self._features.values())

    def hash_subject(self, subject: Any) -> str:
        """Compute ``ml.subject.hash``: the first 32 hex digits of an HMAC, or of SHA-256 if there is no key."""
        text = str(to_jsonable(subject)).encode()
        if self._key:
            return hmac.new(self._key, text, sha256).hexdigest()[:32]
        return sha256(text).hexdigest()[:32]

    def hide_inputs(self, result: CheckResult, inputs: Mapping[Any, Any]) -> None:
        """Remove the private values from the checked inputs."""
        if not self._features:
            return
        for name, (treatment, part) in self._features.items():
            present = [kind for kind in result.input if name in result.input[kind]]
            for kind in present:
                del result.input[kind][name]
                if not result.input[kind]:
                    del result.input[kind]
            if name in inputs and treatment != "drop":
                result.add_input("other", name, self._mask(treatment, inputs[name]))
            result.bins = [_hide_bin(token, part) for token in result.bins]
        for values in (result.unseen_values, result.wrong_type_values, result.oov_words):
            values[:] = [token for token in values if not token.startswith(self._prefixes)]

    def _mask(self, treatment: str, value: Any) -> str:
        if treatment == "redact":
            return REDACTED
        text = str(to_jsonable(value)).encode()
        return "hmac-sha256:" + hmac.new(self._key, text, sha256).hexdigest()


def hide_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """Keep only the type of an exception, because its text and traceback may quote any value."""
    return {"type": error["type"], "message": _HIDDEN_ERROR}


def _hide_bin(token: str, part: str) -> str:
    feature, _, label = token.partition("=")
    return f"{part}={tokens.HIDDEN}" if feature == part and label not in _PRESENCE_BINS else token


HIDE_NOTHING = PrivacyFilter({})


USUAL_RATE = 0.02
MAX_ADDED = 0.1


class Sampler:
    """A sampler that keeps a share of the ordinary events, by request id, so that live and shadow models agree.

    An event with failed checks is still ordinary if all of them are usual for the profile: at least ``USUAL_RATE``
    of the held-out rows failed them. If all other checks together would add more than ``MAX_ADDED`` of the share
    to it, the most frequent of them count as usual, too.

    Args:
        rate: the share to keep, above 0 and up to 1.
        profile: says how often each check is expected to fail.

    Raises:
        ValueError: the rate is out of this range.
    """

    def __init__(self, rate: float, profile: Profile | None = None) -> None:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise ValueError(f"sample: expected a share above 0 and up to 1, found {rate!r}")
        self.includes_all = rate == 1
        self._limit = int(rate * 2**64)
        self.weight: dict[str, Any] = {"weight": 1 / rate}
        self._usual_failures = _find_usual_failures(profile, MAX_ADDED * rate) if profile else frozenset()

    def is_ordinary(self, failed: Mapping[str, Iterable[str]]) -> bool:
        """Return whether an event may be sampled out despite its failed checks (check → features)."""
        usual = self._usual_failures
        return all((check, name) in usual for check, names in failed.items() for name in names)

    def includes(self, request_id: str) -> bool:
        """Return whether to keep an ordinary event; the answer is always the same for one request id."""
        return (
            int.from_bytes(blake2b(request_id.encode("utf-8", "replace"), digest_size=8).digest())
            < self._limit
        )


def _find_usual_failures(profile: Profile, max_added: float) -> frozenset[tuple[str, str]]:
    """Find the checks and features whose failures are not a reason to keep an event."""
    rates = sorted(
        (expectation.rate, check, name)
        for name, feature in profile.features.items()
        for check, expectation in feature.expected.items()
    )
    usual = set()
    added = 0.0
    for rate, check, name in rates:
        added += rate
        if rate >= USUAL_RATE or added > max_added:
            usual.add((check, name))
    return frozenset(usual)
