"""Our verdict for tools that release software: JSON for Argo Rollouts, and an HTTP status for Flagger's webhooks.

All of it only reads, so it needs no more than other reads do. A verdict that is not known is a verdict like others to
Argo (HTTP 200, "unknown"): a measurement that fails four times would abort a release. To Flagger only a yes is 200.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from killswitch.errors import KillswitchError
from killswitch.status.release_verdict import ReleaseVerdict, Word, release_verdict
from killswitch.status.reports import CycleReport
from killswitch.stores import Store, keys
from killswitch.web.flag_endpoints import FlagView
from killswitch.web.shared_look import SharedLook
from killswitch.wording import plain

HOLDS_FRESH_FOR = 10.0  # seconds: older than that, whether a plan is held is not known
NO = 409  # Flagger shows its body as the reason, and repeats no request that is answered so


class HoldView:
    """Which rollouts' plans are held, as the store last said. Thread-safe. ``monotonic`` in seconds."""

    def __init__(self, store: Store, *, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._shared = SharedLook(self._look, monotonic=monotonic)
        self._seen: tuple[float, frozenset[str]] | None = None

    def held(self, rollout: str) -> bool | None:
        """Whether it is held; None where that is not known."""
        self._shared.refresh()
        with self._lock:
            if self._seen is None or self._monotonic() - self._seen[0] > HOLDS_FRESH_FOR:
                return None
            return rollout in self._seen[1]

    def _look(self) -> None:
        asked_at = self._monotonic()
        try:
            found = self._store.list(keys.HOLDS).items
        except KillswitchError:
            return
        with self._lock:
            self._seen = asked_at, frozenset(item.key.removeprefix(keys.HOLDS) for item in found)


class VerdictView:
    """The verdict on one rollout now. ``age`` and ``oldest`` of the newest cycle in seconds."""

    def __init__(
        self,
        flags: FlagView,
        holds: HoldView,
        *,
        latest: Callable[[], CycleReport | None],
        age: Callable[[], float | None],
        oldest: float,
    ) -> None:
        self._flags = flags
        self._holds = holds
        self._latest = latest
        self._age = age
        self._oldest = oldest

    def of(self, rollout: str) -> ReleaseVerdict | None:
        """None: the store was read, and has no flag of this name."""
        seen = self._flags.current()
        if seen is None:
            return ReleaseVerdict(Word.UNKNOWN, "the flag store has not been read yet")
        flag = seen.flags.get(rollout)
        if flag is None:
            return ReleaseVerdict(Word.UNKNOWN, "the flag store cannot be read") if self._flags.failing else None
        age = self._age()  # before the report: a report that is newer than its age is not taken for younger
        return release_verdict(
            flag,
            self._latest(),
            age=age,
            oldest=self._oldest,
            stale=seen.stale or self._flags.failing,
            held=self._holds.held(rollout),
        )


def verdict_routes(view: VerdictView) -> list[Route]:
    """The endpoints, to be mounted next to the others."""

    def verdict(request: Request) -> Response:
        rollout = request.path_params["rollout"]
        found = view.of(rollout)
        if found is None:
            return JSONResponse({"error": f"no flag is called {rollout!r:.80}"}, 404)
        return JSONResponse(found.document(rollout))

    def asked(decided: Callable[[ReleaseVerdict], bool]) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            try:
                await request.body()  # of Flagger's message nothing is needed
            except ClientDisconnect:
                return PlainTextResponse("a body may not be so large\n", 413)
            return await run_in_threadpool(_answer, view, request.path_params["rollout"], decided)

        return answer

    return [
        Route("/api/v1/verdict/{rollout}", verdict),
        Route("/flagger/confirm/{rollout}", asked(lambda found: found.may_go_on), methods=["POST"]),
        Route("/flagger/rollback/{rollout}", asked(lambda found: found.roll_back), methods=["POST"]),
    ]


def _answer(view: VerdictView, rollout: str, decided: Callable[[ReleaseVerdict], bool]) -> Response:
    found = view.of(rollout)
    if found is None:
        return PlainTextResponse(f"no flag is called {rollout!r:.80}\n", 404)
    words = f"{rollout}: {found.word.value}: {plain(found.sentence, 500)}\n"
    return PlainTextResponse(words, 200 if decided(found) else NO)
