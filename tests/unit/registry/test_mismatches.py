"""Reports of models that did not match their pins: paged once, and believed only as far as the registry goes."""

from __future__ import annotations

import json

import pytest

from killswitch.errors import Unavailable
from killswitch.model import PageSettings
from killswitch.pages.page import Page, PageKind, page_from_json
from killswitch.registry.mismatches import MAX_PAGES, AnsweredBy, MismatchPages, reported
from killswitch.router.pinned.mismatch_report import MismatchReport, ReportedMismatch, to_document
from killswitch.stores import Delete, Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Fault, MemoryServer, MemoryStore
from tests.doubles.roles import REVIEW, put_roles, role

PIN, MOVED = "gpt-5-2026-01-10", "gpt-5-2026-06-01"


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store = MemoryStore(self.server)
        put_roles(self.store, role(candidate="next"))

    def pages_of(self, store: MemoryStore | None = None) -> MismatchPages:
        settings = PageSettings(slack="#ml")
        return MismatchPages(store or self.store, settings=lambda _role: settings, wall=self.clock.wall)

    def report(self, process: str, *rows: ReportedMismatch, raw: bytes | None = None) -> None:
        document = to_document(MismatchReport(process, self.clock.wall(), rows)) if raw is None else raw
        self.store.commit((), (Put(keys.role_report(process), document),))

    def outbox(self) -> list[Page]:
        found = self.store.list(keys.OUTBOX).items
        return [page_from_json(json.loads(item.value)["page"]) for item in found]


@pytest.fixture
def world() -> World:
    return World()


def row(answered: str = MOVED, *, pinned: str = PIN, name: str = REVIEW, number: int = 3) -> ReportedMismatch:
    return ReportedMismatch(name, pinned, answered, number)


def test_one_page_for_a_pin_and_a_model(world: World) -> None:
    """However many processes report it, replicas look, and times they look: also after the reports are gone."""
    for number in range(50):
        world.report(f"host-{number}", row(number=4))
    replicas = [world.pages_of() for _ in range(3)]
    for _ in range(3):
        for replica in replicas:
            replica.look()
    (page,) = world.outbox()
    assert (page.kind, page.rollout, page.slack) == (PageKind.MODEL_MISMATCH, f"role:{REVIEW}", "#ml")
    assert page.payload["mismatch"] == {
        "role": REVIEW, "slot": "prod", "pinned": PIN, "answered": MOVED, "number": 200, "processes": 50,
    }  # fmt: skip
    world.store.commit((), [Delete(keys.role_report(f"host-{number}")) for number in range(50)])
    world.pages_of().look()
    world.report("host-new", row())
    world.pages_of().look()
    assert len(world.outbox()) == 1


def test_a_new_pin_is_paged_again(world: World) -> None:
    world.report("a", row())
    pages = world.pages_of()
    pages.look()
    put_roles(world.store, role(prod="gpt-6-2026-07-01", number=2))
    pages.look()
    assert len(world.outbox()) == 1
    world.report("a", row(pinned="gpt-6-2026-07-01"))
    pages.look()
    assert {page.payload["mismatch"]["pinned"] for page in world.outbox()} == {PIN, "gpt-6-2026-07-01"}


def test_reports_are_believed_about_pins_of_now_alone(world: World) -> None:
    """A process may write what it likes under its own key: a role, pin or document that is none pages no one."""
    world.report("a", row(name="unknown"), row(pinned="never-pinned"))
    world.report("b", raw=b"\xff{")
    world.report("c", raw=b'{"format": 1, "id": "c", "at": "2026-01-01T00:00:00Z", "mismatches": [{"role": "../x"}]}')
    put_roles(world.store, raw={"broken": b"{"})
    world.report("d", row(name="broken"))
    world.report("e", row("next-moved", pinned="next"))
    world.pages_of().look()
    (page,) = world.outbox()
    assert page.payload["mismatch"]["slot"] == "candidate"


def test_a_liar_causes_a_bounded_number_of_pages(world: World) -> None:
    pages = world.pages_of()
    for number in range(3 * MAX_PAGES):
        world.report(f"liar-{number}", row(f"model-{number}"))
        pages.look()
    assert len(world.outbox()) == MAX_PAGES
    world.pages_of().look()
    assert len(world.outbox()) == MAX_PAGES


def test_an_earlier_pins_pages_use_up_none_of_a_later(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """After a gateway that named many models, another pin that moves a year later is paged."""
    pages = world.pages_of()
    for number in range(2 * MAX_PAGES):
        world.report(f"liar-{number}", row(f"model-{number}"))
    for _ in range(3):
        pages.look()
    assert len([one for one in caplog.records if "no more are paged" in one.message]) == 1
    put_roles(world.store, role(prod="gpt-6-2026-07-01", number=2))
    world.report("a", row(pinned="gpt-6-2026-07-01"))
    pages.look()
    assert len(world.outbox()) == MAX_PAGES + 1


def test_hostile_names_are_plain_on_the_page(world: World) -> None:
    world.report("a", row("<script>alert(1)</script> @channel"))
    world.pages_of().look()
    (page,) = world.outbox()
    assert page.headline.isprintable()


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_ANSWER, Fault.APPLY_LATER])
def test_a_commit_that_fails_or_is_lost_pages_once(world: World, fault: Fault) -> None:
    world.report("a", row())
    store = MemoryStore(world.server)
    faults = [fault]
    store.fault = lambda call: faults.pop() if call.name == "commit" and faults else None
    pages = world.pages_of(store)
    for _ in range(3):
        pages.look()
        world.server.apply_late()
    assert len(world.outbox()) == 1


def test_reports_of_several_processes_are_added_up(world: World) -> None:
    world.report("a", row(number=2), row("x", number=-7))
    world.report("b", row(number=5), row(number=5))
    assert reported(world.store)[REVIEW] == (AnsweredBy(PIN, MOVED, 7, 2), AnsweredBy(PIN, "x", 0, 1))


def test_a_store_that_is_down_ends_no_job(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Down(MemoryStore):
        def list(self, prefix: str) -> object:  # type: ignore[override]
            raise Unavailable("no quorum")

    pages = world.pages_of(Down(world.server))
    for _ in range(5):
        pages.look()
    assert caplog.text.count("no quorum") == 1
