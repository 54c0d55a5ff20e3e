"""A file of aliases is read, refused and applied alike by both languages."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from logging_lib.normalize import ALIASES, DeadLetter, Event, normalize, read_aliases
from logging_lib.normalize.aliases import MAX_FILE, MAX_NESTING, MAX_PARTS, MAX_SOURCES, AliasesError, parse
from tests.logstash_server import PIPELINES
from tests.pipelines.cases import ALIASES_FILES, NOW, canonical
from tests.pipelines.conftest import Ruby
from tests.pipelines.strategies import draw_only

README = (PIPELINES / "README.md").read_text()
REMEDY = re.compile(r"; (?:write|see|keep|put|remove|give) ")
SMALL = b'{"model":"m","inputs":{"a":1}}'

REFUSED = {
    "no mapping": "- a",
    "a text": "extend",
    "unknown key": "extends: {model: a}",
    "unknown field": "extend: {modle: a}",
    "unknown field to replace": "replace: {name: a}",
    "extend is a list": "extend: [model]",
    "replace is empty": "replace:",
    "unknown key of a source": "extend: {inputs: [a, {path: b, column: [c]}]}",
    "default with a path": "extend: {model: {default: m, path: a}}",
    "default of a field without": "extend: {id: {default: x}}",
    "blank default": "extend: {model: {default: ' '}}",
    "default is a list": "extend: {model: {default: [m]}}",
    "two defaults": "extend: {model: [{default: m}, {default: n}]}",
    "no path": "extend: {inputs: {names: [a]}}",
    "an empty path": "extend: {model: ''}",
    "an empty part": "extend: {model: a..b}",
    "a dot at the end": "extend: {model: [x, a.]}",
    "a dot at the beginning": "extend: {model: .a}",
    "a backslash alone": r"extend: {model: a\b}",
    "a backslash at the end": "extend: {model: 'a\\'}",
    "a path that is a list": "extend: {inputs: {path: [a, b]}}",
    "a list in a list": "extend: {model: [[a]]}",
    "a long bad path": f"extend: {{model: {'.a' * 300}}}",
    "too deep a path": f"extend: {{model: {'.'.join('a' * (MAX_PARTS + 1))}}}",
    "too many sources": f"extend: {{model: [{', '.join('a' * (MAX_SOURCES + 1))}]}}",
    "names of a field without columns": "extend: {model: {path: a, names: [b]}}",
    "encoding of a field without": "extend: {id: {path: a, encoding: b}}",
    "no names": "extend: {inputs: {path: a, names: []}}",
    "a name twice": "extend: {inputs: {path: a, names: [b, c, b]}}",
    "a name that is empty": "extend: {inputs: {path: a, names: [b, '']}}",
    "a name that is a list": "extend: {inputs: {path: a, names: [[b]]}}",
    "a bad path of names": "extend: {inputs: {path: a, names: b.}}",
    "a bad path of an encoding": "extend: {inputs: {path: a, encoding: {b: c}}}",
    "both": "extend: {model: a}\nreplace: {model: b}",
    "model without a path": "replace: {model: []}",
    "inputs without a path": "extend: {inputs: []}",
    "drop is a mapping": "drop: {a: b}",
    "a bad path to drop": "drop: [a, b..c]",
    "an anchor": "extend: {model: &a [b], version: *a}",
    "a key twice": "extend: {model: a, model: b}",
    "a key that is a list": "extend: {[a, b]: c}",
    "too nested": "extend: " + "[" * MAX_NESTING + "]" * MAX_NESTING,
    "very nested": "[" * 2000 + "]" * 2000,
    "too large": "# " + "a" * MAX_FILE,
    "é in a key": "extend: {modèle: a}",
}
NOT_YAML = ["extend: [a", "a: b: c", "extend: {model: a}\n---\nextend: {model: b}", "a: \udcff", "\tmodel: a"]


def refusal_of(text: str) -> str:
    with pytest.raises(AliasesError) as refused:
        parse(text.encode("utf-8", "surrogateescape"), "aliases.yml")
    return str(refused.value)


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_names_file_and_remedy(text: str) -> None:
    message = refusal_of(text)
    assert message.startswith("aliases.yml: ")
    assert REMEDY.search(message) or ": expected " in message, message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("unknown field", "extend.modle: is not known; write one of model, version, inputs, "),
        ("unknown key of a source", "extend.inputs[1].column: is not known; write one of path, names, "),
        ("a dot at the end", 'extend.model[1]: "a." is not a path; write keys with dots between them, '),
        (
            "default of a field without",
            "extend.id.default: only model, version, service, sampling can have one",
        ),
        ("both", "replace.model: is in extend, too; keep one of extend.model and replace.model"),
    ],
)
def test_a_refusal_names_the_entry(case: str, message: str) -> None:
    assert refusal_of(REFUSED[case]).startswith(f"aliases.yml: {message}")


def test_ruby_refuses_the_same_files_with_the_same_words(ruby: Ruby) -> None:
    texts = [*REFUSED.values(), *NOT_YAML]
    answers = ruby([SMALL] * len(texts), [text.encode("utf-8", "surrogateescape") for text in texts])
    for text, answer in zip(texts, answers, strict=True):
        message = refusal_of(text)
        if text in NOT_YAML:
            assert message.startswith("aliases.yml: not YAML: ")
            assert answer["refused"].startswith("aliases.yml: not YAML: ")
        else:
            assert answer == {"refused": message}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "seldon.yml").write_text("drop: a")
    with pytest.raises(AliasesError, match=r"seldn.yml: no such file; did you mean '.*seldon.yml'\?"):
        read_aliases(tmp_path / "seldn.yml")


APPLIED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # name: the file, the event, and what is expected of labels and of ml
    "a built-in name is the second": (
        "extend: {model: a.b}",
        {"a": {"b": "x"}, "model": "m", "inputs": {"f": 1}},
        {"ml.model.name": "x", "labels": {"model": "m"}},
    ),
    "a blank value is none": (
        "extend: {model: a.b}",
        {"a": {"b": " "}, "model": "m", "inputs": {"f": 1}},
        {"ml.model.name": "m", "labels": {"a": '{"b":" "}'}},
    ),
    "replaced names are labels": (
        "replace: {id: [key], model: {default: always}}",
        {"model": "m", "id": "customer", "key": "e-1", "inputs": {"f": 1}},
        {"ml.model.name": "always", "event.id": "e-1", "labels": {"model": "m", "id": "customer"}},
    ),
    "a name that is replaced by nothing": (
        "replace: {request: []}",
        {"model": "m", "request_id": "r", "inputs": {"f": 1}},
        {"ml.request": None, "labels": {"request_id": "r"}},
    ),
    "scalars are texts": (
        "extend: {model: {default: no}, version: {default: 1.0}}",
        {"inputs": {"f": 1}},
        {"ml.model.name": "no", "ml.model.version": "1.0"},
    ),
    "places in lists and dots in keys": (
        r"extend: {model: runs.1.model\.name, version: 'a\\b'}",
        {"runs": [{"x": 1}, {"model.name": "m"}, 3], "a\\b": "2", "inputs": {"f": 1}},
        {"ml.model.name": "m", "ml.model.version": "2", "labels": {"runs": '[{"x":1},null,3]'}},
    ),
    "a place beyond the end, and a key of a list": (
        "extend: {version: [a.2, a.b, a.-1, a.0]}",
        {"model": "m", "a": ["3", "4"], "inputs": {"f": 1}},
        {"ml.model.version": "3", "labels": {"a": '[null,"4"]'}},
    ),
    "through JSON text, of which the rest is kept": (
        "extend: {inputs: body.features, service: body.app, score: body.score}",
        {"model": "m", "body": '{"features": {"f": 1}, "app": "s", "score": 0.5, "tenant": "t"}'},
        {"ml.input": {"numeric": {"f": 1}}, "service.name": "s", "labels": {"body": '{"tenant":"t"}'}},
    ),
    "text that a path does not reach stays as it is": (
        "extend: {service: body.app}\ndrop: body.none",
        {"model": "m", "inputs": {"f": 1}, "body": '{"a" : 1}'},
        {"labels": {"body": '{"a" : 1}'}},
    ),
    "text that is no row": (
        "extend: {inputs: prompt, prediction: answer}",
        {"model": "m", "prompt": "Hello, world", "answer": "a, b", "features": {"f": 1}},
        {"ml.prediction": {"label": "a, b"}, "labels": {"prompt": "Hello, world"}},
    ),
    "a list as a row": (
        "extend: {inputs: row}",
        {"model": "m", "row": [1, "x"]},
        {"ml.input": {"numeric": {"0": 1}, "category": {"1": "x"}}, "labels": None},
    ),
    "the columns of an event that are not names": (
        "extend: {inputs: {path: row, names: columns}}",
        {"model": "m", "row": [1, 2], "columns": ["a", "a"]},
        {"ml.input": {"numeric": {"0": 1, "1": 2}}},
    ),
    "scores by name": (
        "extend: {scores: {path: p, names: classes}, prediction: label}",
        {"model": "m", "inputs": {"f": 1}, "p": [0.1, 0.9], "classes": ["no", "yes"], "label": "yes"},
        {"ml.prediction": {"label": "yes", "scores": {"no": 0.1, "yes": 0.9}}, "labels": None},
    ),
    "everything is dropped": (
        "drop: [a, b.c, d.0.e]",
        {"model": "m", "inputs": {"f": 1}, "a": [1], "b": {"c": {}}, "d": [{"e": 1}]},
        {"labels": None},
    ),
    "an empty file": ("# nothing\n", {"model": "m", "inputs": {"f": 1}, "x": 1}, {"labels": {"x": "1"}}),
}  # fmt: skip


def at(document: dict[str, Any], path: str) -> Any:
    value: Any = document
    for part in path.split("."):
        value = None if value is None else value.get(part)
    return value


@pytest.mark.parametrize(("text", "event", "expected"), APPLIED.values(), ids=APPLIED.keys())
def test_aliases_are_applied(text: str, event: dict[str, Any], expected: dict[str, Any]) -> None:
    result = normalize(event, now=NOW, aliases=parse(text.encode(), "aliases.yml"))
    assert isinstance(result, Event), result
    assert {path: at(result.document, path) for path in expected} == expected


def test_ruby_applies_the_same_aliases(ruby: Ruby) -> None:
    files = [text.encode() for text, _, _ in APPLIED.values()]
    lines = [orjson.dumps(event) for _, event, _ in APPLIED.values()]
    for file, line, document in zip(files, lines, ruby(lines, files), strict=True):
        assert canonical(document) == canonical(
            normalize(line, now=NOW, aliases=parse(file, "aliases.yml")).document
        ), file


def test_an_event_without_a_file_is_read_as_before() -> None:
    event = {"model": "m", "inputs": {"f": 1}, "x": {"y": 1}}
    empty = parse(b"", "aliases.yml")
    assert normalize(event, now=NOW, aliases=empty) == normalize(event, now=NOW)


_KEYS = ["a", "b", "0", "1", "é", "a.b", "model", "inputs", "data", "request"]
_FIELDS = list(ALIASES)
_paths = st.lists(st.sampled_from(_KEYS), min_size=1, max_size=3).map(
    lambda parts: ".".join(part.replace(".", r"\.") for part in parts)
)
_names = st.lists(st.sampled_from(["x", "y", "1", "n o"]), min_size=1, max_size=3, unique=True)
_table = st.fixed_dictionaries({"path": _paths}, optional={"names": _paths | _names, "encoding": _paths})
_sources = st.lists(_paths, min_size=1, max_size=3)
_tables = st.lists(_table | _paths, min_size=1, max_size=3)
_files = st.builds(
    lambda extend, replace, drop: {
        "extend": {name: value for name, value in extend.items() if name not in replace},
        "replace": replace,
        "drop": drop,
    },
    st.fixed_dictionaries(
        {"inputs": _tables},
        optional={
            **dict.fromkeys(_FIELDS[3:], _sources),
            "model": _sources,
            "prediction": _tables,
            "scores": _tables,
            "version": st.sampled_from(["1", "1.0", "no"]).map(lambda text: [{"default": text}]),
        },
    ),
    st.dictionaries(st.sampled_from(_FIELDS), _sources, max_size=2),
    st.lists(_paths, max_size=2),
)
_cells = st.none() | st.integers(-5, 5) | st.sampled_from(
    ["x", "", " ", "1", "1,2", '1,"a ""b"" ,c"\r\n', '"open', "1\n2", '{"a":{"b":[1,2]}}', '[[1,"x"]]', "{broken",
     "CSV", "JSON", "BASE64", "MSwyCg==", "MSwyDh==", "eyJpbnN0YW5jZXMiOltbMSwyXV19", "k05VTVBZ",
     '{"predictions":[0.5]}', "2018-02-01T10:00:00Z"]
)  # fmt: skip
_values = st.recursive(
    _cells,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=3)
        | st.fixed_dictionaries(
            {"shape": st.lists(st.integers(0, 2), max_size=2), "values": st.lists(inner, max_size=2)}
        )
        | inner.map(lambda value: json.dumps(value) if isinstance(value, (dict, list)) else value)
    ),
    max_leaves=10,
)  # fmt: skip
_events = st.dictionaries(st.sampled_from(_KEYS), _values, min_size=2, max_size=6).map(
    lambda event: {"model": "m", "inputs": {"f": 1}} | event
)


@pytest.mark.parametrize("number", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_ruby_and_python_make_the_same_of_random_files(ruby: Ruby, number: int) -> None:
    pairs: list[tuple[bytes, bytes]] = []

    @draw_only(number)
    @given(_files, st.lists(_events, min_size=3, max_size=3))
    def collect(file: dict[str, Any], events: list[dict[str, Any]]) -> None:
        text = yaml.safe_dump(file, allow_unicode=True).encode()
        pairs.extend((text, orjson.dumps(event)) for event in events)

    collect()
    results = [normalize(line, now=NOW, aliases=parse(file, "aliases.yml")) for file, line in pairs]
    assert sum(isinstance(result, Event) for result in results) > len(pairs) // 10
    answers = ruby([line for _, line in pairs], [file for file, _ in pairs])
    for (file, line), result, answer in zip(pairs, results, answers, strict=True):
        assert canonical(answer) == canonical(result.document), (file, line)


@pytest.mark.parametrize("file", ALIASES_FILES, ids=lambda file: file.name)
def test_a_shipped_file_is_documented_and_has_cases(file: Path) -> None:
    assert read_aliases(file).sources
    assert f"`aliases/{file.name}`" in README
    assert (PIPELINES / "cases" / file.stem).is_dir()


def test_the_example_of_the_readme_is_a_file() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    aliases = parse(example.encode(), "aliases.yml")
    assert aliases.defaults == {"model": "loans", "version": "3"}
    assert aliases.replaced == {"request"}
    assert all(f"`{name}`" in README for name in ALIASES)


@pytest.mark.parametrize(
    "text", ['"' + "a" * 300_000, " " * 300_000 + '"', '""' * 70_000, "1," * 100_000 + '"', "[" * 300_000]
)
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    paths = ", ".join(f"{{path: data, names: [a], encoding: e{i}}}" for i in range(MAX_SOURCES))
    aliases = parse(f"extend: {{inputs: [{paths}]}}".encode(), "aliases.yml")
    start = time.process_time()
    result = normalize({"model": "m", "data": text}, now=NOW, aliases=aliases)
    assert time.process_time() - start < 5
    assert isinstance(result, DeadLetter) == (text != '""' * 70_000)
