"""LiteLLM's `completion`, for providers that have no file here.

LiteLLM opens its own connections: the size of an answer is not bounded, a call that hangs keeps its thread until
LiteLLM's own timeout, and authorities and proxies are those of its environment (`SSL_CERT_FILE`, `HTTPS_PROXY`).
"""

from __future__ import annotations

import os
from typing import Any

from killswitch.errors import AccessDenied, BadSettings
from killswitch.gate.call_failures import CallFailure, FailedCall
from killswitch.gate.clients import ModelReply, ModelRequest
from killswitch.gate.clients.own_function import raised, too_late
from killswitch.gate.clients.own_threads import TooLate, within
from killswitch.gate.clients.sdk_http import sdk
from killswitch.net.credentials import Secret, known
from killswitch.roles.config import RoleEndpoint
from killswitch.token_usage import Usage


class LiteLLMCompletion:
    """Asks through LiteLLM; a model's id then begins with its provider, as ``mistral/…``. Raises BadSettings."""

    def __init__(self, endpoint: RoleEndpoint, *, timeout: float) -> None:
        if endpoint.ca_file is not None or endpoint.proxy is not None:
            fix = "remove `ca_file` and `proxy`, and set SSL_CERT_FILE or HTTPS_PROXY"
            raise BadSettings([f"provider litellm opens its own connections: {fix}"])
        # else it fetches a list of prices as it is imported, and waits for it
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        self._litellm = sdk("litellm", "litellm")
        self._litellm.suppress_debug_info = True
        self._key = None if endpoint.key_file is None else Secret.from_file(endpoint.key_file)
        self._url = endpoint.url
        self._timeout = timeout

    def ask(self, request: ModelRequest) -> ModelReply | FailedCall:
        system = [] if request.system is None else [{"role": "system", "content": request.system}]
        arguments: dict[str, Any] = {
            **request.parameters,
            "model": request.model,
            "messages": [*system, *map(dict, request.messages)],
            "max_tokens": request.max_output_tokens,
            "timeout": self._timeout,
            "num_retries": 0,
            "max_retries": 0,
        }
        try:
            if self._key is not None:
                arguments["api_key"] = self._key.reveal()
            if self._url is not None:
                arguments["api_base"] = self._url
            answer = within(self._timeout, lambda: self._litellm.completion(**arguments))
        except TooLate:
            return too_late(request.model, self._timeout)
        except AccessDenied as error:
            return FailedCall(CallFailure.NO_ACCESS, str(error), billed=False)
        except Exception as error:  # noqa: BLE001  LiteLLM raises what its providers' code raises
            if type(error).__name__ == "Timeout":
                return too_late(request.model, self._timeout)
            if type(error).__name__ == "APIConnectionError":
                error = ConnectionError()
            return raised(error, request, "LiteLLM", known(self._key))
        try:
            message = answer.choices[0].message
            text = message.content or ""
            named, usage = answer.model, Usage.of(getattr(answer, "usage", None))
        except (AttributeError, IndexError, TypeError) as error:
            return raised(error, request, "LiteLLM", known(self._key))
        return ModelReply(str(text), named if isinstance(named, str) and named else None, usage)

    def close(self) -> None:
        """LiteLLM keeps its connections for the whole process."""
