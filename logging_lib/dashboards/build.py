"""Build a dashboard for one model from its profile: each feature against its training frequencies. Pure."""

from __future__ import annotations

import re
from hashlib import sha256

from logging_lib._util.text import printable
from logging_lib.dashboards.spec import Dashboard, Filter, Metric, Panel, Reference
from logging_lib.profile.model import CHECKS, Feature, Profile

MAX_NAME = 40

_CHECKS = {
    "missing": "missing",
    "absent": "absent",
    "unseen": "an unseen category",
    "out_of_range": "out of range",
    "not_finite": "not finite",
    "wrong_type": "of a wrong type",
    "oov": "of unknown words",
}


def for_profile(profile: Profile) -> Dashboard:
    """Build the dashboard of one model version: its predictions, then two panels for each of its features."""
    version_filter: Filter = {"ml.model.name": profile.model, "ml.model.version": profile.version}
    panels = [
        Panel(
            title="Where to go",
            chart="text",
            width=48,
            height=4,
            text="[Fleet](#/view/logging-lib-fleet) · [Model inputs](#/view/logging-lib-inputs) · "
            "[Investigate one prediction](#/view/logging-lib-investigate)\n\n"
            f"Trained on {profile.rows:,} rows; ticks and dashed lines are training's (profile {profile.id}).",
        ),
        Panel(title="Predictions", chart="metric", metric="count", filter=version_filter, width=12, height=6),
        Panel(
            title="Failed predictions · should be 0 %",
            chart="metric",
            formula="count(failed) / count()",
            where={"failed": {"event.outcome": "failure"}},
            format="percent",
            filter=version_filter,
            width=12,
            height=6,
        ),
        Panel(
            title="Applied another profile · should be 0 %",
            chart="metric",
            formula="count(other) / count()",
            where={"other": {"ml.profile.status": ["none", "mismatch"]}},
            format="percent",
            filter=version_filter,
            width=12,
            height=6,
        ),
        Panel(
            title="p95 latency",
            chart="metric",
            metric="percentile",
            percentile=95,
            field="event.duration",
            format="ns",
            filter=version_filter,
            width=12,
            height=6,
        ),
    ]
    if profile.prediction is not None:
        panels += _build_output_panels(profile.prediction, version_filter)
    names: dict[str, int] = {}
    for feature in profile.features.values():
        label = _make_unique_label(feature.name, names)
        panels.append(_build_bins_panel(feature, label, version_filter))
        panels.append(_build_checks_panel(feature, label, version_filter))
    model_version = f"{_shorten_name(profile.model)} {_shorten_name(profile.version)}"
    return Dashboard(
        id=model_id(profile.model, profile.version),
        title=f"ML model · {model_version}: each feature compared with training",
        description=f"Made from profile {profile.id} by logging-lib dashboards build.",
        period="24h",
        controls=("role", "service", "feature"),
        panels=tuple(panels),
    )


def model_id(model: str, version: str) -> str:
    """Return the id of a model version's dashboard: a readable part, and a hash of the exact names."""
    slug = re.sub(r"[^a-z0-9]+", "-", f"{model}-{version}".lower()).strip("-")[:MAX_NAME]
    digest = sha256(f"{model}\0{version}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"model-{slug}-{digest}" if slug else f"model-{digest}"


def _build_output_panels(output: Feature, version_filter: Filter) -> list[Panel]:
    if output.kind == "numeric" and output.moments is not None:
        mean, std = output.moments.mean, output.moments.std
        return [
            Panel(
                title="Mean prediction with its standard-error band · should be at training's mean",
                chart="line",
                metric="average",
                field="ml.prediction.value",
                band=True,
                references=(Reference(value=mean, label=f"training's mean {mean:.4g}"),),
                filter=version_filter,
            ),
            Panel(
                title="Standard deviation of predictions · should be at training's",
                chart="line",
                metric="std",
                field="ml.prediction.value",
                references=(Reference(value=std, label=f"training's {std:.4g}"),),
                filter=version_filter,
            ),
        ]
    return [
        Panel(
            title="Predicted classes · should keep their shares",
            chart="area",
            stack="share",
            split="ml.prediction.label",
            metric="count",
            size=20,
            filter=version_filter,
            width=48,
        )
    ]


def _build_bins_panel(feature: Feature, label: str, version_filter: Filter) -> Panel:
    bins = feature.expected_bins()
    total = sum(bins.values())
    return Panel(
        title=f"{label}: bins · should be at the ticks",
        description=f"{feature.kind}. Bars: the share of served predictions; ticks: of training rows.",
        chart="bins",
        feature=feature.name,
        training={name: count / total for name, count in bins.items()} if total else {},
        filter=version_filter,
    )


def _build_checks_panel(feature: Feature, label: str, version_filter: Filter) -> Panel:
    """Build the panel of shares that failed a check; expected rates above zero are lines."""
    expected_checks = [check for check in CHECKS if check in feature.expected]
    checks = expected_checks or ["missing", "absent"]
    return Panel(
        title=f"{label}: checks · should be on the dashed lines",
        description="The share of predictions in which the feature was "
        + ", ".join(_CHECKS[c] for c in checks),
        chart="line",
        metrics=tuple(
            Metric(label=check.replace("_", " "), formula=f"count({check}) / count()", format="percent")
            for check in checks
        ),
        where={check: {f"ml.check.{check}": feature.name} for check in checks},
        references=tuple(
            Reference(value=feature.expected[check].rate, label=f"{check.replace('_', ' ')}, expected")
            for check in expected_checks
            if feature.expected[check].rate > 0
        ),
        filter=version_filter,
    )


def _make_unique_label(name: str, uses: dict[str, int]) -> str:
    """Return a name for titles, from which ids are made: shortened, and still unique."""
    text = _shorten_name(name)
    number = uses[text] = uses.get(text, 0) + 1
    return text if number == 1 else f"{text} ({number})"


def _shorten_name(name: str) -> str:
    """Shorten a name for a title, and remove characters that control a terminal or the writing direction."""
    text = printable(name)
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"
