"""One run of a judge over pairs: both orders of each, what is stored, and what ends the run early."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, Protocol

from killswitch.errors import Refused
from killswitch.shadow.judge.budget import NoBudget
from killswitch.shadow.judge.endpoint import AskFailed, Reply
from killswitch.shadow.judge.family import check_families, families_of
from killswitch.shadow.judge.opinions import (
    NO_TEXTS,
    ORDERS,
    Addressed,
    JudgedBy,
    Opinion,
    Outcome,
    Preferred,
    Source,
    Sweep,
)
from killswitch.shadow.judge.prompt import Choice, Question, addresses_judge, question, read_verdict
from killswitch.shadow.judge.sampling import is_repeated
from killswitch.shadow.judge.texts import PairTexts
from killswitch.shadow.judge.verdict_file import VerdictFile
from killswitch.wording import plain

_log = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 5


class Asks(Protocol):
    """Asks a question within time and money; `killswitch.shadow.judge.budget.BudgetedCalls` is one."""

    def ask(self, asked: Question) -> Reply | AskFailed | NoBudget: ...


@dataclass(frozen=True, slots=True)
class JudgingTerms:
    """``by``: under which the verdicts stand. ``insist``: judge a canary of the judge's own family.

    ``repeat_share``: of the pairs (0 to 1) that are asked twice, for the judge's agreement with itself.
    ``most_a_day``: pairs judged in a day (UTC), runs together; None: no bound but the ledger's. Labels do not count.
    """

    by: JudgedBy
    rubric: str
    insist: bool = False
    repeat_share: float = 0.1
    most_a_day: int | None = None
    keep_reasons: bool = False


@dataclass(slots=True)
class JudgeRun:
    """What one run did. ``stopped``: why it ended before all pairs, "" if it did not.

    ``expired``: waiting pairs that were deleted unjudged.
    """

    pairs: int = 0
    calls: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    stopped: str = ""
    stopped_by: str = ""
    expired: int = 0

    def stop(self, by: str, why: str) -> None:
        """``by``: the reason in one word, under which the pairs that are left are counted."""
        if not self.stopped:
            self.stopped_by, self.stopped = by, why


class Judge:
    """``draw`` gives each question its mark; it must not be guessable by a model. ``wall``: Unix seconds now.

    ``stop``: true once a person or a signal wants the run to end; it ends after the call under way.
    """

    def __init__(
        self,
        terms: JudgingTerms,
        calls: Asks,
        verdicts: VerdictFile,
        *,
        draw: Random,
        wall: Callable[[], float],
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._terms = terms
        self._calls = calls
        self._verdicts = verdicts
        self._draw = draw
        self._wall = wall
        self._stop = stop
        self._candidates: set[str] = set()
        self._failed_in_a_row = 0
        self._swept: dict[Source, tuple[dict[str, int], str]] = {}  # as written: looks that find nothing add no line

    def judge(
        self,
        pairs: Iterable[PairTexts],
        *,
        source: Source = "waiting",
        done: Callable[[PairTexts], None] = lambda _: None,
        without_texts: Callable[[], int] = lambda: 0,
    ) -> JudgeRun:
        """Judge sampled pairs, given in the order of `sampling.place_of`; those judged already are not asked again.

        ``source``: where the pairs are from. ``done`` is called with each pair that needs
        nothing more. ``without_texts``: sampled pairs that are not among ``pairs`` because their texts were not kept;
        asked at the end.

        A run that ends early counts the pairs left by the reason, which is in ``stopped``. Raises BadSettings for a
        canary of the judge's family, Unavailable if verdicts cannot be stored.
        """
        run = JudgeRun()
        seen = 0
        for pair in pairs:
            seen += 1
            if pair.candidate or source != "labels":
                self._check_candidate(pair.candidate)
            finished = self._pair(pair, run, labelled=source == "labels")
            if finished:
                done(pair)
            elif run.stopped:
                run.skipped[run.stopped_by] += 1
        missing = without_texts()
        if missing:
            run.skipped[NO_TEXTS] += missing
            seen += missing
        found = (dict(run.skipped), run.stopped)
        if source != "labels" and (seen or self._swept.get(source) != found):
            self._verdicts.append(Sweep(self._terms.by, source, self._wall(), seen, *found))
            self._swept[source] = found
        return run

    def _check_candidate(self, candidate: str) -> None:
        if candidate in self._candidates:
            return
        warning = check_families(self._terms.by.judge, candidate, insist=self._terms.insist)
        self._candidates.add(candidate)
        if warning is not None:
            _log.warning("%s", warning)

    def _pair(self, pair: PairTexts, run: JudgeRun, *, labelled: bool) -> bool:
        """Ask what is not answered yet. True if the pair needs nothing more."""
        missing = self._missing(pair, labelled=labelled)
        if not missing:
            return True
        if not labelled and self._day_is_full(pair):
            run.stop("limit", f"`max_pairs_a_day` allows {self._terms.most_a_day:,} pairs, and today's are judged")
        if run.stopped:
            return False
        run.pairs += 1
        for turn in missing:
            if self._stop():
                run.stop("stopping", "it was asked to stop")
            if run.stopped:
                return False
            if pair.identical:
                self._store(self._opinion(turn, "identical", "tie"), run)
            else:
                self._ask(turn, run)
        return not self._missing(pair, labelled=labelled)

    def _day_is_full(self, pair: PairTexts) -> bool:
        most = self._terms.most_a_day
        if most is None or self._verdicts.begun(pair.pair):
            return False
        return self._verdicts.begun_on(self._wall()) >= most

    def _missing(self, pair: PairTexts, *, labelled: bool) -> list[_Turn]:
        rounds = (0, 1) if is_repeated(pair.pair, self._terms.repeat_share) and not pair.identical else (0,)
        orders = ORDERS[:1] if pair.identical else ORDERS
        return [
            _Turn(pair, order, asked, labelled)
            for asked in rounds
            for order in orders
            if self._verdicts.needs(pair.pair, order, asked)
        ]

    def _ask(self, turn: _Turn, run: JudgeRun) -> None:
        shown = (turn.pair.control_answer, turn.pair.candidate_answer)
        answers = shown if turn.order == 0 else (shown[1], shown[0])
        run.calls += 1
        try:
            answer = self._calls.ask(question(turn.pair.request, answers, rubric=self._terms.rubric, draw=self._draw))
        except Refused as error:
            run.stop("refused", str(error))
            return
        if isinstance(answer, NoBudget):
            run.stop("budget", f"the budget allows no further call: {answer.why}")
        elif isinstance(answer, AskFailed):
            self._store(self._opinion(turn, "failed", None, why=answer.why), run)
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= FAILURES_IN_A_ROW:
                self._failed_in_a_row = 0
                run.stop("failing", f"{FAILURES_IN_A_ROW} calls in a row failed, the last one: {answer.why}")
        else:
            self._failed_in_a_row = 0
            self._take(answer, turn, run)

    def _take(self, answer: Reply, turn: _Turn, run: JudgeRun) -> None:
        """Store a reply. One from a model of the canary's family stops the run, unless one insists."""
        shared = families_of(answer.model) & families_of(turn.pair.candidate)
        if shared and not self._terms.insist:
            run.stop(
                "family",
                f"{self._terms.by.judge} was answered by {plain(answer.model, 80)}, of the canary's family; "
                "choose a judge of another family, or insist with `insist: true`",
            )
            return
        read = read_verdict(answer.text)
        if read is None:
            opinion = self._opinion(turn, "invalid", None, model=answer.model)
        else:
            why = read.reason if self._terms.keep_reasons else ""
            preferred = preferred_of(read.choice, turn.order)
            opinion = self._opinion(turn, "verdict", preferred, model=answer.model, why=why)
        self._store(opinion, run)

    def _store(self, opinion: Opinion, run: JudgeRun) -> None:
        self._verdicts.append(opinion)
        run.outcomes[opinion.outcome] += 1

    def _opinion(
        self, turn: _Turn, outcome: Outcome, preferred: Preferred | None, *, model: str = "", why: str = ""
    ) -> Opinion:
        pair = turn.pair
        return Opinion(
            pair=pair.pair,
            by=self._terms.by,
            order=turn.order,
            round=turn.round,
            outcome=outcome,
            preferred=preferred,
            at=self._wall(),
            pair_at=pair.at,
            generation=pair.generation,
            candidate=pair.candidate,
            prompt_class=pair.prompt_class,
            model=model,
            addressed=_addressed(pair),
            labelled=turn.labelled,
            why=why,
        )


class _Turn(NamedTuple):
    """One question: a pair in one order, asked the first or the second time."""

    pair: PairTexts
    order: int
    round: int
    labelled: bool


def preferred_of(choice: Choice, order: int) -> Preferred:
    """Whose answer the judge meant by A or B in this order."""
    if choice == "tie":
        return "tie"
    return "control" if (choice == "A") == (order == 0) else "candidate"


def _addressed(pair: PairTexts) -> Addressed:
    control, candidate = addresses_judge(pair.control_answer), addresses_judge(pair.candidate_answer)
    if control and candidate:
        return "both"
    return "control" if control else "candidate" if candidate else ""
