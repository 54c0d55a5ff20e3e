"""Lines as hostile as services and the network between may make them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from logging_lib.normalize import ALIASES
from logging_lib.normalize.foreign import STATUSES
from logging_lib.profile.coerce import NA_VALUES
from logging_lib.schema import DATASETS

_KEYS = [alias for aliases in ALIASES.values() for alias in aliases]
_CONTEXT = [
    key for name, keys in ALIASES.items() if name not in ("model", "inputs", "timestamp") for key in keys
]
_PAYLOAD_KEYS = ["specversion", "data", "request", "response", "request_metadata", "inferenceservicename",
                 "instances", "predictions", "outputs", "dataframe_records", "dataframe_split", "columns",
                 "name", "shape", "labels", "@version", "@metadata", "tags", *STATUSES]  # fmt: skip
_TIMES = ["2018-02-01T10:00:00Z", "2018-02-01 10:00", "2018-02-01", "2018-02-01T10:00:00,5+05:30", "2018-02-29",
          "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59.999999999-01:00", "2018-02-02T12:00:00Z", "1517479200",
          "1e9", "2018-02-01T24:00:00Z", "٢٠١٨-02-01", "2018-02-01t10:00:00z", "2018-02-01T10:00:00+01", "20180201",
          "20180201T1000", "20180201T100000.5-0030", "20180231", "2018-02-01 10:00:00 UTC",
          "01/Feb/2018:10:00:00 -0700", "Thu, 1 Feb 2018 10:00:00 GMT", "31/Feb/2018:10:00:00",
          "1/Feb/2018 10:00:00"]  # fmt: skip
_LITERALS = ["NaN", "Infinity", "-Infinity", "1e400", "-1E+999", "1e-400", "0e999", "9" * 30, "9" * 320, "-0",
             "-0.0", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1E5", "0.1e1", "01",
             "1.", "+1", "/**/1", r'"\ud800"', r'"\udc00\ud800"', r'"\uD83D\uDE00"', r'"\\ud800"', r'"\u0000"',
             '"\x01"', '"\x7f"', r'"\x"', "nul", "[" * 110 + "]" * 110, "[" * 99 + "]" * 99]  # fmt: skip

_text = st.text(max_size=12) | st.sampled_from(
    [
        *NA_VALUES,
        *_TIMES,
        "007",
        "1.50",
        "-3",
        "1e400",
        "12345678901234567890123",
        "true",
        "TRUE",
        "Infinity",
        " ",
        "\u00a0",
        "\u200b",
        "a" * 300,
        "\x00",
        "{broken",
        '{"instances":[{"a":1}]}',
        '{"a":NaN}',
        "[[1,2]]",
        "FAILED",
        "503",
    ]
)
_number = (
    st.integers()
    | st.integers(-(2**65), 2**65)
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1517479200, 1517479200123, 1517479200.123456, 1e11, 1e20, 0, -1, 0.1, 1.0])
)
_name = st.text(max_size=8) | st.sampled_from(
    [
        *_KEYS,
        *_PAYLOAD_KEYS,
        "",
        ".",
        "..",
        "a.",
        ".a",
        "a..b",
        " ",
        "%",
        "%2E",
        "a b",
        "n" * 257,
        "label",
        "value",
        "~2",
        "\x00",
    ]
)
_values = st.recursive(
    st.none() | st.booleans() | _number | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_name, inner, max_size=4),
    max_leaves=8,
)
_inputs = st.dictionaries(_name, _values, max_size=6)
_tensor = st.fixed_dictionaries(
    {"name": _name, "data": st.lists(_values, max_size=2)}, optional={"shape": st.lists(st.integers(0, 2))}
)
_foreign = st.fixed_dictionaries(
    {
        "model": st.one_of(*[st.sampled_from(["m", {"name": "m", "version": 2}])] * 9, _values),
        "inputs": st.one_of(*[_inputs] * 9, st.lists(_tensor | st.lists(_values, max_size=2), max_size=2)),
    },
    optional={
        **dict.fromkeys(_CONTEXT, _values),
        **dict.fromkeys(_PAYLOAD_KEYS, _values),
        "timestamp": st.one_of(*[st.sampled_from(_TIMES[:4])] * 4, st.sampled_from(_TIMES), _number),
        "score": _number,
        "latency": _number,
    },
)
_few = st.builds(
    lambda event, keep: {k: v for i, (k, v) in enumerate(event.items()) if i < 2 or keep[i % len(keep)]},
    _foreign,
    st.lists(st.sampled_from([True, False, False, False]), min_size=7, max_size=7),
)
_payload = st.builds(
    lambda event, **envelope: envelope | {"data": event, "request": json.dumps(event)},
    _few,
    specversion=st.just("1.0"),
    inferenceservicename=_text,
)


def _mostly(*values: Any) -> st.SearchStrategy[Any]:
    sampled = st.sampled_from(values)
    return st.one_of(*[sampled] * 12, _values)


_ours = st.builds(
    lambda dataset, when, version, model, inputs, more: (
        more
        | {
            "@timestamp": when,
            "event": {"id": "e-1", "dataset": dataset},
            "ml": {"schema_version": version, "model": model, "input": inputs},
        }
    ),
    _mostly(*DATASETS),
    _mostly("2018-02-01T10:00:00Z", "2018-02-01T10:00:00.123456789+01:00"),
    _mostly(1, 1),
    _mostly({"name": "m", "version": "1"}),
    st.dictionaries(st.sampled_from(["numeric", "category", "other"]), _inputs) | _values,
    st.dictionaries(_name, _values, max_size=3),
)
_document = st.one_of(_few, _few, _foreign, _payload, _ours, _ours, _values)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """One line: JSON as a serializer writes it, often with literals that none should, sometimes damaged."""
    document: Any = draw(_document)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, 1, 2]))):
        places = [i for i, c in enumerate(text) if c == ":"] or [0]
        at = draw(st.sampled_from(places)) + 1
        end = min((text.find(c, at) for c in ",}" if text.find(c, at) > 0), default=len(text))
        text = text[:at] + draw(st.sampled_from(_LITERALS)) + text[end:]
    raw = text.encode("utf-8", "surrogatepass")
    for _ in range(draw(st.sampled_from([0] * 12 + [1]))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=3)) + raw[at + draw(st.integers(0, 3)) :]
    return (
        draw(st.sampled_from([b"", b"", b"", b" ", b"\xef\xbb\xbf"]))
        + raw
        + draw(st.sampled_from([*[b""] * 20, b"\r", b"\x00", b" x"]))
    )


def draw_only(number: int) -> settings:
    """Draw examples for a comparison of both twins in one go: always the same ones, without shrinking."""
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
