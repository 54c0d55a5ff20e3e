"""Diagnose a Logstash by its node API: its health, queues and dead letters, and what Elasticsearch refused."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from logging_lib._util.formatting import format_bytes, format_count, format_percent, format_seconds
from logging_lib.stack.capabilities import OLDEST
from logging_lib.stack.doctor import DoctorFinding, DoctorFindings, FindingLevel
from logging_lib.store.connection import ConnectionSettings, read_settings
from logging_lib.store.port import StoreError
from logging_lib.watch.http import Call, CallError, HttpClient

PREFIX = "LOGGING_LIB_LOGSTASH_"
OURS = "ml_"
"""The prefix of all plugin ids in ``pipelines/``: a pipeline with such a plugin is ours, whatever its name."""
PAGE = "docs/operate-logstash.md"

FILLED, ALMOST_FULL = 0.5, 0.9
LONGEST_WAIT = 60.0  # seconds in a queue; batches leave a shorter backlog
MAX_REPEATED = 0.01  # share of the events: more than lost acknowledgements explain
MIN_REPEATED = 100
_EMPTY_SEGMENTS = 1024  # bytes of a segment without an event
_LONGEST = 30.0  # seconds that one answer may take
_WINDOWS = ("last_5_minutes", "last_1_minute", "current")  # the first one that this Logstash has is used

Json = Mapping[str, Any]


class _AnswerError(Exception):
    """An answer is not one that a Logstash gives."""


class _UnknownPathError(_AnswerError):
    """The server has no such API."""


def logstash_settings(
    environment: Mapping[str, str] = os.environ, *, url: str | None = None
) -> ConnectionSettings:
    """Read the settings from ``LOGGING_LIB_LOGSTASH_URL``, ``_USER``, ``_PASSWORD`` and ``_CA``.

    Raises:
        StoreError: a variable is wrong; the message names it and what to set.
    """
    settings = read_settings(environment, url=url, prefix=PREFIX, example="http://localhost:9600")
    if settings.ca is not None and not Path(settings.ca).is_file():
        raise StoreError(f"{PREFIX}CA: {settings.ca}: there is no such file")
    return settings


def diagnose_logstash(settings: ConnectionSettings) -> list[DoctorFinding]:
    """Report whether Logstash responds and is healthy, and the state of the queues and outputs of our pipelines."""
    findings: list[DoctorFinding] = []
    for check in (_root, _health, _pipelines):
        try:
            findings += check(settings)
        except (CallError, _AnswerError) as error:
            remedy = f"see {PAGE}; where api.http.host is not set, the API answers on 127.0.0.1 alone"
            findings.append(DoctorFinding(FindingLevel.ERROR, "Logstash", str(error), remedy))
            if check is _root:
                break
    return findings


def _ask(settings: ConnectionSettings, path: str) -> Json:
    """Request one document. Raise CallError or _AnswerError."""
    client = HttpClient(uses_netrc=False, longest=_LONGEST, ca=settings.ca, ca_setting=f"{PREFIX}CA")
    call = Call(method="GET", url=f"{settings.url}{path}", username=settings.user, password=settings.password)
    response = client(call)
    where = f"{settings.url}{path}"
    if response.status == 404:
        raise _UnknownPathError(f"{where}: answers 404; is it the API of a Logstash?")
    if response.status in (401, 403):
        raise _AnswerError(f"{where}: answers {response.status}; set {PREFIX}USER and {PREFIX}PASSWORD")
    if response.status != 200:
        raise _AnswerError(f"{where}: answers {response.status}")
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        raise _AnswerError(f"{where}: the answer is not JSON; is it the API of a Logstash?") from None
    return _mapping(document)


def _root(settings: ConnectionSettings) -> DoctorFindings:
    root = _ask(settings, "/")
    version = root.get("version")
    if not isinstance(version, str) or "http_address" not in root:
        raise _AnswerError(f"{settings.url}: is not the API of a Logstash")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    text = f"{settings.url}: Logstash {version}"
    if len(numbers) == 2 and numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        yield DoctorFinding(
            FindingLevel.WARNING, "Logstash", f"{text}: the pipelines need {oldest} or later", "upgrade Logstash"
        )  # fmt: skip
    else:
        yield DoctorFinding(FindingLevel.OK, "Logstash", text)


def _health(settings: ConnectionSettings) -> DoctorFindings:
    """Pass on what Logstash's own report says about each unhealthy pipeline."""
    try:
        report = _ask(settings, "/_health_report")
    except _UnknownPathError:
        yield DoctorFinding(
            FindingLevel.NOTE, "Logstash health", "this Logstash has no health report; 8.16 and later have one"
        )  # fmt: skip
        return
    unwell = [
        (name, _mapping(indicator))
        for name, indicator in _mapping(_path(report, "indicators", "pipelines", "indicators")).items()
        if _mapping(indicator).get("status") != "green"
    ]
    for name, indicator in unwell:
        diagnoses = [_mapping(diagnosis) for diagnosis in _list(indicator.get("diagnosis"))]
        causes = [str(diagnosis["cause"]) for diagnosis in diagnoses if "cause" in diagnosis]
        actions = [str(diagnosis["action"]) for diagnosis in diagnoses if "action" in diagnosis]
        status = str(indicator.get("status"))
        yield DoctorFinding(
            FindingLevel.ERROR if status == "red" else FindingLevel.WARNING, "Logstash health",
            f"pipeline {name:.100} is {status:.20}: {'; '.join(causes) or str(indicator.get('symptom', '')):.300}",
            f"{'; '.join(actions):.300}" or f"see {PAGE}",
        )  # fmt: skip
    if not unwell:
        yield DoctorFinding(FindingLevel.OK, "Logstash health", f"{report.get('status')!s:.20}")


def _pipelines(settings: ConnectionSettings) -> DoctorFindings:
    pipelines = _mapping(_ask(settings, "/_node/stats/pipelines").get("pipelines"))
    ours = {name: _mapping(stats) for name, stats in pipelines.items() if _is_ours(_mapping(stats))}
    if not ours:
        yield DoctorFinding(
            FindingLevel.ERROR, "Logstash pipelines", "none of its pipelines has our inputs and outputs",
            "install the pipelines (pipelines/README.md), and read Logstash's log if you did",
        )  # fmt: skip
        return
    receives = [name for name, stats in ours.items() if not _reads_dead_letters(stats)]
    for name, stats in ours.items():
        if name in receives:
            yield from _queue(name, stats)
        yield from _dead_letters(name, stats, is_last=name not in receives)
        yield from _output(name, stats)
    if len(receives) == len(ours):
        yield DoctorFinding(
            FindingLevel.ERROR, "Logstash pipelines",
            "no pipeline reads the dead letter queue: what Elasticsearch refuses stays on this disk, unseen",
            "run both pipelines of pipelines.yml",
        )  # fmt: skip


def _is_ours(stats: Json) -> bool:
    return any(
        str(plugin.get("id")).startswith(OURS)
        for kind in ("inputs", "outputs")
        for plugin in _plugins(stats, kind)
    )


def _reads_dead_letters(stats: Json) -> bool:
    return any(plugin.get("name") == "dead_letter_queue" for plugin in _plugins(stats, "inputs"))


def _queue(name: str, stats: Json) -> DoctorFindings:
    queue, check = _mapping(stats.get("queue")), "Logstash queue"
    if queue.get("type") != "persisted":
        yield DoctorFinding(
            FindingLevel.WARNING, check,
            f"of pipeline {name:.100} is in memory: a crash loses what shippers count as delivered",
            "set queue.type: persisted, as pipelines/pipelines.yml does",
        )  # fmt: skip
        return
    size, limit = _number(queue.get("queue_size_in_bytes")), _number(queue.get("max_queue_size_in_bytes"))
    events = _number(queue.get("events_count"))
    flow = _mapping(stats.get("flow"))
    growth, output = _rate(flow, "queue_persisted_growth_events"), _rate(flow, "output_throughput")
    text = f"of pipeline {name:.100} holds {format_count(events, 'event')}, {_format_share(size, limit)}"
    waits = events / output if output > 0 else math.inf if events else 0.0
    level = _fill_level(size, limit)
    if level is FindingLevel.OK and waits > LONGEST_WAIT and growth > 0:
        level = FindingLevel.WARNING
    if level is not FindingLevel.OK:
        growth_bytes = _rate(flow, "queue_persisted_growth_bytes")
        if growth > 0:
            text += f", and grows by {growth:.3g} events a second"
            if growth_bytes > 0 and limit > size:
                text += f": full in {format_seconds((limit - size) / growth_bytes)}"
        text += "; when it is full, shippers wait and keep events in their spools"
    yield DoctorFinding(
        level, check, text,
        "" if level is FindingLevel.OK else
        f"see {PAGE}: find out whether Elasticsearch or the filters are too slow, and add workers or nodes",
    )  # fmt: skip
    free = _path(queue, "data", "free_space_in_bytes")
    if free is not None and _number(free) < limit - size:
        yield DoctorFinding(
            FindingLevel.WARNING, check,
            f"of pipeline {name:.100} may take {format_bytes(limit - size)} more, and the disk has "
            f"{format_bytes(_number(free))}: a full disk stops the pipeline",
            "free space, or lower queue.max_bytes",
        )  # fmt: skip


def _dead_letters(name: str, stats: Json, *, is_last: bool) -> DoctorFindings:
    """Check a pipeline's dead letter queue.

    Args:
        is_last: nothing reads this queue, because it belongs to the pipeline that reads the other one.
    """
    check = "Logstash dead letters"
    if "dead_letter_queue" not in stats:
        yield DoctorFinding(
            FindingLevel.WARNING, check,
            f"pipeline {name:.100} has no dead letter queue: what Elasticsearch refuses is only logged, and lost",
            "set dead_letter_queue.enable: true, as pipelines/pipelines.yml does",
        )  # fmt: skip
        return
    letters = _mapping(stats["dead_letter_queue"])
    size, limit = _number(letters.get("queue_size_in_bytes")), _number(letters.get("max_queue_size_in_bytes"))
    dropped, expired = _number(letters.get("dropped_events")), _number(letters.get("expired_events"))
    remedy = f"see {PAGE}: have them read or removed, and raise dead_letter_queue.max_bytes"
    level = _fill_level(size, limit)
    if dropped or expired:
        lost = " and ".join(
            f"{format_count(number, 'event')} {how}"
            for number, how in (
                (dropped, "dropped since the queue is full"),
                (expired, "removed for their age"),
            )
            if number
        )
        error = str(letters.get("last_error", "no errors"))
        cause = "" if error == "no errors" else f" ({error:.200})"
        yield DoctorFinding(
            FindingLevel.ERROR, check, f"of pipeline {name:.100}: {lost} since Logstash started{cause}", remedy
        )  # fmt: skip
    if is_last and level is FindingLevel.OK and size > _EMPTY_SEGMENTS:
        yield DoctorFinding(
            FindingLevel.WARNING, check,
            f"of pipeline {name:.100}: {format_bytes(size)} were refused even as dead letters; nothing reads them",
            f"see {PAGE}",
        )  # fmt: skip
    elif level is not FindingLevel.OK or not (dropped or expired):
        text = f"of pipeline {name:.100} take {_format_share(size, limit)}"
        yield DoctorFinding(level, check, text, "" if level is FindingLevel.OK else remedy)


def _output(name: str, stats: Json) -> DoctorFindings:
    """Check Elasticsearch's answers: 409 is a second delivery, or an id that is not unique."""
    for plugin in _plugins(stats, "outputs"):
        documents = _mapping(plugin.get("documents"))
        if not documents:
            continue
        stored, repeated = (
            _number(documents.get("successes")),
            _number(documents.get("non_retryable_failures")),
        )
        refused = _number(documents.get("dlq_routed"))
        total = stored + repeated + refused
        text = f"of pipeline {name:.100} since Logstash started: {format_count(stored, 'event')} stored"
        if refused:
            text += f", {format_count(refused, 'event')} refused and put into the dead letter queue"
        if repeated:
            share = format_percent(repeated / total)
            text += (
                f", {format_count(repeated, 'event')} not stored ({share}), since the id was there already"
            )
        if repeated >= MIN_REPEATED and repeated > MAX_REPEATED * total:
            yield DoctorFinding(
                FindingLevel.WARNING, "Logstash output", text,
                "a shipper sends again and again, or event ids are not unique, and then events are lost: "
                f"see {PAGE}",
            )  # fmt: skip
        else:
            yield DoctorFinding(FindingLevel.NOTE if refused else FindingLevel.OK, "Logstash output", text)


# --- reading answers in which any part may be missing or have another type


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _path(value: Any, *keys: str) -> Any:
    for key in keys:
        value = _mapping(value).get(key)
    return value


def _number(value: Any) -> float:
    """Return a finite number: Logstash may report a rate as ``"Infinity"`` or ``null``."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if is_number else 0.0


def _plugins(stats: Json, kind: str) -> Iterator[Json]:
    for plugin in _list(_path(stats, "plugins", kind)):
        yield _mapping(plugin)


def _rate(flow: Json, metric: str) -> float:
    rates = _mapping(flow.get(metric))
    return next((_number(rates[window]) for window in _WINDOWS if window in rates), 0.0)


def _fill_level(size: float, limit: float) -> FindingLevel:
    if not limit or size < FILLED * limit:
        return FindingLevel.OK
    return FindingLevel.WARNING if size < ALMOST_FULL * limit else FindingLevel.ERROR


def _format_share(size: float, limit: float) -> str:
    return f"{format_bytes(size)}" + (f" of {format_bytes(limit)}" if limit else "")
