"""The spend ledger as the shadow sees it, and the bounds that a reservation needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from killswitch.errors import BadSettings

# An image is billed by what it shows and not by its bytes. No provider bills more than this for one.
TOKENS_OF_AN_IMAGE = 50_000
OUTPUT_TOKENS_AT_MOST = 8192
_ANY_NAMES = ("max_completion_tokens", "max_output_tokens", "max_tokens")
# The names that an API obeys; the first is set where none is given.
_OUTPUT_NAMES = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
    "completions": ("max_tokens",),
}
_IMAGES = frozenset({"image", "image_url", "input_image", "computer_screenshot"})
# Parts and items whose tokens their own bytes bound. A file, a sound or a video may be of any length.
_TEXTS = re.compile(
    r"message|(input_|output_|summary_)?text|refusal|tool_use|tool_result|(redacted_)?thinking|\w*_call(_output)?"
)
# Run by the service, so a definition is all that is billed. What the provider runs reads any number of pages.
_OWN_TOOLS = re.compile(
    r"function|custom|namespace|computer.*|local_shell|shell|apply_patch|bash_.*|text_editor_.*|memory_.*"
)
_READING = ("web_search_options", "plugins", "search_parameters", "enable_search", "mcp_servers", "data_sources")
_KEPT_THERE = ("previous_response_id", "conversation", "container")
_TIERS = (None, "auto", "default", "standard_only", "flex")  # at the standard price or below


class SpendReservation(Protocol):
    """Money that is held for one call."""

    def settle(self, usage: Mapping[str, Any] | None) -> object:
        """The call is over: what it used, or None where that is not known, which counts as the whole reservation."""
        ...

    def release(self) -> object:
        """Nothing was billed."""
        ...


class SpendRefusal(Protocol):
    """The ledger says no. It is known by its ``reason``, and has no ``settle``."""

    @property
    def reason(self) -> object: ...


class SpendLedger(Protocol):
    """Holds money before a call; `killswitch.spend` has one. May be called from several threads."""

    def reserve(
        self, model: str, input_tokens_at_most: int, output_tokens_at_most: int
    ) -> SpendReservation | SpendRefusal: ...


def check_ledger(ledger: object, rollout: str) -> None:
    """Raises BadSettings for what cannot reserve, such as a whole `killswitch.spend.Ledger`: every call would fail."""
    if ledger is None or callable(getattr(ledger, "reserve", None)):
        return
    if callable(getattr(ledger, "for_scopes", None)):
        raise BadSettings([f'ledger must say what it is charged to: ledger=ledger.for_scopes("shadow:{rollout}")'])
    raise BadSettings([f"ledger must have a method `reserve`; a {type(ledger).__name__} has none"])


def as_sent(request: Mapping[str, Any]) -> dict[str, Any]:
    """The body that a client makes of ``request``: the fields of ``extra_body`` come over the others."""
    extra = request.get("extra_body")
    body = {name: value for name, value in request.items() if name != "extra_body"}
    return {**body, **extra} if isinstance(extra, Mapping) else body


def input_tokens_at_most(request: Mapping[str, Any]) -> int | None:
    """An upper bound of the tokens of ``request`` (plain JSON); None where nothing bounds them, or their price.

    A tokenizer of bytes never makes more tokens than the text has bytes, and the JSON around a message has more bytes
    than a provider adds tokens to it. Usual texts have a quarter of that, so three quarters come back at settlement.
    """
    body = as_sent(request)
    if any(body.get(name) for name in (*_KEPT_THERE, *_READING)) or isinstance(body.get("prompt"), dict):
        return None
    if body.get("service_tier") not in _TIERS or body.get("audio") or body.get("modalities") not in (None, ["text"]):
        return None  # billed at another price
    if not all(_is_own(tool) for tool in _list(body.get("tools"))):
        return None
    parts = [part for name in ("messages", "input", "system") for part in _parts(body.get(name))]
    images = [part for part in parts if part.get("type") in _IMAGES]
    if not all(_is_text(part) for part in parts if part.get("type") not in _IMAGES):
        return None
    return _size(body) + TOKENS_OF_AN_IMAGE * len(images)


def _parts(said: object) -> Iterator[Mapping[str, Any]]:
    """Messages, items and the parts of their contents, and those of the results of tools."""
    for one in said if isinstance(said, list) else [said]:
        if isinstance(one, dict):
            yield one
            if one.get("type") not in _IMAGES:
                yield from _parts(one.get("content"))
                yield from _parts(one.get("output"))


def _is_text(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    if kind is None:
        return "role" in part or set(part) == {"text"}
    return isinstance(kind, str) and _TEXTS.fullmatch(kind) is not None


def _is_own(tool: object) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else ""
    if kind is None and isinstance(tool, dict):
        return "name" in tool or "function" in tool
    inside = tool.get("tools") if isinstance(tool, dict) else None  # of a namespace
    return isinstance(kind, str) and _OWN_TOOLS.fullmatch(kind) is not None and all(map(_is_own, _list(inside)))


def bound_output(request: dict[str, Any], api: str) -> int | None:
    """The most tokens that the answers to ``request`` may have. Where it has no bound, `OUTPUT_TOKENS_AT_MOST` is set.

    None where a number of tokens or answers is none that can be read. Only for a shadow with a ledger: a hard cap
    cannot be held on calls without a bound. An answer that is cut by it says so in its finish reason (``length``).
    """
    body = as_sent(request)
    names = _OUTPUT_NAMES.get(api, _ANY_NAMES)
    given = [body[name] for name in names if body.get(name) is not None]
    prompts = body.get("prompt")
    factors = [body.get("n"), body.get("best_of"), len(prompts) if isinstance(prompts, list) else None]
    thought = body.get("thinking_budget")
    if body.get("enable_thinking") and thought is None:
        return None  # some servers do not count what is thought as output
    numbers = [*given, *(factor for factor in factors if factor is not None), *([] if thought is None else [thought])]
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        return None
    bound = max(given, default=0)
    if bound <= 0:
        bound = _set_bound(request, names)
    times = 1
    for factor in factors:
        times *= max(1, factor or 1)
    # words of a prediction that are not used are billed as output
    guessed = _size(body["prediction"]) if body.get("prediction") else 0
    return int(times * (bound + max(0, thought or 0) + guessed))


def _set_bound(request: dict[str, Any], names: tuple[str, ...]) -> int:
    extra = request.get("extra_body")
    for given in (request, extra):
        for name in names:
            if isinstance(given, dict):
                given.pop(name, None)
    request[names[0]] = OUTPUT_TOKENS_AT_MOST
    return OUTPUT_TOKENS_AT_MOST


def _size(document: object) -> int:
    return len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
