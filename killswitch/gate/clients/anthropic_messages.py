"""Anthropic's messages, through Anthropic's SDK."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from killswitch.gate.call_failures import CallFailure, FailedCall
from killswitch.gate.clients import ModelReply, ModelRequest
from killswitch.gate.clients.sdk_http import PLACEHOLDER, SdkHttp, key_of, sdk
from killswitch.gate.clients.turns import UnsupportedTurn, turns
from killswitch.roles.config import RoleEndpoint
from killswitch.token_usage import Usage


class AnthropicMessages:
    """Asks Anthropic, or a server that speaks its messages. Raises BadSettings."""

    def __init__(self, endpoint: RoleEndpoint, *, timeout: float) -> None:
        anthropic = sdk("anthropic", "anthropic")
        key = key_of(endpoint, "ANTHROPIC_API_KEY")
        self._http = SdkHttp(anthropic.DefaultHttpxClient, endpoint, key, "x-api-key", timeout)
        self._client = anthropic.Anthropic(
            api_key=PLACEHOLDER,
            base_url=_base(endpoint.url),
            max_retries=0,
            timeout=timeout,
            http_client=self._http.client,
        )

    def ask(self, request: ModelRequest) -> ModelReply | FailedCall:
        try:
            system, messages = turns(request, "anthropic")
        except UnsupportedTurn as error:
            return FailedCall(CallFailure.BAD_REQUEST, str(error), billed=False)
        body = dict(request.parameters) | ({"system": system} if system else {})
        try:
            message = self._client.messages.create(
                model=request.model, max_tokens=request.max_output_tokens, messages=messages, extra_body=body
            )
        except Exception as error:  # noqa: BLE001  the SDK raises what its parsers raise
            return self._http.failed(error, model=request.model, sent=request.parameters)
        return self._reply(message, request.model, request.parameters)

    def _reply(self, message: Any, model: str, sent: Iterable[str]) -> ModelReply | FailedCall:
        try:
            text = "".join(str(block.text) for block in message.content if block.type == "text")
            named, usage = message.model, Usage.of(message.usage)
        except (AttributeError, TypeError) as error:
            return self._http.failed(error, model=model, sent=sent)
        return ModelReply(text, named if isinstance(named, str) and named else None, usage)

    def models(self) -> Any:
        """The list of models, page by page. Raises what the SDK raises."""
        return self._client.models.list(limit=1000)

    def close(self) -> None:
        self._http.close()


def _base(url: str | None) -> str:
    """The SDK adds ``/v1`` by itself."""
    return "https://api.anthropic.com" if url is None else url.rstrip("/").removesuffix("/v1")
