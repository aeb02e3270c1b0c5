"""An OpenFeature provider: the rollout is a flag, evaluated in the process, by the same snapshot as `Router`.

::

    api.set_provider(KillswitchProvider(router))
    client = api.get_client()
    model = client.get_string_value("support-copilot", "model-old", EvaluationContext(targeting_key=user_id))

The flag's key is the rollout's name. As a string its value is the model's name, as a boolean whether the canary's
model serves the user (in stage ``aa`` it serves no user), as an object ``{"cohort", "model", "generation"}``; numbers
are a TYPE_MISMATCH. Variants are ``control`` and ``canary``. Reasons are those of `RouteReason`. Nothing throws: an
unknown flag or a number is the caller's default with an error code, as is every flag before a provider is set; so let
the default name control. A context without a ``targeting_key`` is control, with the reason ERROR. A context attribute
``cohort`` pins.

Events: READY once the flag was read, CONFIGURATION_CHANGED when what is obeyed changes, STALE when the store
or every controller has been out of reach for too long, ERROR when the document cannot be understood or the store
was not reached at start. While ERROR or STALE, flags still resolve: to control.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from killswitch.model import Cohort
from killswitch.router.integrations import needs
from killswitch.router.route_types import Route, RouteReason
from killswitch.router.router import Router

with needs("OpenFeature", "openfeature-sdk>=0.8,<1"):
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.event import ProviderEventDetails
    from openfeature.exception import ErrorCode, GeneralError
    from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
    from openfeature.provider import AbstractProvider, Metadata

Value = TypeVar("Value")
PIN = "cohort"  # the context attribute that pins a session


class KillswitchProvider(AbstractProvider):
    """Serves the rollouts of ``routers`` as flags. Starting waits up to ``start_timeout`` seconds for the first
    read of each, then goes on without it.
    """

    def __init__(self, *routers: Router, start_timeout: float = 2.0) -> None:
        super().__init__()
        self._routers = {router.rollout: router for router in routers}
        self._start_timeout = start_timeout
        self._told: dict[str, _State] = {}

    def get_metadata(self) -> Metadata:
        return Metadata(name="killswitch")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Raises GeneralError, which the SDK makes an ERROR event, while a flag cannot be read or understood."""
        del evaluation_context
        for router in self._routers.values():
            router.on_change(self._on_change)
            router.wait_until_read(self._start_timeout)
        self._told = {rollout: _state(router) for rollout, router in self._routers.items()}
        troubled = [_sentence(self._routers[rollout]) for rollout, state in self._told.items() if state.trouble]
        if troubled:
            raise GeneralError("; ".join(troubled))

    def shutdown(self) -> None:
        for router in self._routers.values():
            router.close()

    # --- events

    def _on_change(self) -> None:
        for rollout, router in self._routers.items():
            before, after = self._told.get(rollout), _state(router)
            if before is None or before == after:
                continue
            self._told[rollout] = after
            details = ProviderEventDetails(flags_changed=[rollout], message=_sentence(router))
            if after.trouble == RouteReason.STALE:
                self.emit_provider_stale(details)
            elif after.trouble is not None:
                details.error_code = ErrorCode.PARSE_ERROR
                self.emit_provider_error(details)
            else:
                if before.trouble is not None and not any(state.trouble for state in self._told.values()):
                    self.emit_provider_ready(details)
                self.emit_provider_configuration_changed(details)

    # --- values

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001  # the SDK's signature
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        router = self._routers.get(flag_key)
        control = router.routes()[0].model if router is not None else ""
        return self._resolve(
            flag_key,
            default_value,
            evaluation_context,
            lambda route: route.cohort is Cohort.CANARY and route.model != control,
        )

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        return self._resolve(flag_key, default_value, evaluation_context, lambda route: route.model or default_value)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        return self._resolve(
            flag_key,
            default_value,
            evaluation_context,
            lambda route: {"cohort": route.cohort.value, "model": route.model, "generation": route.generation},
        )

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        del evaluation_context
        return self._no_number(flag_key, default_value)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        del evaluation_context
        return self._no_number(flag_key, default_value)

    def _resolve(
        self,
        flag_key: str,
        default: Value,
        context: EvaluationContext | None,
        value: Callable[[Route], Value],
    ) -> FlagResolutionDetails[Value]:
        router = self._routers.get(flag_key)
        if router is None:
            known = ", ".join(sorted(self._routers)) or "none"
            message = f"no rollout is called {flag_key!r}; known: {known}"
            return _error(default, ErrorCode.FLAG_NOT_FOUND, message)
        user = None if context is None else context.targeting_key
        pin = context.attributes.get(PIN) if context is not None and user is not None else None
        route = router.route(user, pin)
        missing = None if user is not None else f"{flag_key}: set the context's targeting_key to the user's routing key"
        # A request without a key is control's, as in `Router`: the caller's default might name the canary.
        # A document that cannot be understood, too, has the reason ERROR and no error code: with one, the SDK
        # would answer the caller's default instead of control.
        return FlagResolutionDetails(
            value=value(route),
            variant=route.cohort.value,
            reason=str(route.reason if missing is None else RouteReason.ERROR),
            error_message=missing,
            flag_metadata={"model": route.model, "generation": route.generation, "revision": route.revision},
        )

    def _no_number(self, flag_key: str, default: Value) -> FlagResolutionDetails[Value]:
        if flag_key not in self._routers:
            return _error(default, ErrorCode.FLAG_NOT_FOUND, f"no rollout is called {flag_key!r}")
        message = f"{flag_key}: a rollout is a string, a boolean or an object, not a number"
        return _error(default, ErrorCode.TYPE_MISMATCH, message)


class _State(NamedTuple):
    """What is wrong, if anything, and what can be given."""

    trouble: str | None
    routes: tuple[Route, ...]


def _state(router: Router) -> _State:
    routes = router.routes()
    reason = routes[0].reason
    if not router.wait_until_read(0.0):
        return _State("unread", routes)
    return _State(reason if reason in (RouteReason.STALE, RouteReason.ERROR) else None, routes)


def _sentence(router: Router) -> str:
    return str(getattr(router.health(), "sentence", router.rollout))


def _error(default: Value, code: ErrorCode, message: str) -> FlagResolutionDetails[Value]:
    return FlagResolutionDetails(value=default, reason=Reason.ERROR, error_code=code, error_message=message)
