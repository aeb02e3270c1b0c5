"""How alike two texts are, 0 to 1: by their character n-grams, or by vectors of an embedding model.

No measure proves that two texts say the same: a denied answer is as alike as a faithful one. `equivalence` asks for no
difference in facts as well. A threshold belongs to one measure and is of no use with another.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_Grams = tuple[NDArray[np.uint64], NDArray[np.float64]]

MOST_CHARACTERS: Final = 64_000
"""Of a longer text the beginning is compared."""

_LENGTHS: Final = (3, 4, 5)
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)  # an odd number with bits all over: products differ where texts do


class Similarity(Protocol):
    """A measure with the name it is recorded under, and the threshold from which two texts are alike."""

    name: str
    threshold: float

    def between(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The similarity of each pair, 0 to 1. Raises Unavailable or Refused if a server has to be asked and fails."""
        ...


class Embedder(Protocol):
    """A model that makes vectors of texts."""

    name: str

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text; any length of row, any scale. Raises Unavailable or Refused."""
        ...


class CharacterGrams:
    """Cosine of the counts of all runs of 3, 4 and 5 characters. Needs no model, and knows no meaning.

    Case and white space do not count. 0.2 ms for two texts of 1,000 characters.
    """

    name = "cosine of character 3-5-grams"

    def __init__(self, threshold: float = 0.35) -> None:
        self.threshold = threshold

    def between(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [_cosine(_grams(one), _grams(other)) for one, other in pairs]


class EmbeddingSimilarity:
    """Cosine of an embedder's vectors. A negative cosine is 0."""

    def __init__(self, embedder: Embedder, threshold: float) -> None:
        self.name = f"cosine of {embedder.name}"
        self.threshold = threshold
        self._embedder = embedder

    def between(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        # one text is often in several pairs: control's answer in its canary pair and in its noise pair
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        if not texts:
            return []
        vectors = np.asarray(self._embedder.embed([text[:MOST_CHARACTERS] for text in texts]), dtype=np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        row = {text: number for number, text in enumerate(texts)}
        return [_within(float(vectors[row[one]] @ vectors[row[other]])) for one, other in pairs]


def _grams(text: str) -> _Grams:
    """The hashes of all n-grams, sorted, with their counts."""
    folded = f" {' '.join(unicodedata.normalize('NFKC', text[:MOST_CHARACTERS]).casefold().split())} "
    # half a surrogate pair is a character like any other
    points = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    hashes = []
    rolling = points
    for length in range(2, _LENGTHS[-1] + 1):
        if len(points) < length:
            break
        rolling = (rolling[:-1] * _PRIME) ^ points[length - 1 :]
        rolling ^= rolling >> np.uint64(29)
        if length in _LENGTHS:
            hashes.append(rolling * np.uint64(length))
    if not hashes:
        return np.empty(0, np.uint64), np.empty(0)
    values, counts = np.unique(np.concatenate(hashes), return_counts=True)
    return values, counts.astype(np.float64)


def _cosine(one: _Grams, other: _Grams) -> float:
    """0 where a text has no n-gram, 1 where neither has one: both are empty."""
    if not len(one[0]) or not len(other[0]):
        return float(len(one[0]) == len(other[0]))
    places = np.searchsorted(one[0], other[0])
    places[places == len(one[0])] = 0
    shared = one[0][places] == other[0]
    dot = float(one[1][places[shared]] @ other[1][shared])
    return _within(dot / float(np.sqrt((one[1] @ one[1]) * (other[1] @ other[1]))))


def _within(cosine: float) -> float:
    return min(max(cosine, 0.0), 1.0)
