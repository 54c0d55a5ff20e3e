"""Throttle in Watcher by finding: extend a watch for deployment into a cluster whose license includes Watcher.

Watcher throttles an action as a whole, so a second fault of the same model would be held back for a day. A
deployed watch therefore remembers the key of each finding in an index, reads those of the last day as a further
input, and continues with the findings that are not among them. Our runner throttles by incident and needs
none of this.
"""

from __future__ import annotations

from typing import Any

from logging_lib.schema.templates import WATCH_NOTIFIED

PERIOD = "24h"
"""The time in which a finding does not notify again, equal to ``throttle_period`` of the shipped watches."""

_KEY = "String key = f.model + '|' + f.version + '|' + f.feature;"
_NEW = f"""\
Set known = new HashSet();
for (def hit : ctx.payload.known.hits.hits) {{ known.add(hit._source.key); }}
List fresh = new ArrayList();
for (def f : ctx.payload.found.findings) {{
  {_KEY}
  if (!known.contains(key)) {{ fresh.add(f); }}
}}
Map result = new HashMap(ctx.payload.found);
result.put('findings', fresh);
result.put('count', fresh.size());
result.put('more', fresh.size() > 1 ? fresh.size() - 1 : null);
result.put('together', fresh.size() > 2 ? fresh.size() : null);
return result;
"""
_REMEMBER = f"""\
List documents = new ArrayList();
for (def f : ctx.payload.result.findings) {{
  {_KEY}
  Map document = new HashMap();
  document.put('_id', ctx.watch_id + '|' + key);
  document.put('@timestamp', ctx.trigger.scheduled_time);
  document.put('watch', ctx.watch_id);
  document.put('key', key);
  documents.add(document);
}}
return ['_doc': documents];
"""


def throttle_by_finding(definition: dict[str, Any]) -> dict[str, Any]:
    """Return a shipped watch that notifies of each finding at most once per day, however many others there are.

    A watch whose chain does not end with a script's ``result`` is returned unchanged.
    """
    steps = definition.get("input", {}).get("chain", {}).get("inputs", [])
    if not steps or "result" not in steps[-1]:
        return definition
    filters: list[dict[str, Any]] = [
        {"term": {"watch": "{{ctx.watch_id}}"}},
        {"range": {"@timestamp": {"gt": f"{{{{ctx.trigger.scheduled_time}}}}||-{PERIOD}"}}},
    ]
    body = {"size": 10_000, "query": {"bool": {"filter": filters}}, "_source": ["key"]}
    inputs = [
        *steps[:-1],
        {"found": steps[-1]["result"]},
        {"known": {"search": {"request": {"indices": [f"{WATCH_NOTIFIED}*"], "body": body}}}},
        {"result": {"transform": {"script": {"lang": "painless", "source": _NEW}}}},
    ]
    actions = {
        name: {key: value for key, value in action.items() if key != "throttle_period"}
        for name, action in definition["actions"].items()
    }
    remember = {
        "transform": {"script": {"lang": "painless", "source": _REMEMBER}},
        "index": {"index": WATCH_NOTIFIED, "refresh": "wait_for"},
    }
    return {
        **definition,
        "input": {"chain": {"inputs": inputs}},
        "actions": {**actions, "remember": remember},
    }
