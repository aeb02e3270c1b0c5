"""The doctor in stage shadow: it looks for shadow requests instead of the canary's, and says what is not judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.histories import History, openmetrics
from killswitch.flags import flag as flags
from killswitch.flags.flag import SHADOW
from killswitch.flags.shadow_share import NO_SHADOW, ShadowShare
from killswitch.model import Rollout
from killswitch.preflight.backtest.results import Terms
from killswitch.preflight.checks import Check, Setup, Status
from killswitch.preflight.doctor import examine
from killswitch.rules.loading import load_text
from killswitch.sources.recording import Recording
from tests.unit.preflight.backtest.test_backtest import RULES

pytestmark = pytest.mark.simulation

FIFTH = ShadowShare(20.0)
SHADOWED = openmetrics(History(seconds=3600.0)).replace('cohort="canary"', 'cohort="shadow"')
ALONE = "\n".join(line for line in SHADOWED.splitlines() if 'cohort="shadow"' not in line) + "\n"


def examined(folder: Path, text: str, *, share: ShadowShare = FIFTH, rules: bytes = RULES) -> list[Check]:
    rollout: Rollout = load_text(rules).rollouts[0]
    (folder / "x.om").write_text(text)
    source = Recording(folder / "x.om", scrape_interval=15.0)
    flag = flags.arm(
        None, rollout=rollout.name, control="model-old", canary="model-new", percent=0.0, stage=SHADOW, now=0.0,
        by="ann", shadow=share,
    )  # fmt: skip
    setup = Setup(source, [rollout], Terms(*source.span), 15.0, flags=lambda: ({rollout.name: flag}, {}))
    of_calls = ("API key", "without a ledger")
    return [
        check
        for check in examine(setup)
        if check.about.startswith(f"{rollout.name} ") or any(words in check.found for words in of_calls)
    ]


def test_shadow_requests_are_seen_by_their_label(tmp_path: Path) -> None:
    checks = examined(tmp_path, SHADOWED)
    assert not [check for check in checks if check.status is Status.WRONG], checks
    assert any(check.found == "both cohorts are seen" for check in checks)
    (feedback,) = [check for check in checks if "thumbs_down" in check.about]
    assert (feedback.status, feedback.found) == (
        Status.NOTE,
        "not judged in stage shadow: no user sees a shadow answer, so there is no feedback on any",
    )


@pytest.mark.parametrize(("of", "warned"), [("copilot", True), ("another", False), ("", False)])
def test_calls_with_a_key_of_productions_are_a_warning(tmp_path: Path, of: str, *, warned: bool) -> None:
    """A service counts them; a service that counts none, or that has none of this counter, is in order."""
    times = sorted({int(float(line.split()[-1])) for line in SHADOWED.splitlines() if not line.startswith("#")})
    counted = [f'llm_shadow_shared_key_total{{rollout="{of}"}} {count} {at}' for count, at in enumerate(times)]
    text = SHADOWED.replace("# EOF", "\n".join([*counted, "# EOF"])) if of else SHADOWED
    found = [check for check in examined(tmp_path, text) if "API key of production's" in check.found]
    assert [check.status for check in found] == ([Status.WARNING] if warned else [])


_CAPPED = b"spend: {caps: [{scope: shadow, per: hour, hard: $5}]}\n"


@pytest.mark.parametrize(("added", "warned"), [(_CAPPED, True), (b"", False)])
def test_calls_without_a_ledger_are_a_warning(tmp_path: Path, added: bytes, *, warned: bool) -> None:
    """Where the rule file caps the shadow: these calls are in no account, so the cap would never be reached."""
    times = sorted({int(float(line.split()[-1])) for line in SHADOWED.splitlines() if not line.startswith("#")})
    counted = [f'llm_shadow_uncapped_total{{rollout="copilot"}} {count} {at}' for count, at in enumerate(times)]
    text = SHADOWED.replace("# EOF", "\n".join([*counted, "# EOF"]))
    found = [check for check in examined(tmp_path, text, rules=RULES + added) if "without a ledger" in check.found]
    assert [check.status for check in found] == ([Status.WARNING] if warned else [])
    assert all('ledger.for_scopes("shadow:copilot")' in check.fix for check in found)


@pytest.mark.parametrize("share", [FIFTH, NO_SHADOW])
def test_a_shadow_that_nobody_sends_is_wrong(tmp_path: Path, share: ShadowShare) -> None:
    """Unless nothing is to be shadowed: then it is expected."""
    absent = [check for check in examined(tmp_path, ALONE, share=share) if check.found.startswith("shadow: NO_DATA")]
    assert len(absent) == 3
    if share.nothing:
        assert all(check.status is Status.NOTE and "nothing is shadowed" in check.found for check in absent)
    else:
        assert all(check.status is Status.WRONG and "Shadow(router, …)" in check.fix for check in absent)
        assert all("no service shadows" in check.found for check in absent)


def test_a_file_that_names_no_label_is_a_warning(tmp_path: Path) -> None:
    rules = RULES + b"cohorts: {control: {model: a}, canary: {model: b}}\n"
    checks = examined(tmp_path, SHADOWED, rules=rules)
    assert {check.status for check in checks} == {Status.WARNING}
    assert len(checks) == 4
