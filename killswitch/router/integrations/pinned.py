"""Wrappers of clients for roles: the pin names the model, and the model that the answer names is compared with it.

::

    roles = Roles("etcd://etcd:2379")
    llm = PinnedOpenAI(OpenAI(), roles=roles)
    answer = llm.for_role("review_triage").chat.completions.create(messages=[…])

    message = PinnedAnthropic(Anthropic(), roles=roles).for_role("review_triage").messages.create(max_tokens=99, …)
    answer = PinnedLiteLLM(litellm, roles=roles).for_role("review_triage").completion(messages=[…])

Clients may be sync or async, and calls may stream. Each call asks for its pin: a rollback holds for the next one. A
``model=`` of the caller is replaced, and models in ``extra_body`` or ``fallbacks`` are left out: nothing goes around
the pin. `Roles.model_for` raises before anything is sent. The client's own objects and exceptions come back unchanged.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from killswitch.router.integrations.openai import ClientEndpoint, ClientEndpoints
from killswitch.router.model_fields import MODEL_FIELDS
from killswitch.router.pinned.answered import answered_model
from killswitch.router.roles import Roles


class RoleCall:
    """One call for a role: of its answer, or of its stream's first chunks, the model is compared with the pin."""

    __slots__ = ("_compared", "_pinned", "_role", "_roles")

    def __init__(self, roles: Roles, role: str, pinned: str) -> None:
        self._roles = roles
        self._role = role
        self._pinned = pinned
        self._compared = False

    def answer(self, payload: object) -> None:
        model = answered_model(payload)
        if model is not None:
            self._compared = True
            self._roles.answered(self._role, self._pinned, model)

    def stream(self, chunks: Iterable[Any]) -> Iterator[Any]:
        for chunk in chunks:
            if not self._compared:
                self.answer(chunk)
            yield chunk

    async def astream(self, chunks: AsyncIterable[Any]) -> AsyncIterator[Any]:
        async for chunk in chunks:
            if not self._compared:
                self.answer(chunk)
            yield chunk

    def end(self, error: BaseException | None = None) -> None:
        """Nothing is counted at its end."""


class RoleClient(ClientEndpoints):
    """The endpoints of a client, for one role and slot."""

    def __init__(self, client: Any, roles: Roles, role: str, slot: str) -> None:
        super().__init__(lambda _api, _arguments: _begin(client, roles, role, slot))
        self._roles, self._role, self._slot = roles, role, slot

    @property
    def model(self) -> str:
        """Who would serve a call made now."""
        return self._roles.model_for(self._role, self._slot)


class PinnedOpenAI:
    """``client``: OpenAI's, sync or async, or one of its form (Azure's, a proxy's)."""

    def __init__(self, client: Any, *, roles: Roles) -> None:
        self._client = client
        self._roles = roles

    def for_role(self, role: str, slot: str = "prod") -> RoleClient:
        """The endpoints for a role: ``chat.completions``, ``responses``, ``completions`` and ``messages``."""
        return RoleClient(self._client, self._roles, role, slot)


class PinnedAnthropic(PinnedOpenAI):
    """``client``: Anthropic's, sync or async; ``messages.create``, also with ``stream=True``."""


class PinnedLiteLLM:
    """``litellm``: the module, or a `litellm.Router` whose groups are called as the pinned models are.

    Its streams repeat the name that was asked for, except for Azure and OpenRouter: in them nothing is seen to differ.
    """

    def __init__(self, litellm: Any, *, roles: Roles) -> None:
        self._litellm = litellm
        self._roles = roles

    def for_role(self, role: str, slot: str = "prod") -> LiteLLMRole:
        return LiteLLMRole(self._litellm, self._roles, role, slot)


class LiteLLMRole:
    """LiteLLM's functions, for one role and slot."""

    def __init__(self, litellm: Any, roles: Roles, role: str, slot: str) -> None:
        self._endpoint = ClientEndpoint(
            "chat", lambda client: client, lambda _api, _arguments: _begin(litellm, roles, role, slot)
        )

    def completion(self, **arguments: Any) -> Any:
        return self._endpoint.call("completion", _kept(arguments))

    async def acompletion(self, **arguments: Any) -> Any:
        return await self._endpoint.call("acompletion", _kept(arguments))

    def responses(self, **arguments: Any) -> Any:
        return self._endpoint.call("responses", _kept(arguments))

    async def aresponses(self, **arguments: Any) -> Any:
        return await self._endpoint.call("aresponses", _kept(arguments))

    def text_completion(self, **arguments: Any) -> Any:
        return self._endpoint.call("text_completion", _kept(arguments))

    async def atext_completion(self, **arguments: Any) -> Any:
        return await self._endpoint.call("atext_completion", _kept(arguments))


def _begin(client: Any, roles: Roles, role: str, slot: str) -> tuple[Any, str, RoleCall, None]:
    model = roles.model_for(role, slot)
    return client, model, RoleCall(roles, role, model), None


def _kept(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name not in MODEL_FIELDS}
