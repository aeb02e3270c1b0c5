"""OpenAI's chat completions, and every server that speaks them, through OpenAI's SDK."""

from __future__ import annotations

import json
from typing import Any, Final

from killswitch.gate.call_failures import FailedCall
from killswitch.gate.clients import ModelReply, ModelRequest
from killswitch.gate.clients.sdk_http import PLACEHOLDER, SdkHttp, answered, key_of, sdk
from killswitch.roles.config import RoleEndpoint
from killswitch.token_usage import Usage

LIMITS: Final = ("max_completion_tokens", "max_tokens")


class OpenAIChat:
    """Asks an OpenAI-compatible server.

    Newer models of OpenAI refuse `max_tokens`, and some servers know nothing else: where one name is refused, the other
    is sent from then on. Raises BadSettings.
    """

    def __init__(self, endpoint: RoleEndpoint, *, timeout: float) -> None:
        openai = sdk("openai", "openai")
        self._http = SdkHttp(openai.DefaultHttpxClient, endpoint, key_of(endpoint, "OPENAI_API_KEY"), "bearer", timeout)
        self._client = openai.OpenAI(
            api_key=PLACEHOLDER,
            base_url=endpoint.url or "https://api.openai.com/v1",
            organization=None,
            max_retries=0,
            timeout=timeout,
            http_client=self._http.client,
        )
        self._limit = LIMITS[0] if endpoint.url is None else LIMITS[1]

    def ask(self, request: ModelRequest) -> ModelReply | FailedCall:
        limit = self._limit
        outcome = self._ask(request, limit)
        if isinstance(outcome, FailedCall) and outcome.refused == limit:
            self._limit = LIMITS[1 - LIMITS.index(limit)]
            outcome = self._ask(request, self._limit)
        return outcome

    def _ask(self, request: ModelRequest, limit: str) -> ModelReply | FailedCall:
        system = [] if request.system is None else [{"role": "system", "content": request.system}]
        sent = (*request.parameters, limit)
        try:
            completion = self._client.chat.completions.create(
                model=request.model,
                messages=[*system, *map(dict, request.messages)],
                extra_body={**request.parameters, limit: request.max_output_tokens},
            )
        except Exception as error:  # noqa: BLE001  the SDK raises what its parsers raise
            return self._http.failed(error, model=request.model, sent=sent)
        return self._reply(completion, request.model, sent)

    def _reply(self, completion: Any, model: str, sent: tuple[str, ...]) -> ModelReply | FailedCall:
        # gateways answer 200 and put the error of the provider behind them into the body
        inside = (getattr(completion, "model_extra", None) or {}).get("error")
        if isinstance(inside, dict) and not getattr(completion, "choices", None):
            status = inside.get("code")
            status = status if isinstance(status, int) and 400 <= status < 600 else 502
            body = {"error": {**inside, "code": str(inside.get("code"))}}
            return answered(status, json.dumps(body), {}, url=str(self._client.base_url), model=model, sent=sent)
        try:
            message = completion.choices[0].message
            text = _text(message.content)
        except (AttributeError, IndexError, TypeError, KeyError) as error:
            return self._http.failed(error, model=model, sent=sent)
        refusal = getattr(message, "refusal", None)
        named = getattr(completion, "model", None)
        return ModelReply(
            text=text or (refusal if isinstance(refusal, str) else ""),
            answered_by=named if isinstance(named, str) and named else None,
            usage=Usage.of(completion.usage),
        )

    def models(self) -> Any:
        """The list of models, page by page. Raises what the SDK raises."""
        return self._client.models.list()

    def close(self) -> None:
        self._http.close()


def _text(content: Any) -> str:
    """Some servers answer in parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(str(part["text"]) for part in content if part["type"] == "text")
