"""One raw pair: control's answer and another answer to the same request, as the service hands them to the worker.

A line of JSON a pair. Raw pairs hold texts, so they live in private files until the worker has read them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from killswitch.documents import Fields
from killswitch.errors import BadDocument

FORMAT = 1

Kind = Literal["candidate", "noise"]
Outcome = Literal["ok", "refused", "error", "timeout", "cancelled", "budget"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that a model asked for. It is never executed. ``arguments`` is JSON as the model wrote it."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """One model's answer to one request.

    ``seconds`` from the request to the answer's end, ``first_token_seconds`` to a stream's first chunk with content.
    ``outcome`` ``budget``: refused for money or quota (429, a spend cap), which says nothing about the model.
    ``usage`` is the provider's own object, as plain JSON, None where it named none.
    """

    model: str
    outcome: Outcome
    seconds: float
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    refused: bool = False
    finish_reason: str | None = None
    streamed: bool = False
    first_token_seconds: float | None = None
    usage: Mapping[str, Any] | None = None
    status: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class RawPair:
    """``other`` is the canary's answer, or in a ``noise`` pair the control model's second answer to the same request.

    ``at``: Unix seconds when control was asked. ``user``: a keyed hash, never the user's name, "" without a user.
    ``request``: what was asked, as plain JSON (messages, tools, response format …), without credentials.
    ``turn``: which user turn this is, from 1. ``concurrent``: ``other`` was asked at most a second after
    control's answer had ended, in the same streaming mode, so both met the same load.
    ``reused``: ``other`` is the canary's answer to the same request, asked before.
    ``reservation_micros``: what the ledger had reserved for ``other``, in micro-dollars; None without a ledger.
    """

    id: str
    rollout: str
    generation: int
    at: float
    kind: Kind
    request: Mapping[str, Any]
    control: RawAnswer
    other: RawAnswer
    prompt_class: str = ""
    user: str = ""
    turn: int = 1
    concurrent: bool = False
    reservation_micros: int | None = None
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """Sampled requests that were never asked or never recorded in the minute that began at ``at``, by reason.

    ``reasons``: queue_full, budget, pressure, not_comparable, too_large, shutting_down, disk, failed … -> how many.
    """

    rollout: str
    at: float
    reasons: Mapping[str, int] = field(default_factory=dict)


def to_line(entry: RawPair | Dropped) -> bytes:
    """One line of JSON, with its line end. Half characters become "?": a line must always be readable."""
    document = {"format": FORMAT, "type": "pair" if isinstance(entry, RawPair) else "dropped", **_fields_of(entry)}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"


def _fields_of(entry: RawPair | Dropped) -> dict[str, Any]:
    """As `dataclasses.asdict`, but for its copy of every message: a sixth of the time, in the service's process."""
    document = {one.name: getattr(entry, one.name) for one in fields(entry)}
    if isinstance(entry, RawPair):
        document["control"], document["other"] = asdict(entry.control), asdict(entry.other)
    return document


def from_line(line: bytes) -> RawPair | Dropped:
    """The inverse of `to_line`. Raises BadDocument, naming the field. Unknown fields are ignored."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"raw pair: not JSON ({error})") from error
    read = Fields(document, "raw pair")
    if read.integer("format") != FORMAT:
        raise BadDocument(f"raw pair: format {document['format']}; this version reads {FORMAT}")
    if document.get("type") == "dropped":
        reasons = document.get("reasons")
        if not isinstance(reasons, dict) or not all(isinstance(number, int) for number in reasons.values()):
            raise BadDocument("raw pair: reasons must map texts to whole numbers")
        return Dropped(read.text("rollout"), read.number("at"), reasons)
    kind = read.text("kind")
    if kind not in ("candidate", "noise"):
        raise BadDocument(f"raw pair: kind {kind!r:.80}")
    request = document.get("request")
    if not isinstance(request, dict):
        raise BadDocument("raw pair: request must be an object")
    reserved = document.get("reservation_micros")
    return RawPair(
        id=read.text("id"),
        rollout=read.text("rollout"),
        generation=read.integer("generation"),
        at=read.number("at"),
        kind=kind,  # type: ignore[arg-type]  # one of the two, as asked above
        request=request,
        control=_answer(document.get("control"), "raw pair, control"),
        other=_answer(document.get("other"), "raw pair, other"),
        prompt_class=read.text("prompt_class", empty=True),
        user=read.text("user", empty=True),
        turn=read.integer("turn"),
        concurrent=document.get("concurrent") is True,
        reservation_micros=reserved if isinstance(reserved, int) else None,
        reused=document.get("reused") is True,
    )


_OUTCOMES = frozenset({"ok", "refused", "error", "timeout", "cancelled", "budget"})


def _answer(document: object, where: str) -> RawAnswer:
    read = Fields(document, where)
    outcome = read.text("outcome")
    if outcome not in _OUTCOMES:
        raise BadDocument(f"{where}: outcome {outcome!r:.80}")
    calls = read.raw.get("tool_calls") or []
    if not isinstance(calls, list):
        raise BadDocument(f"{where}: tool_calls must be a list")
    each = [Fields(call, f"{where}, tool_calls") for call in calls]
    first = read.raw.get("first_token_seconds")
    usage = read.raw.get("usage")
    status = read.raw.get("status")
    return RawAnswer(
        model=read.text("model", empty=True),
        outcome=outcome,  # type: ignore[arg-type]  # one of `_OUTCOMES`
        seconds=read.number("seconds"),
        text=read.text("text", empty=True),
        tool_calls=tuple(ToolCall(call.text("name", empty=True), call.text("arguments", empty=True)) for call in each),
        refused=read.raw.get("refused") is True,
        finish_reason=read.optional_text("finish_reason"),
        streamed=read.raw.get("streamed") is True,
        first_token_seconds=None if first is None else read.number("first_token_seconds"),
        usage=usage if isinstance(usage, dict) else None,
        status=status if isinstance(status, int) else None,
        error=read.text("error", empty=True),
    )
