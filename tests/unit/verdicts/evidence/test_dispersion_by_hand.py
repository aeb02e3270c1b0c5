"""Control's share and phi, once more in plain numbers: one bound, one cohort and one block at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import pytest

from killswitch.verdicts.evidence import dispersion
from killswitch.verdicts.evidence.dispersion import (
    COLD_PHI,
    LEVEL,
    OWN_LAG,
    CohortSteps,
    Kinds,
    Outlook,
    Past,
    _lasting,
    _Sums,
)
from killswitch.verdicts.evidence.evariables import Array

Tick = tuple[float, float, bool]  # events, trials, and whether it is data


def most(limit: float, value: float) -> float:
    return min(limit / value, 1.0) if value > 0 else 1.0


def cleaned(ticks: list[Tick]) -> list[Tick]:
    return [(x if n > 1e-9 and x > 1e-9 and seen else 0.0, n, True) if seen and n > 1e-9 else (0.0, 0.0, False)
            for x, n, seen in ticks]  # fmt: skip


def totals(ticks: list[Tick]) -> tuple[list[float], list[bool]]:
    """The share before each tick, and which ticks hold more events than their requests can have had."""
    shares, crowded = [], []
    x = n = w = 0.0
    for events, trials, seen in cleaned(ticks):
        shares.append((min(x, n) + 0.5) / (n + 1.0))
        lowered = 0.98 * most(LEVEL * max(trials, 10.0) * w, n)
        taken = most(LEVEL * max(n, 10.0 * w), trials * w)
        then_x, then_n = x * lowered + events * taken, n * lowered + trials * taken
        crowded.append(seen and then_x > 1.25 * then_n + 10.0)
        if seen and not crowded[-1]:
            x, n, w = then_x, then_n, 0.98 * w + 1.0
    return shares, crowded


@dataclass
class Known:
    """D, M, the numbers of pairs and of those far apart, and what D and M were three pairs ago."""

    d: float = 0.0
    m: float = 0.0
    pairs: float = 0.0
    far: float = 0.0
    late: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)] * OWN_LAG)

    @property
    def ratio(self) -> float:
        return self.d / self.m if self.m > 0 else 1.0

    def after(self, block: tuple[float, float], last: tuple[float, float], size: int, *, binomial: bool) -> Known:
        (x, n), (x_last, n_last) = block, last
        square = (x * n_last - x_last * n) ** 2 / (2 * n * n_last)
        spread = max(1 - min((x + x_last) / (n + n_last), 1.0), 0.02) if binomial else 1.0
        new = (x + x_last) / 2 * spread
        kept = 0.995**size * most(LEVEL * max(new, 4.0) * self.pairs, self.m)
        taken = most(LEVEL * max(self.m, 4.0 * self.pairs), new * self.pairs)
        d = self.d * kept + min(square, 9.0 * max(new, 1.0) * max(self.ratio, 1.0)) * taken
        m = self.m * kept + new * taken
        if m > 0:
            d = min(d, (1 + 29 / 1.5) * m)
        far = self.far * 0.995**size + (square > 3.84 * max(new, 1.0))
        return Known(d, m, self.pairs * 0.995**size + 1, far, [*self.late[1:], (self.d, self.m)])


def known_before(ticks: list[Tick], size: int, *, binomial: bool) -> list[Known]:
    found, now, last = [], Known(), None
    x, n, filled = 0.0, 0.0, 0
    for events, trials, seen in ticks:
        found.append(now)
        x, n, filled = x + events, n + trials, filled + seen
        if seen and filled == size:
            if last is not None:
                now = now.after((x, n), last, size, binomial=binomial)
            last = (x, n)
            x, n, filled = 0.0, 0.0, 0
    return found


def block_ratio(control: Known, canary: Known, split: Known, *, binomial: bool) -> float:
    enough = 50 * max(canary.ratio if canary.m > control.m else control.ratio, 1.0)
    weight = min(max(enough - control.m, 0.0) / canary.m, 1.0) if canary.m > 0 else 0.0
    expected = control.m + weight * canary.m
    ratio = (control.d + weight * canary.d) / expected if expected > 0 else 1.0
    own = canary
    if not binomial and canary.m <= control.m:
        ratio = min(ratio, (split.d + 50 * ratio) / (split.m + 50))
        own = split
    return max(ratio, (own.late[0][0] + 50) / (own.late[0][1] + 50))


def lasting(ticks: Known, minutes: Known) -> bool:
    return (
        minutes.ratio > max(3.0, 2.0 * ticks.ratio)
        and minutes.pairs >= 5
        and minutes.far >= 0.2 * minutes.pairs
        and (minutes.ratio - 1) * minutes.pairs > 0.16**2 * minutes.m
    )


def by_hand(
    control: list[Tick], canary: list[Tick], first_requests: list[bool], *, binomial: bool, bursts: str
) -> dict[str, list[float]]:
    """One bound's outlook, tick by tick."""
    (shares, crowded), (_, full) = totals(control), totals(canary)
    control = cleaned([(x, n, seen and not out) for (x, n, seen), out in zip(control, crowded, strict=True)])
    canary = cleaned([(x, n, seen and not out) for (x, n, seen), out in zip(canary, full, strict=True)])
    split = [
        (x, x + y, both and more and x + y > 0) if both and more else (0.0, 0.0, False)
        for (x, _, both), (y, _, more) in zip(canary, control, strict=True)
    ]
    known = [
        list(
            zip(
                known_before(control, size, binomial=binomial),
                known_before(canary, size, binomial=binomial),
                known_before(split, size, binomial=True),
                strict=True,
            )
        )
        for size in (1, 10, 60)
    ]
    told: dict[str, list[float]] = {each.name: [] for each in fields(Outlook)}
    seen = 0
    for tick, (ticks, minutes, hours) in enumerate(zip(*known, strict=True)):
        ratio = block_ratio(*ticks, binomial=binomial)
        auto = bursts == "auto" and not first_requests[tick] and lasting(ticks[0], minutes[0])
        if bursts == "long" or auto:
            ratio = max(ratio, *(block_ratio(*each, binomial=binomial) for each in (minutes, hours)))
        phi = min(max(1 + 1.5 * (ratio - 1), 1.05), 30.0)
        if seen < 120:
            phi = max(phi, 1 + (COLD_PHI - 1) * 300 / (300 + ticks[0].m))
        d, m = ticks[1].late[0]
        row = (shares[tick], phi, seen < 120, ticks[1].pairs, m * m / max(d, m, 1e-9), crowded[tick], full[tick])
        for each, value in zip(fields(Outlook), row, strict=True):
            told[each.name].append(value)
        seen += control[tick][2]
    return told


BOUNDS = [(binomial, bursts) for binomial in (False, True) for bursts in ("short", "long", "auto") for _ in range(2)]


def traffic(rng: np.random.Generator, trials: float, share: Array) -> CohortSteps:
    """With ticks that are missing, storms of minutes, incidents, a change of level, and garbage."""
    shape = share.shape
    n = rng.poisson(
        trials * np.where(np.arange(shape[0]) < rng.integers(150, 400), 1.0, rng.choice([0.1, 12.0])), shape[::-1]
    ).T
    n = np.where(rng.random(shape) < 0.01, 1_000 * n, n).astype(np.float64)
    x = rng.poisson(n * share).astype(np.float64)
    x = np.where(rng.random(shape) < 0.01, 40 * n + 30, x)
    tiny = rng.random(shape) < 0.01
    return CohortSteps(np.where(tiny, 1e-10, x), np.where(tiny & (x > 3), 1e-10, n), rng.random(shape) < 0.95)


def drawn(rng: np.random.Generator, count: int) -> tuple[CohortSteps, CohortSteps, dispersion.Mask]:
    shape = (count, len(BOUNDS))
    level = rng.choice([0.0005, 0.01, 0.1, 0.6], shape[1])
    storms = 1 + rng.choice([0, 3], shape[1]) * np.repeat(rng.poisson(0.4, (count // 20, shape[1])), 20, axis=0)
    jitter = np.exp(rng.choice([0.0, 0.4], shape[1]) * rng.normal(size=shape))
    share = np.minimum(level * storms * jitter, 1.0)
    control = traffic(rng, float(rng.choice([15, 300, 1425])), share)
    own = np.where(np.arange(count)[:, None] >= 300, np.minimum(rng.choice([1.0, 4.0], shape[1]) * share, 1.0), share)
    return control, traffic(rng, float(rng.choice([15, 75, 1425])), own), rng.random(shape) < 0.3


def part(side: CohortSteps, rows: slice) -> CohortSteps:
    return CohortSteps(side.events[rows], side.trials[rows], side.seen[rows])


def ticks_of(side: CohortSteps, bound: int) -> list[Tick]:
    columns = (each[:, bound].tolist() for each in (side.events, side.trials, side.seen))
    return list(zip(*columns, strict=True))


def outlook_of(control: CohortSteps, canary: CohortSteps, first: dispersion.Mask, past: Past) -> tuple[Outlook, Past]:
    binomial, bursts = (np.array(each) for each in zip(*BOUNDS, strict=True))
    return dispersion.look_ahead(past, control, canary, Kinds(binomial, bursts == "long", bursts == "auto", first))


@pytest.mark.parametrize(("seed", "count"), [(0, 140), (1, 420), (2, 420), (3, 420)])
def test_the_outlook_is_the_one_in_the_text(seed: int, count: int) -> None:
    control, canary, first = drawn(np.random.default_rng(seed), count)
    nothing = dispersion.empty_past(len(BOUNDS))
    whole, after = outlook_of(control, canary, first, nothing)
    expected = [
        by_hand(
            ticks_of(control, b),
            ticks_of(canary, b),
            first[:, b].tolist(),
            binomial=binomial,
            bursts=bursts,
        )
        for b, (binomial, bursts) in enumerate(BOUNDS)
    ]
    early, past = outlook_of(part(control, slice(0, 133)), part(canary, slice(0, 133)), first[:133], nothing)
    late, past = outlook_of(part(control, slice(133, None)), part(canary, slice(133, None)), first[133:], past)
    for name in (each.name for each in fields(Outlook)):
        by_bound = np.array([told[name] for told in expected]).T
        np.testing.assert_allclose(getattr(whole, name), by_bound, rtol=1e-9, err_msg=name)
        both = np.concatenate([getattr(early, name), getattr(late, name)])
        np.testing.assert_allclose(both, by_bound, rtol=1e-9, err_msg=f"{name}, in two parts")
    for side in fields(Past):
        for each in fields(getattr(past, side.name)):
            np.testing.assert_allclose(
                getattr(getattr(past, side.name), each.name), getattr(getattr(after, side.name), each.name), rtol=1e-9
            )


def test_where_no_bound_asks_for_long_bursts_none_are_looked_at() -> None:
    control, canary, _ = drawn(np.random.default_rng(5), 140)
    binomial = np.array([each for each, _ in BOUNDS])
    none = np.zeros_like(binomial)
    outlook, past = dispersion.look_ahead(
        dispersion.empty_past(len(BOUNDS)), control, canary, Kinds(binomial, none, none)
    )
    for bound, kind in enumerate(binomial.tolist()):
        told = by_hand(ticks_of(control, bound), ticks_of(canary, bound), [False] * 140, binomial=kind, bursts="short")
        np.testing.assert_allclose(outlook.phi[:, bound], told["phi"], rtol=1e-9)
    assert (past.control.expected[:, 0] > 0).any()
    assert not past.control.filled.any()
    assert not past.control.expected[:, 1:].any()


@pytest.mark.parametrize(("clump", "phi"), [(0.0, 1.05), (2.0, 2.5)])
def test_nothing_or_one_clump_long_ago_is_a_phi_too(clump: float, phi: float) -> None:
    """Two events in one tick vary twice as much as chance, for as long as nothing else is known."""
    shape = (400, 1)
    events, trials, seen = np.zeros(shape), np.full(shape, 1425.0), np.ones(shape, dtype=np.bool_)
    events[5] = clump
    nobody = CohortSteps(np.zeros(shape), np.zeros(shape), ~seen)
    no = np.zeros(1, dtype=np.bool_)
    outlook, past = dispersion.look_ahead(
        dispersion.empty_past(1), CohortSteps(events, trials, seen), nobody, Kinds(no, no, no)
    )
    assert past.control.expected[0, 0] < 1.0
    np.testing.assert_allclose(outlook.phi[120:], phi, rtol=1e-9)


def test_one_clump_of_the_canary_tops_up_a_control_without_any() -> None:
    shape = (400, 1)
    events, trials, seen = np.zeros(shape), np.full(shape, 75.0), np.ones(shape, dtype=np.bool_)
    events[5] = 2.0
    no = np.zeros(1, dtype=np.bool_)
    outlook, past = dispersion.look_ahead(
        dispersion.empty_past(1),
        CohortSteps(0 * events, trials, seen),
        CohortSteps(events, trials, seen),
        Kinds(no, no, no),
    )
    assert past.canary.expected[0, 0] < 1.0
    np.testing.assert_allclose(outlook.phi[120:], 2.5, rtol=1e-9)


def test_clumps_after_an_hour_of_nothing_are_the_ones_in_the_text() -> None:
    """M is below 1 by then: of a clump of two events, and of one with a hundredth of the others' trials."""
    shape = (500, 2)
    events, trials, seen = np.zeros(shape), np.full(shape, 1000.0), np.ones(shape, dtype=np.bool_)
    events[5], trials[5, 1] = (2.0, 0.5), 10.0
    events[300], events[400] = (40.0, 3.0), 3.0
    nobody = CohortSteps(np.zeros(shape), np.zeros(shape), ~seen)
    no = np.zeros(2, dtype=np.bool_)
    control = CohortSteps(events, trials, seen)
    outlook, _ = dispersion.look_ahead(dispersion.empty_past(2), control, nobody, Kinds(no, no, no))
    for bound in range(2):
        told = by_hand(ticks_of(control, bound), ticks_of(nobody, bound), [False] * 500, binomial=False, bursts="short")
        np.testing.assert_allclose(outlook.phi[:, bound], told["phi"], rtol=1e-9)
    assert (outlook.phi[-1] < 30.0).all()


@pytest.mark.parametrize(("events", "far"), [(1.9, 0.0), (3.8, 0.0), (3.9, 1.0), (9.0, 1.0)])
def test_blocks_are_far_apart_beyond_a_chance_of_one_in_twenty(events: float, far: float) -> None:
    """The square is events^2 / 2, and 3.84 times the expected events / 2 is less from 3.84 events on."""
    one, no = np.ones((2, 1)), np.zeros(1, dtype=np.bool_)
    control = CohortSteps(np.array([[events], [0.0]]), 100.0 * one, one > 0)
    _, past = dispersion.look_ahead(
        dispersion.empty_past(1), control, CohortSteps(0 * one, 0 * one, one < 0), Kinds(no, no, no)
    )
    assert past.control.far[0, 0] == far


@pytest.mark.parametrize(
    ("pairs", "far", "ratio", "of_ticks", "expected", "lasts"),
    [
        (10.0, 2.1, 4.0, 1.9, 1100.0, True),
        (10.0, 1.9, 4.0, 1.9, 1100.0, False),  # one pair in five must be far apart
        (10.0, 2.1, 4.0, 2.1, 1100.0, False),  # twice as much as the ticks vary
        (10.0, 2.1, 4.0, 1.9, 1200.0, False),  # 3 * 10 pairs of 1200 events: the rate wanders by less than 16 %
        (4.9, 2.1, 4.0, 1.9, 500.0, False),
        (5.1, 2.1, 4.0, 1.9, 500.0, True),
        (10.0, 2.1, 2.9, 1.0, 500.0, False),
        (10.0, 2.1, 3.1, 1.0, 500.0, True),
    ],
)
def test_bursts_last_minutes_where_blocks_of_ten_ticks_say_so(
    *, pairs: float, far: float, ratio: float, of_ticks: float, expected: float, lasts: bool
) -> None:
    def sums(quotient: float) -> _Sums:
        numbers = (quotient * expected, expected, pairs, far, 0.0, 0.0)
        return _Sums(*(np.array([[number]]) for number in numbers))

    assert _lasting(sums(of_ticks), sums(ratio)).tolist() == [[lasts]]


def test_every_array_of_a_past_is_selected_and_put_together() -> None:
    control, canary, first = drawn(np.random.default_rng(6), 140)
    _, past = outlook_of(control, canary, first, dispersion.empty_past(len(BOUNDS)))
    chosen = dispersion.select(past, np.array([5, 0]))
    whole = dispersion.concatenate([chosen, dispersion.select(past, np.array([7]))])
    for side in fields(Past):
        for each in fields(getattr(past, side.name)):
            array = getattr(getattr(past, side.name), each.name)
            np.testing.assert_array_equal(getattr(getattr(chosen, side.name), each.name), array[[5, 0]])
            np.testing.assert_array_equal(getattr(getattr(whole, side.name), each.name), array[[5, 0, 7]])
    assert (chosen.size, whole.size) == (2, 3)
