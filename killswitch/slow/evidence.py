"""Evidence that the canary's users are worse off by more than a limit, valid however often it is looked at.

In each stretch of days between two changes of cohort, a user is one number, the mean of the user's days. The cohorts'
means are compared in each stretch, and stretches are weighted by their canary users. The standard error is summed over
users and not over rows, so a user who answers every day is one observation.

With z = (difference - limit) / error and r = (scale / error)^2, evidence is
``2 / sqrt(1 + r) * exp(z^2 r / (2 (1 + r))) * Phi(z sqrt(r / (1 + r)))``: the likelihood ratio of "worse by more than
the limit", averaged over a half normal distribution of scale ``SCALE`` standard deviations, against "at the limit"
(Robbins 1970; as an asymptotic confidence sequence Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Annals of
Statistics 2024). It reaches 1/alpha with probability alpha at most, ever, if the error falls as data arrive. A user who
answers on many days makes looks more alike than that, and by Slepian's inequality fewer of them cross the line.

Harm that begins late is averaged away over the whole time. So half of the evidence is of the whole time, and an eighth
each of the days since the four newest starts, one a week. The sum of such shares is evidence like its parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from killswitch.slow.counts import Moments, StretchCounts, UserSpread

SCALE = 0.2  # standard deviations: 6 points of a score whose standard deviation is 30
FEWEST_USERS = 20  # in each cohort
WEEK = 7  # days from one start of a comparison to the next
MOST_RECENT = 4  # starts, so that within 30 days all of them together weigh no more than the whole time
_WHOLE, _RECENT = 0.5, 0.5 / MOST_RECENT
_LONGEST = 3650  # days


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much the canary is worse, its standard error, and users of both cohorts.

    ``deviation``: the standard deviation of one user.
    """

    worse: float
    error: float
    deviation: float
    control_users: int
    canary_users: int
    control_mean: float
    canary_mean: float

    @property
    def enough(self) -> bool:
        """Whether both cohorts have enough users for a verdict."""
        return min(self.canary_users, self.control_users) >= FEWEST_USERS

    def log_evidence(self, limit: float) -> float:
        """Natural logarithm of the evidence for "worse by more than ``limit``"."""
        return log_evidence((self.worse - limit) / self.error, (SCALE * self.deviation / self.error) ** 2)

    def interval(self, alpha: float) -> tuple[float, float]:
        """All differences that evidence refuses on neither side; wrong with probability ``alpha``, ever."""
        ratio = (SCALE * self.deviation / self.error) ** 2
        needed, low, high = math.log(2.0 / alpha), 0.0, 100.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if log_evidence(middle, ratio) >= needed else (middle, high)
        return self.worse - high * self.error, self.worse + high * self.error

    def days_to_see(self, worse: float, limit: float, needed: float, days: int) -> int | None:
        """After how many days in all ``worse`` would be proven, with as many users a day as in these ``days``.

        None if that takes over ten years.
        """
        if worse <= limit or days < 1:
            return None

        def proven(later: int) -> bool:
            error = self.error * math.sqrt(days / later)
            of_all = log_evidence((worse - limit) / error, (SCALE * self.deviation / error) ** 2)
            return of_all + math.log(_WHOLE) >= math.log(needed)

        if not proven(_LONGEST):
            return None
        low, high = 0, _LONGEST
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if proven(middle) else (middle, high)
        return high


def recent_starts(first: int, last: int) -> tuple[int, ...]:
    """The newest days on which a comparison of its own began: each week after the first day."""
    return tuple(range(first + WEEK, last + 1, WEEK))[-MOST_RECENT:]


def log_mixture(whole: Difference | None, recent: Sequence[Difference | None], limit: float) -> list[float]:
    """What the whole time and each of the newest weeks add to the evidence, as natural logarithms.

    The evidence is the sum of them. A comparison without enough users adds nothing.
    """
    shares = [(whole, _WHOLE), *((one, _RECENT) for one in recent)]
    return [
        -math.inf if one is None or not one.enough else math.log(share) + one.log_evidence(limit)
        for one, share in shares
    ]


def log_sum(logarithms: Sequence[float]) -> float:
    """The logarithm of the sum of what these are logarithms of."""
    largest = max(logarithms)
    if not math.isfinite(largest):
        return largest
    return largest + math.log(sum(math.exp(one - largest) for one in logarithms))


def log_evidence(z: float, ratio: float) -> float:
    """See the formula above; ``ratio`` is r."""
    drawn = ratio / (1.0 + ratio)
    return math.log(2.0) - 0.5 * math.log1p(ratio) + 0.5 * z * z * drawn + _log_phi(z * math.sqrt(drawn))


def weights(stretches: Sequence[StretchCounts], *, answers: bool = False) -> tuple[float, ...]:
    """What each stretch weighs: its share of canary users, 0 where a cohort has no users."""
    users = [
        canary.users if control.users > 1 else 0
        for control, canary in (_cohorts(one, answers=answers) for one in stretches)
    ]
    total = sum(users)
    return tuple(one / total if total else 0.0 for one in users)


def difference(
    stretches: Sequence[StretchCounts], spread: UserSpread, *, lower_is_worse: bool, answers: bool = False
) -> Difference | None:
    """The comparison of all stretches; None without users in both cohorts or if no two users differ.

    A canary cohort's variance counts as at least control's: in twenty canary users a rare value may not occur at all,
    and then their own variance would be 0 (measured: half of the healthy canaries pinned).
    """
    worse = missing = total = control_mean = canary_mean = 0.0
    for weight, one in zip(weights(stretches, answers=answers), stretches, strict=True):
        control, canary = _cohorts(one, answers=answers)
        if weight > 0.0:
            worse += weight * (control.mean - canary.mean)
            missing += weight * weight * max(control.variance - canary.variance, 0.0) / canary.users
            total += weight * max(control.variance, canary.variance)
            control_mean += weight * control.mean
            canary_mean += weight * canary.mean
    error = math.sqrt(spread.squared + missing)
    if not error > 0.0 or not math.isfinite(error):
        return None
    return Difference(
        worse if lower_is_worse else -worse, error, math.sqrt(total), spread.control, spread.canary, control_mean,
        canary_mean,
    )  # fmt: skip


def day_error(control: Moments, canary: Moments) -> float:
    """The standard error of one day's difference; infinite without users."""
    if not control.users or not canary.users:
        return math.inf
    variance = max(control.variance, canary.variance)
    return math.sqrt(control.variance / control.users + variance / canary.users)


def _cohorts(one: StretchCounts, *, answers: bool) -> tuple[Moments, Moments]:
    return (one.control_answers, one.canary_answers) if answers else (one.control, one.canary)


def _log_phi(z: float) -> float:
    """Natural logarithm of the normal distribution function."""
    if z > -30.0:
        return math.log(0.5 * math.erfc(-z / math.sqrt(2.0)))
    return -0.5 * z * z - math.log(-z) - 0.5 * math.log(2.0 * math.pi)
