"""Sorts prompts into at most 20 classes named by their words, where the service gives no class of its own.

Online and deterministic: the first `SAMPLE` prompts found the classes, later ones join the nearest, and what is near
none is ``other`` until enough of it is alike to found a class more. A class keeps its name and its centre from then on,
so a record's class means the same tomorrow. Vectors are counts of hashed words, weighted by how rare a word is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from killswitch.documents import parse_object
from killswitch.errors import BadDocument

SAMPLE: Final = 200
"""Prompts that found classes together."""

MOST_CLASSES: Final = 20
UNSORTED: Final = "unsorted"
"""The class of prompts before there are classes."""
OTHER: Final = "other"
"""The class of prompts that are near no class."""

_BUCKETS: Final = 2_048
_FEWEST_OF_A_CLASS: Final = 8  # of a sample
_FEWEST_WITH_A_NAMING_WORD: Final = 5  # prompts: a word of fewer may be about one person
_NEAR: Final = 0.22  # cosine with the centre
_ALIKE: Final = 0.15  # cosine of two prompts of one class
_ROUNDS: Final = 6
_MOST_READ: Final = 4_000  # characters of a prompt
_MOST_STATE: Final = 4 * 1024 * 1024  # bytes
_FORMAT: Final = 1
_WORD: Final = re.compile(r"[^\W\d_]{3,30}|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2}")
_SAY_NOTHING: Final = (
    "the and for you your with that this can how what are from have please would could about not but was were will "
    "has had does did when where which who why all any our out get into than then them they there its one just "
    "need want help know make like also some more been should very here use using hello thanks thank dear "
    "der die das und ist nicht ich sie wir mit für von auf ein eine den dem bitte mein meine wie was kann haben "
    "les des une est pour que qui dans vous mon mes comment avec los las una por para con que como del mis "
    "che per una non con come sono del della uma para com não como meu minha het een van niet voor met hoe mijn"
)
_STOPWORDS: Final = frozenset(_SAY_NOTHING.split())

_Vector = NDArray[np.float64]


@dataclass(slots=True)
class PromptClasses:
    """The classes so far. `classify` is the one way to change them. One writer."""

    names: list[str] = field(default_factory=list)
    centres: list[_Vector] = field(default_factory=list)
    weights: _Vector = field(default_factory=lambda: np.ones(_BUCKETS))
    _sample: list[Counter[str]] = field(default_factory=list)

    def classify(self, prompt: str) -> str:
        """The class of one prompt: a name, `OTHER` or `UNSORTED`."""
        words = words_of(prompt)
        found = self._nearest(words)
        if found is None:
            self._sample.append(words)
            if len(self._sample) >= SAMPLE:
                self._found_classes()
        if found is not None:
            return found
        return OTHER if self.names else UNSORTED

    def to_json(self) -> bytes:
        """What a later process needs to go on. The prompts that wait to found a class are not in it."""
        document = {
            "format": _FORMAT,
            "names": self.names,
            "centres": [_sparse(centre) for centre in self.centres],
            "weights": [round(float(weight), 4) for weight in self.weights] if self.names else [],
        }
        return json.dumps(document, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, stored: bytes) -> PromptClasses:
        """The inverse of `to_json`. Raises BadDocument."""
        fields = parse_object(stored, "prompt classes", max_bytes=_MOST_STATE)
        if fields.integer("format") != _FORMAT:
            raise BadDocument(f"prompt classes: format {fields.raw['format']}; this version reads {_FORMAT}")
        names = list(fields.texts("names"))[:MOST_CLASSES]
        try:
            centres = [_dense(centre) for centre in fields.raw["centres"]][:MOST_CLASSES]
            weights = np.asarray(fields.raw["weights"], dtype=np.float64)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise BadDocument(f"prompt classes: centres or weights are no numbers ({error})") from error
        if len(centres) != len(names) or (names and weights.shape != (_BUCKETS,)):
            raise BadDocument("prompt classes: names, centres and weights do not belong together")
        return cls(names, centres, weights if names else np.ones(_BUCKETS))

    def _nearest(self, words: Mapping[str, int]) -> str | None:
        if not self.names:
            return None
        likeness = np.stack(self.centres) @ _vector(words, self.weights)
        best = int(np.argmax(likeness))
        return self.names[best] if likeness[best] >= _NEAR else None

    def _found_classes(self) -> None:
        """Found classes from the prompts that wait, and forget these."""
        sample, self._sample = self._sample, []
        if not self.names:
            self.weights = _rarity(sample)
        vectors = np.stack([_vector(words, self.weights) for words in sample])
        for members in _groups(vectors, MOST_CLASSES - len(self.names)):
            name = self._name(sample, members)
            if name is not None:
                self.names.append(name)
                self.centres.append(_unit(vectors[members].sum(axis=0)))

    def _name(self, sample: Sequence[Counter[str]], members: Sequence[int]) -> str | None:
        """The three words that are commonest in the class and rare outside of it. None if it has no such words."""
        inside = Counter(word for number in members for word in sample[number])
        overall = Counter(word for words in sample for word in words)
        typical = sorted(
            (word for word, times in inside.items() if times >= _FEWEST_WITH_A_NAMING_WORD),
            key=lambda word: (-inside[word] / len(members) * inside[word] / overall[word], word),
        )
        name = " ".join(typical[:3])
        return name if name and name not in self.names else None


def words_of(prompt: str) -> Counter[str]:
    """The words of a prompt that say what it is about. Numbers, addresses and short words say nothing."""
    words = _WORD.findall(prompt[:_MOST_READ].lower())
    return Counter(word for word in words if word not in _STOPWORDS)


def _groups(vectors: NDArray[np.float64], most: int) -> list[list[int]]:
    """Groups of rows that are alike, the largest first: from the densest places, then spherical k-means."""
    free = np.ones(len(vectors), dtype=bool)
    alike = vectors @ vectors.T >= _ALIKE
    centres: list[_Vector] = []
    while len(centres) < most:
        neighbours = (alike & free).sum(axis=1) * free
        densest = int(np.argmax(neighbours))
        if neighbours[densest] < _FEWEST_OF_A_CLASS:
            break
        centre = _unit(vectors[alike[densest] & free].sum(axis=0))
        centres.append(centre)
        free &= ~(alike[densest] | (vectors @ centre >= _NEAR))
    if not centres:
        return []
    owners = np.zeros(len(vectors), dtype=np.int64)
    for _ in range(_ROUNDS):
        likeness = vectors @ np.stack(centres).T
        owners = np.argmax(likeness, axis=1)
        owners[likeness.max(axis=1) < _NEAR] = -1
        centres = [
            _unit(vectors[owners == number].sum(axis=0)) if (owners == number).any() else centre
            for number, centre in enumerate(centres)
        ]
    groups = [np.flatnonzero(owners == number).tolist() for number in range(len(centres))]
    large = (group for group in groups if len(group) >= _FEWEST_OF_A_CLASS)
    return sorted(large, key=lambda group: (-len(group), group))


def _rarity(sample: Sequence[Counter[str]]) -> _Vector:
    """Inverse document frequency of each bucket, never 0: a service whose prompts are all alike has one class."""
    seen = np.zeros(_BUCKETS)
    for words in sample:
        seen[list({_bucket(word) for word in words})] += 1.0
    weights: _Vector = np.log(1.0 + len(sample) / np.maximum(seen, 1.0))
    return weights


def _vector(words: Mapping[str, int], weights: _Vector) -> _Vector:
    vector = np.zeros(_BUCKETS)
    for word, times in words.items():
        vector[_bucket(word)] += 1.0 + np.log(times)
    return _unit(vector * weights)


def _unit(vector: _Vector) -> _Vector:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector


def _bucket(word: str) -> int:
    """The same on every machine, unlike `hash`."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest()) % _BUCKETS


def _sparse(vector: _Vector) -> list[list[float]]:
    return [[int(place), round(float(vector[place]), 5)] for place in np.flatnonzero(vector)]


def _dense(places: Iterable[Sequence[float]]) -> _Vector:
    vector = np.zeros(_BUCKETS)
    for place, value in places:
        vector[int(place)] = float(value)
    return vector
