"""What a routing decision costs, and a counted request around it.

Times are ratios to ``hashlib.sha256`` alone in the same run, beside the absolute figures, which are this machine's.
(What importing the SDK costs: ``bench.sdk_import``.)

    python -m bench.route
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from killswitch.flags import flag
from killswitch.flags.document import to_document as flag_document
from killswitch.model import Cohort
from killswitch.router import CohortMetrics, Route, Router, RouteReason, bucket
from killswitch.router.exposures import ExposureLog
from killswitch.router.route_types import NOTHING_SHADOWED
from killswitch.token_usage import Usage

CALLS = 2_000
ROUNDS = 300
USAGE = Usage(input=800, cached_input=100, output=250, reasoning=50)
REPORTED = {
    "prompt_tokens": 900,
    "completion_tokens": 300,
    "total_tokens": 1_200,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 50},
}
ANSWER = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}], "usage": REPORTED}


def microseconds(call: Callable[[str], object], keys: list[str]) -> tuple[float, float]:
    """Median and 99th percentile over rounds of the mean time of one call, the empty call's time taken off."""

    def mean(of: Callable[[str], object]) -> float:
        start = time.thread_time()  # CPU time: what others do on this machine is not the router's
        for key in keys:
            of(key)
        return (time.thread_time() - start) / len(keys) * 1e6

    rounds = sorted(mean(call) - mean(_nothing) for _ in range(ROUNDS))
    return statistics.median(rounds), rounds[int(0.99 * len(rounds))]


def _nothing(key: str) -> None:
    pass


def exposure_log(folder: Path) -> ExposureLog:
    (folder / "key").write_bytes(b"0123456789abcdef")
    return ExposureLog(folder / "exposures", key_file=folder / "key", registry=None)


def microseconds_of_new_users(log: ExposureLog) -> float:
    """The mean over fresh memories of `ROUNDS` / 10 rollouts; their rows wait for the log's thread or are dropped."""
    split = SplitOf(5.0)
    means = []
    for number in range(ROUNDS // 10):
        notes = log.notes_of(f"new-{number}")
        keys = [f"user-{one}" for one in range(100)]
        start = time.thread_time()
        for key in keys:
            notes.note(split, split.control_route, key)
        means.append((time.thread_time() - start) / len(keys) * 1e6)
    return statistics.median(means)


class SplitOf:
    """An armed split, as a router reads it."""

    exposes = True
    salt = ""
    shadow = NOTHING_SHADOWED

    def __init__(self, percent: float) -> None:
        self.canary_percent = percent
        self.control_route = Route(Cohort.CONTROL, "old", RouteReason.SPLIT, 1, 1)
        self.canary_route = Route(Cohort.CANARY, "new", RouteReason.SPLIT, 1, 1)


def main() -> None:
    keys = [f"user-{number}" for number in range(CALLS)]
    encoded = dict(zip(keys, (key.encode() for key in keys), strict=True))
    armed = flag.arm(
        None, rollout="bench", control="old", canary="new", percent=5.0, stage="ramp_5", now=time.time(), by="bench"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flag.json"
        path.write_bytes(flag_document(armed))
        with Router("bench", f"file://{path}", control="old", registry=None) as router:
            if not router.wait_ready(10.0):
                raise SystemExit("the flag file was not read within 10 s")
            metrics = CohortMetrics(router)
            log = exposure_log(Path(folder))
            logged = Router("bench", f"file://{path}", control="old", registry=None, exposures=log)
            logged.wait_ready(10.0)

            def whole_request(key: str) -> None:
                with metrics.request(router.route(key), user=key):
                    pass

            def billed_request(key: str) -> None:
                with metrics.request(router.route(key), user=key) as request:
                    request.answer(ANSWER)

            series = metrics.series(Cohort.CONTROL, "old")
            rows: list[tuple[str, Callable[[str], object]]] = [
                ("hashlib.sha256 alone, digest", lambda key: sha256(encoded[key]).digest()),
                ("the formula, bucket()", lambda key: bucket("", key)),
                ("Router.route()", router.route),
                ("the same with a log, user seen before", logged.route),
                ("Router.route() with a pin", lambda key: router.route(key, "canary")),
                ("route() and a counted request", whole_request),
                ("the same, and its answer's usage", billed_request),
                ("the token counters alone", lambda _: series.billed(USAGE)),
                ("usage as a provider reports it", lambda _: Usage.of(REPORTED)),
            ]
            base = 0.0
            print(f"{'one call':38}{'median us':>10}{'p99 us':>9}{'x sha256':>10}")
            for name, call in rows:
                median, high = microseconds(call, keys)
                base = base or median
                print(f"{name:38}{median:10.3f}{high:9.3f}{median / base:10.2f}")
            first = microseconds_of_new_users(log)
            print(f"{'a new user, hashed and queued':38}{first:10.3f}{'':9}{first / base:10.2f}")
            logged.close()


if __name__ == "__main__":
    main()
