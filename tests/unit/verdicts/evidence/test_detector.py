"""Evidence over time: blocks equal single ticks, what stands still, and what is stored and taken up again."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import scenarios
from killswitch.errors import BadDocument
from killswitch.verdicts.evidence import (
    DetectorSpec,
    Evidence,
    TickCounts,
    advance,
    combine,
    from_document,
    select,
    start,
    to_document,
    warm_up,
)
from tests.unit.verdicts.evidence.counted_ticks import (
    ALL,
    MAX,
    NAMES,
    RATIO,
    STEP,
    WIDTH,
    run,
    same,
    steady,
    ticks,
    warm,
    with_row,
)

pytestmark = pytest.mark.simulation


def drawn(count: int, rng: np.random.Generator, *, canary: float = 0.01, control: float = 0.01) -> TickCounts:
    n_c, n_b = rng.poisson(75, (count, WIDTH)), rng.poisson(1425, (count, WIDTH))
    x_c, x_b = rng.binomial(n_c, canary), rng.binomial(n_b, control)
    return TickCounts(*(part.astype(np.float64) for part in (x_c, n_c, x_b, n_b)))


def part(counts: TickCounts, rows: slice) -> TickCounts:
    return TickCounts(*(getattr(counts, name)[rows] for name in NAMES))


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
