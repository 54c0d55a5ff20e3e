"""Encode served predictions by the bins and checks of their profile, to learn natural variation from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from logging_lib.logger.checks import Checker
from logging_lib.profile.document import list_ordinary_bins
from logging_lib.profile.model import PREDICTION, Profile
from logging_lib.schema import tokens
from logging_lib.store.history import PREDICTION as OUTPUT
from logging_lib.store.history import TIME, PredictionHistory

if TYPE_CHECKING:
    import numpy as np

    from logging_lib.profile.learning import ServedFeature


def encode_served(
    profile: Profile, served: PredictionHistory
) -> tuple[np.ndarray[Any, Any], dict[str, ServedFeature]]:
    """Encode logged predictions as the service that logged them did.

    Hidden features are left out, because their values are not stored.

    Returns:
        Each event's time in seconds since 1970, shape (events,); the encoded events, by feature.
    """
    import numpy as np
    import pandas as pd

    from logging_lib.profile.learning import ServedFeature

    frame = served.frame
    features = {name: feature for name, feature in profile.features.items() if not feature.hidden}
    columns = {name: frame[name].tolist() for name in features if name in frame}
    absent = {name: served.absent[name].tolist() for name in columns if name in served.absent}
    places = {
        f"{tokens.escape(name)}={label}": (name, place)
        for name, feature in features.items()
        for place, label in enumerate(list_ordinary_bins(feature))
    }
    rows = len(frame)
    bins = {name: np.full(rows, -1, dtype=np.int64) for name in features}
    failed = {
        name: {check: np.zeros(rows, dtype=bool) for check in feature.expected}
        for name, feature in features.items()
    }
    check = Checker(profile)
    for row in range(rows):
        inputs = {
            name: values[row]
            for name, values in columns.items()
            if name not in absent or not absent[name][row]
        }
        result = check(inputs)
        for token in result.bins:
            if token in places:
                name, place = places[token]
                bins[name][row] = place
        for failed_check, names in result.failed.items():
            for name in names:
                if name in failed and failed_check in failed[name]:
                    failed[name][failed_check][row] = True
    encoded = {
        name: ServedFeature(feature, bins[name], list_ordinary_bins(feature), failed[name])
        for name, feature in features.items()
    }
    if profile.prediction is not None and OUTPUT in frame:
        labels = list_ordinary_bins(profile.prediction)
        place_of = {label: place for place, label in enumerate(labels)}
        outputs = frame[OUTPUT].tolist()
        output_bins = [place_of.get(check.output(value, None, None).get("bin", ""), -1) for value in outputs]
        is_numeric = profile.prediction.kind == "numeric"
        encoded[PREDICTION] = ServedFeature(
            profile.prediction,
            np.array(output_bins, dtype=np.int64),
            labels,
            numbers=pd.to_numeric(frame[OUTPUT], errors="coerce").to_numpy(float) if is_numeric else None,
        )
    times = pd.to_datetime(frame[TIME], utc=True, format="ISO8601")
    return times.dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64) / 1e6, encoded
