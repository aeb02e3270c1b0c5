"""The spend ledger as the shadow sees it, and the bounds that a reservation needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from killswitch.errors import BadSettings

# An image is billed by what it shows and not by its bytes. No provider bills more than this for one.
TOKENS_OF_AN_IMAGE = 50_000
OUTPUT_TOKENS_AT_MOST = 8192
_OUTPUT_NAMES = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_NAME_BY_API = {"responses": "max_output_tokens", "messages": "max_tokens", "completions": "max_tokens"}
_IMAGES = frozenset({"image", "image_url", "input_image", "computer_screenshot"})
_DOCUMENTS = frozenset({"file", "input_file", "document"})  # any number of pages


class SpendReservation(Protocol):
    """Money that is held for one call."""

    def settle(self, usage: Mapping[str, Any] | None) -> object:
        """The call is over: what it used, or None where nobody knows, which counts as the whole reservation."""
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


def input_tokens_at_most(request: Mapping[str, Any]) -> int | None:
    """An upper bound of the tokens of ``request`` (plain JSON); None where nothing bounds them.

    A tokenizer of bytes never makes more tokens than the text has bytes, and the JSON around a message has more bytes
    than a provider adds tokens to it. Usual texts have a quarter of that, so three quarters come back at settlement.
    """
    if request.get("previous_response_id") or request.get("conversation") or isinstance(request.get("prompt"), dict):
        return None  # kept by the provider, so its length is not known here
    kinds = [part.get("type") for part in _parts(request) if isinstance(part, dict)]
    if any(kind in _DOCUMENTS for kind in kinds):
        return None
    size = len(json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
    return size + TOKENS_OF_AN_IMAGE * sum(kind in _IMAGES for kind in kinds)


def _parts(request: Mapping[str, Any]) -> Iterator[Any]:
    for name in ("messages", "input", "system"):
        for message in _list(request.get(name)):
            yield message
            yield from _list(message.get("content") if isinstance(message, dict) else None)


def bound_output(request: dict[str, Any], api: str) -> int:
    """The most tokens that the answers to ``request`` may have. Where it has no bound, `OUTPUT_TOKENS_AT_MOST` is set.

    Only for a shadow with a ledger: a hard cap cannot be held on calls without a bound. An answer that is cut by it
    says so in its finish reason (``length``).
    """
    several = request.get("n")
    times = several if isinstance(several, int) and several > 1 else 1
    for name in _OUTPUT_NAMES:
        bound = request.get(name)
        if isinstance(bound, int) and not isinstance(bound, bool) and bound > 0:
            return bound * times
    name = _NAME_BY_API.get(api, "max_completion_tokens")
    request[name] = OUTPUT_TOKENS_AT_MOST
    return OUTPUT_TOKENS_AT_MOST * times


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
