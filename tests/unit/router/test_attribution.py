"""Which thumbs are taken for thumbs about judged requests, one rule at a time, in bounded memory."""

from __future__ import annotations

from killswitch.model import Cohort
from killswitch.router.attribution import Attribution

OLD, NEW = (Cohort.CONTROL, "model-old"), (Cohort.CANARY, "model-new")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_user_has_no_more_judged_thumbs_than_judged_requests() -> None:
    """However often he dislikes his only judged answer, at once."""
    clock = Clock()
    memory = Attribution(clock)
    for number in range(100):
        memory.request(NEW, "u", judged=number == 99)
        clock.now += 60.0
    clock.now -= 59.5
    assert sum(memory.is_judged(NEW, "u") for _ in range(100)) == 1


def test_a_user_dislikes_no_more_answers_than_he_got() -> None:
    memory = Attribution(Clock())
    for _ in range(3):
        memory.request(NEW, "u", judged=True)
    assert sum(memory.is_judged(NEW, "u") for _ in range(50)) == 3
    memory.request(NEW, "u", judged=True)
    assert sum(memory.is_judged(NEW, "u") for _ in range(50)) == 1
    memory.request(NEW, "u", judged=False)
    memory.request(NEW, "u", judged=True)
    assert sum(memory.is_judged(NEW, "u") for _ in range(50)) <= 1


def test_an_unknown_user_has_one_thumb_if_all_users_are_named() -> None:
    """A user who is not known here has one judged thumb, if all users of this process are named."""
    memory = Attribution(Clock())
    for number in range(200):
        memory.request(NEW, f"user-{number}", judged=True)
    assert sum(memory.is_judged(NEW, "stranger") for _ in range(50)) == 1


def test_thumbs_of_nobody_never_outnumber_the_judged_requests() -> None:
    memory = Attribution(Clock())
    for _ in range(20):
        memory.request(NEW, None, judged=True)
    assert sum(memory.is_judged(NEW, None) for _ in range(500)) == 20
    assert not memory.is_judged(OLD, None)


def test_a_thumb_just_after_an_answer_is_about_that_answer() -> None:
    """Of a user whose judged request was a minute ago; with one request of each kind it would be one in two."""
    clock = Clock()
    memory = Attribution(clock)
    judged = 0
    for number in range(200):
        memory.request(NEW, f"user-{number}", judged=True)
        clock.now += 60.0
        memory.request(NEW, f"user-{number}", judged=False)
        clock.now += 0.5
        judged += memory.is_judged(NEW, f"user-{number}")
    assert judged <= 4


def test_a_late_thumb_is_about_any_of_the_answers_alike() -> None:
    """An hour after a session of twelve requests, one of them judged: more of them than are remembered one by one."""
    clock = Clock()
    memory = Attribution(clock)
    for number in range(600):
        for request in range(12):
            memory.request(NEW, f"user-{number}", judged=request == 0)
            clock.now += 0.01
    clock.now += 1200.0
    judged = sum(memory.is_judged(NEW, f"user-{number}") for number in range(600))
    assert 30 <= judged <= 70  # 50, and three standard deviations


def test_a_user_who_was_forgotten_is_a_stranger() -> None:
    clock = Clock()
    memory = Attribution(clock)
    memory.request(NEW, "u", judged=True)
    for _ in range(2):
        clock.now += 1800.0
        memory.request(NEW, "other", judged=False)
    for _ in range(400):
        memory.request(NEW, "other", judged=False)
    assert not memory.is_judged(NEW, "u")


def test_memory_is_bounded_however_many_users_and_models_come() -> None:
    memory = Attribution(Clock(), capacity=100)
    for number in range(5000):
        memory.request((Cohort.CANARY, f"model-{number}"), f"user-{number}", judged=True)
        memory.is_judged((Cohort.CANARY, "model-new"), f"stranger-{number}")
        assert len(memory) <= 200
        assert len(memory._requests) <= 64


def test_it_keeps_no_user_only_numbers() -> None:
    memory = Attribution(Clock())
    memory.request(NEW, "alice@example.com", judged=True)
    assert "alice" not in repr(memory._users)
