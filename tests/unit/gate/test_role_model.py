"""A role's model: attempts, shared waits, refused parameters, cost and the ledger, in virtual time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from killswitch.errors import BadSettings
from killswitch.gate.call_failures import AskingRefused, AskingStopped, CallFailure, FailedCall
from killswitch.gate.clients import ModelReply, ModelRequest
from killswitch.gate.role_model import ATTEMPTS, RoleModel, SharedWait, check_prices
from killswitch.roles.absence import Absence
from killswitch.roles.config import RoleConfig, RoleEndpoint
from killswitch.spend.prices import Price, PriceList
from killswitch.token_usage import Usage

ROW = ({"role": "user", "content": "It crashes."},)
PRICES = PriceList([Price("m", 0.0, 1_000_000, 1_000_000, 1_000_000, 2_000_000, 2_000_000)])  # $1 and $2 a million
GOOD = ModelReply("bug", "m-2025", Usage(input=10, output=3))
LIMITED = FailedCall(CallFailure.RATE_LIMITED, "slow down", billed=False, retry_after=7.0)
DOWN = FailedCall(CallFailure.TRANSIENT, "it is down", billed=False)
CUT = FailedCall(CallFailure.TRANSIENT, "the connection was cut", billed=True)


@dataclass
class ScriptedClient:
    """Answers in turn; a call takes ``seconds`` of the clock."""

    outcomes: list[ModelReply | FailedCall | Exception]
    requests: list[ModelRequest] = field(default_factory=list)
    took: Callable[[], None] = lambda: None

    def ask(self, request: ModelRequest) -> ModelReply | FailedCall:
        self.requests.append(request)
        self.took()
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        pass


class LedgerOfMarks:
    """Each reservation, and what became of it: None for settled without usage, "released", or the usage."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.marks: list[Any] = []

    def reserve(self, model: str, input_tokens_at_most: int, output_tokens_at_most: int) -> Any:
        assert input_tokens_at_most > 0
        return _Refusal() if self.refuses else _Reservation(self)


@dataclass
class _Refusal:
    reason: str = "HARD_CAP"
    sentence: str = "role:r has spent its $5.00 of today"


@dataclass
class _Reservation:
    ledger: LedgerOfMarks

    def settle(self, usage: Mapping[str, Any] | None) -> None:
        self.ledger.marks.append(usage)

    def release(self) -> None:
        self.ledger.marks.append("released")


class Asked:
    """A `RoleModel` in virtual time, and what it did."""

    def __init__(
        self,
        *outcomes: ModelReply | FailedCall | Exception,
        parameters: Mapping[str, Any] | None = None,
        prices: PriceList | None = PRICES,
        ledger: LedgerOfMarks | None = None,
        stop_after: int | None = None,
    ) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.stop_after = stop_after
        self.client = ScriptedClient(list(outcomes), took=self._took)
        self.ledger = ledger or LedgerOfMarks()
        config = RoleConfig(
            "r", RoleEndpoint("openai", parameters=parameters or {}), system="Sort.", max_output_tokens=50
        )
        self.model = RoleModel(
            "m", config, prices=prices, ledger=self.ledger, pause=self._pause, client=self.client,
            clock=lambda: self.now, wall=lambda: 1.0, jitter=lambda: 1.0,
        )  # fmt: skip

    def _took(self) -> None:
        self.now += 0.25

    def _pause(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return self.stop_after is not None and len(self.waits) >= self.stop_after


def test_an_answer_has_its_text_usage_cost_and_name() -> None:
    """Its latency is that of the call."""
    asked = Asked(GOOD)
    answer = asked.model.ask(ROW)
    assert (answer.text, answer.answered_by, answer.usage) == ("bug", "m-2025", Usage(input=10, output=3))
    assert (answer.seconds, answer.cost, answer.attempts, answer.failure) == (0.25, 16, 1, None)
    assert asked.client.requests[0] == ModelRequest("m", "Sort.", ROW, {}, 50)
    assert asked.ledger.marks == [GOOD.usage]


def test_retries_are_no_latency() -> None:
    """Only the attempt that succeeded is timed; its waits are not."""
    asked = Asked(LIMITED, DOWN, GOOD)
    answer = asked.model.ask(ROW)
    assert (answer.seconds, answer.attempts, answer.cost) == (0.25, 3, 16)
    assert asked.waits == [7.0, 2.0]
    assert asked.ledger.marks == ["released", "released", GOOD.usage]


def test_an_attempt_that_may_be_billed_is_part_of_the_cost() -> None:
    """What a lost answer cost is not known; the most that it can have cost is counted."""
    answer = Asked(CUT, GOOD).model.ask(ROW)
    assert answer.cost is not None
    assert answer.cost > 16 + 2 * 50  # all output tokens at $2 a million, and the input
    assert answer.least_cost == answer.cost - answer.guessed == 16
    assert answer.likely_cost == 2 * 16  # the lost attempt is taken for as long as the answer


def test_a_failed_call_has_a_cost_and_no_latency() -> None:
    """A model that fails is not cheaper and not faster for it."""
    asked = Asked(FailedCall(CallFailure.TIMEOUT, "too late", billed=True))
    answer = asked.model.ask(ROW)
    assert (answer.text, answer.seconds, answer.kind) == (None, None, CallFailure.TIMEOUT)
    assert answer.cost is not None
    assert answer.cost > 0
    assert asked.ledger.marks == [None]


def test_usage_that_is_absent_is_no_cost_of_zero() -> None:
    """It is unknown, also where another attempt is known."""
    asked = Asked(CUT, ModelReply("bug", None, None))
    assert asked.model.ask(ROW).cost is None
    assert asked.ledger.marks == [None, None]


def test_without_prices_no_answer_has_a_cost() -> None:
    """Unknown, not free."""
    assert Asked(GOOD, prices=None).model.ask(ROW).cost is None


def test_a_rate_limit_for_ever_is_a_failed_call() -> None:
    """It has asked six times, waited as long as it was told, and says so."""
    asked = Asked(LIMITED)
    answer = asked.model.ask(ROW)
    assert (answer.attempts, answer.kind, answer.cost) == (ATTEMPTS, CallFailure.RATE_LIMITED, 0)
    assert answer.failure == "slow down (after 6 attempts)"
    assert asked.waits == [7.0, 7.0, 7.0, 8.0, 16.0]


def test_a_provider_that_wants_an_hour_is_not_waited_for() -> None:
    """The reason says how long it asks to wait."""
    asked = Asked(FailedCall(CallFailure.RATE_LIMITED, "slow down", billed=False, retry_after=3600.0))
    answer = asked.model.ask(ROW)
    assert (answer.attempts, asked.waits) == (1, [])
    assert "asks to wait 1h" in str(answer.failure)


@pytest.mark.parametrize("kind", [CallFailure.TIMEOUT, CallFailure.BAD_REQUEST, CallFailure.GARBAGE])
def test_what_another_attempt_would_not_help_is_not_retried(kind: CallFailure) -> None:
    """A timeout would count the slowness of a model as a failure of its network."""
    answer = Asked(FailedCall(kind, "no", billed=False)).model.ask(ROW)
    assert (answer.attempts, answer.kind) == (1, kind)


@pytest.mark.parametrize("kind", [CallFailure.NO_ACCESS, CallFailure.NO_MONEY, CallFailure.UNKNOWN_MODEL])
def test_what_ends_each_row_alike_stops_the_run(kind: CallFailure) -> None:
    """A wrong key is no mismatch of the candidate."""
    asked = Asked(FailedCall(kind, "no", billed=False))
    with pytest.raises(AskingRefused, match="no") as refused:
        asked.model.ask(ROW)
    assert refused.value.kind is kind
    assert asked.ledger.marks == ["released"]


def test_a_ledger_that_refuses_stops_the_run() -> None:
    """Nothing is asked, and the reason is the ledger's."""
    asked = Asked(GOOD, ledger=LedgerOfMarks(refuses=True))
    with pytest.raises(AskingRefused, match=r"has spent its \$5.00 of today") as refused:
        asked.model.ask(ROW)
    assert refused.value.kind is CallFailure.NO_BUDGET
    assert asked.client.requests == []


def test_a_row_that_nothing_bounds_is_not_asked() -> None:
    """No money can be reserved for a file of any length."""
    asked = Asked(GOOD)
    answer = asked.model.ask(({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},))
    assert (answer.kind, answer.cost) == (CallFailure.BAD_REQUEST, 0)
    assert asked.client.requests == []


def refused(parameter: str) -> FailedCall:
    return FailedCall(CallFailure.BAD_REQUEST, f"{parameter} is not supported", billed=False, refused=parameter)


def test_a_refused_parameter_is_left_out_and_remembered() -> None:
    """The attempt is no retry, the next row is asked without it, and each answer names it."""
    asked = Asked(refused("temperature"), refused("seed"), GOOD, parameters={"temperature": 0, "seed": 1, "top_p": 0.5})
    first, second = asked.model.ask(ROW), asked.model.ask(ROW)
    assert (first.attempts, first.left_out) == (1, ("temperature", "seed"))
    assert (second.attempts, second.left_out) == (1, ("temperature", "seed"))
    assert [sorted(one.parameters) for one in asked.client.requests] == [
        ["seed", "temperature", "top_p"], ["seed", "top_p"], ["top_p"], ["top_p"],
    ]  # fmt: skip
    assert asked.waits == []


def test_a_refusal_of_what_was_not_sent_is_a_failed_call() -> None:
    """A provider that refuses for ever is not asked for ever."""
    asked = Asked(refused("logit_bias"), parameters={"temperature": 0})
    assert asked.model.ask(ROW).kind is CallFailure.BAD_REQUEST
    asked = Asked(refused("temperature"), parameters={"temperature": 0})
    assert asked.model.ask(ROW).kind is CallFailure.BAD_REQUEST
    assert len(asked.client.requests) == 2


def test_a_stop_ends_a_wait_and_is_no_answer() -> None:
    """A row that waited when Ctrl-C came is asked again by the next run."""
    with pytest.raises(AskingStopped):
        Asked(LIMITED, stop_after=1).model.ask(ROW)
    with pytest.raises(AskingStopped):
        Asked(DOWN, stop_after=1).model.ask(ROW)


def test_what_a_client_raises_leaves_no_money_held() -> None:
    """A setting that is wrong was found before anything was sent; a bug may have been billed."""
    wrong = Asked(BadSettings(["no such parameter"]))
    with pytest.raises(BadSettings):
        wrong.model.ask(ROW)
    assert wrong.ledger.marks == ["released"]
    bug = Asked(RuntimeError("bug"))
    with pytest.raises(RuntimeError):
        bug.model.ask(ROW)
    assert bug.ledger.marks == [None]


def test_a_rate_limit_of_one_call_holds_for_all() -> None:
    """The other threads wait before they ask, and do not each run into the limit."""
    now, waits = [0.0], list[float]()

    def pause(seconds: float) -> bool:
        waits.append(seconds)
        now[0] += seconds
        return False

    shared = SharedWait(pause, lambda: now[0])
    shared.hold(5.0)
    shared.hold(2.0)  # a shorter one does not end the longer
    done: list[float] = []

    def other() -> None:
        shared.keep()
        done.append(now[0])

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(10)
    assert (waits, done) == ([5.0], [5.0])
    shared.keep()
    assert waits == [5.0]


def test_a_probe_asks_for_one_token_and_raises_nothing() -> None:
    """Without system prompt and parameters: a daily probe costs as little as a call can."""
    asked = Asked(GOOD, parameters={"temperature": 0})
    assert asked.model.probe().text == "bug"
    (request,) = asked.client.requests
    assert (request.system, request.parameters, request.max_output_tokens) == (None, {}, 1)
    gone = FailedCall(CallFailure.UNKNOWN_MODEL, "no such model", billed=False, absence=Absence.CLEAR)
    found = Asked(gone).model.probe()
    assert (found.kind, found.absence, found.failure) == (CallFailure.UNKNOWN_MODEL, Absence.CLEAR, "no such model")
    away = Asked(DOWN).model.probe()
    assert (away.kind, away.absence, away.attempts) == (CallFailure.TRANSIENT, None, 1)


def test_a_probe_that_was_cut_short_has_found_the_model() -> None:
    """A reasoning model has no room for an answer in one token, and says so with a 400."""
    found = Asked(FailedCall(CallFailure.BAD_REQUEST, "limit reached", billed=True, cut_short=True)).model.probe()
    assert (found.text, found.failure, found.kind) == ("", None, None)


def priced(*models: str) -> PriceList:
    return PriceList(Price(model, 100.0, 1, 1, 1, 1, 1) for model in models)


@pytest.mark.parametrize(
    ("prices", "at", "missing"),
    [(priced("a", "b"), 100.0, []), (priced("a"), 100.0, ["b"]), (priced("a", "b"), 99.0, ["a", "b"])],
)
def test_an_unknown_price_is_an_error_before_anything_is_asked(
    prices: PriceList, at: float, missing: Iterable[str]
) -> None:
    """A price that begins tomorrow is none today; each missing one is named."""
    config = RoleConfig("r", RoleEndpoint("openai"), file="roles/r.yaml")
    if not missing:
        check_prices(config, ["a", "b"], prices, at=at)
        return
    with pytest.raises(BadSettings) as refusal:
        check_prices(config, ["a", "b", "b"], prices, at=at)
    assert [
        f"has no price of {one} that is valid today; fix" in said
        for one, said in zip(missing, refusal.value.problems, strict=True)
    ]
    with pytest.raises(BadSettings, match="names no file of prices"):
        check_prices(config, ["a"], None, at=at)
