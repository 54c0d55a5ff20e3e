"""Search Elasticsearch in pages of the outermost keys if one answer would have more buckets than it allows.

A page contains only the documents of its keys, so that all pages together read each document about once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from logging_lib.schema.fields import load
from logging_lib.store.port import SearchError, StoreError

Json = dict[str, Any]
Ask = Callable[[Json], Json]
_KEYS: Final = 10_000  # of a terms aggregation that is paged
_OPTIONS: Final = frozenset({"field", "size", "missing"})
_KINDS: Final = frozenset({"terms", "meta", "aggs", "aggregations"})


def is_too_large(error: SearchError) -> bool:
    """Return whether the server refused a search because of the number of its buckets."""
    return "buckets" in str(error)


class PagedSearch:
    """A search in pages, for bodies that the server refuses as a whole; it remembers how many keys fit into a page.

    Only searches that group all their documents by ``terms`` of keywords, in the default order, can be paged. The
    shipped watches do so, by model. Safe to share between threads.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}  # keys of a page, by the shape of a search that was refused once

    def search(self, ask: Ask, body: Json) -> Json:
        """Answer a body, in pages if necessary. If a page is partial, the answer says that it is partial.

        Raises:
            SearchError: the server refuses it, even in pages.
            StoreError: documents were deleted between two pages.
        """
        aggs: Mapping[str, Any] = body.get("aggs") or body.get("aggregations") or {}
        shape = _shape(aggs)
        if shape not in self._sizes:
            try:
                return ask(body)
            except SearchError as error:
                if not is_too_large(error) or not aggs or not all(map(_can_be_paged, aggs.values())):
                    raise
                self._sizes[shape] = _KEYS
        rest = {key: value for key, value in body.items() if key not in ("aggs", "aggregations")}
        bare = {name: {"terms": {**agg["terms"], "size": _KEYS}} for name, agg in aggs.items()}
        answer = ask({**rest, "aggs": bare})
        for name, agg in aggs.items():
            if found := answer.get("aggregations", {}).get(name):
                answer["aggregations"][name] = self._join_pages(ask, shape, rest, name, agg, found, answer)
        return answer

    def _join_pages(
        self,
        ask: Ask,
        shape: str,
        rest: Mapping[str, Any],
        name: str,
        agg: Mapping[str, Any],
        bare: Json,
        answer: Json,
    ) -> Json:
        """Return the answer of an aggregation.

        Args:
            bare: the aggregation's answer without the content of its buckets.
            answer: the answer to the search, to which the timeouts and failed shards of pages are added.
        """
        size = int(agg["terms"].get("size", 10))
        keys = [bucket["key"] for bucket in bare["buckets"][:size]]
        buckets: dict[str, Json] = {}
        place = 0
        while place < len(keys):
            page = keys[place : place + self._sizes[shape]]
            try:
                part = ask({**rest, **_of_keys(rest, name, agg, page)})
            except SearchError as error:
                if len(page) == 1 or not is_too_large(error):
                    raise
                self._sizes[shape] = len(page) // 2
                continue
            answer["timed_out"] = answer["timed_out"] or part["timed_out"]
            answer["_shards"]["failed"] += part["_shards"]["failed"]
            found = part.get("aggregations", {}).get(name, {}).get("buckets", [])
            buckets |= {bucket["key"]: bucket for bucket in found}
            if lacking := [key for key in page if key not in buckets]:
                raise StoreError(
                    f"{lacking[0]!r:.80} was deleted while it was searched in pages: search again"
                )
            place += len(page)
        return {
            **({"meta": agg["meta"]} if "meta" in agg else {}),
            **bare,
            "sum_other_doc_count": bare["sum_other_doc_count"]
            + sum(bucket["doc_count"] for bucket in bare["buckets"][size:]),
            "buckets": [buckets[key] for key in keys],
        }


def _shape(aggs: Mapping[str, Any]) -> str:
    """Return the names of aggregations, which are the same at each tick of a watch."""
    inner = (agg.get("aggs") or agg.get("aggregations") or {} for agg in aggs.values())
    return ",".join(f"{name}({_shape(below)})" for name, below in zip(aggs, inner, strict=True))


def _can_be_paged(agg: Mapping[str, Any]) -> bool:
    terms = agg.get("terms")
    if not agg.keys() <= _KINDS or not isinstance(terms, Mapping) or not terms.keys() <= _OPTIONS:
        return False
    field = load().field(str(terms.get("field")))
    return field is not None and field.type == "keyword"


def _of_keys(rest: Mapping[str, Any], name: str, agg: Mapping[str, Any], keys: list[str]) -> Json:
    """Return the query and the aggregation of a page; documents without the field are in the page of their key."""
    terms = agg["terms"]
    chosen: Json = {"terms": {terms["field"]: keys}}
    if terms.get("missing") in keys:
        without = {"bool": {"must_not": [{"exists": {"field": terms["field"]}}]}}
        chosen = {"bool": {"should": [chosen, without]}}
    query = rest.get("query") or {"match_all": {}}
    return {
        "query": {"bool": {"filter": [query, chosen]}},
        "aggs": {name: {**agg, "terms": {**terms, "include": keys}}},
    }
