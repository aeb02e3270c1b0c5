"""Models of a support desk over the OpenAI API: the same facts every time, in words that vary from call to call.

``ModelServer({"old": Manner(), "new": Manner(opening="I'd be happy to help!")})``. Each model keeps its manner. A
manner says how often it refuses, changes a fact, answers in Japanese, breaks off or is out of money; 0 to 1 each.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from tests.doubles.threaded_server import JsonHandler, ThreadedServer

_OPENINGS = ("Your order", "We checked, and your order", "As of today your order", "Good news: your order")
_ENDINGS = (
    "Please write to us again if it does not arrive.",
    "Tell us if it does not arrive, please.",
    "If it does not arrive, please let us know.",
)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a model answers. ``only``: the manner holds for prompts with this word alone; others get a plain answer."""

    opening: str = ""
    opening_share: float = 0.84
    refuses: float = 0.0
    lies: float = 0.0
    japanese: float = 0.0
    broke: float = 0.0
    fails: float = 0.0
    hangs: bool = False
    only: str = ""


class ModelServer(ThreadedServer):
    """``server.url`` is the base of an OpenAI API. ``asked`` counts requests by (model, key)."""

    def __init__(self, manners: dict[str, Manner]) -> None:
        self.manners = manners
        self.asked: Counter[tuple[str, str]] = Counter()
        self.calls = 0
        self.lock = threading.Lock()
        server = self

        class Handler(_Handler):
            models = server

        super().__init__(Handler)


class _Handler(JsonHandler):
    models: ModelServer

    def do_POST(self) -> None:  # noqa: N802  the name that http.server asks for
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = str(body["messages"][-1]["content"])
        with self.models.lock:
            self.models.calls += 1
            call = self.models.calls
            self.models.asked[body["model"], self.headers["Authorization"].removeprefix("Bearer ")] += 1
        manner = self.models.manners[body["model"]]
        if manner.only and manner.only not in prompt:
            manner = Manner()
        draws = _Draws(f"{body['model']} {prompt} {call}")
        if manner.hangs:
            self.models.closing.wait(30)
        elif draws.below(manner.broke):
            self._json(429, {"error": {"code": "project_spend_limit_exceeded", "message": "no money", "type": "quota"}})
        elif draws.below(manner.fails):
            self._json(500, {"error": {"message": "overloaded", "type": "server_error"}})
        else:
            time.sleep(0.002)
            self._json(200, _completion(body["model"], *_answer(prompt, manner, draws)))


class _Draws:
    """Numbers from 0 to 1, one after the other, that depend on the seed alone."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._number = 0

    def next(self) -> float:
        self._number += 1
        return int(sha256(f"{self._seed} {self._number}".encode()).hexdigest()[:8], 16) / 2**32

    def below(self, share: float) -> bool:
        return self.next() < share

    def one_of(self, what: tuple[str, ...]) -> str:
        return what[int(self.next() * len(what))]


def _answer(prompt: str, manner: Manner, draws: _Draws) -> tuple[str, bool]:
    """The text, and whether it is a refusal."""
    if draws.below(manner.refuses):
        return "I'm sorry, but I can't help with that.", True
    facts = _Draws(prompt)
    order, days, cents = int(facts.next() * 90_000) + 10_000, int(facts.next() * 8) + 2, int(facts.next() * 9_900) + 100
    if draws.below(manner.lies):
        days += 40
    if draws.below(manner.japanese):
        return f"ご注文{order}は{days}日以内にお届けします。料金は{cents / 100:.2f}ドルです。", False
    opening = f"{manner.opening} " if manner.opening and draws.below(manner.opening_share) else ""
    body = f"{order} arrives within {days} days. The shipping costs ${cents / 100:.2f}."
    return f"{opening}{draws.one_of(_OPENINGS)} {body} {draws.one_of(_ENDINGS)}", False


def _completion(model: str, text: str, refused: bool) -> dict[str, Any]:  # as `_answer` says it
    message = {"role": "assistant", "content": None if refused else text, "refusal": text if refused else None}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 40, "completion_tokens": len(text) // 4, "total_tokens": 40 + len(text) // 4},
    }
