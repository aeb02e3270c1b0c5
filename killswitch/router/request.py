"""`ServedRequest`: one request while it is served, and how it ended."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from killswitch.router.outcomes import Outcome, outcome_of
from killswitch.router.phrases import MAX_OPENING_CHARACTERS, Phrases
from killswitch.router.provider_usage import usage_so_far
from killswitch.router.refusals import completion_tokens, failure_signal, finish_mark, refusal_signal, text_of
from killswitch.router.route_types import Route
from killswitch.router.usual_chunks import UsualChunks

Chunk = TypeVar("Chunk")
_MAX_TOKENS = 10_000_000  # of one answer; more is a caller's mistake


class RequestRecorder(Protocol):
    """Where a finished request is recorded; `killswitch.router.counting.CohortMetrics` is one."""

    @property
    def clock(self) -> Callable[[], float]: ...
    @property
    def phrases(self) -> Phrases | None: ...
    def sign(self, route: Route, *, judged: bool) -> str: ...
    def count_thumbs_down(self, route: Route, *, judged: bool) -> None: ...
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
    ) -> None: ...


class Shadowed(Protocol):
    """Where a request of control that is to be shadowed is noted; `killswitch.router.shadow` has it."""

    answer: object

    def chunk(self, chunk: object) -> None: ...
    def ended(self, outcome: Outcome, seconds: float, error: BaseException | None) -> None: ...


class Shadows(Protocol):
    """What decides whether a request is shadowed; `killswitch.router.shadow.mirror.Shadow` is one."""

    def begin(
        self,
        route: Route,
        arguments: Mapping[str, Any] | list[bytes],
        *,
        api: str,
        user: object,
        request_id: str,
        prompt_class: str,
        side_effects: bool | None,
    ) -> Shadowed | None: ...

    def control_failed(self, error: BaseException) -> None: ...


class ServedRequest:
    """One request being served. Use it as a block; what is noted inside is counted once, at its end.

    ``route`` serves it; ``judged`` was decided before it began.
    """

    __slots__ = (
        "_broken",
        "_disliked",
        "_done",
        "_failed",
        "_finished",
        "_opening",
        "_outcome",
        "_recorder",
        "_refused",
        "_shadow",
        "_shadowed",
        "_started",
        "_tokens",
        "_usage",
        "judged",
        "route",
    )

    def __init__(self, recorder: RequestRecorder, route: Route, *, judged: bool) -> None:
        self._recorder = recorder
        self.route = route
        self.judged = judged
        self._started = recorder.clock()
        self._outcome: Outcome | None = None
        self._refused = False
        self._broken = False
        self._failed = False
        self._finished = False
        self._disliked = False
        self._done = False
        self._tokens = 0
        self._usage: dict[str, Any] | None = None
        self._opening = ""
        self._shadow: Shadows | None = None
        self._shadowed: Shadowed | None = None

    @property
    def token(self) -> str:
        """A feedback token for the front end (see `killswitch.router.feedback_tokens`); "" without a feedback key."""
        return self._recorder.sign(self.route, judged=self.judged)

    def refused(self) -> None:
        """The model refused."""
        self._refused = True

    def tokens(self, count: int) -> None:
        """``count`` more tokens were written by the model."""
        if isinstance(count, int) and 0 < count <= _MAX_TOKENS:
            self._tokens = min(self._tokens + count, _MAX_TOKENS)

    def ends_as(self, outcome: Outcome) -> None:
        """Name the outcome yourself; an exception that ends the block overrides it."""
        self._outcome = outcome

    def ends_as_unless_said(self, outcome: Outcome) -> None:
        """The outcome that a status line means; what the service named goes first."""
        if self._outcome is None and outcome is not Outcome.OK:
            self._outcome = outcome

    def answer(self, payload: object) -> None:
        """Look at a whole answer (JSON object, SDK object, or text) for a failure, a refusal and its tokens."""
        self._failed = self._failed or failure_signal(payload)
        if refusal_signal(payload) is not None:
            self._refused = True
        if self._recorder.phrases is not None and not self._opening:
            self._opening = text_of(payload)[:MAX_OPENING_CHARACTERS]
        count = completion_tokens(payload)
        if count:
            self._tokens = min(count, _MAX_TOKENS)
        self._usage = usage_so_far(self._usage, payload)
        if self._shadowed is not None:
            self._shadowed.answer = payload

    def shadow(
        self,
        shadow: Shadows,
        arguments: Mapping[str, Any] | list[bytes],
        *,
        api: str = "chat",
        user: object = None,
        request_id: str = "",
        prompt_class: str = "",
        side_effects: bool | None = None,
    ) -> Any:
        """Offer this request to ``shadow`` when it has ended. Call it just before the model is asked.

        ``arguments``: those of the model's call; they are kept, not copied, and their messages counted now. ``api``:
        ``chat``, ``responses``, ``messages`` or ``completions``. ``request_id``: what the sample is drawn by, a new one
        unless given. ``side_effects``: whether the answer makes the service act; None: if the request has tools.
        What `answer`, `stream` and `astream` see is control's answer. Returns what notes it, None where the request is
        not in the sample.
        """
        self._shadow = shadow
        self._shadowed = shadow.begin(
            self.route,
            arguments,
            api=api,
            user=user,
            request_id=request_id,
            prompt_class=prompt_class,
            side_effects=side_effects,
        )
        return self._shadowed

    def thumbs_down(self) -> None:
        """The user disliked this answer, at once; counted once."""
        if self._disliked:
            return
        self._disliked = True
        self._recorder.count_thumbs_down(self.route, judged=self.judged)

    def stream(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The same chunks, looked at in passing. A stream of a known provider that ends early is an error."""
        finished: bool | None = None
        usual = UsualChunks()
        for chunk in chunks:
            finished = self._look_at(chunk, finished, usual)
            yield chunk
        self._ended(finished)

    async def astream(self, chunks: AsyncIterable[Chunk]) -> AsyncIterator[Chunk]:
        """`stream` for asynchronous iterables."""
        finished: bool | None = None
        usual = UsualChunks()
        async for chunk in chunks:
            finished = self._look_at(chunk, finished, usual)
            yield chunk
        self._ended(finished)

    def _ended(self, finished: bool | None) -> None:  # noqa: FBT001  # as `_look_at`
        self._broken = finished is False
        self._finished = False

    def _look_at(self, chunk: object, finished: bool | None, usual: UsualChunks) -> bool | None:  # noqa: FBT001  # what was known so far
        if self._shadowed is not None:
            self._shadowed.chunk(chunk)
        # the general path takes 200 microseconds for a chunk of OpenAI's client, which waits meanwhile
        words = usual.words(chunk)
        if words is not None:
            if words and self._recorder.phrases is not None and len(self._opening) < MAX_OPENING_CHARACTERS:
                self._opening += words
            self._finished = bool(finished)
            return self._finished
        if type(chunk) is bytes:  # of a body: nothing here reads it
            return finished
        self._failed = self._failed or failure_signal(chunk)
        if refusal_signal(chunk) is not None:
            self._refused = True
        count = completion_tokens(chunk)
        if count:
            self._tokens = min(count, _MAX_TOKENS)  # usage in a stream is a running total
        if count or finished is None:  # Anthropic says at the beginning what it has read
            self._usage = usage_so_far(self._usage, chunk)
        if self._recorder.phrases is not None and len(self._opening) < MAX_OPENING_CHARACTERS:
            self._opening += text_of(chunk)
        mark = finish_mark(chunk)
        self._finished = bool(finished) or bool(mark)  # set before the yield: the reader may not come back
        return finished if mark is None else self._finished

    def end(self, error: BaseException | None = None) -> None:
        """End the request without a block; a second call does nothing."""
        if self._done:
            return
        self._done = True
        if self._opening and self._recorder.phrases is not None and self._recorder.phrases.find(self._opening):
            self._refused = True
        outcome = self._how_it_ended(error)
        seconds = max(0.0, self._recorder.clock() - self._started)
        self._recorder.count_request(
            self.route,
            outcome,
            seconds,
            judged=self.judged,
            refused=self._refused or outcome is Outcome.REFUSED,
            tokens=self._tokens,
            usage=self._usage,
        )
        if self._shadow is not None:
            if error is not None:
                self._shadow.control_failed(error)
            if self._shadowed is not None:
                self._shadowed.ended(outcome, seconds, error)

    def _how_it_ended(self, error: BaseException | None) -> Outcome:
        if error is not None:
            outcome = outcome_of(error)
            return self._left() if outcome is Outcome.CANCELLED else outcome
        if self._outcome is not None:
            return self._outcome
        if self._broken or self._failed:
            return Outcome.ERROR
        return Outcome.REFUSED if self._refused else Outcome.OK

    def _left(self) -> Outcome:
        """The reader left: the outcome as far as the answer is known."""
        if self._failed:
            return Outcome.ERROR
        if self._refused:
            return Outcome.REFUSED
        return Outcome.OK if self._finished else Outcome.CANCELLED

    def forget(self) -> None:
        """Count nothing of this request: no model was asked."""
        self._done = True
        self._shadowed = None

    def __enter__(self) -> Self:
        self._started = self._recorder.clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)
