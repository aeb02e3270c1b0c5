"""Flags over HTTP as the daemon serves them, from a real etcd: what is split, what is refused, what fails safe."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from killswitch.flags import flag as flags
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.router import bucket
from killswitch.stores import Delete, Lease, Put, Snapshot, Store, keys
from killswitch.stores.opening import open_store
from killswitch.trips.switch import Switch
from killswitch.web.flag_endpoints import FlagView, flag_routes
from killswitch.web.pin_view import PinView
from killswitch.web.server import REQUEST_WITHIN
from killswitch.web.shared_look import FRESH_FOR
from tests.doubles.clock import VirtualClock
from tests.doubles.served import Served, listening
from tests.servers.etcd import EtcdCluster

NAME = "support-copilot"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    port: int
    store: Store
    switch: Switch
    clock: VirtualClock
    lease: Lease | None = None
    armed: Flag | None = field(default=None)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def one(self, user: str, key: str = NAME) -> Reply:
        return self.ask("POST", f"/ofrep/v1/evaluate/flags/{key}", context(user))

    def later(self, seconds: float = FRESH_FOR) -> None:
        self.clock.advance(seconds)


def context(user: object) -> bytes:
    return json.dumps({"context": {"targetingKey": user}}).encode()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def site(etcd: EtcdCluster) -> Iterator[Site]:
    """An armed rollout at 50 %, a live controller, and the daemon's web server; time is the test's own."""
    store = open_store(etcd.url, timeout=5.0)
    for item in store.list(keys.ROOT).items:
        store.commit((), (Delete(item.key),))
    switch = Switch(store, wall=lambda: 1.7e9, by="ann@laptop", origin="test")
    clock = VirtualClock()
    armed = switch.arm(NAME, control="model-old", canary="model-new", percent=50.0, stage="half", salt="s")
    lease = store.grant(60.0)
    store.commit((), (Put(keys.controller("replica-0"), b"{}", lease),))
    with listening(
        Served(), flag_routes(FlagView(store, monotonic=clock.monotonic), PinView(store, monotonic=clock.monotonic))
    ) as port:
        yield Site(port, store, switch, clock, lease, armed)
    store.close()


def test_users_are_split_as_every_router_splits_them(site: Site) -> None:
    for number in range(50):
        document = site.one(f"u{number}").document
        expected = ("model-new", "canary") if bucket("s", f"u{number}") < 50.0 else ("model-old", "control")
        assert (document["value"], document["variant"], document["reason"]) == (*expected, "SPLIT")


def test_openfeatures_own_client_reads_the_daemon(site: Site) -> None:
    api.set_provider_and_wait(OFREPProvider(f"http://127.0.0.1:{site.port}"))
    try:
        details = api.get_client().get_string_details(NAME, "default", EvaluationContext("u1"))
    finally:
        api.clear_providers()
    assert details.value == ("model-new" if bucket("s", "u1") < 50.0 else "model-old")
    assert str(details.reason) == "SPLIT"


def test_a_trip_reaches_every_endpoint_within_a_second(site: Site) -> None:
    before = site.ask("GET", "/flagd/flags.json").headers["etag"]
    store_tripped(site)
    site.later()
    assert site.one("u1").document["reason"] == "DISABLED"
    assert {site.one(f"u{n}").document["value"] for n in range(30)} == {"model-old"}
    (evaluation,) = site.ask("POST", "/ofrep/v1/evaluate/flags", context("u1")).document["flags"]
    assert evaluation["value"] == "model-old"
    answer = site.ask("GET", "/flagd/flags.json", If_None_Match=before)
    assert answer.status == 200
    assert answer.document["flags"][NAME]["variants"] == {"control": "model-old"}


def test_what_has_not_changed_is_not_sent_again(site: Site) -> None:
    for method, path, body in (
        ("GET", "/flagd/flags.json", b""),
        ("GET", f"/flagd/rollouts/{NAME}.json", b""),
        ("POST", "/ofrep/v1/evaluate/flags", context("u1")),
    ):
        first = site.ask(method, path, body)
        again = site.ask(method, path, body, If_None_Match=first.headers["etag"])
        assert (first.status, again.status, again.body) == (200, 304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert first.headers["cache-control"] == "no-cache"
        assert first.headers["content-type"] == "application/json"


def test_a_rollouts_file_holds_only_it_and_an_unknown_one_is_404(site: Site) -> None:
    """A rollout's own file holds this rollout only. The file of an unknown rollout is not found."""
    site.switch.arm("search", control="a", canary="b", percent=5.0, stage="ramp_5", salt="")
    site.later()
    assert list(site.ask("GET", f"/flagd/rollouts/{NAME}.json").document["flags"]) == [NAME]
    assert sorted(site.ask("GET", "/flagd/flags.json").document["flags"]) == ["search", NAME]
    missing = site.ask("GET", "/flagd/rollouts/nobody.json")
    assert (missing.status, missing.document["known"]) == (404, ["search", NAME])
    missing = site.one("u1", key="nobody")
    assert (missing.status, missing.document["errorCode"]) == (404, "FLAG_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "PARSE_ERROR"),
        (b"[]", 400, "INVALID_CONTEXT"),
        (b"{}", 400, "TARGETING_KEY_MISSING"),
        (b"[" * 60_000, 400, "PARSE_ERROR"),
        (b'{"context": {"targetingKey": 7}}', 400, "TARGETING_KEY_MISSING"),
        (b" " * 70_000, 413, None),
    ],
)
def test_a_bad_body_is_refused_in_ofreps_words(site: Site, body: bytes, status: int, code: str | None) -> None:
    for path in (f"/ofrep/v1/evaluate/flags/{NAME}", "/ofrep/v1/evaluate/flags"):
        answer = site.ask("POST", path, body)
        assert answer.status == status
        assert answer.document.get("errorCode") == code


def test_a_body_that_hides_its_length_is_cut_off_all_the_same(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=REQUEST_WITHIN)
    try:
        chunks = (b"x" * 8192 for _ in range(64))
        connection.request(
            "POST", "/ofrep/v1/evaluate/flags", chunks, {"Transfer-Encoding": "chunked"}, encode_chunked=True
        )
        assert connection.getresponse().status == 413
    except (ConnectionError, http.client.HTTPException):
        pass  # the server may hang up while we are still sending; that is cut off, too
    finally:
        connection.close()
    assert site.one("u1").status == 200


def test_nothing_can_be_changed_here(site: Site) -> None:
    for method in ("PUT", "DELETE", "PATCH", "POST"):
        assert site.ask(method, "/flagd/flags.json").status == 405
    for method in ("GET", "PUT", "DELETE"):
        assert site.ask(method, f"/ofrep/v1/evaluate/flags/{NAME}").status == 405


# --- what fails, and how safely -----------------------------------------------------------------


def store_tripped(site: Site) -> None:
    assert site.armed is not None
    tripped = flags.trip(
        site.armed, rollout=NAME, reason="x", rules=(), incident=f"{NAME}.1", now=1.7e9, by="me",
        actor=Actor.PERSON,
    )  # fmt: skip
    site.store.commit((), (Put(keys.flag(NAME), flag_document(tripped)),))


def put(site: Site, value: bytes) -> None:
    site.store.commit((), (Put(keys.flag(NAME), value),))
    site.later()


def test_an_armed_document_of_a_tripped_generation_is_not_obeyed(site: Site) -> None:
    """A backup taken before the trip has been restored."""
    assert site.armed is not None
    site.one("u1")
    store_tripped(site)
    site.later()
    site.one("u1")
    put(site, flag_document(site.armed))
    assert {site.one(f"u{n}").document["value"] for n in range(30)} == {"model-old"}
    assert "canary" not in site.ask("GET", "/flagd/flags.json").document["flags"][NAME]["variants"]


@pytest.mark.parametrize("value", [b"{", b"[" * 60_000, b"null", b"x" * 100_000])
def test_a_corrupt_flag_means_control_and_hurts_no_other_flag(site: Site, value: bytes) -> None:
    """A corrupt flag sends everyone to control and affects no other flag."""
    site.switch.arm("search", control="a", canary="b", percent=5.0, stage="ramp_5", salt="")
    site.one("u1")
    put(site, value)
    assert {site.one(f"u{n}").document["value"] for n in range(30)} == {"model-old"}
    assert site.one("u1", key="search").document["reason"] == "SPLIT"


def test_a_deleted_flag_is_not_found(site: Site) -> None:
    site.one("u1")
    site.switch.end(NAME)
    site.later()
    assert site.one("u1").status == 404
    assert site.ask("GET", "/flagd/flags.json").document["flags"] == {}


def test_without_a_live_controller_everyone_gets_control_in_time(site: Site) -> None:
    """If no controller is alive for long enough, everyone goes to control."""
    site.one("u1")
    assert site.lease is not None
    site.store.revoke(site.lease)
    site.later()
    assert site.one("u1").document["reason"] == "SPLIT"
    site.later(301.0)
    site.one("u1")
    site.later()
    assert {site.one(f"u{n}").document["reason"] for n in range(10)} == {"STALE"}


class Silent:
    """A store that can be made to fail or hang; otherwise the real one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fail: Callable[[], None] = lambda: None

    def list(self, prefix: str) -> Snapshot:
        self.fail()
        return self._store.list(prefix)


@pytest.fixture
def silent(site: Site) -> Iterator[tuple[Site, Silent]]:
    store = Silent(site.store)
    seen = FlagView(store, monotonic=site.clock.monotonic)  # type: ignore[arg-type]  # it is asked for nothing else
    pins = PinView(store, monotonic=site.clock.monotonic)  # type: ignore[arg-type]  # nor by this one
    with listening(Served(), flag_routes(seen, pins)) as port:
        yield Site(port, site.store, site.switch, site.clock, site.lease, site.armed), store


def raise_unavailable() -> None:
    from killswitch.errors import Unavailable  # noqa: PLC0415  read where it is raised

    raise Unavailable("the store is away")


def test_a_store_that_was_never_read_is_503_with_retry_after(silent: tuple[Site, Silent]) -> None:
    """If the store was never read, the answer is 503 and says when to ask again."""
    site, store = silent
    store.fail = raise_unavailable
    everything = site.ask("POST", "/ofrep/v1/evaluate/flags", context("u"))
    for answer in (site.one("u1"), everything, site.ask("GET", "/flagd/flags.json")):
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "model-new" not in answer.body.decode()
    store.fail = lambda: None
    site.later()
    assert site.one("u1").status == 200


def test_an_armed_flag_outlives_a_silent_store_by_the_grace_only(
    silent: tuple[Site, Silent],
) -> None:
    """While the store is silent, an armed flag is served for the routers' grace and no longer."""
    site, store = silent
    assert site.one("u1").document["reason"] == "SPLIT"
    store.fail = raise_unavailable
    site.later(59.0)
    assert site.one("u1").document["reason"] == "SPLIT"
    site.later(2.0)
    assert {site.one(f"u{n}").document["value"] for n in range(30)} == {"model-old"}
    assert site.one("u1").document["reason"] == "STALE"
    assert "canary" not in site.ask("GET", "/flagd/flags.json").document["flags"][NAME]["variants"]
    store.fail = lambda: None
    site.later()
    site.one("u1")
    assert site.one("u1").document["reason"] == "SPLIT"


def test_a_tripped_flag_is_obeyed_however_long_the_store_is_silent(silent: tuple[Site, Silent]) -> None:
    site, store = silent
    store_tripped(site)
    assert site.one("u1").document["value"] == "model-old"
    store.fail = raise_unavailable
    site.later(1e6)
    assert {site.one(f"u{n}").document["value"] for n in range(30)} == {"model-old"}


def test_a_store_that_hangs_holds_up_one_request_and_no_other(silent: tuple[Site, Silent]) -> None:
    site, store = silent
    site.one("u1")
    asked, released = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        assert released.wait(60)

    store.fail = hang
    site.later()
    held: list[Reply] = []
    first = threading.Thread(target=lambda: held.append(site.one("u1")))
    first.start()
    try:
        assert asked.wait(20)
        for _ in range(100):  # more than the server has worker threads
            assert site.one("u1").status == 200
        assert site.ask("GET", "/-/healthy").status == 200
        assert held == []
    finally:
        released.set()
        first.join(20)
    assert held[0].status == 200


def test_many_flag_requests_read_the_store_once_a_second(silent: tuple[Site, Silent]) -> None:
    """The store is read once a second, however often flags are asked for."""
    site, store = silent
    reads: list[int] = []
    store.fail = lambda: reads.append(1)
    for _ in range(50):
        site.one("u1")
    assert len(reads) == 2  # flags and heartbeats, once
    site.later()
    site.one("u1")
    assert len(reads) == 4


def test_a_path_that_climbs_out_is_no_rollout(site: Site) -> None:
    for path in ("/flagd/rollouts/..%2f..%2fetc%2fpasswd.json", "/flagd/../../etc/passwd", "/flagd/%00.json"):
        assert site.ask("GET", path).status == 404
