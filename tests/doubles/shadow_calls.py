"""Calls of the shadow on virtual time: their settings, a ledger that remembers, and a lane that a test runs by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from killswitch.router.route_types import ShadowSplit
from killswitch.router.shadow.answer_cache import AnswerCache
from killswitch.router.shadow.asking import Asking
from killswitch.router.shadow.call import CallSettings, Counted, ShadowCall
from killswitch.router.shadow.drops import Drop
from killswitch.router.shadow.ledger import SpendLedger
from killswitch.router.shadow.own_refusals import RefusalRule
from killswitch.router.shadow.raw_pair import RawPair
from tests.doubles.clock import VirtualClock
from tests.doubles.held_split import shadowed


class Shadowing:
    """What calls need, and what came of them. Set ``split`` to change what is obeyed."""

    def __init__(
        self,
        *,
        ledger: SpendLedger | None = None,
        tools_act: bool = True,
        timeout: float = 30.0,
        cache: int = 0,
        refusal_rule: RefusalRule | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.split: ShadowSplit = shadowed(100.0).shadow
        self.dropped: list[Drop] = []
        self.pairs: list[RawPair] = []
        self.counted: list[Counted] = []
        self.complaints: list[str] = []
        self.warnings: list[tuple[str, str]] = []
        self.settings = CallSettings(
            rollout="support-copilot",
            timeout=timeout,
            max_request_bytes=100_000,
            tools_act=tools_act,
            ledger=ledger,
            hash_user=lambda user: f"hash of {user}",
            current=lambda: self.split,
            clock=self.clock.monotonic,
            drop=self.dropped.append,
            put=self.pairs.append,
            counted=self.counted.append,
            complain=self.complaints.append,
            warn_once=lambda kind, text: self.warnings.append((kind, text)),
            cache=AnswerCache(cache) if cache else None,
            refusal_rule=refusal_rule,
        )


class Refused:
    reason = "CAP"
    sentence = "the cap of shadow:support-copilot per hour, $0.10, has no room for $0.123"


class RememberingLedger:
    """Grants everything until ``refuses``; ``events`` says what became of each reservation."""

    def __init__(self) -> None:
        self.refuses = False
        self.asking: Callable[[], object] = lambda: None  # called with each question
        self.asked: list[tuple[str, int, int]] = []
        self.events: list[object] = []

    def reserve(self, model: str, input_tokens_at_most: int, output_tokens_at_most: int) -> Any:
        self.asking()
        self.asked.append((model, input_tokens_at_most, output_tokens_at_most))
        return Refused() if self.refuses else _Reserved(self.events)


class _Reserved:
    micros = 1234

    def __init__(self, events: list[object]) -> None:
        self._events = events

    def settle(self, usage: Mapping[str, Any] | None) -> None:
        self._events.append(usage)

    def release(self) -> None:
        self._events.append("released")


class HandLane:
    """Satisfies `CallLane`: a call waits in ``started`` until the test runs it."""

    def __init__(self, workers: int = 2) -> None:
        self.workers = workers
        self.started: list[ShadowCall] = []
        self.given_up: list[ShadowCall] = []
        self.closed = False

    def free(self) -> int:
        return self.workers - len(self.started)

    def hung(self) -> int:
        return len(self.given_up)

    def running(self) -> tuple[ShadowCall, ...]:
        return tuple(self.started)

    def start(self, call: ShadowCall) -> None:
        self.started.append(call)

    def abandon(self, call: ShadowCall) -> None:
        self.started.remove(call)
        self.given_up.append(call)

    def close(self) -> None:
        self.closed = True

    def prepare(self) -> Asking | None:
        """Prepare the oldest call."""
        return self.started[0].prepare()
