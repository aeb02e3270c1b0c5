"""etcd's own history: every change of every key since revision 1, read past all code under test."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.servers.etcd import EtcdMember


@dataclass(frozen=True, slots=True)
class Change:
    """One key's change. ``value`` is None for a deletion, an expired lease among them."""

    revision: int
    key: str
    value: bytes | None

    def document(self) -> dict[str, Any]:
        assert self.value is not None
        document: dict[str, Any] = json.loads(self.value)
        return document


class EtcdHistory:
    """Grows with each `read`; what has been read once stays, whatever etcd compacts later.

    ``member`` gives the member to ask: one that takes part in a quorum.
    """

    def __init__(self, member: Callable[[], EtcdMember]) -> None:
        self._member = member
        self.changes: list[Change] = []
        self.revision = 1

    def read(self) -> list[Change]:
        """All changes so far, oldest first."""
        member = self._member()
        answer = member.call("/v3/kv/range", {"key": base64.b64encode(b"/").decode(), "count_only": True})
        newest = int(answer["header"]["revision"])
        if newest > self.revision:
            self._follow(member, newest)
        return self.changes

    def of(self, prefix: str) -> list[Change]:
        """The changes read so far of keys that begin with ``prefix``."""
        return [change for change in self.changes if change.key.startswith(prefix)]

    def _follow(self, member: EtcdMember, newest: int) -> None:
        """A watch from the last revision on, left when it has come to the newest."""
        host, _, port = member.endpoint.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        everything = base64.b64encode(b"\0").decode()
        order = {"create_request": {"key": everything, "range_end": everything, "start_revision": self.revision + 1}}
        try:
            connection.request("POST", "/v3/watch", json.dumps(order))
            stream = connection.getresponse()
            while self.revision < newest:
                line = stream.readline()
                if not line:
                    raise OSError("the watch ended")
                result = json.loads(line)["result"]
                if result.get("canceled"):
                    raise OSError(f"the watch was refused: {result}")
                self._take(result.get("events", ()))
        finally:
            connection.close()

    def _take(self, events: Any) -> None:
        fresh = []
        for event in events:
            kv = event["kv"]
            gone = event.get("type") == "DELETE"
            value = None if gone else base64.b64decode(kv.get("value", ""))
            fresh.append(Change(int(kv["mod_revision"]), base64.b64decode(kv["key"]).decode(), value))
        self.changes += fresh
        if fresh:
            self.revision = fresh[-1].revision
