"""The alert of another system that a trip was made on, as its incident keeps it: bounded, and never trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from killswitch.documents import Fields
from killswitch.timestamps import to_iso
from killswitch.wording import plain

MAX_PAIRS = 30  # labels, and as many annotations
MAX_KEY = 100
MAX_VALUE = 500
MAX_ADDRESS = 1000
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CitedAlert:
    """``starts_at``: when it began to fire, by the clock of the system that raised it (Unix seconds).

    ``others``: how many more alerts of the same message asked for the same. ``left_out``: how many of its labels and
    annotations are not kept. ``generator_url`` is a text to read: nothing links to it.
    """

    name: str
    fingerprint: str
    starts_at: float
    labels: Pairs
    annotations: Pairs
    generator_url: str
    others: int = 0
    left_out: int = 0


def cited(
    name: str,
    fingerprint: str,
    starts_at: float,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    generator_url: str,
    *,
    others: int = 0,
) -> CitedAlert:
    """The alert with its texts made plain and bounded."""
    return CitedAlert(
        name=plain(name, MAX_KEY),
        fingerprint=plain(fingerprint, MAX_KEY),
        starts_at=starts_at,
        labels=_pairs(labels),
        annotations=_pairs(annotations),
        generator_url=plain(generator_url, MAX_ADDRESS),
        others=others,
        left_out=max(len(labels) - MAX_PAIRS, 0) + max(len(annotations) - MAX_PAIRS, 0),
    )


def _pairs(texts: Mapping[str, str]) -> Pairs:
    return tuple((plain(name, MAX_KEY), plain(text, MAX_VALUE)) for name, text in sorted(texts.items())[:MAX_PAIRS])


def alert_to_json(alert: CitedAlert | None) -> dict[str, Any] | None:
    if alert is None:
        return None
    return {
        "name": alert.name,
        "fingerprint": alert.fingerprint,
        "starts_at": to_iso(alert.starts_at),
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "generator_url": alert.generator_url,
        "others": alert.others,
        "left_out": alert.left_out,
    }


def alert_from_json(document: object, where: str) -> CitedAlert | None:
    """The inverse of `alert_to_json`. Raises BadDocument."""
    if document is None:
        return None
    fields = Fields(document, where)
    labels = Fields(fields.raw.get("labels"), f"{where}, labels")
    annotations = Fields(fields.raw.get("annotations"), f"{where}, annotations")
    return CitedAlert(
        name=fields.text("name", empty=True),
        fingerprint=fields.text("fingerprint", empty=True),
        starts_at=fields.time("starts_at"),
        labels=tuple((name, labels.text(name, empty=True)) for name in labels.raw),
        annotations=tuple((name, annotations.text(name, empty=True)) for name in annotations.raw),
        generator_url=fields.text("generator_url", empty=True),
        others=fields.integer("others"),
        left_out=fields.integer("left_out"),
    )
