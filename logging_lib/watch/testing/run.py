"""Run unit tests of watches: compare a watch's findings in described streams with the expected ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from logging_lib._util.times import format_duration
from logging_lib.store.port import Store
from logging_lib.watch.backtest.asof import AsOf
from logging_lib.watch.errors import RunError
from logging_lib.watch.evaluate import Scripts, evaluate, run_dependencies
from logging_lib.watch.findings import Key, findings_of, key_of, with_findings
from logging_lib.watch.loading import with_sample_recipients
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Notification, RenderError
from logging_lib.watch.notify.registry import channel_of, render_settings
from logging_lib.watch.scripts import build_result
from logging_lib.watch.testing import streams
from logging_lib.watch.testing.cases import (
    START,
    Case,
    CaseError,
    ExpectedAlert,
    LoadedCaseFile,
    TimedExpectation,
)

NewStore = Callable[[], Store]
_BATCH = 10_000


@dataclass(frozen=True)
class CaseFailure:
    """A time of a case at which a watch found something else. ``diff`` has lines with ``-`` or ``+`` in front."""

    file: Path
    line: int
    case: str
    at: str
    diff: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.file}:{self.line}: {self.case}, at {self.at}", *(f"    {line}" for line in self.diff)]
        )


def run_file(
    loaded: LoadedCaseFile,
    watches: Mapping[str, Watch],
    new_store: NewStore,
    *,
    scripts: Scripts | None = None,
) -> Iterator[tuple[Case, list[CaseFailure]]]:
    """Run each case of a file in a separate store; yield the case and its failures.

    Args:
        watches: the watches by id.
        new_store: creates an empty store, into which a case's events are loaded once; it is closed afterwards.

    Raises:
        CaseError: the file names a watch that does not exist, or data that cannot be generated.
    """
    content = loaded.content
    if content.watch not in watches:
        raise CaseError(
            f"{loaded.file}: $.watch: there is no {content.watch!r}; there are {', '.join(watches)}"
        )
    try:
        generator = streams.DocumentGenerator(content, loaded.file.parent)
    except (ValueError, TypeError) as error:
        raise CaseError(f"{loaded.file}: $.profile: {error}") from error
    for case, line in zip(content.cases, loaded.lines, strict=True):
        (watch,) = with_sample_recipients(
            [_apply_case_metadata(watches[content.watch], case, loaded.file, line)]
        )
        store = new_store()
        try:
            _load_events(store, generator, loaded, case, line)
            yield case, list(_check_expectations(store, watch, loaded, case, line, scripts))
        finally:
            store.close()


def _apply_case_metadata(watch: Watch, case: Case, file: Path, line: int) -> Watch:
    """Return the watch with the case's metadata."""
    if not case.metadata:
        return watch
    definition = watch.definition.model_copy(update={"metadata": {**watch.metadata, **case.metadata}})
    unknown = [name for name in case.metadata if name not in watch.metadata]
    if unknown:
        raise CaseError(f"{file}:{line}: metadata: the watch {watch.id} has no {unknown[0]!r}")
    return Watch(watch.id, definition, watch.file)


def _load_events(
    store: Store, generator: streams.DocumentGenerator, loaded: LoadedCaseFile, case: Case, line: int
) -> None:
    documents_by_stream: dict[str, list[dict[str, Any]]] = {}
    if not case.without_profile:
        documents_by_stream["ml-profiles"] = [generator.profile_document(case.profile)]
    try:
        for stream_set in (loaded.content.common, case):
            for target, document in generator.documents(stream_set):
                documents_by_stream.setdefault(target, []).append(document)
    except (ValueError, TypeError) as error:
        raise CaseError(f"{loaded.file}:{line}: {case.name}: {error}") from error
    for target, documents in documents_by_stream.items():
        for begin in range(0, len(documents), _BATCH):
            result = store.index(target, documents[begin : begin + _BATCH])
            if result.failed:
                raise CaseError(f"{loaded.file}:{line}: {case.name}: {target}: {result.failed[0][1]}")
    store.refresh()


def _check_expectations(
    store: Store, watch: Watch, loaded: LoadedCaseFile, case: Case, line: int, scripts: Scripts | None
) -> Iterator[CaseFailure]:
    for expected in case.expect:
        try:
            diff = _compare_findings(AsOf(store), watch, loaded, expected, scripts)
        except (RunError, RenderError) as error:
            diff = [f"+ the watch failed: {error}"]
        if diff:
            yield CaseFailure(loaded.file, line, case.name, format_duration(expected.at), tuple(diff))


def _compare_findings(
    store: Store, watch: Watch, loaded: LoadedCaseFile, expected: TimedExpectation, scripts: Scripts | None
) -> list[str]:
    now: datetime = START + expected.at
    evaluation = evaluate(
        watch, dependencies=run_dependencies(store, now=now, scripts=scripts), now=now, scheduled=now
    )
    findings = findings_of(evaluation.payload) or [] if evaluation.met else []
    unexpected = {key_of(finding): finding for finding in findings}
    diff: list[str] = []
    for alert in expected.alerts:
        key = _expected_key(alert, loaded)
        match = next((finding_key for finding_key in unexpected if _matches(finding_key, alert, key)), None)
        if match is None:
            diff.append(f"- {_format_key(key)}")
            continue
        del unexpected[match]
        text = _render_texts(watch, evaluation.context, [f for f in findings if key_of(f) == match], now)
        diff += [
            f"- {_format_key(match)}: the message says {part!r}" for part in alert.says if part not in text
        ]
        if any(part not in text for part in alert.says):
            diff += [f"+ {line}" for line in text.splitlines()[:20]]
    diff += [f"+ {_format_key(key)}: {finding.get('what', '')}" for key, finding in unexpected.items()]
    if expected.notes is not None:
        result = evaluation.payload.get("result", {})
        notes = [str(note.get("reason")) for note in [*result.get("notes", ()), *result.get("skipped", ())]]
        diff += [f"- a note: {part}" for part in expected.notes if not any(part in note for note in notes)]
        if len(notes) > len(expected.notes):
            diff += [f"+ a note: {note}" for note in notes]
    return diff


def _expected_key(alert: ExpectedAlert, loaded: LoadedCaseFile) -> Key:
    model = loaded.content.model if alert.model is None else alert.model
    version = loaded.content.version if alert.version is None else alert.version
    return Key(model, version, alert.feature)


def _matches(finding_key: Key, alert: ExpectedAlert, key: Key) -> bool:
    """Return whether a finding is the expected one; model and version count if the case or the finding has them."""
    if finding_key.feature != key.feature:
        return False
    return (finding_key.model == key.model or (alert.model is None and not finding_key.model)) and (
        finding_key.version == key.version or (alert.version is None and not finding_key.version)
    )


def _format_key(key: Key) -> str:
    return " ".join(part for part in (key.model, key.version, key.feature) if part) or "the watch"


def _render_texts(
    watch: Watch, context: Mapping[str, Any], findings: list[dict[str, Any]], now: datetime
) -> str:
    """Render the subjects and texts of all notifications about these findings, to test the templates, too."""
    payload = with_findings(context["ctx"]["payload"], findings, build_result)
    alert_context = {"ctx": {**context["ctx"], "payload": payload}}
    parts = []
    for name, action in watch.actions.items():
        if channel_of(action).takes_text:
            draft = Notification(id=name, watch=watch.id, action=name, created_at=now)
            for notification in render_settings(action, alert_context, draft):
                html = str(notification.content.get("html") or "")
                parts += [notification.subject, notification.text, html]
    return "\n".join(parts)
