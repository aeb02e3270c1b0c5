"""The HTTP of OpenAI, Anthropic and Gemini on loopback: real forms, scripted faults at known rows, and what was billed.

::

    from tests.doubles.provider_faults import garbage, html, rate_limited

    with OpenAIProvider(answer=lambda model, prompt: '{"label": "bug"}') as provider:
        provider.at("row 7", rate_limited(2), html())     # the first two calls whose prompt has "row 7"
        provider.always("row 9", garbage())               # each call
        provider.known = {"gpt-4o-2024-08-06"}            # every other model is not found
        provider.refuses["o3"] = {"temperature"}          # as the provider says it

The texts of errors are those that the providers send (2025 and 2026).
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.doubles import provider_lists as lists
from tests.doubles.provider_faults import QUOTA, AskedOfProvider, ProviderFault
from tests.doubles.threaded_server import JsonHandler, ThreadedServer

Answering = Callable[[str, str], str]  # model and prompt -> the answer's text


class ModelProvider(ThreadedServer):
    """What the three have in common. ``seconds``: of each answer by model, added as a real wait.

    ``asked``: the requests in order; ``billed``: input and output tokens by model that a provider would bill; a prompt
    has a token a word. ``most_at_once``: the largest number of requests under way together.
    """

    base = "/v1"
    key_header = "authorization"

    def __init__(
        self,
        *,
        answer: Answering = lambda _model, _prompt: "ok",
        key: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer
        self.key = key
        self.known: set[str] | None = None
        self.refuses: dict[str, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = {}
        self.asked: list[AskedOfProvider] = []
        self.billed: Counter[tuple[str, str]] = Counter()
        self.answered_as: dict[str, str] = {}  # another model's id in each answer, as an alias that has moved
        self.most_at_once = 0
        self._at_once = 0
        self.listed: list[dict[str, Any]] = []  # what GET of the list of models has, two a page where it has pages
        self.list_status = 200
        self._next: dict[str, deque[ProviderFault]] = {}
        self._always: dict[str, ProviderFault] = {}
        self.lock = threading.Lock()
        double = self

        class Handler(_ProviderHandler):
            provider = double

        super().__init__(Handler, context=context)

    @property
    def url(self) -> str:
        return super().url.removesuffix("/v1") + self.base

    def at(self, row: str, *faults: ProviderFault) -> None:
        """The next calls whose prompt or model holds ``row`` get these, then answers again."""
        self._next.setdefault(row, deque()).extend(faults)

    def always(self, row: str, fault: ProviderFault) -> None:
        """Each call whose prompt or model holds ``row``; "" is each call of all."""
        self._always[row] = fault

    def calls(self, model: str) -> int:
        with self.lock:
            return sum(one.model == model for one in self.asked)

    def fault_of(self, asked: AskedOfProvider) -> ProviderFault | None:
        with self.lock:
            for row, faults in self._next.items():
                if faults and (row in asked.prompt or row in asked.model):
                    return faults.popleft()
            return next(
                (fault for row, fault in self._always.items() if row in asked.prompt or row in asked.model), None
            )

    def under_way(self, change: int) -> None:
        with self.lock:
            self._at_once += change
            self.most_at_once = max(self.most_at_once, self._at_once)

    # --- what each provider words by itself -----------------------------------------------------

    def page_of_list(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        """A page of the list of models."""
        raise NotImplementedError

    def read(self, path: str, body: dict[str, Any]) -> tuple[str, str, str]:
        """Model, prompt and system prompt."""
        raise NotImplementedError

    def document(self, model: str, text: str, tokens: tuple[int, int], limit: int | None) -> dict[str, Any]:
        raise NotImplementedError

    def error(self, status: int, *, model: str, what: str = "") -> dict[str, Any]:
        raise NotImplementedError

    def refused(self, body: dict[str, Any], model: str) -> dict[str, Any] | None:
        raise NotImplementedError

    def limit(self, body: dict[str, Any]) -> int | None:
        raise NotImplementedError


class OpenAIProvider(ModelProvider):
    """POST /v1/chat/completions, GET /v1/models."""

    def page_of_list(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        return lists.of_openai(self.listed)

    def read(self, path: str, body: dict[str, Any]) -> tuple[str, str, str]:
        system = " ".join(text_in(one["content"]) for one in body["messages"] if one["role"] == "system")
        return body["model"], text_in(body["messages"][-1]["content"]), system

    def document(self, model: str, text: str, tokens: tuple[int, int], limit: int | None) -> dict[str, Any]:
        cut = limit is not None and tokens[1] >= limit
        return {
            "id": "chatcmpl-BzXk",
            "object": "chat.completion",
            "created": 1764500000,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
                    "logprobs": None,
                    "finish_reason": "length" if cut else "stop",
                }
            ],
            "usage": {
                "prompt_tokens": tokens[0],
                "completion_tokens": tokens[1],
                "total_tokens": sum(tokens),
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": "fp_b376dfbbd5",
        }

    def error(self, status: int, *, model: str, what: str = "") -> dict[str, Any]:
        kind, code, message = {
            401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-abc***xyz."),
            404: (
                "invalid_request_error",
                "model_not_found",
                f"The model `{model}` does not exist or you do not have access to it.",
            ),
            429: ("requests", "rate_limit_exceeded", f"Rate limit reached for {model} on requests per min (RPM)."),
        }.get(
            status, ("server_error", None, "The server had an error while processing your request. Sorry about that!")
        )
        if what == "quota":
            kind, code = "insufficient_quota", "insufficient_quota"
            message = "You exceeded your current quota, please check your plan and billing details."
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def refused(self, body: dict[str, Any], model: str) -> dict[str, Any] | None:
        for name in sorted(self.refuses[model] & body.keys()):
            instead = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            message, code = f"Unsupported parameter: '{name}' is not supported with this model.{instead}", "parameter"
            if name == "temperature":
                message = (
                    f"Unsupported value: 'temperature' does not support {body[name]} with this model. Only the "
                    "default (1) value is supported."
                )
                code = "value"
            error = {"message": message, "type": "invalid_request_error", "param": name, "code": f"unsupported_{code}"}
            return {"error": error}
        return None

    def limit(self, body: dict[str, Any]) -> int | None:
        return body.get("max_completion_tokens") or body.get("max_tokens")


class AnthropicProvider(ModelProvider):
    """POST /v1/messages, GET /v1/models."""

    key_header = "x-api-key"

    def page_of_list(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        return lists.of_anthropic(self.listed, query)

    def read(self, path: str, body: dict[str, Any]) -> tuple[str, str, str]:
        return body["model"], text_in(body["messages"][-1]["content"]), text_in(body.get("system", ""))

    def document(self, model: str, text: str, tokens: tuple[int, int], limit: int | None) -> dict[str, Any]:
        cut = limit is not None and tokens[1] >= limit
        return {
            "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "max_tokens" if cut else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": tokens[0],
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": tokens[1],
                "service_tier": "standard",
            },
        }

    def error(self, status: int, *, model: str, what: str = "") -> dict[str, Any]:
        kind, message = {
            401: ("authentication_error", "invalid x-api-key"),
            404: ("not_found_error", f"model: {model}"),
            429: (
                "rate_limit_error",
                "This request would exceed your organization's rate limit of 50 requests per minute.",
            ),
            529: ("overloaded_error", "Overloaded"),
        }.get(status, ("api_error", "Internal server error"))
        if what == "quota":
            kind = "invalid_request_error"
            message = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
        return {
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
        }

    def refused(self, body: dict[str, Any], model: str) -> dict[str, Any] | None:
        for name in sorted(self.refuses[model] & body.keys()):
            message = f"`{name}` is deprecated for this model."
            if name not in ("temperature", "top_p", "top_k"):
                message = f"{name}: Extra inputs are not permitted"
            elif name == "top_p" and "temperature" in body:
                message = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
            return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
        return None

    def limit(self, body: dict[str, Any]) -> int | None:
        return body.get("max_tokens")


class GeminiProvider(ModelProvider):
    """POST /v1beta/models/MODEL:generateContent, GET /v1beta/models."""

    base = ""
    key_header = "x-goog-api-key"

    def page_of_list(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        return lists.of_gemini(self.listed, query)

    def read(self, path: str, body: dict[str, Any]) -> tuple[str, str, str]:
        model = path.rpartition("/models/")[2].partition(":")[0]
        system = " ".join(part["text"] for part in body.get("systemInstruction", {}).get("parts", []))
        return model, "".join(part["text"] for part in body["contents"][-1]["parts"]), system

    def document(self, model: str, text: str, tokens: tuple[int, int], limit: int | None) -> dict[str, Any]:
        cut = limit is not None and tokens[1] >= limit
        return {
            "candidates": [
                {
                    "content": {"parts": [{"text": text}], "role": "model"},
                    "finishReason": "MAX_TOKENS" if cut else "STOP",
                    "index": 0,
                }
            ],
            "usageMetadata": {
                "promptTokenCount": tokens[0],
                "candidatesTokenCount": tokens[1],
                "totalTokenCount": sum(tokens),
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens[0]}],
            },
            "modelVersion": model,
            "responseId": "mAitaLmkHPPlz7IPvtfUqQ4",
        }

    def error(self, status: int, *, model: str, what: str = "") -> dict[str, Any]:
        named, message = {
            401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
            404: (
                "NOT_FOUND",
                f"models/{model} is not found for API version v1beta, or is not supported for generateContent.",
            ),
            429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota. Please retry in 2s."),
        }.get(status, ("INTERNAL", "An internal error has occurred. Please retry."))
        error: dict[str, Any] = {"code": status, "message": message, "status": named}
        if what == "quota":
            error["message"] = "Your project has exceeded its monthly spending cap."
        elif status == 429:
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}]
        return {"error": error}

    def refused(self, body: dict[str, Any], model: str) -> dict[str, Any] | None:
        given = body.get("generationConfig", {})
        camel = {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): name for name in self.refuses[model]}
        for name in sorted(camel.keys() & given.keys()):
            message = (
                f"Invalid JSON payload received. Unknown name \"{name}\" at 'generation_config': Cannot find field."
            )
            return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
        return None

    def limit(self, body: dict[str, Any]) -> int | None:
        limit: int | None = body.get("generationConfig", {}).get("maxOutputTokens")
        return limit


class _ProviderHandler(JsonHandler):
    provider: ModelProvider

    def do_GET(self) -> None:  # noqa: N802  the name that http.server asks for
        parts = urlsplit(self.path)
        assert parts.path.endswith("/models"), self.path
        status = self.provider.list_status
        query = parse_qs(parts.query)
        document = self.provider.page_of_list(query) if status == 200 else self.provider.error(status, model="")
        self._json(status, document)

    def do_POST(self) -> None:  # noqa: N802  the name that http.server asks for
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        model, prompt, system = self.provider.read(self.path, body)
        asked = AskedOfProvider(model, prompt, system, body, headers, self.path)
        with self.provider.lock:
            self.provider.asked.append(asked)
        self.provider.under_way(1)
        try:
            self._answer(asked)
        finally:
            self.provider.under_way(-1)

    def _answer(self, asked: AskedOfProvider) -> None:
        provider, model = self.provider, asked.model
        status, document = self._refusal(asked)
        if document is not None:
            self._send(status, document)
            return
        fault = provider.fault_of(asked) or ProviderFault()
        if fault.hang:
            self._bill(asked, "")
            provider.closing.wait(60)
            self.close_connection = True
            return
        time.sleep(provider.seconds.get(model, 0.0))
        if fault.body is not None or fault.status != 200:
            self._fail(asked, fault)
            return
        refused = provider.refused(asked.body, model)
        if refused is not None:
            self._send(400, refused)
            return
        limit = provider.limit(asked.body)
        text = _cut(provider.answer(model, asked.prompt), limit)
        document = provider.document(provider.answered_as.get(model, model), text, self._bill(asked, text), limit)
        document.update({name: value for name, value in fault.changes.items() if name in document})
        self._send(200, document, fault)

    def _refusal(self, asked: AskedOfProvider) -> tuple[int, dict[str, Any] | None]:
        """What is refused before anything else: the key, and a model that is not known."""
        provider, model = self.provider, asked.model
        given = asked.headers.get(provider.key_header, "").removeprefix("Bearer ")
        if provider.key is not None and given != provider.key:
            return 401, provider.error(401, model=model)
        if provider.known is not None and model not in provider.known:
            return 404, provider.error(404, model=model)
        return 200, None

    def _fail(self, asked: AskedOfProvider, fault: ProviderFault) -> None:
        provider, status = self.provider, fault.status
        if fault.body == QUOTA:
            status = 400 if isinstance(provider, AnthropicProvider) else status
            self._send(status, provider.error(status, model=asked.model, what="quota"))
            return
        if fault.billed:
            self._bill(asked, "")
        self._send(status, provider.error(status, model=asked.model) if fault.body is None else fault.body, fault)

    def _bill(self, asked: AskedOfProvider, text: str) -> tuple[int, int]:
        tokens = (max(1, len(f"{asked.system} {asked.prompt}".split())), len(text.split()))
        with self.provider.lock:
            self.provider.billed[asked.model, "input"] += tokens[0]
            self.provider.billed[asked.model, "output"] += tokens[1]
        return tokens

    def _send(self, status: int, body: dict[str, Any] | bytes, fault: ProviderFault | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", **(fault.headers if fault is not None else {})}
        head = [
            f"HTTP/1.1 {status} {_REASONS.get(status, 'OK')}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        lines = "\r\n".join([*head, f"Content-Length: {len(data)}", "", ""]).encode()
        try:
            if fault is not None and fault.cut is not None:
                self.close_connection = True
                if fault.cut:
                    self.wfile.write(lines + data[: fault.cut])
                return
            if fault is not None and fault.drip is not None:
                self._drip(lines + data, fault.drip)
                return
            self.wfile.write(lines + data)  # one packet: two would wait for each other on loopback
        except OSError:
            self.close_connection = True

    def _drip(self, data: bytes, seconds: float) -> None:
        for place in range(len(data)):
            self.wfile.write(data[place : place + 1])
            if self.provider.closing.wait(seconds):
                return


_REASONS: Final = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests", 500: "Error"}


def _cut(text: str, limit: int | None) -> str:
    """The answer, cut to the limit of tokens; a word is a token."""
    words = text.split()
    return text if limit is None or len(words) <= limit else " ".join(words[:limit])


def text_in(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
