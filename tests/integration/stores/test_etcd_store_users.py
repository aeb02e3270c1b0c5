"""The etcd store as a user with a password: tokens that expire, and logins that are denied."""

from __future__ import annotations

import base64
import time
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from killswitch.errors import AccessDenied
from killswitch.net.credentials import Secret
from killswitch.preflight.store_checks import examine_writing
from killswitch.stores import Committed, Item, Put
from killswitch.trips.switch import Switch
from tests.integration.stores.opened_store import PATIENT, ROLLOUT, opened
from tests.servers.etcd import EtcdCluster, wait_until


def value_of(item: Item | None) -> bytes | None:
    return None if item is None else item.value


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One member with users, whose tokens live for a second."""
    folder = tmp_path_factory.mktemp("guarded")
    with EtcdCluster(folder, arguments=["--auth-token-ttl=1", "--bcrypt-cost=4"]) as cluster:
        cluster.enable_auth("root-secret", {"killswitch": ("first-password", "/killswitch/")})
        yield cluster


@pytest.fixture
def password(tmp_path: Path) -> Secret:
    file = tmp_path / "password"
    file.write_text("first-password\n")
    return Secret.from_file(file)


def test_a_user_with_a_password_reads_and_writes(guarded: EtcdCluster, password: Secret) -> None:
    with opened(guarded.url, user="killswitch", password=password, timeout=PATIENT) as store:
        assert isinstance(store.commit([], [Put("/killswitch/a", b"1")]), Committed)
        assert value_of(store.get("/killswitch/a")) == b"1"
        lease = store.grant(60)
        assert store.keep_alive(lease) is not None
        store.revoke(lease)


def test_an_expired_token_is_replaced_without_anyone_noticing(guarded: EtcdCluster, password: Secret) -> None:
    with opened(guarded.url, user="killswitch", password=password, timeout=PATIENT) as store:
        store.get("/killswitch/a")
        token = store._members._token.value  # type: ignore[attr-defined]
        assert token
        wait_until(lambda: _expired(guarded, token), "the token expired")
        assert isinstance(store.commit([], [Put("/killswitch/a", b"2")]), Committed)
        assert store._members._token.value != token  # type: ignore[attr-defined]


def _expired(cluster: EtcdCluster, token: str) -> bool:
    # each use of a token gives it a new life of a second, so that it is asked less often than that
    time.sleep(2.5)
    try:
        cluster.members[0].call("/v3/kv/range", {"key": "L2tpbGxzd2l0Y2gvYQ=="}, token=token)
    except urllib.error.HTTPError:
        return True
    return False


def test_a_restarted_member_that_lost_our_token_gets_a_new_login(guarded: EtcdCluster, password: Secret) -> None:
    with opened(guarded.url, user="killswitch", password=password, timeout=PATIENT) as store:
        store.get("/killswitch/a")
        guarded.members[0].restart()
        assert isinstance(store.commit([], [Put("/killswitch/a", b"3")]), Committed)


def test_many_threads_with_a_stale_token_all_get_through(guarded: EtcdCluster, password: Secret) -> None:
    with opened(guarded.url, user="killswitch", password=password, timeout=PATIENT) as store:
        store._members._token.value = "stale.1"  # type: ignore[attr-defined]
        with ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(store.get, "/killswitch/a") for _ in range(32)]:
                done.result()


@pytest.mark.parametrize(
    ("key", "user", "written", "said"),
    [
        ("/killswitch/a", None, "first-password", "user"),
        ("/killswitch/a", "killswitch", "wrong", "password"),
        ("/killswitch/a", "nobody", "first-password", "password"),
        ("/elsewhere", "killswitch", "first-password", "permission denied"),
    ],
    ids=["no-user", "wrong-password", "unknown-user", "other-keys"],
)
def test_a_denied_login_says_what_to_check_and_shows_no_secret(
    guarded: EtcdCluster, password: Secret, key: str, user: str | None, written: str, said: str
) -> None:
    Path(password.name).write_text(written)
    how: dict[str, object] = {} if user is None else {"user": user, "password": password}
    with opened(guarded.url, timeout=PATIENT, **how) as store:
        for call in (lambda: store.get(key), lambda: store.commit([], [Put(key, b"1")])):
            with pytest.raises(AccessDenied, match=said) as caught:
                call()
            assert written not in str(caught.value)
            assert "first-password" not in repr(caught.getrepr(style="long").reprcrash)


def test_a_rotated_password_is_read_at_the_next_login(guarded: EtcdCluster, password: Secret) -> None:
    with opened(guarded.url, user="killswitch", password=password, timeout=PATIENT) as store:
        store.get("/killswitch/a")
        for new in ("second-password", "first-password"):
            change = {"name": "killswitch", "password": new}
            guarded.call_as("root", "root-secret", "/v3/auth/user/changepw", change)
            Path(password.name).write_text(new)
            store._members._token.value = None  # type: ignore[attr-defined]
            assert isinstance(store.commit([], [Put("/killswitch/a", b"4")]), Committed)


def test_a_user_is_no_hindrance_where_etcd_knows_no_users(etcd: EtcdCluster, password: Secret, prefix: str) -> None:
    with opened(etcd.url, user="killswitch", password=password, timeout=PATIENT) as store:
        assert isinstance(store.commit([], [Put(prefix + "a", b"1")]), Committed)


def test_the_doctor_finds_a_read_only_user_and_changes_nothing(guarded: EtcdCluster, password: Secret) -> None:
    ours = [base64.b64encode(key).decode() for key in (b"/killswitch/", b"/killswitch0")]
    allow = {"name": "reading", "perm": {"permType": "READ", "key": ours[0], "range_end": ours[1]}}
    guarded.call_as("root", "root-secret", "/v3/auth/role/add", {"name": "reading"})
    guarded.call_as("root", "root-secret", "/v3/auth/role/grant", allow)
    guarded.call_as("root", "root-secret", "/v3/auth/user/add", {"name": "reader", "password": "first-password"})
    guarded.call_as("root", "root-secret", "/v3/auth/user/grant", {"user": "reader", "role": "reading"})
    found = {}
    for user in ("reader", "killswitch"):
        with opened(guarded.url, user=user, password=password, timeout=PATIENT) as store:
            switch = Switch(store, wall=time.time, by="ann", origin="test")
            if user == "killswitch":
                switch.arm(ROLLOUT.name, control="a", canary="b", percent=5.0, stage="ramp_5", salt="")
            before = store.list("/killswitch/")
            found[user] = list(examine_writing({}, [ROLLOUT], switch.try_writing))
            assert store.list("/killswitch/") == before
    assert ["permission denied" in check.found for check in found["reader"]] == [True]
    assert found["killswitch"] == []
