"""etcd's JSON gateway on the wire: requests as bytes, answers and watch lines as values. Pure.

The gateway (etcd 3.4 and later, ``/v3``) writes int64 as text, omits false and 0, and writes keys and values in
base64. A watch is an endless body of one JSON document a line; network chunks end
anywhere. Everything read here may be hostile: what is not understood raises BadDocument.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from killswitch.errors import AccessDenied, BadDocument, BadTransaction, KillswitchError, Unavailable
from killswitch.stores import Item
from killswitch.stores.reader import Change, ReadView

_MAX_INT64 = 2**63 - 1
_EXCERPT = 120  # characters of a foreign text that an error repeats

# the fix when something answers that is not etcd's JSON gateway
NO_GATEWAY = (
    "is this etcd's client port, and its JSON gateway on? See --enable-grpc-gateway (must not be false) and,"
    " where it is set, give the port of --listen-client-http-urls"
)
# codes of gRPC that the gateway passes on
_INVALID_ARGUMENT, _PERMISSION_DENIED, _FAILED_PRECONDITION, _UNAUTHENTICATED = 3, 7, 9, 16
# etcd reports these as InvalidArgument
_LOGIN_NEEDED = ("user name is empty", "revision of auth store is old")
_LOGIN_FAILED = "authentication failed"
# a transaction that this etcd refuses for its form
_BAD_FORM = ("too many operations in txn", "request is too large", "duplicate key given in txn", "larger than max")


class LoginNeeded(AccessDenied):
    """The token is missing, expired or outdated: log in and ask again."""


class AuthNotEnabled(AccessDenied):
    """This etcd has no users; no token is needed."""


# --- questions ----------------------------------------------------------------------------------


def encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _text64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def key64(key: str) -> str:
    return _text64(key.encode())


def _prefix_range(prefix: str) -> dict[str, Any]:
    """The range of all keys that begin with ``prefix``: up to the prefix with its last byte one higher."""
    start = prefix.encode()
    end = start.rstrip(b"\xff")
    end = end[:-1] + bytes((end[-1] + 1,)) if end else b"\0"
    return {"key": _text64(start), "range_end": _text64(end)}


def read_question(
    names: Sequence[str], prefixes: Sequence[str], counted: Sequence[str], changed_after: int = 0
) -> bytes:
    """A transaction of reads alone: one revision for all of them, and linearizable."""
    ranges: list[dict[str, Any]] = [{"key": key64(name)} for name in names]
    changed = {"min_mod_revision": str(changed_after + 1)} if changed_after > 0 else {}
    ranges += [{**_prefix_range(prefix), **changed} for prefix in prefixes]
    ranges += [{**_prefix_range(prefix), "count_only": True} for prefix in counted]
    return encode({"success": [{"request_range": one} for one in ranges]})


def watch_question(name: str, after: int, *, prefix: bool = False) -> bytes:
    watched = _prefix_range(name) if prefix else {"key": key64(name)}
    return encode({"create_request": {**watched, "start_revision": str(after + 1)}})


def put_question(name: str, value: bytes, lease_id: int) -> bytes:
    return encode({"key": key64(name), "value": _text64(value), "lease": str(lease_id)})


# --- answers ------------------------------------------------------------------------------------


def parse_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"etcd: the answer is not JSON ({excerpt(body)})") from error
    if not isinstance(document, dict):
        raise BadDocument(f"etcd: the answer is not a JSON object ({excerpt(body)})")
    return document


def excerpt(body: bytes) -> str:
    """The beginning of a foreign text, printable and on one line."""
    return repr(body[:_EXCERPT].decode("utf-8", "replace"))


def integer(document: dict[str, Any], name: str) -> int:
    """An int64, which comes as text; 0 is omitted."""
    value = document.get(name, 0)
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.removeprefix("-").isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -_MAX_INT64 <= value <= _MAX_INT64:
        raise BadDocument(f"etcd: {name} is not an int64: {value!r:.60}")
    return value


def member(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise BadDocument(f"etcd: {name} is not an object: {value!r:.60}")
    return value


def members(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise BadDocument(f"etcd: {name} is not a list of objects: {value!r:.60}")
    return value


def _bytes(document: dict[str, Any], name: str) -> bytes:
    value = document.get(name, "")
    if not isinstance(value, str):
        raise BadDocument(f"etcd: {name} is not text: {value!r:.60}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadDocument(f"etcd: {name} is not base64: {value!r:.60}") from error


def _key(document: dict[str, Any]) -> str:
    try:
        return _bytes(document, "key").decode()
    except UnicodeDecodeError as error:
        raise BadDocument("etcd: a key is not UTF-8") from error


def item_of(document: dict[str, Any]) -> Item:
    revision = integer(document, "mod_revision")
    if revision < 1:
        raise BadDocument("etcd: a key has no mod_revision")
    return Item(_key(document), _bytes(document, "value"), revision)


def revision_of(document: dict[str, Any]) -> int:
    """The store's revision; every complete answer has one."""
    revision = integer(member(document, "header"), "revision")
    if revision < 1:
        raise BadDocument("etcd: the answer has no revision")
    return revision


def parse_view(
    document: dict[str, Any],
    names: Sequence[str],
    prefixes: Sequence[str],
    counted: Sequence[str],
    changed_after: int = 0,
) -> ReadView:
    """The answer to `read_question`. An answer with parts missing is refused, because absence means "no flag"."""
    responses = members(document, "responses")
    if document.get("succeeded") is not True or len(responses) != len(names) + len(prefixes) + len(counted):
        raise BadDocument(f"etcd: {len(responses)} answers to {len(names) + len(prefixes) + len(counted)} questions")
    ranges = []
    for response in responses:
        if not isinstance(response.get("response_range"), dict):
            raise BadDocument("etcd: unexpected response type")
        ranges.append(response["response_range"])
    items: dict[str, Item] = {}
    read = len(names) + len(prefixes)
    for place, (asked, found) in enumerate(zip([*names, *prefixes], ranges[:read], strict=True)):
        kvs = members(found, "kvs")
        changed_only = changed_after > 0 and place >= len(names)  # etcd counts the unchanged ones too
        if integer(found, "count") != len(kvs) and not (changed_only and integer(found, "count") > len(kvs)):
            raise BadDocument(f"etcd: {len(kvs)} keys where it counted {found.get('count')!r:.60}")
        for item in map(item_of, kvs):
            if item.key != asked and (place < len(names) or not item.key.startswith(asked)):
                raise BadDocument(f"etcd: key {item.key!r:.60} in the answer about {asked!r:.60}")
            items[item.key] = item
    counts = {prefix: integer(found, "count") for prefix, found in zip(counted, ranges[read:], strict=True)}
    return ReadView(items, revision_of(document), counts)


def refusal(status: int, body: bytes) -> KillswitchError:
    """The error that an HTTP answer other than 200 means."""
    try:
        document = parse_object(body)
    except BadDocument:
        return Unavailable(f"etcd: HTTP {status} without an etcd error ({excerpt(body)}); {NO_GATEWAY}")
    return error_of(document, f"HTTP {status}")


def error_of(document: dict[str, Any], otherwise: str) -> KillswitchError:
    """An error document of the gateway (3.4: code 0 to 16; inside a stream: grpc_code)."""
    message = str(document.get("message") or document.get("error") or otherwise)[:_EXCERPT]
    code = document.get("grpc_code", document.get("code"))
    if code == _UNAUTHENTICATED or any(text in message for text in _LOGIN_NEEDED):
        return LoginNeeded(f"etcd: {message}; give a user and a password file")
    if code == _FAILED_PRECONDITION and "authentication is not enabled" in message:
        return AuthNotEnabled(f"etcd: {message}")
    if code == _PERMISSION_DENIED or _LOGIN_FAILED in message:
        return AccessDenied(f"etcd: {message}; check the user, its role's key ranges, and the password file")
    if any(text in message for text in _BAD_FORM):
        return BadTransaction(
            f"etcd: {message}; its defaults (128 operations, 1.5 MiB a request) are enough: look at --max-txn-ops and "
            "--max-request-bytes"
        )
    return Unavailable(f"etcd: {message}")


# --- the watch stream ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WatchLine:
    """One line of a watch. ``revision`` is the store's when it was sent (0: not said).

    ``compacted`` is the oldest revision still readable when that is why the watch was cancelled, else 0.
    """

    revision: int
    created: bool = False
    cancelled: bool = False
    compacted: int = 0
    error: KillswitchError | None = None
    changes: tuple[Change, ...] = ()


def parse_watch_line(line: bytes) -> WatchLine:
    """Raises BadDocument for a line that is not a whole watch response."""
    document = parse_object(line)
    if "error" in document:
        error = document["error"]
        return WatchLine(0, cancelled=True, error=error_of(error if isinstance(error, dict) else document, "error"))
    if not isinstance(document.get("result"), dict):
        raise BadDocument(f"etcd: a watch line has no result ({excerpt(line)})")
    result = document["result"]
    created, cancelled = (result.get(name, False) for name in ("created", "canceled"))
    if not isinstance(created, bool) or not isinstance(cancelled, bool):
        raise BadDocument(f"etcd: a watch line whose created or canceled is not a boolean ({excerpt(line)})")
    revision = integer(member(result, "header"), "revision")
    if cancelled:
        # etcd leaves the revision out when it cancels
        compacted = integer(result, "compact_revision")
        return WatchLine(revision, created, cancelled, compacted, _cancelled(result.get("cancel_reason"), compacted))
    if revision < 1:
        raise BadDocument("etcd: a watch line has no revision")
    return WatchLine(revision, created, changes=tuple(map(_change, members(result, "events"))))


def _cancelled(reason: object, compacted: int) -> KillswitchError:
    text = str(reason or ("compacted" if compacted else "no reason given"))[: 2 * _EXCERPT]
    if "Unauthenticated" in text or any(needed in text for needed in _LOGIN_NEEDED):
        return LoginNeeded(f"etcd cancelled the watch: {text}; give a user and a password file")
    if "PermissionDenied" in text or "permission denied" in text:
        return AccessDenied(f"etcd cancelled the watch: {text}; let the user's role read the flag's key")
    return Unavailable(f"etcd cancelled the watch: {text}")


def _change(event: dict[str, Any]) -> Change:
    kv = member(event, "kv")
    kind = event.get("type", "PUT")
    if kind == "PUT":
        item = item_of(kv)
        return Change(item.key, item, item.mod_revision)
    if kind == "DELETE":
        revision = integer(kv, "mod_revision")
        if revision < 1:
            raise BadDocument("etcd: a deletion has no revision")
        return Change(_key(kv), None, revision)
    raise BadDocument(f"etcd: event of type {kind!r:.60}")


class LineTooLong(BadDocument):
    """A watch line is longer than allowed."""


class Lines:
    """Cuts a stream of chunks into lines, holding at most one unfinished line of ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._unfinished = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes, without their ends; blank ones are left out. Raises LineTooLong."""
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            self._grow(end)
            line = bytes(self._unfinished).strip()
            self._unfinished.clear()
            if line:
                lines.append(line)
        self._grow(rest)
        return lines

    def _grow(self, piece: bytes) -> None:
        if len(self._unfinished) + len(piece) > self._max_bytes:
            raise LineTooLong(f"etcd: a watch line over {self._max_bytes} bytes")
        self._unfinished += piece
