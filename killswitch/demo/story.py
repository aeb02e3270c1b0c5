"""What happened in the demo so far, as the processes themselves report it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from killswitch.demo.pace import Pace
from killswitch.demo.processes import CANARY, CONTROL, PERCENT, ROLLOUT
from killswitch.demo.traffic import REGRESSED, Regression
from killswitch.model import Verdict
from killswitch.wording import duration_in_words

NO_VERDICT_AFTER = 180.0  # simulated seconds without a first verdict, after which a line says so
_WORDS: Mapping[Regression, str] = {
    Regression.REFUSALS: "refuses {0.refusal_rate:.0%} of its requests instead of {1.refusal_rate:.1%}",
    Regression.ERRORS: "fails {0.error_rate:.0%} of its requests instead of {1.error_rate:.0%}",
    Regression.LATENCY: "answers in {0.latency_median_ms:.0f} ms instead of {1.latency_median_ms:.0f} ms (median)",
    Regression.THUMBS_DOWN: "gets thumbs-down on {0.thumbs_down_rate:.0%} of its answers, not {1.thumbs_down_rate:.1%}",
}


class Mood(StrEnum):
    """How an event is to be taken."""

    PLAIN = "plain"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class StoryEvent:
    """One thing that happened, ``at`` simulated seconds after the canary was armed."""

    at: float
    text: str
    mood: Mood = Mood.PLAIN


@dataclass(slots=True)
class Story:
    """Times are simulated seconds since the canary was armed, which was the world's second ``began``.

    None means that it has not happened. ``events`` are in the order they were noticed; ``findings`` are
    the last ones there were, of a tripped rollout those of its trip; ``window`` the simulated seconds that they span.
    """

    regression: Regression
    pace: Pace
    began: float = 0.0
    now: float = 0.0
    regresses_at: float | None = None
    regressed_at: float | None = None
    judged_at: float | None = None
    tripped_at: float | None = None
    quiet_since: float | None = None
    last_canary_at: float | None = None
    canary_requests: int = 0
    sentence: str = ""
    page: Mapping[str, Any] | None = None
    findings: Sequence[Mapping[str, Any]] = ()
    window: float | None = None
    events: list[StoryEvent] = field(default_factory=list)

    def observe(
        self,
        state: Mapping[str, Any] | None,
        status: Mapping[str, Any] | None,
        pages: Sequence[tuple[float, Mapping[str, Any]]],
        tripped: tuple[float, str] | None = None,
    ) -> None:
        """Take in what service, daemon, receiver and flag say at one moment.

        ``tripped``: when, in simulated seconds of the world, and the reason; None while the flag is armed.
        """
        if not self.events:
            self._note(f"{CANARY} gets {PERCENT:g}% of the users, {CONTROL} keeps the rest", at=0.0)
        if state is not None:
            self._observe_service(state)
        rollout = next(iter(status["rollouts"]), None) if status is not None else None
        if rollout is not None:
            self._observe_daemon(rollout)
        if tripped is not None and self.tripped_at is None:
            self.tripped_at, self.sentence = tripped[0] - self.began, tripped[1]
            self._note(f"TRIPPED: {self.sentence.partition(' over ')[0]}", Mood.BAD, at=self.tripped_at)
        for _, payload in pages:
            if payload.get("kind") == "TRIPPED" and self.page is None:
                self.page = payload
                self._note("the person on call is paged", Mood.BAD)
        if state is not None and state["canary_share"] == 0.0 and self.tripped_at is not None:
            self._observe_quiet()

    def _observe_service(self, state: Mapping[str, Any]) -> None:
        self.now = max(0.0, float(state["at"]) - self.began)
        self.canary_requests = int(state["canary"]["requests"])
        last = state["last_canary_at"]
        self.last_canary_at = None if last is None else float(last) - self.began
        if state["regression_at"] is not None and state["regression"] != Regression.NONE:
            self.regresses_at = float(state["regression_at"]) - self.began
        if self.regresses_at is not None and self.now >= self.regresses_at and self.regressed_at is None:
            self.regressed_at = self.regresses_at
            self._note(f"{CANARY} gets worse: it {self._bad_words()}", Mood.WARNING, at=self.regressed_at)

    def _observe_daemon(self, rollout: Mapping[str, Any]) -> None:
        trip = rollout.get("trip") or {}
        if trip.get("findings"):  # what it was tripped on, not what was seen a tick before
            self._take(trip["findings"], trip["window_seconds"])
        elif rollout["findings"]:
            self._take(rollout["findings"], rollout.get("window_seconds"))
        if self.judged_at is None and any(finding["verdict"] != Verdict.UNKNOWN for finding in self.findings):
            self.judged_at = self.now
            self._note(f"first look: {_without_flag(rollout['sentence'])}", Mood.GOOD)
        if self.judged_at is None and self.tripped_at is None and self.now > NO_VERDICT_AFTER and len(self.events) == 1:
            self._note(f"no verdict yet: {_without_flag(rollout['sentence'])}", Mood.WARNING)

    def _take(self, findings: Sequence[Mapping[str, Any]], window: float | None) -> None:
        """``window``: the daemon's own seconds, which are real ones."""
        self.findings = findings
        self.window = None if window is None else self.pace.simulated(window)

    def _observe_quiet(self) -> None:
        if self.quiet_since is None:
            self.quiet_since = self.now
            self._note(f"{CANARY} has had no request for 30 s: its share is 0", Mood.GOOD)

    def _note(self, text: str, mood: Mood = Mood.PLAIN, *, at: float | None = None) -> None:
        self.events.append(StoryEvent(self.now if at is None else at, text, mood))

    @property
    def over(self) -> bool:
        """Tripped, paged, and the canary's share is 0."""
        return self.page is not None and self.quiet_since is not None

    @property
    def ended_well(self) -> bool:
        """A bad canary was taken out and paged, and gets no traffic; or a good one was left alone."""
        if self.regression is Regression.NONE:
            return self.tripped_at is None and self.judged_at is not None
        return self.over

    def lines(self) -> list[str]:
        """The story in five lines."""
        began = f"1. {CANARY} got {PERCENT:g}% of the users of {ROLLOUT}; {CONTROL} kept the rest."
        if self.regression is Regression.NONE:
            return [began, *self._quiet_lines()]
        lines = [began, f"2. At {clock_words(self.regressed_at)} it got worse: it {self._bad_words()}."]
        if self.tripped_at is None:
            return [*lines, f"3. The kill switch had not tripped by {clock_words(self.now)}."]
        if self.regressed_at is None:
            when = f"at {clock_words(self.tripped_at)}, before it got worse"
        else:
            when = f"{duration_in_words(max(1, round(self.tripped_at - self.regressed_at)))} later"
        lines.append(f"3. The kill switch tripped {when}: {self.sentence}.")
        if self.page is not None:
            lines.append(f"4. The person on call was paged: “{self.page['alert']}”, {self.page['auto_action']}.")
        if self.quiet_since is not None:
            lines.append(
                f"5. The canary's share is 0: it answered its last request at {clock_words(self.last_canary_at)}."
            )
        return lines

    def _quiet_lines(self) -> list[str]:
        watched = duration_in_words(round(self.now))
        quiet = self.tripped_at is None
        looks = "and held." if quiet else f"and TRIPPED FALSELY: {self.sentence}"
        if quiet and self.judged_at is None:
            looks = "but never had a verdict."
        return [
            f"2. Nothing was wrong with it, for {watched} and {self.canary_requests:,} canary requests.",
            f"3. The kill switch looked every 30 s {looks}",
            "4. No one was paged." if self.page is None else "4. The person on call was paged.",
            f"5. The canary still has its {PERCENT:g}%." if quiet else "5. The canary has no traffic.",
        ]

    def _bad_words(self) -> str:
        return _WORDS[self.regression].format(REGRESSED[self.regression], REGRESSED[Regression.NONE])


def _without_flag(sentence: object) -> str:
    """The daemon's sentence without ``[armed g1 ramp_5 5%]: ``."""
    text = str(sentence)
    return text.partition("]: ")[2] or text


def clock_words(seconds: float | None) -> str:
    """Simulated seconds as ``10:05`` (minutes and seconds)."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
