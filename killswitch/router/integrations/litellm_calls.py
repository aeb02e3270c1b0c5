"""How LiteLLM is called: its endpoints, a call whose model can be changed, fallbacks, aliases, a request's user."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from killswitch.errors import Refused

# The router's endpoints that take a model's name, and its position among their positional arguments.
ENDPOINTS: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "completion",
            "acompletion",
            "text_completion",
            "atext_completion",
            "embedding",
            "aembedding",
            "aanthropic_messages",
            "anthropic_messages",
            "agenerate_content",
            "generate_content",
            "agenerate_content_stream",
            "generate_content_stream",
            "aadapter_completion",
            "schedule_acompletion",
            "allm_passthrough_route",
            "aspeech",
            "arerank",
        ),
        0,
    ),
    **dict.fromkeys(("responses", "aresponses", "image_generation", "aimage_generation", "amoderation"), 1),
    "atranscription": 1,
}
# Endpoints of OpenAI's older form keep what we noted under `metadata`; elsewhere that name is the provider's own.
PLAIN_METADATA = frozenset(
    {"completion", "acompletion", "text_completion", "atext_completion", "embedding", "aembedding"}
    | {"schedule_acompletion", "image_generation", "aimage_generation", "aspeech", "arerank", "atranscription"}
)
_FALLBACKS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
SELECTORS = ("get_available_deployment", "async_get_available_deployment")
GUARD_MARK = "_killswitch_guard"


class CanaryRefused(Refused):
    """LiteLLM was about to send a control user to the canary."""

    status_code = 400  # a status that LiteLLM neither retries nor counts against the deployment


class EndpointCall:
    """One call of an endpoint, whose model can be changed and which can be made again."""

    __slots__ = ("_endpoint", "_names", "_position", "_positional", "named")

    def __init__(
        self,
        endpoint: Callable[..., Any],
        position: int,
        positional: tuple[Any, ...],
        named: dict[str, Any],
        names: Sequence[str] = (),
    ) -> None:
        self._endpoint = endpoint
        self._names = names
        self._position = position
        self._positional = list(positional)
        self.named = named

    def __call__(self) -> Any:
        return self._endpoint(*self._positional, **self.named)

    def arguments(self) -> dict[str, Any]:
        """Every argument by its name; ``names`` are those of the endpoint, in the order of its positions."""
        return {**dict(zip(self._names, self._positional, strict=False)), **self.named}

    @property
    def model(self) -> object:
        return self._positional[self._position] if self._position < len(self._positional) else self.named.get("model")

    @model.setter
    def model(self, name: object) -> None:
        if self._position < len(self._positional):
            self._positional[self._position] = name
        else:
            self.named["model"] = name


def keep_fallbacks(litellm_router: Any, named: dict[str, Any], asked: object, group: object) -> None:
    """Lists of fallbacks name what clients ask for; the request goes to ``group`` and keeps the list of ``asked``."""
    settings = litellm_router.settings() if hasattr(litellm_router, "settings") else litellm_router
    for kind in _FALLBACKS:
        lists = named[kind] if kind in named else getattr(settings, kind, None)
        if not isinstance(lists, Sequence) or isinstance(lists, str):
            continue
        of = {name: targets for entry in lists if isinstance(entry, Mapping) for name, targets in entry.items()}
        targets = [target for target in of.get(asked) or () if target != group]
        if targets and group not in of:
            named[kind] = [*lists, {group: targets}]


def add_alias(litellm_router: Any, alias: str, group: str) -> None:
    registry = getattr(litellm_router, "registry", None)
    if registry is None:  # routers before the compiled core
        litellm_router.model_group_alias = {alias: group} | (litellm_router.model_group_alias or {})
        return
    from litellm.router_api import ChangeSet  # noqa: PLC0415  # the compiled core's alone

    litellm_router.apply(ChangeSet(assign={"model_group_alias": {alias: group} | dict(registry().aliases() or {})}))


@contextlib.contextmanager
def retries_kept() -> Iterator[None]:
    """Around synchronous calls of our own: when one fails, LiteLLM sets `litellm.num_retries` to None for everyone."""
    import litellm  # noqa: PLC0415  # see `killswitch.router.integrations.litellm`

    kept = litellm.num_retries
    try:
        yield
    finally:
        if kept is not None and litellm.num_retries is None:
            litellm.num_retries = kept


def deployments_of(litellm_router: Any) -> Sequence[Mapping[str, Any]]:
    registry = getattr(litellm_router, "registry", None)  # routers of the compiled core deprecate `model_list`
    found: Sequence[Mapping[str, Any]] = litellm_router.model_list if registry is None else registry().all()
    return found


def overridable(selector: Any, name: str) -> bool:
    """Whether ``selector`` is a method of a class, so that LiteLLM calls what is set on the object instead.

    A router of the compiled core makes some of its members again when they are read: one of those would call itself.
    """
    if getattr(selector, GUARD_MARK, False):  # another rollout's guard
        return True
    owner = getattr(selector, "__self__", None)
    return inspect.ismethod(selector) and inspect.getattr_static(type(owner), name, None) is selector.__func__


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
