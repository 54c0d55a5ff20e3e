"""The bulk API's partial failures, against a cluster that answers as we say; time is an argument."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from logging_lib.store.connection import MAX_BYTES, BulkOperation, BulkOutcome, ElasticsearchError, send_bulk

Answer = Callable[[list[str]], Any]


class Cluster:
    """Answers each request by the next of ``answers``, then with success; time passes only by waiting."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []
        self.sizes: list[int] = []
        self.now = 0.0

    def call(self, method: str, path: str, body: Any = None, *, params: Any = None, retries: int = 0) -> Any:
        lines = body.splitlines()
        ids = [json.loads(line)["create"]["_id"] for line in lines[::2]]
        self.asked.append(ids)
        self.sizes.append(len(body))
        return self.answers.pop(0)(ids) if self.answers else statuses()(ids)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def send(self, *operations: BulkOperation, retry_seconds: float = 60) -> list[BulkOutcome]:
        clock = lambda: self.now  # noqa: E731
        return list(
            send_bulk(self, "x", operations, retry_seconds=retry_seconds, sleep=self.sleep, clock=clock)
        )


def statuses(**by_id: int) -> Answer:
    def answer(ids: list[str]) -> Any:
        return {
            "items": [
                {
                    "create": {
                        "status": code,
                        **({"error": {"reason": f"no {document_id}"}} if code > 299 else {}),
                    }
                }
                for document_id in ids
                for code in [by_id.get(document_id, 201)]
            ]
        }

    return answer


def down(status: int = 0) -> Answer:
    def answer(ids: list[str]) -> Any:
        raise ElasticsearchError("down", status=status)

    return answer


def operations(*ids: str) -> list[BulkOperation]:
    return [BulkOperation(document_id, {"create": {"_id": document_id}}, b"{}") for document_id in ids]


def test_outcomes_come_in_the_order_of_the_operations() -> None:
    cluster = Cluster(statuses(b=409, c=400))
    assert cluster.send(*operations(*"abcd")) == [
        BulkOutcome("a", 201),
        BulkOutcome("b", 409, "no b"),
        BulkOutcome("c", 400, "no c"),
        BulkOutcome("d", 201),
    ]
    assert len(cluster.asked) == 1


def test_a_reason_that_quotes_a_value_cannot_act_on_a_terminal() -> None:
    cluster = Cluster(
        lambda ids: {"items": [{"create": {"status": 400, "error": {"reason": "no \x1b[2J\n"}}}]}
    )
    assert cluster.send(*operations("a")) == [BulkOutcome("a", 400, "no \ufffd[2J\ufffd")]


def test_only_documents_that_a_busy_cluster_refused_are_sent_again() -> None:
    cluster = Cluster(statuses(b=429, d=503), statuses(d=429))
    assert [outcome.status for outcome in cluster.send(*operations(*"abcd"))] == [201] * 4
    assert cluster.asked == [["a", "b", "c", "d"], ["b", "d"], ["d"]]


@pytest.mark.parametrize("status", [0, 429, 502, 503, 504])
def test_an_answer_that_does_not_come_is_not_waited_for(status: int) -> None:
    cluster = Cluster(*[down(status)] * 6)
    assert [outcome.status for outcome in cluster.send(*operations("a"))] == [201]
    assert 5 < cluster.now < 60


def test_retries_end_after_some_time() -> None:
    cluster = Cluster(*[down()] * 1000)
    with pytest.raises(ElasticsearchError, match="down"):
        cluster.send(*operations("a"), retry_seconds=60)
    assert 40 < cluster.now <= 60
    busy = Cluster(*[statuses(b=429)] * 1000)
    assert [outcome.status for outcome in busy.send(*operations("a", "b"), retry_seconds=60)] == [201, 429]
    assert busy.now <= 60


@pytest.mark.parametrize("status", [400, 401, 403, 413])
def test_a_refusal_is_not_repeated(status: int) -> None:
    cluster = Cluster(down(status))
    with pytest.raises(ElasticsearchError):
        cluster.send(*operations("a"))
    assert cluster.now == 0


def test_batches_are_bounded_by_number_and_size() -> None:
    cluster = Cluster()
    assert len(cluster.send(*operations(*map(str, range(2500))))) == 2500
    assert [len(ids) for ids in cluster.asked] == [1000, 1000, 500]
    big = Cluster()
    source = b'"' + b"x" * (MAX_BYTES // 3) + b'"'
    big.send(*(BulkOperation(str(n), {"create": {"_id": str(n)}}, source) for n in range(7)))
    assert [len(ids) for ids in big.asked] == [2, 2, 2, 1]
    assert max(big.sizes) < MAX_BYTES + 1000
