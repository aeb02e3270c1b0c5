"""A simulated LLM service: counters that grow exactly as told, on a real ``/metrics``.

Every number is an integral of the rates over time, so a healthy canary has no luck in it and a bad one
is over its limit as soon as the window holds enough of it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace

from tests.doubles.http_double import Answer, HttpDouble, Received

EDGES_MS = (100, 250, 500, 1000, 2500, 5000, 10000)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Rates are fractions of requests; ``rate`` is requests a second; ``slow`` the share over 2.5 s."""

    rate: float = 100.0
    errors: float = 0.01
    refusals: float = 0.01
    thumbs_down: float = 0.005
    slow: float = 0.01


HEALTHY = Behaviour()
FAILING = replace(HEALTHY, errors=0.30)


@dataclass(slots=True)
class _Side:
    behaviour: Behaviour = HEALTHY
    since: float = 0.0
    totals: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("ok", "error", "refused", "down", "slow"), 0.0)
    )

    def settle(self, now: float) -> None:
        made = (now - self.since) * self.behaviour.rate
        self.since = now
        b = self.behaviour
        self.totals["error"] += made * b.errors
        self.totals["refused"] += made * b.refusals
        self.totals["ok"] += made * (1 - b.errors - b.refusals)
        self.totals["down"] += made * b.thumbs_down
        self.totals["slow"] += made * b.slow


class Service(HttpDouble):
    """Use as a context manager. Each rollout has a ``control`` and a ``canary`` that a test can make bad."""

    def __init__(self, rollouts: list[str]) -> None:
        super().__init__(self._serve)
        self._lock = threading.Lock()
        self._sides = {(rollout, cohort): _Side(since=time.monotonic()) for rollout in rollouts for cohort in _COHORTS}
        self.hidden: set[tuple[str, str]] = set()  # (metric, cohort) that is left out
        self.scrapes = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def set(self, behaviour: Behaviour, *, rollout: str | None = None, cohort: str = "canary") -> None:
        """From now on this cohort behaves so; in every rollout unless one is named."""
        now = time.monotonic()
        with self._lock:
            for (name, side), state in self._sides.items():
                if side == cohort and rollout in (None, name):
                    state.settle(now)
                    state.behaviour = behaviour

    def restart(self) -> None:
        """All counters begin at zero again, as after a restart of the service."""
        now = time.monotonic()
        with self._lock:
            for state in self._sides.values():
                state.since = now
                state.totals = dict.fromkeys(state.totals, 0.0)

    def _serve(self, request: Received) -> Answer:
        self.received.clear()  # scrapes for minutes are not worth their memory
        self.scrapes += 1
        return Answer(200, self._exposition().encode(), {"Content-Type": "text/plain; version=0.0.4"})

    def _exposition(self) -> str:
        now = time.monotonic()
        lines: list[str] = []
        with self._lock:
            for (rollout, cohort), state in self._sides.items():
                state.settle(now)
                labels = f'rollout="{rollout}",model="{_MODELS[cohort]}",cohort="{cohort}"'
                whole = {name: int(value) for name, value in state.totals.items()}
                requests = whole["ok"] + whole["error"] + whole["refused"]
                if ("requests", cohort) not in self.hidden:
                    lines += [
                        f'llm_requests_total{{{labels},outcome="{outcome}"}} {whole[outcome]}'
                        for outcome in ("ok", "error", "refused")
                    ]
                if ("refusals", cohort) not in self.hidden:
                    lines.append(f"llm_refusals_total{{{labels}}} {whole['refused']}")
                if ("thumbs_down", cohort) not in self.hidden:
                    lines.append(f"llm_thumbs_down_total{{{labels}}} {whole['down']}")
                if ("latency", cohort) not in self.hidden:
                    lines += _histogram(labels, requests, min(whole["slow"], requests))
        return "\n".join([*lines, ""])


_COHORTS = ("control", "canary")
_MODELS = {"control": "model-old", "canary": "model-new"}


def _histogram(labels: str, requests: int, slow: int) -> list[str]:
    quick = requests - slow
    # quick requests spread evenly up to a second, slow ones between 2.5 and 10 s
    shares = {100: 0.1, 250: 0.25, 500: 0.5, 1000: 1.0, 2500: 1.0}
    counts = [(edge, int(quick * shares[edge]) if edge in shares else quick + slow // 2) for edge in EDGES_MS[:-1]]
    counts.append((EDGES_MS[-1], requests))
    lines = [f'llm_latency_ms_bucket{{{labels},le="{edge}"}} {count}' for edge, count in counts]
    return [
        *lines,
        f'llm_latency_ms_bucket{{{labels},le="+Inf"}} {requests}',
        f"llm_latency_ms_count{{{labels}}} {requests}",
        f"llm_latency_ms_sum{{{labels}}} {requests * 500}",
    ]
