"""What providers list: which models there are, and when they are retired. Their own SDKs read the lists.

OpenAI gives ids and, where announced, ``shutdown_date``; Anthropic ``lifecycle`` and ``retires_at``; Gemini ids alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from killswitch.errors import Unavailable
from killswitch.gate.clients.anthropic_messages import AnthropicMessages
from killswitch.gate.clients.gemini_content import GeminiContent
from killswitch.gate.clients.openai_chat import OpenAIChat
from killswitch.gate.clients.opening import opened_client
from killswitch.roles.config import RoleEndpoint
from killswitch.roles.health import Lifecycle

MOST_MODELS: Final = 5000
_LISTS: Final = frozenset({"openai", "anthropic", "gemini"})


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One model of a provider's list. ``retires_at``: Unix seconds, None where none is announced."""

    lifecycle: Lifecycle
    retires_at: float | None


def has_list(endpoint: RoleEndpoint) -> bool:
    return endpoint.provider in _LISTS


def listed_models(endpoint: RoleEndpoint, *, timeout: float) -> dict[str, ListedModel]:
    """The provider's whole list by id. Raises BadSettings (no SDK, no key), and Unavailable where it is not whole."""
    with closing(opened_client(endpoint, timeout=timeout)) as client:
        try:
            found = dict(_entry(one) for one in itertools.islice(_pages(client), MOST_MODELS + 1))
        except Exception as error:
            raise Unavailable(
                f"the list of models of {endpoint.provider} could not be read: {type(error).__name__}"
            ) from error
    if len(found) > MOST_MODELS or not found:
        # an empty list would say of every model that it is not there any more
        raise Unavailable(f"the list of models of {endpoint.provider} has {len(found)} entries, so it says nothing")
    return found


def _pages(client: object) -> Iterable[Any]:
    """All entries; the SDKs ask for the next page by themselves."""
    if isinstance(client, OpenAIChat | AnthropicMessages | GeminiContent):
        listed: Iterable[Any] = client.models()
        return listed
    return ()


def _entry(one: Any) -> tuple[str, ListedModel]:
    name = getattr(one, "id", None) or str(one.name).removeprefix("models/")
    retires = getattr(one, "retires_at", None) or getattr(one, "shutdown_date", None)
    lifecycle = {"deprecated": Lifecycle.DEPRECATED, "retired": Lifecycle.RETIRED}.get(
        str(getattr(one, "lifecycle", "")), Lifecycle.LISTED
    )
    return str(name), ListedModel(lifecycle, _seconds(retires))


def _seconds(value: object) -> float | None:
    """A time, or a date in UTC, as Unix seconds; None for what is neither: it may be a form that we do not know."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
