"""The stored account: whatever is done to it in whatever order, what is spent and leased stays under the cap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from killswitch.spend import account as accounts
from killswitch.spend.account import Account, Block
from killswitch.spend.blocks import Effect, Wish, block_size, fulfil

HARD = 1_000
OWNERS = st.sampled_from(["a", "b", "c"])
AMOUNTS = st.integers(0, 400)


class AnyOrder(RuleBasedStateMachine):
    """Every transition with any amount, by three owners, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.account = Account(start=0.0, hard=HARD)

    @rule(owner=OWNERS, least=AMOUNTS, more=AMOUNTS)
    def grant(self, owner: str, least: int, more: int) -> None:
        before = self.account.free
        self.account, granted = accounts.grant(self.account, owner, least=least, most=least + more)
        assert before is not None
        assert granted == 0 or least <= granted <= min(before, least + more)
        assert granted > 0 or least == 0 or before < least

    @rule(owner=OWNERS, at_least=AMOUNTS)
    def mark(self, owner: str, at_least: int) -> None:
        self.account = accounts.mark(self.account, owner, at_least)

    @rule(owner=OWNERS, cost=AMOUNTS)
    def settle(self, owner: str, cost: int) -> None:
        before = self.account.spent + self.account.beyond
        self.account = accounts.settle(self.account, owner, cost)
        assert self.account.spent + self.account.beyond == before + cost

    @rule(cost=AMOUNTS)
    def charge(self, cost: int) -> None:
        self.account = accounts.charge(self.account, cost, overrun=cost)

    @rule(owner=OWNERS, keep=AMOUNTS)
    def give_back(self, owner: str, keep: int) -> None:
        self.account = accounts.give_back(self.account, owner, keep=keep)

    @rule(owner=OWNERS)
    def reclaim(self, owner: str) -> None:
        marked = self.account.block(owner).mark
        before = self.account
        self.account = accounts.reclaim(before, owner)
        assert self.account.spent == before.spent + marked
        assert self.account.used == before.used

    @invariant()
    def under_the_cap(self) -> None:
        assert self.account.spent + self.account.leased <= HARD
        assert self.account.spent >= 0

    @invariant()
    def no_mark_is_beyond_its_block(self) -> None:
        assert all(0 <= block.mark <= block.size for block in self.account.blocks.values())


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize(
    ("spent", "short", "used_up"),
    [(0, 1_200, False), (100, 950, False), (700, 400, False), (800, 400, True), (990, 20, True), (1_000, 0, True)],
)
def test_one_large_request_is_not_the_caps_end(spent: int, short: int, used_up: bool) -> None:
    """A request of more than the cap is refused with nothing spent, and small ones go on."""
    assert Account(start=0.0, hard=1_000, spent=spent, short=short).used_up is used_up


class ByWishes(RuleBasedStateMachine):
    """What owners really do: each change is made of a wish, and the cap is lowered and raised at any moment."""

    effects = Bundle("effects")

    def __init__(self) -> None:
        super().__init__()
        self.account = Account(start=0.0, hard=HARD)
        self.over = False

    @rule(
        target=effects,
        owner=OWNERS,
        settled=AMOUNTS,
        reserved=AMOUNTS,
        need=AMOUNTS,
        most_asked=AMOUNTS,
        returned=st.booleans(),
    )
    def change(
        self, owner: str, settled: int, reserved: int, need: int, most_asked: int, returned: bool
    ) -> tuple[Wish, Effect]:
        before = self.account
        wish = Wish(settled, 0, reserved, need, most_asked, returned, 0)
        self.account, effect = fulfil(before, owner, wish, before.block(owner).turn + 1)
        block = self.account.block(owner)
        assert (effect.size, effect.mark, effect.turn) == (block.size, block.mark, block.turn)
        if returned:
            assert effect.size <= max(reserved, 0)
        elif effect.met and need:
            assert effect.mark >= reserved + need
        hard = self.account.hard
        assert hard is not None
        grown = self.account.spent + self.account.leased - before.spent - before.leased
        assert grown <= 0 or self.account.spent + self.account.leased <= hard
        return wish, effect

    @rule(hard=st.integers(0, 2 * HARD))
    def state_another_cap(self, hard: int) -> None:
        self.account = Account(
            0.0, hard, self.account.spent, self.account.beyond, self.account.overrun, self.account.blocks
        )


TestByWishes = ByWishes.TestCase
TestByWishes.settings = settings(max_examples=60, stateful_step_count=30)


def test_a_dead_owners_block_returns_but_for_what_is_up_to_the_mark() -> None:
    account = Account(start=0.0, hard=100, spent=10, blocks={"a": Block(40, 15, 3), "b": Block(20, 20, 1)})
    after = accounts.reclaim(account, "a")
    assert (after.spent, after.leased, after.free) == (25, 20, 55)
    assert accounts.reclaim(after, "a") == after


def test_a_cost_beyond_the_cap_is_counted_beyond_it() -> None:
    """Spent never passes the cap; what an answer has cost over everything is shown apart, and nothing is granted."""
    account = accounts.settle(Account(start=0.0, hard=100, blocks={"a": Block(30, 30)}), "a", 130, overrun=100)
    assert (account.spent, account.beyond, account.overrun, account.leased) == (100, 30, 100, 0)
    assert account.free == 0
    assert accounts.grant(account, "a", least=1, most=1)[1] == 0


def test_a_cap_lowered_below_what_is_spent_grants_nothing() -> None:
    account = Account(start=0.0, hard=5, spent=10, blocks={"a": Block(4, 2)})
    assert account.over
    assert account.free == 0
    assert accounts.grant(account, "b", least=1, most=9)[1] == 0


def test_without_a_cap_everything_is_granted() -> None:
    account, granted = accounts.grant(Account(start=0.0, hard=None), "a", least=3, most=7)
    assert (granted, account.free, account.over) == (7, None, False)


def test_the_last_money_is_given_in_small_blocks() -> None:
    """Near the end of a cap no process gets a whole block that others could use."""
    account = Account(start=0.0, hard=1_000, spent=936)
    assert accounts.grant(account, "a", least=0, most=50)[1] == 64 // 8
    assert accounts.grant(account, "a", least=60, most=90)[1] == 60


@given(hard=st.integers(0, 10**12), most_asked=st.integers(0, 10**9))
def test_a_block_is_a_hundredth_and_holds_a_reservation(hard: int, most_asked: int) -> None:
    assert block_size(hard, most_asked) == max(hard // 100, most_asked, 1)
    assert block_size(None, most_asked) == max(1_000_000, most_asked)


def test_a_mark_is_a_part_of_the_block() -> None:
    """So a process that dies leaves at most a quarter of a block spent without having spent it."""
    _, effect = fulfil(Account(start=0.0, hard=1_000_000), "a", Wish(most_asked=100, need=100), 1)
    assert effect.size == 10_000
    assert effect.mark == 2_500


def test_what_is_settled_leaves_the_block() -> None:
    account = Account(start=0.0, hard=1_000_000, blocks={"a": Block(10_000, 5_000, 7)})
    after, effect = fulfil(account, "a", Wish(settled=3_000, reserved=1_500, returned=True), 8)
    assert (after.spent, after.leased, effect.mark) == (3_000, 1_500, 1_500)
