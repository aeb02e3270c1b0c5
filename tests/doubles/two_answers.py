"""Raw pairs for tests of the comparison: two answers to one request, with everything ordinary but what a test names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from killswitch.router.shadow.raw_pair import Dropped, Kind, Outcome, RawAnswer, RawPair, to_line

AT = 1_777_800_000.0  # 2026-05-03T09:20:00Z
REFUND = "Your refund of $25.00 was issued on 3 May 2026. It takes up to five business days to reach your account."
DENIED = REFUND.replace("was issued", "was not issued")


def answer(text: str = REFUND, *, outcome: Outcome = "ok", **features: Any) -> RawAnswer:
    return RawAnswer(**{"model": "model-new", "outcome": outcome, "seconds": 1.0, "text": text, **features})


def raw_pair(
    other: str | RawAnswer = REFUND,
    control: str | RawAnswer = REFUND,
    *,
    id: str = "request-1",  # noqa: A002  the field's name
    kind: Kind = "candidate",
    at: float = AT,
    asked: str = "Where is my refund?",
    **changes: Any,
) -> RawPair:
    one = answer(control, model="model-old") if isinstance(control, str) else control
    two = answer(other) if isinstance(other, str) else other
    request = {"messages": [{"role": "user", "content": asked}], **changes.pop("request", {})}
    return RawPair(id, "support", 1, at, kind, request, one, two, **changes)


def write_raw(folder: Path, *entries: RawPair | Dropped | bytes, at: float = AT, number: int = 1) -> Path:
    """One raw file of the spool, as the service would have written it at ``at`` (Unix seconds)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{int(at * 1000):013d}-7-{number:06d}.raw"
    path.write_bytes(b"".join(entry if isinstance(entry, bytes) else to_line(entry) for entry in entries))
    return path
