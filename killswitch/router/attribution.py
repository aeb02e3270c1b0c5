"""Whether a thumbs-down that came without a token is about a judged request.

The service says who disliked an answer, but not which answer. A thumb may enter the judged counter only if the request
it is about was judged. Otherwise ten thumbs of a user with ten requests would count against the one that was judged.
So the process remembers when the user's recent requests to that model were, and asks how probable it is that the
thumb is about a judged one: with independent dislikes that come after a delay of density f, the chance that a
thumb is about a request of age a is in proportion to f(a). One draw with that chance decides, so that the expected
number of judged thumbs is the number that belongs to judged requests: for a user with one request or a hundred, at
once or an hour later. f is learned from the thumbs themselves (expectation maximisation: each thumb is shared among
the requests that it may be about), in quarter octaves of age, beginning with 1/age.

A thumb without a user, or of a user with no request known here (it went to another process, or was forgotten), is
about any recent request of that model here: it enters with the share of them that was judged.

In no case more thumbs are taken than requests were judged: a user's judged thumbs are at most his judged requests,
and the others' at most the judged ones among the last 256 requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from killswitch.model import Cohort

Served = tuple[Cohort, str]  # cohort and model

REMEMBERED = 1800.0  # seconds; twice as long at most
CAPACITY = 20_000  # users; twice as many at most, about 20 MB when all of them are busy
_LATEST = 8  # requests of one user whose times are kept one by one
_FORGET_AT = 256.0  # events of one kind, after which old ones weigh half
_MOST_MODELS = 64
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0

# thumbs, judged thumbs, then of requests before the latest: number, judged, mean time; then (time, judged) of each
# of the latest. One flat tuple, replaced as a whole: no lock, and a fifth of the memory of objects
_User = tuple[float, ...]
_NOBODY: _User = (0.0, 0.0, 0.0, 0.0, 0.0)
_HEAD = len(_NOBODY)


class Attribution:
    """One process's memory of who was served what; hashes only, in bounded memory, without a lock.

    ``clock``: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._users: tuple[dict[int, _User], dict[int, _User], float] = ({}, {}, clock())
        self._requests: dict[Served, _Requests] = {}
        self._delays = _Delays()
        self._naming = _Naming()
        self._drawn = 0.0

    def __len__(self) -> int:
        younger, elder, _ = self._users
        return len(younger) + len(elder)

    def request(self, served: Served, user: str | None, *, judged: bool) -> None:
        """Remember one request that begins."""
        requests = self._requests.get(served)
        if requests is None:
            requests = self._of(served)
        requests.count(named=user is not None, judged=judged)
        if user is not None:
            younger, known = self._user(hash((served, user)))
            if len(known) >= _HEAD + 2 * _LATEST:
                known = _merged(known)
            younger[hash((served, user))] = (*known, self._clock(), judged)

    def is_judged(self, served: Served, user: str | None) -> bool:
        """Whether one thumbs-down, that came now, enters the judged counter. Each call is another thumb."""
        requests = self._of(served)
        if user is None:
            return requests.take(requests.share_of_unnamed(self._naming), self._draw())
        key = hash((served, user))
        younger, known = self._user(key)
        thumbs, taken, before, judged_before, _ = known[:_HEAD]
        number = before + (len(known) - _HEAD) / 2
        if thumbs >= max(number + requests.unnamed, 1.0):
            return False  # more dislikes than answers they can be about
        if number == 0.0:
            judged = requests.take(requests.share, self._draw())
        else:
            chance = self._delays.chance_of_judged(known, self._clock())
            judged = taken < judged_before + sum(known[_HEAD + 1 :: 2]) and self._draw() < chance
            requests.taken += judged
            self._naming.named_thumb()
        younger[key] = (thumbs + 1.0, taken + judged, *known[2:])
        return judged

    def _draw(self) -> float:
        """From 0 to 1, evenly (multiples of the golden ratio, Weyl 1916): every run is alike, without a seed."""
        self._drawn = (self._drawn + _GOLDEN) % 1.0
        return self._drawn

    def token(self) -> None:
        """A thumb came with a token, so no thumb without a user is expected about that request."""
        self._naming.named_thumb()

    def _of(self, served: Served) -> _Requests:
        if len(self._requests) >= _MOST_MODELS:
            self._requests = {}
        return self._requests.setdefault(served, _Requests())

    def _user(self, key: int) -> tuple[dict[int, _User], _User]:
        """The memory to write to, and what is known of the user."""
        younger, elder, since = self._users
        now = self._clock()
        if now - since >= REMEMBERED or len(younger) >= self._capacity:
            younger, elder = {}, younger
            self._users = (younger, elder, now)
        known = younger.get(key)
        return younger, elder.get(key, _NOBODY) if known is None else known


def _merged(known: _User) -> _User:
    """The oldest of the latest requests joins those before them."""
    thumbs, taken, before, judged_before, mean, at, judged = known[: _HEAD + 2]
    if before >= _FORGET_AT:
        thumbs, taken, before, judged_before = thumbs / 2, taken / 2, before / 2, judged_before / 2
    mean += (at - mean) / (before + 1.0)
    return (thumbs, taken, before + 1.0, judged_before + judged, mean, *known[_HEAD + 2 :])


@dataclass(slots=True)
class _Requests:
    """The last 256 or so requests of one model in one cohort. ``taken``: their judged thumbs."""

    unnamed: float = 0.0
    named: float = 0.0
    judged_named: float = 0.0
    taken: float = 0.0

    def count(self, *, named: bool, judged: bool) -> None:
        if self.unnamed + self.named >= _FORGET_AT:
            self.unnamed, self.named, self.judged_named = self.unnamed / 2, self.named / 2, self.judged_named / 2
            self.taken /= 2
        if named:
            self.named += 1.0
            self.judged_named += judged
        else:
            self.unnamed += 1.0

    @property
    def _judged(self) -> float:
        return self.unnamed + self.judged_named  # without a user every request is judged

    @property
    def share(self) -> float:
        """Of all requests, how many were judged; 0 without any."""
        number = self.unnamed + self.named
        return self._judged / number if number > 0.0 else 0.0

    def share_of_unnamed(self, naming: _Naming) -> float:
        """The chance that a thumb without a user is about a judged request. Call it once a thumb."""
        hidden = naming.hidden_share
        number = self.unnamed + self.named * hidden
        if number <= 0.0:
            return 0.0
        naming.unnamed_thumb(self.named * hidden / number)
        return (self.unnamed + self.judged_named * hidden) / number

    def take(self, chance: float, draw: float) -> bool:
        """Whether a thumb enters the judged counter, if a judged request is left that it may be about."""
        if self.taken + 1.0 > self._judged or draw >= chance:
            return False
        self.taken += 1.0
        return True


@dataclass(slots=True)
class _Naming:
    """How often a thumb about a request with a user comes without a user: never in some services, always in others."""

    named: float = 0.0
    hidden: float = 1.0

    @property
    def hidden_share(self) -> float:
        return self.hidden / (self.named + self.hidden)

    def named_thumb(self) -> None:
        self._forget()
        self.named += 1.0

    def unnamed_thumb(self, chance: float) -> None:
        """``chance``: that it is about a request with a user."""
        self._forget()
        self.hidden += chance

    def _forget(self) -> None:
        if self.named + self.hidden >= _FORGET_AT / 4.0:  # the first guesses are soon forgotten
            self.named, self.hidden = self.named / 2, self.hidden / 2


_PRIOR = 0.025  # thumbs in each bin before the first, and never less: no age is impossible
_STEPS = 16  # an octave
_BINS = 16 * _STEPS  # of age + 1 s: up to 18 hours
_WIDTHS = tuple(2 ** ((number + 1) / _STEPS) - 2 ** (number / _STEPS) for number in range(_BINS))  # seconds


@dataclass(slots=True)
class _Delays:
    """How long after the request a thumb comes: thumbs by age, shared among the requests that they may be about."""

    thumbs: list[float] = field(default_factory=lambda: [_PRIOR] * _BINS)
    number: float = 0.0

    def chance_of_judged(self, known: _User, now: float) -> float:
        """The chance that a thumb at ``now`` is about a judged one of the user's requests; learns from it."""
        _, _, before, judged_before, mean = known[:_HEAD]
        bins = [_bin(now - at) for at in (mean, *known[_HEAD::2])]
        numbers = (before, *([1.0] * (len(bins) - 1)))
        judged = (judged_before, *known[_HEAD + 1 :: 2])
        densities = [self.thumbs[place] / _WIDTHS[place] for place in bins]
        total = sum(density * number for density, number in zip(densities, numbers, strict=True))
        if self.number >= 4 * _FORGET_AT:
            self.thumbs = [(thumbs + _PRIOR) / 2 for thumbs in self.thumbs]
            self.number /= 2
        self.number += 1.0
        for place, density, number in zip(bins, densities, numbers, strict=True):
            self.thumbs[place] += density * number / total
        return sum(density * number for density, number in zip(densities, judged, strict=True)) / total


def _bin(age: float) -> int:
    return min(_BINS - 1, int(_STEPS * math.log2(max(0.0, age) + 1.0)))
