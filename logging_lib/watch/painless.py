"""Run users' own Painless through ``POST /_scripts/painless/_execute``.

That API has no ``ctx``, and its result is always a text. So a script becomes a function of ``ctx`` and ``params``
between two added parts: one restores Watcher's dates in ``ctx``, which is passed as JSON, and the other writes the
result as JSON. As in Watcher, the value of a last expression without ``return`` is the result, and later scripts
see the values that a script puts into ``ctx.vars``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from logging_lib.store.port import ExecutePainless, ScriptExecutionError, StoreError
from logging_lib.watch.model import MAX_SOURCE

_WRITE = r"""
String watchJson(def v) {
  if (v == null) { return 'null'; }
  if (v instanceof String || v instanceof char) {
    return '"' + v.toString().replace('\\', '\\\\').replace('"', '\\"') + '"';
  }
  if (v instanceof Boolean || v instanceof Number) { return v.toString(); }
  if (v instanceof ZonedDateTime) { return '"' + v.toInstant().toString() + '"'; }
  if (v instanceof Map) {
    StringBuilder b = new StringBuilder('{');
    for (def e : v.entrySet()) {
      if (b.length() > 1) { b.append(','); }
      b.append(watchJson(String.valueOf(e.getKey()))).append(':').append(watchJson(e.getValue()));
    }
    return b.append('}').toString();
  }
  if (v instanceof Iterable || v instanceof def[] || v instanceof int[] || v instanceof long[]
      || v instanceof double[] || v instanceof String[]) {
    StringBuilder b = new StringBuilder('[');
    for (def e : v) { if (b.length() > 1) { b.append(','); } b.append(watchJson(e)); }
    return b.append(']').toString();
  }
  return watchJson(v.toString());
}
def watchRun(Map ctx, Map params) { if (ctx != null) {
"""
_CALL = """
} return null; }
Map ctx = params.ctx;
ctx.put('execution_time', ZonedDateTime.parse(ctx.execution_time));
for (def name : ['triggered_time', 'scheduled_time']) {
  ctx.trigger.put(name, ZonedDateTime.parse(ctx.trigger[name]));
}
def result = watchRun(ctx, params.params);
return '{"result":' + watchJson(result) + ',"vars":' + watchJson(ctx.vars) + '}';
"""

_TOKEN = re.compile(
    r"(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<text>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<space>\s+)|(?P<other>.)",
    re.DOTALL,
)
_FUNCTION = re.compile(r"\s*[A-Za-z_][\w.<>\[\], ]*?[\s\]]\s*[A-Za-z_]\w*\s*\([^()]*\)\s*$", re.DOTALL)
_STATEMENTS = frozenset(
    {"return", "if", "for", "while", "do", "try", "throw", "break", "continue", "else", "catch"}
)
_DECLARATION = re.compile(r"[A-Za-z_][\w.<>\[\], ]*\s+[A-Za-z_]\w*\s*(=(?!=)|,|$)", re.DOTALL)
_CONTINUES_STATEMENT = frozenset({*".;,)]?:+-*/%&|^=<>!", "else", "catch", "while"})


class PainlessError(Exception):
    """Raised if a script was refused or failed; the message shows where."""


@dataclass(frozen=True)
class WrappedScript:
    """The executed source; ``pieces`` say where the user's text is in it: (start, length, start in the user's
    text)."""

    source: str
    pieces: tuple[tuple[int, int, int], ...]

    def place(self, offset: int) -> int | None:
        """Translate an offset of the wrapped source to one in the user's text; None if it is in an added part.

        Something missing at the end of the user's text is reported at an offset after that text.
        """
        for begin, length, origin in self.pieces:
            if begin <= offset <= begin + length:
                return origin + offset - begin
        begin, length, origin = self.pieces[-1]
        return origin + length if begin <= offset < len(self.source) else None


def wrap(source: str) -> WrappedScript:
    """Wrap a user's source into the one that is executed. Raises PainlessError if it is too long for the API."""
    head = _find_functions_end(source)
    last = _find_last_expression(source, head)
    parts: list[tuple[str, int | None]] = [(source[:head], 0), ("\n" + _WRITE, None)]
    if last is None:
        parts += [(source[head:], head), ("\n", None)]
    else:
        parts += [(source[head:last], head), ("return ", None), (source[last:], last)]
        parts.append(("\n" if _tokenize(source, last)[-1][1] == ";" else "\n;", None))
    parts.append((_CALL, None))
    text = ""
    pieces: list[tuple[int, int, int]] = []
    for part, origin in parts:
        if origin is not None and part:
            pieces.append((len(text), len(part), origin))
        text += part
    size = len(text.encode())
    if size > MAX_SOURCE:
        ours = size - len(source.encode())
        raise PainlessError(
            f"the script has {size - ours} bytes, and with {ours} of ours that is more than the {MAX_SOURCE} that "
            "Elasticsearch executes: shorten it, or split it into a chain of transforms"
        )
    return WrappedScript(text, tuple(pieces))


def run(
    source: str, params: Mapping[str, Any], ctx: Mapping[str, Any], execute: ExecutePainless
) -> tuple[Any, dict[str, Any]]:
    """Run a script; return its result and ``ctx.vars`` after it, as JSON types.

    Args:
        ctx: the ``ctx`` of the engine's context, in which times are ISO texts.

    Raises:
        PainlessError: the script failed; the message has the line, the column and Painless's own marks, if known.
    """
    wrapped = wrap(source)
    try:
        text = execute(wrapped.source, {"ctx": ctx, "params": params})
    except ScriptExecutionError as error:
        raise PainlessError(_describe_error(error, wrapped, source)) from error
    except StoreError as error:
        raise PainlessError(str(error)) from error
    # The Painless writer does not escape control characters.
    response = json.loads(text, strict=False)
    return response["result"], response["vars"]


def _describe_error(error: ScriptExecutionError, wrapped: WrappedScript, source: str) -> str:
    place = None if error.offset is None else wrapped.place(error.offset)
    if place is None:
        return str(error)
    lines = source[:place].split("\n")
    number, column = len(lines), len(lines[-1]) + 1
    line = source.split("\n")[number - 1]
    begin = max(0, column - 41)
    mark = " " * (column - 1 - begin) + "^"
    return f"line {number}, column {column}: {error}\n    {line[begin : begin + 80]}\n    {mark}"


def _tokenize(source: str, begin: int = 0) -> list[tuple[str, str, int, int]]:
    """Split a source into (kind, text, position, depth of brackets before it), without comments and spaces."""
    tokens, depth = [], 0
    for match in _TOKEN.finditer(source, begin):
        kind = match.lastgroup or "other"
        if kind in ("comment", "space"):
            continue
        text = match[0]
        if kind == "other" and text in ")]}":
            depth -= 1
        tokens.append((kind, text, match.start(), depth))
        if kind == "other" and text in "([{":
            depth += 1
    return tokens


def _find_functions_end(source: str) -> int:
    """Find where the leading function definitions end; they cannot be nested in another function."""
    end = 0
    tokens = _tokenize(source)
    index = 0
    while index < len(tokens):
        opening = next(
            (at for at in range(index, len(tokens)) if tokens[at][1] in "{;" and tokens[at][3] == 0), None
        )
        if opening is None or tokens[opening][1] != "{":
            break
        header = source[tokens[index][2] : tokens[opening][2]]
        if tokens[index][1] in _STATEMENTS or not _FUNCTION.fullmatch(_strip_comments(header)):
            break
        closing = next(
            (at for at in range(opening + 1, len(tokens)) if tokens[at][1] == "}" and tokens[at][3] == 0),
            None,
        )
        if closing is None:
            break
        end = tokens[closing][2] + 1
        index = closing + 1
    return end


def _find_last_expression(source: str, begin: int) -> int | None:
    """Find where the last statement begins, if it is an expression, whose value is the result."""
    tokens = _tokenize(source, begin)
    while tokens and tokens[-1][1] == ";":
        tokens.pop()
    if not tokens:
        return None
    first = 0
    for index, (kind, text, _, depth) in enumerate(tokens[:-1]):
        if depth or kind != "other":
            continue
        following = tokens[index + 1][1]
        if text == ";" or (text == "}" and following not in _CONTINUES_STATEMENT):
            first = index + 1
    position = tokens[first][2]
    text = _strip_comments(source[position : tokens[-1][2] + len(tokens[-1][1])])
    if tokens[first][1] in _STATEMENTS or _DECLARATION.match(text) or text.startswith("{"):
        return None
    return position


def _strip_comments(source: str) -> str:
    return "".join(m[0] for m in _TOKEN.finditer(source) if m.lastgroup != "comment").strip()
