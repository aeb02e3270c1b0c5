"""Name look-ups: they end, whatever the resolver does, and one that hangs holds one thread."""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from killswitch.net.name_lookup import look_up
from tests.doubles.name_server import NameServer
from tests.servers.etcd import wait_until

HOST = "flags.example"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    return NameServer(monkeypatch, {HOST: ["127.0.0.1", "127.0.0.2"]})


def looking_up() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"look-up-{HOST}"]


def test_a_name_has_its_addresses_and_an_address_needs_no_resolver(names: NameServer) -> None:
    assert [found[4] for found in look_up(HOST, 80, 5.0)] == [("127.0.0.1", 80), ("127.0.0.2", 80)]
    names.hang()
    assert look_up("127.0.0.3", 80, 0.0)[0][4] == ("127.0.0.3", 80)
    assert look_up("::1", 80, 0.0)[0][4][:2] == ("::1", 80)
    assert names.asked == [HOST]


@pytest.mark.parametrize("name", ["unknown.example", "a..example", "x" * 300 + ".example"])
def test_a_name_that_nobody_knows_is_an_error_of_the_system(names: NameServer, name: str) -> None:
    with pytest.raises(OSError):
        look_up(name, 80, 5.0)


def test_a_hung_resolver_is_left_at_the_deadline(
    names: NameServer,
) -> None:
    """A look-up that hangs ends at its deadline. It holds one thread, however often it is repeated."""
    names.hang()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(look_up, HOST, 80, 0.05) for _ in range(24)]
        errors = [one.exception(timeout=30) for one in asked]
    assert all(
        isinstance(error, socket.gaierror) and "no answer from the name server" in str(error) for error in errors
    )
    assert names.asked == [HOST]
    assert len(looking_up()) == 1
    names.go_on()
    wait_until(lambda: not looking_up(), "the end of the look-up that was left")
    assert len(look_up(HOST, 80, 5.0)) == 2


def test_whoever_waits_for_a_look_up_under_way_gets_its_answer(names: NameServer) -> None:
    names.hang()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(look_up, HOST, 80, 30.0) for _ in range(4)]
        wait_until(lambda: names.asked, "the question")
        names.go_on()
        assert {len(one.result(timeout=30)) for one in asked} == {2}
    assert names.asked == [HOST]


def test_a_child_forked_during_a_look_up_asks_for_itself(names: NameServer) -> None:
    names.hang()
    with pytest.raises(socket.gaierror):
        look_up(HOST, 80, 0.01)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            names.go_on()
            status = 0 if len(look_up(HOST, 80, 20.0)) == 2 else 2
        finally:
            os._exit(status)
    names.go_on()
    assert os.waitpid(child, 0)[1] == 0


def test_a_thread_that_cannot_start_fails_only_this_look_up(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, the look-up is an error, and the next look-up succeeds."""

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        with pytest.raises(OSError, match="can't start new thread"):
            look_up(HOST, 80, 5.0)
    assert len(look_up(HOST, 80, 5.0)) == 2


def test_a_deadline_that_has_passed_does_not_wait_for_a_name(names: NameServer) -> None:
    names.hang()
    began = time.monotonic()
    with pytest.raises(socket.gaierror):
        look_up(HOST, 80, 0.0)
    assert time.monotonic() - began < 30.0
    names.go_on()
