"""What a page says: the facts of one event, in words a person at 3 a.m. can act on.

A `Page` is a plain document: it is written into the outbox in the same transaction as the flip and
rendered by each pager in its own format, so every receiver tells the same story, in this order: what
was done, why in one sentence, the rules side by side, what to do next.

Texts come from rule files, metrics and error messages, so all of them pass through `plain` here: one
line, no control characters, bounded. What a receiver's markup makes of them is that pager's business.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from killswitch.documents import Fields, finite
from killswitch.errors import BadDocument
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident, excursion_to_json, finding_to_json, incident_id
from killswitch.model import Finding, PageSettings, Unit, Verdict
from killswitch.pages.finding_rows import finding_rows
from killswitch.timestamps import to_iso
from killswitch.wording import counted, duration_in_words, value_in_words

FORMAT = 1
MAX_LINE = 1000
MAX_NAME = 120
MAX_MENTION = 300  # characters; of a message
MAX_ROWS = 40
MAX_STEPS = 12
MAX_ROLLOUTS = 1000  # named in a payload; ``rollouts_count`` says how many there are
_MAX_DIGEST_LINES = 25
_ONE_REQUEST_SECONDS = 300.0  # the judged twins count each user's first request in as long
_MAX_DIGEST_PAYLOADS = 100
FLEET = "_fleet"  # no rollout can be called so: names begin with a letter or digit


class PageKind(StrEnum):
    TRIPPED = "TRIPPED"
    WOULD_TRIP = "WOULD_TRIP"
    BLIND = "BLIND"
    CANNOT_ACT = "CANNOT_ACT"
    CONTROL_TOO = "CONTROL_TOO"
    TRAFFIC_SPLIT = "TRAFFIC_SPLIT"
    NEVER_SEEN = "NEVER_SEEN"
    RULE_BLIND = "RULE_BLIND"
    UNWATCHED = "UNWATCHED"
    FLAG_UNREADABLE = "FLAG_UNREADABLE"
    RECOVERED = "RECOVERED"
    RE_ARMED = "RE_ARMED"
    RULES_REFUSED = "RULES_REFUSED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    FOLLOWED = "FOLLOWED"
    NAME_TAKEN = "NAME_TAKEN"
    DIGEST = "DIGEST"


# These link to an incident: the one of their generation, and of the one before for a re-arm.
_ABOUT_INCIDENTS = frozenset({PageKind.TRIPPED, PageKind.FOLLOWED, PageKind.RE_ARMED})


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One line of the side-by-side table, already in words ("8.7%"), and whether it is what tripped.

    A rule that tripped by evidence has a second line about its window, whose ``rule`` and ``verdict`` are empty.
    ``samples``: ``53 of 189`` events of requests, or both cohorts' requests; ``counted``: over which time.
    """

    rule: str
    verdict: str
    canary: str
    control: str
    limit: str
    samples: str
    counted: str
    tripping: bool


@dataclass(frozen=True, slots=True)
class Page:
    """One page. ``id`` is the incident's id for TRIPPED, unique for every other event.

    ``headline``: what was done. ``why``: one sentence. ``next_steps``: what the reader does now.
    ``payload``: the machine-readable form (seven fixed names, ours beside them; see `_payload`).
    ``at`` is Unix seconds. ``slack``, ``mention``, ``severity``, ``runbook``, ``dashboard`` are the
    rule file's page settings at the time of the event. ``follows`` is the id of the page that this one
    continues (a re-arm continues its trip), so that a receiver can show both together. ``exposed`` says how many
    users and requests the canary had, "" where there is no incident. ``pagerduty`` names an integration key.
    ``link`` is the address of the incident, or of the rollout, on the daemon's own pages.
    """

    id: str
    kind: PageKind
    rollout: str
    generation: int
    at: float
    headline: str
    why: str
    rows: tuple[RuleRow, ...]
    next_steps: tuple[str, ...]
    payload: dict[str, Any]
    severity: str = "critical"
    slack: str | None = None
    mention: str | None = None
    runbook: str | None = None
    dashboard: str | None = None
    follows: str | None = None
    exposed: str = ""
    pagerduty: str | None = None
    link: str | None = None

    @property
    def good_news(self) -> bool:
        """Nobody has to act on it: it warns nobody, calls nobody, and stays in the thread it belongs to."""
        return self.payload.get("good_news") is True


# --- the pages ----------------------------------------------------------------------------------


def tripped(incident: Incident, settings: PageSettings) -> Page:
    """All traffic was taken back to control, by a controller or by a person."""
    done = f"all traffic routed to {plain(incident.control, MAX_NAME)}"
    canary = plain(incident.canary, MAX_NAME)
    if incident.automatic:
        headline = f"{incident.rollout}: canary {canary} tripped, {done}"
    else:
        headline = f"{incident.rollout}: canary {canary} tripped by {plain(incident.by, MAX_NAME)}, {done}"
    page = _of_incident(incident, settings, PageKind.TRIPPED, incident.id, headline)
    steps = (
        f"See every number and query: `killswitch explain {incident.id}`",
        f'When it is fixed, re-arm: `killswitch rearm {incident.rollout} --reason "what was fixed"`',
    )
    return replace(
        page,
        next_steps=page.next_steps + steps,
        payload=_incident_payload(incident, page, alert="canary kill-switch tripped", auto_action=done),
    )


def would_trip(incident: Incident, settings: PageSettings) -> Page:
    """A dry run: the verdict is in, and nothing was done. ``incident`` is what would have been written."""
    kept = f"{plain(incident.canary, MAX_NAME)} keeps {incident.percent_before:g}% of traffic"
    headline = f"{incident.rollout}: would trip (dry run), nothing was done; {kept}"
    page_id = f"{incident.id}.would-trip.{incident.tick or incident.decided_at:.0f}"
    page = _of_incident(incident, settings, PageKind.WOULD_TRIP, page_id, headline)
    steps = (
        f'To act by hand: `killswitch trip {incident.rollout} --reason "why"`',
        "To let it act by itself: `mode: enforce` in its rule file",
    )
    payload = _incident_payload(
        incident,
        page,
        alert="canary kill-switch would trip (dry run)",
        auto_action=f"none (dry run): {kept}",
    )
    return replace(page, next_steps=page.next_steps + steps, payload=payload)


def blind(
    flags: Sequence[Flag],
    *,
    why: str,
    since: float,
    at: float,
    settings: PageSettings,
    trips: Mapping[str, float] | None = None,
) -> Page:
    """No usable verdict for these rollouts since ``since``; one page however many they are.

    ``trips``: when an explicit policy will trip which of them; the others hold. Times are Unix seconds.
    """
    kept = "nothing was changed, the canary keeps its traffic"
    step = "No automatic action follows: traffic stays as it is"
    if trips:
        soonest = sorted(trips.items(), key=lambda one: (one[1], one[0]))
        listed = ", ".join(f"{name} at {_utc(at)}" for name, at in soonest[:3])
        more = f", and {len(trips) - 3} more" if len(trips) > 3 else ""
        step = f"`when_blind` trips {listed}{more}, unless they are seen before"
        if len(trips) < len(flags):
            step += "; the others keep their traffic"
    headline = f"{_names(flags)}: blind for {duration_in_words(max(at - since, 1.0))}; {kept}"
    steps = (
        "Check the metric store, its scrape targets and the network between them: `killswitch doctor`",
        step,
        *(f'To stop the canary now: `killswitch trip {flag.rollout} --reason "blind"`' for flag in flags[:3]),
    )
    return _event(
        PageKind.BLIND, flags, headline, why, settings,
        at=at, identity=f"{since:.0f}", alert="canary kill-switch is blind", auto_action=f"none: {kept}", steps=steps,
    )  # fmt: skip


def cannot_act(
    rollouts: Sequence[str],
    *,
    controller: str,
    why: str,
    since: float,
    at: float,
    settings: PageSettings,
    breaches: Sequence[str] = (),
) -> Page:
    """The flag store cannot be written. ``breaches`` are the sentences of breaches that wait for it.

    The page with breaches has an id of its own: it must go out though the one without has gone before.
    """
    names = ", ".join(rollouts[:5]) + (f" and {len(rollouts) - 5} more" if len(rollouts) > 5 else "")
    waiting = "; ".join(breaches)
    danger = f". A breach is waiting: {waiting}" if breaches else ""
    headline = f"cannot act: the flag store does not answer; no flag can be changed ({names or 'no rollout'})"
    page = _event(
        PageKind.CANNOT_ACT, (), headline, f"{why}{danger}", settings,
        at=at, identity=f"{plain(controller, 60)}.{since:.0f}{'.breach' if breaches else ''}",
        alert="canary kill-switch cannot act",
        auto_action="none: the flag store does not answer; it is tried again until it does",
        steps=(
            "Check the flag store (etcd: quorum, disk, network)",
            "To stop the canary without the store: set its share to 0 in your routers",
        ),
    )  # fmt: skip
    payload = {
        **page.payload,
        "rollouts": list(rollouts[:MAX_ROLLOUTS]),
        "rollouts_count": len(rollouts),
        "controller": plain(controller, MAX_NAME),
    }
    return replace(page, payload=payload, rollout=rollouts[0] if len(rollouts) == 1 else "")


def too_late(flag: Flag, reason: str, *, at: float, settings: PageSettings) -> Page:
    """A rule is in breach, and every trip expired: its evidence was too old by the time it could be committed."""
    headline = f"{flag.rollout}: cannot act: a rule is in breach, and every trip expires before it is committed"
    return _event(
        PageKind.CANNOT_ACT, (flag,), headline, f"a breach is waiting: {reason}", settings,
        at=at, identity="expired", alert="canary kill-switch cannot act",
        auto_action="none so far: the evidence was too old each time; every cycle tries again",
        steps=(
            f"Stop the canary by hand: `killswitch trip {flag.rollout} --reason ...`",
            "Then compare the metric servers' clocks, and check the flag store's latency: `killswitch doctor`",
        ),
    )  # fmt: skip


def control_too(flag: Flag, findings: Sequence[Finding], *, at: float, settings: PageSettings) -> Page:
    """Both cohorts are bad: switching models would not help."""
    headline = f"{flag.rollout}: control is bad too; nothing was changed, switching models would not help"
    steps = ("Check what both models share: the provider, the network, retrieval, the prompt",)
    return _of_findings(
        PageKind.CONTROL_TOO, flag, findings, headline, settings,
        at=at, alert="both cohorts are over a limit", auto_action="none: control is bad as well", steps=steps,
    )  # fmt: skip


def traffic_split(flag: Flag, findings: Sequence[Finding], *, at: float, settings: PageSettings) -> Page:
    """The cohorts' shares of traffic are not what the flag says, so they cannot be compared."""
    headline = f"{flag.rollout}: traffic is not split as its flag says ({flag.canary_percent:g}% canary); not judging"
    steps = (
        "Check that every router follows the flag and labels its metrics with the cohort it served",
        "Check that the canary answers: requests that hang are counted when they end",
        f"See who follows: `killswitch status {flag.rollout}`",
    )
    return _of_findings(
        PageKind.TRAFFIC_SPLIT, flag, findings, headline, settings,
        at=at, alert="canary traffic split is wrong", auto_action="none: the cohorts cannot be compared", steps=steps,
    )  # fmt: skip


def never_seen(flag: Flag, findings: Sequence[Finding], *, at: float, settings: PageSettings) -> Page:
    """A rule's metric has not been seen in any cohort: probably a misspelled name."""
    rules = ", ".join(plain(finding.rule, 60) for finding in findings if finding.verdict is Verdict.UNKNOWN)
    headline = f"{flag.rollout}: no value has ever been seen for {rules or 'a rule'}: that rule protects nothing"
    steps = (
        "Check the metric's name and labels: `killswitch doctor`",
        "If it is rightly absent until its first event: `absent_is_zero: true`",
    )
    return _of_findings(
        PageKind.NEVER_SEEN, flag, findings, headline, settings,
        at=at, alert="canary kill-switch rule lacks data", auto_action="none: the other rules still judge", steps=steps,
    )  # fmt: skip


def rule_blind(flag: Flag, finding: Finding, *, lasted: float, at: float, settings: PageSettings) -> Page:
    """One rule has had no verdict for ``lasted`` seconds, while others of its rollout have."""
    rule = plain(finding.rule, 60)
    headline = (
        f"{flag.rollout}: rule {rule} has had no verdict for {duration_in_words(lasted)}: that rule protects nothing; "
        "the others still judge"
    )
    steps = (
        f"See its query and why: `killswitch explain {flag.rollout}`",
        "Check its metric and the metric store: `killswitch doctor`",
        f'If it was the rule that mattered: `killswitch trip {flag.rollout} --reason "{rule} is blind"`',
    )
    return _of_findings(
        PageKind.RULE_BLIND, flag, [finding], headline, settings,
        at=at, identity=f"{rule}.{at:.0f}",
        alert="canary kill-switch rule is blind", auto_action="none: the other rules still judge", steps=steps,
    )  # fmt: skip


def unwatched(flag: Flag, *, at: float, settings: PageSettings) -> Page:
    """Armed, and no replica has a rule file for it."""
    headline = (
        f"{flag.rollout}: not monitored: no rule file has this rollout. "
        f"Its canary gets {flag.canary_percent:g}% of traffic"
    )
    steps = (
        "Put its rule file back, or give the renamed one this rollout's name",
        f"If the rollout is over: `killswitch end {flag.rollout}`",
        f'To stop the canary until then: `killswitch trip {flag.rollout} --reason "unwatched"`',
    )
    return _event(
        PageKind.UNWATCHED, (flag,), headline, "no rule judges it: no one would notice a bad canary", settings, at=at,
        identity=f"{at:.0f}", alert="canary kill-switch does not watch an armed rollout",
        auto_action="none: without rules there are no verdicts", steps=steps,
    )  # fmt: skip


def flag_unreadable(rollout: str, problem: str, *, at: float, revision: int, settings: PageSettings) -> Page:
    """A flag document that nobody understands; ``revision`` is the store's for it."""
    name = plain(rollout, MAX_NAME)
    headline = f"{name}: its flag cannot be understood; routers send everything to control, and nothing is judged"
    steps = (
        f"See it: `killswitch status {name}`. Find out who writes flags without the kill switch",
        f"Remove it, then arm again: `killswitch end {name}`",
    )
    page = _event(
        PageKind.FLAG_UNREADABLE, (), headline, problem, settings,
        at=at, identity=f"{name}.{revision}", alert="canary flag cannot be understood",
        auto_action="none: routers treat it as if there were no flag", steps=steps,
    )  # fmt: skip
    ours = {"rollout": name, "rollouts": [name], "rollouts_count": 1}
    return replace(page, rollout=name, payload={**page.payload, **ours})


def internal_error(flag: Flag, findings: Sequence[Finding], *, at: float, settings: PageSettings) -> Page:
    """A rule could not be judged because of a fault of ours; the others go on."""
    headline = f"{flag.rollout}: a rule could not be judged because of a bug in the kill switch"
    steps = (f"Report it with the log and `killswitch explain {flag.rollout} --json`",)
    return _of_findings(
        PageKind.INTERNAL_ERROR, flag, findings, headline, settings,
        at=at, alert="canary kill-switch internal error", auto_action="none: the other rules still judge", steps=steps,
    )  # fmt: skip


def transaction_refused(why: str, *, rollout: str, controller: str, at: float, settings: PageSettings) -> Page:
    """The flag store is well and takes no transaction of this form. ``rollout``: whose flip it was, "" for none."""
    name, day = plain(rollout, MAX_NAME), to_iso(at)[:10]
    what = f"{name}: its flip was refused by the flag store" if name else "the flag store refused a write"
    page = _event(
        PageKind.INTERNAL_ERROR, (), f"{what} for its form; this is a bug, the store is well", why, settings,
        at=at, identity=f"transaction.{plain(controller, 60)}.{name}.{day}",
        alert="canary kill-switch internal error", auto_action="none: it is tried again, and may be refused again",
        steps=(
            *((f'Stop the canary by hand: `killswitch trip {name} --reason "flip refused"`',) if name else ()),
            "If you lowered etcd's --max-txn-ops or --max-request-bytes, raise them to its defaults (128, 1.5 MiB)",
            "Report it with the log",
        ),
    )  # fmt: skip
    return replace(page, rollout=name, payload={**page.payload, "rollout": name})


def name_taken(why: str, *, rollout: str, controller: str, at: float, settings: PageSettings) -> Page:  # noqa: ARG001  as its sibling
    """Another process runs under this one's controller id, and holds the session: this one cannot trip."""
    name, day = plain(controller, 60), to_iso(at)[:10]
    return _event(
        PageKind.NAME_TAKEN, (), f"two replicas run as controller {name}: one of them cannot trip", why, settings,
        at=at, identity=f"{name}.{day}", alert="two canary kill-switch replicas share one id",
        auto_action="none: the replica without the session neither trips nor reports what it sees",
        steps=(
            "Give each replica a KILLSWITCH_CONTROLLER_ID of its own, or unset it: each then makes up its own",
            "Kubernetes: take it from metadata.name; look for an old pod on a node that cannot be reached",
        ),
    )  # fmt: skip


def recovered(
    was: PageKind,
    flags: Sequence[Flag],
    *,
    follows: str,
    since: float,
    at: float,
    settings: PageSettings,
    why: str = "",
) -> Page:
    """The end of what the page ``follows`` told of. ``since`` is when that began (Unix seconds)."""
    trouble = was.value.lower().replace("_", " ")
    length = duration_in_words(max(round(at - since), 1))
    now = {PageKind.BLIND: "can judge again", PageKind.CANNOT_ACT: "can act again"}.get(was, f"no longer {trouble}")
    headline = f"{_names(flags)}: recovered: {now} after {length}"
    page = _event(
        PageKind.RECOVERED, flags, headline, why or f"it began at {_utc(since)} and is over", settings,
        at=at, identity=f"{was.value.lower()}.{since:.0f}", alert=f"canary kill-switch recovered: {trouble}",
        auto_action="none: judging goes on", steps=(),
    )  # fmt: skip
    return _quiet(identified(page, f"{follows}.recovered"), follows)


def no_longer_watched(flags: Sequence[Flag], *, follows: str, since: float, at: float, settings: PageSettings) -> Page:
    """Nobody will learn whether the blindness ``follows`` told of is over. ``since``: its beginning, Unix seconds."""
    headline = f"{_names(flags)}: blindness closed: nobody watches {'it' if len(flags) == 1 else 'them'} any more"
    why = (
        f"blind since {_utc(since)}; since then a flag that is not armed, or no rule file: whether it could be judged "
        "again is not known"
    )
    page = _event(
        PageKind.RECOVERED, flags, headline, why, settings,
        at=at, identity=f"blind.{since:.0f}", alert="canary kill-switch: blindness closed, nobody watches any more",
        auto_action="none", steps=(f"See what became of it: `killswitch status {flags[0].rollout}`",),
    )  # fmt: skip
    return _quiet(identified(page, f"{follows}.recovered"), follows)


def re_armed(flag: Flag, *, reason: str, by: str, settings: PageSettings) -> Page:
    """A person has let the canary back in; continues the page of the trip before."""
    who = plain(by, MAX_NAME)
    share = f"{plain(flag.canary, MAX_NAME)} gets {flag.canary_percent:g}% ({flag.stage})"
    headline = f"{flag.rollout}: re-armed by {who}; {share}"
    page = _event(
        PageKind.RE_ARMED, (flag,), headline, reason, settings,
        at=flag.armed_at, identity="", alert="canary kill-switch re-armed",
        auto_action=f"none: {who} re-armed it", steps=(f"Watch it: `killswitch status {flag.rollout}`",),
    )  # fmt: skip
    return _quiet(page, incident_id(flag.rollout, flag.generation - 1))


def followed(flag: Flag, *, routers: int, known: int, at: float, settings: PageSettings) -> Page:
    """How far the routers have got after a trip; continues its page."""
    all_of_them = routers == known
    headline = f"{flag.rollout}: {routers} of {known} routers send all users to {plain(flag.control, MAX_NAME)}"
    late = known - routers
    why = (
        "every router has followed the trip"
        if all_of_them
        else f"{counted(late, 'router')} {'has' if late == 1 else 'have'} not reported that they follow the trip: "
        "their users may still get the canary"
    )
    steps = () if all_of_them else (f"See who follows: `killswitch status {flag.rollout}`",)
    page = _event(
        PageKind.FOLLOWED, (flag,), headline, why, settings,
        at=at, identity="", alert="canary routers have followed", auto_action="none: the flag was flipped before",
        steps=steps,
    )  # fmt: skip
    page = _quiet(page, incident_id(flag.rollout, flag.generation))
    return page if all_of_them else _warning(page)


def rules_refused(problems: Sequence[str], *, at: float, digest: str, settings: PageSettings) -> Page:
    """New rule files were refused as a whole; the last good set stays. ``digest`` names the refused set."""
    headline = "new rule files refused; the last good set stays in force"
    shown = [plain(problem) for problem in problems[: MAX_STEPS - 2]]
    more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
    return _event(
        PageKind.RULES_REFUSED, (), headline, f"{counted(len(problems), 'problem')} in the rule files", settings,
        at=at, identity=plain(digest, 60) or f"{at:.0f}", alert="canary kill-switch rules refused",
        auto_action="none: the last good rules stay in force", steps=(*shown, *more, "Check them: `killswitch check`"),
    )  # fmt: skip


def digest(pages: Sequence[Page]) -> Page:
    """Many pages in one message, for a receiver that had more than it should have to read.

    Severity is that of the gravest; everybody is mentioned whom one of them mentions, for teams may share a channel;
    every page's payload stands under ``pages``, up to 100.
    """
    ordered = sorted(pages, key=lambda page: (SEVERITIES.index(page.severity), page.at))
    first = ordered[0]
    kinds = {kind: sum(page.kind is kind for page in pages) for kind in PageKind}
    by_kind = ", ".join(f"{count} {kind.value}" for kind, count in kinds.items() if count)
    lines = [plain(page.headline, 300) for page in ordered[:_MAX_DIGEST_LINES]]
    if len(ordered) > len(lines):
        lines.append(f"and {len(ordered) - len(lines)} more: `killswitch status`")
    payload = {
        **first.payload,
        "alert": f"canary kill-switch: {len(pages)} pages",
        "kind": PageKind.DIGEST.value,
        "good_news": all(page.good_news for page in pages),
        "count": len(pages),
        "pages": [page.payload for page in ordered[:_MAX_DIGEST_PAYLOADS]],
    }
    return replace(
        first,
        id=f"{first.id}.digest-of-{len(pages)}",
        kind=PageKind.DIGEST,
        headline=f"{len(pages)} pages at once: {by_kind}",
        why=first.headline,
        rows=(),
        next_steps=tuple(lines),
        payload=payload,
        mention=_mentions(ordered),
        follows=None,
        exposed="",
    )


def _mentions(pages: Sequence[Page]) -> str | None:
    """Whom the pages mention, each once, as many as a message takes."""
    return mentions_that_fit(dict.fromkeys(word for page in pages for word in (page.mention or "").split())) or None


def mentions_that_fit(mentions: Iterable[str]) -> str:
    """As many as a message takes, none cut: half of one is text that swallows what follows."""
    kept = ""
    for mention in mentions:
        longer = f"{kept} {mention}".strip()
        if len(longer) > MAX_MENTION:
            break
        kept = longer
    return kept


def for_fallback(page: Page, missed: str, error: str) -> Page:
    """The page as the fallback receiver gets it: it says whom it could not reach, and why."""
    note = f"{missed} could not be reached: {plain(error, 200)}" if error else f"{missed} could not be reached"
    return replace(page, next_steps=(*page.next_steps, note))


def identified(page: Page, page_id: str) -> Page:
    """The same page under another id: one that all replicas agree on, so that it is sent once."""
    return replace(page, id=page_id, payload={**page.payload, "page": page_id})


# --- what they share ----------------------------------------------------------------------------

SEVERITIES = ("critical", "error", "warning", "info")


def _of_incident(incident: Incident, settings: PageSettings, kind: PageKind, page_id: str, headline: str) -> Page:
    page = _base(
        kind, page_id, headline, incident.reason, settings,
        rollout=incident.rollout, generation=incident.generation, at=incident.decided_at,
        rows=_rows(incident.findings, incident.rules, window=incident.window, at=incident.decided_at),
    )  # fmt: skip
    return replace(page, exposed=_exposed_words(_exposure(incident)))


def _exposure(incident: Incident) -> dict[str, Any]:
    """How many users and requests the canary had since the breach began, as far as that was counted.

    ``since``: when the first rule that tripped began to be over; None for a trip by hand, or where nothing was
    counted. ``requests`` and ``bad_requests``: the canary's since then, of the rule with the most requests; null
    where the bare comparison tripped, whose numbers are of the window. ``first_requests``: only each user's first
    request in five minutes was counted. ``users``: how many those are while five minutes have not passed.
    """
    tripping = incident.tripping
    begun = [one.since for one in tripping if finite(one.since) is not None and one.since is not None]
    since = min(begun, default=None)
    seconds = None if since is None else max(0.0, incident.decided_at - since)
    counted = max(
        (one for one in tripping if one.excursion is not None),
        key=lambda one: one.excursion.trials_canary if one.excursion is not None else 0.0,
        default=None,
    )
    excursion = None if counted is None else counted.excursion
    first_requests = counted is not None and counted.raw_canary is not None
    requests = None if excursion is None else _whole(excursion.trials_canary)
    one_each = first_requests and seconds is not None and seconds <= _ONE_REQUEST_SECONDS
    return {
        "percent_of_users": incident.percent_before,
        "since": None if since is None else to_iso(math.floor(since)),
        "seconds": None if seconds is None else round(seconds),
        "requests": requests,
        "bad_requests": None if excursion is None else _whole(excursion.events_canary),
        "rule": None if counted is None else plain(counted.rule, MAX_NAME),
        "first_requests": first_requests,
        "users": requests if one_each else None,
    }


def _exposed_words(exposure: Mapping[str, Any]) -> str:
    """``5% of users, since 20:10:30 UTC (1m41s): 53 of 189 canary requests were bad (refusal_rate)``."""
    words = f"{exposure['percent_of_users']:g}% of users"
    if exposure["since"] is not None:
        lasted = f" ({duration_in_words(exposure['seconds'])})" if exposure["seconds"] else ""
        words += f", since {exposure['since'][11:19]} UTC{lasted}"
    if exposure["requests"] is None:
        return words
    users = exposure["users"]
    whose = (
        f" of about {users:,} users"
        if users is not None
        else ", each user's first in five minutes" * exposure["first_requests"]
    )
    bad, requests = exposure["bad_requests"], exposure["requests"]
    return f"{words}: {bad:,} of {requests:,} canary requests were bad ({exposure['rule']}){whose}"


def _of_findings(
    kind: PageKind,
    flag: Flag,
    findings: Sequence[Finding],
    headline: str,
    settings: PageSettings,
    *,
    at: float,
    alert: str,
    auto_action: str,
    steps: Sequence[str],
    identity: str = "",
) -> Page:
    why = "; ".join(finding.sentence for finding in findings) or headline
    page = _event(
        kind, (flag,), headline, why, settings,
        at=at, identity=identity or f"{at:.0f}", alert=alert, auto_action=auto_action, steps=steps,
    )  # fmt: skip
    samples_new, samples_old = _samples(findings)
    payload = {
        **page.payload,
        "samples_new": samples_new,
        "samples_old": samples_old,
        "rules": _rule_payloads(findings, ()),
    }
    return replace(page, rows=_rows(findings, (), window=None, at=at), payload=payload)


def _event(
    kind: PageKind,
    flags: Sequence[Flag],
    headline: str,
    why: str,
    settings: PageSettings,
    *,
    at: float,
    identity: str,
    alert: str,
    auto_action: str,
    steps: Sequence[str],
) -> Page:
    """A page about something that is no incident; ``identity`` keeps two events of one kind apart."""
    one = flags[0] if len(flags) == 1 else None
    owner = incident_id(one.rollout, one.generation) if one is not None else FLEET
    page_id = ".".join(part for part in (owner, kind.value.lower().replace("_", "-"), identity) if part)
    page = _base(
        kind, page_id, headline, why, settings,
        rollout=one.rollout if one else "", generation=one.generation if one else 0, at=at, rows=(),
    )  # fmt: skip
    payload = {
        "alert": alert,
        "reason": page.why,
        "stage": one.stage if one else None,
        "ts": to_iso(math.floor(at)),
        "samples_new": None,
        "samples_old": None,
        "auto_action": auto_action,
        **_our_fields(page),
        "rollouts": [flag.rollout for flag in flags[:MAX_ROLLOUTS]],
        "rollouts_count": len(flags),
        "control": one.control if one else None,
        "canary": one.rollout_canary if one else None,
    }
    return replace(page, payload=payload, next_steps=_bounded_steps((*page.next_steps, *steps)))


def _base(
    kind: PageKind,
    page_id: str,
    headline: str,
    why: str,
    settings: PageSettings,
    *,
    rollout: str,
    generation: int,
    at: float,
    rows: tuple[RuleRow, ...],
) -> Page:
    link = _link(settings, kind, rollout, generation)
    here = "Incident" if kind in _ABOUT_INCIDENTS else "Status"
    links = ((here, link), ("Runbook", settings.runbook), ("Dashboard", settings.dashboard))
    return Page(
        id=page_id,
        kind=kind,
        rollout=rollout,
        generation=generation,
        at=at,
        headline=plain(headline, 400),
        why=plain(why),
        rows=rows,
        next_steps=tuple(f"{name}: {plain(address)}" for name, address in links if address),
        payload={},
        severity=settings.severity,
        slack=settings.slack,
        mention=settings.mention,
        runbook=settings.runbook,
        dashboard=settings.dashboard,
        pagerduty=settings.pagerduty,
        link=link,
    )


def _link(settings: PageSettings, kind: PageKind, rollout: str, generation: int) -> str | None:
    """The address on the daemon's own pages: of the incident, else of the rollout, else of the whole status."""
    if settings.public_url is None:
        return None
    base = settings.public_url.rstrip("/")
    if not rollout:
        return f"{base}/"
    if kind not in _ABOUT_INCIDENTS:
        return f"{base}/#{rollout}"
    return f"{base}/incidents/{incident_id(rollout, generation - 1 if kind is PageKind.RE_ARMED else generation)}"


def _quiet(page: Page, follows: str) -> Page:
    """Good news calls nobody: no mention, and it continues the page it belongs to."""
    payload = {**page.payload, "severity": "info", "good_news": True}
    return replace(page, follows=follows, mention=None, severity="info", payload=payload)


def _warning(page: Page) -> Page:
    """It still calls nobody, but who reads along must see it: some users may still get the canary."""
    return replace(page, severity="warning", payload={**page.payload, "severity": "warning", "good_news": False})


def _incident_payload(incident: Incident, page: Page, *, alert: str, auto_action: str) -> dict[str, Any]:
    """The machine-readable form; the first seven names and their meanings are fixed.

    ``reason`` is ``rule=value vs baseline value`` for each tripping rule (else the sentence): of what was counted
    since the breach began where evidence tripped, of the window where the bare comparison did. ``stage``: the stage
    before the trip, ``ts`` the trip in UTC to the second, ``samples_new`` and ``samples_old`` the requests of canary
    and control that ``reason`` rests on, null where unknown. Under ``rules`` the values are of the last
    ``window_seconds``, and ``excursion`` has what was counted since the breach began.
    """
    samples_new, samples_old = _samples(incident.tripping or incident.findings)
    compared = "; ".join(_compared(finding) for finding in incident.tripping)
    return {
        "alert": alert,
        "reason": plain(compared or incident.reason),
        "stage": incident.stage_before,
        "ts": to_iso(math.floor(incident.decided_at)),
        "samples_new": samples_new,
        "samples_old": samples_old,
        "auto_action": auto_action,
        **_our_fields(page),
        "incident": incident.id,
        "control": plain(incident.control, MAX_NAME),
        "canary": plain(incident.canary, MAX_NAME),
        "percent_before": incident.percent_before,
        "exposed": _exposure(incident),
        "automatic": incident.automatic,
        "by": plain(incident.by, MAX_NAME),
        "window_seconds": finite(incident.window),
        "rules": _rule_payloads(incident.findings, incident.rules),
    }


def _our_fields(page: Page) -> dict[str, Any]:
    return {
        "page": page.id,
        "kind": page.kind.value,
        "rollout": page.rollout,
        "generation": page.generation,
        "severity": page.severity,
        "good_news": False,
        "headline": page.headline,
        "sentence": page.why,
        "link": page.link,
        "runbook": page.runbook,
        "dashboard": page.dashboard,
    }


def _rule_payloads(findings: Sequence[Finding], tripping: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "rule": plain(finding.rule, MAX_NAME),
            "verdict": finding.verdict.value,
            "reason": finding.reason.value if finding.reason is not None else None,
            "tripping": finding.rule in tripping,
            "unit": finding.unit.value,
            "canary": finite(finding.canary),
            "control": finite(finding.control),
            "limit": finite(finding.limit),
            "samples_new": _whole(finding.samples_canary),
            "samples_old": _whole(finding.samples_control),
            "since": None if finite(finding.since) is None else to_iso(math.floor(finding.since or 0.0)),
            "excursion": excursion_to_json(finding.excursion),
            "sentence": plain(finding.sentence, 400),
        }
        for finding in _most_important(findings, tripping)
    ]


def _rows(
    findings: Sequence[Finding], tripping: Sequence[str], *, window: float | None, at: float
) -> tuple[RuleRow, ...]:
    return tuple(
        row
        for finding in _most_important(findings, tripping)
        for row in _rows_of(finding, window, at, tripping=finding.rule in tripping)
    )


def _rows_of(finding: Finding, window: float | None, at: float, *, tripping: bool) -> Iterator[RuleRow]:
    reason = "" if finding.reason is None else f" ({finding.reason.value})"
    for number, row in enumerate(finding_rows(finding_to_json(finding), window=window, at=at)):
        first = number == 0
        yield RuleRow(
            rule=plain(finding.rule, 60) if first else "",
            verdict=f"{finding.verdict.value}{reason}" if first else "",
            canary=row.canary,
            control=row.control,
            limit=row.limit,
            samples=row.requests,
            counted=row.counted,
            tripping=tripping and first,
        )


def _most_important(findings: Sequence[Finding], tripping: Sequence[str]) -> Sequence[Finding]:
    """All of them in their order; of too many, the tripping ones first."""
    if len(findings) <= MAX_ROWS:
        return findings
    return sorted(findings, key=lambda finding: finding.rule not in tripping)[:MAX_ROWS]


def _samples(findings: Sequence[Finding]) -> tuple[int | None, int | None]:
    """Requests per cohort behind what is said, of the first finding that knows both."""
    for finding in findings:
        excursion = finding.excursion if _is_proven(finding) else None
        pair = (
            (finding.samples_canary, finding.samples_control)
            if excursion is None
            else (excursion.trials_canary, excursion.trials_control)
        )
        new, old = _whole(pair[0]), _whole(pair[1])
        if new is not None and old is not None:
            return new, old
    return None, None


def _is_proven(finding: Finding) -> bool:
    """A breach by evidence, whose numbers are those counted since it began, whatever the window looks like."""
    return finding.verdict is Verdict.BREACH and finding.excursion is not None


def _whole(samples: float | None) -> int | None:
    known = finite(samples)
    return None if known is None else round(known)


def _compared(finding: Finding) -> str:
    excursion = finding.excursion
    if _is_proven(finding) and excursion is not None:
        share = "" if finding.unit is Unit.FRACTION else "share of requests over the limit of "
        rule = f"{share}{plain(finding.rule, MAX_NAME)}"
        beside = _plain_number(excursion.control, Unit.FRACTION)
        return f"{rule}={_plain_number(excursion.canary, Unit.FRACTION)} vs baseline {beside}"
    if finding.canary is None:  # evidence breaches by what it gathered, whether or not this window could be read
        return plain(finding.sentence)
    canary, control = _plain_number(finding.canary, finding.unit), _plain_number(finding.control, finding.unit)
    return f"{plain(finding.rule, MAX_NAME)}={canary} vs baseline {control}"


def _plain_number(value: float | None, unit: Unit) -> str:
    """``0.0871`` -> ``0.087``; small rates keep two significant digits. Seconds and numbers: four."""
    if value is None:
        return "unknown"
    if not math.isfinite(value):
        return value_in_words(value, unit)
    if unit is Unit.FRACTION:
        return f"{value:.3f}" if value == 0.0 or abs(value) >= 0.01 else f"{value:.2g}"
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def _names(flags: Sequence[Flag]) -> str:
    if not flags:
        return "all rollouts"
    listed = ", ".join(flag.rollout for flag in flags[:3])
    return listed if len(flags) <= 3 else f"{len(flags)} rollouts ({listed}, …)"


def _bounded_steps(steps: Sequence[str]) -> tuple[str, ...]:
    return tuple(plain(step) for step in steps[:MAX_STEPS])


# --- text ---------------------------------------------------------------------------------------


def plain(text: str, limit: int = MAX_LINE) -> str:
    """One line of at most ``limit`` characters, without control, format or surrogate characters."""
    kept = text[: limit * 4]
    if not kept.isprintable():
        kept = "".join(
            " " if character.isspace() else character
            for character in kept
            if character.isspace() or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
        )
    kept = " ".join(kept.split())
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def table_lines(rows: Sequence[RuleRow]) -> tuple[str, ...]:
    """The rules side by side, in columns for a fixed-width font; ``>`` marks what tripped."""
    if not rows:
        return ()
    head: tuple[str, ...] = ("", "rule", "canary", "control", "limit", "requests", "counted", "verdict")
    body: list[tuple[str, ...]] = [
        (
            ">" if row.tripping else "",
            *(row.rule, row.canary, row.control, row.limit, row.samples, row.counted, row.verdict),
        )
        for row in rows
    ]
    if not any(row.counted for row in rows):
        head, body = _without_counted(head), [_without_counted(line) for line in body]
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
    return tuple(
        "  ".join(
            cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *body)
    )


def when_and_whom(page: Page) -> str:
    """``At 2026-04-19 14:22:11 UTC. Exposed: 5% of users, since …``."""
    exposed = f" Exposed: {page.exposed}." if page.exposed else ""
    return f"At {_utc(page.at)}.{exposed}"


def _utc(at: float) -> str:
    """Unix seconds as ``2026-04-19 14:22:11 UTC``."""
    return f"{to_iso(math.floor(at))[:19].replace('T', ' ')} UTC"


def _without_counted(line: tuple[str, ...]) -> tuple[str, ...]:
    return line[:6] + line[7:]


def plain_text(page: Page, *, possible_repeat: bool = False) -> str:
    """The whole page as lines of text, for consoles and as the fallback of richer receivers."""
    repeat = "(possible repeat) " if possible_repeat else ""
    lines = [
        f"{repeat}{page.headline}",
        page.why,
        when_and_whom(page),
        *table_lines(page.rows),
        *(f"- {step}" for step in page.next_steps),
    ]
    return "\n".join(line for line in lines if line)


# --- the document -------------------------------------------------------------------------------


_PAGE_FIELDS = tuple(one.name for one in fields(Page))
_ROW_FIELDS = tuple(one.name for one in fields(RuleRow))


def page_to_json(page: Page) -> dict[str, Any]:
    """For writing only: it shares the page's payload. `dataclasses.asdict` copies it, half of what a flip costs."""
    rows = [{name: getattr(row, name) for name in _ROW_FIELDS} for row in page.rows]
    return {"format": FORMAT, **{name: getattr(page, name) for name in _PAGE_FIELDS}, "rows": rows}


def page_from_json(document: object) -> Page:
    """The inverse of `page_to_json`. Raises BadDocument.

    Whoever may write to the outbox wrote it, so its texts are made plain again, as they were when we built it.
    """
    fields = Fields(document, "page")
    if fields.raw.get("format") != FORMAT:
        raise BadDocument("page: not a page document of this format")
    payload = Fields(fields.raw.get("payload"), "page, payload").raw
    try:
        kind = PageKind(fields.text("kind"))
        json.dumps(payload, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"page: {error}") from error
    severity = fields.text("severity")
    if severity not in SEVERITIES:
        raise BadDocument(f"page: severity {severity!r:.80} is none of {', '.join(SEVERITIES)}")
    return Page(
        id=fields.text("id"),
        kind=kind,
        rollout=fields.text("rollout", empty=True),
        generation=fields.integer("generation"),
        at=fields.number("at"),
        headline=plain(fields.text("headline")),
        why=plain(fields.text("why", empty=True)),
        rows=tuple(_row(row) for row in fields.objects("rows")),
        next_steps=tuple(plain(step) for step in fields.texts("next_steps")),
        payload=payload,
        severity=severity,
        slack=fields.optional_text("slack"),
        mention=fields.optional_text("mention"),
        runbook=fields.optional_text("runbook"),
        dashboard=fields.optional_text("dashboard"),
        follows=fields.optional_text("follows"),
        exposed=plain(fields.text("exposed", empty=True)),
        pagerduty=fields.optional_text("pagerduty"),
        link=fields.optional_text("link"),
    )


def _row(fields: Fields) -> RuleRow:
    return RuleRow(
        rule=plain(fields.text("rule", empty=True)),
        verdict=plain(fields.text("verdict", empty=True)),
        canary=plain(fields.text("canary", empty=True)),
        control=plain(fields.text("control", empty=True)),
        limit=plain(fields.text("limit", empty=True)),
        samples=plain(fields.text("samples", empty=True)),
        counted=plain(fields.text("counted", empty=True)),
        tripping=fields.flag("tripping"),
    )
