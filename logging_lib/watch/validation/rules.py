"""Find what is wrong with a watch before it runs: its scripts, templates, paths and searches."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from logging_lib._util.suggestions import suggest
from logging_lib._util.times import resolve_date_math
from logging_lib.schema.fields import Schema
from logging_lib.watch.conditions import DATE_MATH, REFERENCE
from logging_lib.watch.evaluate import KEYS, TRIGGER_KEYS
from logging_lib.watch.http import render_call
from logging_lib.watch.model import (
    Action,
    Condition,
    Definition,
    HttpRequest,
    Input,
    Script,
    SearchRequest,
    Transform,
)
from logging_lib.watch.notify.base import Template
from logging_lib.watch.notify.registry import channel_of
from logging_lib.watch.templating import (
    Placeholder,
    TemplateError,
    find_value,
    has_value,
    render,
    render_json,
)
from logging_lib.watch.validation import metadata
from logging_lib.watch.validation.payloads import KeyedPlaceholder, OpaquePayload, PayloadInference
from logging_lib.watch.validation.searches import SearchValidator

Path = tuple[str | int, ...]
Problems = Iterator[tuple[Path, str]]
_NOW = datetime(2018, 2, 1, tzinfo=UTC)
_INSTANT = "2018-02-01T00:00:00.000Z"


def find_problems(
    definition: Definition,
    *,
    scripts: Container[str],
    schema: Schema,
    payloads: PayloadInference | None = None,
) -> list[tuple[Path, str]]:
    """Return all problems: (path within the file, message with the remedy).

    Args:
        scripts: the ids of the scripts that exist.
        payloads: infers payloads; then a path without a value is a problem, too. By default only the watch itself
            is used, and such a path is not a problem, since Watcher prints nothing for it.
    """
    validator = _DefinitionValidator(
        definition, scripts, schema, payloads or OpaquePayload(), requires_values=payloads is not None
    )
    return list(validator.find_all())


def placeholder_context(definition: Definition, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Build ``ctx`` as a run may see it, with the watch's own metadata."""
    ctx: dict[str, Any] = dict.fromkeys(KEYS, "sample")
    ctx["execution_time"] = _INSTANT
    ctx["trigger"] = dict.fromkeys(TRIGGER_KEYS, _INSTANT)
    return {"ctx": {**ctx, "metadata": definition.metadata, "payload": payload, "vars": Placeholder()}}


class _DefinitionValidator:
    def __init__(
        self,
        definition: Definition,
        scripts: Container[str],
        schema: Schema,
        payloads: PayloadInference,
        *,
        requires_values: bool,
    ) -> None:
        self._definition = definition
        self._scripts = scripts
        self._schema = schema
        self._payloads = payloads
        self._requires_values = requires_values

    def find_all(self) -> Problems:
        definition = self._definition
        yield from metadata.find_problems(definition)
        yield from self._check_input(definition.input, Placeholder(), ("input",))
        payload = self._payloads.after_input(definition.input, self._make_context(Placeholder()))
        yield from self._check_condition(definition.condition, payload, ("condition",))
        if definition.transform:
            yield from self._check_transform(definition.transform, payload, ("transform",))
            payload = self._payloads.after_transform(definition.transform, self._make_context(payload))
        for name, action in definition.actions.items():
            yield from self._check_action_with_conditions(action, payload, ("actions", name))

    def _check_action_with_conditions(
        self, action: Action, payload: Mapping[str, Any], path: Path
    ) -> Problems:
        if action.condition:
            yield from self._check_condition(action.condition, payload, (*path, "condition"))
        if action.transform:
            yield from self._check_transform(action.transform, payload, (*path, "transform"))
            payload = self._payloads.after_transform(action.transform, self._make_context(payload))
        if action.foreach:
            yield from self._check_path(action.foreach, payload, (*path, "foreach"))
            payload = first_element(action.foreach, self._make_context(payload))
        yield from self._check_action(action, payload, path)

    # --- inputs, transforms, conditions

    def _check_input(self, watch_input: Input, payload: Mapping[str, Any], path: Path) -> Problems:
        if watch_input.search:
            yield from self._check_search(watch_input.search.request, payload, (*path, "search", "request"))
        elif watch_input.http:
            yield from self._check_http(watch_input.http.request, payload, (*path, "http", "request"))
        elif watch_input.transform:
            yield from self._check_transform(watch_input.transform, payload, (*path, "transform"))
        elif watch_input.chain:
            earlier: dict[str, Any] = {}
            for index, (name, step) in enumerate(watch_input.chain.items()):
                yield from self._check_input(step, earlier, (*path, "chain", "inputs", index, name))
                earlier = {**earlier, name: self._payloads.after_input(step, self._make_context(earlier))}

    def _check_search(self, request: SearchRequest, payload: Mapping[str, Any], path: Path) -> Problems:
        for index, name in enumerate(request.indices):
            if "{{" in name:
                yield (*path, "indices", index), "index names are not templates: write the name, or a pattern"
        missing: set[str] = set()
        key = "body" if request.template is None else "template"
        context = {**self._make_context(payload), **request.params}
        try:
            body = render_json(request.text, context, missing)
        except TemplateError as error:
            yield (*path, key), str(error)
            return
        yield from self._check_values(missing, payload, (*path, key))
        for below, message in SearchValidator(request.indices, self._schema).find_problems(body):
            yield (*path, key, *(below if request.template is None else ())), message

    def _check_http(self, request: HttpRequest, payload: Mapping[str, Any], path: Path) -> Problems:
        missing: set[str] = set()
        try:
            render_call(request, self._make_context(payload), missing)
        except TemplateError as error:
            yield path, f"template: {error}"
        yield from self._check_values(missing, payload, path)

    def _check_transform(self, transform: Transform, payload: Mapping[str, Any], path: Path) -> Problems:
        if transform.script:
            yield from self._check_script(transform.script, (*path, "script"))
        if transform.search:
            yield from self._check_search(transform.search.request, payload, (*path, "search", "request"))
        for index, step in enumerate(transform.chain or ()):
            yield from self._check_transform(step, payload, (*path, "chain", index))
            payload = self._payloads.after_transform(step, self._make_context(payload))

    def _check_script(self, script: Script, path: Path) -> Problems:
        if script.source is not None:
            if not script.source.strip():
                yield (*path, "source"), "the script is empty"
            return
        if script.id not in self._scripts:
            script_ids = sorted(self._scripts) if isinstance(self._scripts, Mapping | set | frozenset) else []
            hint = suggest(script.id or "", script_ids) or f"; there are {', '.join(script_ids) or 'none'}"
            user_hint = f"; a script of your own belongs into scripts/{script.id}.painless beside the watch"
            yield (*path, "id"), f"no script {script.id!r}{hint}{user_hint}"

    def _check_condition(self, condition: Condition, payload: Mapping[str, Any], path: Path) -> Problems:
        if condition.script:
            yield from self._check_script(condition.script, (*path, "script"))
        elif condition.compare:
            ((name, comparison),) = condition.compare.items()
            ((operator, value),) = comparison.items()
            here: Path = (*path, "compare", name)
            yield from self._check_path(name, payload, here)
            yield from self._check_operand(value, payload, (*here, operator))
        elif condition.array_compare:
            ((name, array),) = condition.array_compare.items()
            here = (*path, "array_compare", name)
            yield from self._check_path(name, payload, here)
            operator, operand = array.operation
            yield from self._check_operand(operand.value, payload, (*here, operator, "value"))

    def _check_operand(self, value: Any, payload: Mapping[str, Any], path: Path) -> Problems:
        if not isinstance(value, str):
            return
        if value.startswith("<{"):
            match = DATE_MATH.fullmatch(value)
            try:
                resolve_date_math(match[1] if match else value, _NOW)
            except ValueError as error:
                yield path, f"date expression: {error}; write such as <{{now-15m}}>"
        elif match := REFERENCE.fullmatch(value):
            yield from self._check_path(match[1].strip(), payload, path)

    def _check_path(self, name: str, payload: Mapping[str, Any], path: Path) -> Problems:
        if not has_value(name, self._make_context(payload)):
            yield from self._check_values({name}, payload, path)

    # --- actions

    def _check_action(self, action: Action, payload: Mapping[str, Any], path: Path) -> Problems:
        channel, settings = channel_of(action), action.settings
        path = (*path, action.type)
        for below, request in channel.requests(settings):
            yield from self._check_http(request, payload, (*path, *below))
        context = self._make_context(payload)
        for below, list_path, templates in channel.element_templates(settings):
            yield from self._check_path(list_path, payload, (*path, *below))
            root = _ElementOrContext(first_element(list_path, context), context)
            for template in templates:
                yield from self._check_template(template, root, payload, path)
        for template in channel.templates(settings):
            yield from self._check_template(template, context, payload, path)

    def _check_template(
        self, template: Template, context: Mapping[str, Any], payload: Mapping[str, Any], path: Path
    ) -> Problems:
        below, text, medium = template
        missing: set[str] = set()
        try:
            render(text, context, medium, missing)
        except TemplateError as error:
            yield (*path, *below), f"template: {error}"
        yield from self._check_values(missing, payload, (*path, *below))

    def _check_values(self, missing: set[str], payload: Mapping[str, Any], path: Path) -> Problems:
        for name in sorted(missing) if self._requires_values else ():
            yield path, self._describe_unknown(name, payload)

    def _make_context(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return placeholder_context(self._definition, payload)

    def _describe_unknown(self, name: str, payload: Mapping[str, Any]) -> str:
        root, _, inner_path = name.partition(".")
        if root != "ctx":
            return (
                f"{name!r} has no value here: no section around it has that key, and paths from the top begin with "
                "'ctx.', such as ctx.payload or ctx.metadata"
            )
        key, _, below = inner_path.partition(".")
        if key == "metadata":
            return f"the watch's metadata has no {below!r}: add it there, or correct the path {name!r}"
        if key == "payload":
            return _describe_missing_part(name, payload)
        if key == "trigger":
            return f"{name!r}: ctx.trigger has {', '.join(sorted(TRIGGER_KEYS))}"
        return f"{name!r}: ctx has {', '.join(sorted(KEYS))}"


class _ElementOrContext(dict[str, Any]):
    """A mapping that looks keys up in the context, then in an element."""

    def __init__(self, element: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        super().__init__(context)
        self._element = element

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self._element

    def __missing__(self, key: str) -> Any:
        return self._element[key]


def first_element(path: str, context: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the payload that ``foreach`` builds for a list's first element."""
    elements = find_value(path, context)
    first = elements[0] if isinstance(elements, list | tuple) and elements else elements
    if isinstance(first, Mapping):
        return first
    return {"_value": first} if isinstance(elements, list | tuple) and elements else Placeholder()


def _describe_missing_part(name: str, payload: Mapping[str, Any]) -> str:
    """Describe which part of a path does not exist, and what exists there."""
    node: Any = payload
    node_name = "the payload"
    for part in name.split(".")[2:]:
        available_keys = (
            node.names if isinstance(node, KeyedPlaceholder) else node if isinstance(node, Mapping) else ()
        )
        if not has_value(part, node) if isinstance(node, Mapping) else True:
            if not isinstance(node, Mapping):
                inside = " but in its elements" if isinstance(node, list) else ""
                return f"{name!r}: {node_name} has no {part!r}{inside}"
            hint = suggest(part, available_keys)
            if isinstance(node, KeyedPlaceholder):
                return f"{name!r}: the script writes no {part!r}{hint}"
            key_names = ", ".join(sorted(map(str, available_keys))) or "nothing yet"
            return f"{name!r}: {node_name} has only {key_names}{hint}"
        node, node_name = find_value(part, node), repr(part)
        if isinstance(node, list) and node:
            node = {**{str(index): element for index, element in enumerate(node)}, "size": len(node)}
    return f"{name!r} has no value"
