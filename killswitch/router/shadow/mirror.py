"""`Shadow`: control's finished requests, a sample of them, asked of the canary as well, unseen by any user.

::

    shadow = Shadow(router, ask=ask_with_its_own_key, spool="/var/lib/copilot/shadow", metrics=metrics)
    …
    shadow.offer(Finished(request_id, user, prompt_class, "chat", arguments, tuple(messages), answer, route, …))

`Shadow.offer` hashes, compares and appends one reference. It does no I/O, takes no lock, copies nothing, starts no
thread and never raises. Everything else happens on threads of the shadow's own, and nothing of its answers comes back:
they go to files that `killswitch shadow worker` reads. `docs/shadow.md` is the guide.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from killswitch.errors import BadSettings
from killswitch.model import Cohort
from killswitch.router import counting_forks
from killswitch.router.counting import CohortMetrics
from killswitch.router.lock_free_count import LockFreeCount
from killswitch.router.route_types import Route, ShadowSplit
from killswitch.router.shadow.answer_cache import AnswerCache
from killswitch.router.shadow.asking import Ask, Finished
from killswitch.router.shadow.call import CallSettings
from killswitch.router.shadow.complaints import Complaints
from killswitch.router.shadow.dispatcher import Dispatcher, Offered
from killswitch.router.shadow.drops import Drop, Drops
from killswitch.router.shadow.lanes import lane_for
from killswitch.router.shadow.ledger import SpendLedger, check_ledger
from killswitch.router.shadow.own_refusals import RefusalRule, rule_of
from killswitch.router.shadow.pressure import Pressure
from killswitch.router.shadow.quota import status_of
from killswitch.router.shadow.request_ids import new_request_id
from killswitch.router.shadow.sampling import first_four_bytes, text_of_id
from killswitch.router.shadow.shadow_metrics import ShadowMetrics
from killswitch.router.shadow.shadowed_request import ShadowedRequest
from killswitch.router.shadow.spool import Spool
from killswitch.router.shadow.user_hash import UserHash
from killswitch.router.shadow.weights import Weights, heaviest, of_all, of_answer

_BUSY_LOOK = 0.02  # seconds between turns while something is asked
_IDLE_LOOK = 0.05
MOST_BYTES = 64_000_000  # of all requests and answers that wait
MOST_UNWEIGHED = 200  # requests that `_weigh_queue` has not seen yet; it looks up to 50 times a second
_AT_EXIT = 5.0  # seconds that a process's end waits for the shadow
_OFF_LOOK = 0.25  # while the flag asks for no shadow

log = logging.getLogger(__name__)


class ShadowSource(Protocol):
    """Says which requests are shadowed now; a `killswitch.router.Router` is one."""

    @property
    def rollout(self) -> str: ...
    def shadow_split(self) -> ShadowSplit: ...


class Shadow:
    """One object a process. ``router``'s flag says how many requests are shadowed; 0 costs nothing.

    ``ask`` sends one request, with a client and a key of its own: a coroutine function (on an event loop of the
    shadow's own, so give it a client that no other loop uses) or a function (on ``workers`` threads). ``spool``: a
    folder for the raw pairs, up to ``spool_bytes``. ``queue``: sampled requests that may wait. ``timeout``: seconds of
    one call. ``noise``: the part of the sampled (0 to 1) that asks control a second time. ``ledger``: holds the price
    of each call (`killswitch.spend.Ledger.for_scopes`); None spends without a limit of ours. ``user_key_file``: the key
    of the users' hashes, by default from ``KILLSWITCH_SHADOW_KEY_FILE``. ``side_effects``: whether requests with tools
    act on the world where the service does not say. ``pressure_share``: the shadow rests when less than this part of
    control's rate limit is left. ``refused``: your own rule of what is a refusal, given the text of each answer, of
    control's and of the canary's; the ``phrases`` of ``metrics`` count as well.
    ``cache``: answers of the canary that are kept for requests that come again; 0 asks each time. Raises BadSettings.
    """

    def __init__(  # long: one line for each setting
        self,
        router: ShadowSource,
        *,
        ask: Ask,
        spool: str | Path,
        metrics: CohortMetrics | None = None,
        workers: int = 4,
        queue: int = 1000,
        timeout: float = 30.0,
        noise: float = 0.10,
        ledger: SpendLedger | None = None,
        max_request_bytes: int = 1_000_000,
        spool_bytes: int = 1_000_000_000,
        user_key_file: str | Path | None = None,
        side_effects: bool = True,
        pressure_share: float = 0.2,
        cache: int = 0,
        refused: RefusalRule | None = None,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        _check(ask, workers=workers, queue=queue, timeout=timeout, noise=noise)
        check_ledger(ledger, router.rollout)
        self._router = router
        self._split = router.shadow_split
        self._clock = clock
        self._calendar = calendar
        self._room = queue
        self._queue: deque[Offered] = deque()
        self._bytes = 0  # about what waits in the queue
        self._weights = Weights()
        self._drops = Drops()
        self._refused = self._drops.queue_full
        self._limited = LockFreeCount()
        self._limited_once = self._limited.add
        self._spool = Spool(spool, most_bytes=spool_bytes, dropped=self._drops.add, calendar=calendar)
        self._results: deque[Any] = deque()
        complain = Complaints()
        self._settings = CallSettings(
            rollout=router.rollout,
            timeout=timeout,
            max_request_bytes=max_request_bytes,
            tools_act=side_effects,
            ledger=ledger,
            hash_user=UserHash(user_key_file),
            current=router.shadow_split,
            clock=clock,
            drop=self._drops.add,
            put=self._spool.put,
            counted=self._take_result,
            complain=complain,
            warn_once=complain.warn_once,
            cache=AnswerCache(cache) if cache > 0 else None,
            refusal_rule=rule_of(refused, metrics.phrases if metrics is not None else None),
        )
        self.ask = ask
        self._workers = workers
        self._noise = noise
        self._pressure_share = pressure_share
        self._counting = ShadowMetrics(
            metrics,
            router.rollout,
            complain=complain,
            shares_key=self._shares_key,
            capped=ledger is not None,
            calendar=calendar,
        )
        self.counting = threading.Lock()  # held while metrics count: a fork waits for it
        self._closing = False
        self._unseen_room = 0  # the queue's length from which on `offer` weighs by itself
        self._begin()
        counting_forks.started.add(self)

    # --- the request's path

    def offer(self, finished: Finished) -> None:
        """Give one finished request to the shadow: one hash, one look at the queue's length, one append.

        No I/O, no lock, no await, no copy, no log line, no exception; under 2 microseconds.
        """
        try:
            split = self._split()
            percent = split.percent
            if split.classes:
                percent = split.classes.get(finished.prompt_class, percent)
            if percent <= 0.0:
                return
            if finished.control_status == 429:
                self._limited_once()
            digest = sha256((split.salt + finished.request_id).encode()).digest()
            if first_four_bytes(digest)[0] % 10000 / 100 >= percent:
                return
            size = finished.size or of_answer(finished.answer)
            if len(self._queue) >= self._unseen_room or self._bytes + size > MOST_BYTES:
                size = self._room_for(finished, size)
                if size < 0:
                    self._refused()
                    return
            # two threads may add at once and one be lost: `_weigh_queue` counts again fifty times a second
            self._bytes += size
            self._queue.append((finished, split, digest, self._clock(), size))
        except Exception:  # noqa: BLE001  # a request id may be anything, with any operator
            self._offer_unusual(finished)

    def _room_for(self, finished: Finished, size: int) -> int:
        """Bytes of one more, walked through here, in some 30 microseconds; -1 where there is no room.

        Only of what comes while `MOST_UNWEIGHED` others have not been looked at: a burst, or a thread that hangs.
        """
        if len(self._queue) >= self._room or self._bytes + size > MOST_BYTES:
            return -1
        size = finished.size or max(size, of_all(finished.answer, finished.arguments))
        return size if self._bytes + size <= MOST_BYTES else -1

    def _offer_unusual(self, finished: Finished) -> None:
        """Request ids that are no plain text: a number, a UUID and a text with half a character are taken as text."""
        try:
            plain = _plain(finished.request_id, finished.prompt_class)
            if plain is not None:
                self.offer(finished._replace(request_id=plain[0], prompt_class=plain[1]))
                return
        except Exception:  # noqa: BLE001, S110  # no `Finished` at all, or a hostile class
            pass
        self._drops.unidentified()

    def samples(self, request_id: str, prompt_class: str = "") -> bool:
        """Whether `offer` would take this request: a stream of one that it would not take need not be kept."""
        try:
            split = self._split()
            percent = split.classes.get(prompt_class, split.percent)
            if percent <= 0.0:
                return False
            digest = sha256((split.salt + request_id).encode()).digest()
            return bool(first_four_bytes(digest)[0] % 10000 / 100 < percent)
        except Exception:  # noqa: BLE001  # as in `offer`
            plain = _plain(request_id, prompt_class)
            return plain is not None and self.samples(*plain)

    def begin(
        self,
        route: Route,
        arguments: Mapping[str, Any] | list[bytes],
        *,
        api: str,
        user: object = None,
        request_id: str = "",
        prompt_class: str = "",
        side_effects: bool | None = None,
    ) -> ShadowedRequest | None:
        """Note a request that is about to be made, if it is in the sample: it offers itself when it has ended.

        ``arguments``: those of the call, or the list that its body's parts are put into. ``request_id``: a new one
        unless given. Never raises.
        """
        try:
            if route.cohort is not Cohort.CONTROL:
                return None
            if not self._split().canary:  # before an id is made: nothing is shadowed
                return None
            request_id = request_id or new_request_id()
            if not self.samples(request_id, prompt_class):
                return None
            return ShadowedRequest(
                self,
                route,
                arguments,
                api,
                user,
                request_id,
                prompt_class,
                side_effects,
                self._clock,
                self._calendar,
            )
        except Exception:  # noqa: BLE001  # arguments may be anything
            self._drops.add(Drop.FAILED)
            return None

    def drop(self, reason: Drop) -> None:
        """Count one request of the sample that will not be offered."""
        self._drops.add(reason)

    def control_failed(self, error: BaseException) -> None:
        """Control's call raised ``error``; where it is 429 the shadow rests, whether the request was sampled or not."""
        if status_of(error) == 429:
            self._limited_once()

    def _shares_key(self) -> bool:
        return getattr(self.ask, "shares_key", False) is True

    # --- the shadow's own threads

    def _begin(self) -> None:
        self._unseen_room = min(self._room, MOST_UNWEIGHED)
        self._results.clear()
        self._wake = threading.Event()
        self._spool.start()
        self._dispatcher = Dispatcher(
            self._queue,
            settings=self._settings,
            lane=lane_for(self.ask, self._workers, self._clock, self._wake.set),
            drops=self._drops,
            limited=self._limited,
            pressure=Pressure(self._pressure_share),
            counting=self._counting,
            noise=self._noise,
            most_hung=max(4, 2 * self._workers),
            write_drops=self._spool.put,
            calendar=self._calendar,
        )
        self._dispatcher.results = self._results
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killswitch-shadow", daemon=True)
        self._thread.start()

    def begin_in_child(self, *, counts: bool = True) -> None:
        """After a fork the child has the parent's memory and none of its threads: what waits is the parent's.

        ``counts`` is False where a metric was being counted as it forked: its lock is held here for good.
        """
        self.counting = threading.Lock()
        if not counts:
            self._counting = ShadowMetrics(None, self._router.rollout, complain=self._settings.complain)
        if self._closing:
            return
        self._queue.clear()
        self._bytes, self._weights = 0, Weights()
        self._spool.start_again()
        if self._settings.cache is not None:
            self._settings.cache.start_again()
        self._drops.take()
        self._begin()

    def _weigh_queue(self) -> None:
        """Walk through what is new: `offer` has no time to, and knows only large texts of whole answers.

        1,000 streams that wait, as objects of a client, would take a service's memory. Of too much the heaviest go.
        """
        counted = self._bytes
        weights = self._weights.of(self._queue.copy())
        for place in sorted(heaviest(weights, MOST_BYTES), reverse=True):  # from the end: places before it stay
            del self._queue[place], weights[place]
            self._drops.queue_full()
        self._bytes += sum(weights) - counted  # what was offered since the copy stays counted
        self._unseen_room = min(self._room, len(weights) + MOST_UNWEIGHED)
        if self._closing:  # looked at last: `close` may have come between
            self._unseen_room = 0

    def _take_result(self, counted: Any) -> None:
        self._results.append(counted)
        self._wake.set()

    def _run(self) -> None:
        dispatcher, ended = self._dispatcher, self._ended
        canary = ""
        while not ended.is_set():
            try:
                with self.counting:
                    split = self._split()
                    if split.canary and split.canary != canary:
                        canary = split.canary
                        self._counting.declare(canary)
                    dispatcher.turn()
                self._weigh_queue()
            except Exception:  # noqa: BLE001  # logged by `complain`
                self._settings.complain("unexpected error in the dispatcher")
            idle = dispatcher.idle()
            self._wake.wait(_BUSY_LOOK if not idle else _IDLE_LOOK if canary and split.canary else _OFF_LOOK)
            self._wake.clear()

    # --- the end

    def close(self, timeout: float = 10.0) -> None:
        """Ask what waits, and write it, within ``timeout`` seconds; what is lost is counted and logged once.

        From here on `offer` counts ``shutting_down``. A second call does nothing. At a process's end it is called with
        5 s. A service with a SIGTERM handler of its own calls it there.
        """
        if self._closing:
            return
        self._closing = True
        self._refused = self._drops.shutting_down
        self._room = self._unseen_room = 0
        until = time.monotonic() + timeout
        while time.monotonic() < until - 0.2 and not self._is_idle():
            self._wake.set()
            time.sleep(min(0.02, max(0.0, until - time.monotonic())))
        self._ended.set()
        self._wake.set()
        self._thread.join(max(0.1, until - time.monotonic()))
        # a metric that hangs holds this lock for good; then nothing is counted, and the process still ends
        counting = self.counting.acquire(timeout=0.5)
        self._dispatcher.give_up_all()
        self._dispatcher.lane.close()
        self._spool.close(max(0.5, until - time.monotonic()))
        lost = self._dispatcher.lost
        if counting:
            self.counting.release()
        if lost:
            log.warning("shadow of %s: %d sampled requests were lost in shutting down", self._router.rollout, lost)

    def _is_idle(self) -> bool:
        """Whether all that was offered is done; asked between two turns, where nothing is half handed out."""
        if not self.counting.acquire(timeout=0.1):
            return False
        try:
            return self._dispatcher.idle()
        finally:
            self.counting.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _plain(request_id: object, prompt_class: object) -> tuple[str, str] | None:
    """Both as plain texts; None where the id is nothing that can be hashed, or both were plain and failed anyway."""
    text = text_of_id(request_id)
    if text is None or (type(request_id) is str and text == request_id and type(prompt_class) is str):
        return None
    try:
        return text, str.__str__(str(prompt_class))
    except Exception:  # noqa: BLE001  # a foreign __str__
        return text, ""


def _check(ask: object, *, workers: int, queue: int, timeout: float, noise: float) -> None:
    problems = []
    if not callable(ask):
        problems.append("ask must be a function that sends one request")
    if workers < 1:
        problems.append(f"workers must be 1 or more, got {workers}")
    if queue < 1:
        problems.append(f"queue must be 1 or more, got {queue}")
    if not timeout > 0:
        problems.append(f"timeout must be over 0 seconds, got {timeout}")
    if not 0 <= noise <= 1:
        problems.append(f"noise must be from 0 to 1, got {noise}")
    if problems:
        raise BadSettings(problems)


def _close_all() -> None:
    for one in tuple(counting_forks.started):
        if isinstance(one, Shadow):
            one.close(_AT_EXIT)


atexit.register(_close_all)
