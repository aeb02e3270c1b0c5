"""When the judged twin is what is judged."""

from __future__ import annotations

from killswitch.model import Counts, Reading, Reason, Unreadable
from killswitch.verdicts.per_user_signal import PerUserSignal

NOTHING = Unreadable(Reason.NO_DATA, "no series")


def _reading(canary: float | None, control: float | None) -> Reading:
    def side(trials: float | None) -> Counts | Unreadable:
        return NOTHING if trials is None else Counts(0.0, trials)

    return Reading(side(canary), side(control), 30.0)


def test_one_pod_of_thirty_does_not_select_the_per_user_signal() -> None:
    watch = PerUserSignal()
    served = [watch.serves(_reading(2.0, 40.0), _reading(100.0, 2000.0), alone=False) for _ in range(50)]
    assert not any(served)


def test_a_twin_in_one_cohort_only_is_not_adopted() -> None:
    watch = PerUserSignal()
    assert not any(watch.serves(_reading(None, 1500.0), _reading(100.0, 2000.0), alone=False) for _ in range(50))


def test_chatty_users_are_judged_on_the_per_user_signal() -> None:
    watch = PerUserSignal()
    assert watch.serves(_reading(10.0, 200.0), _reading(100.0, 2000.0), alone=False)


def test_a_twin_that_is_rolled_back_is_given_up_and_said_once() -> None:
    watch = PerUserSignal()
    assert watch.serves(_reading(80.0, 1600.0), _reading(100.0, 2000.0), alone=False)
    for _ in range(200):
        served = watch.serves(_reading(None, None), _reading(100.0, 2000.0), alone=False)
    assert not served
    assert watch.take_change()
    assert not watch.take_change()


def test_a_quiet_quarter_of_an_hour_does_not_give_the_twin_up() -> None:
    watch = PerUserSignal()
    assert watch.serves(_reading(8.0, 160.0), _reading(10.0, 200.0), alone=False)
    assert all(watch.serves(_reading(0.0, 0.0), _reading(1.0, 1.0), alone=False) for _ in range(30))


def test_at_a_hundred_percent_the_canary_alone_decides() -> None:
    watch = PerUserSignal()
    assert watch.serves(_reading(80.0, None), _reading(100.0, None), alone=True)
