"""Live spend: each step is counted once, by whichever replica, and what is not known is never 0."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument, OutcomeUnknown
from killswitch.spend import books
from killswitch.spend.books import Book
from killswitch.spend.caps import Cap, Period
from killswitch.spend.live import CountedUpTo, LiveCost, LiveStep, TokenKind, from_document, live_cost, to_document
from killswitch.spend.live_counting import LiveSpend, Uncounted
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.stores import Put, keys
from killswitch.timestamps import DAY, HOUR
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Call, Fault, MemoryServer, MemoryStore

SCOPE = "rollout:support"
NOON = 1_780_488_000.0  # 2026-06-03 12:00 UTC
STEP = 30.0
# a token that is read costs one micro-dollar, one that is written four
PRICES = PriceList([Price("new", 0.0, MILLION, MILLION, MILLION, 4 * MILLION, 4 * MILLION)])
TOKENS: dict[TokenKind, float] = {"input": 100.0, "output": 25.0}
COST = 200


def steps(
    first: int, last: int, *, model: str = "new", tokens: dict[TokenKind, float] | None = TOKENS
) -> list[LiveStep]:
    """Those from ``first`` to before ``last``, counted from noon."""
    return [LiveStep(NOON + STEP * number, NOON + STEP * (number + 1), model, tokens) for number in range(first, last)]


class Replicas:
    def __init__(self) -> None:
        self.server = MemoryServer(VirtualClock(NOON))
        self.stores = [MemoryStore(self.server, name) for name in "ab"]
        self.a, self.b = (LiveSpend(store, wall=lambda: NOON + DAY) for store in self.stores)

    def spent(self, period: Period = Period.DAY) -> int:
        value = self.server.value(keys.account(SCOPE, period))
        return 0 if value is None else books.from_document(value, SCOPE, period).current.spent


def count(replica: LiveSpend, live_steps: list[LiveStep], prices: PriceList) -> LiveCost:
    replica.read()
    return replica.count([Uncounted(SCOPE, live_steps, prices)]).costs[SCOPE]


def counted(replica: LiveSpend) -> CountedUpTo | None:
    replica.read()
    return replica.counted(SCOPE)


def test_two_replicas_count_each_step_once() -> None:
    replicas = Replicas()
    for last in range(1, 20):
        for replica in (replicas.a, replicas.b):
            count(replica, steps(max(0, last - 5), last), PRICES)
    assert replicas.spent() == 19 * COST
    assert counted(replicas.a) == CountedUpTo(NOON + 19 * STEP)


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.APPLY_LATER])
def test_a_lost_answer_counts_no_step_twice(fault: Fault) -> None:
    replicas = Replicas()
    replicas.stores[0].fault = lambda call: fault if call.name == "commit" else None
    with pytest.raises(OutcomeUnknown):
        count(replicas.a, steps(0, 3), PRICES)
    count(replicas.b, steps(0, 4), PRICES)
    replicas.server.apply_late()
    assert replicas.spent() == 4 * COST


def test_a_replica_that_is_behind_takes_nothing_back() -> None:
    """It has read before another one wrote, and its own steps cost nothing: no book says that it is late."""
    replicas = Replicas()
    quiet: dict[TokenKind, float] = {"input": 0.0}
    behind = steps(0, 3, tokens=quiet)

    def overtaken(call: Call) -> None:
        if call.name == "commit" and counted(replicas.b) is None:
            count(replicas.b, [*behind, *steps(3, 6)], PRICES)

    replicas.stores[0].fault = overtaken
    count(replicas.a, behind, PRICES)
    count(replicas.a, [*behind, *steps(3, 6)], PRICES)
    assert replicas.spent() == 3 * COST
    assert counted(replicas.a) == CountedUpTo(NOON + 6 * STEP)


def test_after_a_restart_counting_goes_on() -> None:
    """The window reaches back to where counting ended, whoever asks."""
    replicas = Replicas()
    count(replicas.a, steps(0, 2), PRICES)
    count(LiveSpend(replicas.stores[1], wall=lambda: NOON + DAY), steps(0, 50), PRICES)
    assert replicas.spent() == 50 * COST


def test_an_unknown_price_is_waited_for_and_then_counted() -> None:
    replicas = Replicas()
    unpriced = steps(0, 10, model="newer")
    cost = count(replicas.a, unpriced, PRICES)
    assert cost.waits_for == "no price of 'newer' is known for 2026-06-03T12:00:30Z; add it to the file of prices"
    assert replicas.spent() == 0
    priced = PriceList([Price("newer", 0.0, *[MILLION] * 5)])
    assert count(replicas.a, unpriced, priced).waits_for is None
    assert replicas.spent() == 10 * 125


@pytest.mark.parametrize(
    "tokens", [None, {"input": math.nan}, {"output": -1.0}, {"output": math.inf}, {"input": 1e300}], ids=str
)
def test_tokens_that_are_not_known_are_waited_for(tokens: dict[TokenKind, float] | None) -> None:
    cost = live_cost(None, [*steps(0, 2), *steps(2, 3, tokens=tokens), *steps(3, 5)], PRICES)
    assert cost.counted.tick == NOON + 2 * STEP
    assert sum(micros for _, micros in cost.charges) == 2 * COST
    assert cost.waits_for is not None


def test_what_stays_unknown_for_a_day_is_missing_and_not_0() -> None:
    gap = LiveStep(NOON, NOON + STEP, "new", None)
    later = LiveStep(NOON + STEP, NOON + STEP + DAY, "new", TOKENS)
    cost = live_cost(None, [gap, later], PRICES)
    assert cost.waits_for is None
    assert cost.counted == CountedUpTo(NOON + STEP + DAY, missing=STEP)


def test_steps_that_no_one_has_read_are_missing() -> None:
    assert live_cost(CountedUpTo(NOON), steps(4, 5), PRICES).counted == CountedUpTo(NOON + 5 * STEP, missing=4 * STEP)


def test_each_step_is_charged_to_its_own_hour() -> None:
    replicas = Replicas()
    hourly = [LiveStep(NOON + HOUR * hour - 60, NOON + HOUR * hour, "new", TOKENS) for hour in range(1, 4)]
    count(replicas.a, hourly, PRICES)
    value = replicas.server.value(keys.account(SCOPE, Period.HOUR))
    assert value is not None
    book = books.from_document(value, SCOPE, Period.HOUR)
    assert book.previous is not None
    assert (book.current.spent, book.previous.spent) == (COST, COST)
    assert replicas.spent() == 3 * COST


def test_live_spend_over_a_hard_cap_is_counted_beyond_it() -> None:
    """It is never refused: whoever judges the cap holds or trips."""
    replicas = Replicas()
    capped = Book.begin(Cap(SCOPE, Period.DAY, hard=300), NOON)
    replicas.server.commit("rules", (), (Put(keys.account(SCOPE, Period.DAY), books.to_document(capped)),))
    count(replicas.a, steps(0, 5), PRICES)
    value = replicas.server.value(keys.account(SCOPE, Period.DAY))
    assert value is not None
    account = books.from_document(value, SCOPE, Period.DAY).current
    assert (account.spent, account.beyond, account.hard) == (300, 700, 300)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.floats(0.0, 1e6, width=32))
def test_however_steps_are_bundled_they_cost_the_same(bundles: list[int], number: float) -> None:
    """Also where a bundle begins with steps that are counted already."""
    tokens: dict[TokenKind, float] = {"input": number, "output": 3.0}
    total, counted, last = 0, None, 0
    for bundle in bundles:
        first, last = max(0, last - 2), last + bundle
        cost = live_cost(counted, steps(first, last, tokens=tokens), PRICES)
        counted = cost.counted
        total += sum(micros for _, micros in cost.charges)
    assert total == sum(bundles) * (math.ceil(number) + 12)
    assert counted == CountedUpTo(NOON + STEP * last)


def test_the_rest_of_a_step_costs_its_share() -> None:
    cost = live_cost(CountedUpTo(NOON + STEP / 2), steps(0, 1), PRICES)
    assert cost.charges == ((NOON + STEP, 50 + 4 * 13),)


def test_how_far_is_counted_is_what_was_stored() -> None:
    assert from_document(to_document(CountedUpTo(NOON, 90.0))) == CountedUpTo(NOON, 90.0)
    for value in (b"{", b"{}", b'{"format": 2, "tick": "2026-06-03T12:00:00Z", "missing": 0}'):
        with pytest.raises(BadDocument):
            from_document(value)


def test_one_busy_account_holds_up_no_other_scope() -> None:
    """Another process changes one of its books before each of our first commits of it."""
    replicas = Replicas()
    busy, scopes = keys.account("rollout:0", Period.DAY), [f"rollout:{number}" for number in range(40)]
    changes: list[Call] = []

    def changed_before(call: Call) -> None:
        written = call.subject if isinstance(call.subject, tuple) else ()
        if call.name == "commit" and len(changes) < 3 and any(write.key == busy for write in written):
            changes.append(call)
            book = Book.begin(Cap("rollout:0", Period.DAY, hard=10**9 + len(changes)), NOON)
            replicas.server.commit("other", (), (Put(busy, books.to_document(book)),))

    replicas.stores[0].fault = changed_before
    replicas.a.read()
    found = replicas.a.count([Uncounted(scope, steps(0, 3), PRICES) for scope in scopes])
    assert len(changes) == 3
    assert {scope: found.costs[scope].counted.tick for scope in scopes} == dict.fromkeys(scopes, NOON + 3 * STEP)
    for scope in scopes:
        value = replicas.server.value(keys.account(scope, Period.DAY))
        assert value is not None
        assert books.from_document(value, scope, Period.DAY).current.used == 3 * COST


def test_a_document_that_cannot_be_read_holds_up_no_other_scope() -> None:
    replicas = Replicas()
    bad = (Put(keys.live_spend("rollout:a"), b"{"), Put(keys.account("rollout:b", Period.DAY), b"{"))
    replicas.server.commit("other", (), bad)
    replicas.a.read()
    found = replicas.a.count([Uncounted(f"rollout:{name}", steps(0, 3), PRICES) for name in "abc"])
    assert sorted(found.problems) == ["rollout:a", "rollout:b"]
    assert sorted(found.costs) == ["rollout:c"]


def test_a_cycle_costs_one_read_and_a_commit_for_32_scopes() -> None:
    replicas = Replicas()
    wanted = [f"rollout:{number}" for number in range(64)]
    for last in range(1, 4):
        replicas.stores[0].calls.clear()
        replicas.a.read()
        replicas.a.count([Uncounted(scope, steps(0, last), PRICES) for scope in wanted])
        asked = [call.name for call in replicas.stores[0].calls]
        assert asked == (["list", "list"] if last == 1 else ["list"]) + ["commit"] * 2
