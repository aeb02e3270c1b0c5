"""The pages: one function for each event that people are paged for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.incident import Incident, incident_id
from killswitch.model import Finding, PageSettings, Verdict
from killswitch.pages.building import (
    as_good_news,
    as_warning,
    incident_payload,
    names_in_words,
    of_shadow,
    page_of_event,
    page_of_findings,
    page_of_incident,
)
from killswitch.pages.page import MAX_NAME, MAX_ROLLOUTS, MAX_STEPS, Page, PageKind, identified, with_steps
from killswitch.timestamps import to_iso
from killswitch.wording import counted, date_and_time, duration_in_words, plain


def tripped(incident: Incident, settings: PageSettings) -> Page:
    """A controller or a person has tripped the canary: all users get control again, or its shadow has ended."""
    done = f"all traffic routed to {plain(incident.control, MAX_NAME)}"
    canary = plain(incident.canary, MAX_NAME)
    by = "" if incident.automatic else f" by {plain(incident.by, MAX_NAME)}"
    headline = f"{incident.rollout}: canary {canary} tripped{by}, {done}"
    again = f'`killswitch rearm {incident.rollout} --reason "what was fixed"`'
    if of_shadow(incident):
        done = f"shadow requests stopped; every user had {plain(incident.control, MAX_NAME)} all the time"
        headline = (
            f"Shadow of {incident.rollout} stopped{by}: no more requests go to canary {canary}. No user was affected"
        )
        again = f'`killswitch rearm {incident.rollout} --shadow 5 --reason "what was fixed"`'
    page = page_of_incident(incident, settings, PageKind.TRIPPED, incident.id, headline)
    shown = "every number and query" if incident.findings else "the incident"  # a trip by hand judges nothing
    steps = (f"See {shown}: `killswitch explain {incident.id}`", f"When it is fixed, re-arm: {again}")
    payload = incident_payload(incident, page, alert="canary kill-switch tripped", auto_action=done)
    return with_steps(replace(page, payload=payload), steps)


def would_trip(incident: Incident, settings: PageSettings) -> Page:
    """In dry run, a rule would trip the canary. ``incident`` is what the trip would have written."""
    kept = f"{plain(incident.canary, MAX_NAME)} keeps {incident.percent_before:g}% of traffic"
    if of_shadow(incident):
        kept = f"requests go on being shadowed to {plain(incident.canary, MAX_NAME)}. No user is affected"
    headline = f"{incident.rollout}: would trip (dry run). Nothing was changed: {kept}"
    page_id = f"{incident.id}.would-trip.{incident.tick or incident.decided_at:.0f}"
    page = page_of_incident(incident, settings, PageKind.WOULD_TRIP, page_id, headline)
    steps = (
        f'To act by hand: `killswitch trip {incident.rollout} --reason "why"`',
        "To let the kill switch trip by itself: set `mode: enforce` in the rule file",
    )
    payload = incident_payload(
        incident,
        page,
        alert="canary kill-switch would trip (dry run)",
        auto_action=f"none (dry run): {kept}",
    )
    return with_steps(replace(page, payload=payload), steps)


def blind(
    flags: Sequence[Flag],
    *,
    why: str,
    since: float,
    at: float,
    settings: PageSettings,
    trips: Mapping[str, float] | None = None,
) -> Page:
    """No rule of these rollouts has had a usable verdict since ``since``. One page covers all of them.

    ``trips``: when `when_blind` will trip which rollout; the traffic of the others stays. Times are Unix seconds.
    """
    step = "No automatic action. Traffic stays as it is"
    if trips:
        soonest = sorted(trips.items(), key=lambda one: (one[1], one[0]))
        listed = ", ".join(f"{name} at {date_and_time(at)}" for name, at in soonest[:3])
        more = f", and {len(trips) - 3} more" if len(trips) > 3 else ""
        step = f"`when_blind` trips {listed}{more}, unless usable data arrive before"
        if len(trips) < len(flags):
            step += "; the others keep their traffic"
    lasted = duration_in_words(max(at - since, 1.0))
    headline = f"{names_in_words(flags)}: blind for {lasted}. Nothing was changed: the canary keeps its traffic"
    steps = (
        "Check the metric store, its scrape targets and the network between them: `killswitch doctor`",
        step,
        *(f'To stop the canary now: `killswitch trip {flag.rollout} --reason "blind"`' for flag in flags[:3]),
    )
    return page_of_event(
        PageKind.BLIND, flags, headline, why, settings,
        at=at, identity=f"{since:.0f}", alert="canary kill-switch is blind",
        auto_action="none: nothing was changed, the canary keeps its traffic", steps=steps,
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
    """The flag store cannot be written. ``breaches``: the sentences of rules whose trips wait for the store.

    The page with breaches has its own id, because it must be sent even if the page without them was sent before.
    """
    names = ", ".join(rollouts[:5]) + (f" and {len(rollouts) - 5} more" if len(rollouts) > 5 else "")
    waiting = "; ".join(breaches)
    danger = f". A breach is waiting: {waiting}" if breaches else ""
    headline = f"cannot act: the flag store does not answer, so no flag can be changed ({names or 'no rollout'})"
    page = page_of_event(
        PageKind.CANNOT_ACT, (), headline, f"{why}{danger}", settings,
        at=at, identity=f"{plain(controller, 60)}.{since:.0f}{'.breach' if breaches else ''}",
        alert="canary kill-switch cannot act",
        auto_action="none: the flag store does not answer; every write is retried until it does",
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
    """A rule is in breach, and every trip expired: its evidence was too old when it could be committed."""
    headline = f"{flag.rollout}: cannot act: a rule is in breach, but every trip expires before it is committed"
    return page_of_event(
        PageKind.CANNOT_ACT, (flag,), headline, f"a breach is waiting: {reason}", settings,
        at=at, identity="expired", alert="canary kill-switch cannot act",
        auto_action="none so far: the evidence was too old each time; every cycle tries again",
        steps=(
            f'Stop the canary by hand: `killswitch trip {flag.rollout} --reason "trips expire"`',
            "Then compare the metric servers' clocks, and check the flag store's latency: `killswitch doctor`",
        ),
    )  # fmt: skip


def control_too(flag: Flag, findings: Sequence[Finding], *, at: float, settings: PageSettings) -> Page:
    """Both cohorts are over a limit: switching models would not help."""
    headline = f"{flag.rollout}: control is over its limit too. Nothing was changed: switching models would not help"
    steps = ("Check what both models share: the provider, the network, retrieval, the prompt",)
    return page_of_findings(
        PageKind.CONTROL_TOO, flag, findings, headline, settings,
        at=at, alert="both cohorts are over a limit", auto_action="none: control is bad as well", steps=steps,
    )  # fmt: skip


def traffic_split(flag: Flag, findings: Sequence[Finding], *, at: float, settings: PageSettings) -> Page:
    """The cohorts' shares of traffic are not what the flag says, so the cohorts cannot be compared."""
    headline = (
        f"{flag.rollout}: traffic is not split as the flag says ({flag.canary_percent:g}% canary), "
        "so the cohorts cannot be compared"
    )
    steps = (
        "Check that every router follows the flag and labels its metrics with the cohort it served",
        "Check that the canary answers: a request that hangs is counted only when it ends",
        f"See which routers follow the flag: `killswitch status {flag.rollout}`",
    )
    return page_of_findings(
        PageKind.TRAFFIC_SPLIT, flag, findings, headline, settings,
        at=at, alert="canary traffic split is wrong", auto_action="none: the cohorts cannot be compared", steps=steps,
    )  # fmt: skip


def never_seen(flag: Flag, findings: Sequence[Finding], *, at: float, settings: PageSettings) -> Page:
    """A rule's metric has not been seen in any cohort: probably a misspelled name."""
    rules = ", ".join(plain(finding.rule, 60) for finding in findings if finding.verdict is Verdict.UNKNOWN)
    headline = f"{flag.rollout}: the metric of {rules or 'a rule'} is missing, so that rule protects no one"
    steps = (
        "Check the metric's name and labels: `killswitch doctor`",
        "If the metric is absent until its first event: set `absent_is_zero: true` for the rule",
    )
    return page_of_findings(
        PageKind.NEVER_SEEN, flag, findings, headline, settings,
        at=at, alert="canary kill-switch rule lacks data", auto_action="none: the other rules still judge", steps=steps,
    )  # fmt: skip


def rule_blind(flag: Flag, finding: Finding, *, lasted: float, at: float, settings: PageSettings) -> Page:
    """One rule has had no verdict for ``lasted`` seconds, while others of its rollout have."""
    rule = plain(finding.rule, 60)
    headline = (
        f"{flag.rollout}: rule {rule} has had no verdict for {duration_in_words(lasted)}, so it protects no one. "
        "The other rules are still judged"
    )
    steps = (
        f"See its query and the reason: `killswitch explain {flag.rollout}`",
        "Check its metric and the metric store: `killswitch doctor`",
        f'To stop the canary until this rule works again: `killswitch trip {flag.rollout} --reason "{rule} is blind"`',
    )
    return page_of_findings(
        PageKind.RULE_BLIND, flag, [finding], headline, settings,
        at=at, identity=f"{rule}.{at:.0f}",
        alert="canary kill-switch rule is blind", auto_action="none: the other rules still judge", steps=steps,
    )  # fmt: skip


def unwatched(flag: Flag, *, at: float, settings: PageSettings) -> Page:
    """Armed, and no replica has a rule file for it."""
    gets = f"Its canary gets {flag.canary_percent:g}% of traffic"
    if flag.stage == SHADOW:
        gets = f"No user gets its canary; {flag.shadow_share} of requests are shadowed to it"
    headline = f"{flag.rollout}: not monitored: no rule file has this rollout. {gets}"
    steps = (
        "Put the rule file back. If the rollout was renamed in it, restore the name",
        f"If the rollout is over: `killswitch end {flag.rollout}`",
        f'To stop the canary until then: `killswitch trip {flag.rollout} --reason "unwatched"`',
    )
    why = "no rule is judged, so no one would notice a bad canary"
    return page_of_event(
        PageKind.UNWATCHED, (flag,), headline, why, settings, at=at,
        identity=f"{at:.0f}", alert="canary kill-switch does not watch an armed rollout",
        auto_action="none: without rules there are no verdicts", steps=steps,
    )  # fmt: skip


def flag_unreadable(rollout: str, problem: str, *, at: float, revision: int, settings: PageSettings) -> Page:
    """A flag document cannot be read as a flag. ``revision``: the flag store's, of the document."""
    name = plain(rollout, MAX_NAME)
    headline = f"{name}: the flag document is broken. Routers send all users to control, and no rule is judged"
    steps = (
        f"See what is wrong: `killswitch status {name}`. Find out what else writes to the flag store",
        f"Remove the flag, then arm the rollout again: `killswitch end {name}`",
    )
    page = page_of_event(
        PageKind.FLAG_UNREADABLE, (), headline, problem, settings,
        at=at, identity=f"{name}.{revision}", alert="canary flag cannot be understood",
        auto_action="none: routers treat it as if there were no flag", steps=steps,
    )  # fmt: skip
    ours = {"rollout": name, "rollouts": [name], "rollouts_count": 1}
    return replace(page, rollout=name, payload={**page.payload, **ours})


def internal_error(flag: Flag, findings: Sequence[Finding], *, at: float, settings: PageSettings) -> Page:
    """A rule could not be judged because of a bug in the kill switch. The other rules are judged."""
    headline = f"{flag.rollout}: a rule could not be judged because of a bug in the kill switch"
    steps = (f"Report the bug, with the log and the output of `killswitch explain {flag.rollout} --json`",)
    return page_of_findings(
        PageKind.INTERNAL_ERROR, flag, findings, headline, settings,
        at=at, alert="canary kill-switch internal error", auto_action="none: the other rules still judge", steps=steps,
    )  # fmt: skip


def transaction_refused(why: str, *, rollout: str, controller: str, at: float, settings: PageSettings) -> Page:
    """The flag store works, but refuses a transaction for its form. ``rollout``: whose flip it was, "" for none."""
    name, day = plain(rollout, MAX_NAME), to_iso(at)[:10]
    what = f"{name}: the flag store refused the flip" if name else "the flag store refused a write"
    headline = f"{what} for its form. This is a bug in the kill switch; the store works"
    page = page_of_event(
        PageKind.INTERNAL_ERROR, (), headline, why, settings,
        at=at, identity=f"transaction.{plain(controller, 60)}.{name}.{day}",
        alert="canary kill-switch internal error", auto_action="none: the write is retried, and may be refused again",
        steps=(
            *((f'Stop the canary by hand: `killswitch trip {name} --reason "flip refused"`',) if name else ()),
            "If you lowered etcd's --max-txn-ops or --max-request-bytes, raise them to its defaults (128, 1.5 MiB)",
            "Report the bug, with the log",
        ),
    )  # fmt: skip
    return replace(page, rollout=name, payload={**page.payload, "rollout": name})


def name_taken(why: str, *, rollout: str, controller: str, at: float, settings: PageSettings) -> Page:  # noqa: ARG001  as its sibling
    """Another process runs under this controller id and holds its session, so this process cannot trip."""
    name, day = plain(controller, 60), to_iso(at)[:10]
    return page_of_event(
        PageKind.NAME_TAKEN, (), f"two replicas run as controller {name}: one of them cannot trip", why, settings,
        at=at, identity=f"{name}.{day}", alert="two canary kill-switch replicas share one id",
        auto_action="none: the replica without the session neither trips nor reports what it sees",
        steps=(
            "Give each replica its own KILLSWITCH_CONTROLLER_ID, or unset it: each replica then generates one",
            "In Kubernetes: set it from metadata.name, and look for an old pod on a node that cannot be reached",
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
    """The problem that page ``follows`` reported has ended. ``since``: when it began, in Unix seconds."""
    trouble = was.value.lower().replace("_", " ")
    length = duration_in_words(max(round(at - since), 1))
    now = {PageKind.BLIND: "can judge again", PageKind.CANNOT_ACT: "can act again"}.get(was, f"no longer {trouble}")
    headline = f"{names_in_words(flags)}: recovered: {now} after {length}"
    why = why or f"the problem began at {date_and_time(since)} and has ended"
    page = page_of_event(
        PageKind.RECOVERED, flags, headline, why, settings,
        at=at, identity=f"{was.value.lower()}.{since:.0f}", alert=f"canary kill-switch recovered: {trouble}",
        auto_action="none: judging goes on", steps=(),
    )  # fmt: skip
    return as_good_news(identified(page, f"{follows}.recovered"), follows)


def no_longer_watched(flags: Sequence[Flag], *, follows: str, since: float, at: float, settings: PageSettings) -> Page:
    """The rollouts that page ``follows`` called blind are no longer monitored. ``since``: blind since, Unix seconds."""
    headline = f"{names_in_words(flags)}: no longer monitored, so no longer reported as blind"
    why = (
        f"blind since {date_and_time(since)}. The flag is no longer armed or has no rule file, so it is "
        "not known whether it could be judged again"
    )
    page = page_of_event(
        PageKind.RECOVERED, flags, headline, why, settings,
        at=at, identity=f"blind.{since:.0f}", alert="canary kill-switch: blindness closed, no longer watched",
        auto_action="none", steps=(f"See its flag: `killswitch status {flags[0].rollout}`",),
    )  # fmt: skip
    return as_good_news(identified(page, f"{follows}.recovered"), follows)


def re_armed(flag: Flag, *, reason: str, by: str, settings: PageSettings) -> Page:
    """A person has re-armed the canary. Continues the page of the trip before."""
    who = plain(by, MAX_NAME)
    share = f"{plain(flag.canary, MAX_NAME)} gets {flag.canary_percent:g}% ({flag.stage})"
    if flag.stage == SHADOW:
        share = f"no user gets {plain(flag.canary, MAX_NAME)}, {flag.shadow_share} of requests are shadowed to it"
    headline = f"{flag.rollout}: re-armed by {who}; {share}"
    page = page_of_event(
        PageKind.RE_ARMED, (flag,), headline, reason, settings,
        at=flag.armed_at, identity="", alert="canary kill-switch re-armed",
        auto_action=f"none: {who} re-armed it", steps=(f"Watch it: `killswitch status {flag.rollout}`",),
    )  # fmt: skip
    return as_good_news(page, incident_id(flag.rollout, flag.generation - 1))


def acknowledged(flag: Flag, incident: Incident, *, settings: PageSettings) -> Page:
    """A person looks after the incident, so nothing has to be repeated. Continues the page of the trip.

    ``incident``: with its acknowledgement.
    """
    taken = incident.acknowledged
    assert taken is not None
    who, origin = plain(taken.by, MAX_NAME), plain(taken.origin, MAX_NAME)
    headline = f"{incident.rollout}: acknowledged by {who}"
    page = page_of_event(
        PageKind.ACKNOWLEDGED, (flag,), headline, f"{who} looks after it (from {origin})", settings,
        at=taken.at, identity="", alert="canary kill-switch acknowledged", auto_action="none: the flag stays as it is",
        steps=(f"See what tripped it: `killswitch explain {incident.rollout}`",),
    )  # fmt: skip
    return as_good_news(page, incident.id)


def followed(flag: Flag, *, routers: int, known: int, at: float, settings: PageSettings) -> Page:
    """How many routers follow a trip. Continues the trip's page."""
    all_of_them = routers == known
    late = known - routers
    doing, risk = (
        f"send all users to {plain(flag.control, MAX_NAME)}",
        "their users may still get the canary",
    )
    if flag.trip is not None and flag.trip.stage_before == SHADOW:
        doing, risk = "shadow no more requests", "they may still send shadow requests"
    headline = f"{flag.rollout}: {routers} of {known} routers {doing}"
    why = (
        "all routers follow the trip"
        if all_of_them
        else f"{counted(late, 'router')} {'has' if late == 1 else 'have'} not reported that they follow the trip: "
        f"{risk}"
    )
    steps = () if all_of_them else (f"See which routers follow the flag: `killswitch status {flag.rollout}`",)
    page = page_of_event(
        PageKind.FOLLOWED, (flag,), headline, why, settings,
        at=at, identity="", alert="canary routers have followed", auto_action="none: the flag was flipped before",
        steps=steps,
    )  # fmt: skip
    page = as_good_news(page, incident_id(flag.rollout, flag.generation))
    return page if all_of_them else as_warning(page)


def rules_refused(problems: Sequence[str], *, at: float, digest: str, settings: PageSettings) -> Page:
    """New rule files were refused, all of them; the last good set stays in force. ``digest`` names the refused set."""
    headline = "new rule files refused; the last good set stays in force"
    shown = [plain(problem) for problem in problems[: MAX_STEPS - 2]]
    more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
    return page_of_event(
        PageKind.RULES_REFUSED, (), headline, f"{counted(len(problems), 'problem')} in the rule files", settings,
        at=at, identity=plain(digest, 60) or f"{at:.0f}", alert="canary kill-switch rules refused",
        auto_action="none: the last good rules stay in force", steps=(*shown, *more, "Check them: `killswitch check`"),
    )  # fmt: skip
