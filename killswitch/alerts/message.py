"""An Alertmanager's webhook message (version 4), read strictly where it decides something and bounded everywhere.

One alert that cannot be read costs the others nothing: it is a problem of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument

VERSION = "4"
MAX_BYTES = 2 * 1024 * 1024
MAX_ALERTS = 2000
_FINGERPRINT = re.compile(r"[0-9a-f]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Alert:
    """``starts_at``: when it began to fire, Unix seconds. ``fingerprint`` names its set of labels."""

    fingerprint: str
    firing: bool
    starts_at: float
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    generator_url: str

    @property
    def name(self) -> str:
        return self.labels.get("alertname") or "without a name"


@dataclass(frozen=True, slots=True)
class Message:
    """``truncated``: how many alerts the sender left out. ``unread``: what is wrong with those that are no alerts."""

    alerts: tuple[Alert, ...]
    truncated: int
    unread: tuple[str, ...] = ()


def read_message(body: bytes) -> Message:
    """Raises BadDocument for anything but a message of version 4 with at most `MAX_ALERTS` alerts."""
    fields = parse_object(body, "the message", max_bytes=MAX_BYTES)
    version = fields.raw.get("version")
    if version != VERSION:
        raise BadDocument(f"version is {version!r:.40}; only messages of Alertmanager's webhook, version 4, are taken")
    given = fields.raw.get("alerts")
    if not isinstance(given, list):
        raise BadDocument("alerts is not a list; only messages of Alertmanager's webhook, version 4, are taken")
    if len(given) > MAX_ALERTS:
        raise BadDocument(f"{len(given)} alerts in one message, over {MAX_ALERTS}; group by killswitch_rollout")
    alerts: list[Alert] = []
    unread: list[str] = []
    for number, one in enumerate(given, 1):
        try:
            alerts.append(_alert(Fields(one, f"alert {number}")))
        except BadDocument as error:
            unread.append(str(error))
    truncated = fields.raw.get("truncatedAlerts")
    left_out = truncated if isinstance(truncated, int) and not isinstance(truncated, bool) else 0
    return Message(tuple(alerts), max(left_out, 0), tuple(unread))


def _alert(fields: Fields) -> Alert:
    status = fields.text("status")
    if status not in ("firing", "resolved"):
        raise BadDocument(f"{fields.where}: status {status!r:.40} is neither firing nor resolved")
    labels = _texts(fields, "labels")
    return Alert(
        fingerprint=_fingerprint(fields.raw.get("fingerprint"), labels),
        firing=status == "firing",
        starts_at=fields.time("startsAt"),
        labels=labels,
        annotations=_texts(fields, "annotations"),
        generator_url=fields.optional_text("generatorURL") or "",
    )


def _texts(fields: Fields, name: str) -> Mapping[str, str]:
    if fields.raw.get(name) is None:
        return {}
    texts = Fields(fields.raw[name], f"{fields.where}, {name}")
    return {key: texts.text(key, empty=True) for key in texts.raw}


def _fingerprint(given: object, labels: Mapping[str, str]) -> str:
    """The sender's, or one of our own over the labels: two alerts are the same if all their labels are."""
    if isinstance(given, str) and _FINGERPRINT.match(given):
        return given
    return hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:32]
