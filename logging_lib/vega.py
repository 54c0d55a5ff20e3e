"""Draws Vega-Lite as SVG, whatever texts of logs are in it. Below all rooms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logging_lib.plain import in_xml

_LIMITS = frozenset({"labelLimit", "titleLimit", "limit"})


def svg(spec: Mapping[str, Any], **options: Any) -> str:
    """The drawing. Vega may cut a long text between the halves of a character beyond the basic plane, which the
    renderer refuses: then nothing is cut."""
    import vl_convert

    safe = _in_xml(spec)
    try:
        return str(vl_convert.vegalite_to_svg(safe, **options))
    except ValueError:
        return str(vl_convert.vegalite_to_svg(_unlimited(safe), **options))


def _in_xml(part: Any) -> Any:
    """Without the characters that XML lacks: at one of those the renderer ends the whole process."""
    if isinstance(part, str):
        return in_xml(part)
    if isinstance(part, Mapping):
        return {_in_xml(name): _in_xml(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_in_xml(each) for each in part]
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
    return [_without_limits(each) for each in part] if isinstance(part, list) else part
