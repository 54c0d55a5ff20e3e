"""The rendering of Vega-Lite as SVG, which is safe for any text from logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logging_lib._util.text import valid_xml

_LIMITS = frozenset({"labelLimit", "titleLimit", "limit"})


def svg(spec: Mapping[str, Any], **options: Any) -> str:
    """Render a specification as SVG.

    Vega can cut a long text between the two halves of a character beyond the basic plane, which the renderer
    refuses. If that happens, texts are not cut.
    """
    import vl_convert

    safe = _valid_xml(spec)
    try:
        return str(vl_convert.vegalite_to_svg(safe, **options))
    except ValueError:
        return str(vl_convert.vegalite_to_svg(_unlimited(safe), **options))


def _valid_xml(part: Any) -> Any:
    if isinstance(part, str):
        return valid_xml(part)
    if isinstance(part, Mapping):
        return {_valid_xml(name): _valid_xml(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_valid_xml(item) for item in part]
    return part


def _unlimited(spec: Mapping[str, Any]) -> dict[str, Any]:
    config = dict(spec.get("config", {}))
    for part in ("axis", "legend", "header", "title"):
        config[part] = {**config.get(part, {}), **dict.fromkeys(_LIMITS, 0)}
    return {**_without_limits(spec), "config": config}


def _without_limits(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {
            name: value if name == "data" else 0 if name in _LIMITS else _without_limits(value)
            for name, value in part.items()
        }
    return [_without_limits(item) for item in part] if isinstance(part, list) else part
