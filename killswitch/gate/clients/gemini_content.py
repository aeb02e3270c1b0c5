"""Gemini's `generateContent`, through Google's SDK."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from killswitch.gate.call_failures import CallFailure, FailedCall
from killswitch.gate.clients import ModelReply, ModelRequest
from killswitch.gate.clients.sdk_http import PLACEHOLDER, SdkHttp, key_of, sdk
from killswitch.gate.clients.turns import UnsupportedTurn, turns
from killswitch.roles.config import RoleEndpoint
from killswitch.token_usage import Usage
from killswitch.wording import plain


class GeminiContent:
    """Asks the Gemini API; Vertex AI is asked through LiteLLM. Raises BadSettings."""

    def __init__(self, endpoint: RoleEndpoint, *, timeout: float) -> None:
        genai = sdk("google.genai", "gemini")
        self._types = sdk("google.genai.types", "gemini")
        key = key_of(endpoint, "GEMINI_API_KEY", "GOOGLE_API_KEY")
        self._http = SdkHttp(_http_client(), endpoint, key, "x-goog-api-key", timeout)
        options = self._types.HttpOptions(
            base_url=endpoint.url,
            timeout=int(timeout * 1000),
            httpx_client=self._http.client,
            retry_options=self._types.HttpRetryOptions(attempts=1),
        )
        self._client = genai.Client(vertexai=False, api_key=PLACEHOLDER, http_options=options)

    def ask(self, request: ModelRequest) -> ModelReply | FailedCall:
        try:
            system, messages = turns(request, "gemini")
            config = self._config(request, system)
        except UnsupportedTurn as error:
            return FailedCall(CallFailure.BAD_REQUEST, str(error), billed=False)
        except ValueError as error:
            said = f"the role's parameters are none that Gemini's SDK knows ({plain(str(error), 160)})"
            return FailedCall(CallFailure.NO_ACCESS, f"{said}; correct `parameters`", billed=False)
        contents = [
            self._types.Content(
                role="model" if message["role"] == "assistant" else "user",
                parts=[self._types.Part(text=message["content"])],
            )
            for message in messages
        ]
        try:
            answer = self._client.models.generate_content(model=request.model, contents=contents, config=config)
        except Exception as error:  # noqa: BLE001  the SDK raises what its parsers raise
            return self._http.failed(error, model=request.model, sent=request.parameters)
        return self._reply(answer, request.model, request.parameters)

    def _config(self, request: ModelRequest, system: str) -> Any:
        """Raises ValueError (pydantic's) for parameters that the SDK does not know."""
        return self._types.GenerateContentConfig(
            **{
                **request.parameters,
                "max_output_tokens": request.max_output_tokens,
                **({"system_instruction": system} if system else {}),
                "automatic_function_calling": {"disable": True},
            }
        )

    def _reply(self, answer: Any, model: str, sent: Iterable[str]) -> ModelReply | FailedCall:
        candidates = answer.candidates or []
        blocked = getattr(answer.prompt_feedback, "block_reason", None)
        if not candidates and blocked is None:
            return self._http.failed(ValueError(), model=model, sent=sent)
        parts = getattr(candidates[0].content, "parts", None) or [] if candidates else []
        text = "".join(part.text for part in parts if part.text is not None and not part.thought)
        return ModelReply(text, answer.model_version or None, Usage.of(answer.usage_metadata))

    def models(self) -> Any:
        """The list of models, page by page. Raises what the SDK raises."""
        return self._client.models.list(config={"page_size": 1000})

    def close(self) -> None:
        self._http.close()


def _http_client() -> Any:
    """The HTTP client of the package that this release of the SDK prefers."""
    try:
        import httpx2  # noqa: PLC0415  newer releases of the SDK bring it
    except ImportError:
        import httpx  # noqa: PLC0415

        return httpx.Client
    return httpx2.Client
