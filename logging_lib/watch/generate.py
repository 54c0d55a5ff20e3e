"""Compile ``watchers/*.yml`` to the watches beside them, and list all watches in the folder's README.

``python -m logging_lib.watch.generate [--check] [ROOT]``

A watch without a ``*.yml`` is written by hand: it is listed but not changed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from logging_lib._util.times import parse_duration
from logging_lib.html.pages import read_mail_style
from logging_lib.watch.loading import load_watch, parse_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.searches import build_searches
from logging_lib.watch.spec import Spec, load_specs

FOLDER = "watchers"
RUNBOOKS = "docs/runbooks"
MESSAGES = "templates/messages.yml"
_BEGIN, _END = "<!-- generated: the watches -->", "<!-- end of what is generated -->"
MAX_THROTTLE_PERIOD, MAX_THROTTLE_TIMES = timedelta(days=7), 4
"""The throttle period of a lasting incident doubles up to a week, or up to this multiple of the first period."""
_MONTH = timedelta(days=30)
_STEPS = "## First steps\n\n"
_STEP, _EMPHASIS = re.compile(r"\d+\. "), re.compile(r"`|(?<!\S)\*(?=\w)|(?<=\w)\*(?!\S)")


def compile_watch(
    spec: Spec, messages: Mapping[str, Any], total_weight: float, steps: Sequence[str] = ()
) -> dict[str, Any]:
    """Compile a spec to a watch, in Watcher's JSON.

    Args:
        messages: the actions of all watches.
        total_weight: the sum of ``budget_weight`` over all watches, which together raise one false alarm for each
            model and month.
        steps: the first steps of the runbook, see ``read_steps``.
    """
    searches = [{name: search} for name, search in build_searches(spec).items()]
    script = {"transform": {"script": {"id": spec.script}}}
    words = {
        "${causes}": spec.causes,
        "${throttle_period}": spec.throttle_period,
        "${style}": read_mail_style().rstrip("\n"),
    }
    return {
        "metadata": _build_metadata(spec, total_weight, steps),
        "trigger": {"schedule": {"interval": spec.every}},
        "input": {"chain": {"inputs": [*searches, {"result": script}]}},
        "condition": {"compare": {"ctx.payload.result.count": {"gt": 0}}},
        "actions": _fill(messages, words),
    }


def sum_weights(specs: Iterable[Spec]) -> float:
    """Sum the ``budget_weight`` of specs; a spec with a limit and without a budget has none."""
    return float(sum(spec.settings.get("budget_weight", 0) for spec in specs))


def read_steps(runbook: str) -> list[str]:
    """Read the first steps of a runbook as plain text, for messages that cannot link to it."""
    section = runbook.partition(_STEPS)[2].partition("\n\n")[0]
    return [_EMPHASIS.sub("", _STEP.sub("", line, count=1)) for line in section.splitlines()]


def _build_metadata(spec: Spec, total_weight: float, steps: Sequence[str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"title": spec.title, "concern": spec.concern, "related": spec.related}
    if spec.of_models:
        metadata["model"] = "*"
    for name, value in spec.settings.items():
        if name == "budget_weight":
            metadata["false_alarms_per_model_month"] = round(value / total_weight, 6)
            metadata["ticks_per_month"] = _MONTH // parse_duration(spec.every)
        else:
            metadata[name] = value
    return {
        **metadata,
        "min_severity": spec.min_severity,
        "max_throttle_period": f"{_choose_longest_throttle(spec).days}d",
        "email_to": "",
        "slack_to": "",
        "kibana_url": "",
        "data_view": f"logging-lib-data-{spec.discover}",
        "report_url": "",
        "runbook_base_url": "",
        "runbook_page": f"runbooks/{spec.id}/",
        "runbook": f"{RUNBOOKS}/{spec.id}.md",
        "steps": list(steps),
    }


def _choose_longest_throttle(spec: Spec) -> timedelta:
    return max(MAX_THROTTLE_PERIOD, parse_duration(spec.throttle_period) * MAX_THROTTLE_TIMES)


def _fill(template: Any, words: Mapping[str, str]) -> Any:
    if isinstance(template, Mapping):
        return {name: _fill(part, words) for name, part in template.items()}
    if isinstance(template, list):
        return [_fill(part, words) for part in template]
    if isinstance(template, str):
        for name, word in words.items():
            template = template.replace(name, word)
    return template


def format_table(watches: list[Watch]) -> str:
    """Format the watches as a Markdown table, for ``watchers/README.md``."""
    lines = ["| watch | concern | schedule | script | runbook |", "|---|---|---|---|---|"]
    for watch in watches:
        scripts = ", ".join(f"`{name}`" for name in _find_scripts(watch))
        runbook = str(watch.metadata.get("runbook", ""))
        link = f"[{watch.id}](../{runbook})" if runbook.startswith("docs/") else runbook
        concern = str(watch.metadata.get("concern", watch.title)).replace("|", "\\|")
        lines.append(f"| `{watch.id}` | {concern} | {watch.schedule_text} | {scripts} | {link} |")
    return "\n".join(lines)


def _find_scripts(watch: Watch) -> list[str]:
    """Return the ids of the stored scripts of a watch's chain."""
    chain = watch.definition.input.chain
    steps = [step for _, step in chain.items()] if chain is not None else []
    scripts = [step.transform.script for step in steps if step.transform is not None]
    return [script.id for script in scripts if script is not None and script.id is not None]


def build_outputs(root: Path) -> dict[str, str]:
    """Build the generated files: path below the project's root → content.

    Raises:
        ValueError: a spec, a watch that was compiled from it, or one written by hand is wrong; or the README has no
            place for the list.
    """
    folder = root / FOLDER
    messages = yaml.safe_load((folder / MESSAGES).read_text("utf-8"))
    contents: dict[str, str] = {}
    watches: list[Watch] = []
    specs = load_specs(folder)
    total_weight = sum_weights(specs)
    for spec in specs:
        runbook = root / RUNBOOKS / f"{spec.id}.md"
        steps = read_steps(runbook.read_text("utf-8")) if runbook.is_file() else ()
        watch = compile_watch(spec, messages, total_weight, steps)
        text = json.dumps(watch, indent=2, ensure_ascii=False) + "\n"
        watches.append(parse_watch(text, id=spec.id, file=f"{folder / spec.id}.yml, compiled"))
        contents[f"{FOLDER}/{spec.id}.json"] = text
    by_hand = [file for file in folder.glob("*.json") if f"{FOLDER}/{file.name}" not in contents]
    watches += [load_watch(file) for file in by_hand]
    watches.sort(key=lambda watch: watch.id)
    readme = (folder / "README.md").read_text("utf-8")
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{FOLDER}/README.md: lacks the lines {_BEGIN} and {_END}")
    contents[f"{FOLDER}/README.md"] = f"{before}{begin}\n\n{format_table(watches)}\n\n{end}{after}"
    return contents


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    root = Path(next((argument for argument in arguments if not argument.startswith("-")), "."))
    try:
        contents = build_outputs(root)
    except ValueError as error:
        print(error)
        return 1
    stale = 0
    for name, content in contents.items():
        path = root / name
        if path.exists() and path.read_text("utf-8") == content:
            continue
        stale += 1
        if not check:
            path.write_text(content, "utf-8")
        remedy = "differs from its *.yml; run `make generate`" if check else "brought up to date"
        print(f"{name}: {remedy}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
