"""The routers' reader of etcd against real etcd: reads, leases, watches, failover; and what is no etcd."""

# ruff: noqa: SIM117  # one `with` for what is there, one for what is looked at
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.errors import BadDocument, BadSettings, KillswitchError, Unavailable
from killswitch.stores.reader import Connected, Disconnected
from killswitch.stores.reader_opening import open_reader
from tests.integration.stores.watching import NAME, PREFIX, Watching, impostor, put, reading
from tests.servers.etcd import EtcdCluster
from tests.servers.tcp_proxy import Fault, TcpProxy


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


# --- reads and leases ---------------------------------------------------------------------------


def test_one_read_brings_keys_prefixes_and_counts_of_one_revision(plain: EtcdCluster) -> None:
    member = plain.members[0]
    put(member, NAME, "flag")
    put(member, PREFIX + "flags/röllout", "other")
    put(member, PREFIX + "controllers/a", "1")
    last = put(member, PREFIX + "controllers/b", "2")
    with reading(plain.url) as reader:
        view = reader.read(
            [NAME, PREFIX + "flags/none"], prefixes=[PREFIX + "flags/"], counted=[PREFIX + "controllers/"]
        )
    assert {name: item.value for name, item in view.items.items()} == {
        NAME: b"flag",
        PREFIX + "flags/röllout": b"other",
    }
    assert view.counts == {PREFIX + "controllers/": 2}
    assert view.revision == last


def test_a_key_put_under_a_lease_vanishes_with_it(plain: EtcdCluster) -> None:
    with reading(plain.url) as reader:
        lease = reader.grant(60.0)
        revision = reader.put(PREFIX + "routers/r/1", b"report", lease)
        assert reader.read([PREFIX + "routers/r/1"]).items[PREFIX + "routers/r/1"].mod_revision == revision
        renewed = reader.keep_alive(lease)
        assert renewed is not None
        assert renewed.expires_at >= lease.expires_at
        reader.revoke(lease)
        assert reader.keep_alive(lease) is None
        assert reader.read([PREFIX + "routers/r/1"]).items == {}
        with pytest.raises(KillswitchError):
            reader.put(PREFIX + "routers/r/1", b"report", lease)


def test_a_connection_that_the_server_closed_is_replaced(plain: EtcdCluster) -> None:
    with TcpProxy(("127.0.0.1", plain.members[0].client_port)) as proxy, reading(f"etcd://{proxy.endpoint}") as reader:
        reader.read([NAME])
        reader.read([NAME])
        assert proxy.accepted == 1, "one connection serves many reads"
        proxy.cut()
        reader.read([NAME])
        assert proxy.accepted == 2


def test_reads_go_on_at_the_next_endpoint_and_stay_with_it(plain: EtcdCluster) -> None:
    with TcpProxy(("127.0.0.1", plain.members[0].client_port)) as dead:
        dead.black_hole()
        with reading(f"etcd://{dead.endpoint},{plain.endpoints[0]},127.0.0.1:1", timeout=9.0) as reader:
            for _ in range(5):
                reader.read([NAME])
            assert dead.accepted <= 1


@pytest.mark.parametrize(
    "fault",
    [Fault(hold=True), Fault(drip=0.2), Fault(discard=True), Fault(cut=True)],
    ids=["held", "drip", "lost", "cut"],
)
def test_a_read_ends_by_its_deadline_whatever_the_network_does(plain: EtcdCluster, fault: Fault) -> None:
    with TcpProxy(("127.0.0.1", plain.members[0].client_port)) as proxy:
        proxy.to_client = fault
        with reading(f"etcd://{proxy.endpoint}", timeout=0.5) as reader, pytest.raises(Unavailable):
            reader.read([NAME])


# --- watches ------------------------------------------------------------------------------------


def test_a_watch_resumes_and_brings_each_change_once(plain: EtcdCluster) -> None:
    member = plain.members[0]
    name = PREFIX + "flags/once"
    start = put(member, name, "0")
    with TcpProxy(("127.0.0.1", member.client_port)) as proxy, reading(f"etcd://{proxy.endpoint}") as reader:
        with Watching(reader.watch(name, after=start)) as watching:
            for value in ("1", "2"):
                put(member, name, value)
            watching.until(lambda _: watching.values == [b"1", b"2"], "two changes")
            proxy.refuse()
            proxy.cut()
            put(member, name, "3")
            put(member, name, "4")
            proxy.listen()
            put(member, name, "5")
            watching.until(lambda _: len(watching.values) >= 5, "five changes")
            assert watching.values == [b"1", b"2", b"3", b"4", b"5"]
            assert any(isinstance(event, Disconnected) and not event.quiet for event in watching.events)


def test_a_silent_watch_is_set_up_again(plain: EtcdCluster) -> None:
    with reading(plain.url, silence=0.3) as reader, Watching(reader.watch(PREFIX + "quiet", after=1)) as watching:
        watching.until(lambda events: sum(isinstance(e, Connected) for e in events) >= 3, "three connections")
        ended = [event for event in watching.events if isinstance(event, Disconnected)]
        assert all(event.quiet and "no news for 0.3 s" in event.reason for event in ended)


def test_a_restarted_watch_goes_on_after_the_revision_it_was_given(plain: EtcdCluster) -> None:
    member = plain.members[0]
    name = PREFIX + "flags/again"
    start = put(member, name, "0")
    put(member, name, "1")
    with reading(plain.url) as reader, Watching(reader.watch(name, after=start)) as watching:
        watching.until(lambda _: watching.values == [b"1"], "one change")
        watching.watch.restart(start - 1)
        watching.until(lambda _: watching.values == [b"1", b"0", b"1"], "both changes again")


def test_a_watch_on_a_member_without_a_leader_moves_on(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, size=3) as cluster:
        lonely, *others = cluster.members
        start = put(lonely, NAME, "0")
        with reading(f"etcd://{lonely.endpoint}", timeout=2.0) as reader:
            with Watching(reader.watch(NAME, after=start)) as watching:
                watching.until(lambda events: any(isinstance(e, Connected) for e in events), "the watch")
                for member in others:
                    member.kill()
                watching.until(
                    lambda events: any(isinstance(e, Disconnected) and "no leader" in e.reason for e in events),
                    "the loss of the leader",
                )


# --- what is no etcd ----------------------------------------------------------------------------


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status.encode(), len(body), body)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "endless", "kind"),
    [
        (http(b"<html>hello</html>"), b"", BadDocument),
        (http(b"{}"), b"", BadDocument),
        (http(b'{"header":{"revision":"5"},"succeeded":true}'), b"", BadDocument),
        (http(b"\xff\xfe\x00"), b"", BadDocument),
        (http(b"[" * 100_000), b"", BadDocument),
        (b"SSH-2.0-OpenSSH_9.6\r\n", b"", BadDocument),
        (http(b"<html>Bad Gateway</html>", "502 Bad Gateway"), b"", Unavailable),
        (http(b"gone", "301 Moved\r\nLocation: http://127.0.0.1:1/"), b"", Unavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", b"", Unavailable),
        (CHUNKED + b"zz\r\n", b"", Unavailable),
        (b"", b"", Unavailable),
        (CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n", BadDocument),  # never ends; cut off at 8 MiB
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: y\r\n", Unavailable),  # headers without end
    ],
)
def test_an_answer_that_is_not_etcds_is_a_typed_error(answer: bytes, endless: bytes, kind: type[Exception]) -> None:
    with impostor(answer, endless=endless) as port, reading(f"etcd://127.0.0.1:{port}", timeout=20.0) as reader:
        with pytest.raises(KillswitchError) as refused:
            reader.read([NAME])
    assert isinstance(refused.value, kind)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "babble",
    [b"5\r\nhello\r\n", b'1c\r\n{"result":{"header":{}}}\n{"r\r\n', b"4\r\n\n\n\n\n\r\n", b"3\r\n{}\n\r\n", b"zz\r\n"],
)
def test_a_watch_on_something_that_babbles_ends_and_is_tried_again(babble: bytes) -> None:
    with impostor(CHUNKED + babble * 3 + b"0\r\n\r\n") as port, reading(f"etcd://127.0.0.1:{port}") as reader:
        with Watching(reader.watch(NAME, after=1)) as watching:
            watching.until(lambda events: sum(isinstance(e, Disconnected) for e in events) >= 2, "two attempts")
            assert watching.values == []


def test_garbage_at_one_endpoint_does_not_hide_a_good_one(plain: EtcdCluster) -> None:
    with impostor(http(b"{}")) as port, reading(f"etcd://127.0.0.1:{port},{plain.endpoints[0]}") as reader:
        for first in (0, 1):
            reader._gateway.prefer(first)
            assert reader.read([NAME]).revision > 0


# --- settings -----------------------------------------------------------------------------------


def test_a_url_that_names_no_store_is_refused() -> None:
    with pytest.raises(BadSettings):
        open_reader("redis://localhost")
