"""Roles over HTTP for other languages, from a real etcd: OFREP, flagd's file, typos, damage, and a silent store."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from killswitch.errors import Unavailable
from killswitch.stores import Snapshot, Store
from killswitch.stores.opening import open_store
from killswitch.web.flag_endpoints import FlagView, flag_routes
from killswitch.web.pin_view import PinView
from killswitch.web.shared_look import FRESH_FOR
from tests.doubles.clock import VirtualClock
from tests.doubles.roles import REVIEW, put_roles, role
from tests.doubles.served import Served, listening
from tests.servers.etcd import EtcdCluster

PIN = "gpt-5-2026-01-10"
KEY = f"role:{REVIEW}"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    document: Any


class MayFail:
    """The real store, until it is told to be away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False
        self.reads = 0

    def list(self, prefix: str) -> Snapshot:
        self.reads += 1
        if self.away:
            raise Unavailable("the store is away")
        return self._store.list(prefix)


@dataclass
class Site:
    port: int
    store: Store
    seen: MayFail
    clock: VirtualClock

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            content = answer.read()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, json.loads(content) if content else None)
        finally:
            connection.close()

    def one(self, key: str = KEY, **context: object) -> Answer:
        return self.ask("POST", f"/ofrep/v1/evaluate/flags/{key}", json.dumps({"context": context}).encode())


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        store, clock = open_store(cluster.url), VirtualClock()
        put_roles(store, role(candidate="next"), role("support", None, candidate="s2"))
        seen: Any = MayFail(store)
        routes = flag_routes(FlagView(seen, monotonic=clock.monotonic), PinView(seen, monotonic=clock.monotonic))
        with listening(Served(), routes) as port:
            yield Site(port, store, seen, clock)
        store.close()


def test_a_role_is_evaluated_for_everyone_alike(site: Site) -> None:
    """It needs no targetingKey; the context's slot asks for another slot."""
    assert site.one().document == {
        "key": KEY, "value": PIN, "variant": "prod", "reason": "STATIC",
        "metadata": {"role": REVIEW, "slot": "prod"},
    }  # fmt: skip
    assert site.one(slot="candidate", targetingKey="u1").document["value"] == "next"
    put_roles(site.store, role(prod="next", number=2))
    site.clock.advance(FRESH_FOR)
    assert site.one().document["value"] == "next"


def test_openfeatures_own_client_reads_a_role(site: Site) -> None:
    api.set_provider_and_wait(OFREPProvider(f"http://127.0.0.1:{site.port}"))
    try:
        client = api.get_client()
        assert client.get_string_value(KEY, "default", EvaluationContext("u")) == PIN
        context = EvaluationContext("u", {"slot": "candidate"})
        assert client.get_string_value(KEY, "default", context) == "next"
        assert client.get_string_value(f"{KEY}x", "default", EvaluationContext("u")) == "default"
    finally:
        api.clear_providers()


@pytest.mark.parametrize(
    ("key", "slot"),
    [("role:reviewtriage", "prod"), (KEY, "previous"), (KEY, "production"), (KEY, ""), (KEY, 7), ("role:", "prod"),
     ("role:support", "prod")],
)  # fmt: skip
def test_a_typo_gives_no_model(site: Site, key: str, slot: object) -> None:
    answer = site.one(key, slot=slot)
    assert (answer.status, answer.document["errorCode"]) == (404, "FLAG_NOT_FOUND")
    assert "value" not in answer.document


def test_all_flags_bring_the_roles_with_an_entity_tag(site: Site) -> None:
    body = json.dumps({"context": {"targetingKey": "u"}}).encode()
    first = site.ask("POST", "/ofrep/v1/evaluate/flags", body)
    assert [one["key"] for one in first.document["flags"]] == [KEY]
    etag = first.headers["etag"]
    assert site.ask("POST", "/ofrep/v1/evaluate/flags", body, if_none_match=etag).status == 304
    put_roles(site.store, role(prod="next", number=2))
    site.clock.advance(FRESH_FOR)
    assert site.ask("POST", "/ofrep/v1/evaluate/flags", body, if_none_match=etag).status == 200


def test_flagds_file_holds_each_role_with_a_prod(site: Site) -> None:
    first = site.ask("GET", "/flagd/flags.json")
    assert list(first.document["flags"]) == [KEY]
    flag = first.document["flags"][KEY]
    assert (flag["variants"], flag["defaultVariant"]) == ({"prod": PIN, "candidate": "next"}, "prod")
    assert site.ask("GET", "/flagd/flags.json", if_none_match=first.headers["etag"]).status == 304


def test_a_damaged_role_keeps_its_last_good_pin(site: Site) -> None:
    assert site.one().status == 200
    put_roles(site.store, role("support", "s3", number=2), raw={REVIEW: b"{"})
    site.clock.advance(FRESH_FOR)
    assert site.one("role:support").document["value"] == "s3"
    assert site.one().document["value"] == PIN


def test_a_silent_store_serves_a_day_and_says_so(site: Site) -> None:
    site.seen.away = True
    assert site.one().status == 503
    site.seen.away = False
    site.clock.advance(FRESH_FOR)
    assert site.one().document["reason"] == "STATIC"
    site.seen.away = True
    site.clock.advance(61.0)
    assert (site.one().document["value"], site.one().document["reason"]) == (PIN, "STALE")
    site.clock.advance(86_400.0)
    answer = site.one()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_a_request_for_all_reads_a_silent_store_once(site: Site) -> None:
    assert site.ask("GET", "/flagd/flags.json").status == 200
    site.seen.away = True
    site.clock.advance(FRESH_FOR)
    before = site.seen.reads
    assert KEY in site.ask("GET", "/flagd/flags.json").document["flags"]
    assert site.seen.reads == before + 1
