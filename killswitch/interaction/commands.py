"""What the slash command says of itself, and of rollouts."""

from __future__ import annotations

from killswitch.status.reports import CycleReport
from killswitch.wording import duration_in_words, plain

MAX_SHOWN = 20
HELP = """`/killswitch status [ROLLOUT]`: what the newest cycle says
`/killswitch trip ROLLOUT why`: send everyone back to the control model now
`/killswitch hold ROLLOUT why`: keep the rollout's plan from going on
`/killswitch rearm ROLLOUT`: a dialog that asks for a stage and a reason
All but status need your id, or a user group of yours, in `page: {slack_allow: […]}` of the rollout's rule file."""


def status_in_words(report: CycleReport | None, rollout: str, *, now: float) -> str:
    """The sentence of one rollout, or of each ("" for all). ``now``: monotonic seconds."""
    if report is None:
        return "no cycle has finished yet; ask again in a minute"
    reports = report.reports
    if rollout and rollout not in reports:
        known = ", ".join(sorted(reports)[:MAX_SHOWN]) or "none"
        return f"no rollout is called {plain(rollout, 80)!r}; known rollouts: {known}"
    names = [rollout] if rollout else sorted(reports)
    lines = [plain(f"{name}: {reports[name].sentence}", 400) for name in names[:MAX_SHOWN]]
    if len(names) > MAX_SHOWN:
        lines.append(f"and {len(names) - MAX_SHOWN} more; name one")
    problems = [one for one in (report.store_problem, report.source_problem) if one is not None]
    lines += [plain(one, 300) for one in problems]
    ago = duration_in_words(max(1.0, round(now - report.finished)))
    return "\n".join([*(lines or ["no rollout has a rule file or a flag"]), f"as judged {ago} ago"])
