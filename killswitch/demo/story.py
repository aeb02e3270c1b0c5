"""What happened in the demo so far, told from what the processes themselves say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from killswitch.demo.pace import Pace
from killswitch.demo.stage import CANARY, CONTROL, PERCENT, ROLLOUT
from killswitch.demo.traffic import REGRESSED, Regression
from killswitch.wording import duration_in_words

_WORDS: Mapping[Regression, str] = {
    Regression.REFUSALS: "refuses {0.refusal_rate:.1%} of its requests instead of {1.refusal_rate:.1%}",
    Regression.ERRORS: "fails {0.error_rate:.0%} of its requests instead of {1.error_rate:.0%}",
    Regression.LATENCY: "answers in {0.latency_median_ms:.0f} ms instead of {1.latency_median_ms:.0f} ms (median)",
    Regression.THUMBS_DOWN: "gets thumbs-down on {0.thumbs_down_rate:.1%} of answers instead of {1.thumbs_down_rate:.1%}",
}


@dataclass(slots=True)
class Story:
    """Times are simulated seconds since the service began; None for what has not happened."""

    regression: Regression
    pace: Pace
    regressed_at: float | None = None
    tripped_at: float | None = None
    sentence: str = ""
    page: Mapping[str, Any] | None = None
    page_after: float | None = None
    last_canary_at: float | None = None
    quiet_since: float | None = None
    now: float = 0.0
    requests: int = 0
    page_is_late: bool = False

    def observe(
        self,
        state: Mapping[str, Any] | None,
        status: Mapping[str, Any] | None,
        pages: list[tuple[float, dict[str, Any]]],
    ) -> None:
        """Take in what service, daemon and receiver say at one moment."""
        if state is not None:
            self.now = float(state["at"])
            self.requests = int(state["canary"]["requests"])
            self.last_canary_at = state["last_canary_at"]
            at = state["regression_at"]
            if at is not None and self.now >= at:
                self.regressed_at = float(at)
            if state["canary_share"] == 0.0 and self.tripped_at is not None and self.quiet_since is None:
                self.quiet_since = self.now
        rollout = next(iter(status["rollouts"]), None) if status is not None else None
        if rollout is not None and rollout["state"] == "tripped" and self.tripped_at is None:
            self.tripped_at = self.now
            self.sentence = str(rollout["sentence"]).partition(": tripped by ")[2].partition(": ")[2]
        for _, payload in pages:
            if payload.get("kind") == "TRIPPED" and self.page is None:
                self.page = payload

    @property
    def over(self) -> bool:
        """Tripped, paged, and the canary's share is 0."""
        return self.page is not None and self.quiet_since is not None

    def lines(self) -> list[str]:
        """The story in five lines."""
        began = f"1. {CANARY} got {PERCENT:g}% of the users of {ROLLOUT}; {CONTROL} kept the rest."
        if self.regression is Regression.NONE:
            watched = duration_in_words(round(self.now))
            quiet = self.tripped_at is None
            return [
                began,
                f"2. Nothing was wrong with it, for {watched} of simulated time and {self.requests:,} canary requests.",
                "3. The kill switch looked every 30 s and "
                + ("held." if quiet else f"TRIPPED FALSELY: {self.sentence}"),
                "4. Nobody was paged." if self.page is None else "4. Somebody was paged.",
                f"5. The canary still has its {PERCENT:g}%." if quiet else "5. The canary has no traffic.",
            ]
        bad = _WORDS[self.regression].format(REGRESSED[self.regression], REGRESSED[Regression.NONE])
        lines = [began, f"2. At {clock_words(self.regressed_at)} it got worse: it {bad}."]
        if self.tripped_at is None or self.regressed_at is None:
            return [*lines, f"3. The kill switch had not tripped by {clock_words(self.now)}."]
        delay = duration_in_words(max(1, round(self.tripped_at - self.regressed_at)))
        lines.append(f"3. The kill switch tripped {delay} later: {self.sentence}.")
        if self.page is not None:
            lines.append(f"4. The person on call was paged: “{self.page['alert']}”, {self.page['auto_action']}.")
        if self.quiet_since is not None and self.last_canary_at is not None:
            lines.append(
                f"5. The canary's share is 0: it answered its last request at {clock_words(self.last_canary_at)}."
            )
        return lines


def clock_words(seconds: float | None) -> str:
    """Simulated seconds as ``10:05`` (minutes and seconds)."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
