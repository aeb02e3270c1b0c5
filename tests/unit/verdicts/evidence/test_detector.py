"""Evidence over time: what moves it, what must not, and that blocks of ticks equal single ticks."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import scenarios
from killswitch.errors import BadDocument
from killswitch.model import Bursts
from killswitch.verdicts.evidence import (
    DetectorSpec,
    Evidence,
    TickCounts,
    Trace,
    advance,
    combine,
    dispersion,
    from_document,
    select,
    start,
    to_document,
    warm_up,
)
from killswitch.verdicts.evidence.bounds import WORSE_THAN_CONTROL, Bound, half_plane
from killswitch.verdicts.evidence.detector import ALTERNATIVES, WEIGHTS, _accumulate, _Walk, cap
from killswitch.verdicts.evidence.evariables import LARGEST_COUNT, Array, log_evidence

STEP = 30.0
NAMES = tuple(field.name for field in fields(TickCounts))

MAX = DetectorSpec("max", (Bound("max", half_plane(0.0, 0.02)), Bound("worse", WORSE_THAN_CONTROL)), 0.0025)
INCREASE = DetectorSpec("increase", (Bound("max_increase", half_plane(1.0, 0.05)),), 0.0025)
RATIO = DetectorSpec("ratio", (Bound("max_ratio", half_plane(2.0, 0.0)),), 0.0025)
ALL = (MAX, INCREASE, RATIO)
WIDTH = 4


def ticks(count: int, first: float = 0.0) -> Array:
    return first + STEP * np.arange(1, count + 1, dtype=np.float64)


def steady(
    count: int, *, canary: float, control: float, n_c: float = 75, n_b: float = 1425, width: int = WIDTH
) -> TickCounts:
    """Counts that are exactly their expectation."""
    one = np.ones((count, width))
    return TickCounts(one * n_c * canary, one * n_c, one * n_b * control, one * n_b)


def drawn(count: int, rng: np.random.Generator, *, canary: float = 0.01, control: float = 0.01) -> TickCounts:
    n_c, n_b = rng.poisson(75, (count, WIDTH)), rng.poisson(1425, (count, WIDTH))
    x_c, x_b = rng.binomial(n_c, canary), rng.binomial(n_b, control)
    return TickCounts(*(part.astype(np.float64) for part in (x_c, n_c, x_b, n_b)))


def part(counts: TickCounts, rows: slice) -> TickCounts:
    return TickCounts(*(getattr(counts, name)[rows] for name in NAMES))


def with_row(counts: TickCounts, row: int, **values: float) -> TickCounts:
    changed = {name: getattr(counts, name).copy() for name in NAMES}
    for name, value in values.items():
        changed[name][row] = value
    return TickCounts(**changed)


def warm(specs: tuple[DetectorSpec, ...] = ALL, control: float = 0.01) -> Evidence:
    rng = np.random.default_rng(3)
    trials = np.full((200, WIDTH), 1425.0)
    return warm_up(start(specs), rng.binomial(1425, control, trials.shape).astype(np.float64), trials)


def run(state: Evidence, counts: TickCounts, **more: npt.NDArray[np.generic]) -> tuple[Evidence, Trace]:
    return advance(state, counts, ticks(len(counts.canary_events)), step=STEP, **more)  # type: ignore[arg-type]


def same(a: Evidence, b: Evidence) -> bool:
    histories = [(getattr(a.past, f.name), getattr(b.past, f.name)) for f in fields(a.past)]
    pairs = [(getattr(x, f.name), getattr(y, f.name)) for x, y in histories for f in fields(x)]
    pairs += [(getattr(a, name), getattr(b, name)) for name in ("log_sums", "excursions", "since")]
    return all(np.array_equal(x, y, equal_nan=True) for x, y in pairs)


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(1, 59), max_size=5))
@settings(max_examples=25, deadline=None)
def test_a_replay_in_blocks_equals_single_ticks(seed: int, cuts: list[int]) -> None:
    specs = (MAX, DetectorSpec("long", RATIO.bounds, 0.0025, bursts="long"), RATIO)
    counts = drawn(60, np.random.default_rng(seed), canary=0.03)
    counts = with_row(counts, 20, **dict.fromkeys(NAMES, np.nan))
    whole, trace = advance(start(specs), counts, ticks(60), step=STEP)
    state, values = start(specs), []
    edges = sorted({0, 60, *cuts})
    for low, high in itertools.pairwise(edges):
        state, block = advance(state, part(counts, slice(low, high)), ticks(60)[low:high], step=STEP)
        values.append(block.evidence)
    np.testing.assert_allclose(np.concatenate(values), trace.evidence, rtol=1e-12)
    assert np.array_equal(state.since, whole.since, equal_nan=True)


def test_a_missing_tick_changes_nothing() -> None:
    state, _ = run(warm(), drawn(10, np.random.default_rng(1)))
    gap = TickCounts(*(np.full((3, WIDTH), np.nan) for _ in NAMES))
    after, trace = run(state, gap)
    assert same(state, after)
    assert not trace.updated.any()
    assert not trace.numeric.any()


def test_no_ticks_at_all_change_nothing() -> None:
    state, _ = run(warm(), drawn(10, np.random.default_rng(1)))
    after, trace = run(state, part(drawn(1, np.random.default_rng(1)), slice(0, 0)))
    assert same(state, after)
    assert trace.evidence.shape == (0, 3)


def test_no_rules_at_all_are_judged_without_complaint() -> None:
    empty = TickCounts(*(np.zeros((2, 0)) for _ in NAMES))
    _, trace = run(combine([]), empty)
    assert trace.breach.shape == (2, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -3.0])
@pytest.mark.parametrize("name", NAMES)
def test_impossible_numbers_are_flagged_and_move_nothing(name: str, bad: float) -> None:
    state = warm()
    before, _ = run(state, steady(5, canary=0.3, control=0.01))
    after, trace = run(before, with_row(steady(1, canary=0.9, control=0.01), 0, **{name: bad}))
    assert trace.numeric.all()
    assert not trace.updated.any()
    assert np.array_equal(before.log_sums, after.log_sums)
    assert np.isfinite(after.past.control.events).all()


@pytest.mark.parametrize("cohort", ["canary", "control"])
def test_a_cohort_without_any_numbers_is_a_gap_and_not_an_alarm(cohort: str) -> None:
    state = warm()
    gone = with_row(steady(1, canary=0.9, control=0.01), 0, **{f"{cohort}_events": np.nan, f"{cohort}_trials": np.nan})
    after, trace = run(state, gone)
    assert not trace.numeric.any()
    assert not trace.updated.any()
    assert np.array_equal(state.log_sums, after.log_sums)


def test_an_absolute_limit_works_without_numbers_of_control() -> None:
    spec = DetectorSpec("even if control is bad", (Bound("max", half_plane(0.0, 0.02)),), 0.0025)
    gone = {"control_events": np.nan, "control_trials": np.nan}
    counts = steady(30, canary=0.5, control=0.0, width=1)
    for row in range(30):
        counts = with_row(counts, row, **gone)
    _, trace = run(start([spec]), counts)
    assert trace.breach.any(axis=0).all()


def test_a_rule_recovers_after_impossible_numbers() -> None:
    counts = with_row(steady(20, canary=0.3, control=0.01), 0, control_events=np.nan)
    _, trace = run(warm(), counts)
    assert trace.breach.any(axis=0).all()


def test_a_rounding_below_zero_is_zero_and_no_alarm() -> None:
    _, trace = run(warm(), with_row(steady(1, canary=0.0, control=0.01), 0, canary_events=-1e-12))
    assert trace.updated.all()
    assert not trace.numeric.any()


def test_more_events_than_trials_trip_nothing_that_is_healthy() -> None:
    # thumbs-down that trail their requests, in both cohorts alike
    counts = steady(500, canary=1.5, control=1.5)
    _, trace = run(warm(), counts)
    assert not trace.breach.any()
    assert np.isfinite(trace.evidence).all()


def test_fractional_counts_are_evidence_like_any_other() -> None:
    _, trace = run(warm(), steady(30, canary=0.2001, control=0.0103))
    assert trace.breach.any(axis=0).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_day_of_shares_of_zero_or_one_leaves_the_rules_able(share: float) -> None:
    state, trace = run(warm(), steady(2880, canary=share, control=share))
    assert not trace.breach.any()
    assert np.isfinite(trace.evidence).all()
    _, later = run(state, steady(120, canary=0.5, control=0.01))
    assert later.breach.any(axis=0).all()


@pytest.mark.parametrize(("n_c", "n_b"), [(0.0, 1425.0), (75.0, 0.0), (0.0, 0.0)])
def test_one_cohort_gone_moves_no_rule_that_compares(n_c: float, n_b: float) -> None:
    state = warm()
    after, trace = run(state, steady(50, canary=0.9, control=0.01, n_c=n_c, n_b=n_b))
    assert not trace.updated.any()
    assert np.array_equal(state.log_sums, after.log_sums)


def test_an_absolute_limit_alone_needs_no_control() -> None:
    spec = DetectorSpec("even if control is bad", (Bound("max", half_plane(0.0, 0.02)),), 0.0025)
    _, trace = run(start([spec]), steady(30, canary=0.5, control=0.0, n_b=0.0, width=1))
    assert trace.breach.any(axis=0).all()


def test_swapped_cohorts_of_a_good_canary_never_trip() -> None:
    # the "canary" is the old model with 95 % of traffic, the "control" is the bad one
    _, trace = run(warm(), steady(500, canary=0.01, control=0.2, n_c=1425, n_b=75))
    assert not trace.breach.any()


@pytest.mark.parametrize("limit", [0.0, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.01, 1.0])
def test_limits_of_zero_and_one_have_finite_evidence(limit: float, share: float) -> None:
    bounds = [
        (Bound("max", half_plane(0.0, limit)), Bound("worse", WORSE_THAN_CONTROL)),
        (Bound("max_increase", half_plane(1.0, limit)),),
    ]
    specs = [DetectorSpec(str(len(pair)), pair, 0.0025) for pair in bounds]
    _, trace = run(start(specs), steady(300, canary=share, control=share, width=3))
    assert np.isfinite(trace.evidence).all()
    assert not trace.breach.any()


def test_a_limit_of_zero_trips_on_a_canary_that_errs_alone() -> None:
    spec = DetectorSpec("none", (Bound("max", half_plane(0.0, 0.0)), Bound("worse", WORSE_THAN_CONTROL)), 0.0025)
    _, trace = run(start([spec]), steady(60, canary=0.1, control=0.0, width=2))
    assert trace.breach.any(axis=0).all()


def test_a_tiny_failing_canary_trips_after_about_ten_requests() -> None:
    counts = steady(30, canary=1.0, control=0.01, n_c=1.0, n_b=99.0)
    _, trace = run(warm(), counts, head_starts=np.where(np.arange(30)[:, None] == 0, 0.25, 0.0) * np.ones(3))
    first = trace.breach.argmax(axis=0) + 1
    assert trace.breach.any(axis=0).all()
    assert first.max() <= 12


@given(order=st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_permuting_rollouts_permutes_the_results(order: list[int]) -> None:
    rules = [DetectorSpec((i, spec.key), spec.bounds, spec.alpha) for i in range(2) for spec in ALL]
    many = [drawn(40, np.random.default_rng(i), canary=0.02) for i in range(2)]
    counts = {name: np.concatenate([getattr(m, name) for m in many], axis=1) for name in NAMES}
    widths = [len(rule.bounds) for rule in rules]
    firsts = np.cumsum([0, *widths[:-1]])
    columns = [firsts[i] + k for i in order for k in range(widths[i])]
    _, plain = run(start(rules), TickCounts(**counts))
    moved = TickCounts(**{name: values[:, columns] for name, values in counts.items()})
    _, permuted = run(start([rules[i] for i in order]), moved)
    np.testing.assert_array_equal(plain.evidence[:, order], permuted.evidence)


def test_selecting_and_combining_carry_every_rules_state() -> None:
    state, _ = run(warm(), drawn(30, np.random.default_rng(2)))
    parts = [select(state, [spec.key]) for spec in ALL]
    assert same(state, combine(parts))
    assert same(state, select(combine(parts[::-1]), [spec.key for spec in ALL]))


def test_no_rules_can_be_selected() -> None:
    assert select(warm(), []).specs == ()


def test_a_rule_that_is_not_there_cannot_be_selected() -> None:
    with pytest.raises(KeyError):
        select(start(ALL), ["latency"])


def test_a_regression_is_dated_to_its_onset() -> None:
    healthy, bad = steady(200, canary=0.01, control=0.01), steady(20, canary=0.3, control=0.01)
    state, _ = run(warm(), healthy)
    onset = 200 * STEP
    _, trace = advance(state, bad, ticks(20, onset), step=STEP)
    first = trace.breach.argmax(axis=0)
    assert trace.breach.any(axis=0).all()
    assert np.all(trace.since[first, np.arange(len(first))] == onset)


def test_after_an_unused_alarm_evidence_restarts_from_nothing() -> None:
    """`dry_run` called it a BREACH for hours after the canary was well again, and `enforce` killed it then."""
    state, trace = run(warm(), steady(400, canary=0.1, control=0.01))
    at = trace.breach.argmax(axis=0)
    rules = np.arange(len(at))
    assert not trace.breach[at + 1, rules].any()
    assert np.all(trace.since[at + 1, rules] == (at + 1) * STEP)
    assert trace.breach.sum(axis=0).min() > 3  # it goes on being bad, so it is said again
    # well again: no breach, from the second tick on
    _, after = advance(state, steady(40, canary=0.01, control=0.01), ticks(40, 400 * STEP), step=STEP)
    assert not after.breach[1:].any()


def test_a_gap_in_the_data_ends_no_alarm() -> None:
    """A trip that could not be written at once still has its evidence while nothing new was read."""
    counts = steady(40, canary=0.06, control=0.01)
    _, trace = run(warm(), counts)
    first = int(trace.breach[:, 0].argmax())
    counts.canary_trials[first + 1 : first + 3] = np.nan
    counts.canary_events[first + 1 : first + 3] = np.nan
    _, with_gap = run(warm(), counts)
    assert with_gap.breach[first : first + 3, 0].all()
    assert not with_gap.breach[first + 3, 0]


def test_the_number_of_false_alarms_is_bounded_too() -> None:
    """Each stretch between two alarms is a test of its own, and all of them share the starts that were paid."""
    bounds = (Bound("max", half_plane(0.0, 0.02)), Bound("worse", WORSE_THAN_CONTROL))
    days, width, alpha = 1, 150, 0.3
    specs = [DetectorSpec(number, bounds, alpha) for number in range(width)]
    count = round(days * 86_400 / STEP)
    rng = np.random.default_rng(5)
    shape = (count, 2 * width)
    x_c = np.repeat(rng.binomial(75, 0.02, (count, width)), 2, axis=1).astype(float)
    x_b = np.repeat(rng.binomial(1425, 0.015, (count, width)), 2, axis=1).astype(float)
    counts = TickCounts(x_c, np.full(shape, 75.0), x_b, np.full(shape, 1425.0))
    _, trace = advance(start(specs), counts, ticks(count), step=STEP)
    alarms = int(trace.breach.sum())
    assert 0 < alarms <= alpha * 0.5 * days * width


def test_without_a_healthy_tick_the_excursion_starts_at_step_one() -> None:
    _, trace = advance(warm(), steady(3, canary=0.3, control=0.01), ticks(3, 900.0), step=STEP)
    assert np.all(trace.since[0] == 900.0)


def heads(count: int) -> Array:
    starts = np.zeros((count, 3))
    starts[0] = 0.25
    return starts


@pytest.mark.parametrize("before", [0, 2, 10, 120])
def test_one_tick_alone_trips_nothing(before: int) -> None:
    """A clump, 26 failures of 44, is no 26 independent failures, whenever it comes."""
    calm = steady(before, canary=0.01, control=0.01)
    clump = steady(1, canary=26 / 44, control=0.01, n_c=44)
    whole = TickCounts(*(np.concatenate([getattr(calm, name), getattr(clump, name)]) for name in NAMES))
    _, trace = run(warm(), whole, head_starts=heads(before + 1))
    assert not trace.breach.any()
    assert np.all(trace.evidence[-1] > 0.001 * trace.evidence[0])


@pytest.mark.parametrize("before", [0, 2, 10, 25, 120])
def test_a_fully_failing_canary_trips_within_three_ticks(before: int) -> None:
    calm, failing = steady(before, canary=0.01, control=0.01), steady(3, canary=1.0, control=0.01)
    whole = TickCounts(*(np.concatenate([getattr(calm, name), getattr(failing, name)]) for name in NAMES))
    _, trace = run(warm(), whole, head_starts=heads(before + 3))
    assert trace.breach[before:].any(axis=0).all()
    assert not trace.breach[:before].any()


def test_the_cap_of_a_tick_grows_with_the_known_canary_clumps() -> None:
    ticks_seen = np.array([0.0, 1.0, 30.0, 90.0, 1e9])
    caps = cap(ticks_seen, np.full(5, 1e9))
    assert caps[0] == 1.0
    assert caps[1] == pytest.approx(0.55 + 1.65 / 31)
    assert caps[2] == pytest.approx(0.55 + 1.65 / 2)
    assert np.all(np.diff(caps[1:]) > 0)
    assert caps[-1] == pytest.approx(2.2)
    # many ticks with few events tell nothing of clumps
    assert cap(ticks_seen, np.zeros(5)) == pytest.approx([1.0, caps[1], 0.95, 0.95, 0.95])
    assert cap(np.array(1e9), np.array(20.0)) == pytest.approx((0.95 + 2.2) / 2)
    # the largest that a single tick may be worth leaves a head start of 1/4 under the line
    assert math.log(0.25) + caps[0] * math.log(400) < math.log(400)


def test_no_evidence_of_one_tick_is_above_its_cap() -> None:
    state, _ = run(warm(), steady(60, canary=0.01, control=0.01))
    after, _ = run(state, steady(1, canary=1.0, control=0.01))
    failing, nothing = steady(1, canary=1.0, control=0.01), np.zeros(WIDTH, dtype=np.bool_)
    control, canary = (
        dispersion.CohortSteps(events, trials, trials > 0)
        for events, trials in (
            (failing.control_events, failing.control_trials),
            (failing.canary_events, failing.canary_trials),
        )
    )
    outlook, _ = dispersion.look_ahead(
        state.past, control, canary, dispersion.Kinds(state.planes.shift > 0, nothing, nothing)
    )
    seen, clumps = (each[0, state.first_bound] for each in (outlook.canary_ticks, outlook.canary_clumps))
    most = cap(seen, clumps) * np.log(state.needed)
    np.testing.assert_allclose(after.excursions.max(axis=1) - state.excursions.max(axis=1), most, rtol=1e-9)


def test_a_head_start_brings_the_trip_forward() -> None:
    counts, starts = steady(40, canary=0.06, control=0.01), np.zeros((40, 3))
    starts[0] = 0.25
    _, without = run(warm(), counts)
    _, with_start = run(warm(), counts, head_starts=starts)
    assert with_start.breach[:, 0].argmax() < without.breach[:, 0].argmax()


def test_a_paused_rule_stands_still_while_the_others_move() -> None:
    paused = np.zeros((5, 3), dtype=np.bool_)
    paused[:, 2] = True
    state = warm()
    after, trace = run(state, steady(5, canary=0.3, control=0.01), paused=paused)
    assert np.array_equal(after.log_sums[2], state.log_sums[2])
    assert trace.updated[:, :2].all()
    assert not trace.updated[:, 2].any()


def test_a_tick_without_data_moves_no_rule_that_could_be_paused() -> None:
    gone = with_row(steady(2, canary=0.3, control=0.01), 1, **dict.fromkeys(NAMES, np.nan))
    _, trace = run(warm(), gone, paused=np.zeros((2, 3), dtype=np.bool_))
    assert trace.updated.tolist() == [[True] * 3, [False] * 3]


def test_one_request_of_control_is_enough_to_compare_with() -> None:
    _, trace = run(warm(), steady(1, canary=0.3, control=0.0, n_b=1.0))
    assert trace.updated.all()


def test_it_is_warming_up_until_control_has_been_seen_for_an_hour() -> None:
    state = start(ALL)
    after, trace = run(state, steady(121, canary=0.01, control=0.01))
    assert state.warming_up.all()
    assert trace.warming_up[119].all()
    assert not trace.warming_up[120].any()
    assert not after.warming_up.any()


def test_crossing_one_bound_after_the_other_is_no_breach() -> None:
    # canary 1.5 %, control 1 %: worse than control but under 2 %; then both 40 %: over 2 % but not worse
    for order in (1, -1):
        halves = [steady(300, canary=0.015, control=0.01), steady(300, canary=0.4, control=0.4)][::order]
        state, first = run(warm(), halves[0])
        _, second = run(state, halves[1])
        assert not first.breach[:, 0].any()
        assert not second.breach[:, 0].any()


def test_exported_state_survives_json_and_pickle() -> None:
    state, _ = run(warm(), drawn(25, np.random.default_rng(4)))
    assert same(state, from_document(json.loads(json.dumps(to_document(state), allow_nan=False)), ALL))
    assert same(state, pickle.loads(pickle.dumps(state)))


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"rules": ["other"]}, {"alternatives": [2.0]}, {"log_sums": [[0.0]]}, {"since": "x"}, {"past": {}}],
)
def test_stored_state_of_other_rules_or_shapes_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadDocument, match="replay instead"):
        from_document(to_document(start(ALL)) | change, ALL)


@pytest.mark.parametrize("spec", [DetectorSpec("x", (), 0.01), DetectorSpec("x", MAX.bounds, 0.0)])
def test_a_rule_that_evidence_cannot_judge_is_refused(spec: DetectorSpec) -> None:
    with pytest.raises(ValueError, match="rule 'x'"):
        start([spec])


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        run(start(ALL), steady(2, canary=0.1, control=0.1, width=5))


def test_a_restart_replays_from_arming_to_the_same_evidence() -> None:
    specs = scenarios.specs(1)
    blocks = list(
        scenarios.simulate(
            scenarios.World(), scenarios.SCENARIOS[0], scenarios.HEALTHY, runs=1, ticks=240,
            rng=np.random.default_rng(9), block=20,
        )
    )  # fmt: skip
    state, history = start(specs), []
    for now, counts in blocks:
        history.append((now, counts))
        state = _take(state, now, counts)
        replayed = start(specs)
        for then, old in history:
            replayed = _take(replayed, then, old)
        assert same(state, replayed)


def _take(state: Evidence, now: npt.NDArray[np.intp], counts: TickCounts) -> Evidence:
    if now[0] < 0:
        return warm_up(state, counts.control_events, counts.control_trials)
    return advance(state, counts, now.astype(np.float64) * STEP, step=STEP)[0]


# --- to the number ------------------------------------------------------------------------------


def by_hand(state: Evidence, log_e: Array, walk: _Walk) -> tuple[Array, Array]:
    """The recursion in plain numbers, one rule and one alternative at a time: its value and its since."""
    sums, excursions, since = np.exp(state.log_sums).tolist(), state.excursions.tolist(), state.since.tolist()
    values, dates = np.empty(walk.updates.shape), np.empty(walk.updates.shape)
    for row, tick in enumerate(walk.ticks):
        for rule, spec in enumerate(state.specs):
            over = float(np.dot(WEIGHTS, sums[rule])) >= 1 / spec.alpha
            update = walk.updates[row, rule]
            for j in range(len(ALTERNATIVES)):
                if walk.renewed[row, rule] or (over and update and not spec.stands):
                    sums[rule][j], excursions[rule][j], since[rule][j] = 0.0, 0.0, math.nan
                sums[rule][j] += walk.head_starts[row, rule]
                if update:
                    sums[rule][j] = (sums[rule][j] + 0.5 * walk.step / 86_400) * math.exp(log_e[row, rule, j])
                    grown = excursions[rule][j] + log_e[row, rule, j]
                    excursions[rule][j] = max(grown, 0.0)
                    if grown <= 0:
                        since[rule][j] = tick
                    elif math.isnan(since[rule][j]):
                        since[rule][j] = tick - walk.step
                if spec.stands and walk.updates[row].any():
                    sums[rule][j] = min(sums[rule][j], 20 / spec.alpha)
            values[row, rule] = np.dot(WEIGHTS, sums[rule])
            dates[row, rule] = since[rule][int(np.argmax(sums[rule]))]
    return values, dates


@pytest.mark.parametrize("seed", range(6))
def test_the_recursion_is_the_one_in_the_text(seed: int) -> None:
    """With updates left out, head starts, renewals, breaches that end and one that stands."""
    rng = np.random.default_rng(seed)
    specs = (*(replace(spec, alpha=0.05) for spec in ALL), replace(MAX, key="split", alpha=0.02, stands=True))
    shape = (80, len(specs))
    walk = _Walk(
        ticks(80),
        STEP,
        rng.random(shape) < 0.8,
        np.where(rng.random(shape) < 0.1, 0.25, 0.0),
        rng.random(shape) < 0.03,
    )
    log_e = rng.normal(0.1, 1.5, (*shape, len(ALTERNATIVES))) * (
        rng.random((*shape, 1)) < 0.8
    )  # a tick may say nothing
    after, values, since = _accumulate(start(specs), log_e, walk)
    expected, dates = by_hand(start(specs), log_e, walk)
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    np.testing.assert_array_equal(since, dates)
    assert (values >= after.needed).any(axis=0).all()  # each rule has breached at least once
    # and in two parts as in one
    first, _, _ = _accumulate(start(specs), log_e[:37], rows(walk, slice(0, 37)))
    second, later, when = _accumulate(first, log_e[37:], rows(walk, slice(37, 80)))
    np.testing.assert_allclose(later, expected[37:], rtol=1e-9)
    np.testing.assert_array_equal(when, dates[37:])
    np.testing.assert_allclose(second.log_sums, after.log_sums, rtol=1e-9)
    np.testing.assert_allclose(second.excursions, after.excursions, rtol=1e-9)
    np.testing.assert_array_equal(second.since, after.since)


def rows(walk: _Walk, some: slice) -> _Walk:
    return _Walk(walk.ticks[some], walk.step, walk.updates[some], walk.head_starts[some], walk.renewed[some])


def test_a_hedged_tick_stakes_a_tenth_of_the_evidence() -> None:
    counts, everyone = steady(1, canary=0.08, control=0.01), np.ones((1, 3), dtype=np.bool_)
    plain, _ = run(warm(), counts)
    hedged, _ = run(warm(), counts, hedged=everyone)
    gained = plain.excursions
    plainly = (gained > 0.1) & (gained < math.log(400))  # none is at a first tick's cap, where a hedge is none
    assert np.asarray(plainly.any(axis=1))[1:].all()
    np.testing.assert_allclose(hedged.excursions[plainly], np.log(0.9 + 0.1 * np.exp(gained[plainly])), rtol=1e-9)
    none, _ = run(warm(), counts, hedged=~everyone)
    np.testing.assert_array_equal(none.excursions, plain.excursions)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("value", "impossible"), [(LARGEST_COUNT, False), (LARGEST_COUNT * 1.01, True), (-1e-6, False), (-2e-6, True)]
)
def test_the_largest_and_smallest_counts_are_counts(name: str, value: float, impossible: bool) -> None:
    events = name.endswith("events")
    other = name.replace("events", "trials") if events else name.replace("trials", "events")
    beside = {other: value} if events and value > 0 else {other: 0.0}
    _, trace = run(warm(), with_row(steady(1, canary=0.01, control=0.01), 0, **{**beside, name: value}))
    assert trace.numeric.all() == trace.numeric.any() == impossible


def test_every_array_has_to_fit() -> None:
    state, good = warm(), steady(3, canary=0.01, control=0.01)
    for name in NAMES:
        with pytest.raises(ValueError, match=r"^expected an array of shape \(3, 4\), got \(3, 5\)$"):
            run(state, replace(good, **{name: np.ones((3, 5))}))
    for name in ("head_starts", "paused", "renewed", "hedged", "first_requests"):
        with pytest.raises(ValueError, match=r"^expected an array of shape \(3, 3\), got \(2, 3\)$"):
            run(state, good, **{name: np.zeros((2, 3), dtype=np.bool_)})


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (DetectorSpec("x", (), 0.01), "rule 'x' has no bounds: evidence cannot judge it"),
        (DetectorSpec("x", MAX.bounds, 0.0), "rule 'x': alpha must be between 0 and 1, got 0.0"),
        (DetectorSpec("x", MAX.bounds, 1.0), "rule 'x': alpha must be between 0 and 1, got 1.0"),
        (DetectorSpec("x", MAX.bounds, math.nan), "rule 'x': alpha must be between 0 and 1, got nan"),
    ],
)
def test_why_evidence_cannot_judge_a_rule_is_said(spec: DetectorSpec, says: str) -> None:
    with pytest.raises(ValueError, match="rule 'x'") as refused:
        start([spec])
    assert str(refused.value) == says


def test_nothing_is_known_at_the_start() -> None:
    state = start(ALL)
    assert state.needed.tolist() == [400.0] * 3
    assert state.first_bound.tolist() == [0, 2, 3]
    assert state.value.tolist() == [0.0] * 3
    assert state.warming_up.tolist() == [True] * 3
    assert np.isnan(state.since).all()
    assert (state.excursions == 0).all()
    assert combine([]).specs == ()


def test_clumps_divide_the_evidence_of_a_tick() -> None:
    clumps = 4.0 * np.random.default_rng(5).poisson(14 / 4, (300, 1)).astype(np.float64)
    state = warm_up(start((INCREASE,)), clumps, np.full((300, 1), 1425.0))
    counts = steady(1, canary=0.12, control=0.01, width=1)
    after, trace = run(state, counts)
    assert trace.phi.item() > 1.5
    plain = log_evidence(state.planes, counts, trace.control_share, np.array(ALTERNATIVES))[0]
    np.testing.assert_allclose(after.excursions, np.maximum(plain / trace.phi.item(), 0.0), rtol=1e-9)


def test_excursions_are_carried_through_selecting_and_combining() -> None:
    state, _ = run(warm(), steady(3, canary=0.15, control=0.01))
    assert (state.excursions > 0).any(axis=1).all()
    apart = select(state, ["ratio", "max"])
    np.testing.assert_array_equal(apart.excursions, state.excursions[[2, 0]])
    again = select(combine([apart, select(state, ["increase"])]), ["max", "increase", "ratio"])
    assert same(again, state)


def test_bursts_that_last_minutes_count_where_a_rule_asks_for_it() -> None:
    """`auto` judges them as `long` does, but not at ticks where only users' first requests are counted."""
    kinds: tuple[Bursts, ...] = ("auto", "long", "short")
    specs = (MAX, *(replace(INCREASE, key=kind, bursts=kind) for kind in kinds))
    rng = np.random.default_rng(6)
    events = rng.poisson(np.repeat(rng.gamma(1.0, 14.0, 40), 20)).astype(np.float64)
    state = warm_up(start(specs), events[:, None].repeat(5, axis=1), np.full((800, 5), 1425.0))
    first = np.array([[True, False, True, False], [False, True, True, False]])
    _, trace = run(state, steady(2, canary=0.01, control=0.01, width=5), first_requests=first)
    maximum, increase, long, short = trace.phi[:, [0, 2, 3, 4]].T.tolist()
    assert long[0] > 2 * short[0]
    assert maximum == [short[0], long[1]]
    assert increase == [long[0], short[1]]


def test_only_a_bound_with_a_shift_has_the_binomials_variance() -> None:
    """At a share of a half the binomial has half the variance: the same clumps weigh twice as much."""
    clumps = 6.0 * np.random.default_rng(7).poisson(712.5 / 6, (300, 1)).astype(np.float64)
    state = warm_up(start(ALL), clumps.repeat(WIDTH, axis=1), np.full((300, WIDTH), 1425.0))
    _, trace = run(state, steady(1, canary=0.5, control=0.5))
    ratios = 1.0 + (trace.phi[0] - 1.0) / 1.5
    assert ratios[1] == ratios[3] > 3.0
    assert ratios[0] == ratios[2] == pytest.approx(2.0 * ratios[1], rel=0.05)


def test_no_ticks_have_a_trace_of_no_rows() -> None:
    _, trace = run(warm(), steady(0, canary=0.0, control=0.0))
    for name in ("evidence", "breach", "since", "updated", "numeric", "warming_up"):
        assert getattr(trace, name).shape == (0, 3)
    assert trace.phi.shape == trace.control_share.shape == (0, 4)
