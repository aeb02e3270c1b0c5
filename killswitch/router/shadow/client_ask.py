"""Asks a model for the shadow by a client of the service's: OpenAI's, Anthropic's, or another of their form."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from killswitch.errors import BadSettings
from killswitch.router.shadow.comparable import NotComparable

if TYPE_CHECKING:
    from killswitch.router.shadow.asking import Asking

_LOG = logging.getLogger(__name__)

_ENDPOINTS = {
    "chat": attrgetter("chat.completions"),
    "responses": attrgetter("responses"),
    "completions": attrgetter("completions"),
    "messages": attrgetter("messages"),
}
_TYPED = ("response_format", "text_format", "parse_as")  # given a class, they are arguments of ``parse`` alone


class ClientAsk:
    """Calls the endpoint that control's request called, once: a retry would hide a failure and eat the quota.

    ``client``: asked for the canary. ``control_client``: asked for the control model's second answer, by default
    ``client``. Both must be the shadow's own.
    """

    def __init__(self, client: Any, control_client: Any = None) -> None:
        self.shares_key = False  # with production: `llm_shadow_shared_key_total` counts its calls, for `doctor`
        self._given = (client,) if control_client is None else (client, control_client)
        self._candidate = _without_retries(client)
        self._control = self._candidate if control_client is None else _without_retries(control_client)

    def keep_apart(self, *production: Any) -> None:
        """Raise BadSettings if one of these clients is the shadow's, too. Warn if they share an API key."""
        if any(ours is theirs for ours in self._given for theirs in production):
            problem = (
                "shadow: it asks by production's own client, so it would use up production's quota; give shadow_ask() "
                "a client of its own, with an API key of its own"
            )
            raise BadSettings([problem])
        if keys_of(self._given) & keys_of(production):
            self.shares_key = True
            warn_of_shared_key()

    def __call__(self, asking: Asking) -> Any:
        """The client's answer: an object, a stream, or from an asynchronous client something to await.

        Raises `NotComparable` for an API that no client has, and whatever the client raises.
        """
        endpoint = _ENDPOINTS.get(asking.api)
        if endpoint is None:
            raise NotComparable(f"{asking.api}: no endpoint of a client; give Shadow an `ask` of your own")
        resource = endpoint(self._control if asking.kind == "noise" else self._candidate)
        typed = any(isinstance(asking.request.get(name), type) for name in _TYPED)
        method = resource.parse if typed else resource.create
        return method(**_arguments(method, asking.request), model=asking.model, timeout=asking.timeout)


def _arguments(method: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """``request`` as arguments of ``method``. Fields it does not know, as a gateway's clients send them, are body."""
    known = inspect.signature(method).parameters
    arguments = {name: value for name, value in request.items() if name not in ("model", "timeout")}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return arguments
    unknown = {name: arguments.pop(name) for name in list(arguments) if name not in known}
    if unknown:
        arguments["extra_body"] = {**(arguments.get("extra_body") or {}), **unknown}
    return arguments


def _without_retries(client: Any) -> Any:
    options = getattr(client, "with_options", None)
    return client if options is None else options(max_retries=0)


def warn_of_shared_key() -> None:
    _LOG.warning(
        "shadow and production have one API key: the shadow uses up production's quota, and control's rate "
        "limits are its doing. Give the shadow's client a key of another project"
    )


def keys_of(clients: tuple[Any, ...]) -> set[str]:
    keys = (getattr(client, "api_key", None) for client in clients)
    return {key for key in keys if isinstance(key, str) and key}
