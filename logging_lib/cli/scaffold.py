"""Write the first files of a new project: ``profile.yml``, a service's snippet and ``.env``."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

PROFILE: Final = "profile.yml"
SERVICE: Final = "prediction_service.py"
ENVIRONMENT: Final = ".env"

FRAMEWORKS: Final = {"fastapi": "FastAPI", "flask": "Flask", "django": "Django", "celery": "Celery"}
"""In order of preference: in a project with a web service, Celery does that service's background work."""
NO_FRAMEWORK: Final = "none"

MAX_FILES: Final = 2000
MAX_BYTES: Final = 200_000
_SKIPPED_FOLDERS = frozenset({"__pycache__", "build", "dist", "env", "node_modules", "site-packages", "venv"})
_REQUIREMENTS = re.compile(
    r"(.*/)?(requirements/[^/]*|[^/]*requirements[^/]*)\.(txt|in)|(.*/)?(pyproject\.toml|setup\.(cfg|py)|Pipfile)"
)
_COMMENT = re.compile(r"#.*")
_IN_REQUIREMENTS = re.compile(rf"(?<![\w.-])({'|'.join(FRAMEWORKS)})(?![\w.-])", re.IGNORECASE)
_IN_CODE = re.compile(rf"^[ \t]*(?:from|import)[ \t]+({'|'.join(FRAMEWORKS)})\b", re.MULTILINE)

_SETTINGS: Final = {
    "time": "time: issued_at  # when a row happened: alerts then know how much traffic varies by itself",
    "timezone": "timezone: Europe/Berlin  # whose hours and weekdays traffic follows",
    "exclude": "exclude: [row_number]  # columns that the service does not receive",
    "na_values": 'na_values: ["", "NA", "?"]  # spellings of a missing value',
    "features": """\
features:
  homeownership: {values: [RENT, OWN, MORTGAGE]}  # the allowed values, whatever training had
  annual_income: {range: [0, 1000000], nullable: false}  # the allowed range; never missing
  zip: {kind: category}  # numeric, category, text, boolean, date or vector
  ssn: {hidden: true}  # keep no value of it""",
}
"""The settings of ``profile.yml``, with an example of each."""


def find_frameworks(folder: Path) -> dict[str, str]:
    """Find the frameworks that a project names in its requirements or imports.

    Returns:
        Framework → the file that names it, in the order of ``FRAMEWORKS``.
    """
    named: dict[str, str] = {}
    for path in _list_sources(folder):
        name = path.relative_to(folder).as_posix()
        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
        is_code = _REQUIREMENTS.fullmatch(name) is None
        for framework in (
            _IN_CODE.findall(text) if is_code else _IN_REQUIREMENTS.findall(_COMMENT.sub("", text))
        ):
            named.setdefault(framework.lower(), name)
    return {framework: named[framework] for framework in FRAMEWORKS if framework in named}


def _list_sources(folder: Path) -> Iterator[Path]:
    """List requirements and Python files, except those of virtual environments; at most ``MAX_FILES``."""
    count = 0
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS
        )
        if "pyvenv.cfg" in names:
            folders.clear()
            continue
        for name in sorted(names):
            path = Path(directory, name)
            if name == SERVICE or not (
                name.endswith(".py") or _REQUIREMENTS.fullmatch(path.relative_to(folder).as_posix())
            ):
                continue
            count += 1
            if count > MAX_FILES:
                return
            yield path


def render_service(framework: str, *, model: str, version: str) -> str:
    """Render the snippet of a service for a framework of ``FRAMEWORKS``, or ``none``."""
    return string.Template(_read(framework)).substitute(model=_quote(model), version=_quote(version))


def render_environment() -> str:
    """Render ``.env``, which sets nothing yet."""
    return _read("env")


def render_config(draft: str) -> str:
    """Render ``profile.yml``.

    Args:
        draft: advice from the training data, as ``profile.notes.draft_config`` writes it, or empty. Settings that
            it lacks follow as comments.
    """
    missing = [
        text for key, text in _SETTINGS.items() if not re.search(rf"^(# )?{key}:", draft, re.MULTILINE)
    ]
    if not missing:
        return draft
    lines = ["# What else can be set; remove the # of what you need.", *"\n".join(missing).splitlines()]
    return (
        (draft or _read("profile"))
        + "\n"
        + "\n".join([lines[0], *(f"# {line}" for line in lines[1:])])
        + "\n"
    )


def _read(name: str) -> str:
    return files("logging_lib.cli").joinpath("templates", f"{name}.txt").read_text("utf-8")


def _quote(text: str) -> str:
    """Quote a text for Python in the style of ruff and black."""
    quoted = repr(text)
    return f'"{quoted[1:-1]}"' if quoted.startswith("'") and '"' not in quoted else quoted
