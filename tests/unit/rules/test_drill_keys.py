"""The section `drill` of a rule file: what it reads, what it refuses, and the examples of its guide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from killswitch.drill.schedule import first_due, schedule_in_words
from killswitch.drill_settings import DrillSettings
from killswitch.errors import BadRules
from killswitch.rules.loading import load_text
from tests.doubles.drills import RULES
from tests.doubles.pages import AT

GUIDE = Path(__file__).parents[3] / "docs" / "drill.md"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def read(section: str) -> DrillSettings:
    (rollout,) = load_text((RULES + section).encode()).rollouts
    return rollout.drill


def test_without_the_section_nothing_is_scheduled() -> None:
    assert read("") == DrillSettings()
    assert first_due(read(""), "copilot", AT) is None


def test_a_schedule_is_days_a_time_and_a_zone() -> None:
    settings = read('drill: {every: 7d, at: "03:30", time_zone: Europe/Berlin}\n')
    assert settings == DrillSettings(every=7, at=12_600.0, time_zone="Europe/Berlin")
    assert schedule_in_words(settings) == "7d at 03:30 Europe/Berlin"


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_guides_examples_are_read(example: str) -> None:
    assert read(example) != DrillSettings()


def test_the_guide_has_examples() -> None:
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("drill: {every: 12h}", "use whole days from 1d to 90d"),
        ("drill: {every: 91d}", "use whole days from 1d to 90d"),
        ("drill: {every: 0d}", "use whole days from 1d to 90d"),
        ("drill: {every: 7}", "every"),
        ('drill: {at: "3am"}', 'write it like "06:00", in quotes'),
        ("drill: {time_zone: Berlin}", "Europe/Berlin"),
        ('drill: {quiet: "at night"}', "write the minutes as cron does"),
        ("drill: {evry: 7d}", "did you mean every"),
    ],
)
def test_what_is_wrong_is_refused_with_its_fix(section: str, said: str) -> None:
    with pytest.raises(BadRules) as refused:
        read(f"{section}\n")
    assert any(said in problem for problem in refused.value.problems), refused.value.problems
