"""LiteLLM and the shadow: control's requests are offered when LiteLLM reports them, and asked again by our own calls.

The primary call is left as it is: its answer, or its stream, is LiteLLM's own object. What it answered comes from
LiteLLM's success callback, which has a stream's whole answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from killswitch.errors import BadSettings
from killswitch.router.integrations.litellm_calls import EndpointCall, deployments_of, retries_kept
from killswitch.router.outcomes import Outcome, outcome_of
from killswitch.router.refusals import failure_signal, refused
from killswitch.router.request import Shadows
from killswitch.router.route_types import Route

if TYPE_CHECKING:
    from killswitch.router.shadow.asking import Asking

_LOG = logging.getLogger(__name__)

# What a model is asked. Everything else of a LiteLLM call is the primary's: keys, tags, callbacks, fallbacks, spend.
_ASKED = frozenset(
    {
        *("messages", "input", "prompt", "instructions", "system", "suffix", "echo", "best_of", "modalities", "audio"),
        *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "web_search_options"),
        *(
            "response_format",
            "text",
            "text_format",
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "n",
            "seed",
            "prediction",
        ),
        *("stop", "stop_sequences", "max_tokens", "max_completion_tokens", "max_output_tokens", "max_tool_calls"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs"),
        *(
            "stream",
            "stream_options",
            "reasoning",
            "reasoning_effort",
            "thinking",
            "verbosity",
            "include",
            "truncation",
        ),
        *("service_tier", "store", "previous_response_id", "conversation", "background", "container", "mcp_servers"),
        *("context_management", "output_config", "extra_body"),
        # read so that the request is refused
        *("data_sources", "plugins", "search_parameters", "enable_search"),
        *("prompt_id", "prompt_variables", "vector_store_ids"),
    }
)
APIS: Mapping[str, str] = {
    **dict.fromkeys(("completion", "acompletion"), "chat"),
    **dict.fromkeys(("text_completion", "atext_completion"), "completions"),
    **dict.fromkeys(("responses", "aresponses"), "responses"),
    **dict.fromkeys(("anthropic_messages", "aanthropic_messages"), "messages"),
}
# Sync ones alone. LiteLLM logs on the event loop that called it last: a loop of the shadow's would take the service's
# callbacks over to itself.
_CALLS = {
    "chat": "completion",
    "completions": "text_completion",
    "responses": "responses",
    "messages": "anthropic_messages_handler",
}
_HOOKED = frozenset({"responses", "messages"})  # in these LiteLLM runs two hooks, whatever log it is given
# Requests that have begun, and what they keep. LiteLLM never reports a stream whose reader has left: the oldest go.
_MOST_PENDING, _MOST_PENDING_BYTES = 10_000, 64_000_000


class ShadowedCalls:
    """The calls of one rollout that are in the sample, from their beginning to LiteLLM's report."""

    def __init__(self, shadow: Shadows, rollout: str) -> None:
        self._shadow = shadow
        self._name = f"killswitch shadow {rollout}"  # in a request's metadata: which of `_pending` it is
        self._numbers = count(1)
        self._pending: dict[str, _PendingCall] = {}
        self._bytes = 0  # of those that are pending, and of those that have ended since they were last added up

    def begin(self, endpoint: str, call: EndpointCall, field: str, route: Route, user: object) -> str:
        """Note a call that is about to be made, if it is in the sample; its key, or "". Never raises.

        ``field``: where the call's metadata is.
        """
        try:
            return self._begin(endpoint, call, field, route, user)
        except Exception as error:  # noqa: BLE001  # no failure of a shadow reaches a user
            # not the exception's text: it may hold a prompt
            _LOG.error("shadow: a call could not be noted (%s)", type(error).__name__)
            return ""

    def _begin(self, endpoint: str, call: EndpointCall, field: str, route: Route, user: object) -> str:
        api = APIS.get(endpoint)
        metadata = call.named.get(field)
        if api is None or not isinstance(metadata, Mapping | None) or self._name in (metadata or {}):
            return ""
        of = metadata or {}
        asked = {name: value for name, value in call.arguments().items() if name in _ASKED}
        shadowed = self._shadow.begin(
            route,
            asked,
            api=api,
            user=user,
            request_id=str(call.named.get("litellm_call_id") or ""),
            prompt_class=str(of.get("prompt_class") or ""),
            side_effects=of["side_effects"] if isinstance(of.get("side_effects"), bool) else None,
        )
        if shadowed is None:
            return ""
        from killswitch.router.shadow.weights import of_all  # noqa: PLC0415  # loaded when used

        key = str(next(self._numbers))
        self._make_room(noted := _PendingCall(shadowed, route, of_all(asked)))
        self._pending[key] = noted
        call.named[field] = {**of, self._name: key}
        return key

    def _make_room(self, noted: _PendingCall) -> None:
        self._bytes += noted.size
        if self._bytes > _MOST_PENDING_BYTES:
            self._bytes = noted.size + sum(call.size for call in tuple(self._pending.values()))
        while len(self._pending) >= _MOST_PENDING or self._bytes > _MOST_PENDING_BYTES:
            oldest = next(iter(self._pending), None)
            if oldest is None:
                return
            self._bytes -= self._forget(oldest)

    def keep_apart(self, litellm_router: Any) -> None:
        """Let the shadow's own ask compare its API keys with those of production's deployments."""
        apart = getattr(getattr(self._shadow, "ask", None), "keep_apart", None)
        if apart is not None:
            parameters = (one.get("litellm_params") or {} for one in deployments_of(litellm_router))
            apart(*(SimpleNamespace(api_key=one.get("api_key")) for one in parameters))

    def returned(self, key: str) -> None:
        """The call has returned an answer, or a stream that may still break."""
        if (call := self._pending.get(key)) is not None:
            call.returned = True

    def failed(self, key: str, error: BaseException) -> None:
        """The call has raised: no attempt and no fallback succeeded."""
        if (call := self._pending.pop(key, None)) is not None:
            call.shadowed.ended(outcome_of(error), 0.0, error)

    def broke(self, event: Mapping[str, Any]) -> None:
        """LiteLLM reports an attempt that failed. It is the last one if the call has returned: a stream broke off."""
        key, _ = self._noted(event)
        call, error = self._pending.get(key), event.get("exception")
        if call is not None and call.returned:
            self.failed(key, error if isinstance(error, BaseException) else RuntimeError("the stream broke off"))

    def succeeded(self, event: Mapping[str, Any], answer: Any, start: datetime, end: datetime) -> None:
        """LiteLLM reports an attempt that succeeded; of a stream at its end, with the whole answer."""
        key, metadata = self._noted(event)
        call = self._pending.pop(key, None)
        if call is None:
            return
        shadowed = call.shadowed
        group = metadata.get("deployment_model_name") or metadata.get("model_group")
        if group != call.route.model or event.get("cache_hit"):  # a fallback's answer, or one of another time
            shadowed.leave("not_comparable")
            return
        shadowed.answer = answer
        shadowed.headers = (getattr(answer, "_hidden_params", None) or {}).get("additional_headers")
        first = event.get("completion_start_time")
        if event.get("stream") and isinstance(first, datetime):
            shadowed.first_token_seconds = (first - start).total_seconds()
        refusal = refused(answer) is not None
        outcome = Outcome.ERROR if failure_signal(answer) else Outcome.REFUSED if refusal else Outcome.OK
        shadowed.ended(outcome, (end - start).total_seconds(), None)

    def _noted(self, event: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """The key of the call that an event is about, and the metadata it stands in."""
        parameters = event.get("litellm_params") or {}
        for metadata in (parameters.get("metadata"), parameters.get("litellm_metadata")):
            if isinstance(metadata, Mapping) and isinstance(key := metadata.get(self._name), str):
                return key, metadata
        return "", {}

    def _forget(self, key: str) -> int:
        """How many bytes it kept."""
        call = self._pending.pop(key, None)
        if call is None:  # it was reported meanwhile
            return 0
        call.shadowed.leave("not_comparable")
        return call.size


class _PendingCall:
    """A call in the sample that LiteLLM has not reported yet. ``returned``: its caller has its answer or stream.

    ``size``: about how many bytes its request keeps.
    """

    __slots__ = ("returned", "route", "shadowed", "size")

    def __init__(self, shadowed: Any, route: Route, size: int) -> None:
        self.shadowed = shadowed
        self.route = route
        self.size = size
        self.returned = False


class LiteLLMAsk:
    """Asks by LiteLLM, with deployments of the shadow's own: `killswitch.router.integrations.litellm.shadow_ask`."""

    def __init__(self, deployments: Mapping[str, Mapping[str, Any]]) -> None:
        if not isinstance(deployments, Mapping):
            problem = (
                f"shadow: shadow_ask() was given a {type(deployments).__name__}; give it {{model: litellm_params}}, "
                "with an api_key of its own. A litellm.Router of this process is kept from the canary by the switch"
            )
            raise BadSettings([problem])
        self._deployments = deployments
        self.shares_key = False
        self._warned: set[str] = set()

    def __call__(self, asking: Asking) -> Any:
        """LiteLLM's answer, or its stream. Raises what LiteLLM raises, and `NotComparable` for what it cannot ask."""
        import litellm  # noqa: PLC0415  # see `killswitch.router.integrations.litellm`
        from litellm.types.router import RetryPolicy  # noqa: PLC0415  # as above

        call = getattr(litellm, _CALLS.get(asking.api, ""), None)
        if call is None:
            self._refuse(f"LiteLLM has no synchronous call for {asking.api}")
        parameters = self._deployments.get(asking.model)
        if parameters is None:
            self._refuse(f"shadow_ask() was given no litellm_params for {asking.model!r}")
        arguments = {
            **asking.request,
            # LiteLLM may ask for messages by the Responses API, which stores by default
            **({"store": False} if asking.api == "messages" else {}),
            **parameters,
            "timeout": asking.timeout,
            "num_retries": 0,
            "max_retries": 0,
            # LiteLLM takes a number of 0 for none given, and then retries as often as `litellm.num_retries` says
            "retry_policy": RetryPolicy(),
            "cache": {
                "no-cache": True,
                "no-store": True,
            },  # the floor is noise between two answers, not one answer twice
            "no-log": True,  # the service's callbacks and spend logs are of production
        }
        from killswitch.router.integrations.litellm_silent import hook_that_runs, silent_log  # noqa: PLC0415  # as above

        if asking.api in _HOOKED and (hook := hook_that_runs()):
            self._refuse(f"LiteLLM would run {hook} of the service; ask {asking.api} by the provider's own client")
        said = asking.request.get("messages")
        arguments["litellm_logging_obj"] = silent_log(asking.model, said, _CALLS[asking.api], streamed=asking.streamed)
        try:
            with retries_kept():
                return call(**arguments)
        except ValueError as error:
            if "not implemented for sync" not in str(error):
                raise
            self._refuse(
                f"LiteLLM has no synchronous messages for {asking.model!r}; ask them by Anthropic's own client"
            )

    def keep_apart(self, *production: Any) -> None:
        """Warn if a client of production's, or a deployment, has an ``api_key`` of the shadow's."""
        from killswitch.router.shadow.client_ask import keys_of, warn_of_shared_key  # noqa: PLC0415  # loaded when used

        ours = {parameters.get("api_key") for parameters in self._deployments.values()}
        if ours & keys_of(production) and not self.shares_key:
            self.shares_key = True
            warn_of_shared_key()

    def _refuse(self, problem: str) -> NoReturn:
        """Raise `NotComparable`, and log each problem once: a mistake of the settings is no error of the canary."""
        from killswitch.router.shadow.comparable import NotComparable  # noqa: PLC0415  # loaded when used

        if problem not in self._warned:
            self._warned.add(problem)
            _LOG.warning("shadow: %s; such requests are not asked", problem)
        raise NotComparable(problem)
