"""The doctor: would the kill switch see what it is meant to see, with these sources, stores and rules?

Every check ends in one line that says what was found and, where something is wrong, what to do. It reads
a day of history at most and changes nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.flags.flag import Flag
from killswitch.model import (
    Buckets,
    Cohort,
    CohortMatchers,
    Counts,
    Decide,
    Matcher,
    QuantileSignal,
    QuerySignal,
    RatioSignal,
    Reading,
    Readings,
    Reason,
    Rollout,
    Rule,
    Selector,
    Unreadable,
    Want,
)
from killswitch.pages.receivers import Answering, KeyedByName, Pager
from killswitch.preflight.backtest.backtest import Progress, Terms, step_readings
from killswitch.preflight.power import bare_breaches
from killswitch.sources import Source
from killswitch.sources.counter_health import CounterHealth
from killswitch.sources.scrape_interval import consequence, rounded, trial_selectors
from killswitch.verdicts import evidence as ev
from killswitch.verdicts import histogram
from killswitch.verdicts.evidence.starts import PURSE
from killswitch.verdicts.missing_events import never_counted
from killswitch.verdicts.step_counts import STEP, STEP_PER_USER
from killswitch.wording import count_in_words, counted, duration_in_words

Array = npt.NDArray[np.float64]
DAY = 86_400.0
_PATIENCE = 120.0
_RECEIVER_PATIENCE = 10.0
_DRAWS = 60
_SEED = 4
_SKEW, _BAD_SKEW = 5.0, 60.0
_MISSED = 0.05
_BORN_LATE = 0.05
_LITELLM_FAILURES = "litellm_proxy_failed_requests_metric_total"
_NAMELESS = "|None|unknown"  # a pattern: the empty name, too


class Status(StrEnum):
    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. ``about``: the rollout and rule, or the source or store. ``fix`` where needed."""

    about: str
    status: Status
    found: str
    fix: str = ""


AskFlags = Callable[[], tuple[dict[str, Flag], dict[str, str]]]
AskCounters = Callable[[Selector, Selector, float, Deadline], CounterHealth | Unreadable]
TryWriting = Callable[[str], None]
AskControllers = Callable[[], int | None]
MeasureInterval = Callable[[Selector, float, Deadline], float | Unreadable]


@dataclass(frozen=True, slots=True)
class Setup:
    """What is examined. ``wall`` is this machine's time, None where the source is a recording.

    ``flags`` asks the store, None where there is none; it raises what the store raises. ``measure``: the
    source's way to measure scrape intervals, ``counters`` its way to look at each series; None where it
    has none. ``scrape_interval`` is the configured one. ``try_writing`` asks the store whether it would take a trip
    of a rollout, ``controllers`` how many controllers are alive, None where that is not known. ``all_rules``:
    ``rollouts`` are all that have rules, not a choice among them.
    """

    source: Source
    rollouts: Sequence[Rollout]
    terms: Terms
    scrape_interval: float
    wall: float | None = None
    measure: MeasureInterval | None = None
    counters: AskCounters | None = None
    flags: AskFlags | None = None
    try_writing: TryWriting | None = None
    controllers: AskControllers | None = None
    all_rules: bool = True


def examine(patient: Setup, progress: Progress = lambda _: None) -> Iterator[Check]:
    """All checks, one after the other."""
    flags: dict[str, Flag] | None = None
    if patient.flags is not None:
        flags, checks = examine_store(patient.flags)
        yield from checks
        yield from examine_writing(flags, patient.rollouts, patient.try_writing)
        yield from _unwatched(flags or {}, patient.controllers)
        if patient.all_rules:
            yield from _unjudged(flags or {}, {rollout.name for rollout in patient.rollouts})
    try:
        now = patient.source.now(Deadline(_PATIENCE))
    except KillswitchError as error:
        yield no_source(error)
        return
    yield from _clock(patient.wall, now)
    for position, rollout in enumerate(patient.rollouts):
        try:
            yield from _rollout(patient, rollout, _served(flags, rollout.name))
        except KillswitchError as error:
            yield Check(rollout.name, Status.WRONG, str(error), "see that the metric source answers within its time")
        progress((position + 1) / len(patient.rollouts))


def examine_store(ask: AskFlags) -> tuple[dict[str, Flag] | None, list[Check]]:
    """The flags, None where they could not be read; and what is to be said of the store."""
    try:
        flags, broken = ask()
    except KillswitchError as error:
        fix = "start the store, or correct --store (KILLSWITCH_STORE) and its credentials"
        return None, [Check("flag store", Status.WRONG, str(error), fix)]
    checks = [Check("flag store", Status.OK, f"answers; {counted(len(flags), 'flag')}")]
    checks += [
        Check(name, Status.WRONG, problem, f"`killswitch end {name}`, then arm it again")
        for name, problem in broken.items()
    ]
    return flags, checks


def examine_writing(
    flags: dict[str, Flag] | None, rollouts: Sequence[Rollout], try_writing: TryWriting | None
) -> Iterator[Check]:
    """A store that is full, or that lets us read only, answers well, and no trip can be made. Nothing is changed."""
    if flags is None or try_writing is None or not rollouts:
        return
    try:
        try_writing(rollouts[0].name)
    except KillswitchError as error:
        fix = "give this user write permission, or make room in the store (etcd: compact, defragment, disarm the alarm)"
        yield Check("flag store", Status.WRONG, f"no trip can be made, for it takes no change: {error}", fix)


def _unwatched(flags: dict[str, Flag], ask: AskControllers | None) -> Iterator[Check]:
    armed = sum(flag.armed for flag in flags.values())
    if armed and ask is not None and ask() == 0:
        found = f"none is alive, and {counted(armed, 'flag')} armed: no one notices a bad canary"
        yield Check("controllers", Status.WARNING, found, "start `killswitch run` with this store")


def _unjudged(flags: dict[str, Flag], ruled: set[str]) -> Iterator[Check]:
    for name, flag in flags.items():
        if flag.armed and name not in ruled:
            found = f"armed at {flag.canary_percent:g}%, and no rule file here names it: these rules do not judge it"
            fix = f"add its rule file, or correct `rollout:` in the one that means it; else `killswitch end {name}`"
            yield Check(name, Status.WARNING, found, fix)


def examine_pages(rollouts: Sequence[Rollout], receivers: Sequence[Pager]) -> Iterator[Check]:
    """Who would be paged, and whether they answer; nothing is sent. ``receivers``: the fallback among them."""
    names = [receiver.name for receiver in receivers]
    silent = {receiver.name: check for receiver in receivers if (check := _silent(receiver)) is not None}
    yield from silent.values()
    taking = [name for name in names if name not in silent]
    if not {*names} - {"console"}:
        fix = "give KILLSWITCH_SLACK_TOKEN_FILE, KILLSWITCH_PAGERDUTY_KEY_FILE or KILLSWITCH_WEBHOOK_URL_FILE"
        yield Check("pages", Status.WARNING, "they go to standard output alone: nobody is called", fix)
    elif {*taking} - {"console"}:
        yield Check("pages", Status.OK, f"they go to {' and '.join(taking)}")
    for rollout in rollouts:
        channel = rollout.page.slack
        if channel is not None and "slack" not in names:
            fix = "give KILLSWITCH_SLACK_TOKEN_FILE, or take `slack` out of `page`"
            yield Check(rollout.name, Status.WARNING, f"no Slack token: its pages for {channel} go elsewhere", fix)
        if channel is None and "slack" in names:
            fix = 'name a channel: page: {slack: "#oncall"}'
            yield Check(rollout.name, Status.WARNING, "no Slack channel is named: Slack gets none of its pages", fix)

        yield from _pagerduty(rollout, next((each for each in receivers if isinstance(each, KeyedByName)), None))


def _pagerduty(rollout: Rollout, receiver: KeyedByName | None) -> Iterator[Check]:
    """Whether the integration key of this rollout's pages is there; PagerDuty has no way to ask whether it is right."""
    name = rollout.page.pagerduty
    if receiver is None:
        if name is not None:
            fix = "give KILLSWITCH_PAGERDUTY_TEAM_KEYS_FILE, or take `pagerduty` out of `page`"
            yield Check(rollout.name, Status.WARNING, f"no PagerDuty keys: its pages for {name} go elsewhere", fix)
        return
    problem = receiver.problem_of(name)
    if problem is None:
        return
    if name is not None and receiver.problem_of(None) is None:
        yield Check(
            rollout.name, Status.WARNING, f"its pages go to the default PagerDuty key: {problem}", "add the key"
        )
    else:
        yield Check(rollout.name, Status.WRONG, f"PagerDuty gets none of its pages: {problem}", "add the key")


def _silent(receiver: Pager) -> Check | None:
    """What is wrong with a receiver that can be asked, and does not take pages as it stands."""
    if not isinstance(receiver, Answering):
        return None
    try:
        receiver.answers(Deadline(_RECEIVER_PATIENCE))
    except KillswitchError as error:
        about = f"pages to {receiver.name}"
        return Check(
            about,
            Status.WRONG,
            str(error),
            "correct its settings (KILLSWITCH_…) or the files they name, or make the receiver answer",
        )
    return None


def no_source(error: KillswitchError) -> Check:
    return Check(
        "metric source",
        Status.WRONG,
        str(error),
        "start it, or correct --source (KILLSWITCH_SOURCE) and its credentials",
    )


def _clock(wall: float | None, now: float) -> Iterator[Check]:
    if wall is None:
        yield Check("metric source", Status.OK, "a recording")
        return
    skew = now - wall
    if abs(skew) <= _SKEW:
        yield Check("metric source", Status.OK, f"answers; its clock and this machine's differ by {abs(skew):.1f} s")
        return
    status = Status.WRONG if abs(skew) > _BAD_SKEW else Status.WARNING
    side = "ahead of" if skew > 0 else "behind"
    fix = "run NTP on both"
    if skew < 0:
        fix += "; if it is VictoriaMetrics, set -search.latencyOffset=1s: it answers as of 30 s ago by default"
    yield Check("metric source", status, f"its clock is {duration_in_words(abs(skew))} {side} this machine's", fix)


# --- one rollout --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Served:
    """Whether users get the canary: ``percent`` of them, None where the flag was not read or is not armed."""

    known: bool
    percent: float | None

    @property
    def canary_may_be_absent(self) -> str:
        """Why the canary may have no series without anything being wrong; "" where it must have some."""
        if not self.known:
            return "whether it is armed is UNKNOWN, because no flag store was read"
        if self.percent is None:
            return "expected: it is not armed"
        return "" if self.percent else "expected: its percent is 0"


def _served(flags: dict[str, Flag] | None, rollout: str) -> _Served:
    flag = flags.get(rollout) if flags is not None else None
    return _Served(flags is not None, flag.canary_percent if flag is not None and flag.armed else None)


def _rollout(patient: Setup, rollout: Rollout, served: _Served) -> Iterator[Check]:
    yield from _interval(patient, rollout)
    yield from _counters(patient, rollout)
    steps = step_readings(patient.source, rollout, patient.terms)
    plain: list[str] = []
    for rule in rollout.rules:
        about = f"{rollout.name} {rule.name}"
        if isinstance(rule.signal, QuerySignal):
            yield Check(
                about, Status.NOTE, "a free query: only the bare comparison applies, and nothing bounds false trips"
            )
            continue
        twins = [
            each for readings in steps if (each := readings.get((rollout.name, rule.name, STEP_PER_USER))) is not None
        ]
        judged = any(not isinstance(side, Unreadable) for each in twins[-10:] for side in (each.canary, each.control))
        readings = twins if judged else _plain(rollout, rule, steps)
        yield from _seen(about, rule, readings, served)
        counted_plainly = any(
            not isinstance(side, Unreadable) for one in readings for side in (one.canary, one.control)
        )
        if rule.per_user is not None and not judged and counted_plainly:
            plain.append(rule.name)
        if isinstance(rule.signal, QuantileSignal):
            yield from _buckets(about, rule, readings)
        else:
            yield from _counted(about, rule, readings)
            yield from _history(about, rollout, rule, readings, patient.terms, served.percent or 5.0, judged=judged)
    if plain:
        yield Check(
            rollout.name,
            Status.WARNING,
            f"{', '.join(plain)}: judged on plain counters; one user's retries count in full, and the promise on false "
            "trips is weaker",
            "let the router library write the judged twins (llm_judged_…), or set `bursts: long`",
        )
    yield from _litellm(patient, rollout)


def _plain(rollout: Rollout, rule: Rule, steps: Sequence[Readings]) -> list[Reading]:
    return [readings[rollout.name, rule.name, STEP] for readings in steps]


def _interval(patient: Setup, rollout: Rollout) -> Iterator[Check]:
    if patient.measure is None:
        return
    for selector in dict.fromkeys(trial_selectors(rollout)):
        found = patient.measure(selector, patient.terms.until, Deadline(_PATIENCE))
        if isinstance(found, Unreadable):
            continue
        words = f"{selector.metric} is scraped every {found:.3g} s"
        if abs(found - patient.scrape_interval) <= 0.05 * patient.scrape_interval:
            yield Check(rollout.name, Status.OK, words)
        else:
            yield Check(
                rollout.name,
                Status.WRONG if found > patient.scrape_interval else Status.WARNING,
                f"{words}, and {patient.scrape_interval:g} s are configured:"
                f" {consequence(found, patient.scrape_interval)}",
                f"set scrape_interval: {duration_in_words(rounded(found)).replace(' ', '')}",
            )
        return


def _counters(patient: Setup, rollout: Rollout) -> Iterator[Check]:
    """Do counters fall without a restart, and are events lost in series that begin with their first event?"""
    pairs = dict.fromkeys(
        (rule.signal.events[0], rule.signal.trials[0]) for rule in rollout.rules if isinstance(rule.signal, RatioSignal)
    )
    told: set[str] = set()
    for events, trials in pairs if patient.counters is not None else ():
        assert patient.counters is not None
        found = patient.counters(events, trials, patient.terms.until, Deadline(_PATIENCE))
        if isinstance(found, Unreadable):
            continue
        for process, times in found.falls:
            words = f"{trials.metric} fell {times} times within an hour, and not by a restart: {process}"
            if words not in told:
                told.add(words)
                fix = (
                    "several workers answer /metrics by turns: set PROMETHEUS_MULTIPROC_DIR, or scrape each one; or "
                    "two jobs or servers send the same series: give each its own labels"
                )
                yield Check(rollout.name, Status.WRONG, words, fix)
        share = found.born / (found.events + found.born) if found.events + found.born > 0 else 0.0
        if share > _BORN_LATE:
            where = "`decide: threshold` loses" if rollout.decide is Decide.THRESHOLD else "a plain increase() loses"
            yield Check(
                rollout.name,
                Status.WARNING,
                f"{share:.0%} of {events.metric} are in first samples of series that began after their process: {where}"
                " them; evidence counts them where the process was scraped before",
                "create each series when the process starts, such as counter.labels(outcome='error')",
            )


def _seen(about: str, rule: Rule, readings: Sequence[Reading], served: _Served) -> Iterator[Check]:
    """Are both cohorts there, and are scrapes complete?"""
    recent = readings[-20:]
    for cohort in (Cohort.CONTROL, Cohort.CANARY):
        sides = [getattr(reading, cohort.value) for reading in recent]
        problems = Counter(side.reason for side in sides if isinstance(side, Unreadable))
        if sum(problems.values()) < len(sides):
            continue
        reason = problems.most_common(1)[0][0] if problems else Reason.NO_DATA
        detail = next((side.detail for side in sides if isinstance(side, Unreadable)), "nothing was read")
        absent = served.canary_may_be_absent if cohort is Cohort.CANARY and reason is Reason.NO_DATA else ""
        status = Status.NOTE if absent else Status.WRONG
        fix = "" if absent else _fix_of(reason, rule)
        why = f" ({absent})" if absent else ""
        yield Check(about, status, f"{cohort.value}: {reason}: {detail}{why}", fix)
        return
    gaps = sum(
        any(isinstance(s, Unreadable) and s.reason is Reason.GAP for s in (r.canary, r.control)) for r in readings
    )
    if readings and gaps > _MISSED * len(readings):
        yield Check(
            about,
            Status.WARNING,
            f"{gaps / len(readings):.0%} of steps had no scrape at all: the next one counts what they missed, late",
            "look at scrape_duration_seconds and at timeouts of the targets",
        )
    else:
        yield Check(about, Status.OK, "both cohorts are seen")


def _counted(about: str, rule: Rule, readings: Sequence[Reading]) -> Iterator[Check]:
    """Whether the events of a rule were ever counted at all."""
    sides = [side for each in readings for side in (each.canary, each.control) if isinstance(side, Counts)]
    doubt = never_counted(rule, sum(side.events for side in sides), sum(side.trials for side in sides))
    if doubt is not None:
        fix = "cause one such event and look for it in the service's metrics page; until then this rule protects nobody"
        yield Check(about, Status.WARNING, doubt, fix)


def _fix_of(reason: Reason, rule: Rule) -> str:
    match reason:
        case Reason.NEVER_SEEN:
            return f"correct the event metric of {rule.name}, or say absent_is_zero: true"
        case Reason.GAP:
            return "see that the services are scraped: look at scrape_duration_seconds and at timeouts of the targets"
        case Reason.STALE:
            return "see that the services are up and scraped, and that scrape_interval is what the metric store uses"
        case _:
            return (
                "correct the metric, `match` or `cohorts` in the rule file; a service scraped only once or twice so far"
                " looks the same: then ask again in a minute"
            )


# --- histograms ---------------------------------------------------------------------------------


def _buckets(about: str, rule: Rule, readings: Sequence[Reading]) -> Iterator[Check]:
    assert isinstance(rule.signal, QuantileSignal)
    sides = [each.control for each in readings if isinstance(each.control, Buckets) and each.control.counts[-1] > 0]
    if not sides:
        return
    whole = histogram.merge(sides[0], *sides[1:])
    last = histogram.last_finite_bound(whole)
    value = histogram.quantile(whole, rule.signal.quantile)
    if histogram.is_saturated(whole, rule.signal.quantile):
        found = f"control's own quantile lies above the last bucket ({duration_in_words(last)}): nothing can be seen"
        yield Check(about, Status.WRONG, found, "add larger buckets to the histogram")
        return
    highest = max(_edges(rule, value))
    if highest > last:
        found = f"the limit ({duration_in_words(highest)}) lies above the last bucket ({duration_in_words(last)})"
        yield Check(about, Status.WRONG, found, "add larger buckets to the histogram")
        return
    if rule.limits.max_ratio is not None:
        low, high = real_ratios(whole, rule)
        coarse = high / low > 1.25
        found = (
            f"with these buckets a limit of {rule.limits.max_ratio:g}x fires at true ratios of {low:.2f} to {high:.2f}"
        )
        fix = f"add buckets around {duration_in_words(value)} to {duration_in_words(highest)}" if coarse else ""
        yield Check(about, Status.WARNING if coarse else Status.OK, found, fix)


def _edges(rule: Rule, value: float) -> Iterator[float]:
    for bound in ev.bounds_of(rule):
        for edge in (bound.canary_edge, bound.control_edge):
            if edge is not None:
                yield edge.scale * value + edge.offset


def real_ratios(control: Buckets, rule: Rule) -> tuple[float, float]:
    """The smallest and the largest true ratio of latencies at which ``max_ratio`` fires, for these edges.

    Latencies are taken as log-normal through control's median and quantile; control's own level is moved by
    up to a third either way, since where in its bucket a quantile stands is what makes the difference.
    """
    assert isinstance(rule.signal, QuantileSignal)
    assert rule.limits.max_ratio is not None
    quantile, edges = rule.signal.quantile, np.array(control.bounds)
    median, value = histogram.quantile(control, 0.5), histogram.quantile(control, quantile)
    z = math.sqrt(2.0) * _inverse_erf(2.0 * quantile - 1.0)
    spread = max(math.log(max(value, 1e-9) / max(median, 1e-9)) / z, 0.05) if z else 0.5
    found = []
    for level in np.geomspace(0.75, 1.33, 41):
        own = _cumulative(edges, median * level, spread)
        tau = ev.quantile_of(edges, own, quantile)
        slow = ev.slower_than(edges, own, tau)
        low, high = 1.0, 4.0 * rule.limits.max_ratio
        for _ in range(40):
            middle = (low + high) / 2
            seen = ev.slower_than(
                edges, _cumulative(edges, median * level * middle, spread), rule.limits.max_ratio * tau
            )
            low, high = (low, middle) if seen > slow else (middle, high)
        if np.isfinite(slow) and np.isfinite(rule.limits.max_ratio * tau) and rule.limits.max_ratio * tau <= edges[-2]:
            found.append(low)
    return (min(found), max(found)) if found else (math.nan, math.nan)


def _cumulative(edges: Array, median: float, spread: float) -> Array:
    with np.errstate(divide="ignore"):
        z = (np.log(edges) - math.log(median)) / spread
    return np.array([0.5 * (1.0 + math.erf(each / math.sqrt(2.0))) for each in z])


def _inverse_erf(value: float) -> float:
    low, high = 0.0, 6.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < value else (low, middle)
    return low


# --- what control's history costs ---------------------------------------------------------------


def _history(
    about: str, rollout: Rollout, rule: Rule, readings: Sequence[Reading], terms: Terms, percent: float, *, judged: bool
) -> Iterator[Check]:
    sides = [each.control if isinstance(each.control, Counts) else None for each in readings]
    x = np.array([side.events if side is not None else np.nan for side in sides])
    n = np.array([side.trials if side is not None else np.nan for side in sides])
    if np.isfinite(n).sum() < 120 or not np.nansum(n) > 0:
        yield Check(about, Status.NOTE, "less than an hour of control's history: bursts are not measured")
        return
    short, long = dispersion(x, n, 1), dispersion(x, n, 20)
    if long > 3.0 and long > 2.0 * short and rollout.bursts != "long" and not judged:
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
    """Variance over what independent requests would have, of differences between blocks of so many steps.

    The statistic of `killswitch.verdicts.evidence.dispersion`, undiscounted and uncapped; 1 where nothing is known.
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
    """A canary drawn from control's own history, again and again: who would have tripped it?"""
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
        f"on control's own last {duration_in_words(days * DAY)}, as a canary of {percent:g}%: the bare rule trips in "
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
    """The share of draws that evidence trips, warmed up on the first hour."""
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


# --- presets' own traps -------------------------------------------------------------------------


def _litellm(patient: Setup, rollout: Rollout) -> Iterator[Check]:
    for rule in rollout.rules:
        if isinstance(rule.signal, RatioSignal):
            failures = [each for each in rule.signal.events if each.metric == _LITELLM_FAILURES]
            if failures:
                yield from _litellm_elsewhere(patient, rollout, rule, failures[0])
                return


def _litellm_elsewhere(patient: Setup, rollout: Rollout, rule: Rule, failed: Selector) -> Iterator[Check]:
    """Failures of requests for an alias, or for no model that the proxy could name, belong to no cohort."""
    label = "requested_model"
    cohorts = rollout.cohorts_of(rule)
    named = [re.escape(one.value) for matchers in cohorts.values() for one in matchers if one.label == label]
    if not named:
        return
    failures = (failed,)
    places: CohortMatchers = {
        Cohort.CONTROL: (Matcher(label, "=~", _NAMELESS),),
        Cohort.CANARY: (Matcher(label, "!~", "|".join([*named, _NAMELESS])),),
    }
    want = Want(rollout.name, rule.name, "sum", RatioSignal(failures, failures), places, 3600.0, absent_is_zero=True)
    reading = patient.source.read([want], patient.terms.until, Deadline(_PATIENCE))[want.key]
    found = [side.trials if isinstance(side, Counts) else 0.0 for side in (reading.control, reading.canary)]
    if sum(found) < 1:
        return
    nameless, others = (count_in_words(each) for each in found)
    yield Check(
        f"{rollout.name} {rule.name}",
        Status.WARNING,
        f"in an hour {nameless} failures have no model's name (empty, None, unknown), {others} the name of neither "
        "cohort: requests for an alias of the canary are there, and no rule sees them",
        f"look at sum by ({label}) (increase({_LITELLM_FAILURES}[1h])); let control and canary name the groups that "
        "clients ask for, or count in your own service (metrics: cohort-labels)",
    )
