"""LiteLLM: one object that steers a `litellm.Router` (or the proxy's) by the flag, and counts every attempt.

::

    switch = LiteLLMSwitch(router, metrics, canary="model-new")
    litellm_router = switch.install(litellm.Router(model_list=[…], fallbacks=[…]))
    await litellm_router.acompletion(model="support-copilot", user=user_id, messages=[…])

The flag's model names are LiteLLM's model groups (``model_name`` in ``model_list``). Clients ask for the
rollout by its name (``alias``) and get the group of their route. One rule holds for *every* way LiteLLM has to pick a
deployment, fallback lists, default fallbacks, retries, aliases and direct requests included: **a
deployment of the canary serves only a request whose user routes to the canary now**; everything else goes
to control. A request is steered where it enters the router, and checked by LiteLLM's own hooks where a deployment
is picked and before it is called. `install` first proves that the installed LiteLLM asks these hooks, through each
endpoint, and raises `GuardNotReached` otherwise. In the proxy, name the object under ``litellm_settings: callbacks``.

The user is ``metadata.routing_key``, else ``user``, else the proxy's end user; without one: control.

With ``shadow=`` control's requests are asked of the canary as well, unseen, in stage ``shadow``. A request's metadata
may name its ``prompt_class``, and say ``side_effects: false`` where its tools only read.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from killswitch.model import Cohort
from killswitch.router.counting import CohortMetrics
from killswitch.router.integrations import needs
from killswitch.router.integrations.litellm_calls import (
    ENDPOINTS,
    GUARD_MARK,
    PLAIN_METADATA,
    SELECTORS,
    CanaryRefused,
    EndpointCall,
    add_alias,
    deployments_of,
    keep_fallbacks,
    overridable,
    user_of,
)
from killswitch.router.integrations.litellm_counting import AttemptCounter
from killswitch.router.integrations.litellm_proof import CANARY, CANARY_ID, CONTROL, Attempt, GuardNotReached, prove
from killswitch.router.integrations.litellm_shadow import LiteLLMAsk, ShadowedCalls
from killswitch.router.request import Shadows
from killswitch.router.route_types import Route
from killswitch.router.router import Router

with needs("LiteLLM", "litellm>=1.80,<2"):
    from litellm.integrations.custom_logger import CustomLogger

_INSTALLED = "_killswitch_switches"


def shadow_ask(deployments: Mapping[str, Mapping[str, Any]]) -> LiteLLMAsk:
    """What `Shadow` asks by: LiteLLM, with deployments of the shadow's own.

    ``deployments``: the ``litellm_params`` (``model``, ``api_key``, ``api_base`` …) of each of the flag's models. The
    calls go through no router, no callback and no cache. Raises BadSettings for anything else, such as a router.
    """
    return LiteLLMAsk(deployments)


class _Request:
    """One request on its way through LiteLLM: whose it is, and what the guard has seen of it."""

    __slots__ = ("control_tried", "proof", "refused", "shadowed", "user")

    def __init__(self, user: object, proof: Attempt | None = None) -> None:
        self.user = user
        self.shadowed = ""  # its key in `ShadowedCalls`
        self.proof = proof
        self.refused = False
        self.control_tried = False


class LiteLLMSwitch(CustomLogger):  # type: ignore[misc]  # litellm is untyped here
    """Steers and counts one rollout.

    ``canary``: every name under which LiteLLM can reach the canary: its model groups, and, for its
    deployments in mixed groups, their ``litellm_params.model`` or ``model_info.id``. ``alias``: what clients ask for,
    by default the rollout's name. ``routing_key``: the user of a request. ``shadow``: a
    `killswitch.router.shadow.mirror.Shadow`, or None.
    """

    def __init__(
        self,
        router: Router,
        metrics: CohortMetrics | None = None,
        *,
        canary: str | Collection[str],
        alias: str | None = None,
        routing_key: Callable[[Mapping[str, Any]], object] = user_of,
        shadow: Shadows | None = None,
    ) -> None:
        super().__init__()
        # LiteLLM takes two loggers of one class with equal public attributes for the same, and drops the second
        self.rollout = router.rollout
        self._router = router
        self._canary = frozenset([canary] if isinstance(canary, str) else canary) | {CANARY, CANARY_ID}
        self._alias = alias if alias is not None else router.rollout
        self._routing_key = routing_key
        self._counter = AttemptCounter(router, metrics, self._canary, self._user)
        self._shadowed = None if shadow is None else ShadowedCalls(shadow, router.rollout)
        self._installing = threading.Lock()
        # The group that the proxy's hook has named in this task, and for which call.
        self._named: ContextVar[tuple[str, object] | None] = ContextVar(
            f"killswitch {router.rollout} proxy", default=None
        )
        # The request of this task or thread; None if LiteLLM picks outside of one.
        self._current: ContextVar[_Request | None] = ContextVar(f"killswitch {router.rollout}", default=None)

    # --- steering

    def install(self, litellm_router: Any) -> Any:
        """Guard every way into ``litellm_router``, and listen to it; the same router. Twice is once.

        Raises `GuardNotReached` where the installed LiteLLM calls a model without asking the guard: nothing is
        installed then. Asked of every new router, so a changed LiteLLM is asked again.
        """
        import litellm  # noqa: PLC0415  # the package is half loaded while the proxy imports its callbacks

        with self._installing:
            installed: tuple[LiteLLMSwitch, ...] = getattr(litellm_router, _INSTALLED, ())
            listening = any(callback is self for callback in litellm.callbacks)
            if not listening:
                litellm.callbacks.append(self)
            if not any(switch is self for switch in installed):
                try:
                    prove(self)
                except BaseException:
                    if not listening:
                        litellm.callbacks.remove(self)
                    raise
                self.guard_picks(litellm_router)
                self.guard_entries(litellm_router)
                # the alias is a group LiteLLM knows, so that a switch that failed to load means control
                add_alias(litellm_router, self._alias, self._router.routes()[0].model)
                setattr(litellm_router, _INSTALLED, (*installed, self))
                if self._shadowed is not None:
                    self._shadowed.keep_apart(litellm_router)
        return litellm_router

    @contextmanager
    def proving(self, attempt: Attempt) -> Iterator[None]:
        """`litellm_proof` asks in this context."""
        token = self._current.set(_Request(None, attempt))
        try:
            yield
        finally:
            self._current.reset(token)

    # 1. where a request comes in: it asks for the group of its user's route

    def guard_entries(self, litellm_router: Any) -> None:
        for name in ENDPOINTS:
            self._guard_entry(litellm_router, name)

    def _guard_entry(self, litellm_router: Any, name: str) -> None:
        endpoint = getattr(litellm_router, name, None)
        if not callable(endpoint):
            return
        position = ENDPOINTS[name]
        names: list[str] = []
        try:
            names = list(inspect.signature(endpoint).parameters)
            position = names.index("model") if "model" in names else position
        except (TypeError, ValueError):
            pass
        if inspect.iscoroutinefunction(endpoint):

            @functools.wraps(endpoint)
            async def entered(*positional: Any, **named: Any) -> Any:
                call = EndpointCall(endpoint, position, positional, named, names)
                return await self._await(call, self._steer(litellm_router, call, name))

        else:

            @functools.wraps(endpoint)
            def entered(*positional: Any, **named: Any) -> Any:
                call = EndpointCall(endpoint, position, positional, named, names)
                request = self._steer(litellm_router, call, name)
                answer = self._call(call, request)
                return self._await(call, request, answer) if inspect.isawaitable(answer) else answer

        setattr(litellm_router, name, entered)
        if getattr(litellm_router, name) is not entered:
            raise GuardNotReached(f"LiteLLM's router keeps its own {name}(): its requests cannot be steered")

    def _steer(self, litellm_router: Any, call: EndpointCall, endpoint: str) -> _Request:
        outer = self._current.get()
        request = _Request(self._user(call.named), None if outer is None else outer.proof)
        asked = call.model
        if asked == self._alias or self._names_canary(asked) or self._identifies_canary(litellm_router, asked):
            route = self._router.route(request.user)
            call.model = route.model or asked
            keep_fallbacks(litellm_router, call.named, asked, call.model)
            if request.proof is not None:
                call.model, request.proof.refused = CONTROL, True
            call.named.pop("specific_deployment", None)
            self._note(call, endpoint, request, route)
        elif (asked, call.named.get("litellm_call_id")) == self._named.get():
            self._note(call, endpoint, request, self._router.route(request.user))
        return request

    def _note(self, call: EndpointCall, endpoint: str, request: _Request, route: Route) -> None:
        field = "metadata" if endpoint in PLAIN_METADATA else "litellm_metadata"
        self._counter.note(call.named, route, field)
        if self._shadowed is not None and request.proof is None:
            request.shadowed = self._shadowed.begin(endpoint, call, field, route, request.user)

    @contextmanager
    def _serving(self, request: _Request) -> Iterator[None]:
        """What LiteLLM picks in this context, it picks for ``request``."""
        token = self._current.set(request)
        try:
            yield
        except BaseException as error:
            if self._shadowed is not None:
                self._shadowed.failed(request.shadowed, error)
            raise
        else:
            if self._shadowed is not None:
                self._shadowed.returned(request.shadowed)
        finally:
            self._current.reset(token)

    def _call(self, call: EndpointCall, request: _Request) -> Any:
        with self._serving(request):
            try:
                return call()
            except Exception as error:
                if not self._may_ask_control(call, request):
                    raise
                try:
                    return call()
                except Exception as again:  # noqa: BLE001  # raised again, with what to do about it
                    self._raise(request, again, error)

    async def _await(self, call: EndpointCall, request: _Request, started: Any = None) -> Any:
        with self._serving(request):
            try:
                return await (call() if started is None else started)
            except Exception as error:
                if not self._may_ask_control(call, request):
                    raise
                try:
                    return await call()
                except Exception as again:  # noqa: BLE001  # raised again, with what to do about it
                    self._raise(request, again, error)

    def _may_ask_control(self, call: EndpointCall, request: _Request) -> bool:
        """Where the guard kept a request from the canary and control was not asked yet, ``call`` becomes control's."""
        if not request.refused or request.control_tried:
            return False
        request.refused = False
        call.model = self._router.routes()[0].model
        call.named.pop("specific_deployment", None)
        return True

    def _raise(self, request: _Request, again: Exception, first: Exception) -> NoReturn:
        if not request.refused or request.control_tried:
            raise again from first
        raise CanaryRefused(
            f"{self._router.rollout}: model group {self._router.routes()[0].model!r} holds a deployment of the canary "
            "alone; give control a model group of its own in model_list"
        ) from first

    # 2. where LiteLLM picks a deployment, and before it calls one: the hooks that it offers for this

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[dict[str, Any]],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[dict[str, Any]]:
        """LiteLLM's hook on the list it picks from: the canary's leave it unless the user routes to the canary."""
        del model, messages, parent_otel_span
        if self._current.get() is None:  # a pick after the call returned, such as a broken stream's fallback
            self._current.set(_Request(self._user(request_kwargs or {})))
        allowed = [deployment for deployment in healthy_deployments if self._allowed(deployment)]
        if healthy_deployments and not allowed:
            raise self._refused(healthy_deployments[0])
        return allowed

    async def async_pre_call_check(self, deployment: dict[str, Any], parent_otel_span: Any) -> None:
        """LiteLLM's hook before an async call of a deployment, also of one that was named by its id."""
        del parent_otel_span
        self.pre_call_check(deployment)

    def pre_call_check(self, deployment: dict[str, Any]) -> None:
        """LiteLLM's hook before a call of a deployment: the only one that its sync calls reach."""
        if not self._allowed(deployment):
            raise self._refused(deployment)
        request = self._current.get()
        if request is not None and not self._is_canary(deployment):
            request.control_tried = True

    def guard_picks(self, litellm_router: Any) -> None:
        """Calls that reach none of these hooks, such as sync text completions, pick by a method: it is checked."""
        for name in SELECTORS:
            selector = getattr(litellm_router, name, None)
            if selector is not None and overridable(selector, name):
                setattr(litellm_router, name, self._checked(selector))

    def _checked(self, selector: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(selector):

            @functools.wraps(selector)
            async def select_async(*positional: Any, **named: Any) -> Any:
                return self._checked_pick(await selector(*positional, **named))

            setattr(select_async, GUARD_MARK, True)
            return select_async

        @functools.wraps(selector)
        def select(*positional: Any, **named: Any) -> Any:
            return self._checked_pick(selector(*positional, **named))

        setattr(select, GUARD_MARK, True)
        return select

    def _checked_pick(self, deployment: Any) -> Any:
        if not self._allowed(deployment):
            raise self._refused(deployment)
        return deployment

    def _allowed(self, deployment: object) -> bool:
        """Whether the request of this context may be served by ``deployment``; one that we do not know may not."""
        if not self._is_canary(deployment):
            return True
        request = self._current.get()
        if request is None:
            return False
        allowed = request.proof is None and self._router.route(request.user).cohort is Cohort.CANARY
        if not allowed:
            request.refused = True
            if request.proof is not None:
                request.proof.refused = True
        return allowed

    def _refused(self, deployment: object) -> CanaryRefused:
        name = deployment.get("model_name") if isinstance(deployment, Mapping) else None
        return CanaryRefused(f"{self._router.rollout}: this user routes to control, {name!r} is the canary's")

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """The proxy's hook, before it routes: names the group of the user's route and guards the proxy's router."""
        del user_api_key_dict, cache, call_type
        from litellm.proxy.proxy_server import llm_router  # noqa: PLC0415  # made after its callbacks are loaded

        if llm_router is not None and not any(one is self for one in getattr(llm_router, _INSTALLED, ())):
            await asyncio.to_thread(self.install, llm_router)
        if isinstance(asked := data.get("model"), str):
            data["model"] = group = self._group(asked, self._router.route(self._user(data)))
            if group != asked:  # the router is asked for the group, and does not see that it was for this rollout
                self._named.set((group, data.get("litellm_call_id")))
        return data

    def _user(self, request: Mapping[str, Any]) -> object:
        try:
            return self._routing_key(request)
        except Exception:  # noqa: BLE001  # a request of an unknown shape
            return None

    def _group(self, asked: str, route: Route) -> str:
        """The model group to pick from: the route's for the rollout and for the canary, else what was asked for."""
        if asked == self._alias or self._names_canary(asked):
            return route.model or asked
        return asked

    def _names_canary(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._canary or name.rpartition("/")[2] in self._canary)

    def _identifies_canary(self, litellm_router: Any, asked: object) -> bool:
        """Whether ``asked`` is the id of a deployment of the canary."""
        found = deployments_of(litellm_router)
        return any((one.get("model_info") or {}).get("id") == asked and self._is_canary(one) for one in found)

    def _is_canary(self, deployment: object) -> bool:
        if not isinstance(deployment, Mapping):
            return False
        parameters, info = deployment.get("litellm_params") or {}, deployment.get("model_info") or {}
        names = (deployment.get("model_name"), parameters.get("model"), info.get("id"))
        return any(self._names_canary(name) for name in names)

    # --- counting

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._counter.count(kwargs, response_obj, start_time, end_time)
        if self._shadowed is not None:
            self._shadowed.succeeded(kwargs, response_obj, start_time, end_time)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._counter.count(kwargs, response_obj, start_time, end_time)
        if self._shadowed is not None:
            self._shadowed.broke(kwargs)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.log_failure_event(kwargs, response_obj, start_time, end_time)
