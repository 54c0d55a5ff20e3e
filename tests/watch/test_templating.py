"""Watcher's Mustache: paths, functions, escaping by medium, hostile values."""

from __future__ import annotations

import contextlib
import json
from timeit import timeit
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logging_lib.watch.notify.slack import MARKUP
from logging_lib.watch.templating import Medium, TemplateError, render, render_json
from tests.watch.conftest import document

HOSTILE = "<script>alert(1)</script> <!channel> <@U1|x> & \" ' \\ {{ctx.secret}} \x1b[31m \u202e"
CONTEXT: dict[str, Any] = {
    "ctx": {
        "secret": "s3cret",
        "text": HOSTILE,
        "metadata": {"windows": ["15m", "1h"], "none": None, "zero": 0, "no": False, "empty": ""},
        "payload": {"findings": [{"feature": "a", "n": 1.5}, {"feature": "b", "n": True}], "one": {"k": "v"}},
    }
}

MEDIA = [Medium.JSON, Medium.TEXT, Medium.HTML, Medium.HEADER, Medium.URL, MARKUP]


def text(template: str, medium: Medium = Medium.TEXT) -> str:
    return render(template, CONTEXT, medium)


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("{{ctx.metadata.windows.1}}", "1h"),
        ("{{ctx.metadata.windows.2}}|{{ctx.metadata.none}}|{{ctx.nothing.at.all}}", "||"),
        ("{{ctx.metadata.windows.size}}", "2"),
        ("{{ctx.payload.findings.0.feature}}", "a"),
        ("{{ctx.metadata.windows}} {{ctx.payload.one}}", "{0=15m, 1=1h} {k=v}"),
        ("{{ctx.payload.findings.1.n}} {{ctx.metadata.no}}", "true false"),
        ("{{#ctx.payload.findings}}{{feature}}={{n}};{{/ctx.payload.findings}}", "a=1.5;b=true;"),
        ("{{#ctx.payload.one}}{{k}}{{/ctx.payload.one}}", "v"),
        ("{{#ctx.metadata.windows}}<{{.}}>{{/ctx.metadata.windows}}", "<15m><1h>"),
        ("{{#ctx.metadata.no}}x{{/ctx.metadata.no}}{{^ctx.metadata.no}}y{{/ctx.metadata.no}}", "y"),
        ("{{#ctx.metadata.zero}}x{{/ctx.metadata.zero}}{{^ctx.metadata.zero}}y{{/ctx.metadata.zero}}", "x"),
        (
            "{{#ctx.metadata.empty}}x{{/ctx.metadata.empty}}{{^ctx.metadata.empty}}y{{/ctx.metadata.empty}}",
            "y",
        ),
        ("{{#toJson}}ctx.payload.one{{/toJson}}", '{"k":"v"}'),
        ("{{#join}}ctx.metadata.windows{{/join}}", "15m,1h"),
        ("{{#join delimiter=' or '}}ctx.metadata.windows{{/join delimiter=' or '}}", "15m or 1h"),
        ("{{#url}}a b/{{ctx.metadata.windows.0}}&é{{/url}}", "a%20b%2F15m%26%C3%A9"),
        ("{{! a comment }}x", "x"),
        ("a\n{{#ctx.metadata.windows}}\n- {{.}}\n{{/ctx.metadata.windows}}\nb", "a\n- 15m\n- 1h\nb"),
    ],
)
def test_templates_follow_watchers_dialect(template: str, rendered: str) -> None:
    """Paths go through lists, sections repeat, Watcher's functions exist, values print as in Watcher."""
    assert text(template) == rendered


def test_values_are_escaped_for_html() -> None:
    """Nothing of a value is markup, in double or triple braces or through a function."""
    for tag in ("{{ctx.text}}", "{{{ctx.text}}}", "{{&ctx.text}}", "{{#toJson}}ctx.text{{/toJson}}"):
        rendered = text(f"<b>{tag}</b>", Medium.HTML)
        assert rendered.startswith("<b>")
        assert "<script>" not in rendered
        assert "&lt;script&gt;" in rendered


def test_values_cannot_call_people_in_slack() -> None:
    """<!channel> and <@U1> need a raw '<'; the template's own links stay."""
    for tag in ("{{ctx.text}}", "{{{ctx.text}}}", "{{#join}}ctx.text{{/join}}"):
        rendered = text(f"<https://example.org|x> {tag}", MARKUP)
        assert rendered.count("<") == 1
        assert "&lt;!channel&gt; &lt;@U1|x&gt; &amp; " in rendered


def test_values_are_never_templates() -> None:
    """A value with braces is printed, not rendered."""
    for medium in MEDIA:
        assert "s3cret" not in text("{{ctx.text}} {{#join}}ctx.text{{/join}}", medium)
        assert "s3cret" not in text("{{#url}}{{ctx.text}}{{/url}} {{#toJson}}ctx.text{{/toJson}}", medium)


def test_control_characters_are_kept_out_of_texts() -> None:
    """No terminal codes, no reversed text, no lone surrogates."""
    for medium in (Medium.TEXT, Medium.HTML, MARKUP, Medium.HEADER):
        rendered = render("{{x}}", {"x": "a\x1b\x9b\u202eb\ud800\r\n\tc"}, medium)
        assert not set(rendered) & set("\x1b\x9b\u202e\ud800\r")
        rendered.encode("utf-8")


@pytest.mark.parametrize(
    ("value", "printed", "as_json"),
    [
        ("abc", "abc", "abc"),
        (None, "", ""),
        (1e21, "1.0E21", "1.0E21"),
        ([1, 2], "{0=1, 1=2}", "[1,2]"),
        ({"a": [1]}, "{a=[1]}", '{"a":[1]}'),
    ],
    ids=repr,
)
def test_values_print_as_in_watcher(value: Any, printed: str, as_json: str) -> None:
    """``toJson`` of a text is the text: within quotes of a webhook's body it is JSON, and nowhere twice quoted."""
    context = {"ctx": {"x": value}}
    assert render("{{ctx.x}}", context, Medium.TEXT) == printed
    assert render("{{#toJson}}ctx.x{{/toJson}}", context, Medium.JSON) == as_json


@given(st.text())
def test_headers_stay_on_their_line(value: str) -> None:
    """No value can begin another header."""
    rendered = render("Subject {{x}}", {"x": value}, Medium.HEADER)
    assert len(rendered.splitlines()) == 1


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_string_round_trips_through_a_search_body(value: str) -> None:
    """Also as a key; whatever it holds, the body stays the JSON that was meant."""
    template = json.dumps({"query": {"term": {"a": "x {{v}}"}}, "{{v}}": ["{{{v}}}"]})
    assert render_json(template, {"v": value}) == {"query": {"term": {"a": f"x {value}"}}, value: [value]}


pieces = st.sampled_from(
    ["{{", "}}", "{", "}", "#", "/", "^", "&", ">", "=", "!", "ctx.text", "toJson", " ", "\n"]
)


VALID_TEMPLATES = (
    "plain } text {",
    "{{ctx.text}}",
    "{{{ctx.text}}}",
    "{{ ctx.text }}{{ctx.none}}",
    "{{#ctx.text}}{{.}}{{/ctx.text}}{{^ctx.none}}-{{/ctx.none}}",
    "{{#toJson}}ctx.text{{/toJson}}",
    "{{! a remark }}{{#join}}ctx.text{{/join}}",
)


@given(st.lists(pieces, max_size=12).map("".join), st.sampled_from(MEDIA))
def test_no_text_breaks_the_engine(template: str, medium: Medium) -> None:
    """Rendered or refused, nothing else; the valid templates are rendered before and after."""
    with contextlib.suppress(TemplateError):
        render(template, CONTEXT, medium)
    assert all(render(valid, CONTEXT, medium) for valid in VALID_TEMPLATES)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ctx.a", "not closed"),
        ("{{}}", "is empty"),
        ("{{{a}} b", "not closed"),
        ("{{#a}}{{#b}}x{{/b}}", "{{#a}} is never closed"),
        ("{{/a}}", "mismatch"),
        ("{{#a}}x{{/b}}", "mismatch"),
        ("{{>a}}", "partials"),
    ],
)
def test_text_that_is_not_mustache_is_refused(template: str, message: str) -> None:
    """The error says what is wrong with the template."""
    with pytest.raises(TemplateError) as caught:
        text(template)
    assert message in str(caught.value)


def test_a_body_that_is_not_json_is_an_error() -> None:
    """The message shows where the rendered text broke."""
    with pytest.raises(TemplateError, match="not JSON") as caught:
        render_json(json.dumps({"terms": {"a": "{{#toJson}}ctx.metadata.windows{{/toJson}}"}}), CONTEXT)
    assert "15m" in str(caught.value)
    with pytest.raises(TemplateError, match="is not a JSON object"):
        render_json("[]", CONTEXT)


def test_missing_variables_are_collected() -> None:
    """Variables without a value, not sections."""
    missing: set[str] = set()
    render("{{ctx.a}}{{#ctx.b}}x{{/ctx.b}}{{#join}}ctx.c{{/join}}", CONTEXT, Medium.TEXT, missing)
    assert missing == {"ctx.a", "ctx.c"}


def test_a_search_body_renders_in_well_under_a_millisecond() -> None:
    """Once compiled; the limit leaves room for a slow machine."""
    search = document()["input"]["chain"]["inputs"][0]["window"]["search"]
    template = json.dumps(search["request"]["body"])
    context = {"ctx": {"trigger": {"scheduled_time": "2018-02-01T00:00:00.000Z"}}}
    assert min(timeit(lambda: render_json(template, context), number=1) for _ in range(100)) < 0.001
