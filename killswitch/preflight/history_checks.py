"""Checks of control's own history: do its events come in bursts, and would they have tripped a good canary?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from killswitch.model import Counts, Decide, Reading, Rollout, Rule
from killswitch.preflight.backtest.results import Terms
from killswitch.preflight.bare_cost import bare_breaches
from killswitch.preflight.checks import Check, Status
from killswitch.timestamps import DAY
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence.starts import PURSE
from killswitch.wording import duration_in_words

_DRAWS = 60
_SEED = 4


def examine_history(
    about: str,
    rollout: Rollout,
    rule: Rule,
    readings: Sequence[Reading],
    terms: Terms,
    percent: float,
    *,
    per_user: bool,
) -> Iterator[Check]:
    sides = [each.control if isinstance(each.control, Counts) else None for each in readings]
    x = np.array([side.events if side is not None else np.nan for side in sides])
    n = np.array([side.trials if side is not None else np.nan for side in sides])
    if np.isfinite(n).sum() < 120 or not np.nansum(n) > 0:
        yield Check(about, Status.NOTE, "less than an hour of control's history: bursts are not measured")
        return
    short, long = dispersion(x, n, 1), dispersion(x, n, 20)
    if long > 3.0 and long > 2.0 * short and rollout.bursts != "long" and not per_user:
        yield Check(
            about,
            Status.WARNING,
            f"control's events come in bursts that last minutes ({short:.1f} times chance from step to step, "
            f"{long:.1f} times over ten minutes): a healthy canary may be tripped",
            "judge users' first requests (llm_judged_…), or set `bursts: long`",
        )
    else:
        yield Check(
            about, Status.OK, f"control's events vary {short:.1f} times as much as chance, {long:.1f} over minutes"
        )
    yield from _costs(about, rollout, rule, (x, n), terms, percent, max(short, 1.0))


def dispersion(x: Array, n: Array, block: int) -> float:
    """Variance of the differences between blocks of ``block`` steps, divided by that of independent requests.

    The statistic of `killswitch.verdicts.evidence.dispersion`, without discount or cap; 1 if nothing is known.
    """
    size = len(x) // block * block
    known = np.isfinite(x[:size]) & np.isfinite(n[:size])
    events = np.where(known, x[:size], 0.0).reshape(-1, block).sum(axis=1)
    trials = np.where(known, n[:size], 0.0).reshape(-1, block).sum(axis=1)
    pair = (trials[1:] > 0) & (trials[:-1] > 0)
    x1, n1, x0, n0 = (each[pair] for each in (events[1:], trials[1:], events[:-1], trials[:-1]))
    if not x1.size or not (x1 + x0).sum():
        return 1.0
    squares = (x1 * n0 - x0 * n1) ** 2 / (2.0 * n1 * n0)
    share = min((x1 + x0).sum() / (n1 + n0).sum(), 0.98)
    return float(squares.sum() / (0.5 * (x1 + x0).sum() * (1.0 - share)))


def _costs(
    about: str, rollout: Rollout, rule: Rule, control: tuple[Array, Array], terms: Terms, percent: float, bursts: float
) -> Iterator[Check]:
    """Draw many good canaries from control's own history: how many would each way of deciding have tripped?"""
    x, n = control
    rng = np.random.default_rng(_SEED)
    share = percent / (100.0 - percent)
    known = np.isfinite(x) & np.isfinite(n)
    trials = np.where(known, rng.poisson(np.where(known, n * share, 0.0), (_DRAWS, len(n))), np.nan).T
    clump = (bursts + 1.0) / 2.0
    clumps = rng.poisson(np.where(known, x * share, 0.0) / clump, (_DRAWS, len(n)))
    more = rng.negative_binomial(np.maximum(clumps, 1), 1.0 / clump) if clump > 1 else np.zeros(clumps.shape)
    events = np.where(known, np.where(clumps > 0, clumps + more, 0), np.nan).T
    events = np.minimum(events, trials)
    days = known.sum() * terms.step / DAY
    bare = bare_breaches(rollout, rule, (events, trials), (x[:, None], n[:, None]), terms.step)
    evident = _evident(rollout, rule, (events, trials), control, terms.step)
    words = (
        f"with control's own last {duration_in_words(days * DAY)} as a canary of {percent:g}%, the bare rule trips in "
        f"{bare.any(axis=0).mean():.0%} of draws, evidence in {evident:.0%}"
    )
    if rollout.decide is Decide.THRESHOLD and bare.any(axis=0).mean() > 0.05:
        yield Check(about, Status.WARNING, words, "use `decide: evidence`, or a longer `for`")
    elif evident > 0.05 and rollout.decide is Decide.EVIDENCE:
        yield Check(about, Status.WARNING, words, "judge users' first requests (llm_judged_…), or set `bursts: long`")
    else:
        yield Check(about, Status.OK, words)


def _evident(
    rollout: Rollout, rule: Rule, canary: tuple[Array, Array], control: tuple[Array, Array], step: float
) -> float:
    """The share of draws that evidence trips; the first hour is control's known past."""
    bounds = ev.bounds_of(rule)
    alpha = rollout.false_trips_per_day / len(rollout.rules)
    state = ev.start([ev.DetectorSpec(run, bounds, alpha, bursts=rollout.bursts) for run in range(_DRAWS)])
    whole = (*canary, *(np.repeat(side[:, None], _DRAWS, axis=1) for side in control))
    columns = [np.repeat(side, len(bounds), axis=1) for side in whole]
    warm = 120
    state = ev.warm_up(state, columns[2][:warm], columns[3][:warm])
    counts = ev.TickCounts(*(column[warm:] for column in columns))
    ticks = np.arange(len(columns[0]) - warm, dtype=np.float64) * step
    if not ticks.size:
        return 0.0
    heads = np.zeros((len(ticks), _DRAWS))
    heads[0] = 0.5 * PURSE
    _, trace = ev.advance(state, counts, ticks, step=step, head_starts=heads)
    return float(trace.breach.any(axis=0).mean())
