"""What the tests of the follower share: flags in a real etcd, written past the code under test."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.net.credentials import TLS
from killswitch.router.failsafe import RouterState, StalePolicy
from killswitch.router.follow import Follower
from killswitch.router.observers import Happening
from killswitch.stores import keys
from killswitch.stores.access import Access
from killswitch.stores.etcd.reader import SILENCE, EtcdReader
from killswitch.stores.url import StoreUrl
from tests.doubles.flags import ROLLOUT
from tests.servers.etcd import EtcdMember, wait_until

NEVER = 3600.0  # seconds: only the watch can bring it


def b64(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def store(member: EtcdMember, value: Flag | bytes, *, token: str | None = None) -> int:
    """Write the flag; the revision."""
    document = value if isinstance(value, bytes) else flag_document(value)
    answer = member.call("/v3/kv/put", {"key": b64(keys.flag(ROLLOUT)), "value": b64(document)}, token=token)
    return int(answer["header"]["revision"])


def delete(member: EtcdMember) -> None:
    member.call("/v3/kv/deleterange", {"key": b64(keys.flag(ROLLOUT))})


def compact(member: EtcdMember, revision: int) -> None:
    member.call("/v3/kv/compaction", {"revision": str(revision), "physical": True})


def under(member: EtcdMember, prefix: str) -> list[dict[str, Any]]:
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    found: list[dict[str, Any]] = member.call("/v3/kv/range", {"key": b64(prefix), "range_end": b64(end)}).get(
        "kvs", []
    )
    return found


def reader(
    url: str, *, access: Access | None = None, tls: TLS | None = None, timeout: float = 2.0, silence: float = SILENCE
) -> EtcdReader:
    where = StoreUrl.parse(url)
    let_in = replace(access if access is not None else Access(), tls=tls if tls is not None else TLS())
    return EtcdReader(where.endpoints, let_in, use_tls=where.tls, timeout=timeout, silence=silence)


@contextlib.contextmanager
def following(
    source: EtcdReader, *, policy: StalePolicy | None = None, reread_every: float = NEVER, reports: bool = False
) -> Iterator[Follower]:
    follower = Follower(ROLLOUT, source, policy=policy, reread_every=reread_every, reports=source if reports else None)
    follower.start()
    try:
        yield follower
    finally:
        follower.close()


def until(follower: Follower, standing: RouterState, **fields: object) -> None:
    """Wait until the follower stands so, and its snapshot's ``fields`` have these values."""

    def stands() -> bool:
        snapshot = follower.current
        return snapshot.standing is standing and all(getattr(snapshot, name) == value for name, value in fields.items())

    try:
        wait_until(stands, f"{standing} {fields}")
    except TimeoutError as error:
        raise AssertionError(f"{error}; instead: {follower.health()}") from error


def until_watching(follower: Follower) -> None:
    wait_until(lambda: follower.health().watching, "the watch")


def until_counted(follower: Follower, what: Happening, times: int) -> None:
    """Wait until it has happened ``times``, and not once more: what is new is obeyed first, and counted after."""
    wait_until(lambda: follower.health().counts[what] >= times, f"{what} {times} times")
    assert follower.health().counts[what] == times
