"""LiteLLM: one object that steers a `litellm.Router` (or the proxy's) by the flag, and counts every attempt.

::

    switch = LiteLLMSwitch(router, metrics, canary="model-new")
    litellm_router = switch.install(litellm.Router(model_list=[…], fallbacks=[…]))
    await litellm_router.acompletion(model="support-copilot", user=user_id, messages=[…])

The flag's model names are LiteLLM's model groups (``model_name`` in ``model_list``). Clients ask for the
rollout by its name (``alias``) and get the group of their route. One rule holds for *every* way LiteLLM has to pick a
deployment, fallback lists, default fallbacks, retries, aliases and direct requests included: **a
deployment of the canary serves only a request whose user routes to the canary now**; everything else goes
to control. It is enforced where LiteLLM picks: around its four selection methods, and again on the list
of deployments they choose from. In the proxy, name the object under ``litellm_settings: callbacks``.

The user is ``metadata.routing_key``, else ``user``, else the proxy's end user; without one: control.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from killswitch.errors import Refused
from killswitch.model import Cohort
from killswitch.router.integrations import needs
from killswitch.router.metrics import CohortMetrics
from killswitch.router.outcomes import Outcome, outcome_of
from killswitch.router.refusals import completion_tokens, refused
from killswitch.router.router import Router
from killswitch.router.routing import Route

with needs("LiteLLM", "litellm"):
    from litellm.integrations.custom_logger import CustomLogger

_SELECTORS = (
    "get_available_deployment",
    "async_get_available_deployment",
    "get_available_deployment_for_pass_through",
    "async_get_available_deployment_for_pass_through",
)
_INSTALLED = "_killswitch_switches"


class CanaryRefused(Refused):
    """LiteLLM was about to send a control user to the canary, and has no deployment of control to offer."""


def user_of(request: Mapping[str, Any]) -> object:
    """The routing key of a LiteLLM request (its keyword arguments, or the proxy's body)."""
    for name in ("metadata", "litellm_metadata"):
        metadata = request.get(name)
        if isinstance(metadata, Mapping) and metadata.get("routing_key"):
            return metadata["routing_key"]
    if request.get("user"):
        return request["user"]
    for name in ("metadata", "litellm_metadata"):
        metadata = request.get(name)
        if isinstance(metadata, Mapping) and metadata.get("user_api_key_end_user_id"):
            return metadata["user_api_key_end_user_id"]
    return None


class LiteLLMSwitch(CustomLogger):  # type: ignore[misc]  # litellm is untyped here
    """Steers and counts one rollout.

    ``canary``: every name under which LiteLLM can reach the canary: its model groups, and where deployments of
    it stand in mixed groups, their ``litellm_params.model`` or ``model_info.id``. ``alias``: what clients
    ask for, by default the rollout's name. ``routing_key``: the user of a request.
    """

    def __init__(
        self,
        router: Router,
        metrics: CohortMetrics | None = None,
        *,
        canary: str | Collection[str],
        alias: str | None = None,
        routing_key: Callable[[Mapping[str, Any]], object] = user_of,
    ) -> None:
        super().__init__()
        # LiteLLM takes two loggers of one class with equal public attributes for the same, and drops the second
        self.rollout = router.rollout
        self._note_name = f"killswitch {router.rollout}"  # in a request's metadata: what was decided before its outcome
        self._router = router
        self._metrics = metrics
        self._canary = frozenset([canary] if isinstance(canary, str) else canary)
        self._alias = alias if alias is not None else router.rollout
        self._routing_key = routing_key

    # --- steering

    def install(self, litellm_router: Any) -> Any:
        """Guard every way ``litellm_router`` picks a deployment, and listen to it; the same router. Twice is once."""
        import litellm  # noqa: PLC0415  # the package is half loaded while the proxy imports its callbacks

        installed: tuple[LiteLLMSwitch, ...] = getattr(litellm_router, _INSTALLED, ())
        if not any(switch is self for switch in installed):
            for name in _SELECTORS:
                selector = getattr(litellm_router, name, None)
                if selector is not None:
                    setattr(litellm_router, name, self._guarded(selector))
            # the alias is a group LiteLLM knows, so that a switch that failed to load means control
            aliases = litellm_router.model_group_alias or {}
            aliases.setdefault(self._alias, self._router.routes()[0].model)
            litellm_router.model_group_alias = aliases
            setattr(litellm_router, _INSTALLED, (*installed, self))
        if not any(callback is self for callback in litellm.callbacks):
            litellm.callbacks.append(self)
        return litellm_router

    def _guarded(self, selector: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(selector)

        def steered(arguments: inspect.BoundArguments) -> Route:
            request = arguments.arguments.get("request_kwargs") or {}
            route = self._route(request)
            asked = arguments.arguments["model"]
            if asked == self._alias or self._names_canary(asked):
                arguments.arguments.update(model=self._group(asked, route), specific_deployment=False)
                self._note(request, route)
            return route

        def to_control(arguments: inspect.BoundArguments, route: Route) -> None:
            arguments.arguments.update(model=route.model, specific_deployment=False)

        if inspect.iscoroutinefunction(selector):

            @functools.wraps(selector)
            async def select_async(*positional: Any, **named: Any) -> Any:
                arguments = signature.bind(*positional, **named)
                route = steered(arguments)
                deployment = await selector(*arguments.args, **arguments.kwargs)
                if not self._allowed(deployment, route):
                    to_control(arguments, route)
                    deployment = self._checked(await selector(*arguments.args, **arguments.kwargs), route)
                return deployment

            return select_async

        @functools.wraps(selector)
        def select(*positional: Any, **named: Any) -> Any:
            arguments = signature.bind(*positional, **named)
            route = steered(arguments)
            deployment = selector(*arguments.args, **arguments.kwargs)
            if not self._allowed(deployment, route):
                to_control(arguments, route)
                deployment = self._checked(selector(*arguments.args, **arguments.kwargs), route)
            return deployment

        return select

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """The proxy's hook, before it routes: names the group of the user's route and guards the proxy's router."""
        del user_api_key_dict, cache, call_type
        from litellm.proxy.proxy_server import llm_router  # noqa: PLC0415  # made after its callbacks are loaded

        if llm_router is not None:
            self.install(llm_router)
        if isinstance(data.get("model"), str):
            data["model"] = self._group(data["model"], self._route(data))
        return data

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[dict[str, Any]],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[dict[str, Any]]:
        """The canary's deployments leave the list unless the user routes to the canary."""
        del model, messages, parent_otel_span
        route = self._route(request_kwargs or {})
        return [deployment for deployment in healthy_deployments if self._allowed(deployment, route)]

    def _route(self, request: Mapping[str, Any]) -> Route:
        try:
            user = self._routing_key(request)
        except Exception:  # noqa: BLE001  # a request of an unforeseen shape
            user = None
        return self._router.route(user)

    def _group(self, asked: str, route: Route) -> str:
        """The model group to pick from: the route's for the rollout and for the canary, else what was asked for."""
        if asked == self._alias or self._names_canary(asked):
            return route.model or asked
        return asked

    def _names_canary(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._canary or name.rpartition("/")[2] in self._canary)

    def _is_canary(self, deployment: object) -> bool:
        if not isinstance(deployment, Mapping):
            return False
        parameters, info = deployment.get("litellm_params") or {}, deployment.get("model_info") or {}
        names = (deployment.get("model_name"), parameters.get("model"), info.get("id"))
        return any(self._names_canary(name) for name in names)

    def _allowed(self, deployment: object, route: Route) -> bool:
        return route.cohort is Cohort.CANARY or not self._is_canary(deployment)

    def _checked(self, deployment: Any, route: Route) -> Any:
        if self._allowed(deployment, route):
            return deployment
        raise CanaryRefused(
            f"{self._router.rollout}: model group {route.model!r} holds a deployment of the canary alone; "
            "give control a model group of its own in model_list"
        )

    # --- counting

    def _note(self, request: Any, route: Route) -> None:
        """Decide before the outcome whether this request is judged; its retries and fallbacks keep the decision."""
        if self._metrics is None or not isinstance(request, dict):
            return
        metadata = request.setdefault("litellm_metadata" if "litellm_metadata" in request else "metadata", {})
        if isinstance(metadata, dict) and self._note_name not in metadata:
            judged = self._metrics.request(route, user=self._hashable_user(request)).judged
            metadata[self._note_name] = {"judged": judged, "cohort": route.cohort.value}

    def _hashable_user(self, request: Mapping[str, Any]) -> str | None:
        user = self._routing_key(request)
        return None if user is None else str(user)

    def _count(self, event: Mapping[str, Any], answer: object, start: datetime, end: datetime) -> None:
        """Count one attempt on the cohort the request was routed to; an attempt of a fallback elsewhere is not ours."""
        parameters = event.get("litellm_params") or {}
        metadata = parameters.get("metadata") or parameters.get("litellm_metadata") or {}
        note = metadata.get(self._note_name)
        if self._metrics is None or not isinstance(note, dict):
            return
        group = metadata.get("deployment_model_name") or metadata.get("model_group")
        route = next((route for route in self._known_routes() if route.model == group), None)
        if route is None or route.cohort.value != note.get("cohort"):
            return
        error = event.get("exception")
        refusal = refused(answer, self._metrics.phrases) is not None
        outcome = Outcome.REFUSED if refusal else Outcome.OK
        if isinstance(error, BaseException):
            outcome = outcome_of(error)
        judged, note["judged"] = bool(note.get("judged")), False  # the first attempt alone is judged
        self._metrics.count_request(
            route,
            outcome,
            (end - start).total_seconds(),
            judged=judged,
            refused=outcome is Outcome.REFUSED or refusal,
            tokens=completion_tokens(answer) or 0,
        )

    def _known_routes(self) -> tuple[Route, ...]:
        """Today's routes, and the canary's when it was tripped while this attempt ran."""
        routes = self._router.routes()
        if len(routes) > 1:
            return routes
        control = routes[0]
        return (control, *(control._replace(cohort=Cohort.CANARY, model=name) for name in self._canary))

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._count(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._count(kwargs, response_obj, start_time, end_time)

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._count(kwargs, response_obj, start_time, end_time)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._count(kwargs, response_obj, start_time, end_time)
