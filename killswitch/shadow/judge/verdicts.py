"""What a judge found, as the report and the evidence read it: a score a pair, counts, and the judge's calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from killswitch.errors import BadDocument
from killswitch.shadow.judge.calibration import Bar, Calibration, agreement, calibration
from killswitch.shadow.judge.family import check_families
from killswitch.shadow.judge.opinions import (
    NO_TEXTS,
    Entry,
    JudgedBy,
    Labels,
    Opinion,
    PairVerdict,
    Preferred,
    Source,
    Sweep,
    VerdictKind,
    pair_verdict,
)
from killswitch.shadow.judge.verdict_file import read_entries, verdict_path


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """``score``: 1: the canary won, 0.5: a tie, 0: control won; None: no verdict. ``at``: Unix seconds of asking.

    ``reasons``: the judge's own words, where they are kept. They may quote the answers.
    """

    pair: str
    at: float
    generation: int
    candidate: str
    prompt_class: str
    standing: VerdictKind
    score: float | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgeCounts:
    """``judged``: pairs with a verdict, of which ``wins``, ``ties`` and ``losses`` of the canary.

    Of the ties, ``flipped`` are verdicts that changed with the order, ``identical`` were not asked, and ``addressed``
    are wins taken from an answer that spoke to the judge. ``invalid`` and ``failed`` pairs have no verdict.
    ``skipped``: sampled pairs that the newest runs left, by reason: budget, limit, failing, refused, family, stopping,
    no_texts (they were not kept).
    """

    judged: int
    wins: int
    ties: int
    losses: int
    flipped: int
    identical: int
    addressed: int
    invalid: int
    failed: int
    skipped: Mapping[str, int]
    unreadable: int


@dataclass(frozen=True, slots=True)
class JudgeFindings:
    """All that one judge said of a rollout. ``pairs``: in the order in which their verdicts were complete.

    ``stopped``: why the newest run ended early, "" if it did not. ``warnings``: families that are unknown or shared.
    ``gates``: the win rate may decide anything; if not,
    ``why_not`` says why, a sentence each.
    """

    by: JudgedBy
    pairs: tuple[JudgedPair, ...]
    counts: JudgeCounts
    calibration: Calibration
    stopped: str
    warnings: tuple[str, ...]

    @property
    def gates(self) -> bool:
        return self.calibration.gates

    @property
    def why_not(self) -> tuple[str, ...]:
        return self.calibration.problems

    @property
    def scores(self) -> dict[str, float]:
        """1, 0.5 or 0 by the pair's id, for pairs with a verdict, in the order of ``pairs``."""
        return {pair.pair: pair.score for pair in self.pairs if pair.score is not None}

    @property
    def win_rate(self) -> float | None:
        """The mean of the scores, a tie counting half; None without any."""
        scores = self.scores
        return sum(scores.values()) / len(scores) if scores else None


def read_findings(
    records: Path,
    rollout: str,
    *,
    by: JudgedBy | None = None,
    generation: int | None = None,
    candidate: str | None = None,
    bar: Bar | None = None,
) -> JudgeFindings | None:
    """What the judge ``by`` (else the one that judged last) said of a rollout; None if no judge has.

    ``generation`` and ``candidate`` leave out pairs of other ones. Raises Unavailable if the file cannot be read.
    """
    return findings(
        read_entries(verdict_path(records, rollout)), by=by, generation=generation, candidate=candidate, bar=bar
    )


def findings(
    entries: Iterable[Entry | BadDocument],
    *,
    by: JudgedBy | None = None,
    generation: int | None = None,
    candidate: str | None = None,
    bar: Bar | None = None,
) -> JudgeFindings | None:
    """As `read_findings`, of the lines of a file."""
    kept, labels, unreadable = _by_judge(entries)
    if not kept:
        return None
    chosen = by if by is not None else next(reversed(kept))
    mine = kept.get(chosen)
    if mine is None:
        return None
    traffic, labelled = _Rounds(), _Rounds()
    for opinion in mine.opinions:
        if opinion.labelled:
            labelled.add(opinion)
        elif generation in (None, opinion.generation) and candidate in (None, opinion.candidate):
            traffic.add(opinion)
    pairs = tuple(traffic.judged())
    both = [traffic, labelled]
    standings = [verdict for rounds in both for verdict in rounds.verdicts(0).values() if verdict.standing != "open"]
    skipped: Counter[str] = Counter()
    for sweep in mine.sweeps.values():
        skipped.update(sweep.skipped)
    held = calibration(
        agreement(
            (verdict.preferred, labels[pair])
            for pair, verdict in labelled.verdicts(0).items()
            if verdict.preferred is not None and pair in labels
        ),
        agreement(pair for rounds in both for pair in rounds.repeated()),
        consistent=sum(verdict.consistent is True for verdict in standings),
        both_orders=sum(verdict.consistent is not None for verdict in standings),
        lost=sum(pair.score is None for pair in pairs) + skipped[NO_TEXTS],
        finished=len(pairs) + skipped[NO_TEXTS],
        bar=bar or Bar(),
        unlabelled=traffic.models - labelled.models if labelled.models else (),
    )
    return JudgeFindings(
        chosen,
        pairs,
        _counts(pairs, skipped, unreadable),
        held,
        next((sweep.stopped for sweep in reversed(mine.sweeps.values()) if sweep.stopped), ""),
        _warnings(chosen.judge, pairs),
    )


def _warnings(judge: str, pairs: Iterable[JudgedPair]) -> tuple[str, ...]:
    """What is to be said of the families of the judge and of each canary that it judged."""
    candidates = dict.fromkeys(pair.candidate for pair in pairs)
    found = (check_families(judge, candidate, insist=True) for candidate in candidates)
    return tuple(warning for warning in found if warning is not None)


@dataclass(slots=True)
class _Kept:
    opinions: list[Opinion] = field(default_factory=list)
    sweeps: dict[Source, Sweep] = field(default_factory=dict)


def _by_judge(entries: Iterable[Entry | BadDocument]) -> tuple[dict[JudgedBy, _Kept], Mapping[str, Preferred], int]:
    """What each judge said, the one that was active last at the end; people's newest labels; unreadable lines."""
    kept: dict[JudgedBy, _Kept] = {}
    labels: Mapping[str, Preferred] = {}
    unreadable = 0
    for entry in entries:
        if isinstance(entry, BadDocument):
            unreadable += 1
        elif isinstance(entry, Labels):
            labels = entry.labels
        else:
            kept[entry.by] = mine = kept.pop(entry.by, None) or _Kept()
            if isinstance(entry, Sweep):
                mine.sweeps[entry.source] = entry
            else:
                mine.opinions.append(entry)
    return kept, labels, unreadable


class _Rounds:
    """The newest opinion of each pair, round and order. Pairs are in the order of their newest opinion."""

    def __init__(self) -> None:
        self._opinions: dict[str, dict[tuple[int, int], Opinion]] = {}
        self.models: set[str] = set()  # that answered

    def add(self, opinion: Opinion) -> None:
        self.models |= {opinion.model} - {""}
        mine = self._opinions.setdefault(opinion.pair, {})
        mine[opinion.round, opinion.order] = opinion
        if opinion.round == 0:
            self._opinions[opinion.pair] = self._opinions.pop(opinion.pair)

    def _round(self, pair: str, asked: int) -> list[Opinion]:
        return [opinion for (number, _), opinion in self._opinions[pair].items() if number == asked]

    def verdicts(self, asked: int) -> dict[str, PairVerdict]:
        return {pair: pair_verdict(opinions) for pair in self._opinions if (opinions := self._round(pair, asked))}

    def repeated(self) -> Iterable[tuple[Preferred, Preferred]]:
        """The first and the second verdict of each pair that has both."""
        first, second = self.verdicts(0), self.verdicts(1)
        for pair, again in second.items():
            once = first.get(pair)
            if once is not None and once.preferred is not None and again.preferred is not None:
                yield once.preferred, again.preferred

    def judged(self) -> Iterable[JudgedPair]:
        """Each pair that was asked in all orders."""
        for pair, verdict in self.verdicts(0).items():
            if verdict.standing == "open":
                continue
            opinions = self._round(pair, 0)
            one = opinions[0]
            yield JudgedPair(
                pair,
                one.pair_at,
                one.generation,
                one.candidate,
                one.prompt_class,
                verdict.standing,
                verdict.score,
                tuple(opinion.why for opinion in opinions if opinion.why),
            )


def _counts(pairs: tuple[JudgedPair, ...], skipped: Mapping[str, int], unreadable: int) -> JudgeCounts:
    scores = Counter(pair.score for pair in pairs)
    standings = Counter(pair.standing for pair in pairs)
    return JudgeCounts(
        judged=scores[1.0] + scores[0.5] + scores[0.0],
        wins=scores[1.0],
        ties=scores[0.5],
        losses=scores[0.0],
        flipped=standings["flipped"],
        identical=standings["identical"],
        addressed=standings["addressed"],
        invalid=standings["invalid"],
        failed=standings["failed"],
        skipped=skipped,
        unreadable=unreadable,
    )
