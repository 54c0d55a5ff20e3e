"""Encode the outputs of classifiers that a profile knows: with class, score and expected error."""

from __future__ import annotations

from typing import Any

from logging_lib.logger.output import OutputEncoder
from logging_lib.profile.classifier import Classifier
from logging_lib.profile.coerce import category_text, to_python
from logging_lib.profile.model import Feature, Profile


class ClassifierEncoder(OutputEncoder):
    """Encode an output as ``OutputEncoder`` does, and add what the profile knows of its class and probability.

    Args:
        feature: the profile's prediction.
        classifier: the profile's classifier.
    """

    is_plain = False

    def __init__(self, feature: Feature | None, classifier: Classifier) -> None:
        super().__init__(feature)
        self._classifier = classifier

    def __call__(self, prediction: Any, score: Any, scores: Any) -> dict[str, Any]:
        """Encode an output; arguments as those of ``OutputEncoder``."""
        document = super().__call__(prediction, score, scores)
        if type(prediction) is float and score is None and scores is None:  # may not have passed ``encode``
            self._classifier.complete(document)
        return document

    def encode(self, prediction: Any, score: Any, scores: Any) -> dict[str, Any]:
        """Encode an output of JSON's types."""
        document = super().encode(prediction, score, scores)
        self._classifier.complete(document)
        return document

    def encode_actual(self, actual: Any) -> dict[str, Any]:
        """Encode a true outcome: it is a class, also where the model's output is a probability."""
        text = category_text(to_python(actual))
        return super().encode_actual(actual) if text is None else {"label": text}


def build_encoder(profile: Profile) -> OutputEncoder:
    """Build the encoder of a model's outputs; those of a regression, or of classes alone, need nothing more."""
    if profile.classifier is None or profile.classifier.source == "label":
        return OutputEncoder(profile.prediction)
    return ClassifierEncoder(profile.prediction, profile.classifier)
