"""Who was exposed from when on: waves of users from a flag's stages and from the incidents before them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags.bucketing import bucket
from killswitch.flags.flag import AA, Flag, StageEntry
from killswitch.flags.incident import Incident
from killswitch.slow.history import (
    EarlierGeneration,
    Stretch,
    earlier_generations,
    history_of,
    places_below,
    stretches_of,
)
from tests.doubles.warehouses import ROLLOUT, at, flag_of


def parts(flag: Flag, *earlier: EarlierGeneration) -> list[tuple[float, float, float]]:
    return [(wave.at, wave.low, wave.high) for wave in history_of(flag, earlier).waves]


def test_each_raise_exposes_a_wave_of_users() -> None:
    assert parts(flag_of({0: 1.0, 1: 5.0, 3: 25.0})) == [(at(0), 0.0, 1.0), (at(1), 1.0, 5.0), (at(3), 5.0, 25.0)]


def test_a_user_stays_exposed_when_the_percent_falls() -> None:
    """Intention to treat: lowering exposes no one, and raising to the old percent exposes no one again."""
    assert parts(flag_of({0: 5.0, 1: 1.0, 2: 5.0, 3: 10.0})) == [(at(0), 0.0, 5.0), (at(3), 5.0, 10.0)]


def test_stage_aa_exposes_no_one() -> None:
    """There the control model answers the canary cohort."""
    flag = flag_of({0: 5.0})
    flag = replace(
        flag, stages=(StageEntry(AA, 50.0, at(0)), StageEntry("shadow", 0.0, at(1)), *flag_of({2: 5.0}).stages)
    )
    assert parts(flag) == [(at(2), 0.0, 5.0)]


def test_another_salt_exposes_others_and_the_first_exposure_wins() -> None:
    earlier = EarlierGeneration(1, "salt", (StageEntry("custom", 10.0, at(0)),))
    waves = history_of(flag_of({5: 20.0}, salt="2"), [earlier]).waves
    assert [(wave.salt, wave.low, wave.high) for wave in waves] == [("salt", 0.0, 10.0), ("2", 0.0, 20.0)]
    assert [wave.of_all for wave in waves] == pytest.approx([0.1, 0.2 * 0.9])


def incident(generation: int, salt: str = "salt", **changes: object) -> Incident:
    stages = (StageEntry("ramp_1", 1.0, at(generation - 1)), StageEntry("ramp_5", 5.0, at(generation)))
    known = {
        "rollout": ROLLOUT, "automatic": True, "by": "c", "reason": "r", "rules": (), "findings": (),
        "decided_at": at(generation + 1), "generation": generation, "control": "model-old", "canary": "model-new",
        "percent_before": 5.0, "stage_before": "ramp_5", "salt": salt, "stages": stages,
    }  # fmt: skip
    return Incident(**known | changes)  # type: ignore[arg-type]  # as above


def test_a_tripped_generation_has_exposed_its_users_since_its_stages() -> None:
    flag = replace(flag_of({9: 1.0}), generation=3)
    found = earlier_generations(flag, [incident(1), incident(2, canary="model-else"), incident(3)])
    assert [one.generation for one in found] == [1]
    assert parts(flag, *found) == [(at(0), 0.0, 1.0), (at(1), 1.0, 5.0)]


def test_each_generation_is_read_with_the_salt_it_had() -> None:
    """`rearm --new-users` in generations 3 and 5."""
    flag = replace(flag_of({9: 1.0}, salt="salt.g5"), generation=5)
    found = earlier_generations(flag, [incident(1), incident(3, "salt.g3"), incident(4, "salt.g3")])
    assert [(one.generation, one.salt) for one in found] == [(1, "salt"), (3, "salt.g3"), (4, "salt.g3")]
    assert {wave.salt for wave in history_of(flag, found).waves} == {"salt", "salt.g3", "salt.g5"}


@given(st.integers(0, 10_000))
def test_a_place_is_below_a_percent_as_in_the_router(hundredths: int) -> None:
    percent = hundredths / 100
    assert places_below(percent) == sum(place / 100 < percent for place in range(10_000))
    place = round(bucket("s", f"u{hundredths}") * 100)
    assert (place < places_below(percent)) == (bucket("s", f"u{hundredths}") < percent)


def test_users_who_just_changed_cohort_are_compared_with_no_one() -> None:
    """Between a raise and the day from which its users count, they are in neither cohort."""
    history = history_of(flag_of({0: 10.0, 4: 50.0}))
    found = stretches_of(history, [(100, 102), (104, 106)], 109)
    assert [(one.first, one.last) for one in found] == [(102, 103), (104, 105), (106, 109)]
    assert [one.share for one in found] == pytest.approx([0.1, 0.1 / 0.6, 0.5])


def test_without_control_the_canary_is_everyone() -> None:
    assert stretches_of(
        history_of(replace(flag_of({0: 99.0}), stages=(StageEntry("x", 100.0, at(0)),))), [(1, 2)], 3
    ) == (Stretch(2, 3, 1.0),)
