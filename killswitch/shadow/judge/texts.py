"""A pair as a judge is shown it: the request's last user turn and both answers' texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from killswitch.router.shadow.raw_pair import RawPair

MAX_CHARACTERS = 100_000  # of one text: far over what a judge is shown


@dataclass(frozen=True, slots=True)
class PairTexts:
    """``at``: Unix seconds of the request. ``candidate``: the canary's model. ``user``: the user's keyed hash."""

    pair: str
    at: float
    generation: int
    candidate: str
    request: str
    control_answer: str
    candidate_answer: str
    prompt_class: str = ""
    user: str = ""

    @property
    def identical(self) -> bool:
        """But for white space around them."""
        return self.control_answer.strip() == self.candidate_answer.strip()


def texts_of(pair: RawPair) -> PairTexts | None:
    """None for what is not judged: a noise pair, a call without an answer, or an answer that calls tools.

    Failed calls and tool calls have criteria of their own; the win rate is of pairs in which both answer in words.
    """
    if pair.kind != "candidate":
        return None
    for answer in (pair.control, pair.other):
        if answer.outcome not in ("ok", "refused") or answer.tool_calls or not answer.text.strip():
            return None
    return PairTexts(
        pair.id,
        pair.at,
        pair.generation,
        pair.other.model,
        last_user_turn(pair.request)[:MAX_CHARACTERS],
        pair.control.text[:MAX_CHARACTERS],
        pair.other.text[:MAX_CHARACTERS],
        pair.prompt_class,
        pair.user,
    )


def last_user_turn(request: Mapping[str, Any]) -> str:
    """The text of the last user turn of a chat, messages, responses or completions request; "" where it has none."""
    for name in ("messages", "input", "prompt"):
        asked = request.get(name)
        if isinstance(asked, str):
            return asked
        if isinstance(asked, Sequence):
            for message in reversed(asked):
                if isinstance(message, str):
                    return message
                if isinstance(message, Mapping) and message.get("role") == "user":
                    text = _content(message.get("content"))
                    if text:
                        return text
    return ""


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    parts = [part.get("text") for part in content if isinstance(part, Mapping)]
    return "\n".join(part for part in parts if isinstance(part, str))
