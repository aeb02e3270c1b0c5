"""The canary's answers to requests that come again: one that was asked a moment ago is not bought twice.

Off unless asked for. The key is the whole request with its model. Second answers of control are never kept: a model
that is not asked again says nothing about how much its answers differ, and the noise floor would be 0.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from killswitch.router.shadow.raw_pair import RawAnswer


class AnswerCache:
    """The newest ``most`` answers, from any thread. An answer that failed is not kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, RawAnswer] = OrderedDict()

    def get(self, key: bytes) -> RawAnswer | None:
        with self._lock:
            found = self._answers.get(key)
            if found is not None:
                self._answers.move_to_end(key)
            return found

    def keep(self, key: bytes, answer: RawAnswer) -> None:
        if answer.outcome not in ("ok", "refused"):
            return
        with self._lock:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)

    def start_again(self) -> None:
        """In a forked child no thread of the parent's holds the lock."""
        self._lock = threading.Lock()


def key_of(model: str, api: str, request: Mapping[str, Any]) -> bytes:
    """32 bytes for ``request`` (plain JSON); the order of its names does not matter."""
    return sha256(json.dumps([model, api, request], sort_keys=True, ensure_ascii=True).encode()).digest()
