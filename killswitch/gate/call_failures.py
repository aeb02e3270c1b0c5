"""Why a call to a model brought no answer, sorted by what a run may do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from killswitch.errors import Refused, Unavailable
from killswitch.roles.absence import Absence


class CallFailure(StrEnum):
    """What became of a call without an answer.

    TRANSIENT: the provider is down or was cut off. TIMEOUT: no answer in the role's `timeout`. RATE_LIMITED: it asks to
    wait. BAD_REQUEST: it refuses this row, such as a prompt that is too long. GARBAGE: what came back is no answer.
    The others stop a run, because each further row would end as this one: NO_MONEY, NO_ACCESS, UNKNOWN_MODEL (or a
    wrong address), NO_BUDGET (the spend ledger refuses).
    """

    TRANSIENT = "TRANSIENT"
    TIMEOUT = "TIMEOUT"
    RATE_LIMITED = "RATE_LIMITED"
    BAD_REQUEST = "BAD_REQUEST"
    GARBAGE = "GARBAGE"
    NO_MONEY = "NO_MONEY"
    NO_ACCESS = "NO_ACCESS"
    UNKNOWN_MODEL = "UNKNOWN_MODEL"
    NO_BUDGET = "NO_BUDGET"


STOPS_A_RUN: Final = frozenset(
    {CallFailure.NO_MONEY, CallFailure.NO_ACCESS, CallFailure.UNKNOWN_MODEL, CallFailure.NO_BUDGET}
)
ASKED_AGAIN: Final = frozenset({CallFailure.TRANSIENT, CallFailure.RATE_LIMITED})


@dataclass(frozen=True, slots=True)
class FailedCall:
    """One attempt without an answer. ``sentence`` holds no secret and nothing that the model said.

    ``billed``: it may have been paid for all the same. ``retry_after``: seconds that the provider asks to wait, None
    where it does not say. ``refused``: the parameter of the request that the model does not take, by its name.
    ``cut_short``: the provider says that the answer did not fit the limit of tokens, so the model is there.
    """

    kind: CallFailure
    sentence: str
    billed: bool
    retry_after: float | None = None
    absence: Absence | None = None
    refused: str | None = None
    cut_short: bool = False


class AskingRefused(Refused):
    """No row of this run can be asked. ``kind``: one of `STOPS_A_RUN`. The message ends with the fix."""

    def __init__(self, failed: FailedCall) -> None:
        self.kind = failed.kind
        self.absence = failed.absence
        super().__init__(failed.sentence)


class AskingStopped(Unavailable):
    """The run was told to stop while a call waited to be made; nothing is known of the model."""
