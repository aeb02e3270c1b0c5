"""The live spend of a thousand rollouts on a real etcd: how often one cycle asks the store and the metric source."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import pytest

from killswitch.controller.announcements import Announcements
from killswitch.controller.live_spend import MOST_COMMITS
from killswitch.controller.recipients import Recipients
from killswitch.controller.spending import Spending
from killswitch.controller.store_health import StoreHealth
from killswitch.deadline import Deadline
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import State
from killswitch.model import Counts, Reading, Readings, SpendSettings, Want
from killswitch.sources import Source
from killswitch.spend.live import from_document
from killswitch.spend.live_counting import SCOPES_A_COMMIT
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.spend.standing import standings
from killswitch.spend_cap import SpendCap
from killswitch.stores import Committed, Compare, Delete, Item, Lost, Put, Snapshot, Store, keys
from killswitch.stores.opening import open_store
from killswitch.verdicts.armed_rollout import ArmedRollout
from tests.doubles.scripted_source import rollout
from tests.servers.etcd import EtcdCluster

pytestmark = pytest.mark.slow

ROLLOUTS = 1_000
STEP = 30.0
START = 1_780_488_000.0  # 2026-06-03 12:00 UTC
MODELS = ("model-old", "model-new")
PRICES = PriceList([Price(model, 0.0, *[MILLION] * 5) for model in MODELS])
CAPS = (SpendCap("rollout", "day", None, 10**9),)


class CountedStore:
    """A store of which each call is counted by its name."""

    def __init__(self, store: Store) -> None:
        self.calls: Counter[str] = Counter()
        self._store = store

    def get(self, key: str) -> Item | None:
        self.calls["get"] += 1
        return self._store.get(key)

    def list(self, prefix: str) -> Snapshot:
        self.calls["list"] += 1
        return self._store.list(prefix)

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        self.calls["commit"] += 1
        return self._store.commit(compares, writes)


class CountedSource:
    """Ten tokens of input a step for each cohort."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        self.calls["read"] += 1
        return self._readings(wants)

    def read_back(self, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline) -> Mapping[float, Readings]:
        self.calls["read_back"] += 1
        readings = self._readings(wants)
        return dict.fromkeys(ticks, readings)

    @staticmethod
    def _readings(wants: Sequence[Want]) -> Readings:
        found = {part: Counts(10.0 if part == "input" else 0.0, 10.0) for part in {want.part for want in wants}}
        return {want.key: Reading(found[want.part], found[want.part], want.seconds) for want in wants}


class Fleet:
    """``count`` armed rollouts with a cap each, counted by one replica."""

    def __init__(self, url: str, count: int) -> None:
        self.opened = open_store(url)
        self.store = CountedStore(self.opened)
        self.source = CountedSource()
        self.now = START
        rollouts = [rollout(f"r{number:04}", spend=SpendSettings("prices.json", CAPS)) for number in range(count)]
        self.rollouts = {one.name: one for one in rollouts}
        self.armed = [
            ArmedRollout(
                one, Flag(one.name, 1, State.ARMED, "canary", 5.0, *MODELS, "", START, (), START, "ann"), START
            )
            for one in rollouts
        ]
        self.prices = {one.name: PRICES for one in rollouts}
        self.spending = self.replica()

    def replica(self) -> Spending:
        return Spending(
            cast("Store", self.store),
            cast("Source", self.source),
            announcements=cast("Announcements", None),
            recipients=cast("Recipients", None),
            health=cast("StoreHealth", None),
            step=STEP,
            wall=lambda: self.now,
            monotonic=time.monotonic,
        )

    def cycle(self) -> tuple[Counter[str], Counter[str]]:
        """One cycle; how often it asked the store, and the source."""
        self.store.calls.clear()
        self.source.calls.clear()
        self.now += STEP
        self.spending.count(self.armed, self.prices, self.now, Deadline(60.0))
        self.spending.look(self.rollouts)
        return Counter(self.store.calls), Counter(self.source.calls)

    def used(self, scope: str, period: str = "day") -> int:
        found, _ = standings(self.opened.list(keys.accounts(scope)), self.now)
        return next((one.used for one in found if one.book.period.value == period), 0)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield Fleet(cluster.url, ROLLOUTS)


def test_a_cycle_of_a_thousand_rollouts_is_a_handful_of_calls(fleet: Fleet) -> None:
    """Before, it was 12,000 calls of the store and 1,000 of the source. Nothing is lost and nothing counted twice."""
    cycles = [fleet.cycle() for _ in range(12)]
    for store, source in cycles[2:]:
        assert store.total() <= 2 + MOST_COMMITS, store
        assert store["get"] == 0
        assert source.total() <= 3
    while min(fleet.used(f"rollout:r{number:04}") for number in (0, 500, 999)) < 10 * 12:
        fleet.cycle()
    # each has been counted up to a tick, and ten micro-dollars for each step up to there
    for item in fleet.opened.list(keys.LEDGER_LIVE).items[::97]:
        scope = item.key.removeprefix(keys.LEDGER_LIVE)
        steps = (from_document(item.value).tick - START) / STEP
        assert fleet.used(scope) == 10 * steps


def test_what_an_outage_left_behind_is_counted_in_one_cycle(fleet: Fleet) -> None:
    """Else the last ones' steps would be too old to be read back when it is their turn."""
    fleet.cycle()
    fleet.now += 25 * STEP
    fleet.spending = fleet.replica()
    store, source = fleet.cycle()
    assert store["commit"] <= 1 + 2 * ROLLOUTS // SCOPES_A_COMMIT
    assert source.total() <= 3
    counted = [from_document(item.value) for item in fleet.opened.list(keys.LEDGER_LIVE).items]
    assert {one.tick for one in counted} == {fleet.now}
    assert {one.missing for one in counted} == {0.0}
