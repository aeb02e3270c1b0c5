"""The section `plan`: its defaults, and what is refused or doubted, with line and fix."""

from __future__ import annotations

import pytest

from killswitch.errors import BadRules
from killswitch.plan import Advance, Plan, PlanStage, WorseBy
from killswitch.rules.loading import Loaded, load_text

HEAD = "rollout: r\ncontrol: a\ncanary: b\n"
DAY = 86400.0
TWICE = WorseBy("ratio", 2.0)


def loaded(text: str) -> Loaded:
    return load_text((HEAD + text).encode(), name="f.yaml")


def plan_of(text: str) -> Plan:
    plan = loaded(text).rollouts[0].plan
    assert plan is not None
    return plan


def problems(text: str) -> list[str]:
    with pytest.raises(BadRules) as refused:
        loaded(text)
    return list(refused.value.problems)


def stages(*lines: str) -> str:
    """A plan with these stages, the first of which is in line 6."""
    return "plan:\n  stages:\n" + "".join(f"    - {{{line}}}\n" for line in lines)


def test_without_the_section_there_is_no_plan() -> None:
    assert loaded("").rollouts[0].plan is None


def test_the_default_plan_has_five_stages_and_proposes() -> None:
    plan = plan_of("plan: default\n")
    assert plan.advance is Advance.PROPOSED
    assert [(one.stage, one.percent, one.seconds / DAY) for one in plan.stages] == [
        ("shadow", 0.0, 2), ("ramp_1", 1.0, 1), ("ramp_5", 5.0, 1), ("ramp_25", 25.0, 1), ("full", 99.0, 7),
    ]  # fmt: skip


def test_a_weekly_service_stays_a_week_at_one_percent() -> None:
    plan = plan_of("plan: {weekly: true, advance: automatic}\n")
    assert plan.advance is Advance.AUTOMATIC
    assert [one.seconds / DAY for one in plan.stages] == [2, 7, 1, 1, 7]


def test_every_key_of_a_plan_is_read() -> None:
    text = stages(
        "stage: shadow, for: 2d",
        "stage: aa, percent: 5%, for: 6h",
        "stage: ramp_5, for: 24h, detects: {error_rate: 2x, refusal_rate: 3pp}",
        'stage: mine, percent: 7%, for: 90m, approve: ["@llm-leads"]',
    )
    plan = plan_of(
        text + '  not_during: ["* * * * sat,sun"]\n  time_zone: Europe/Berlin\n  rate: 3000/m\n'
        '  control_capacity: 80/s\n  control_retires: "2027-03-31"\n'
    )
    assert plan == Plan(
        Advance.PROPOSED,
        (
            PlanStage("shadow", 0.0, 2 * DAY),
            PlanStage("aa", 5.0, DAY / 4),
            PlanStage("ramp_5", 5.0, DAY, {"error_rate": TWICE, "refusal_rate": WorseBy("points", 0.03)}),
            PlanStage("mine", 7.0, 5400.0, {}, ("@llm-leads",)),
        ),
        ("* * * * sat,sun",),
        "Europe/Berlin",
        50.0,
        80.0,
        1_806_451_200.0,
    )  # fmt: skip


TABLE = [
    ("plan: all\n", ["4: plan: 'all' is not a plan; fix: write `default`, or a mapping with `stages`"]),
    ("plan: {stages: []}\n", ["4: a plan without stages; fix: name a stage, or remove `stages` for the default ones"]),
    (stages("stage: ramp_1"), ["6: plan.stages.0.for is missing; fix: add `for: …`"]),
    (stages("stage: ramp_1, for: 1d, untill: 2d"), ["6: unknown key plan.stages.0.untill; fix: "]),
    ("plan: {stagess: 1}\n", ["4: unknown key plan.stagess; fix: did you mean stages?"]),
    (
        stages("stage: ramp_5, for: 1d", "stage: ramp_1, for: 1d"),
        [
            "7: ramp_1 has 1%, and ramp_5 before it has 5%; fix: put the stages in order, so that each gives the canary"
        ],
    ),
    (
        stages("stage: ramp_5, for: 1d", "stage: mine, percent: 5%, for: 1d"),
        ["7: mine has 5%, and ramp_5 before it has 5%; fix: put the stages in order"],
    ),
    (
        stages("stage: ramp_1, for: 1d", "stage: ramp_1, for: 1d"),
        ["7: stage ramp_1 is there twice; fix: keep one, or rename it"],
    ),
    (
        stages("stage: ramp_1, for: 1d", "stage: aa, percent: 5%, for: 6h"),
        ["7: stage aa comes after ramp_1; fix: move it before all stages in which users see the canary"],
    ),
    (
        stages("stage: aa, percent: 5%, for: 6h", "stage: shadow, for: 2d"),
        ["7: stage shadow is not the first; fix: move it to the top: no user sees it"],
    ),
    (stages("stage: aa, for: 6h"), ["6: stage aa has no percent of its own; fix: add `percent: 5%`"]),
    (stages("stage: ramp_5, percent: 6%, for: 6h"), ["6: stage ramp_5 has 5%, not 6%; fix: remove `percent`"]),
    (
        stages("stage: ramp_1, for: 1d, detects: {eror_rate: 2x}"),
        [
            "6: detects names eror_rate, which is no rule of this file; fix: use one of: error_rate, latency_p95, refus"
        ],
    ),
    (
        stages("stage: ramp_1, for: 1d, detects: {latency_p95: 3pp}"),
        ["6: detects of latency_p95 is in points, but latency has none; fix: write it like 1.5x"],
    ),
    (
        stages("stage: shadow, for: 1d, detects: {error_rate: 2x}"),
        ["6: detects has no meaning in stage shadow: its gate is the shadow report; fix: remove it"],
    ),
    (
        stages("stage: ramp_1, for: 1d, detects: {error_rate: 0.5x}"),
        ["6: plan.stages.0.detects: error_rate: '0.5x' is not a regression; fix: write how much worse than control"],
    ),
    (stages("stage: ramp_1, for: 1d, approve: []"), ["6: plan.stages.0.approve: 0 names; fix: name 1 to 20"]),
    (
        stages('stage: ramp_1, for: 1d, approve: ["@a", "@a"]'),
        ["6: plan.stages.0.approve: @a is there twice; fix: name each once"],
    ),
    (
        'plan: {not_during: ["* * * * mon-fri", "* * * * sat,sun"]}\n',
        ["4: not_during names every minute, so no step up ever begins; fix: leave some out"],
    ),
    ('plan: {not_during: ["* * * * fri-mon"]}\n', ["4: plan.not_during: '* * * * fri-mon': Bad day-of-week; fix: "]),
    ("plan: {time_zone: Mars/Base}\n", ["4: plan.time_zone: 'Mars/Base' is not a time zone; fix: write its IANA name"]),
    ("plan: {rate: 50}\n", ["4: plan.rate: 50 has no unit of time; fix: write 50/s if that many a second are meant"]),
    ("plan: {rate: 2000000/s}\n", ["4: plan.rate: '2000000/s' is out of range; fix: write 1/h to 1000000/s"]),
    ("plan: {control_retires: soon}\n", ["4: plan.control_retires: 'soon' is not a day; fix: write it like"]),
    (
        "plan:\n  weekly: true\n  stages: [{stage: ramp_1, for: 1d}]\n",
        ["5: weekly only changes the default stages; fix: remove it, or `stages`"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_each_mistake_is_named_with_line_and_fix(text: str, expected: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(expected)
    for problem, beginning in zip(found, expected, strict=True):
        assert problem.startswith(f"f.yaml:{beginning}")


def test_a_free_query_can_detect_nothing() -> None:
    query = 'rules: {mine: {query: {control: "a", canary: "b"}, max_ratio: 2}}\n'
    (problem,) = problems(query + stages("stage: ramp_1, for: 1d, detects: {mine: 2x}"))
    assert "detects names mine, a free query: it counts no requests" in problem


def test_a_stage_too_short_for_what_it_must_see_is_doubted() -> None:
    """A day of 5 % at 0.2 requests/s has 864 requests of the canary: about 9 errors, or 17 if twice as bad."""
    text = stages("stage: ramp_5, for: 24h, detects: {error_rate: 2x, refusal_rate: 10pp}")
    (warning,) = [one for one in loaded(text + "  rate: 0.2/s\n").warnings if "cannot see" in one]
    assert warning == (
        "f.yaml:6: stage ramp_5 cannot see error_rate 2x in 1d: at 0.2 requests/s it takes about 2d9h; "
        "fix: write `for: 2d9h`, or name a larger regression"
    )
    assert not [one for one in loaded(text + "  rate: 50/s\n").warnings if "cannot see" in one]
    assert not [one for one in loaded(text).warnings if "cannot see" in one]


WEAKER = [
    ("error_rate: 5x", "it allows 2.00% with control at 1.00%, and this is 5.00%; fix: write `error_rate: 2x` or less"),
    ("refusal_rate: 9pp", "it allows 6.10% with control at 1.10%, and this is 10.10%; fix: write `refusal_rate: 5pp`"),
    ("latency_p95: 2x", "it allows 1.5x; fix: write `latency_p95: 1.5x`"),
    (
        "thumbs_down_rate: 3x",
        "it allows 1.00% with control at 0.50%, and this is 1.50%; fix: write `thumbs_down_rate: ",
    ),
]


@pytest.mark.parametrize(("detects", "said"), WEAKER)
def test_a_stage_that_need_not_see_its_rules_limit_is_doubted(detects: str, said: str) -> None:
    (warning,) = [
        one for one in loaded(stages(f"stage: ramp_5, for: 9d, detects: {{{detects}}}")).warnings if "weak" in one
    ]
    assert warning.startswith(
        f"f.yaml:6: stage ramp_5 detects {detects.replace(':', '')}, which is weaker than the rule"
    )
    assert said in warning


def test_a_stage_as_strict_as_its_rules_is_not_doubted() -> None:
    regressions = "error_rate: 2x, refusal_rate: 5pp, latency_p95: 1.5x, thumbs_down_rate: 2x"
    text = stages(f"stage: ramp_5, for: 9d, detects: {{{regressions}}}")
    assert not [one for one in loaded(text).warnings if "weak" in one]


UNJUDGED = [
    ("5/s", "the canary has about 15 requests in 5m, and min_requests asks for 100; fix: write `window: 1h`"),
    (
        "0.5/s",
        "the canary has about 1.5 requests in 5m, and min_requests asks for 100; fix: write `window: 1h` and `min_",
    ),
    ("0.2/s", "fix: write `window: 1d`"),
    ("100/h", "fix: write `window: 1d` and `min_requests: 10`"),
    ("1/h", "fix: leave this stage out: no window holds enough requests"),
]


@pytest.mark.parametrize(("rate", "said"), UNJUDGED)
def test_a_stage_that_is_hardly_judged_at_its_rate_is_doubted(rate: str, said: str) -> None:
    """A tick counts once both cohorts have `min_requests` in the window; without it a stage never ends."""
    text = stages("stage: ramp_1, for: 24h") + f"  rate: {rate}\n"
    (warning,) = [one for one in loaded(text).warnings if "is judged for" in one]
    assert warning.startswith("f.yaml:6: stage ramp_1 is judged for 0% of the time: ")
    assert said in warning


def test_default_stages_are_doubted_at_the_line_of_the_plan() -> None:
    found = [one for one in loaded("plan: {rate: 5/s}\n").warnings if "is judged for" in one]
    assert all(one.startswith("f.yaml:4: stage ") for one in found)
    assert {one.split()[2] for one in found} == {"ramp_1", "ramp_5", "full"}


def test_a_full_stage_is_short_of_controls_requests() -> None:
    text = stages("stage: full, for: 7d") + "  rate: 5/s\n"
    (warning,) = [one for one in loaded(text).warnings if "is judged for" in one]
    assert "control has about 15 requests in 5m" in warning


def test_a_control_that_cannot_take_the_traffic_is_doubted() -> None:
    (warning,) = [one for one in loaded("plan: {rate: 50/s, control_capacity: 30/s}\n").warnings if "take" in one]
    assert warning.startswith(
        "f.yaml:4: control can take 30 requests/s of 50, so no stage of more than 25% begins; fix:"
    )
    assert not [one for one in loaded("plan: {rate: 50/s, control_capacity: 50/s}\n").warnings if "take" in one]


def test_rules_that_are_refused_make_no_second_error() -> None:
    text = "rules: {mine: {max: 2%}}\n" + stages("stage: ramp_1, for: 1d, detects: {mine: 2x}")
    assert not [problem for problem in problems(text) if "detects" in problem]
