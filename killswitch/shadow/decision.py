"""GO, NO_GO or NOT_YET: what the recorded pairs prove of a canary, at any time they are looked at.

GO needs every criterion, and every class that holds much of the traffic. So a canary beyond one margin gets GO with
probability at most ``wrong_go``, whatever the other criteria say (an intersection-union test: Berger, Technometrics,
1982). NO_GO needs one proof, so its budget is split over criteria and classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from killswitch.rules.units import Kind
from killswitch.shadow.criteria import BY_CLASS, KIND_OF_LIMIT, Criteria
from killswitch.shadow.evidence.columns import OUTCOMES, Flags, PairColumns
from killswitch.shadow.evidence.measures import compare, counted
from killswitch.shadow.findings import CriterionFinding, CriterionState, compared_as_points, judged
from killswitch.shadow.users_of_pairs import UsersOfPairs
from killswitch.wording import counted as how_many

# What thins the sample without looking at a request or an answer: money, pressure, and what was never to be compared.
# It is bounded by `Criteria.missing_share`, and not by `Criteria.lost_share`.
NOT_LOST = frozenset({"budget", "pressure", "not_comparable"})
DROPS_UNKNOWN = (
    "what was dropped is unknown, because one file says nothing of it; give the folder of records, or --ignore-drops if"
    " nothing was dropped"
)
# A class with fewer canary pairs is named, not judged.
FEWEST_IN_CLASS = 30
# A decided comparison goes on with a tenth of its sample, to see a canary that changes.
SHARE_WHEN_DECIDED = 0.1


class GoNoGo(StrEnum):
    """The gate of stage `shadow`."""

    GO = "GO"
    NO_GO = "NO_GO"
    NOT_YET = "NOT_YET"


@dataclass(frozen=True, slots=True)
class ClassFinding:
    """One prompt class. ``share``: its part of the canary's pairs. ``must_pass``: it holds enough of them to block.

    ``findings``: worst first, none where the class has too few pairs.
    """

    name: str
    pairs: int
    share: float
    must_pass: bool
    standing: CriterionState
    findings: tuple[CriterionFinding, ...]
    sentence: str

    @property
    def blocks(self) -> bool:
        """It is not decided, and there is no GO before it is: by its size, or by what is known of it already.

        Evidence of a fault as strong as a GO needs is too much for a GO, where a NO_GO needs more.
        """
        if self.standing is not CriterionState.NOT_YET:
            return False
        return self.must_pass or any(one.odds_worse >= one.odds_to_pass for one in self.findings)

    @property
    def more_pairs(self) -> int | None:
        """Canary pairs of all classes that this one still needs; None where no number can be given."""
        needed = [one.more_pairs for one in self.findings if one.standing is CriterionState.NOT_YET]
        if self.standing is not CriterionState.NOT_YET or not needed or None in needed:
            return None
        return round(max(more for more in needed if more is not None) / self.share)


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """What is decided, why, and what it rests on.

    ``criteria``: over all pairs, in the order of the criteria. ``classes``: worst first, none where there is but one.
    ``pairs`` and ``noise_pairs``: those counted. ``left_out``: pairs that say nothing about a model, by outcome.
    ``dropped``: sampled requests without a pair, by reason. ``lost_share``: the part of the sampled requests whose
    absence may hide bad answers. ``missing_share``: the part that is missing for whatever reason.
    ``more_pairs``: canary pairs until a decision, GO or NO_GO, at the present numbers; None where
    decided or where no number can be given. ``advised_share``: what to multiply the sampling by, from now on.
    ``users``: how the pairs are spread over users, None where no one counted. ``one_user``: why there is no GO before
    other users asked, "" if that is no reason.
    """

    verdict: GoNoGo
    sentence: str
    criteria: tuple[CriterionFinding, ...]
    classes: tuple[ClassFinding, ...]
    pairs: int
    noise_pairs: int
    left_out: Mapping[str, int]
    dropped: Mapping[str, int]
    lost_share: float
    more_pairs: int | None
    advised_share: float
    missing_share: float = 0.0
    users: UsersOfPairs | None = None
    one_user: str = ""


def assess(
    columns: PairColumns,
    criteria: Criteria | None = None,
    *,
    until: float | None = None,
    drops_known: bool = True,
    users: UsersOfPairs | None = None,
) -> ShadowDecision:
    """Judges all criteria over all pairs and over each class.

    ``drops_known``: whether ``columns.dropped`` holds all that was dropped; without that there is no GO.
    ``users``: of the same pairs; without them one user's part is not known, and holds up no GO.
    ``until``: only pairs before this moment (Unix seconds). While traffic is shadowed give a minute ago: of the newest
    pairs only the quick answers are there yet, and a canary that times out would look well.
    """
    criteria = criteria or Criteria()
    columns = _in_order(columns, until)
    said, noise = counted(columns), columns.noise
    left_out = _left_out(columns)
    if not said.all():
        columns = columns.where(said)
    findings = tuple(_over_all(columns, criteria))
    classes = () if criteria.as_points else tuple(_by_class(columns, criteria))
    pairs, noise_pairs = int((~columns.noise).sum()), int(columns.noise.sum())
    lost_share, missing_share = _absent(columns, ~said, noise)
    survivors = _survivors(criteria, lost_share, missing_share, drops_known)
    one_user = "" if users is None else users.too_few(criteria.one_user)
    unfit = [reason for reason in (survivors, one_user) if reason]
    verdict, sentence, more = _decided(findings, classes, criteria, unfit)
    return ShadowDecision(
        verdict,
        sentence,
        findings,
        classes,
        pairs,
        noise_pairs,
        MappingProxyType(left_out),
        columns.dropped,
        lost_share,
        more,
        1.0 if verdict is GoNoGo.NOT_YET else SHARE_WHEN_DECIDED,
        missing_share,
        users,
        one_user,
    )


def undecided(decision: ShadowDecision, reason: str) -> ShadowDecision:
    """The same numbers without a verdict: neither GO nor NO_GO would be of one canary."""
    return replace(
        decision,
        verdict=GoNoGo.NOT_YET,
        sentence=f"NOT_YET: {reason}",
        more_pairs=None,
        advised_share=1.0,
    )


def _in_order(columns: PairColumns, until: float | None) -> PairColumns:
    """The pairs by ``at``, also where a clock was set back as they were recorded."""
    if (columns.at[1:] < columns.at[:-1]).any():
        columns = columns.where(np.argsort(columns.at, kind="stable"))
    if until is not None:
        columns = columns.where(slice(0, int(np.searchsorted(columns.at, until))))
    return columns


def _absent(columns: PairColumns, silent: Flags, noise: Flags) -> tuple[float, float]:
    """The parts of the sampled requests that are lost, and that are missing for whatever reason.

    ``silent`` and ``noise``: of all pairs (N,). Silent pairs were asked, and then refused for money or quota (a request
    that is too large, too) or ended by a shutdown: the reason may be in the request or in how slow its answer was. Each
    request has one canary pair, so noise pairs are no more requests; lost noise pairs make a floor of survivors.
    """
    lost = int((silent & ~noise).sum())
    lost += sum(max(number, 0) for reason, number in columns.dropped.items() if reason not in NOT_LOST)
    missing = lost + sum(max(number, 0) for reason, number in columns.dropped.items() if reason in NOT_LOST)
    pairs = int((~silent & ~noise).sum())
    of_candidate, of_all = (part / (part + pairs) if part else 0.0 for part in (lost, missing))
    of_noise = float(silent[noise].mean()) if noise.any() else 0.0
    return max(of_candidate, of_noise), max(of_all, of_noise)


def _left_out(columns: PairColumns) -> dict[str, int]:
    found = {}
    for name in ("budget", "cancelled"):
        code = OUTCOMES.index(name)
        number = int(((columns.other.outcome == code) | (columns.control.outcome == code)).sum())
        if number:
            found[name] = number
    return found


def _over_all(columns: PairColumns, criteria: Criteria) -> Iterator[CriterionFinding]:
    for criterion in criteria.judged:
        comparison = compare(columns, criterion)
        if criteria.as_points:
            yield compared_as_points(comparison)
        else:
            wrong_no_go = criteria.no_go_alpha(criterion)
            yield judged(comparison, wrong_go=criteria.wrong_go, wrong_no_go=wrong_no_go)


def _by_class(columns: PairColumns, criteria: Criteria) -> list[ClassFinding]:
    """Every class, worst first; nothing where all pairs are of one class, which the whole has judged already."""
    candidates = columns.prompt_class[~columns.noise]
    codes, first, sizes = np.unique(candidates, return_index=True, return_counts=True)
    if codes.size < 2:
        return []
    by_class = np.argsort(columns.prompt_class, kind="stable")
    sorted_codes = columns.prompt_class[by_class]
    found = []
    for place, which in enumerate(np.argsort(first)):
        code, pairs = codes[which], int(sizes[which])
        name = columns.classes[code] if 0 <= code < len(columns.classes) else ""
        share = pairs / candidates.size
        if pairs < FEWEST_IN_CLASS:
            must_pass = share >= criteria.class_share
            few = f"{name or 'no class'}: {how_many(pairs, 'pair')}, too few to judge"
            found.append(ClassFinding(name, pairs, share, must_pass, CriterionState.NOT_YET, (), few))
            continue
        rows = by_class[slice(*np.searchsorted(sorted_codes, [code, code + 1]))]
        found.append(_one_class(columns.where(rows), criteria, name, place, share))
    return sorted(found, key=_badness)


def _one_class(columns: PairColumns, criteria: Criteria, name: str, place: int, share: float) -> ClassFinding:
    findings = []
    for criterion in criteria.judged:
        if criterion.measure not in BY_CLASS:
            continue
        points = KIND_OF_LIMIT[criterion.measure] is Kind.POINTS
        wide = replace(criterion, limit=min(criterion.limit * criteria.class_margin, 0.99)) if points else criterion
        comparison = compare(columns, wide)
        wrong_no_go = criteria.no_go_alpha_in_class(criterion, place)
        findings.append(judged(comparison, wrong_go=criteria.wrong_go, wrong_no_go=wrong_no_go, prompt_class=name))
    findings.sort(key=_order)
    standings = {one.standing for one in findings}
    standing = next((one for one in _ORDER if one in standings), CriterionState.NOT_GATED)
    pairs = int((~columns.noise).sum())
    said = findings[0].sentence if findings else "no criterion is judged by class"
    must_pass = share >= criteria.class_share and bool(findings)
    return ClassFinding(name, pairs, share, must_pass, standing, tuple(findings), f"{name or 'no class'}: {said}")


_ORDER = (CriterionState.FAIL, CriterionState.NOT_YET, CriterionState.PASS, CriterionState.NOT_GATED)


def _order(finding: CriterionFinding) -> tuple[int, float]:
    evidence = finding.odds_worse_at_all if np.isfinite(finding.odds_worse_at_all) else finding.odds_worse
    return _ORDER.index(finding.standing), -(evidence if np.isfinite(evidence) else 0.0)


def _badness(finding: ClassFinding) -> tuple[int, float]:
    standing = _ORDER.index(finding.standing)
    return (standing, _order(finding.findings[0])[1]) if finding.findings else (standing, 0.0)


def _open(finding: ClassFinding) -> str:
    """What the first open criterion of a class waits for."""
    first = next((one for one in finding.findings if one.standing is CriterionState.NOT_YET), None)
    return f"{first.title}: {first.reason}" if first else "too few pairs to judge"


def _survivors(criteria: Criteria, lost_share: float, missing_share: float, drops_known: bool) -> str:  # noqa: FBT001  as `assess` has it
    """Why what is compared may be survivors, "" if it is not."""
    if lost_share > criteria.lost_share:
        return f"{lost_share:.0%} of the sampled requests left no pair, so what is compared are survivors"
    if missing_share > criteria.missing_share:
        return (
            f"{missing_share:.0%} of the sampled requests are missing, for reasons that do not look at answers; that is"
            f" over {criteria.missing_share:.0%}, so sample a smaller share"
        )
    return "" if drops_known else DROPS_UNKNOWN


def _decided(
    findings: tuple[CriterionFinding, ...],
    classes: tuple[ClassFinding, ...],
    criteria: Criteria,
    unfit: list[str],
) -> tuple[GoNoGo, str, int | None]:
    """``unfit``: why these pairs are too one-sided a sample for a GO."""
    failed = [one.sentence for one in findings if one.standing is CriterionState.FAIL]
    failed += [one.sentence for one in classes if one.standing is CriterionState.FAIL]
    open_ones = [one for one in findings if one.standing is CriterionState.NOT_YET]
    open_classes = [one for one in classes if one.blocks]
    waiting = [f"{one.title}: {one.reason}" for one in open_ones]
    waiting += [f"class {one.name or 'without a name'}: {_open(one)}" for one in open_classes]
    if criteria.as_points and waiting:
        failed = []  # bare points mean nothing before there are as many pairs as were asked for
    if failed:
        return GoNoGo.NO_GO, f"NO_GO: {'; '.join(failed)}", None
    needed = [one.more_pairs for one in open_ones] + [one.more_pairs for one in open_classes]
    if unfit:
        waiting = [*unfit, *waiting]
        needed.append(None)
    if not any(one.standing is CriterionState.PASS for one in findings) and not waiting:
        waiting.append("nothing could be compared")
    if waiting:
        return GoNoGo.NOT_YET, f"NOT_YET: {'; '.join(waiting)}", _pairs_until_decided(findings, classes, needed)
    proven = sum(one.standing is CriterionState.PASS for one in findings)
    return GoNoGo.GO, f"GO: {proven} {'criterion' if proven == 1 else 'criteria'} proven", None


def _pairs_until_decided(
    findings: tuple[CriterionFinding, ...], classes: tuple[ClassFinding, ...], needed: list[int | None]
) -> int | None:
    """A GO waits for the last of ``needed``, and there is none where a criterion nears FAIL. A NO_GO waits for the
    first that fails.
    """
    failing = [one.more_pairs for one in findings if one.more_pairs is not None and one.nears_fail]
    blocked = bool(failing)
    for each in classes:
        known = [one.more_pairs for one in each.findings if one.more_pairs is not None and one.nears_fail]
        failing += [round(more / each.share) for more in known]
        blocked = blocked or bool(known and each.blocks)
    passing = [one for one in needed if one is not None]
    if passing and len(passing) == len(needed) and not blocked:
        failing.append(max(passing))
    return min(failing, default=None)
