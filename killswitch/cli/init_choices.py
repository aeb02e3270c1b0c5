"""Which family, services and models a first rule file is about: asked, given by option, or safe to choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from killswitch.cli.init_questions import OfferedAnswer, Questions
from killswitch.cli.invocation import fail
from killswitch.errors import BadDocument
from killswitch.flags.flag import check_rollout_name
from killswitch.model import Cohort, Matcher
from killswitch.preflight.first_rules.draft import Names
from killswitch.preflight.first_rules.families import Apart, Family
from killswitch.preflight.first_rules.looking import Looking, ServedValue, Serving, StoreLook
from killswitch.preflight.first_rules.writable import rollout_name, writable
from killswitch.rules.schema import PageSpec
from killswitch.rules.schema_errors import problems_of
from killswitch.rules.selectors import SelectorError, matchers_from_mapping
from killswitch.sources.inventory import MODEL_LABELS
from killswitch.timestamps import HOUR

EVERYTHING = "all"
"""What is answered, or given to ``--match``, where every service belongs to the rollout."""

_MENTION = "Who is mentioned, so that a phone rings: <!here>, <@U…> or <!subteam^S…> (empty: none)"
_CLEARLY = 2.0
"""How many times the others' requests one model must have to be taken for control."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says; None or () where it says nothing."""

    metrics: str | None = None
    match: tuple[str, ...] = ()
    control_is: str | None = None
    canary_is: str | None = None
    rollout: str | None = None
    control: str | None = None
    canary: str | None = None
    slack: str | None = None
    mention: str | None = None


def choose_family(questions: Questions, look: StoreLook, given: str | None) -> tuple[Family, Serving]:
    """The family, by its preset or by the name of its counter of requests."""
    if not look.families:
        for note in look.notes:
            questions.say(f"  {note}")
        if look.notes:
            fail("none of these metrics can be used; do what is said above, then run this again")
        fail(
            "no counters of requests to two models were found in the last hour; fix: count requests (docs/router.md "
            "has our library), let the metric store scrape them, then run this again"
        )
    by_name = {_name(family, look): (family, serving) for family, serving in look.families}
    if given is not None:
        if given not in by_name:
            fail(f"--metrics {given}: not found; there is {', '.join(by_name)}")
        return by_name[given]
    if len(by_name) == 1:
        ((name, only),) = by_name.items()
        questions.say(f"metrics: {name} ({only[0].requests.metric})")
        return only
    choices = [
        OfferedAnswer(name, f"{family.title} {_rate(serving.rows)}") for name, (family, serving) in by_name.items()
    ]
    return by_name[questions.choose("Which metrics say how requests ended", choices, option="--metrics", safe=None)]


def _name(family: Family, look: StoreLook) -> str:
    preset = family.preset
    if preset is None or sum(other.preset is preset for other, _ in look.families) > 1:
        return family.requests.metric
    return preset.name


def _rate(rows: Sequence[ServedValue]) -> str:
    return f"{sum(row.requests for row in rows) / HOUR:.3g} requests a second"


class Choosing:
    """The names of one family's rollout, one question after the other."""

    def __init__(self, questions: Questions, looking: Looking, family: Family, given: Given) -> None:
        self._ask = questions
        self._looking = looking
        self._family = family
        self._given = given
        self._match: tuple[Matcher, ...] = ()

    def names(self, serving: Serving) -> Names:
        control_is, canary_is = self._cohorts(serving)
        self._choose_services(control_is)
        serving = self._looking.serving(self._family, self._match)
        control, canary = self._models(serving, control_is, canary_is)
        stated = self._family.apart is Apart.STATED
        return Names(
            self._rollout(control_is, canary),
            control,
            canary,
            self._match,
            control_is if stated else None,
            canary_is if stated else None,
            self._page("slack", "Slack channel of the pages, such as #llm-oncall (empty: none)", self._given.slack),
            self._page("mention", _MENTION, self._given.mention),
        )

    # --- whose series ---

    def _cohorts(self, serving: Serving) -> tuple[Matcher, Matcher]:
        """What tells control's series apart, and the canary's."""
        family, label = self._family, serving.label
        if serving.unwritable:
            self._ask.say(f"{serving.unwritable} values of {label} cannot be written into a rule file and are left out")
        if family.apart is Apart.COHORT:
            return Matcher(label, "=", Cohort.CONTROL), Matcher(label, "=", Cohort.CANARY)
        given = self._given
        control_given = given.control if family.apart is Apart.MODEL else None
        canary_given = given.canary if family.apart is Apart.MODEL else None
        control = _matcher("--control-is", given.control_is) if given.control_is else None
        canary = _matcher("--canary-is", given.canary_is) if given.canary_is else None
        if control is None:
            if family.arms is not None:
                control = Matcher(label, "=", family.arms[0])
            else:
                control = Matcher(label, "=", control_given or self._control_value(serving))
        if canary is None:
            if family.arms is not None:
                canary = Matcher(label, "=", family.arms[1])
            else:
                canary = Matcher(label, "=", canary_given or self._canary_value(serving, control.value))
        if control == canary:
            fail(f"control and canary are both {control.label}={control.value!r}; name two")
        return control, canary

    def _control_value(self, serving: Serving) -> str:
        rows = serving.rows
        clear = len(rows) == 1 or rows[0].requests >= _CLEARLY * rows[1].requests
        safe = rows[0].value if clear and not serving.more else None
        if len(rows) == 1:
            self._ask.say(f"control: {serving.label} {rows[0].value}, the only one with requests")
            return rows[0].value
        option = "--control" if self._family.apart is Apart.MODEL else "--control-is"
        return self._ask.choose(
            f"Which {serving.label} is control, which serves today", _choices(rows), option=option, safe=safe
        )

    def _canary_value(self, serving: Serving, control: str) -> str:
        others = [row for row in serving.rows if row.value != control]
        option = "--canary" if self._family.apart is Apart.MODEL else "--canary-is"
        if len(others) == 1 and not serving.more:
            choices = [*_choices(others), OfferedAnswer(_ANOTHER)]
            found = self._ask.choose(
                f"Which {serving.label} is the canary", choices, option=option, safe=others[0].value
            )
        elif others:
            choices = [*_choices(others), OfferedAnswer(_ANOTHER)]
            found = self._ask.choose(f"Which {serving.label} is the canary", choices, option=option, safe=None)
        else:
            found = _ANOTHER
        if found != _ANOTHER:
            return found
        what = f"The value of {serving.label} that the canary's series will have"
        return self._ask.text(what, option=option, safe=None, check=_name_problem)

    def _choose_services(self, control_is: Matcher) -> None:
        """Narrows to one service wherever several count into control under other values of a label."""
        given = self._given.match
        if given == (EVERYTHING,):
            return
        self._match = tuple(_matcher("--match", text) for text in given)
        while given == ():
            scope = self._looking.scope(self._family, (control_is,), self._match)
            if scope is None:
                return
            choices = [*_choices(scope.rows), OfferedAnswer(EVERYTHING, "judge them together")]
            what = f"Several values of {scope.label} count into control; which is this rollout's"
            value = self._ask.choose(
                what, choices, option=f"--match {scope.label}=VALUE, or --match {EVERYTHING}", safe=None
            )
            if value == EVERYTHING:
                return
            self._match = (*self._match, Matcher(scope.label, "=", value))

    # --- names ---

    def _models(self, serving: Serving, control_is: Matcher, canary_is: Matcher) -> tuple[str, str]:
        if self._family.apart is Apart.MODEL:
            return control_is.value, canary_is.value
        control = self._given.control or self._model(serving, control_is, "control", "serves today", None)
        return control, self._given.canary or self._model(serving, canary_is, "canary", "is on trial", control)

    def _model(self, serving: Serving, matcher: Matcher, cohort: str, which: str, but: str | None) -> str:
        row = serving.of(matcher.value)
        models = [model for model in (row.models if row is not None else ()) if model != but]
        if not models and matcher.label in MODEL_LABELS:
            models = [matcher.value]
        if len(models) > 1:
            choices = [OfferedAnswer(model) for model in models]
            return self._ask.choose(f"Which model is {cohort}, which {which}", choices, option=f"--{cohort}", safe=None)
        safe = models[0] if models else None
        return self._ask.text(f"Model of {cohort}, which {which}", option=f"--{cohort}", safe=safe, check=_name_problem)

    def _rollout(self, control_is: Matcher, canary: str) -> str:
        if self._given.rollout is not None:
            problem = _rollout_problem(self._given.rollout)
            if problem is not None:
                fail(f"--rollout {self._given.rollout}: {problem}")
            return self._given.rollout
        suggested = next((name for text in self._titles(control_is, canary) if (name := rollout_name(text))), "canary")
        return self._ask.text("Name of the rollout", option="--rollout", safe=suggested, check=_rollout_problem)

    def _titles(self, control_is: Matcher, canary: str) -> Iterator[str]:
        yield from (matcher.value for matcher in self._match)
        if control_is.label != "job":
            rows = self._looking.grown(self._family.requests, ("job",)).rows
            if len(rows) == 1:
                yield rows[0].labels["job"]
        yield canary

    def _page(self, key: str, what: str, given: str | None) -> str | None:
        problem_of = _page_problem(key)
        if given is not None:
            problem = problem_of(given)
            if problem is not None:
                fail(f"--{key} {given}: {problem}")
            return given or None
        return self._ask.text(what, option=f"--{key}", safe=None, check=problem_of, optional=True) or None


_ANOTHER = "another"


def _choices(rows: Sequence[ServedValue]) -> list[OfferedAnswer]:
    def about(row: ServedValue) -> str:
        models = f", {', '.join(row.models[:3])}" if row.models and row.models != (row.value,) else ""
        return f"{row.requests / HOUR:.3g} requests a second{models}"

    return [OfferedAnswer(row.value, about(row)) for row in rows]


def _matcher(option: str, text: str) -> Matcher:
    label, equals, value = text.partition("=")
    try:
        (matcher,) = matchers_from_mapping({label.strip(): value.strip()})
    except SelectorError as error:
        fail(f"{option} {text}: {error.what}; {error.fix}")
    if not equals or not writable(matcher.value):
        fail(f"{option} {text}: write LABEL=VALUE, such as job=llm")
    return matcher


def _name_problem(text: str) -> str | None:
    return None if writable(text) else "use 1 to 200 printable characters"


def _rollout_problem(text: str) -> str | None:
    try:
        check_rollout_name(text)
    except BadDocument as error:
        return str(error)
    return None


def _page_problem(key: str) -> Callable[[str], str | None]:
    def problem_of(answer: str) -> str | None:
        if not answer:
            return None
        try:
            PageSpec.model_validate({key: answer})
        except ValidationError as error:
            return "; ".join(f"{what}; {fix}" for _, what, fix in problems_of(error))
        return None

    return problem_of
