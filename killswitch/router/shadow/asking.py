"""What passes between a service and its shadow: a finished request comes in, a request to ask goes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from killswitch.router.route_types import Route

Kind = Literal["candidate", "noise"]


class Finished(NamedTuple):
    """One request that control has answered: references only, nothing is copied to make it.

    ``request_id``: decides whether it is sampled. A bucket of one user's requests is not wanted, so never the user.
    ``api``: ``chat``, ``responses``, ``messages``, ``completions`` or ``asgi``. ``arguments``: the caller's own, or the
    body's bytes as JSON, whole or in parts. ``messages``: the caller's own, in a tuple made when control was asked,
    because callers change their list afterwards; ``contents``: what the first and the last of them said then.
    ``answer``: the whole answer, or the list of a stream's chunks. ``started``: Unix seconds when control was asked.
    ``seconds``: until its answer's end.
    ``served_outcome``: a word of `killswitch.router.outcomes`. ``side_effects``: whether asking it acts on the world;
    None where the service does not say. ``control_headers`` and ``control_status``: of control's HTTP answer, where
    known. ``chunk_seconds``: when each chunk came, in seconds after the start; the worker reads
    ``first_token_seconds`` from it. ``control_cached``: control's answer came from a cache of the service, so its time
    is no model's. ``size``: bytes of memory that the request and the answer take; 0 estimates it from the answer's
    length.
    """

    request_id: str
    user: str | None
    prompt_class: str
    api: str
    arguments: Mapping[str, Any] | bytes | list[bytes]
    messages: tuple[object, ...] | None
    answer: object
    route: Route
    started: float
    seconds: float
    served_outcome: str
    first_token_seconds: float | None = None
    side_effects: bool | None = None
    control_headers: Any = None
    control_status: int | None = None
    contents: tuple[object, object] | None = None
    chunk_seconds: Sequence[float] | None = None
    control_cached: bool = False
    size: int = 0


class Asking(NamedTuple):
    """One request for `Ask` to send, with a client and a key of the shadow's own.

    ``request``: the arguments of control's call with the model replaced, as a copy without credentials. ``kind``:
    ``candidate`` asks the canary, ``noise`` asks control a second time. ``timeout``: seconds that are left.
    """

    request: Mapping[str, Any]
    model: str
    kind: Kind
    api: str
    streamed: bool
    timeout: float


# Returns the provider's answer: an object, or chunks where streamed. A coroutine function is run on the shadow's own
# event loop, anything else on its threads.
Ask = Callable[[Asking], Any]
