"""The page of a rollout over HTTP: bounded reads of the store, spans, and what is said where something is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from killswitch.flags.change import to_document as change_document
from killswitch.stores import Put, keys
from killswitch.trends.trend import Span, Trend
from killswitch.web.rollout_endpoint import FRESH_FOR, RolloutView, rollout_routes
from killswitch.web.turns import Turns
from tests.doubles import web_pages
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Fault, MemoryServer, MemoryStore
from tests.doubles.served import Served, listening

NAME = web_pages.NAME


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store = MemoryStore(self.server, "web")
        self.asked: list[tuple[str, Span]] = []
        self.served = Served(latest=web_pages.report(), incidents={NAME: web_pages.incident()})
        self.view = RolloutView(
            self.store, trends=self.trend, monotonic=self.clock.monotonic,
            dashboard=lambda rollout, at: f"https://g.example/d/x?var-rollout={rollout}&at={at:.0f}",
        )  # fmt: skip
        for number, change in enumerate(web_pages.facts().history):
            key = keys.flag_change(NAME, change.at, 7, number, change.deed.value)
            self.server.commit("controller", (), (Put(key, change_document(change)),))
        self.store.commit((), [Put(keys.router(NAME, "web-1"), b"not a report")])
        self.store.calls.clear()

    def trend(self, name: str, span: Span) -> tuple[Trend, bool] | None:
        self.asked.append((name, span))
        return web_pages.trend(span, name), True


@pytest.fixture(name="world")
def one_world() -> World:
    return World()


@pytest.fixture(name="base")
def served(world: World) -> Iterator[str]:
    with listening(world.served, rollout_routes(world.served, world.view)) as port:
        yield f"http://127.0.0.1:{port}"


def test_the_page_has_the_stores_facts_and_the_trend(world: World, base: str) -> None:
    answer = requests.get(f"{base}/rollouts/{NAME}?span=6h", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "style-src 'sha256-" in answer.headers["Content-Security-Policy"]
    for words in ("looks fine", "Over time: the last 6h", "the metric store is being asked", f"var-rollout={NAME}"):
        assert words in answer.text, words
    assert "No router has reported" in answer.text  # what cannot be read is no router
    assert world.asked == [(NAME, Span.SIX_HOURS)]


@pytest.mark.parametrize(
    ("path", "status"),
    [("nobody", 404), ("%3Cscript%3E", 404), (f"{NAME}?span=2h", 400), (f"{NAME}?span=%3Cb%3E", 400)],
)
def test_what_is_not_there_is_refused_in_words(base: str, path: str, status: int) -> None:
    answer = requests.get(f"{base}/rollouts/{path}", timeout=10)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_before_the_first_cycle_it_asks_for_patience(world: World, base: str) -> None:
    world.served.latest = None
    answer = requests.get(f"{base}/rollouts/{NAME}", timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_a_page_asked_for_often_reads_the_store_seldom(world: World) -> None:
    assert world.served.latest is not None
    for _ in range(30):
        assert world.view.page(world.served, world.served.latest, NAME, Span.HOUR) is not None
    first = len(world.store.calls)
    assert first <= 5
    world.clock.advance(FRESH_FOR + 1)
    world.view.page(world.served, world.served.latest, NAME, Span.HOUR)
    assert len(world.store.calls) == 2 * first


def test_one_page_is_made_at_a_time(world: World) -> None:
    world.view._turns = Turns(0.01)
    assert world.served.latest is not None
    with world.view._turns.turn():
        assert world.view.page(world.served, world.served.latest, NAME, Span.HOUR) is None


def test_a_store_that_does_not_answer_leaves_the_rest(world: World, base: str) -> None:
    world.store.fault = lambda call: Fault.FAIL_BEFORE
    answer = requests.get(f"{base}/rollouts/{NAME}", timeout=10)
    assert answer.status_code == 200
    assert "flag store: " in answer.text
    assert "refusal_rate" in answer.text
