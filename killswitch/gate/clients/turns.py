"""A golden row's messages for providers that take the system prompt apart: Anthropic and Gemini."""

from __future__ import annotations

from typing import Any, Literal

from killswitch.gate.clients import ModelRequest
from killswitch.wording import plain


class UnsupportedTurn(Exception):
    """The row holds what this provider's client does not send. The message says which, and what to do."""


def turns(request: ModelRequest, provider: Literal["anthropic", "gemini"]) -> tuple[str, list[dict[str, Any]]]:
    """The system prompt, with the row's own system messages after it, and the other messages in order.

    Raises UnsupportedTurn: a row that is sent without a part of it would be another row.
    """
    systems = [] if request.system is None else [request.system]
    others: list[dict[str, Any]] = []
    for message in request.messages:
        role, content = message["role"], message.get("content")
        if role in ("system", "developer"):
            systems.append(_only_text(content, provider))
        elif role in ("user", "assistant"):
            others.append(
                {"role": role, "content": content if provider == "anthropic" else _only_text(content, provider)}
            )
        else:
            raise UnsupportedTurn(_said(f"messages of role {role}", provider))
    return "\n\n".join(systems), others


def _only_text(content: Any, provider: str) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    kinds = sorted({str(part.get("type")) for part in parts} - {"text"})
    if kinds or not parts:
        raise UnsupportedTurn(_said(f"parts of type {', '.join(kinds) or 'nothing'}", provider))
    return "".join(str(part.get("text", "")) for part in parts)


def _said(what: str, provider: str) -> str:
    return (
        f"the row has {plain(what, 80)}, which are not sent to {provider}; ask it with a `module:function` of your own"
    )
