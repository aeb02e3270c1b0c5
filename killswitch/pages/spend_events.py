"""The pages about money: a cap of a rule file that is nearly used up, or used up."""

from __future__ import annotations

from dataclasses import replace

from killswitch.model import PageSettings
from killswitch.pages.building import page_of_event
from killswitch.pages.page import MAX_NAME, Page, PageKind
from killswitch.pages.payload import SpendPayload
from killswitch.spend.standing import Standing
from killswitch.timestamps import to_iso
from killswitch.wording import date_and_time, money_in_words, plain

_SHADOW, _JUDGE = "shadow:", "judge:"


def spend_soft(rollout: str, standing: Standing, *, at: float, settings: PageSettings) -> Page:
    """A scope has spent its soft cap. ``rollout``: the one whose rule file says the cap."""
    soft = standing.book.soft or 0
    headline = (
        f"{_whose(rollout, standing)}: {_used(standing)}, over its soft cap of {money_in_words(soft)} {_per(standing)}"
    )
    steps = (
        f"See what spends and when the caps are reached: `killswitch spend {standing.book.scope}`",
        *_to_spend_less(rollout, standing),
    )
    page = _page(
        PageKind.SPEND_SOFT, rollout, standing, soft, headline, standing.sentence, settings,
        at=at, alert="soft spend cap reached", auto_action="none: a soft cap stops nothing", steps=steps,
    )  # fmt: skip
    return replace(page, severity="warning", payload={**page.payload, "severity": "warning"})


def spend_hard(rollout: str, standing: Standing, *, at: float, settings: PageSettings) -> Page:
    """A scope has used up its hard cap, so its requests are off. ``rollout``: the one whose rule file says the cap."""
    book, account = standing.book, standing.book.current
    until = date_and_time(book.end)
    headline = f"{_whose(rollout, standing)}: {_what(standing)} off until {until}"
    if not book.scope.startswith("project:"):  # a project may be of something that users wait for
        headline += ". No user is affected"
    why = f"{_used(standing)} of a hard cap of {money_in_words(book.hard or 0)} {_per(standing)}"
    if standing.used < (book.hard or 0):
        why += f"; a request that may cost {money_in_words(account.short)} has no room in what is left"
    steps = (
        f"See what has spent it: `killswitch spend {book.scope}`",
        (
            f"Nothing is lost: it begins again by itself at {until}. To begin earlier, raise the cap where it was"
            " stated (a rule file, or the service's code)"
        ),
        *_to_spend_less(rollout, standing),
    )
    return _page(
        PageKind.SPEND_HARD, rollout, standing, book.hard or 0, headline, why, settings,
        at=at, alert="hard spend cap reached", auto_action=f"{_what(standing)} off until {until}", steps=steps,
    )  # fmt: skip


def _page(
    kind: PageKind,
    rollout: str,
    standing: Standing,
    limit: int,
    headline: str,
    why: str,
    settings: PageSettings,
    *,
    at: float,
    alert: str,
    auto_action: str,
    steps: tuple[str, ...],
) -> Page:
    name, book = plain(rollout, MAX_NAME), standing.book
    page = page_of_event(
        kind, (), headline, why, settings,
        # one page for each cap and period, whichever replica sends it
        at=at, identity=f"{book.scope}.{book.period.value}.{book.current.start:.0f}.{limit}",
        alert=alert, auto_action=auto_action, steps=steps,
    )  # fmt: skip
    ours = {"rollout": name, "rollouts": [name], "rollouts_count": 1, "spend": _payload(standing)}
    return replace(page, rollout=name, payload={**page.payload, **ours})


def _payload(standing: Standing) -> SpendPayload:
    book = standing.book
    return {
        "scope": book.scope,
        "period": book.period.value,
        "start": to_iso(book.current.start),
        "end": to_iso(book.end),
        "used_micros": standing.used,
        "soft_micros": book.soft,
        "hard_micros": book.hard,
    }


def _whose(rollout: str, standing: Standing) -> str:
    scope = standing.book.scope
    return scope if scope.startswith("project:") else plain(rollout, MAX_NAME)


def _what(standing: Standing) -> str:
    scope = standing.book.scope
    if scope.startswith(_SHADOW):
        return "shadow requests are"
    return "the judge is" if scope.startswith(_JUDGE) else "whatever spends from it is"


def _used(standing: Standing) -> str:
    scope = standing.book.scope
    who = "the shadow" if scope.startswith(_SHADOW) else "the judge" if scope.startswith(_JUDGE) else "it"
    return f"{who} has used {money_in_words(standing.used)} since {to_iso(standing.book.current.start)}"


def _per(standing: Standing) -> str:
    return f"per {standing.book.period.value}"


def _to_spend_less(rollout: str, standing: Standing) -> tuple[str, ...]:
    if standing.book.scope.startswith(_SHADOW):
        return (f"To shadow fewer requests: `killswitch stage {rollout} --shadow 5`",)
    return ()
