"""A function of the user's own, ``module:function``, for what no SDK here reaches.

::

    def ask(*, model, messages, max_output_tokens, timeout, **parameters):
        return {"text": "…", "model": "…", "usage": {"input_tokens": 12, "output_tokens": 3}}

``messages`` has the system prompt first. It may return the text alone; its usage is then not known. An exception with a
``status_code`` is read as that HTTP status; ConnectionError and TimeoutError mean that the provider is away.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

from killswitch.errors import BadSettings
from killswitch.gate.call_failures import CallFailure, FailedCall
from killswitch.gate.clients import ModelReply, ModelRequest
from killswitch.gate.clients.own_threads import TooLate, within
from killswitch.gate.clients.refusals import failed_response
from killswitch.roles.config import RoleEndpoint
from killswitch.token_usage import Usage
from killswitch.wording import duration_in_words, plain


class OwnFunction:
    """Calls ``endpoint.provider``, and no longer than ``timeout`` seconds. Raises BadSettings."""

    def __init__(self, endpoint: RoleEndpoint, *, timeout: float) -> None:
        self._name = endpoint.provider
        self._function = _function(endpoint)
        self._timeout = timeout

    def ask(self, request: ModelRequest) -> ModelReply | FailedCall:
        system = [] if request.system is None else [{"role": "system", "content": request.system}]
        try:
            answer = within(
                self._timeout,
                lambda: self._function(
                    model=request.model,
                    messages=[*system, *map(dict, request.messages)],
                    max_output_tokens=request.max_output_tokens,
                    timeout=self._timeout,
                    **request.parameters,
                ),
            )
        except TooLate:
            return too_late(request.model, self._timeout)
        except Exception as error:  # noqa: BLE001  the function is a stranger's
            return raised(error, request, self._name)
        text = answer.get("text") if isinstance(answer, Mapping) else answer
        if not isinstance(text, str):
            said = f"{self._name} returned no text; return a text, or a mapping with `text`, `model` and `usage`"
            return FailedCall(CallFailure.GARBAGE, said, billed=True)
        named = answer.get("model") if isinstance(answer, Mapping) else None
        usage = Usage.of(answer.get("usage")) if isinstance(answer, Mapping) else None
        return ModelReply(text, named if isinstance(named, str) and named else None, usage)

    def close(self) -> None:
        """Nothing is open."""


def too_late(model: str, seconds: float) -> FailedCall:
    said = f"{plain(model, 80)} did not answer in {duration_in_words(seconds)}"
    return FailedCall(CallFailure.TIMEOUT, said, billed=True)


def raised(error: Exception, request: ModelRequest, where: str, secrets: tuple[str, ...] = ()) -> FailedCall:
    """What an exception of a function or of LiteLLM means. Its own words are shown only where it is an HTTP answer."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 600:
        response = getattr(error, "response", None)
        headers = getattr(response, "headers", None)
        return failed_response(
            status,
            _body(error),
            headers if isinstance(headers, Mapping) else {},
            model=request.model,
            sent=request.parameters,
            secrets=secrets,
            where=where,
        )
    kind = type(error).__name__
    if isinstance(error, ConnectionError | TimeoutError):
        return FailedCall(
            CallFailure.TRANSIENT, f"{where} cannot reach {plain(request.model, 80)} ({kind})", billed=True
        )
    return FailedCall(CallFailure.GARBAGE, f"{where} raised {kind} for {plain(request.model, 80)}", billed=True)


def _body(error: Exception) -> str:
    """The error's body as a provider would send it: as a mapping in ``body``, or its own words."""
    body = getattr(error, "body", None)
    if isinstance(body, Mapping):
        return json.dumps(body if "error" in body else {"error": body}, default=str)
    said = getattr(error, "message", None)
    return json.dumps({"error": {"message": said if isinstance(said, str) else str(error)}})


def _function(endpoint: RoleEndpoint) -> Any:
    name, _, attribute = endpoint.provider.partition(":")
    if endpoint.ca_file is not None or endpoint.proxy is not None or endpoint.key_file is not None:
        said = f"provider {endpoint.provider} opens its own connections"
        raise BadSettings([f"{said}: remove `key_file`, `ca_file` and `proxy`, and let the function read them"])
    try:
        found = getattr(importlib.import_module(name), attribute)
    except ImportError as error:
        fix = "is its folder in PYTHONPATH?"
        raise BadSettings(
            [f"provider {endpoint.provider} cannot be imported ({plain(str(error), 120)}); {fix}"]
        ) from None
    except AttributeError:
        raise BadSettings([f"provider {endpoint.provider}: module {name} has no function {attribute}"]) from None
    if not callable(found):
        raise BadSettings([f"provider {endpoint.provider} is no function"])
    return found
