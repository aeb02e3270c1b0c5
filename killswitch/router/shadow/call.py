"""One call of the shadow: a copy of a finished request, sent to the canary or once more to control, and recorded.

Whoever is first to claim a call records it: the thread that has its answer, or the one that watches the time. So a call
that comes back after its timeout changes nothing, and each is recorded once.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from killswitch.router.outcomes import Outcome, outcome_of
from killswitch.router.route_types import ShadowSplit
from killswitch.router.shadow import ledger as bounds
from killswitch.router.shadow.answer_cache import AnswerCache, key_of
from killswitch.router.shadow.answers import Answered, first_token, read
from killswitch.router.shadow.asking import Asking, Finished, Kind
from killswitch.router.shadow.capture import Captured, capture, copy_of
from killswitch.router.shadow.comparable import NotComparable
from killswitch.router.shadow.drops import Drop
from killswitch.router.shadow.ledger import SpendLedger
from killswitch.router.shadow.own_refusals import UNKNOWN_RULE, RefusalRule, read_by
from killswitch.router.shadow.quota import codes_of, is_budget, is_spent, retry_after_of, status_of, was_never_sent
from killswitch.router.shadow.raw_pair import Outcome as RawOutcome
from killswitch.router.shadow.raw_pair import RawAnswer, RawPair

CONCURRENT_WITHIN = 1.0  # seconds between control's end and the other's start: the same load on the provider
PREPARING = 5.0  # seconds for the copy and the ledger, before the call's own timeout begins
_MOST_ID = 200  # characters
_CODE = re.compile(r"[A-Za-z][A-Za-z_.-]{0,63}|\d{1,5}", re.ASCII)  # a code in words; keys have digits among letters
_MAY_BE_BILLED = frozenset({408, 499, 502, 504, 520, 522, 524})  # of gateways: the provider may have answered


class Came(NamedTuple):
    """How a call ended: ``answer``, or ``error``. Seconds count from the call's start."""

    answer: Answered | None
    error: BaseException | None
    seconds: float
    first_token_seconds: float | None = None
    streamed: bool = False


class Counted(NamedTuple):
    """What is counted of a recorded call. ``rest``: seconds that the provider wants to be left alone, or None."""

    kind: Kind
    model: str
    outcome: RawOutcome
    seconds: float | None  # None where it is not comparable with control's
    refused: bool
    usage: dict[str, Any] | None
    user: str | None
    rest: float | None
    reused: bool = False  # no model was asked


class CallSettings(NamedTuple):
    """What all calls of one `Shadow` share."""

    rollout: str
    timeout: float
    max_request_bytes: int
    tools_act: bool
    ledger: SpendLedger | None
    hash_user: Callable[[object], str]
    current: Callable[[], ShadowSplit]
    clock: Callable[[], float]
    drop: Callable[[Drop], None]
    put: Callable[[RawPair], None]
    counted: Callable[[Counted], None]
    complain: Callable[[str], None]
    warn_once: Callable[[str, str], None]
    cache: AnswerCache | None = None
    refusal_rule: RefusalRule | None = None


class Sampled:
    """A finished request that was sampled. Its copy and control's answer are read once, by the first call.

    ``offered``: seconds on the shadow's clock when it was offered.
    """

    def __init__(self, finished: Finished, split: ShadowSplit, offered: float, settings: CallSettings) -> None:
        self.finished = finished
        self.split = split
        self.offered = offered
        self._settings = settings
        self._lock = threading.Lock()
        self._captured: Captured | Drop | None = None
        self._control: RawAnswer | None = None

    def captured(self) -> Captured | Drop:
        with self._lock:
            if self._captured is None:
                self._captured = capture(
                    self.finished,
                    most_bytes=self._settings.max_request_bytes,
                    tools_act=self._settings.tools_act,
                )
            return self._captured

    def control(self, *, streamed: bool) -> RawAnswer:
        with self._lock:
            if self._control is None:
                self._control = self._read_control(streamed=streamed)
            return self._control

    def _read_control(self, *, streamed: bool) -> RawAnswer:
        finished = self.finished
        answer = read(finished.answer)
        first = finished.first_token_seconds
        if first is None and finished.chunk_seconds:
            first = first_token(finished.answer, finished.chunk_seconds)
        counted = finished.served_outcome == Outcome.REFUSED
        # without a text (an error of a content filter, a provider's signal) the canary's answer is read alike
        refused = answer.refused or (counted and not answer.text)
        control = RawAnswer(
            model=finished.route.model,
            outcome="refused" if refused else "ok",
            seconds=max(0.0, finished.seconds),
            text=answer.text,
            tool_calls=answer.tool_calls,
            refused=refused,
            finish_reason=answer.finish_reason,
            streamed=streamed,
            first_token_seconds=first,
            usage=answer.usage,
            status=finished.control_status,
        )
        control = read_by(self._settings.refusal_rule, control)
        if counted and not control.refused:
            self._settings.warn_once("refusals", f"of {self._settings.rollout}: {UNKNOWN_RULE}")
        return control


class ShadowCall:
    """``kind`` of one `Sampled`. ``deadline``: on the shadow's clock; whoever watches it gives the call up then."""

    def __init__(self, sampled: Sampled, kind: Kind, settings: CallSettings) -> None:
        self.kind: Kind = kind
        self.sampled = sampled
        self.model = sampled.split.canary if kind == "candidate" else sampled.split.control
        self.deadline = settings.clock() + PREPARING
        self._settings = settings
        self._started: float | None = None
        self._reservation: Any = None
        self._captured: Captured | None = None
        self._key: bytes | None = None
        self._unclaimed = [True]

    def prepare(self) -> Asking | None:
        """Copy the request and reserve its price; None where it is not asked, which is counted."""
        try:
            captured = self.sampled.captured()
            if not isinstance(captured, Drop) and self._answered_before(captured):
                return None
            asking = captured if isinstance(captured, Drop) else self._reserved(captured)
        except Exception:  # noqa: BLE001  # logged by `complain`
            self._settings.complain("a request could not be copied")
            asking = Drop.FAILED
        if isinstance(asking, Drop):
            self.give_back(asking)
            return None
        if not self._unclaimed:  # it was given up while the ledger was asked
            self._give_reservation_back()
            return None
        now = self._settings.clock()
        self.deadline = now + self._settings.timeout
        self._started = now
        return asking

    def _answered_before(self, captured: Captured) -> bool:
        """Record the canary's answer to the same request, if it is kept."""
        cache = self._settings.cache
        if cache is None or self.kind != "candidate":
            return False
        self._key = key_of(self.model, self.sampled.finished.api, captured.record)
        known = cache.get(self._key)
        if known is None or not self._settings.current().canary:
            return False
        if self._claim():
            self._captured = captured
            pair = self._pair_with(known, concurrent=False, reused=True)
            self._settings.put(pair)
            self._settings.counted(
                Counted(self.kind, self.model, pair.other.outcome, None, known.refused, None, None, None, reused=True)
            )
        return True

    def _reserved(self, captured: Captured) -> Asking | Drop:
        current = self._settings.current()
        if not current.canary or current.generation != self.sampled.split.generation:
            return Drop.TURNED_OFF
        request = copy_of(captured.request)
        request["model"] = self.model
        finished = self.sampled.finished
        if self._settings.ledger is not None:
            input_tokens = bounds.input_tokens_at_most(captured.record)
            output_tokens = bounds.bound_output(request, finished.api)
            if input_tokens is None or output_tokens is None:
                return Drop.UNBOUNDED
            answer = self._settings.ledger.reserve(self.model, input_tokens, output_tokens)
            if not hasattr(answer, "settle"):
                self._warn_of(answer)
                return Drop.BUDGET
            self._reservation = answer
        self._captured = captured
        return Asking(request, self.model, self.kind, finished.api, captured.streamed, self._settings.timeout)

    def _warn_of(self, refusal: object) -> None:
        """Log the first refusal of each reason: a cap below the price of one call would drop everything in silence."""
        reason = str(getattr(refusal, "reason", ""))
        if reason == "SHUTTING_DOWN":
            return
        said = getattr(refusal, "sentence", "") or f"the ledger refuses: {reason}"
        kind, lost = f"ledger {reason}", "sampled requests are dropped as `budget`"
        if self.kind == "noise":
            lost = f"{self.model!r:.100} is not asked a second time, so there is no noise floor (`noise`)"
            kind = f"ledger, noise {reason}"
        self._settings.warn_once(kind, f"of {self._settings.rollout}: {lost}: {said}")

    def give_back(self, reason: Drop) -> None:
        """It is not asked. A drop of the canary's call is a sampled request without a pair; one of noise
        is counted as `NOISE`.
        """
        if self._claim():
            self._give_reservation_back()
            if self.kind == "candidate":
                self._settings.drop(reason)
            elif reason is Drop.BUDGET:  # other reasons are the canary's as well, and counted there
                self._settings.drop(Drop.NOISE)

    def record(self, came: Came) -> None:
        """It was asked, and this is what came; the first caller's counts. What `ask` cannot ask is no failure."""
        if isinstance(came.error, NotComparable):
            self._started = None  # nothing was sent
            self.give_back(Drop.NOT_COMPARABLE)
            return
        if not self._claim():
            return
        try:
            pair, counted = self._pair(came)
            self._settle(came, pair.other)
            self._settings.put(pair)
            if self._key is not None and self._settings.cache is not None:
                self._settings.cache.keep(self._key, pair.other)
            self._settings.counted(counted)
        except Exception:  # noqa: BLE001  # logged by `complain`
            self._settings.complain("a pair could not be recorded")
            self._give_reservation_back()
            if self.kind == "candidate":
                self._settings.drop(Drop.FAILED)

    def give_up(self, now: float) -> bool:
        """It is over its deadline. Whether this was the first to say so."""
        if self._started is None:
            first = bool(self._unclaimed)
            self.give_back(Drop.STUCK)
            return first
        if not self._unclaimed:
            return False
        streamed = self._captured is not None and self._captured.streamed
        self.record(Came(None, TimeoutError("the shadow's own timeout"), now - self._started, None, streamed))
        return True

    def _claim(self) -> bool:
        try:
            return self._unclaimed.pop()  # one step: of two threads, one gets it
        except IndexError:
            return False

    def _pair(self, came: Came) -> tuple[RawPair, Counted]:
        captured, finished = self._captured, self.sampled.finished
        assert captured is not None
        assert self._started is not None
        answer = read_by(self._settings.refusal_rule, answer_of(came, self.model))
        pair = self._pair_with(answer, concurrent=False)
        other = pair.other
        at_once = self._started - self.sampled.offered <= CONCURRENT_WITHIN
        concurrent = at_once and came.streamed == captured.streamed and not finished.control_cached
        rest = None
        if other.outcome == "budget":
            failure: object = came.error
            rest = retry_after_of(failure) or (60.0 if is_spent(failure) else 5.0)
        user = None if finished.user is None else str(finished.user)
        seconds = other.seconds if concurrent else None
        usage = None if came.answer is None else came.answer.usage
        pair = replace(pair, concurrent=concurrent)
        return pair, Counted(self.kind, self.model, other.outcome, seconds, other.refused, usage, user, rest)

    def _pair_with(self, other: RawAnswer, *, concurrent: bool, reused: bool = False) -> RawPair:
        captured, finished, split = self._captured, self.sampled.finished, self.sampled.split
        assert captured is not None
        control = self.sampled.control(streamed=captured.streamed)
        return RawPair(
            id=whole_characters(str(finished.request_id))[:_MOST_ID],
            rollout=self._settings.rollout,
            generation=split.generation,
            at=float(finished.started),
            kind=self.kind,
            request=captured.record,
            control=control,
            other=empty_is_an_error(other, control),
            prompt_class=whole_characters(str(finished.prompt_class or ""))[:_MOST_ID],
            user=self._settings.hash_user(finished.user),
            turn=captured.turn,
            concurrent=concurrent,
            reservation_micros=_micros(self._reservation),
            reused=reused,
        )

    def _settle(self, came: Came, other: RawAnswer) -> None:
        """What is surely not billed is given back; what is not known counts as the whole reservation."""
        if self._reservation is None:
            return
        try:
            if is_unbilled(came, other):
                self._reservation.release()
            else:
                # the usage of an answer that broke off is what was counted until then, such as Anthropic's first token
                self._reservation.settle(other.usage if is_whole(came) else None)
        except Exception:  # noqa: BLE001  # logged by `complain`
            self._settings.complain("the ledger could not settle")

    def _give_reservation_back(self) -> None:
        """Unless the request was sent: then it is billed, and how much is not known."""
        if self._reservation is None:
            return
        try:
            if self._started is None:
                self._reservation.release()
            else:
                self._reservation.settle(None)
        except Exception:  # noqa: BLE001  # logged by `complain`
            self._settings.complain("the ledger could not take a reservation back")


def is_whole(came: Came) -> bool:
    """Whether an answer came to its end, so that its usage is all of it. A stream says so by its finish reason."""
    answer = came.answer
    return answer is not None and not answer.failed and (answer.finish_reason is not None or not came.streamed)


def is_unbilled(came: Came, other: RawAnswer) -> bool:
    """Whether it is sure that nothing is billed: refused as a whole, or never sent."""
    begun = came.first_token_seconds is not None or other.text or other.tool_calls or other.usage is not None
    refused = other.outcome == "budget" or ((other.status or 0) >= 400 and other.status not in _MAY_BE_BILLED)
    return bool(refused and not begun) or (came.error is not None and was_never_sent(came.error))


def answer_of(came: Came, model: str) -> RawAnswer:
    """The record of an answer or of a failure. An exception's own text may hold a key or a prompt: it is left out."""
    answer, error = came.answer, came.error
    outcome: RawOutcome
    if error is not None:
        outcome = "budget" if is_budget(error) else outcome_of(error).value
        # some gateways say a whole sentence there, with the key or the prompt in it
        codes = sorted(code for code in codes_of(error) if _CODE.fullmatch(code))
        named = " ".join([type(error).__name__, *codes])
    else:
        assert answer is not None
        nothing = not (answer.text or answer.tool_calls or answer.finish_reason or answer.usage or answer.refused)
        failed: RawOutcome = "budget" if answer.budget else "error"
        outcome = failed if answer.failed or nothing else "refused" if answer.refused else "ok"
        named = "no answer" if nothing else "the answer says that it failed, or broke off" if answer.failed else ""
    return RawAnswer(
        model=model,
        outcome=outcome,
        seconds=max(0.0, came.seconds),
        text=answer.text if answer else "",
        tool_calls=answer.tool_calls if answer else (),
        refused=outcome == "refused" or bool(answer and answer.refused),
        finish_reason=answer.finish_reason if answer else None,
        streamed=came.streamed,
        first_token_seconds=came.first_token_seconds,
        usage=answer.usage if answer else None,
        status=status_of(error) if error is not None else None,
        error=whole_characters(named)[:500],
    )


def empty_is_an_error(other: RawAnswer, control: RawAnswer) -> RawAnswer:
    """An answer without a word, a call or a refusal is of no use to a user; where control has none, it is the same.

    A model that thinks until its limit of tokens answers so, with ``finish_reason: length``.
    """
    if other.outcome != "ok" or says_something(other) or not says_something(control):
        return other
    return replace(other, outcome="error", error="empty")


def says_something(answer: RawAnswer) -> bool:
    return bool(answer.text.strip() or answer.tool_calls or answer.refused)


def whole_characters(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _micros(reservation: object) -> int | None:
    micros = getattr(reservation, "micros", None)
    return micros if isinstance(micros, int) else None
