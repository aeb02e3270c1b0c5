"""How often a measure of similarity agrees with people, alone and with the fact diff, on a small labelled set.

The set is a smoke test of a measure and its threshold, printed by the report. It is no benchmark: its lies were written
to be of the kinds that vectors pass.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from killswitch.router.shadow.raw_pair import RawAnswer
from killswitch.shadow.equivalence import equivalent, texts_of
from killswitch.shadow.similarity import Similarity


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two answers to one request. ``same``: people say that both tell the asker the same."""

    area: str
    language: str
    about: str
    one: str
    other: str
    same: bool


@dataclass(frozen=True, slots=True)
class LabelledAgreement:
    """Of ``pairs`` labelled pairs, how many a measure judges as people do, by its threshold alone and with the facts.

    ``missed``: pairs that differ and pass as the same. ``false_alarms``: pairs that are the same and pass as different.
    The last two are those of the measure with the fact diff.
    """

    measure: str
    threshold: float
    pairs: int
    alone: int
    with_facts: int
    missed: int
    false_alarms: int

    def sentence(self) -> str:
        """``cosine of …, from 0.4: agrees with people on 36 of 60 pairs alone, on 57 with the fact diff (…)``."""
        return (
            f"{self.measure}, from {self.threshold:g}: agrees with people on {self.alone} of {self.pairs} pairs "
            f"alone, on {self.with_facts} with the fact diff "
            f"({self.missed} differences missed, {self.false_alarms} false alarms)"
        )


def labelled_pairs() -> tuple[LabelledPair, ...]:
    """The labelled set of the package."""
    document = json.loads((files("killswitch.shadow") / "labelled_pairs.json").read_text(encoding="utf-8"))
    return tuple(LabelledPair(**pair) for pair in document["pairs"])


def agreement_of(measure: Similarity, pairs: Sequence[LabelledPair] | None = None) -> LabelledAgreement:
    """Judges the labelled pairs (by default those of the package). Raises what ``measure`` raises."""
    labelled = labelled_pairs() if pairs is None else pairs
    alone = with_facts = missed = false_alarms = 0
    bare = measure.between([(pair.one, pair.other) for pair in labelled])
    texts = [texts_of(_answer(pair.one), _answer(pair.other)) for pair in labelled]
    measured = measure.between([(one.control, one.other) for one in texts])
    for pair, likeness, compared, similarity in zip(labelled, bare, texts, measured, strict=True):
        alone += (likeness >= measure.threshold) is pair.same
        judged = equivalent(compared, similarity, measure.threshold) is True
        with_facts += judged is pair.same
        missed += judged and not pair.same
        false_alarms += pair.same and not judged
    return LabelledAgreement(measure.name, measure.threshold, len(labelled), alone, with_facts, missed, false_alarms)


def _answer(text: str) -> RawAnswer:
    return RawAnswer("", "ok", 0.0, text, refused=text.startswith("I'm sorry, but I can't"))
