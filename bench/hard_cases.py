"""Cases that need traffic of their own: users' retry storms, late feedback, uneven users."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import convolve

from bench import scenarios
from bench.cells import Blocks, Cell, first_breaches, judge
from bench.scenarios import DAY_TICKS, ERROR, STEP, THUMBS, WARM_UP_TICKS, Canary, Scenario, World
from bench.tables import upper_bound
from killswitch.flags.flag import StageEntry
from killswitch.model import Bursts
from killswitch.verdicts.evidence import DetectorSpec, TickCounts, paused_at
from killswitch.verdicts.evidence.evariables import Array

HEADER = ("hard case", "runs that trip", "95 % upper bound")
ALPHA = scenarios.FALSE_TRIPS / len(scenarios.RULES)

# One user failing every 5 s for ten minutes; 0.3 % of all requests, beside 0.5 % of ordinary errors.
_STORM_TICKS, _STORM_REQUESTS, _STORM_SHARE, _ORDINARY = 20, 6, 0.003, 0.005
# A user's first request in each five minutes; about half of all requests are.
_JUDGED_SHARE, _JUDGED_EVERY = 0.5, 10


def _rule_specs(rule: int, runs: int, *, bursts: Bursts = "auto") -> list[DetectorSpec]:
    return [DetectorSpec(run, scenarios.BOUNDS[rule], ALPHA, bursts) for run in range(runs)]


def _repeat(counts: tuple[Array, Array, Array, Array], rule: int) -> TickCounts:
    bounds = len(scenarios.BOUNDS[rule])
    return TickCounts(*(part.repeat(bounds, axis=1) for part in counts))


def _blocks(counts: TickCounts) -> Blocks:
    """The hour before arming, then the day."""
    names = counts.__dataclass_fields__
    ticks = np.arange(-WARM_UP_TICKS, len(counts.canary_events) - WARM_UP_TICKS, dtype=np.intp)
    for part in (slice(0, WARM_UP_TICKS), slice(WARM_UP_TICKS, None)):
        yield ticks[part], TickCounts(*(getattr(counts, name)[part] for name in names))


def retry_storms(world: World, runs: int, rng: np.random.Generator, *, judged: bool) -> TickCounts:
    """Errors of both cohorts when single users storm; every request counted, or a user's first in five minutes."""
    ticks = DAY_TICKS + WARM_UP_TICKS
    columns = []
    for requests in world.requests:
        n = rng.poisson(requests * (_JUDGED_SHARE if judged else 1.0), (ticks, runs)).astype(np.float64)
        x = rng.binomial(n.astype(np.int64), _ORDINARY).astype(np.float64)
        storms_a_tick = requests * _STORM_SHARE / (_STORM_REQUESTS * _STORM_TICKS)
        begins = rng.poisson(storms_a_tick, (ticks, runs)).astype(np.float64)
        weights = np.zeros(_STORM_TICKS)
        if judged:
            weights[::_JUDGED_EVERY] = 1.0
        else:
            weights[:] = _STORM_REQUESTS
        failing = convolve(begins, weights[:, None])[:ticks]
        columns += [x + failing, n + failing]
    return _repeat((columns[0], columns[1], columns[2], columns[3]), ERROR)


def first_storm(world: World, runs: int, rng: np.random.Generator, *, every: int, ticks: int) -> TickCounts:
    """One user of the canary fails ``every`` seconds for some ticks, once a day; no user of control does."""
    whole = DAY_TICKS + WARM_UP_TICKS
    columns = []
    for requests in world.requests:
        n = rng.poisson(requests, (whole, runs)).astype(np.float64)
        columns += [rng.binomial(n.astype(np.int64), _ORDINARY).astype(np.float64), n]
    begins = WARM_UP_TICKS + rng.integers(0, DAY_TICKS - ticks, runs)
    at = np.arange(whole)[:, None]
    failing = np.where((at >= begins) & (at < begins + ticks), STEP / every, 0.0)
    columns[0], columns[1] = columns[0] + failing, columns[1] + failing
    return _repeat((columns[0], columns[1], columns[2], columns[3]), ERROR)


def canary_clumps(world: World, runs: int, rng: np.random.Generator, *, clump: float) -> TickCounts:
    """A canary of 1.2 % of errors against a limit of 2 %, in clumps that control's 1 % does not have."""
    shape = (DAY_TICKS + WARM_UP_TICKS, runs)
    n_c, n_b = (rng.poisson(requests, shape).astype(np.float64) for requests in world.requests)
    x_c = scenarios.events(n_c, np.full(shape, 0.012), clump, rng)
    x_b = scenarios.events(n_b, np.full(shape, 0.01), 1.0, rng)
    return _repeat((x_c, n_c, x_b, n_b), ERROR)


def late_feedback(runs: int, rng: np.random.Generator) -> TickCounts:
    """Thumbs-down up to ten minutes late; the canary goes from 50 to 5 % after six hours."""
    ticks, lowered, late = DAY_TICKS + WARM_UP_TICKS, WARM_UP_TICKS + 720, 20
    share = np.where(np.arange(ticks) < lowered, 0.5, 0.05)[:, None]
    columns = []
    for part in (share, 1.0 - share):
        n = rng.poisson(np.broadcast_to(50.0 * STEP * part, (ticks, runs))).astype(np.float64)
        trailing = np.cumsum(np.concatenate([np.repeat(n[:1], late, axis=0), n]), axis=0)
        trailing = (trailing[late:] - trailing[:-late]) / late
        columns += [rng.poisson(0.005 * trailing).astype(np.float64), n]
    return _repeat((columns[0], columns[1], columns[2], columns[3]), THUMBS)


def _late_pause(delay: float, runs: int, ticks: Array) -> npt.NDArray[np.bool_]:
    stages = [StageEntry("ramp_50", 50.0, 0.0), StageEntry("ramp_5", 5.0, 720 * STEP)]
    return paused_at(stages, [delay] * runs, ticks)


def uneven_users(users: int, percent: float, runs: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Long-run error rates of canary and control, (runs,), when whole users fall into cohorts.

    Activity log-normal with sd 1.2, users' error rates Beta(1/2) with mean 1 %, the same model behind both.
    """
    rates: list[Array] = []
    for _ in range(runs):
        activity = rng.lognormal(0.0, 1.2, users)
        failing = activity * rng.beta(0.5, 49.5, users)
        canary = rng.random(users) < percent / 100
        canary[rng.integers(users)] |= not canary.any()
        rates.append(np.array([failing[side].sum() / activity[side].sum() for side in (canary, ~canary)]))
    both = np.array(rates)
    return both[:, 0], both[:, 1]


_STORMS: dict[str, tuple[bool, Bursts]] = {
    "retry storms, plain counters": (False, "auto"),
    "retry storms, plain counters, `bursts: short`": (False, "short"),
    "retry storms, plain counters, `bursts: long`": (False, "long"),
    "retry storms, judged requests": (True, "auto"),
}
# a minute of a request a second that fails; ten minutes of one each five seconds
_FIRST: dict[str, tuple[World, int, int]] = {
    f"one first storm, {words}, {percent:g} % of 50/s": (World(50.0, percent), every, ticks)
    for words, every, ticks in (("one minute", 1, 2), ("ten minutes", 5, _STORM_TICKS))
    for percent in (5.0, 25.0)
}
_CLUMPS = {f"1.2 % of errors in clumps of {size}, in the canary alone": float(size) for size in (2, 4, 8)}
_FEEDBACK = {"50 to 5 % with late feedback": 300.0, "50 to 5 % with late feedback, delay not stated": 0.0}
_USERS = {
    f"uneven users: {users:,}, {percent:g} %": (users, percent)
    for users in (500, 5_000, 50_000)
    for percent in (1.0, 5.0)
}


def names() -> list[str]:
    return [*_STORMS, *_FIRST, *_CLUMPS, *_FEEDBACK, *_USERS]


def measure(name: str, runs: int) -> list[str]:
    """One row of the table: name, trips, upper bound."""
    trips = trips_of(name, runs)
    return [name, f"{trips} of {runs}", f"{100 * upper_bound(trips, runs):.1f} %"]


def trips_of(name: str, runs: int) -> int:
    rng = np.random.default_rng(list(name.encode()))
    if name in _STORMS:
        judged, bursts = _STORMS[name]
        specs = _rule_specs(ERROR, runs, bursts=bursts)
        first = first_breaches(specs, _blocks(retry_storms(World(), runs, rng, judged=judged)))
        return int(np.isfinite(first).sum())
    if name in _FIRST:
        world, every, ticks = _FIRST[name]
        blocks = _blocks(first_storm(world, runs, rng, every=every, ticks=ticks))
        return int(np.isfinite(first_breaches(_rule_specs(ERROR, runs), blocks)).sum())
    if name in _CLUMPS:
        clumpy = _blocks(canary_clumps(World(), runs, rng, clump=_CLUMPS[name]))
        return int(np.isfinite(first_breaches(_rule_specs(ERROR, runs), clumpy)).sum())
    if name in _FEEDBACK:
        delay = _FEEDBACK[name]
        blocks = _blocks(late_feedback(runs, rng))
        first = first_breaches(_rule_specs(THUMBS, runs), blocks, lambda ticks: _late_pause(delay, runs, ticks))
        return int(np.isfinite(first).sum())
    users, percent = _USERS[name]
    canary, control = uneven_users(users, percent, runs, rng)
    weather = Scenario(name, lambda ticks, _runs, _rng: _of_users(len(ticks), control))
    shares = Canary("their own users", {ERROR: lambda p, _: np.broadcast_to(canary, p.shape)})
    first = judge(Cell(World(50.0, percent), weather, shares, runs))
    return int(np.isfinite(first[:, ERROR]).sum())


def _of_users(ticks: int, control: Array) -> scenarios.Weather:
    fair = scenarios.fair(ticks)
    return scenarios.Weather(
        fair.traffic, np.broadcast_to(control / 0.01, (ticks, control.size)), fair.flicker, fair.slowness, fair.outage
    )
