"""The ledger of several processes over one store, in virtual time."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from killswitch.errors import BadSettings
from killswitch.spend.caps import Cap, Period
from killswitch.spend.reservations import NotReserved, Reservation, SpendReason
from killswitch.stores import Put, keys
from killswitch.timestamps import HOUR
from killswitch.token_usage import Usage
from tests.doubles.memory_store import Fault
from tests.unit.spend.tills import SCOPE, TTL, World

HOURLY = Cap(SCOPE, Period.HOUR, hard=10_000)


def test_a_reservation_with_room_asks_no_store() -> None:
    world = World(Cap(SCOPE, Period.HOUR, hard=1_000_000))
    till = world.till()
    till.reserved(10)
    before = len(till.store.calls)
    for _ in range(5):
        assert isinstance(till.try_once(10), Reservation)
    assert len(till.store.calls) == before


def test_four_processes_spend_a_cap_and_never_more() -> None:
    """Reservations of a fiftieth of the cap, so that a block is one of them, by turns until all are refused."""
    world = World(HOURLY)
    tills = [world.till() for _ in range(4)]
    got = [till for _ in range(60) for till in tills if isinstance(till.reserve(200), Reservation)]
    assert len(got) == 50
    assert {till.reason(200) for till in tills} == {SpendReason.CAP}
    assert max(world.most_spent_and_leased().values()) <= 10_000


def test_a_refusal_of_a_cap_says_when_the_period_ends() -> None:
    world = World(HOURLY)
    till = world.till()
    assert till.spend_all(1_000) == 10
    refused = till.reserve(1_000)
    assert isinstance(refused, NotReserved)
    assert refused.until == world.clock.wall() + HOUR
    assert refused.sentence == "the cap of shadow:x per hour has no room for $0.001"
    before = len(till.store.calls)
    assert till.reason(1_000) is SpendReason.CAP
    assert len(till.store.calls) == before, "a refusal of a moment ago is remembered"


def test_a_cap_below_one_request_is_named_with_both_amounts() -> None:
    till = World(HOURLY).till()
    refused = till.reserve(12_300)
    assert isinstance(refused, NotReserved)
    assert refused.sentence == (
        "the cap of shadow:x per hour has no room for $0.0123, because the whole cap is $0.01; raise it, or limit the"
        " tokens of each request"
    )


def test_what_is_settled_below_its_reservation_is_free_again() -> None:
    world = World(HOURLY)
    till = world.till()
    for _ in range(91):
        assert till.reserved(1_000).settle({"prompt_tokens": 60, "completion_tokens": 40}) == 100
    assert till.reason(1_000) is SpendReason.CAP


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": 2}, "nonsense"], ids=str)
def test_a_cut_stream_costs_its_reservation(usage: object) -> None:
    """No usage, or one that cannot be understood, is never 0."""
    till = World(HOURLY).till()
    assert till.reserved(700).settle(usage) == 700


def test_what_was_never_sent_costs_nothing() -> None:
    till = World(HOURLY).till()
    for _ in range(30):
        till.reserved(1_000).release()


def test_a_reservation_ends_once() -> None:
    world = World(HOURLY)
    till = world.till()
    reservation = till.reserved(1_000)
    reservation.settle()
    reservation.release()
    reservation.settle(Usage(input=9_000))
    till.ledger.close()
    assert world.book().current.spent == 1_000


def test_a_cost_over_its_reservation_is_charged_and_counted() -> None:
    world = World(HOURLY)
    till = world.till()
    till.reserved(1_000).settle(Usage(input=4_000))
    assert till.spend_all(1_000) == 6
    till.ledger.close()
    account = world.book().current
    assert (account.spent, account.overrun, account.beyond) == (10_000, 3_000, 0)


def test_a_cost_over_the_whole_cap_is_beyond_it() -> None:
    world = World(HOURLY)
    till, other = world.till(), world.till()
    till.reserved(1_000).settle(Usage(input=25_000))
    world.pass_time(TTL, till, other)
    assert other.reason(1) is SpendReason.CAP
    account = world.book().current
    assert account.spent + account.beyond == 25_000
    assert account.beyond >= 15_000
    assert max(world.most_spent_and_leased().values()) <= 10_000


def test_an_unknown_price_is_refused() -> None:
    answer = World(HOURLY).till().scoped.reserve("other", 1, 1)
    assert isinstance(answer, NotReserved)
    assert answer.reason is SpendReason.UNKNOWN_PRICE
    assert "'other'" in answer.sentence


def test_all_scopes_and_periods_must_have_room() -> None:
    """The narrowest cap decides, and a refused reservation takes nothing from the others."""
    world = World(
        Cap(SCOPE, Period.HOUR, hard=100_000),
        Cap(SCOPE, Period.MONTH, hard=5_000),
        Cap("project:eval", Period.DAY, hard=3_000),
        Cap("judge", Period.DAY, hard=100),
    )
    both = world.till(scopes=(SCOPE, "project:eval"))
    assert both.spend_all(500) == 6
    refused = both.reserve(500)
    assert isinstance(refused, NotReserved)
    assert "project:eval per day" in refused.sentence
    both.ledger.close()
    assert world.till().spend_all(500) == 4
    assert world.book("project:eval", Period.DAY).current.spent == 3_000


def test_a_scope_without_a_cap_is_refused_at_once() -> None:
    with pytest.raises(BadSettings, match="no cap is stated for 'judge'"):
        World(HOURLY).till(scopes=(SCOPE, "judge"))


def test_without_a_hard_cap_the_spend_is_counted() -> None:
    world = World(Cap(SCOPE, Period.DAY, soft=10))
    till = world.till()
    for _ in range(50):
        till.reserved(1_000_000).settle()
    till.ledger.close()
    assert world.book(period=Period.DAY).current.spent == 50_000_000


def test_a_new_hour_has_its_own_money_and_the_day_goes_on() -> None:
    world = World(HOURLY, Cap(SCOPE, Period.DAY, hard=25_000))
    till = world.till()
    spent = []
    for _ in range(4):
        spent.append(till.spend_all(1_000))
        world.pass_time(HOUR, till)
    assert spent == [10, 10, 5, 0]


def test_a_clock_set_back_reopens_no_period() -> None:
    world = World(HOURLY)
    till = world.till()
    world.pass_time(HOUR, till)
    assert till.spend_all(1_000) == 10
    world.clock.jump_wall(-HOUR)
    assert till.reason(1_000) is SpendReason.CAP
    world.pass_time(TTL, till)
    assert till.reason(1_000) is SpendReason.CAP
    assert world.till().reason(1_000) is SpendReason.CAP, "nor does a process that begins now"


def test_a_clock_ahead_spends_later_hours_and_no_more_than_the_day() -> None:
    """What docs/spend.md says of it: each hour has its cap, whenever it is spent, and the day's holds over them."""
    world = World(HOURLY, Cap(SCOPE, Period.DAY, hard=25_000))
    till = world.till()
    spent = []
    for _ in range(4):
        spent.append(till.spend_all(1_000))
        world.clock.jump_wall(HOUR)
        world.pass_time(TTL, till)
    assert spent == [10, 10, 5, 0]
    assert max(world.most_spent_and_leased().values()) <= 10_000
    assert world.most_spent_and_leased(period=Period.DAY).total() == 25_000


def test_a_late_settlement_belongs_to_the_hour_it_was_reserved_in() -> None:
    world = World(HOURLY)
    till = world.till()
    late, forgotten = till.reserved(4_000), till.reserved(1_000)
    world.pass_time(HOUR, till)
    assert till.spend_all(1_000) == 10
    late.settle(Usage(input=1_500))
    world.pass_time(TTL, till)
    before = world.book().previous
    assert before is not None
    assert before.spent == 1_500
    assert before.used == 2_500, "what nobody settled counts as spent"
    assert forgotten.micros == 1_000


def test_an_idle_block_returns() -> None:
    """A process that asks no more must not keep what others could use."""
    world = World(HOURLY)
    idle, busy = world.till(), world.till()
    idle.reserved(2_000).settle(Usage(input=500))
    world.pass_time(4 * TTL, idle, busy)
    assert busy.spend_all(500) == 19
    assert idle.reason(500) is SpendReason.CAP


def test_a_dead_processs_block_returns_but_for_its_mark() -> None:
    world = World(Cap(SCOPE, Period.HOUR, hard=100_000))
    dead = world.till()
    dead.reserved(100)  # never settled: the process is killed
    account = world.book().current
    marked = account.used
    assert (account.leased, marked) == (1_000, 250)
    other = world.till()
    world.pass_time(TTL - 1.0, other)
    assert sum(block.size == 1_000 for block in world.book().current.blocks.values()) == 2, "its lease lives"
    world.pass_time(TTL, other)
    assert other.spend_all(100) == (100_000 - marked) // 100
    assert world.book().current.used == 100_000 - marked % 100


def test_a_process_stops_when_its_lease_may_have_ended() -> None:
    """By its own clock, before the store says so: a paused process must not spend what others were given."""
    world = World(Cap(SCOPE, Period.HOUR, hard=1_000_000))
    till = world.till()
    till.reserved(10)
    world.clock.advance(TTL - 0.01)
    assert isinstance(till.try_once(10), Reservation)
    world.clock.advance(0.02)
    answer = till.try_once(10)
    assert isinstance(answer, NotReserved)
    assert answer.reason is SpendReason.STORE


def test_a_process_that_slept_past_its_lease_begins_with_nothing() -> None:
    world = World(Cap(SCOPE, Period.HOUR, hard=1_000_000))
    sleeper, other = world.till(), world.till()
    asleep = sleeper.reserved(1_000)
    world.pass_time(2 * TTL, other)
    assert other.spend_all(1_000) >= 900
    asleep.settle(Usage(input=1_500))
    world.pass_time(TTL, sleeper, other)
    assert sleeper.spend_all(1_000) == 0
    book = world.book().current
    assert book.spent + book.leased <= 1_000_000
    assert max(world.most_spent_and_leased().values()) <= 1_000_000


def test_a_lost_block_pays_what_was_spent_beyond_its_mark() -> None:
    """An answer of a process that slept past its lease has cost far more than was reserved for it."""
    world = World(Cap(SCOPE, Period.HOUR, hard=1_000_000))
    sleeper, other = world.till(), world.till()
    asleep = sleeper.reserved(1_000)
    world.pass_time(3 * TTL, other)
    other.reserved(1).release()
    asleep.settle(Usage(input=50_000))
    world.pass_time(TTL, sleeper, other)
    sleeper.ledger.close()
    other.ledger.close()
    account = world.book().current
    assert (account.spent, account.overrun, account.leased) == (50_000, 49_000, 0)


def test_with_the_store_away_the_block_is_spent_and_then_refused() -> None:
    world = World(HOURLY)
    till = world.till()
    till.reserved(10).settle()
    till.store.fault = lambda _: Fault.FAIL_BEFORE
    assert isinstance(till.try_once(10), Reservation)
    answer = till.reserve(5_000)
    assert isinstance(answer, NotReserved)
    assert answer.reason is SpendReason.STORE
    assert "does not answer" in answer.sentence
    assert answer.until is not None
    assert till.ledger.problem is not None
    till.store.fault = lambda _: None
    till.ledger.step()
    assert till.ledger.problem is None
    till.reserved(5_000)


def test_a_closed_ledger_refuses() -> None:
    till = World(HOURLY).till()
    till.ledger.close()
    assert till.reason(1) is SpendReason.SHUTTING_DOWN


def test_a_closed_ledger_returns_its_block_and_keeps_what_is_reserved() -> None:
    world = World(HOURLY)
    till = world.till()
    under_way = till.reserved(3_000)
    till.reserved(2_000).release()
    till.ledger.close()
    assert under_way.settle(Usage(input=1)) == 1
    account = world.book().current
    assert (account.spent, account.leased) == (3_000, 0)
    assert not world.server.list(keys.LEDGER_OWNERS).items


def test_a_lowered_cap_refuses_everything_at_once() -> None:
    """The cap in force is the newest writer's, for the processes that state another one, too."""
    world = World(HOURLY)
    old = world.till()
    assert old.reserved(1_000).settle() == 1_000
    world.pass_time(TTL, old)
    new = world.till(Cap(SCOPE, Period.HOUR, hard=500))
    assert new.reason(1) is SpendReason.CAP
    world.pass_time(TTL / 3, old, new)
    assert old.reason(1) is SpendReason.CAP
    newest = world.till(Cap(SCOPE, Period.HOUR, hard=2_000))
    assert newest.spend_all(500) == 2
    world.pass_time(TTL / 3, old, new)
    assert world.book().hard == 2_000, "a process that was there before states its cap no second time"


def test_a_ledger_states_other_caps_while_it_is_open() -> None:
    world = World(HOURLY)
    till = world.till()
    assert till.spend_all(1_000) == 10
    till.ledger.state([Cap(SCOPE, Period.HOUR, hard=12_000)])
    world.pass_time(TTL / 3, till)
    assert till.spend_all(1_000) == 2
    with pytest.raises(BadSettings, match="not added or removed"):
        till.ledger.state([Cap(SCOPE, Period.DAY, hard=12_000)])


def test_a_corrupt_book_is_refused_and_not_written_over() -> None:
    world = World(HOURLY)
    key = keys.account(SCOPE, Period.HOUR)
    world.server.commit("somebody", (), (Put(key, b"{"),))
    till = world.till()
    refused = till.reserve(1)
    assert isinstance(refused, NotReserved)
    assert refused.reason is SpendReason.STORE
    assert "repair or delete" in refused.sentence
    assert world.server.value(key) == b"{"


def test_a_corrupt_book_stops_no_other_scope() -> None:
    world = World(HOURLY, Cap("judge", Period.HOUR, hard=10_000))
    till = world.till(scopes=("judge",))
    world.server.commit("somebody", (), (Put(keys.account(SCOPE, Period.HOUR), b"{"),))
    till.ledger.for_scopes(SCOPE)
    assert till.spend_all(1_000) == 10


def test_negative_tokens_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        World(HOURLY).till().try_once(-1)


@pytest.mark.parametrize("tokens", [10.5, math.nan, math.inf, "7", None, Decimal(7)], ids=repr)
def test_what_is_no_whole_number_of_tokens_is_refused(tokens: Any) -> None:
    """A fraction in a book closes its account for every process, and NaN would pass by every cap from then on."""
    till = World(HOURLY).till()
    till.reserved(10)
    with pytest.raises(ValueError, match="is a whole number, not"):
        till.try_once(tokens)
    assert till.spend_all(1_000) == 9


def test_whole_numbers_of_other_libraries_are_counted() -> None:
    till = World(HOURLY).till()
    reserved = till.reserve(np.int64(1_000))  # type: ignore[arg-type]  # as a tokenizer may count
    assert isinstance(reserved, Reservation)
    assert type(reserved.micros) is int


def test_an_absurd_request_closes_no_account_without_a_cap() -> None:
    """Its tokens may be a user's own number. What a book cannot hold would stop everyone who is charged to it."""
    till = World(Cap(SCOPE, Period.HOUR, soft=10_000)).till()
    till.reserved(10)
    refused = till.reserve(10**5000)
    assert isinstance(refused, NotReserved)
    assert refused.sentence == "no answer may cost over $1,000,000.00; limit the tokens of the request"
    assert isinstance(till.reserve(1_000), Reservation)
    assert till.ledger.problem is None
