"""Which watches are taken and which are refused, and how the refusal reads."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from logging_lib._util import content
from logging_lib.watch.errors import WatchError
from logging_lib.watch.lint import lint_watch
from logging_lib.watch.loading import load_watches, parse_watch
from tests.watch.conftest import NOW, SCRIPTS, document, watch

SEARCH = "input.chain.inputs.0.window.search"
BODY = f"{SEARCH}.request.body"
DELETE = object()


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good watch with one place altered; ``~`` in a path stands for a dot in a key."""
    altered = deepcopy(document())
    *parents, last = [int(p) if p.isdecimal() else p.replace("~", ".") for p in path.split(".")]
    place: Any = altered
    for part in parents:
        place = place[part]
    if value is DELETE:
        del place[last]
    else:
        place[last] = value
    return altered


def problems(altered: Any) -> dict[str, str]:
    """Why a watch is refused; or, where Watcher takes it and the runner does, what lint says is wrong with it."""
    try:
        loaded = parse_watch(altered, id="bad", file="bad.json", scripts=SCRIPTS)
    except WatchError as error:
        refused = error.problems
    else:
        refused = ()
    if refused:
        assert {problem.file for problem in refused} == {"bad.json"}
        return {problem.path: problem.message for problem in refused}
    rules = ("unknown-variable", "ignored")
    return {found.path: found.message for found in lint_watch(loaded, now=NOW) if found.rule in rules}


def test_a_good_watch_becomes_typed_objects() -> None:
    """Times are durations, defaults are Watcher's."""
    loaded_watch = watch()
    assert loaded_watch.interval == timedelta(minutes=5)
    assert loaded_watch.throttle_period("email") == timedelta(hours=1)
    assert loaded_watch.title == "Test"
    assert [name for name, _ in loaded_watch.definition.input.chain.items()] == ["window", "result"]  # type: ignore[union-attr]
    bare = parse_watch({"trigger": {"schedule": {"interval": 60}}}, id="bare", scripts=())
    assert bare.interval == timedelta(minutes=1)
    assert bare.definition.condition.kind == "always"
    assert bare.definition.throttle_period == timedelta(seconds=5)


def test_shipped_watches_are_good() -> None:
    """Each file in watchers/ passes all checks against the shipped scripts."""
    watches = load_watches(content.path("watchers"))
    assert {"na-spike", "oov-rise", "unseen-categories"} <= {loaded.id for loaded in watches}


REFUSED = [
    ("inptu", {}, "$.inptu", "unknown field 'inptu'; did you mean 'input'?"),
    ("trigger.schedule", {"cron": "* * * * *"}, "$.trigger.schedule.cron", "has 5 fields: write seconds"),
    ("trigger.schedule", {"cron": "0 0 0 1 * MON"}, "$.trigger.schedule.cron", "'?' for exactly one of"),
    ("trigger.schedule", {"cron": "0 61 0 * * ?"}, "$.trigger.schedule.cron", "not between 0 and 59"),
    (
        "trigger.schedule",
        {"daily": {"at": "25:00"}},
        "$.trigger.schedule.daily.at.0.hour",
        "is not an hour between",
    ),
    ("trigger.schedule", {"daily": {"at": "5 pm"}}, "$.trigger.schedule.daily.at", "write hh:mm, 'noon'"),
    (
        "trigger.schedule",
        {"weekly": {"on": "someday"}},
        "$.trigger.schedule.weekly.0.on",
        "is not a day of the week",
    ),
    (
        "trigger.schedule",
        {"monthly": {"on": 33}},
        "$.trigger.schedule.monthly.0.on",
        "is not a day of a month",
    ),
    ("trigger.schedule", {"yearly": {"in": 13}}, "$.trigger.schedule.yearly.0.in", "is not a month"),
    (
        "trigger.schedule",
        {"daily": {}, "timezone": "Mars"},
        "$.trigger.schedule.timezone",
        "is not a time zone",
    ),
    ("trigger.schedule", {"interval": "1h", "timezone": "UTC"}, "$.trigger.schedule", "has no time zone"),
    ("trigger.schedule", {"interval": "1h", "daily": {}}, "$.trigger.schedule", "there is daily, interval"),
    ("trigger", DELETE, "$.trigger", "is required and missing"),
    ("trigger.schedule.interval", "5 minutes", "$.trigger.schedule.interval", "is not a duration"),
    ("trigger.schedule.interval", "0s", "$.trigger.schedule.interval", "at least one second"),
    ("trigger.schedule.interval", True, "$.trigger.schedule.interval", "is not an interval"),
    ("throttle_period", 5, "$.throttle_period", "is not a duration"),
    ("throttle_period", "1w", "$.throttle_period", "a whole number and a unit"),
    ("throttle_period_in_millis", -1, "$", "is not a whole number from 0 on"),
    ("actions.email.throttle_period_in_millis", 5, "$.actions.email", "not both"),
    (
        "input",
        {"http": {"request": {"url": "https://h/{{ctx.x}}"}}},
        "$.input.http.request",
        "is not a template",
    ),
    (
        "input",
        {"http": {"request": {"url": "ftp://h/"}}},
        "$.input.http.request",
        "is not an http:// or https://",
    ),
    ("input", {"http": {"request": {"url": "http://u:p@h/"}}}, "$.input.http.request", "into auth.basic"),
    ("input", {"http": {"request": {"host": "h", "proxy": {}}}}, "$.input.http.request.proxy", "HTTPS_PROXY"),
    (
        "input",
        {},
        "$.input",
        "give exactly one of none, simple, search, http, chain, transform; there is none",
    ),
    ("input", {"simple": {}, "none": {}}, "$.input", "there is none, simple"),
    ("input", {"search": None}, "$.input", "'search' is null"),
    ("condition", {"compare": None}, "$.condition", "'compare' is null"),
    (
        "condition",
        {"array_compare": {"ctx.a": {"eq": None}}},
        "$.condition.array_compare.ctx.a",
        "'eq' is null",
    ),
    ("trigger.schedule", {"hourly": None}, "$.trigger.schedule", "'hourly' is null"),
    ("actions.email.email", None, "$.actions.email", "'email' is null"),
    ("metadata.title", "\ud800", "$.metadata.title", "half of a surrogate pair"),
    ("actions.email.email.\udfff", "x", "$.actions.email.email", "half of a surrogate pair"),
    (
        "input.chain.inputs.0",
        {"a": {"none": {}}, "b": {"none": {}}},
        "$.input.chain",
        "each input of a chain",
    ),
    ("input.chain.inputs.0", {"result": {"none": {}}}, "$.input.chain", "have the same name"),
    (f"{SEARCH}.request.template", {"id": "x"}, f"{SEARCH}.request.template", "write its 'source'"),
    (f"{SEARCH}.request.template", {"source": {}}, f"{SEARCH}.request", "either 'body' or 'template'"),
    (f"{SEARCH}.request.body", DELETE, f"{SEARCH}.request", "either 'body' or 'template'"),
    (f"{SEARCH}.request.search_type", "dfs_query_then_fetch", f"{SEARCH}.request.search_type", "query_then_"),
    (
        f"{SEARCH}.request.indices_options",
        {"ignore_unavailable": False},
        f"{SEARCH}.request.indices_options.ignore_unavailable",
        "should be True",
    ),
    (f"{SEARCH}.request.indices", ["{{ctx.watch_id}}"], f"{SEARCH}.request.indices.0", "are not templates"),
    (f"{SEARCH}.request.indices", ["logs-ml.nothing-*"], BODY, "matches no dataset; there are logs-ml.pred"),
    (
        "input.chain.inputs.1.result.transform.script",
        {"id": "pass-throuhg"},
        "$.input.chain.inputs[1].result.transform.script.id",
        "no script 'pass-throuhg'; did you mean 'pass-through'?",
    ),
    (
        "input.chain.inputs.1.result.transform.script",
        {"source": "return [:]", "id": "x"},
        "$.input.chain.inputs[1].result.transform.script",
        "either 'source' or the 'id'",
    ),
    (
        "input.chain.inputs.1.result.transform.script",
        {"source": "x", "lang": "mustache"},
        "$.input.chain.inputs[1].result.transform.script",
        "write Painless",
    ),
    (
        "input.chain.inputs.1.result.transform.script",
        "x" * 70_000,
        "$.input.chain.inputs[1].result.transform.script",
        "70000 bytes",
    ),
    (f"{BODY}.query", {"termz": {"ml.model.name": "x"}}, f"{BODY}.query.termz", "did you mean 'term"),
    (
        f"{BODY}.query",
        {"term": {"ml.modl.name": "x"}},
        f"{BODY}.query.term.ml~modl~name",
        "no field 'ml.modl.n",
    ),
    (f"{BODY}.query", {"exists": {"field": "nope"}}, f"{BODY}.query.exists.field", "no field 'nope'"),
    (
        f"{BODY}.query",
        {"term": {"ml.label.value": 1}},
        f"{BODY}.query.term.ml~label~value",
        "logs-ml.label-*",
    ),
    (f"{BODY}.query", {"term": {"ml.input.other": 1}}, f"{BODY}.query.term.ml~input~other", "is not indexed"),
    (f"{BODY}.query", {"bool": {"musst": []}}, f"{BODY}.query.bool.musst", "did you mean 'must'"),
    (f"{BODY}.query", {}, f"{BODY}.query", "exactly one key"),
    (
        f"{BODY}.query.range.event~ingested.gt",
        "now-5minutes",
        f"{BODY}.query.range.event~ingested.gt",
        "date expression: 'now-5minutes'",
    ),
    (
        f"{BODY}.query.range.event~ingested.gt",
        "{{ctx.trigger.scheduled_time}}||-{{ctx.metadata.windows}}",
        f"{BODY}.query.range.event~ingested.gt",
        "write such as now-15m/m",
    ),
    (
        f"{BODY}.query.range.event~ingested",
        {"after": "now"},
        f"{BODY}.query.range.event~ingested.after",
        "no 'a",
    ),
    (f"{BODY}.aggs.models.terms.field", "ml.model.nam", f"{BODY}.aggs.models.terms.field", "ml.model.name"),
    (f"{BODY}.aggs.models.terms.field", "message", f"{BODY}.aggs.models.terms.field", "is text"),
    (f"{BODY}.aggs.models.sum", {"field": "x"}, f"{BODY}.aggs.models", "exactly one type"),
    (f"{BODY}.sort", [{"@timestmp": "asc"}], f"{BODY}.sort.0", "did you mean '@timestamp'"),
    (f"{BODY}._source", ["ml.modl"], f"{BODY}._source.0", "no field 'ml.modl'"),
    (f"{BODY}.min_score", "{{ctx.metadata.none}}", BODY, "metadata has no 'none': add it"),
    (f"{BODY}.min_score", "{{#ctx.metadata}}", BODY, "is never closed"),
    ("condition", {"script": {}}, "$.condition.script", "either 'source' or the 'id'"),
    ("condition", {"script": " "}, "$.condition.script.source", "the script is empty"),
    ("condition", {"sometimes": {}}, "$.condition.sometimes", "unknown field"),
    ("condition.compare", {"ctx.payload.result.count": {"above": 1}}, None, "unknown operator 'above'"),
    ("condition.compare", {"ctx.payload.result.count": {"gt": 1, "lt": 3}}, "$.condition", "one operator"),
    ("condition.compare", {"a": {"gt": 1}, "b": {"gt": 1}}, "$.condition", "exactly one path"),
    (
        "condition.compare",
        {"ctx.payload.jugded.count": {"gt": 1}},
        None,
        "the payload has only result, window",
    ),
    ("condition.compare", {"ctx.metadata.limit": {"gt": 1}}, None, "metadata has no 'limit'"),
    ("condition.compare", {"ctx.execution_time": {"gt": "<{now-5}>"}}, None, "date expression"),
    ("condition.compare", {"ctx.payload.result.count": {"gt": "{{ctx.metadata.limit}}"}}, None, "no 'limit'"),
    (
        "condition",
        {"array_compare": {"ctx.payload.result.findings": {"path": "n", "quantifier": "some"}}},
        None,
        "unknown field 'quantifier'",
    ),
    ("condition", {"array_compare": {"ctx.payload.result.findings": {"path": "n"}}}, None, "one operator"),
    ("actions.email.email.body", {}, "$.actions.email.email.body", "'text', 'html' or both"),
    ("actions.email.email.to", [], "$.actions.email.email", "needs a recipient"),
    (
        "actions.email.email.attachments",
        {"dashboard.pdf": {"reporting": {"url": "http://kibana"}}},
        "$.actions.email.email.attachments['dashboard.pdf'].reporting",
        "Kibana's reports are not made here",
    ),
    ("actions.email.email.account", "work", "$.actions.email.email.account", "LOGGING_LIB_SMTP_URL"),
    ("actions.email.email.subject", "{{ctx.metadata.nope}}", "$.actions.email.email.subject", "no 'nope'"),
    (
        "actions.email.email.subject",
        "{{ctx.trigger.time}}",
        "$.actions.email.email.subject",
        "scheduled_time",
    ),
    ("actions.email.email.subject", "{{payload.x}}", "$.actions.email.email.subject", "begin with 'ctx.'"),
    ("actions.email.email.subject", "{{ctx.foo}}", "$.actions.email.email.subject", "ctx has execution_time"),
    ("actions.email.email.body.html", "{{#a}}", "$.actions.email.email.body.html", "{{#a}} is never closed"),
    (
        "actions.email.max_iterations",
        5,
        "$.actions.email",
        "max_iterations is allowed only together with foreach",
    ),
    ("actions.email.foreach", "ctx.payload.nope", "$.actions.email.foreach", "has only result, window"),
    ("actions.email.jira", {}, "$.actions.email.jira", "use a webhook"),
    ("actions.email.slack", {"message": {"text": "x"}}, "$.actions.email", "exactly one of email, slack"),
    ("actions.slack.slack.message.text", DELETE, "$.actions.slack.slack.message", "'text', 'attachments'"),
    ("actions.slack.slack.message.text", "{{> x}}", "$.actions.slack.slack.message.text", "partials"),
    ("actions.slack.webhook", {}, "$.actions.slack.webhook.host", "'host' is required"),
    ("actions.slack", {"index": {"index": "<a-{now/d}>"}}, "$.actions.slack.index", "nor date math"),
    (
        "actions.slack",
        {"webhook": {"host": "h", "path": "/{{ctx.payload.nope}}"}},
        "$.actions.slack.webhook",
        "has only result, window",
    ),
]


@pytest.mark.parametrize(
    ("path", "value", "where", "message"), REFUSED, ids=[f"{r[0]}-{r[3]}" for r in REFUSED]
)
def test_a_watch_that_cannot_run_is_refused(path: str, value: Any, where: str | None, message: str) -> None:
    """Each refusal names the JSON path and the remedy."""
    messages = problems(changed(path, value))
    matching = {at: text for at, text in messages.items() if message in text}
    assert matching, messages
    if where is not None:
        assert dotted(where) in [dotted(at) for at in matching], messages


def dotted(path: str) -> str:
    return (
        path.replace("$.", "")
        .replace("['", ".")
        .replace("']", "")
        .replace("[", ".")
        .replace("]", "")
        .replace("~", ".")
    )


def test_all_problems_are_reported_at_once() -> None:
    """Three faults, three lines."""
    altered = changed("condition.compare", {"ctx.execution_time": {"gt": "<{now-5}>"}})
    altered["actions"]["email"]["email"]["subject"] = "{{#ctx.metadata.nope}}"
    altered["input"]["chain"]["inputs"][1]["result"]["transform"]["script"]["id"] = "nope"
    assert len(problems(altered)) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"metadata": {}, "metadata": {}}', "the key 'metadata' is given twice"),
        ('{"metadata": {"a": NaN}}', "NaN is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "valid dictionary"),
    ],
)
def test_a_file_that_is_not_a_json_object_is_refused(text: str, message: str) -> None:
    """A damaged file is named, never a traceback."""
    (problem,) = problems(text).values()
    assert message in problem


def test_optional_metadata_needs_a_section() -> None:
    """A section over a missing key prints nothing and is not a fault."""
    text = "{{#ctx.metadata.kibana}}{{ctx.metadata.kibana}}{{/ctx.metadata.kibana}}"
    assert parse_watch(changed("actions.email.email.subject", text), id="good", scripts=SCRIPTS)


def test_fields_outside_our_streams_are_the_users_own() -> None:
    """Only logs-ml.* has our schema."""
    altered = changed(f"{SEARCH}.request.indices", ["my-index"])
    altered["input"]["chain"]["inputs"][0]["window"]["search"]["request"]["body"]["sort"] = ["whatever"]
    assert parse_watch(altered, id="good", scripts=SCRIPTS)


def test_a_later_search_may_use_values_of_an_earlier_answer() -> None:
    """What only a run knows is taken as given, also as a date."""
    altered = document()
    later = deepcopy(altered["input"]["chain"]["inputs"][0]["window"])
    bounds = later["search"]["request"]["body"]["query"]["range"]["event.ingested"]
    bounds["gt"] = "{{ctx.payload.window.aggregations.first.value_as_string}}||-{{ctx.metadata.windows.0}}"
    altered["input"]["chain"]["inputs"].insert(1, {"later": later})
    assert parse_watch(altered, id="good", scripts=SCRIPTS)
    bounds["gt"] = "now-1h"
    later["search"]["request"]["body"]["timeout"] = "{{ctx.payload.later.first}}"
    assert any("the payload has only window" in message for message in problems(altered).values())


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    """The id is the file's stem; problems of all files come together."""
    (tmp_path / "b.json").write_text(json.dumps(document()))
    (tmp_path / "a.json").write_text(json.dumps(document()))
    (tmp_path / "README.md").write_text("not a watch")
    assert [loaded.id for loaded in load_watches(tmp_path, scripts=SCRIPTS)] == ["a", "b"]
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "c d.json").write_text(json.dumps(document()))
    with pytest.raises(WatchError) as caught:
        load_watches(tmp_path, scripts=SCRIPTS)
    assert [Path(problem.file).name for problem in caught.value.problems] == ["a.json", "c d.json"]


def test_an_empty_or_absent_folder_is_an_error(tmp_path: Path) -> None:
    """Watching nothing is never what was meant."""
    with pytest.raises(WatchError, match=r"no \*\.json"):
        load_watches(tmp_path)
    with pytest.raises(WatchError, match="no such file"):
        load_watches(tmp_path / "absent")
