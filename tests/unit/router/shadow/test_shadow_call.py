"""One call: recorded once, by whoever is first, with an outcome that blames the canary for nothing but its own."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from killswitch.errors import BadSettings
from killswitch.router.shadow.answers import read
from killswitch.router.shadow.asking import Kind
from killswitch.router.shadow.call import Came, Sampled, ShadowCall, answer_of
from killswitch.router.shadow.complaints import Complaints
from killswitch.router.shadow.drops import Drop
from killswitch.router.shadow.ledger import check_ledger
from killswitch.router.shadow.raw_pair import from_line, to_line
from tests.doubles.finished_requests import chat_answer, finished
from tests.doubles.held_split import control_only, shadowed
from tests.doubles.shadow_calls import Refused, RememberingLedger, Shadowing


def call_of(shadowing: Shadowing, kind: Kind = "candidate", **changes: Any) -> ShadowCall:
    sampled = Sampled(finished(**changes), shadowing.split, shadowing.clock.monotonic(), shadowing.settings)
    return ShadowCall(sampled, kind, shadowing.settings)


def came(answer: object = None, *, seconds: float = 1.5, streamed: bool = False) -> Came:
    return Came(read(chat_answer("hi") if answer is None else answer), None, seconds, None, streamed)


def failed(error: BaseException) -> Came:
    return Came(None, error, 1.5)


class SDKError(Exception):
    def __init__(self, **fields: Any) -> None:
        super().__init__("sk-secret, and the user's own words")
        self.__dict__.update(fields)


def test_a_pair_has_both_answers_and_no_name() -> None:
    shadowing = Shadowing()
    call = call_of(shadowing, request_id="r\ud800", prompt_class="class")
    asking = call.prepare()
    assert asking is not None
    assert (asking.model, asking.request["model"], asking.kind) == ("model-new", "model-new", "candidate")
    call.record(came())
    (pair,) = shadowing.pairs
    assert (pair.id, pair.prompt_class, pair.kind, pair.turn) == ("r\ufffd", "class", "candidate", 1)
    assert (pair.control.text, pair.control.model, pair.control.seconds) == ("good day", "model-old", 2.0)
    assert (pair.other.text, pair.other.model, pair.other.outcome) == ("hi", "model-new", "ok")
    assert pair.user == "hash of user-1"
    assert pair.request == {"messages": [{"role": "user", "content": "hello"}]}
    assert from_line(to_line(pair)) == pair


def test_the_noise_floor_asks_control_again() -> None:
    shadowing = Shadowing()
    call = call_of(shadowing, "noise")
    asking = call.prepare()
    assert asking is not None
    assert asking.request["model"] == asking.model == "model-old"
    call.record(came())
    assert (shadowing.pairs[0].kind, shadowing.pairs[0].other.model) == ("noise", "model-old")


def test_who_is_first_records_and_others_change_nothing() -> None:
    """An answer after the timeout, a timeout after the answer, and both at once: one pair."""
    for order in ([0, 1], [1, 0]):
        shadowing = Shadowing()
        call = call_of(shadowing)
        call.prepare()
        acts = [lambda call=call: call.record(came()), lambda call=call: call.give_up(9999.0)]
        for index in order:
            acts[index]()
        assert [pair.other.outcome for pair in shadowing.pairs] == [["ok"], ["timeout"]][order[0]]
    for _ in range(50):
        shadowing = Shadowing()
        call = call_of(shadowing)
        call.prepare()
        both = [threading.Thread(target=call.record, args=(came(),)) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert len(shadowing.pairs) == 1


@pytest.mark.parametrize(
    ("ended", "outcome", "said"),
    [
        (came(), "ok", ""),
        (came({"choices": [{"message": {"refusal": "no"}, "finish_reason": "stop"}]}), "refused", ""),
        (came([{"choices": [{"delta": {"content": "a"}}]}]), "error", "broke off"),
        (came({"error": {"code": "server_error"}}), "error", ""),
        (came({"error": {"code": "insufficient_quota"}}), "budget", ""),
        (came({}), "error", "no answer"),
        (came(""), "error", "no answer"),
        (came({"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}), "ok", ""),
        (failed(TimeoutError()), "timeout", "TimeoutError"),
        (failed(SDKError(status_code=500)), "error", "SDKError"),
        (failed(SDKError(status_code=429)), "budget", "SDKError"),
        (failed(SDKError(status_code=402)), "budget", "SDKError"),
        (failed(SDKError(body={"error": {"code": "project_spend_limit_exceeded"}})), "budget", "project_spend_limit"),
        (failed(SDKError(status_code=400, code="content_filter")), "refused", "content_filter"),
        (failed(SystemExit()), "cancelled", "SystemExit"),
    ],
)
def test_how_a_call_ended_has_one_word(ended: Came, outcome: str, said: str) -> None:
    answer = answer_of(ended, "model-new")
    assert answer.outcome == outcome
    assert said in answer.error
    assert "sk-secret" not in answer.error


def test_a_second_at_most_after_control_is_concurrent() -> None:
    for waited, streamed, concurrent in ((1.0, False, True), (1.1, False, False), (0.0, True, False)):
        shadowing = Shadowing()
        call = call_of(shadowing)
        shadowing.clock.advance(waited)
        call.prepare()
        call.record(came(streamed=streamed))
        assert shadowing.pairs[0].concurrent is concurrent
        assert (shadowing.counted[0].seconds is not None) is concurrent


def test_a_trip_while_it_waits_ends_it() -> None:
    for now in (control_only(shadowed().control_route.reason).shadow, shadowed(100.0, generation=2).shadow):  # type: ignore[arg-type]
        shadowing = Shadowing()
        call = call_of(shadowing)
        shadowing.split = now
        assert call.prepare() is None
        assert shadowing.dropped == [Drop.TURNED_OFF]


def test_only_the_candidates_call_counts_as_a_drop() -> None:
    """A sampled request without a second answer of control still has its pair."""
    shadowing = Shadowing()
    assert call_of(shadowing, "noise", side_effects=True).prepare() is None
    assert shadowing.dropped == []
    assert call_of(shadowing, side_effects=True).prepare() is None
    assert shadowing.dropped == [Drop.SIDE_EFFECTS]


def test_the_ledger_holds_the_price_of_a_bounded_call() -> None:
    ledger = RememberingLedger()
    shadowing = Shadowing(ledger=ledger)
    call = call_of(shadowing)
    asking = call.prepare()
    assert asking is not None
    ((model, input_tokens, output_tokens),) = ledger.asked
    assert model == "model-new"
    assert input_tokens >= len("hello")
    assert asking.request["max_completion_tokens"] == output_tokens
    call.record(came())
    assert ledger.events == [{"prompt_tokens": 9, "completion_tokens": 7}]
    assert shadowing.pairs[0].reservation_micros == 1234
    assert "max_completion_tokens" not in shadowing.pairs[0].request


BEGUN = {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}
WORD = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word "}}
ENDED = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
COUNTED = {"choices": [{"delta": {"content": "cut"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
OLD = {"object": "text_completion", "choices": [{"text": "cut"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
OVER = {"error": {"type": "rate_limit_error"}}


@pytest.mark.parametrize(
    ("ended", "event"),
    [
        (came([BEGUN, WORD, ENDED, {"type": "message_stop"}], streamed=True), {"input_tokens": 10, "output_tokens": 7}),
        *((came(chunks, streamed=True), None) for chunks in ([BEGUN, WORD], [COUNTED], [OLD], [WORD, OVER])),
        *((failed(SDKError(status_code=status)), None) for status in (408, 502, 504)),
        (failed(TimeoutError()), None),
        (failed(SDKError(status_code=429)), "released"),
        (failed(SDKError(status_code=500)), "released"),
        (failed(ConnectionRefusedError()), "released"),
        (failed(ConnectionResetError()), None),
        (came([{"choices": [{"delta": {"content": "cut"}}]}]), None),
    ],
)
def test_what_may_have_been_billed_is_spent(ended: Came, event: object) -> None:
    """Unknown usage counts as the whole reservation; what surely was not billed comes back."""
    ledger = RememberingLedger()
    call = call_of(Shadowing(ledger=ledger))
    call.prepare()
    call.record(ended)
    assert ledger.events == [event]


def test_a_ledger_that_refuses_drops_and_sends_nothing() -> None:
    ledger = RememberingLedger()
    ledger.refuses = True
    shadowing = Shadowing(ledger=ledger)
    assert call_of(shadowing).prepare() is None
    file = {"type": "file", "file": {"file_data": "JVBERi0="}}  # any number of pages
    unbounded = {"messages": [{"role": "user", "content": [file]}]}
    assert call_of(shadowing, arguments=unbounded).prepare() is None
    assert shadowing.dropped == [Drop.BUDGET, Drop.UNBOUNDED]
    assert len(ledger.asked) == 1
    said = f"of support-copilot: sampled requests are dropped as `budget`: {Refused.sentence}"
    assert shadowing.warnings == [("ledger CAP", said)]


def test_a_reason_to_refuse_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    complain = Complaints()
    for sentence in ("the cap has no room for $1", "the cap has no room for $2"):
        complain.warn_once("ledger CAP", f"of x: {sentence}")
    complain.warn_once("ledger STORE", "of x: the store is away")
    said = [record.getMessage().partition(";")[0] for record in caplog.records]
    assert said == ["shadow of x: the cap has no room for $1", "shadow of x: the store is away"]


def test_a_mistake_is_logged_without_the_exceptions_text(caplog: pytest.LogCaptureFixture) -> None:
    complain = Complaints()

    def fail(words: str) -> None:
        raise SDKError from ValueError(words)

    for words in ("the user's own words", "more of them"):
        try:
            fail(words)
        except SDKError:
            complain("a request could not be copied")
    assert "a request could not be copied; the next ones like it are counted and not logged (SDKError," in caplog.text
    assert "in test_a_mistake_is_logged" in caplog.text
    assert len(caplog.records) == 1
    for secret in ("user's own words", "sk-secret"):
        assert secret not in caplog.text


def test_codes_that_are_sentences_or_keys_are_not_recorded() -> None:
    codes = {"code": "Incorrect API key provided: sk-secret1", "type": "gsk_Abc123def"}
    error = SDKError(status_code=401, code="invalid_api_key", body={"error": codes, "code": "40001"})
    assert answer_of(failed(error), "model-new").error == "SDKError 40001 invalid_api_key"


def test_a_whole_ledger_is_refused_with_what_to_write() -> None:
    """It has no `reserve`, so every call would fail."""

    class WholeLedger:
        def for_scopes(self, *scopes: str) -> RememberingLedger:
            raise NotImplementedError

    with pytest.raises(BadSettings, match=r'ledger=ledger.for_scopes\("shadow:copilot"\)'):
        check_ledger(WholeLedger(), "copilot")
    with pytest.raises(BadSettings, match="a method `reserve`; a dict has none"):
        check_ledger({}, "copilot")
    check_ledger(None, "copilot")
    check_ledger(RememberingLedger(), "copilot")


def test_a_noise_call_that_the_ledger_refuses_is_counted() -> None:
    """Control without a price: no floor is measured, and someone must know why. The pair with the canary is there."""
    ledger = RememberingLedger()
    ledger.refuses = True
    shadowing = Shadowing(ledger=ledger)
    assert call_of(shadowing, "noise").prepare() is None
    assert call_of(shadowing, "noise").prepare() is None
    assert shadowing.dropped == [Drop.NOISE, Drop.NOISE]
    assert "no noise floor" in str(shadowing.warnings)


def test_a_call_given_back_after_it_was_sent_is_spent() -> None:
    ledger = RememberingLedger()
    call = call_of(Shadowing(ledger=ledger))
    call.prepare()
    call.give_back(Drop.SHUTTING_DOWN)
    call.give_back(Drop.SHUTTING_DOWN)
    assert ledger.events == [None]


def test_a_ledger_that_breaks_costs_a_pair_and_a_log_line() -> None:
    class Broken:
        def reserve(self, *_: object) -> Any:
            raise OSError("no store")

    shadowing = Shadowing(ledger=Broken())
    assert call_of(shadowing).prepare() is None
    assert shadowing.dropped == [Drop.FAILED]
    assert shadowing.complaints == ["a request could not be copied"]


def test_a_budget_outcome_asks_for_rest() -> None:
    for error, seconds in ((SDKError(status_code=429), 5.0), (SDKError(status_code=402), 60.0)):
        shadowing = Shadowing()
        call = call_of(shadowing)
        call.prepare()
        call.record(failed(error))
        assert shadowing.counted[0].rest == seconds


def test_a_call_that_was_never_prepared_is_given_up_as_stuck() -> None:
    """A ledger that hangs: nothing was asked, so there is no pair to blame the canary with."""
    shadowing = Shadowing()
    call = call_of(shadowing)
    assert call.give_up(call.deadline)
    assert not call.give_up(call.deadline)
    assert shadowing.dropped == [Drop.STUCK]
    assert shadowing.pairs == []


def test_a_ledger_that_answers_too_late_sends_nothing() -> None:
    """Given up while the ledger hung: the money comes back, and no model is asked."""
    ledger = RememberingLedger()
    shadowing = Shadowing(ledger=ledger)
    call = call_of(shadowing)
    ledger.asking = lambda: call.give_up(call.deadline)
    assert call.prepare() is None
    assert ledger.events == ["released"]
    assert shadowing.dropped == [Drop.STUCK]


def test_a_cached_answer_of_control_is_not_compared_in_time() -> None:
    shadowing = Shadowing()
    call = call_of(shadowing, control_cached=True)
    call.prepare()
    call.record(came())
    assert not shadowing.pairs[0].concurrent


class TestAnswersThatAreKept:
    def asked(self, shadowing: Shadowing, kind: Kind = "candidate", ended: Came | None = None, **changes: Any) -> bool:
        """Whether the model was asked."""
        call = call_of(shadowing, kind, **changes)
        if call.prepare() is None:
            return False
        call.record(came() if ended is None else ended)
        return True

    def test_the_same_request_is_asked_once(self) -> None:
        ledger = RememberingLedger()
        shadowing = Shadowing(ledger=ledger, cache=10)
        other = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.0}
        again = {"temperature": 0.0, "messages": [{"content": "hello", "role": "user"}], "model": "model-old"}
        asked = [self.asked(shadowing, arguments=arguments) for arguments in (other, again, {**other, "n": 1}, other)]
        assert asked == [True, False, True, False]
        assert [pair.reused for pair in shadowing.pairs] == [False, True, False, True]
        assert [pair.other.text for pair in shadowing.pairs] == ["hi"] * 4
        assert len(ledger.asked) == 2
        assert not shadowing.pairs[1].concurrent
        assert shadowing.counted[1].reused
        assert from_line(to_line(shadowing.pairs[1])) == shadowing.pairs[1]

    def test_controls_second_answer_is_never_kept(self) -> None:
        shadowing = Shadowing(cache=10)
        assert [self.asked(shadowing, "noise") for _ in range(3)] == [True] * 3

    def test_a_failure_is_not_kept_and_the_number_is_bounded(self) -> None:
        shadowing = Shadowing(cache=2)
        assert [self.asked(shadowing, ended=failed(ValueError())) for _ in range(2)] == [True, True]
        for words in "abc":
            assert self.asked(shadowing, arguments={"messages": [{"role": "user", "content": words}]})
        assert self.asked(shadowing, arguments={"messages": [{"role": "user", "content": "a"}]})
        assert not self.asked(shadowing, arguments={"messages": [{"role": "user", "content": "c"}]})

    def test_a_trip_ends_it_too(self) -> None:
        shadowing = Shadowing(cache=2)
        self.asked(shadowing)
        shadowing.split = shadowing.split._replace(canary="", percent=0.0)
        assert not self.asked(shadowing)
        assert len(shadowing.pairs) == 1
        assert shadowing.dropped == [Drop.TURNED_OFF]


@pytest.mark.parametrize("kind", ["candidate", "noise"])
@pytest.mark.parametrize("words", ["", " \n"])
def test_an_empty_answer_is_an_error_where_control_answered(kind: Kind, words: str) -> None:
    """A model that thinks until its limit of tokens says nothing, with a finish reason and usage."""
    shadowing = Shadowing()
    call = call_of(shadowing, kind)
    call.prepare()
    empty = chat_answer(words)
    empty["choices"][0]["finish_reason"] = "length"
    call.record(came(empty))
    other = shadowing.pairs[0].other
    assert (other.outcome, other.error, other.finish_reason) == ("error", "empty", "length")
    assert shadowing.counted[0].outcome == "error"


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"content": None, "refusal": "I cannot."},
    ],
)
def test_a_call_and_a_refusal_are_answers(message: dict[str, Any]) -> None:
    shadowing = Shadowing()
    call = call_of(shadowing)
    call.prepare()
    call.record(came({"choices": [{"message": message, "finish_reason": "stop"}]}))
    assert shadowing.pairs[0].other.outcome in ("ok", "refused")


def test_an_empty_answer_to_an_empty_one_is_no_error() -> None:
    shadowing = Shadowing()
    call = call_of(shadowing, answer=chat_answer(""))
    call.prepare()
    call.record(came(chat_answer("")))
    assert shadowing.pairs[0].other.outcome == "ok"
