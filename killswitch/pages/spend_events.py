"""The pages about money: a cap of a rule file that is nearly used up, or used up."""

from __future__ import annotations

from dataclasses import replace

from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.pages.building import page_of_event, with_severity
from killswitch.pages.page import MAX_NAME, Page, PageKind
from killswitch.pages.payload import SpendPayload
from killswitch.spend.standing import Standing
from killswitch.timestamps import to_iso
from killswitch.wording import date_and_time, money_in_words, plain

_SHADOW, _JUDGE, _CANARY = "shadow:", "judge:", "rollout:"


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
    return with_severity(page, "warning")


def spend_hard(rollout: str, standing: Standing, *, at: float, settings: PageSettings) -> Page:
    """A scope has used up its hard cap, so its requests are off. ``rollout``: the one whose rule file says the cap."""
    if standing.book.scope.startswith(_CANARY):
        return _canary_has_spent(rollout, standing, at=at, settings=settings)
    book, account = standing.book, standing.book.current
    until = date_and_time(book.end)
    headline = f"{_whose(rollout, standing)}: {_what(standing)} off until {until}"
    if not book.scope.startswith("project:"):  # a project may be of something that users wait for
        headline += ". No user is affected"
    why = f"{_used(standing)} of a hard cap of {money_in_words(book.hard or 0)} {_per(standing)}"
    if standing.used < (book.hard or 0):
        why += f"; a request that may cost {money_in_words(account.short)} has no room in what is left"
    why += _soft_as_well(standing)
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


def _canary_has_spent(rollout: str, standing: Standing, *, at: float, settings: PageSettings) -> Page:
    book, name = standing.book, plain(rollout, MAX_NAME)
    hard, until = money_in_words(book.hard or 0), date_and_time(book.end)
    kept = "it keeps the traffic that it has"  # in stage `shadow` it has none
    headline = f"{name}: the canary has spent its hard cap of {hard} {_per(standing)}. Nothing was changed: {kept}"
    steps = (
        f"See what it has spent: `killswitch spend {book.scope}`",
        f'To end its traffic: `killswitch trip {name} --reason "spend cap"`',
        f"Give it no more users before {until}, or raise the cap in the rule file",
        "To have it tripped by itself: `on_hard: trip` in the rule file",
    )
    why = f"{_used(standing)}, until {until}{_soft_as_well(standing)}"
    return _page(
        PageKind.SPEND_HARD, rollout, standing, book.hard or 0, headline, why, settings,
        at=at, alert="hard spend cap reached", auto_action=f"none: {kept}", steps=steps,
    )  # fmt: skip


def spend_unknown(flag: Flag, why: str, *, at: float, settings: PageSettings) -> Page:
    """What live traffic costs is not known, so a cap of it protects no one."""
    headline = f"{flag.rollout}: what its requests cost is not known, so its spend caps protect no one"
    return page_of_event(
        PageKind.SPEND_UNKNOWN, (flag,), headline, why, settings,
        at=at, identity=to_iso(at)[:10], alert="live spend is not known",
        auto_action="none: the canary keeps its traffic; what is not known is not taken for 0",
        steps=(
            "If a price is missing: add it to the file of prices, and check it: `killswitch check`",
            "If tokens cannot be read: the metric store needs `llm_tokens_total`, which our router library writes",
            "Counting goes on from where it waits, for a day at most",
        ),
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
    known = {_SHADOW: "the shadow", _JUDGE: "the judge", _CANARY: "the canary"}
    who = next((words for prefix, words in known.items() if scope.startswith(prefix)), "it")
    return f"{who} has used {money_in_words(standing.used)} since {to_iso(standing.book.current.start)}"


def _soft_as_well(standing: Standing) -> str:
    """Where no page came first: one that follows the hard cap's would say less than it."""
    book = standing.book
    if book.soft is None or standing.used < book.soft or book.paged.get("soft") == book.soft:
        return ""
    return (
        f"; its soft cap of {money_in_words(book.soft)} was passed since the last look, so no page came before this one"
    )


def _per(standing: Standing) -> str:
    return f"per {standing.book.period.value}"


def _to_spend_less(rollout: str, standing: Standing) -> tuple[str, ...]:
    if standing.book.scope.startswith(_SHADOW):
        return (f"To shadow fewer requests: `killswitch stage {rollout} --shadow 5`",)
    return ()
