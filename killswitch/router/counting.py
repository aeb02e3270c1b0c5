"""`CohortMetrics`, the service's side of the comparison: who served each request, and how it went.

::

    metrics = CohortMetrics(router)
    with metrics.request(route, user=user_id) as request:
        answer = client.chat.completions.create(model=route.model, …)
        request.answer(answer)            # refusals and tokens, from the provider's own fields
    …
    metrics.thumbs_down(token)            # an hour later, from `request.token`

Nothing here raises into the service and nothing swallows the service's exceptions. `killswitch.router.outcomes`
names how requests end; `killswitch.router.instruments` lists what is counted.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from killswitch.model import SHADOW_COHORT, CohortLabel
from killswitch.router.attribution import Attribution
from killswitch.router.feedback_tokens import BadToken, FeedbackTokens
from killswitch.router.judged import FirstSeen, RecentlySeen, period_of, shared_key
from killswitch.router.outcomes import Outcome
from killswitch.router.phrases import Phrases
from killswitch.router.request import Chunk, ServedRequest
from killswitch.router.route_types import Route
from killswitch.token_usage import Usage

if TYPE_CHECKING:
    from killswitch.router.instruments import CohortSeries, Instruments, PairCounter

_LOG = logging.getLogger(__name__)

REPLAYS_REMEMBERED = 100_000  # feedback tokens; twice as many at most, about 24 MB when full


class Routes(Protocol):
    """The source of which models serve now; a `killswitch.router.Router` is one.

    If it has a ``rollout``, feedback tokens are bound to that name.
    """

    def routes(self) -> tuple[Route, ...]: ...
    def on_change(self, listener: Callable[[], None]) -> None: ...


class CohortMetrics:
    """Counts requests, refusals, tokens and thumbs-down by model and cohort, and their judged counters.

    ``router``: its models' series exist at 0 from the start, and a new model's before its first request.
    ``instruments``: Prometheus' default registry unless given. ``tokens``: signs and reads feedback
    tokens; by default from ``KILLSWITCH_FEEDBACK_KEY_FILE`` or ``KILLSWITCH_FEEDBACK_KEY``.
    ``phrases``: also read refusals from an answer's opening words. ``first_requests``: which users come for
    the first time in their five minutes; give a shared one if one user's requests spread over processes.
    ``used_tokens``: which feedback tokens were used; give a shared one (that remembers for a day) so that a token
    counts once in the whole service and not once a process. ``clock``: seconds, monotonic; a user's five minutes are
    counted on Unix time unless another clock is given. Raises BadSettings for a bad feedback key, and nothing later.
    """

    def __init__(
        self,
        router: Routes | None = None,
        *,
        instruments: Instruments | None = None,
        tokens: FeedbackTokens | None = None,
        phrases: Phrases | None = None,
        first_requests: FirstSeen | None = None,
        used_tokens: FirstSeen | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        # without a rollout's name, tokens are valid for this object and its forked copies only
        self._rollout = str(getattr(router, "rollout", "")) or f"?{secrets.token_hex(8)}"
        self._generation = 0
        self._instruments = instruments if instruments is not None else _default_instruments()
        self._tokens = tokens if tokens is not None else FeedbackTokens.from_environment()
        self.phrases = phrases
        self.clock = clock
        self._calendar = time.time if clock is time.monotonic else clock  # the same in all processes
        self._first_requests = RecentlySeen(clock=clock)
        self._shared_first_requests = first_requests
        self._attribution = Attribution(clock)
        self._shared_used_tokens = used_tokens
        self._used_tokens = RecentlySeen(
            self._tokens.expires_after if self._tokens else 0.0, capacity=REPLAYS_REMEMBERED, clock=clock
        )
        self._series: dict[tuple[CohortLabel, str], CohortSeries] = {}
        self._declared_revision = -1
        self._warned: set[str] = set()
        self.declare()
        self._instruments.before_scrape(self.declare)
        if router is not None:
            router.on_change(self.declare)

    # --- requests

    def request(self, route: Route, user: Hashable = None) -> ServedRequest:
        """A block (``with`` or ``async with``) in which one request is served by ``route``.

        ``user``: the routing key. Whether the request is judged is decided here, before its outcome.
        Without a user every request is judged, and one user's retry storm weighs in full.
        """
        name = _name(user)
        judged = name is None or self._is_first(name)
        self._attribution.request(route[:2], name, judged=judged)
        return ServedRequest(self, route, judged=judged)

    def stream(self, route: Route, chunks: Iterable[Chunk], user: Hashable = None) -> Iterator[Chunk]:
        """The chunks of one streamed answer; the request lasts from the first pull to the last chunk."""
        with self.request(route, user) as request:
            yield from request.stream(chunks)

    async def astream(self, route: Route, chunks: AsyncIterable[Chunk], user: Hashable = None) -> AsyncIterator[Chunk]:
        """`stream` for asynchronous iterables."""
        async with self.request(route, user) as request:
            async for chunk in request.astream(chunks):
                yield chunk

    # --- feedback

    def thumbs_down(self, what: Route | str, user: Hashable = None) -> bool:
        """Count a dislike on the cohort that served the answer; True when it was counted.

        ``what``: a feedback token (`ServedRequest.token`) counts once, and in the judged counter if its
        request was judged. A `Route` counts at once, and in the judged counter with the chance that it is about a
        judged request (`killswitch.router.attribution`). A token that is forged, expired or repeated, or of
        another rollout or generation, counts for nothing.
        """
        if isinstance(what, Route):
            self._guard(lambda: self._count_thumb(what, self._attribution.is_judged(what[:2], _name(user))))
            return True
        if self._tokens is None:
            self._warn("feedback came, but there is no feedback key; set KILLSWITCH_FEEDBACK_KEY_FILE in every process")
            return False
        try:
            served = self._tokens.read(what, rollout=self._rollout)
        except BadToken as error:
            _LOG.info("thumbs-down not counted: %s", error)
            return False
        if served.generation != self._known_generation():
            _LOG.info(
                "thumbs-down not counted: its answer is of generation %d, and %d is served now",
                *(served.generation, self._generation),
            )
            return False
        if not self._used_first(served.nonce):
            _LOG.info("thumbs-down not counted: its token was used before")
            return False
        self._attribution.token()
        self._guard(lambda: self.series(served.cohort, served.model).thumbs_down(judged=served.judged))
        return True

    def _count_thumb(self, route: Route, judged: bool) -> None:  # noqa: FBT001
        self.series(route.cohort, route.model).thumbs_down(judged=judged)

    def _known_generation(self) -> int:
        """The flag's generation, or the last known one while the flag is deleted or cannot be understood."""
        if self._router is not None:
            self._generation = self._router.routes()[0].generation or self._generation
        return self._generation

    def _used_first(self, nonce: str) -> bool:
        """Whether a token is used for the first time; the shared memory is not asked about a repeated one."""
        if not self._used_tokens.first(nonce):
            return False
        if self._shared_used_tokens is None:
            return True
        try:
            return bool(self._shared_used_tokens.first(f"{self._rollout}:token:{nonce}"))
        except Exception as error:  # noqa: BLE001  # foreign code, or a network
            self._warn(f"feedback tokens are counted once in this process alone: {type(error).__name__}: {error}")
            return True

    def sign(self, route: Route, *, judged: bool) -> str:
        """A feedback token for an answer of ``route``; empty (and one warning) without a feedback key."""
        if self._tokens is None:
            self._warn("no feedback key: set KILLSWITCH_FEEDBACK_KEY_FILE, or thumbs-down cannot come back later")
            return ""
        if self._router is None:
            self._generation = max(self._generation, route.generation)
        return self._tokens.sign(
            rollout=self._rollout,
            cohort=route.cohort,
            model=route.model,
            generation=route.generation,
            judged=judged,
        )

    # --- series

    def series(self, cohort: CohortLabel, model: str) -> CohortSeries:
        series = self._series.get((cohort, model))
        if series is None:
            series = self._series[cohort, model] = self._instruments.series(cohort, model)
        return series

    def declare(self) -> None:
        """Make every series of the models that serve now exist, at 0."""
        if self._router is None:
            return
        for route in self._router.routes():
            if route.model:  # not known before the first flag was read
                self._guard(partial(self.series, route.cohort, route.model))

    def count_request(
        self,
        route: Route,
        outcome: Outcome,
        seconds: float,
        *,
        judged: bool,
        refused: bool,
        tokens: int,
        usage: Mapping[str, Any] | None = None,
    ) -> None:
        """Count one request that is over; `ServedRequest` calls this once. ``usage``: the provider's own, as JSON."""
        if route.revision != self._declared_revision:
            self._declared_revision = route.revision
            self.declare()  # the other cohort's model may be new, too, before its first request
        self._guard(
            lambda: self._count_ended(
                self.series(route.cohort, route.model),
                outcome,
                seconds,
                judged=judged,
                refused=refused,
                tokens=tokens,
                usage=usage,
            )
        )

    def count_thumbs_down(self, route: Route, *, judged: bool) -> None:
        """Count one dislike of an answer of ``route``."""
        self._guard(lambda: self.series(route.cohort, route.model).thumbs_down(judged=judged))

    # --- the shadow (`killswitch.router.shadow`)

    def declare_shadow(self, model: str) -> None:
        """Make the series of ``model`` in the cohort ``shadow`` exist, at 0."""
        self._guard(lambda: self.series(SHADOW_COHORT, model))

    def shadow_pairs(self, rollout: str) -> PairCounter:
        return self._instruments.shadow_pairs(rollout)

    def count_shadow(
        self,
        model: str,
        outcome: Outcome,
        seconds: float | None,
        *,
        judged: bool,
        refused: bool,
        tokens: int,
        usage: Mapping[str, Any] | None = None,
    ) -> None:
        """Count one request that no user sees; ``seconds``: None where they are not comparable with control's."""
        self._guard(
            lambda: self._count_ended(
                self.series(SHADOW_COHORT, model),
                outcome,
                seconds,
                judged=judged,
                refused=refused,
                tokens=tokens,
                usage=usage,
            )
        )

    def _count_ended(
        self,
        series: CohortSeries,
        outcome: Outcome,
        seconds: float | None,
        *,
        judged: bool,
        refused: bool,
        tokens: int,
        usage: Mapping[str, Any] | None,
    ) -> None:
        series.ended(outcome, None if seconds is None else seconds * 1000.0, judged=judged)
        if refused:
            series.refused(judged=judged)
        if tokens:
            series.tokens(tokens)
        known = Usage.of(usage)
        # a request that failed is mostly not billed; any other one is
        if known is not None or outcome is not Outcome.ERROR:
            series.billed(known)

    def _is_first(self, user: str) -> bool:
        """Whether this is the user's first request in these five minutes."""
        period = period_of(user, self._calendar())
        if self._shared_first_requests is not None:
            try:
                # a Redis client answers None, not False
                return bool(self._shared_first_requests.first(shared_key(self._rollout, user, period)))
            except Exception as error:  # noqa: BLE001  # foreign code, or a network
                self._warn(f"who is met first is decided in this process alone: {type(error).__name__}: {error}")
        return self._first_requests.first((user, period))

    def _guard(self, count: Callable[[], object]) -> None:
        try:
            count()
        except Exception as error:  # noqa: BLE001  # a full disk under multiprocess mode must not fail a request
            self._warn(f"metrics are not counted: {type(error).__name__}: {error}")

    def _warn(self, text: str) -> None:
        """Warn once for each text: a request path must not flood the log."""
        if text not in self._warned and len(self._warned) < 100:
            self._warned.add(text)
            _LOG.warning(text)


def _name(user: object) -> str | None:
    """The user as text, equal in every process; None for no user."""
    if user is None or isinstance(user, str):
        return user
    try:
        return str(user)
    except Exception:  # noqa: BLE001  # a foreign __str__
        return None


def _default_instruments() -> Instruments:
    from killswitch.router.instruments import PrometheusInstruments  # noqa: PLC0415  # see `killswitch.router.router`

    return PrometheusInstruments.of()
