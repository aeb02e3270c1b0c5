"""The labels that tell the two cohorts' series apart: those that the file states, or the preset's own."""

from __future__ import annotations

from killswitch.errors import BadDocument
from killswitch.model import Cohort, CohortMatchers, Matcher
from killswitch.roles.pairs import role_pair
from killswitch.roles.references import PREFIX
from killswitch.rules.document import Path
from killswitch.rules.metrics import Available, Complaint
from killswitch.rules.schema import CohortsSpec, RuleFile
from killswitch.rules.schema_errors import in_words

Found = tuple[CohortMatchers | None, list[Complaint]]


def check_models(spec: RuleFile) -> list[Complaint]:
    """What is wrong with the two models, or the two slots of a role, that the file compares."""
    try:
        pair = role_pair(spec.control, spec.canary)
    except BadDocument as error:
        what, _, fix = str(error).partition("; ")
        return [Complaint(("canary" if spec.canary.startswith(PREFIX) else "control",), what, fix)]
    if pair is None and spec.control == spec.canary:
        what = f"control and canary are both {spec.control!r}"
        return [Complaint(("canary",), what, "name two models, as requests name them")]
    return []


def labels_of_preset(spec: RuleFile, found: Available) -> Found:
    """The cohorts by the label that the file's metrics have for it."""
    label = found.tells_apart
    if label is None:
        wanted = f"metrics: {found.name}" if found.name else "metrics of your own"
        fix = 'add `cohorts: {control: {job: "…"}, canary: {job: "…"}}` with labels that do'
        return None, [Complaint(("metrics",), f"{wanted} cannot tell the cohorts apart by itself", fix)]
    values = (Cohort.CONTROL.value, Cohort.CANARY.value) if label == "cohort" else (spec.control, spec.canary)
    complaints = []
    if label != "cohort" and any(value.startswith(PREFIX) for value in values):
        complaints.append(
            Complaint(
                ("canary",),
                f"metrics: {found.name} tells the cohorts apart by the model's name ({label}), and which models a "
                "role's slots pin is not known before the rollout is armed",
                "write `cohorts:` with labels that do not change with the pin, or use `metrics: cohort-labels`",
            )
        )
    if any(matcher.label == label for matcher in spec.match):
        complaints.append(
            Complaint(
                ("match", label),
                f"match narrows {label}, the label that tells the cohorts apart",
                "remove it from match, or write `cohorts:`",
            )
        )
    sides = zip((Cohort.CONTROL, Cohort.CANARY), values, strict=True)
    return {cohort: (Matcher(label, "=", value),) for cohort, value in sides}, complaints


def stated_labels(spec: CohortsSpec, path: Path, match: tuple[Matcher, ...]) -> tuple[CohortMatchers, list[Complaint]]:
    """The cohorts as ``spec``, which stands at ``path`` of the file, says."""
    complaints = []
    for cohort, matchers in (("control", spec.control), ("canary", spec.canary)):
        here = (*path, cohort)
        if not matchers:
            what = f"{in_words(here)} matches every series"
            complaints.append(Complaint(here, what, "name a label that only this cohort has"))
        for matcher in matchers:
            if any(exclude(matcher, other) for other in match):
                what = f"{in_words(here)}.{matcher.label} contradicts match.{matcher.label}"
                complaints.append(Complaint(here, what, "no series matches both; remove one"))
            if matcher.value.startswith(PREFIX):
                what = f"{in_words(here)}.{matcher.label} is a role's slot, which is no label of a series"
                complaints.append(Complaint(here, what, "name a label that does not change with the pin"))
    if spec.control and set(spec.control) == set(spec.canary):
        what = "both cohorts select the same series"
        complaints.append(Complaint(path, what, "give them different values of a label"))
    return {Cohort.CONTROL: spec.control, Cohort.CANARY: spec.canary}, complaints


def exclude(one: Matcher, other: Matcher) -> bool:
    """Whether no series can match both."""
    return one.label == other.label and one.operator == other.operator == "=" and one.value != other.value
