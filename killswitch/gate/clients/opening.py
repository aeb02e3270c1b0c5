"""Opens the client of a role's endpoint."""

from __future__ import annotations

from killswitch.gate.clients import ModelClient
from killswitch.gate.clients.anthropic_messages import AnthropicMessages
from killswitch.gate.clients.gemini_content import GeminiContent
from killswitch.gate.clients.litellm_completion import LiteLLMCompletion
from killswitch.gate.clients.openai_chat import OpenAIChat
from killswitch.gate.clients.own_function import OwnFunction
from killswitch.roles.config import RoleEndpoint


def opened_client(endpoint: RoleEndpoint, *, timeout: float) -> ModelClient:
    """``timeout``: seconds of one call, in total. Raises BadSettings: no SDK, no key, no such function."""
    match endpoint.provider:
        case "openai":
            return OpenAIChat(endpoint, timeout=timeout)
        case "anthropic":
            return AnthropicMessages(endpoint, timeout=timeout)
        case "gemini":
            return GeminiContent(endpoint, timeout=timeout)
        case "litellm":
            return LiteLLMCompletion(endpoint, timeout=timeout)
        case _:
            return OwnFunction(endpoint, timeout=timeout)
