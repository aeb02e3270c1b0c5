"""Judges one slow signal at one evaluation. Pure: the daily job and the command ask the same function.

Checks come before any verdict, in this order: is the newest row new enough, is everything there, are users split as the
flag's history says, has anyone's outcome settled. What fails one of them is UNKNOWN, never a breach and never health.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from killswitch.model import Reason, Unreadable, Verdict
from killswitch.slow.counts import SlowCounts
from killswitch.slow.days import date_of
from killswitch.slow.evidence import FEWEST_USERS, Difference, difference, log_mixture, log_sum
from killswitch.slow.findings import Judgement, SlowFinding, UserSplit, amount, points
from killswitch.slow.literal import days_of, false_pins, percent_needed, usual_error
from killswitch.slow.traffic_split import mismatch
from killswitch.slow_settings import SlowSignal
from killswitch.wording import counted, odds_in_words

FALSE_PINS = 0.01  # of canaries within their limits, in 30 days, all slow signals of a rollout together
_FOR_ANSWERS = 0.1  # of that, spent on who answers
_MOST_BAD = 0.01  # of all rows may be unusable
_LEAST_OF_A_WEEK_AGO = 0.5
_POINTS_TO_SEE = 3.0  # beyond the limit, of a range of a hundred


@dataclass(frozen=True, slots=True)
class _Unknown:
    reason: Reason
    detail: str


def judge_slow(
    signal: SlowSignal,
    counts: SlowCounts | Unreadable,
    *,
    signals: int,
    evaluated_at: float,
    expected_day: int,
) -> SlowFinding:
    """The finding of one signal.

    ``signals``: how many slow signals share the budget of false pins. ``expected_day``: the newest day that the
    warehouse must have rows of (days since 1970), usually the day before the evaluation's.
    """
    blank = _blank(signal, evaluated_at)
    if isinstance(counts, Unreadable):
        return _unknown(blank, _Unknown(counts.reason, counts.detail))
    shown = _with_numbers(blank, signal, counts, signals)
    problem = next(_problems(counts, expected_day), None)
    if problem is not None:
        return _unknown(shown, problem)
    answers = _answers(signal, counts, signals)
    by_evidence = _by_evidence(shown, counts, answers)
    literal = _literally(shown, signal, counts)
    deciding = by_evidence if signal.decide == "evidence" else literal
    return replace(
        shown, verdict=deciding.verdict, reason=deciding.reason, sentence=deciding.sentence, by_evidence=by_evidence,
        literal=literal, answers=answers,
    )  # fmt: skip


def needed_evidence(signals: int) -> float:
    """The evidence that is a breach, if this many slow signals share the budget of false pins."""
    return signals / (FALSE_PINS * (1.0 - _FOR_ANSWERS))


def drop_to_see(signal: SlowSignal) -> float:
    """The difference of which it is said how soon it would be proven: three points of a hundred over the limit."""
    return signal.limit + _POINTS_TO_SEE * (signal.high - signal.low) / 100.0


# --- checks before a verdict ----------------------------------------------------------------------


def _problems(counts: SlowCounts, expected_day: int) -> Iterator[_Unknown]:
    """What forbids a verdict, in the order of the checks."""
    unusable = counts.bad > _MOST_BAD * counts.rows
    if counts.newest is None and not unusable:
        yield _Unknown(Reason.NO_DATA, "the warehouse has no row of these days")
    elif counts.newest is not None and counts.newest < expected_day:
        yield _Unknown(
            Reason.STALE,
            f"the newest row is of {date_of(counts.newest)}, but rows of {date_of(expected_day)} should be there; "
            "look whether the warehouse was loaded",
        )
    if unusable:
        kinds = ", ".join(f"{number:,} with {kind}" for kind, number in counts.left_out.items() if kind in BAD)
        yield _Unknown(Reason.GARBAGE, f"{counts.bad:,} of {counts.rows:,} rows cannot be used: {kinds}")
    if _cut_short(counts):
        yield _Unknown(Reason.PARTIAL_ANSWER, _cut_short(counts))
    canary = counts.answers.canary
    if canary and not counts.answers.control:
        yield _Unknown(Reason.TRAFFIC_SPLIT, f"all {canary:,} users are in the canary; there is no control cohort")
    split = mismatch(counts.stretches)
    if split is not None:
        yield _Unknown(Reason.TRAFFIC_SPLIT, split)
    if counts.last < counts.first:
        yield _Unknown(Reason.SETTLING, f"no day has settled yet; {date_of(counts.first)} will be the first to count")


BAD = ("no user", "no day", "a value out of range")
"""Reasons for which a row is unusable, among those in ``left_out``."""


def _cut_short(counts: SlowCounts) -> str:
    """Half an answer: the newest day that counts has far fewer users than the same weekday a week before."""
    now, before = counts.seen.get(counts.last, 0), counts.seen.get(counts.last - 7, 0)
    if counts.last < counts.first or before < 2 * FEWEST_USERS or now >= _LEAST_OF_A_WEEK_AGO * before:
        return ""
    day = date_of(counts.last)
    return f"{day} has {now:,} users, and a week before there were {before:,}; look whether its load is complete"


# --- ways of judging ------------------------------------------------------------------------------


def _by_evidence(shown: SlowFinding, counts: SlowCounts, answers: Judgement | None) -> Judgement:
    whole, recent = _differences(shown, counts)
    if whole is None or not whole.enough:
        return _as_judgement(shown.signal, _too_few(counts, whole))
    assert shown.evidence is not None
    assert shown.needed is not None
    so_far = "none yet" if shown.evidence <= 1.0 else odds_in_words(shown.evidence)
    parts = log_mixture(whole, recent, shown.limit)
    strongest = max(range(len(parts)), key=parts.__getitem__)
    since = None if strongest == 0 else counts.recent[strongest - 1].first
    said = _comparison(shown, [whole, *recent][strongest] or whole, since)
    sentence = f"{said}; evidence {so_far} (pins at {odds_in_words(shown.needed)})"
    if shown.evidence >= shown.needed:
        return Judgement(Verdict.BREACH, None, sentence)
    if answers is not None and answers.verdict is Verdict.BREACH:
        detail = f"{answers.sentence}, so those who answer are no longer alike"
        return _as_judgement(shown.signal, _Unknown(Reason.RESPONSE_RATE, detail))
    return Judgement(Verdict.HEALTHY, None, sentence)


def _too_few(counts: SlowCounts, compared: Difference | None) -> _Unknown:
    canary, control = counts.values.canary, counts.values.control
    if compared is None and min(canary, control) >= FEWEST_USERS:
        return _Unknown(Reason.NUMERIC, "all users have the same value, so nothing can be compared")
    return _Unknown(
        Reason.TOO_FEW_USERS,
        f"{counted(canary, 'user')} in the canary and {control:,} in control; {FEWEST_USERS} of each are needed",
    )


def _literally(shown: SlowFinding, signal: SlowSignal, counts: SlowCounts) -> Judgement:
    in_a_row = days_of(signal.sustained)
    by_day = {one.day: one for one in counts.days}
    wanted = range(counts.last - in_a_row + 1, counts.last + 1)
    drops: list[float] = []
    for day in wanted:
        one = by_day.get(day)
        if one is None or not one.canary.users or not one.control.users:
            gap = _Unknown(Reason.GAP, f"{date_of(day)} has no users in one of the cohorts")
            return _as_judgement(shown.signal, gap)
        drop = one.control.mean - one.canary.mean
        drops.append(drop if shown.lower_is_worse else -drop)
    word = "lower" if shown.lower_is_worse else "higher"
    sign = -1.0 if shown.lower_is_worse else 1.0
    listed = ", ".join(amount(sign * drop, as_share=shown.as_share, sign=True) for drop in drops)
    limit = points(shown.limit, as_share=shown.as_share)
    days = "day" if in_a_row == 1 else f"{in_a_row} days"
    sentence = f"{shown.signal} of the canary against control on the last {days}: {listed}; limit {limit} {word}"
    over = all(drop >= shown.limit for drop in drops)
    return Judgement(Verdict.BREACH if over else Verdict.HEALTHY, None, sentence)


def _answers(signal: SlowSignal, counts: SlowCounts, signals: int) -> Judgement | None:
    """Whether the canary's users answer less often; None where everyone who was asked has answered."""
    asked = [one for both in counts.stretches for one in (both.control_answers, both.canary_answers) if one.users]
    if all(one.mean == 1.0 for one in asked):
        return None
    compared = difference(counts.stretches, counts.answers, lower_is_worse=True, answers=True)
    if compared is None or not compared.enough:
        return None
    evidence = compared.log_evidence(signal.max_response_drop)
    sentence = (
        f"{compared.canary_mean:.1%} of the canary's users answer and {compared.control_mean:.1%} of control's, "
        f"limit {points(signal.max_response_drop, as_share=True)} fewer"
    )
    over = evidence >= math.log(signals / (FALSE_PINS * _FOR_ANSWERS))
    return Judgement(Verdict.BREACH if over else Verdict.HEALTHY, None, sentence)


def _comparison(shown: SlowFinding, compared: Difference, since: int | None) -> str:
    """Both means; of the days since a start of the newest weeks, where those say most."""
    word = "lower" if (compared.worse >= 0) == shown.lower_is_worse else "higher"
    worse = "lower" if shown.lower_is_worse else "higher"
    canary, control = (amount(one, as_share=shown.as_share) for one in (compared.canary_mean, compared.control_mean))
    by = points(abs(compared.worse), as_share=shown.as_share)
    limit = points(shown.limit, as_share=shown.as_share)
    when = "" if since is None else f"since {date_of(since)} "
    return (
        f"{shown.signal} {when}{canary} (canary, {counted(compared.canary_users, 'user')}) against {control} "
        f"(control, {compared.control_users:,}): {by} {word}, limit {limit} {worse}"
    )


# --- the finding ----------------------------------------------------------------------------------


def _blank(signal: SlowSignal, evaluated_at: float) -> SlowFinding:
    nothing = Judgement(Verdict.UNKNOWN, Reason.NO_DATA, f"{signal.name} unknown ({Reason.NO_DATA}): not judged")
    return SlowFinding(
        signal.name, Verdict.UNKNOWN, Reason.NO_DATA, nothing.sentence, signal.decide, nothing, nothing, None,
        evaluated_at, signal.limit, signal.max_drop is not None, (signal.low, signal.high) == (0.0, 1.0),
    )  # fmt: skip


def _with_numbers(blank: SlowFinding, signal: SlowSignal, counts: SlowCounts, signals: int) -> SlowFinding:
    in_a_row = days_of(signal.sustained)
    error = usual_error(counts.days)
    shown = replace(
        blank, first_day=counts.first, last_day=counts.last, newest_day=counts.newest, days=counts.days,
        left_out=dict(counts.left_out),
        split=tuple(
            UserSplit(one.share, one.canary_answers.users, one.control_answers.users) for one in counts.stretches
        ),
        literal_false_pins=false_pins(error, signal.limit, in_a_row) if math.isfinite(error) else None,
        literal_percent=percent_needed(counts.days, signal.limit, in_a_row),
    )  # fmt: skip
    compared, recent = _differences(blank, counts)
    if compared is None:
        return shown
    evidence = log_sum(log_mixture(compared, recent, signal.limit))
    needed = needed_evidence(signals)
    low, high = compared.interval(FALSE_PINS)
    days = counts.last - counts.first + 1
    to_see = drop_to_see(signal)
    return replace(
        shown, canary=compared.canary_mean, control=compared.control_mean, canary_users=compared.canary_users,
        control_users=compared.control_users, worse=compared.worse, low=low, high=high,
        evidence=math.exp(min(evidence, 700.0)), needed=needed, drop_to_see=to_see,
        days_to_see=compared.days_to_see(to_see, signal.limit, needed, days),
    )  # fmt: skip


def _differences(shown: SlowFinding, counts: SlowCounts) -> tuple[Difference | None, list[Difference | None]]:
    """The comparison of the whole time, and of the days since each start of the newest weeks."""
    lower = shown.lower_is_worse
    recent = [difference(one.stretches, one.values, lower_is_worse=lower) for one in counts.recent]
    return difference(counts.stretches, counts.values, lower_is_worse=lower), recent


def _unknown(shown: SlowFinding, problem: _Unknown) -> SlowFinding:
    said = _as_judgement(shown.signal, problem)
    return replace(
        shown, verdict=said.verdict, reason=said.reason, sentence=said.sentence, by_evidence=said, literal=said
    )


def _as_judgement(signal: str, problem: _Unknown) -> Judgement:
    return Judgement(Verdict.UNKNOWN, problem.reason, f"{signal} unknown ({problem.reason}): {problem.detail}")
