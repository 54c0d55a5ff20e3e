"""The encoding of a classifier's outputs with class, score and expected error, by its profile."""

from __future__ import annotations

from typing import Any

from logging_lib.logger.output import OutputEncoder
from logging_lib.profile.classifier import Classifier
from logging_lib.profile.coerce import category_text, to_python
from logging_lib.profile.model import Feature, Profile


class ClassifierEncoder(OutputEncoder):
    """An ``OutputEncoder`` that adds what the profile says about the output's class and probability.

    Args:
        feature: the profile's prediction.
        classifier: the profile's classifier.
    """

    is_plain = False

    def __init__(self, feature: Feature | None, classifier: Classifier) -> None:
        super().__init__(feature)
        self._classifier = classifier

    def __call__(self, prediction: Any, score: Any, scores: Any) -> dict[str, Any]:
        """Encode an output; the arguments are those of ``OutputEncoder``."""
        document = super().__call__(prediction, score, scores)
        if (
            type(prediction) is float and score is None and scores is None
        ):  # ``encode`` may not have been called
            self._classifier.complete(document)
        return document

    def encode(self, prediction: Any, score: Any, scores: Any) -> dict[str, Any]:
        """Encode an output of JSON's types."""
        document = super().encode(prediction, score, scores)
        self._classifier.complete(document)
        return document

    def encode_actual(self, actual: Any) -> dict[str, Any]:
        """Encode a true outcome, which is a class even if the model's output is a probability."""
        text = category_text(to_python(actual))
        return super().encode_actual(actual) if text is None else {"label": text}


def build_encoder(profile: Profile) -> OutputEncoder:
    """Build the encoder of a model's outputs: the plain one for a regression, or for classes without scores."""
    if profile.classifier is None or profile.classifier.source == "label":
        return OutputEncoder(profile.prediction)
    return ClassifierEncoder(profile.prediction, profile.classifier)
