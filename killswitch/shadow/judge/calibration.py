"""How far a judge agrees with itself and with people: raw agreement and Cohen's kappa, each with an interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from killswitch.shadow.judge.opinions import Preferred
from killswitch.wording import plain

Z = 1.959964
"""Of a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two raters on the same ``items``. Intervals are 95 %, two-sided. None: it cannot be computed.

    ``share``: of the items on which both say the same. ``kappa``: the same beyond chance, 1 is perfect and 0 is
    chance; None if one of both raters' words alone explains everything (all say "tie").
    """

    items: int
    share: float | None
    share_low: float | None
    share_high: float | None
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None


def agreement(rated: Iterable[tuple[Preferred, Preferred]]) -> Agreement:
    """Each item's two ratings -> their agreement.

    The interval of the share is Wilson's (1927). That of kappa is from its large-sample variance (Fleiss, Cohen and
    Everitt 1969, eq. 13); where it is degenerate at full agreement, from the share's interval.
    """
    table = Counter(rated)
    items = sum(table.values())
    if items == 0:
        return Agreement(0, None, None, None, None, None, None)
    words = sorted({word for cell in table for word in cell})
    first = {word: sum(count for cell, count in table.items() if cell[0] == word) / items for word in words}
    second = {word: sum(count for cell, count in table.items() if cell[1] == word) / items for word in words}
    same = sum(count for (one, other), count in table.items() if one == other)
    share = same / items
    low, high = wilson(same, items)
    chance = sum(first[word] * second[word] for word in words)
    if len(words) == 1:
        return Agreement(items, share, low, high, None, None, None)
    kappa = (share - chance) / (1.0 - chance)
    if share >= 1.0:
        return Agreement(items, share, low, high, kappa, (low - chance) / (1.0 - chance), 1.0)
    joint = {cell: count / items for cell, count in table.items()}
    error = math.sqrt(max(0.0, _variance(joint, first, second, share, chance)) / items)
    return Agreement(items, share, low, high, kappa, max(-1.0, kappa - Z * error), min(1.0, kappa + Z * error))


def _variance(
    joint: dict[tuple[Preferred, Preferred], float],
    first: dict[Preferred, float],
    second: dict[Preferred, float],
    share: float,
    chance: float,
) -> float:
    """Of kappa for one item."""
    same = sum(
        part * ((1.0 - chance) - (first[one] + second[one]) * (1.0 - share)) ** 2
        for (one, other), part in joint.items()
        if one == other
    )
    differ = (1.0 - share) ** 2 * sum(
        part * (second[one] + first[other]) ** 2 for (one, other), part in joint.items() if one != other
    )
    return (same + differ - (share * chance - 2.0 * chance + share) ** 2) / (1.0 - chance) ** 4


def wilson(hits: int, items: int) -> tuple[float, float]:
    """The 95 % interval of a share of ``hits`` in ``items`` > 0."""
    share, spread = hits / items, Z * Z / items
    middle = (share + spread / 2.0) / (1.0 + spread)
    half = Z * math.sqrt(share * (1.0 - share) / items + spread / (4.0 * items)) / (1.0 + spread)
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


@dataclass(frozen=True, slots=True)
class Bar:
    """What a judge must show before it gates. Lower ends are of 95 % intervals.

    A judge that always says "A" makes each pair a tie, and one that always says "tie" does, too: both would pass a
    test that the canary is no worse. So people's labels and consistent verdicts are asked for, not only agreement
    with itself. ``kappa`` 0.4: beyond "fair" (Landis and Koch 1977).
    """

    labels: int = 50
    kappa: float = 0.4
    repeats: int = 30
    self_share: float = 0.75
    consistent_share: float = 0.6
    lost_share: float = 0.05


@dataclass(frozen=True, slots=True)
class Calibration:
    """``people``: with a file of labels. ``itself``: with its own verdicts when asked again.

    ``consistent``: pairs in which both orders agree, of ``both_orders``. ``lost``: pairs of traffic without a verdict
    (invalid or failed), of ``finished``; labelled pairs would only dilute them. ``problems``: why the judge must not
    gate; empty: it may.
    """

    people: Agreement
    itself: Agreement
    consistent: int
    both_orders: int
    lost: int
    finished: int
    problems: tuple[str, ...]

    @property
    def gates(self) -> bool:
        return not self.problems


def calibration(
    people: Agreement,
    itself: Agreement,
    *,
    consistent: int,
    both_orders: int,
    lost: int,
    finished: int,
    bar: Bar,
    unlabelled: Collection[str] = (),
) -> Calibration:
    """Held against the bar. ``unlabelled``: models that answered for the judge and were never held against labels."""
    problems = [
        *_of_people(people, bar),
        *_of_models(unlabelled),
        *_of_itself(itself, bar),
        *_of_shares(consistent, both_orders, lost, finished, bar),
    ]
    return Calibration(people, itself, consistent, both_orders, lost, finished, tuple(problems))


def _of_people(people: Agreement, bar: Bar) -> list[str]:
    if people.items < bar.labels:
        return [f"{people.items} pairs with people's labels, {bar.labels} are needed: add labels with --labels"]
    if people.kappa is None or people.kappa_low is None:
        return ["people's labels and verdicts are all the same word: label pairs of each kind, too"]
    if people.kappa_low < bar.kappa:
        seen = f"kappa with people's labels is {people.kappa:.2f}, surely only over {people.kappa_low:.2f}"
        return [f"{seen}; {bar.kappa:g} is needed: choose another judge or rubric, or add labels"]
    return []


def _of_models(unlabelled: Collection[str]) -> list[str]:
    if not unlabelled:
        return []
    named = ", ".join(plain(model, 80) for model in sorted(unlabelled)[:3])
    fix = "write the model's exact version as `model`, so that labels and pairs are judged again"
    return [f"{named} answered for the judge, and was never held against people's labels; {fix}"]


def _of_itself(itself: Agreement, bar: Bar) -> list[str]:
    if itself.items < bar.repeats:
        return [f"{itself.items} pairs were asked twice, {bar.repeats} are needed: judge more, or raise `repeat_share`"]
    if itself.share_low is None or itself.share is None or itself.share_low < bar.self_share:
        seen = f"it agrees with itself on {itself.share:.0%} of pairs, surely only over {itself.share_low:.0%}"
        return [f"{seen}; {bar.self_share:.0%} is needed: choose another judge or rubric"]
    return []


def _of_shares(consistent: int, both_orders: int, lost: int, finished: int, bar: Bar) -> list[str]:
    problems = []
    if both_orders and consistent < bar.consistent_share * both_orders:
        problems.append(
            f"its verdict survives a change of order in {consistent / both_orders:.0%} of pairs, "
            f"{bar.consistent_share:.0%} is needed: it judges the place, not the answer; choose another judge"
        )
    if lost > bar.lost_share * finished:
        problems.append(
            f"{lost:,} of {finished:,} pairs have no verdict, at most {bar.lost_share:.0%} may: "
            "see their reasons; a reply cut off needs a higher `max_output_tokens`"
        )
    return problems
