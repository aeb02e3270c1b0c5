"""One call's outcome as it is kept, and what both orders of a pair come to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument

FORMAT = 1
MAX_LINE = 4 * 1024 * 1024  # bytes; a line of labels has one entry for each

Preferred = Literal["control", "candidate", "tie"]
Outcome = Literal["verdict", "identical", "invalid", "failed"]
Addressed = Literal["", "control", "candidate", "both"]
Source = Literal["waiting", "kept", "labels"]
NO_TEXTS = "no_texts"
"""A reason for which a pair is skipped: its texts were not kept, so it can never be judged."""
ORDERS = (0, 1)
"""0: control is shown as A; 1: the canary is."""


@dataclass(frozen=True, slots=True)
class JudgedBy:
    """Verdicts are comparable, and never bought twice, under one judge model, rubric and version of the question."""

    judge: str
    rubric: str
    version: int


@dataclass(frozen=True, slots=True)
class Opinion:
    """The outcome of asking about one pair in one order.

    ``round``: 0, or 1 where the same question was asked again to see whether the judge agrees with itself.
    ``preferred``: None unless there is a verdict. ``identical``: both answers are the same, so no judge was asked.
    ``at``: Unix seconds of the verdict; ``pair_at`` of the request. ``model``: what answered, by its own word.
    ``addressed``: whose answer speaks to a judge. ``labelled``: the pair is from a file of people's labels, not from
    traffic. ``why``: of a failure, or the judge's reason if reasons are kept.
    """

    pair: str
    by: JudgedBy
    order: int
    round: int
    outcome: Outcome
    preferred: Preferred | None
    at: float
    pair_at: float = 0.0
    generation: int = 0
    candidate: str = ""
    prompt_class: str = ""
    model: str = ""
    addressed: Addressed = ""
    labelled: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One look over the pairs of a ``source``: how many were ``sampled``, and of those ``skipped``, by reason."""

    by: JudgedBy
    source: Source
    at: float
    sampled: int
    skipped: Mapping[str, int]
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class Labels:
    """People's verdicts by pair, as the newest file of labels had them."""

    at: float
    labels: Mapping[str, Preferred]


Entry = Opinion | Sweep | Labels
_TYPES: Mapping[type[Entry], str] = {Opinion: "opinion", Sweep: "sweep", Labels: "labels"}


def to_line(entry: Entry) -> bytes:
    """One line of JSON with its line end. Half characters become "?"."""
    document = {"format": FORMAT, "type": _TYPES[type(entry)], **asdict(entry)}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"


def from_line(line: bytes) -> Entry:
    """The inverse of `to_line`. Raises BadDocument, naming the field. Unknown fields are ignored."""
    fields = parse_object(line, "judge's verdict", max_bytes=MAX_LINE)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"judge's verdict: format {fields.raw['format']}; this version reads {FORMAT}")
    if fields.raw.get("type") == "labels":
        labels = Fields(fields.raw.get("labels"), "judge's verdict, labels")
        for label in labels.raw.values():
            _one_of(label, get_args(Preferred), "label")
        return Labels(fields.number("at"), labels.raw)
    by = Fields(fields.raw.get("by"), "judge's verdict, by")
    judged_by = JudgedBy(by.text("judge"), by.text("rubric"), by.integer("version"))
    if fields.raw.get("type") == "sweep":
        skipped = Fields(fields.raw.get("skipped"), "judge's verdict, skipped")
        source = fields.text("source")
        _one_of(source, get_args(Source), "source")
        return Sweep(
            judged_by,
            source,  # type: ignore[arg-type]  # one of the words, as asked above
            fields.number("at"),
            fields.integer("sampled"),
            {reason: skipped.integer(reason) for reason in skipped.raw},
            fields.text("stopped", empty=True),
        )
    return _opinion(fields, judged_by)


def _opinion(fields: Fields, by: JudgedBy) -> Opinion:
    outcome, preferred = fields.text("outcome"), fields.optional_text("preferred")
    addressed = fields.text("addressed", empty=True)
    _one_of(outcome, get_args(Outcome), "outcome")
    _one_of(preferred, (None, *get_args(Preferred)), "preferred")
    _one_of(addressed, get_args(Addressed), "addressed")
    order, asked = fields.integer("order"), fields.integer("round")
    _one_of(order, ORDERS, "order")
    if (preferred is not None) != (outcome in ("verdict", "identical")):
        raise BadDocument(f"judge's verdict: outcome {outcome} with preferred {preferred}")
    return Opinion(
        fields.text("pair"),
        by,
        order,
        asked,
        outcome,  # type: ignore[arg-type]  # one of the words, as asked above
        preferred,  # type: ignore[arg-type]
        fields.number("at"),
        fields.number("pair_at"),
        fields.integer("generation"),
        fields.text("candidate", empty=True),
        fields.text("prompt_class", empty=True),
        fields.text("model", empty=True),
        addressed,  # type: ignore[arg-type]
        fields.flag("labelled"),
        fields.text("why", empty=True),
    )


def _one_of(value: object, known: Iterable[object], name: str) -> None:
    if value not in tuple(known):
        raise BadDocument(f"judge's verdict: {name} {value!r:.80}")


VerdictKind = Literal["decided", "flipped", "addressed", "identical", "invalid", "failed", "open"]
MOST_FAILURES = 3
"""A question that failed this often is not asked again."""

SCORES: Mapping[Preferred, float] = {"candidate": 1.0, "tie": 0.5, "control": 0.0}


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """What both orders of one pair come to. ``preferred`` is None for invalid, failed and open ones.

    ``standing``: flipped: the orders disagree, so it is a tie. addressed: the preferred answer speaks to a judge, so
    it is a tie. invalid: a reply was no verdict. failed: a call had no usable answer. open: not asked in both orders.
    """

    preferred: Preferred | None
    standing: VerdictKind

    @property
    def score(self) -> float | None:
        """1: the canary won, 0.5: a tie, 0: control won; None: no verdict."""
        return None if self.preferred is None else SCORES[self.preferred]

    @property
    def consistent(self) -> bool | None:
        """The judge said the same in both orders; None if it did not give two verdicts."""
        return {"decided": True, "addressed": True, "flipped": False}.get(self.standing)


def pair_verdict(both: Iterable[Opinion]) -> PairVerdict:
    """The verdict of one round from the newest opinion of each order."""
    opinions = {opinion.order: opinion for opinion in both}
    outcomes = {opinion.outcome for opinion in opinions.values()}
    if "identical" in outcomes:
        return PairVerdict("tie", "identical")
    if "invalid" in outcomes:
        return PairVerdict(None, "invalid")
    if "failed" in outcomes:
        return PairVerdict(None, "failed")
    if opinions.keys() != set(ORDERS):
        return PairVerdict(None, "open")
    first, second = opinions[0].preferred, opinions[1].preferred
    if first != second:
        return PairVerdict("tie", "flipped")
    won_by_asking = first != "tie" and opinions[0].addressed in (first, "both")
    return PairVerdict("tie", "addressed") if won_by_asking else PairVerdict(first, "decided")
