"""Control is near its rate limit, so the shadow stops first: read from the headers of control's own answers.

A key of its own is the real protection. Where the shadow shares control's key, or its organisation's quota, these
headers are the only sign before control's users get 429. Read are OpenAI's ``x-ratelimit-remaining-*`` against
``x-ratelimit-limit-*``, Anthropic's ``anthropic-ratelimit-*-remaining`` against ``-limit``, and ``retry-after``.
LiteLLM's prefix ``llm_provider-`` is understood.
"""

from __future__ import annotations

from collections.abc import Iterator

from killswitch.router.shadow.quota import retry_after

_OPENAI = ("requests", "tokens")
_ANTHROPIC = ("requests", "tokens", "input-tokens", "output-tokens")
_LONGEST_PAUSE = 600.0  # seconds, whatever a header asks for


class Pressure:
    """Whether the shadow rests, and until when. No clock: ``now`` is monotonic seconds, given by the caller.

    ``share``: it rests when less than this part of any limit is left (0 to 1). ``pause``: for how many seconds.
    """

    def __init__(self, share: float = 0.2, pause: float = 30.0) -> None:
        self._share = share
        self._pause = pause
        self._until = float("-inf")
        self.sentence = ""

    def rests(self, now: float) -> bool:
        return now < self._until

    def read(self, headers: object, now: float) -> None:
        """Look at the headers of one answer of control."""
        for name, left, limit in _limits(headers):
            if left < self._share * limit:
                self._rest(now, self._pause, f"control has {left:g} of {limit:g} {name} left in its rate limit")
        wait = retry_after(headers)
        if wait is not None:
            self._rest(now, max(self._pause, wait), f"control was asked to retry after {wait:g} s")

    def limited(self, now: float) -> None:
        """Control itself got 429."""
        self._rest(now, self._pause, "control got 429")

    def _rest(self, now: float, seconds: float, sentence: str) -> None:
        until = now + min(seconds, _LONGEST_PAUSE)
        if until > self._until:
            self._until = until
            self.sentence = f"{sentence}; the shadow rests for {until - now:g} s"


def _limits(headers: object) -> Iterator[tuple[str, float, float]]:
    """Name, what is left, and the limit, of each pair of headers that can be read."""
    get = getattr(headers, "get", None)
    if not callable(get):
        return
    for prefix in ("", "llm_provider-"):
        for name in _OPENAI:
            yield from _pair(get, name, f"{prefix}x-ratelimit-remaining-{name}", f"{prefix}x-ratelimit-limit-{name}")
        for name in _ANTHROPIC:
            start = f"{prefix}anthropic-ratelimit-{name}"
            yield from _pair(get, name, f"{start}-remaining", f"{start}-limit")


def _pair(get: object, name: str, remaining: str, limit: str) -> Iterator[tuple[str, float, float]]:
    try:
        left, most = (float(get(key)) for key in (remaining, limit))  # type: ignore[operator]
    except Exception:  # noqa: BLE001  # absent, or no number, or a foreign object
        return
    if left >= 0 and most > 0:
        yield name, left, most
