"""One file a provider: asks a model once, through the provider's own SDK, and never retries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from killswitch.gate.call_failures import FailedCall
from killswitch.gate.golden import Message
from killswitch.token_usage import Usage


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What one attempt sends. ``parameters``: those of the role that the model has not refused."""

    model: str
    system: str | None
    messages: Sequence[Message]
    parameters: Mapping[str, Any]
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What came back. ``answered_by``: the model that the response names. None where the response says nothing."""

    text: str
    answered_by: str | None
    usage: Usage | None


class ModelClient(Protocol):
    """Asks once, within the role's timeout in total. Safe from several threads."""

    def ask(self, request: ModelRequest) -> ModelReply | FailedCall:
        """Raises BadSettings for what a role file must say otherwise, before anything is sent."""
        ...

    def close(self) -> None: ...
