"""Runs unit tests of watches: what a watch finds at given times of described streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from logging_lib.store.port import Store
from logging_lib.watch.engine.evaluate import Scripts, evaluate, means_of
from logging_lib.watch.errors import RunError
from logging_lib.watch.messages import Email, MessageError, Slack, compose
from logging_lib.watch.model import Watch
from logging_lib.watch.replay.asof import AsOf
from logging_lib.watch.runner import incidents
from logging_lib.watch.scripts import build_result
from logging_lib.watch.times import format_duration
from logging_lib.watch.unit import streams
from logging_lib.watch.unit.cases import START, Alert, Case, CaseError, Expected, Loaded

NewStore = Callable[[], Store]
_BATCH = 10_000


@dataclass(frozen=True)
class Failure:
    """A time of a case at which a watch found something else. ``diff``: lines that begin with ``-`` or ``+``."""

    file: Path
    line: int
    case: str
    at: str
    diff: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.file}:{self.line}: {self.case}, at {self.at}", *(f"    {d}" for d in self.diff)]
        )


def run_file(
    loaded: Loaded, watches: Mapping[str, Watch], new_store: NewStore, *, scripts: Scripts | None = None
) -> Iterator[tuple[Case, list[Failure]]]:
    """Run each case of a file in a store of its own; what failed, a case.

    Args:
        watches: by id.
        new_store: makes an empty store; the events are loaded into it once a case, and it is closed after it.

    Raises:
        CaseError: the file names a watch that is not there, or data that cannot be made.
    """
    content = loaded.content
    if content.watch not in watches:
        raise CaseError(
            f"{loaded.file}: $.watch: there is no {content.watch!r}; there are {', '.join(watches)}"
        )
    try:
        maker = streams.Maker(content, loaded.file.parent)
    except (ValueError, TypeError) as error:
        raise CaseError(f"{loaded.file}: $.profile: {error}") from error
    for case, line in zip(content.cases, loaded.lines, strict=True):
        watch = _changed(watches[content.watch], case, loaded.file, line)
        store = new_store()
        try:
            _fill(store, maker, loaded, case, line)
            yield case, list(_run(store, watch, loaded, case, line, scripts))
        finally:
            store.close()


def _changed(watch: Watch, case: Case, file: Path, line: int) -> Watch:
    """The watch with the case's metadata."""
    if not case.metadata:
        return watch
    definition = watch.definition.model_copy(update={"metadata": {**watch.metadata, **case.metadata}})
    unknown = [name for name in case.metadata if name not in watch.metadata]
    if unknown:
        raise CaseError(f"{file}:{line}: metadata: the watch {watch.id} has no {unknown[0]!r}")
    return Watch(watch.id, definition, watch.file)


def _fill(store: Store, maker: streams.Maker, loaded: Loaded, case: Case, line: int) -> None:
    waiting: dict[str, list[dict[str, Any]]] = {}
    if not case.without_profile:
        waiting["ml-profiles"] = [maker.profile_document(case.profile)]
    try:
        for described in (loaded.content.common, case):
            for target, document in maker.documents(described):
                waiting.setdefault(target, []).append(document)
    except (ValueError, TypeError) as error:
        raise CaseError(f"{loaded.file}:{line}: {case.name}: {error}") from error
    for target, documents in waiting.items():
        for begin in range(0, len(documents), _BATCH):
            result = store.index(target, documents[begin : begin + _BATCH])
            if result.failed:
                raise CaseError(f"{loaded.file}:{line}: {case.name}: {target}: {result.failed[0][1]}")
    store.refresh()


def _run(
    store: Store, watch: Watch, loaded: Loaded, case: Case, line: int, scripts: Scripts | None
) -> Iterator[Failure]:
    for expected in case.expect:
        try:
            diff = _compare(AsOf(store), watch, loaded, expected, scripts)
        except (RunError, MessageError) as error:
            diff = [f"+ the watch failed: {error}"]
        if diff:
            yield Failure(loaded.file, line, case.name, format_duration(expected.at), tuple(diff))


def _compare(
    store: Store, watch: Watch, loaded: Loaded, expected: Expected, scripts: Scripts | None
) -> list[str]:
    now: datetime = START + expected.at
    done = evaluate(watch, means=means_of(store, now=now, scripts=scripts), now=now, scheduled=now)
    found = incidents.find(done.payload) or [] if done.met else []
    waiting = {incidents.key_of(finding): finding for finding in found}
    diff: list[str] = []
    for alert in expected.alerts:
        key = _key(alert, loaded)
        match = next((each for each in waiting if _matches(each, alert, key)), None)
        if match is None:
            diff.append(f"- {_named(key)}")
            continue
        del waiting[match]
        text = _texts(watch, done.context, [f for f in found if incidents.key_of(f) == match], now)
        diff += [f"- {_named(match)}: the message says {part!r}" for part in alert.says if part not in text]
        if any(part not in text for part in alert.says):
            diff += [f"+ {line}" for line in text.splitlines()[:20]]
    diff += [f"+ {_named(key)}: {finding.get('what', '')}" for key, finding in waiting.items()]
    if expected.notes is not None:
        result = done.payload.get("judged", {})
        notes = [str(note.get("reason")) for note in [*result.get("notes", ()), *result.get("skipped", ())]]
        diff += [f"- a note: {part}" for part in expected.notes if not any(part in note for note in notes)]
        if len(notes) > len(expected.notes):
            diff += [f"+ a note: {note}" for note in notes]
    return diff


def _key(alert: Alert, loaded: Loaded) -> incidents.Key:
    model = loaded.content.model if alert.model is None else alert.model
    version = loaded.content.version if alert.version is None else alert.version
    return incidents.Key(model, version, alert.feature)


def _matches(found: incidents.Key, alert: Alert, key: incidents.Key) -> bool:
    """Model and version are compared where the case names them, or the finding has them."""
    if found.feature != key.feature:
        return False
    return (found.model == key.model or (alert.model is None and not found.model)) and (
        found.version == key.version or (alert.version is None and not found.version)
    )


def _named(key: incidents.Key) -> str:
    return " ".join(part for part in (key.model, key.version, key.feature) if part) or "the watch"


def _texts(watch: Watch, context: Mapping[str, Any], findings: list[dict[str, Any]], now: datetime) -> str:
    """Subject and texts of all messages about these findings: the templates are tested, too."""
    payload = incidents.with_findings(context["ctx"]["payload"], findings, build_result)
    about = {"ctx": {**context["ctx"], "payload": payload}}
    parts = []
    for name, action in watch.actions.items():
        for message in compose(name, action, about, now):
            if isinstance(message, Email):
                parts += [message.subject, message.text or "", message.html or ""]
            elif isinstance(message, Slack):
                parts.append(message.text or "")
    return "\n".join(parts)
