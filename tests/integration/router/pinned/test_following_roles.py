"""`Roles` on real stores: pins that change, stores that are silent, broken, replaced, and processes that fork."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from killswitch.errors import BadDocument, BadSettings, UnknownRole
from killswitch.roles.document import to_document
from killswitch.roles.role import Slot
from killswitch.router import Roles
from killswitch.router.pinned.answered import Mismatches
from killswitch.router.pinned.following import RolesFollower
from killswitch.router.pinned.memory import RolesPolicy, RolesState
from killswitch.router.pinned.role_errors import (
    EmptySlot,
    RoleNotFound,
    RoleProblem,
    RolesNotRead,
    RolesStale,
    RoleUnreadable,
)
from killswitch.stores import Store, keys
from killswitch.stores.opening import open_store
from killswitch.stores.reader_opening import open_reader
from tests.doubles.clock import VirtualClock
from tests.doubles.roles import REVIEW, put_roles, role
from tests.integration.router.following import compact
from tests.servers.etcd import EtcdCluster, wait_until
from tests.servers.tcp_proxy import TcpProxy


@contextlib.contextmanager
def served(url: str, **how: Any) -> Iterator[Roles]:
    how = {"registry": CollectorRegistry(), "reread_every": 3600.0, "stale_grace": 7200.0, **how}
    with Roles(url, **how) as roles:
        yield roles


@contextlib.contextmanager
def writing(url: str) -> Iterator[Store]:
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


def until_model(roles: Roles, name: str, model: str) -> None:
    def has_it() -> bool:
        try:
            return roles.model_for(name) == model
        except RoleProblem:
            return False

    wait_until(has_it, f"{name} is {model}: {roles.health()}")


def until_watching(roles: Roles) -> None:
    wait_until(lambda: roles.health().watching, "the watch")


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path / "etcd") as cluster:
        yield cluster


@pytest.fixture(params=["etcd", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "etcd":
        found: str = request.getfixturevalue("etcd").url
        return found
    return f"sqlite://{tmp_path}/flags.db"


def test_a_promotion_and_a_rollback_arrive_by_the_watch(url: str) -> None:
    """Re-reads are an hour apart here."""
    with writing(url) as store:
        put_roles(store, role(candidate="new"))
        with served(url) as roles:
            assert roles.wait_ready(20.0)
            assert roles.model_for(REVIEW) == "gpt-5-2026-01-10"
            assert roles.model_for(REVIEW, "candidate") == "new"
            until_watching(roles)
            put_roles(store, role(prod="new", previous="gpt-5-2026-01-10", number=2))
            until_model(roles, REVIEW, "new")
            assert roles.model_for(REVIEW, slot="previous") == "gpt-5-2026-01-10"
            put_roles(store, role(number=3))
            until_model(roles, REVIEW, "gpt-5-2026-01-10")
            wait_until(lambda: roles.health().counts["change"] == 2, "both came by the watch")


def test_a_typo_chooses_no_model(url: str) -> None:
    with writing(url) as store:
        put_roles(store, role(), role("support"))
        with served(url) as roles:
            assert roles.wait_ready(20.0)
            with pytest.raises(RoleNotFound, match="did you mean review_triage"):
                roles.model_for("review_triag")
            with pytest.raises(UnknownRole, match="known roles: review_triage, support"):
                roles.model_for("\x1b[31mzzz")
            with pytest.raises(EmptySlot, match=r"slot candidate is empty; `killswitch role set-candidate"):
                roles.model_for(REVIEW, "candidate")
            with pytest.raises(EmptySlot, match="no slot 'production'; the slots are prod, candidate, previous"):
                roles.model_for(REVIEW, "production")
            wrong: tuple[Any, ...] = (None, 7, [], {}, b"prod")
            for hostile in wrong:
                with pytest.raises(RoleProblem):
                    roles.model_for(hostile)
                with pytest.raises(RoleProblem):
                    roles.model_for(REVIEW, hostile)


def test_a_deleted_role_raises(etcd: EtcdCluster) -> None:
    with writing(etcd.url) as store, served(etcd.url) as roles:
        put_roles(store, role(), role("support"))
        assert roles.wait_ready(20.0)
        until_watching(roles)
        put_roles(store, role("support", "other", number=2))
        until_model(roles, "support", "other")
        put_roles(store, gone=(REVIEW,))
        wait_until(lambda: roles.health().roles == 1, "the deletion")
        with pytest.raises(RoleNotFound):
            roles.model_for(REVIEW)


def test_before_the_first_read_defaults_serve_or_it_raises(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/flags.db"
    with served(url, reread_every=0.2) as plain, served(url, defaults={REVIEW: "gpt-0"}, reread_every=0.2) as given:
        assert not plain.wait_ready(0.1)
        with pytest.raises(RolesNotRead, match=r"wait_ready\(timeout\)"):
            plain.model_for(REVIEW)
        assert given.model_for(REVIEW) == "gpt-0"
        assert given.health().stale
        assert "defaults serve review_triage" in given.health().sentence
        with pytest.raises(RolesNotRead):
            given.model_for("support")
        with writing(url) as store:
            put_roles(store, role())
            until_model(given, REVIEW, "gpt-5-2026-01-10")
            assert asyncio.run(plain.await_ready(20.0))
            with pytest.raises(RoleNotFound):
                given.model_for("support")


def test_garbage_in_one_role_costs_no_other(url: str) -> None:
    """Its last good pin serves on, health and metrics say so; a role that was never good raises."""
    registry = CollectorRegistry()
    with writing(url) as store:
        put_roles(store, role(), role("support"), raw={"never": b"{"})
        with served(url, registry=registry) as roles:
            assert roles.wait_ready(20.0)
            until_watching(roles)
            put_roles(store, role("support", "next", number=2), raw={REVIEW: b"\x00garbage"})
            until_model(roles, "support", "next")
            # the watch brings the two keys of one commit one after the other
            wait_until(lambda: set(roles.health().problems) == {REVIEW, "never"}, "both damaged roles are said")
            assert roles.model_for(REVIEW) == "gpt-5-2026-01-10"
            assert not roles.health().ok
            with pytest.raises(RoleUnreadable, match="never"):
                roles.model_for("never")
            put_roles(store, role(prod="good", number=9))
            until_model(roles, REVIEW, "good")


def state_of(follower: RolesFollower) -> RolesState:
    """After a look at the virtual clock."""
    follower._wake.set()
    return follower.current.state


def test_a_silent_store_is_said_and_then_ends_the_pins(etcd: EtcdCluster) -> None:
    """Virtual time: the store is frozen; pins serve for 24 h, and come back with the store."""
    clock = VirtualClock()
    with writing(etcd.url) as store:
        put_roles(store, role())
    follower = RolesFollower(
        open_reader(etcd.url, timeout=0.3),
        policy=RolesPolicy(),
        defaults={},
        mismatches=Mismatches(),
        clock=clock.monotonic,
    )
    follower.start()
    try:
        assert follower.wait_until_read(20.0)
        etcd.members[0].pause()
        clock.advance(61.0)
        wait_until(lambda: state_of(follower) is RolesState.STALE, "stale")
        assert follower.current.model(Slot.PROD, REVIEW) == "gpt-5-2026-01-10"
        clock.advance(86_400.0)
        wait_until(lambda: state_of(follower) is RolesState.EXPIRED, "expired")
        assert follower.current.model(Slot.PROD, REVIEW) is None
        etcd.members[0].resume()
        clock.advance(60.0)
        wait_until(lambda: state_of(follower) is RolesState.FOLLOWED, "followed")
        assert follower.current.model(Slot.PROD, REVIEW) == "gpt-5-2026-01-10"
    finally:
        follower.close()


def test_after_the_trusted_time_model_for_names_the_store(tmp_path: Path) -> None:
    path = tmp_path / "flags.db"
    with writing(f"sqlite://{path}") as store:
        put_roles(store, role())
    registry = CollectorRegistry()
    with served(f"sqlite://{path}", reread_every=0.1, stale_grace=0.4, trusted_for=0.8, registry=registry) as roles:
        assert roles.wait_ready(20.0)
        assert roles.model_for(REVIEW)
        path.rename(tmp_path / "away")
        wait_until(lambda: roles.health().state is RolesState.EXPIRED, "expired")
        with pytest.raises(RolesStale, match=r"flags\.db has not answered for 800 ms .*there is no such file"):
            roles.model_for(REVIEW)
        wait_until(lambda: registry.get_sample_value("llm_roles_stale") == 1.0, "the gauge")
        (tmp_path / "away").rename(path)
        until_model(roles, REVIEW, "gpt-5-2026-01-10")
        wait_until(lambda: registry.get_sample_value("llm_roles_stale") == 0.0, "the gauge")
    with pytest.raises(RolesStale, match=r"make a new Roles"):
        roles.model_for(REVIEW)


def test_a_replaced_sqlite_file_is_read_again(tmp_path: Path) -> None:
    """The new file has lower revisions than the old one had: it is the store now, and followed on."""
    path, other = tmp_path / "flags.db", tmp_path / "other.db"
    with writing(f"sqlite://{path}") as store:
        for number in range(1, 30):
            put_roles(store, role(prod=f"m{number}", number=number))
    with served(f"sqlite://{path}", reread_every=0.2, stale_grace=60.0) as roles:
        assert roles.wait_ready(20.0)
        until_model(roles, REVIEW, "m29")
        with writing(f"sqlite://{other}") as store:
            put_roles(store, role(prod="restored"))
        for name in (other, other.with_name("other.db-wal"), other.with_name("other.db-shm")):
            if name.exists():
                name.rename(str(name).replace("other", "flags"))
        until_model(roles, REVIEW, "restored")
        with writing(f"sqlite://{path}") as store:
            put_roles(store, role(prod="after", number=2))
        until_model(roles, REVIEW, "after")


def test_what_the_watch_brought_of_a_lost_store_is_left(tmp_path: Path) -> None:
    """The newest pin came by the watch, and the store was restored from before it: no read may keep that pin."""
    path, old = tmp_path / "store.db", tmp_path / "old.db"
    url = f"sqlite://{path}"
    with writing(url) as store:
        put_roles(store, role(prod="good"))
    shutil.copy(path, old)
    with served(url, reread_every=4.0) as roles:
        until_model(roles, REVIEW, "good")
        with writing(url) as store:
            put_roles(store, role(prod="bad", number=2))
        until_model(roles, REVIEW, "bad")  # by the watch, within a quarter of a second
        for part in ("-wal", "-shm"):
            path.with_name(path.name + part).unlink(missing_ok=True)
        old.replace(path)
        until_model(roles, REVIEW, "good")


def test_a_compacted_watch_goes_on_from_a_read(etcd: EtcdCluster) -> None:
    member = etcd.members[0]
    with TcpProxy(("127.0.0.1", member.client_port)) as proxy, writing(etcd.url) as store:
        put_roles(store, role(), role("support"))
        with served(f"etcd://{proxy.endpoint}") as roles:
            assert roles.wait_ready(20.0)
            until_watching(roles)
            proxy.strand()
            put_roles(store, role(prod="new", number=2), gone=("support",))
            put_roles(store, role("another"))
            compact(member, store.list(keys.ROLES).revision)
            proxy.cut()
            until_model(roles, REVIEW, "new")
            with pytest.raises(RoleNotFound):
                roles.model_for("support")
            until_watching(roles)
            put_roles(store, role(prod="newer", number=3))
            until_model(roles, REVIEW, "newer")


def test_a_partition_costs_no_pin_and_its_end_brings_the_newest(etcd: EtcdCluster) -> None:
    with TcpProxy(("127.0.0.1", etcd.members[0].client_port)) as proxy, writing(etcd.url) as store:
        put_roles(store, role())
        with served(f"etcd://{proxy.endpoint}", reread_every=0.3, stale_grace=60.0) as roles:
            assert roles.wait_ready(20.0)
            until_watching(roles)
            proxy.black_hole()
            put_roles(store, role(prod="new", number=2))
            for _ in range(1000):
                assert roles.model_for(REVIEW) == "gpt-5-2026-01-10"
            proxy.heal()
            until_model(roles, REVIEW, "new")


def test_a_dead_watch_and_a_deletion_are_found_by_the_re_read(etcd: EtcdCluster) -> None:
    with TcpProxy(("127.0.0.1", etcd.members[0].client_port)) as proxy, writing(etcd.url) as store:
        put_roles(store, role(), role("support"))
        with served(f"etcd://{proxy.endpoint}", reread_every=0.5, stale_grace=60.0) as roles:
            assert roles.wait_ready(20.0)
            until_watching(roles)
            assert proxy.strand() >= 1
            put_roles(store, role(prod="new", number=2), gone=("support",))
            until_model(roles, REVIEW, "new")
            wait_until(lambda: roles.health().roles == 1, "the deletion")
            wait_until(lambda: roles.health().counts["watch_missed"] >= 1, "the watch is known to be dead")


def test_each_forked_child_follows_on_its_own(etcd: EtcdCluster) -> None:
    with writing(etcd.url) as store, served(etcd.url) as roles:
        put_roles(store, role())
        assert roles.wait_ready(20.0)
        until_watching(roles)
        from_child, to_parent = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                until_watching(roles)
                os.write(to_parent, b"[]\n")
                until_model(roles, REVIEW, "new")
                health = roles.health()
                os.write(to_parent, json.dumps([health.process_id, health.following]).encode())
            finally:
                os._exit(0)
        try:
            assert select.select([from_child], [], [], 60.0)[0], "the child never watched"
            assert os.read(from_child, 3) == b"[]\n"
            put_roles(store, role(prod="new", number=2))
            until_model(roles, REVIEW, "new")
            assert select.select([from_child], [], [], 60.0)[0], "the child never saw the promotion"
            process, following = json.loads(os.read(from_child, 1000))
            assert following
            assert process != roles.health().process_id
        finally:
            os.waitpid(child, 0)
            os.close(from_child)
            os.close(to_parent)


def test_many_threads_read_while_pins_change(tmp_path: Path) -> None:
    """Each reader sees models that were pinned, and never an older one after a newer."""
    url = f"sqlite://{tmp_path}/flags.db"
    with writing(url) as store:
        put_roles(store, role(prod="m0000"))
        with served(url) as roles:
            assert roles.wait_ready(20.0)
            until_watching(roles)
            stop, wrong = threading.Event(), list[str]()

            def ask() -> None:
                last = ""
                while not stop.is_set():
                    model = roles.model_for(REVIEW)
                    if model < last:
                        wrong.append(f"{model} after {last}")
                    last = model

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for number in range(1, 20):
                put_roles(store, role(prod=f"m{number:04d}", number=number))
            until_model(roles, REVIEW, "m0019")
            stop.set()
            for thread in threads:
                thread.join()
            assert wrong == []


def test_the_flag_file_holds_roles_too(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"

    def write(*values: bytes) -> None:
        path.write_text("[" + ", ".join(value.decode() for value in values) + "]")

    write(to_document(role()), to_document(role("support", "s1")))
    with served(f"file://{path}", reread_every=0.3) as roles:
        assert roles.wait_ready(20.0)
        assert roles.model_for("support") == "s1"
        write(to_document(role(prod="new", number=2)))
        until_model(roles, REVIEW, "new")
        wait_until(lambda: roles.health().roles == 1, "the deletion")
        path.write_text("{half")
        wait_until(lambda: roles.health().error is not None, "the broken file")
        assert roles.model_for(REVIEW) == "new"


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ({"defaults": {"Not A Name": "m"}}, BadDocument),
        ({"defaults": {"a": " "}}, BadDocument),
        ({"stale_grace": 0.0}, BadSettings),
        ({"trusted_for": 1.0}, BadSettings),
        ({"reread_every": float("nan")}, BadSettings),
    ],
)
def test_arguments_that_can_never_work_are_refused(tmp_path: Path, how: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        Roles(f"sqlite://{tmp_path}/flags.db", registry=None, **how)


def test_only_what_was_asked_for_is_shown_in_metrics(tmp_path: Path) -> None:
    """A store of a thousand roles makes no three thousand series in each process; a changed pin leaves no old one."""
    url, registry = f"sqlite://{tmp_path}/flags.db", CollectorRegistry()
    with writing(url) as store:
        for start in range(0, 1000, 100):
            put_roles(store, *(role(f"r{number:04d}") for number in range(start, start + 100)))
        with served(url, registry=registry) as roles:
            assert roles.wait_ready(20.0)
            assert roles.health().roles == 1000
            roles.model_for("r0500")

            def shown(model: str) -> float | None:
                return registry.get_sample_value("llm_role_info", {"role": "r0500", "slot": "prod", "model": model})

            wait_until(lambda: shown("gpt-5-2026-01-10") == 1.0, "the pin")
            until_watching(roles)
            put_roles(store, role("r0500", "new", number=2))
            wait_until(lambda: shown("new") == 1.0, "the new pin")
            assert shown("gpt-5-2026-01-10") is None
            samples = [one for metric in registry.collect() for one in metric.samples if one.name == "llm_role_info"]
            assert len(samples) == 1
