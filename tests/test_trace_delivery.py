"""The path from a finding to a delivered mail stays short: counted on a real run."""

from __future__ import annotations

from tools.trace_delivery import Leg, public_types, show, trace


def test_a_watch_run_passes_few_modules_and_types() -> None:
    """At most 40 modules, and 6 types from the finding to SMTP; the mail arrives."""
    legs, subjects = trace()
    run = next(leg for leg in legs if leg.name == "watch run")
    assert len(subjects) == 1
    assert "loans v3: home" in subjects[0]
    assert len(run.modules) <= 40, sorted(run.modules)
    assert 1 < len(public_types(run)) <= 6, public_types(run)
    lines: list[str] = []
    show(legs, subjects, names=True, write=lambda text: lines.append(str(text)))
    assert any(line.startswith("types from the finding to SMTP: ") for line in lines)
    assert "logging_lib.watch.runner" in lines[-1]


def test_private_types_are_not_counted() -> None:
    """They are known to one module only."""
    assert public_types(Leg("x", types={"_Stack", "Alert"})) == ["Alert"]
