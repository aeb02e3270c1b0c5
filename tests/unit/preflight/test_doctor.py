"""The doctor sees what would blind or fool the kill switch, and says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.histories import Behaviour, History, openmetrics
from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, Unavailable
from killswitch.flags import flag as flags
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import State
from killswitch.model import Buckets, PageSettings, Reason, Rollout, Unreadable
from killswitch.net.credentials import Secret
from killswitch.pages.page import Page
from killswitch.pages.receivers import Pager
from killswitch.pages.receivers.named_secrets import PAGERDUTY_KEYS, NamedSecrets
from killswitch.pages.receivers.pagerduty import PagerDutyPager
from killswitch.preflight.backtest.results import Terms
from killswitch.preflight.bucket_checks import real_ratios
from killswitch.preflight.checks import Check, Setup, Status
from killswitch.preflight.doctor import examine
from killswitch.preflight.history_checks import dispersion
from killswitch.preflight.page_checks import examine_pages
from killswitch.rules.loading import load_text
from killswitch.sources.recording import Recording
from killswitch.sources.scrape_interval import consequence
from tests.unit.preflight.backtest.test_backtest import RULES

pytestmark = pytest.mark.simulation

HEALTHY = History(seconds=7200.0, judged=True)


@pytest.fixture
def rollout() -> Rollout:
    return load_text(RULES).rollouts[0]


def _examined(
    folder: Path, rollout: Rollout, history: History, *, scrape_interval: float = 15.0, without: str = "\0"
) -> list[Check]:
    lines = [line for line in openmetrics(history).splitlines() if without not in line]
    (folder / "x.om").write_text("\n".join(lines) + "\n")
    source = Recording(folder / "x.om", scrape_interval=scrape_interval)
    setup = Setup(source, [rollout], Terms(*source.span), scrape_interval, measure=source.measure_scrape_interval)
    return list(examine(setup))


def _wrong(checks: list[Check]) -> list[Check]:
    return [check for check in checks if check.status is Status.WRONG]


def test_a_healthy_installation_has_nothing_to_fix(tmp_path: Path, rollout: Rollout) -> None:
    checks = _examined(tmp_path, rollout, HEALTHY)
    assert not [check for check in checks if check.fix], checks
    assert any("scraped every 15 s" in check.found for check in checks)


def test_another_scrape_interval_than_the_configured_one_is_wrong(tmp_path: Path, rollout: Rollout) -> None:
    checks = _examined(tmp_path, rollout, replace(HEALTHY, scrape_interval=30))
    assert any(check.fix == "set scrape_interval: 30s" for check in _wrong(checks))


def test_a_setting_that_is_too_long_is_a_warning_of_what_it_costs(tmp_path: Path, rollout: Rollout) -> None:
    """What a scrape counted is counted, whatever the setting says; nothing here would be blind."""
    checks = _examined(tmp_path, rollout, HEALTHY, scrape_interval=30.0)
    assert not _wrong(checks)
    assert any("noticed late" in check.found and check.fix == "set scrape_interval: 15s" for check in checks)
    assert "stale after 10 s" in consequence(15.0, 5.0)


class Receiver:
    """A receiver that answers, unless ``trouble`` says why not."""

    def __init__(self, name: str, trouble: KillswitchError | None = None) -> None:
        self.name, self.trouble = name, trouble

    def answers(self, deadline: Deadline) -> None:
        assert not deadline.expired
        if self.trouble is not None:
            raise self.trouble

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        raise AssertionError("the doctor pages nobody")


def test_the_doctor_says_who_would_be_paged_and_who_would_not(rollout: Rollout) -> None:
    named = replace(rollout, page=PageSettings(slack="#oncall"))
    unnamed = replace(rollout, name="other", page=PageSettings())

    def found(*receivers: Receiver) -> list[tuple[str, str]]:
        return [(check.about, check.status.value) for check in examine_pages([named, unnamed], receivers)]

    assert found(Receiver("console")) == [("pages", "warning"), (named.name, "warning")]
    assert found(Receiver("slack")) == [("pages", "ok"), ("other", "warning")]
    assert found(Receiver("webhook"), Receiver("console")) == [("pages", "ok"), (named.name, "warning")]
    refused = Receiver("slack", AccessDenied("Slack auth.test answered 200 invalid_auth"))
    assert ("pages to slack", "wrong") in found(refused)
    assert ("pages", "ok") not in found(refused, Receiver("console"))  # standard output calls nobody


class Scoped(Receiver):
    """A receiver whose token lacks ``missing``."""

    def __init__(self) -> None:
        super().__init__("slack")
        self.missing: dict[str, str] = {}

    def missing_scopes(self, deadline: Deadline) -> dict[str, str]:
        self.answers(deadline)
        return self.missing


def test_the_doctor_says_what_a_token_may_not_do(rollout: Rollout) -> None:
    named = replace(rollout, page=PageSettings(slack="#oncall"))
    receiver = Scoped()

    def found() -> list[tuple[str, str]]:
        checks = examine_pages([named], [receiver])
        return [(check.status.value, check.found) for check in checks if check.about == "pages to slack"]

    assert found() == []
    receiver.missing = {"files:write": "pages have no pictures"}
    assert found() == [("warning", "pages have no pictures: its token lacks files:write")]
    receiver.missing = {"chat:write": "no page can be sent"}
    assert found()[0][0] == "wrong"
    receiver.trouble = AccessDenied("invalid_auth")
    assert len(found()) == 1  # that it does not answer is said once


def test_pagerduty_keys_are_looked_up_for_each_rollout(tmp_path: Path, rollout: Rollout) -> None:
    """A key that is missing is WRONG, or a warning where the default key serves; PagerDuty cannot be asked more."""
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "teams").write_text("search: " + "s" * 32)
    team = replace(rollout, name="team", page=PageSettings(pagerduty="search"))
    typo = replace(rollout, name="typo", page=PageSettings(pagerduty="serach"))
    unnamed = replace(rollout, name="unnamed", page=PageSettings())

    def found(*receivers: Pager) -> list[tuple[str, str]]:
        return [(check.about, check.status.value) for check in examine_pages([team, typo, unnamed], receivers)]

    default = Secret.from_file(tmp_path / "key")
    assert found(PagerDutyPager(NamedSecrets(PAGERDUTY_KEYS, default, tmp_path / "teams"))) == [
        ("pages", "ok"),
        ("typo", "warning"),
    ]
    assert found(PagerDutyPager(NamedSecrets(PAGERDUTY_KEYS, None, tmp_path / "teams"))) == [
        ("pages", "ok"), ("typo", "wrong"), ("unnamed", "wrong"),
    ]  # fmt: skip
    gone = PagerDutyPager(NamedSecrets(PAGERDUTY_KEYS, Secret.from_file(tmp_path / "gone"), tmp_path / "teams"))
    assert [check for check in found(gone) if check[1] == "wrong"] == [("typo", "wrong"), ("unnamed", "wrong")]
    assert found(Receiver("webhook")) == [("pages", "ok"), ("team", "warning"), ("typo", "warning")]


def test_a_metric_that_was_never_seen_is_wrong(tmp_path: Path, rollout: Rollout) -> None:
    """A metric that was never seen is wrong, and its rule is named."""
    wrong = _wrong(_examined(tmp_path, rollout, HEALTHY, without="refusals_total"))
    assert [check.about for check in wrong] == ["copilot refusal_rate"]
    assert "NEVER_SEEN" in wrong[0].found
    assert "absent_is_zero" in wrong[0].fix


def test_a_rule_that_never_had_an_event_may_count_none(tmp_path: Path, rollout: Rollout) -> None:
    checks = _examined(tmp_path, rollout, HEALTHY, without='outcome="error"')
    (doubt,) = [check for check in checks if "never an event" in check.found]
    assert (doubt.about, doubt.status) == (f"{rollout.name} error_rate", Status.WARNING)
    assert "metrics page" in doubt.fix


def test_an_absent_control_is_wrong_an_unarmed_canary_is_not(tmp_path: Path, rollout: Rollout) -> None:
    """A control that is not there is wrong; a canary that is not there before its arming is not."""
    no_canary = _examined(tmp_path, rollout, HEALTHY, without='cohort="canary"')
    assert not _wrong(no_canary)
    assert any("whether it is armed is UNKNOWN" in check.found for check in no_canary)  # no store was asked
    assert _wrong(_examined(tmp_path, rollout, HEALTHY, without='cohort="control"'))


def test_a_histogram_whose_last_bucket_is_too_small_is_wrong(tmp_path: Path, rollout: Rollout) -> None:
    slow = Behaviour(median=6.0)
    wrong = _wrong(_examined(tmp_path, rollout, replace(HEALTHY, control=slow, canary=slow)))
    assert [check.about for check in wrong] == ["copilot latency_p95"]
    assert "last bucket" in wrong[0].found


def test_plain_counters_are_a_warning(tmp_path: Path, rollout: Rollout) -> None:
    checks = _examined(tmp_path, rollout, replace(HEALTHY, judged=False))
    assert any("plain counters" in check.found for check in checks if check.status is Status.WARNING)


def test_the_bare_rules_cost_is_measured_on_controls_own_history(tmp_path: Path, rollout: Rollout) -> None:
    checks = _examined(tmp_path, rollout, replace(HEALTHY, rate=20, seconds=4 * 3600))
    (found,) = [check.found for check in checks if check.about == "copilot thumbs_down_rate" and "draws" in check.found]
    assert "evidence in 0%" in found
    assert "the bare rule trips in 0%" not in found


def test_bursts_that_last_minutes_are_seen() -> None:
    rng = np.random.default_rng(1)
    trials = np.full(2000, 1000.0)
    quiet = rng.poisson(10.0, 2000).astype(np.float64)
    storms = quiet + np.repeat((rng.random(100) < 0.1) * 40.0, 20)
    assert dispersion(quiet, trials, 1) == pytest.approx(1.0, abs=0.15)
    assert dispersion(quiet, trials, 20) == pytest.approx(1.0, abs=0.5)
    assert dispersion(storms, trials, 20) > 5
    assert dispersion(np.full(10, np.nan), np.full(10, np.nan), 1) == 1.0


def test_coarse_buckets_widen_the_real_range_of_a_limit(rollout: Rollout) -> None:
    rule = next(rule for rule in rollout.rules if rule.name == "latency_p95")
    fine_edges = (*np.geomspace(0.1, 20, 80).tolist(), float("inf"))
    coarse_edges = (0.5, 1.0, 2.0, 5.0, 10.0, float("inf"))
    rng = np.random.default_rng(1)
    drawn = np.sort(np.exp(rng.normal(np.log(0.8), 0.5, 50_000)))
    fine, coarse = (
        real_ratios(Buckets(edges, tuple(np.searchsorted(drawn, edges, side="right").astype(float))), rule)
        for edges in (fine_edges, coarse_edges)
    )
    assert fine == pytest.approx((1.5, 1.5), abs=0.05)
    assert coarse[0] < 1.45
    assert coarse[1] - coarse[0] > 0.15


class _Down(Recording):
    def __init__(self) -> None: ...

    def now(self, deadline: object) -> float:
        raise Unavailable("no answer from the metric store")


def _no_flags() -> tuple[dict[str, Flag], dict[str, str]]:
    raise Unavailable("etcd does not answer")


def test_a_store_or_source_that_does_not_answer_is_wrong(rollout: Rollout) -> None:
    checks = list(examine(Setup(_Down(), [rollout], Terms(0, 3600), 15.0, wall=0.0, flags=_no_flags)))
    assert [check.about for check in _wrong(checks)] == ["flag store", "metric source"]


class _Ahead(Recording):
    def now(self, deadline: object) -> float:
        return 1000.0


@pytest.mark.parametrize(("wall", "status"), [(999.0, Status.OK), (980.0, Status.WARNING), (800.0, Status.WRONG)])
def test_clocks_that_differ_are_told_by_how_much(tmp_path: Path, wall: float, status: Status) -> None:
    (tmp_path / "x.om").write_text("a 1 1\n# EOF\n")
    (check,) = examine(Setup(_Ahead(tmp_path / "x.om"), [], Terms(0, 1), 15.0, wall=wall))
    assert check.status is status


def _counters(folder: Path, rollout: Rollout, lines: list[str]) -> list[Check]:
    (folder / "x.om").write_text("\n".join([*lines, "# EOF", ""]))
    source = Recording(folder / "x.om")
    setup = Setup(source, [rollout], Terms(*source.span), 15.0, counters=source.counter_health)
    return [check for check in examine(setup) if "fell" in check.found or "first samples" in check.found]


def test_counters_of_workers_are_named_with_their_process(tmp_path: Path, rollout: Rollout) -> None:
    """Four registries seen by turns: the counter falls, and doctor says whose it is and what to do."""
    lines = []
    for at in range(400):
        for outcome, share in (("ok", 0.98), ("error", 0.02)):
            shown = 10_000 + (at * 7 % 4) * 500 + 25 * at
            for cohort in ("control", "canary"):
                labels = f'cohort="{cohort}",job="llm",instance="10.0.0.7:80",outcome="{outcome}"'
                lines.append(f"llm_requests_total{{{labels}}} {share * shown} {1_790_000_000 + 15 * at}")
    (check, *_) = _counters(tmp_path, rollout, lines)
    assert check.status is Status.WRONG
    assert 'job="llm", instance="10.0.0.7:80"' in check.found
    assert "PROMETHEUS_MULTIPROC_DIR" in check.fix


@pytest.mark.parametrize("late", [0, 100])
def test_error_series_that_are_born_late_are_a_warning(tmp_path: Path, rollout: Rollout, late: int) -> None:
    """Each pod's first errors come in one sample: a plain increase() loses a fifth of them."""
    lines = []
    for at in range(400):
        for cohort in ("control", "canary"):
            labels = f'cohort="{cohort}",job="llm",instance="10.0.0.7:80"'
            time = 1_790_000_000 + 15 * at
            lines.append(f'llm_requests_total{{{labels},outcome="ok"}} {100 * at} {time}')
            if at >= late:
                lines.append(f'llm_requests_total{{{labels},outcome="error"}} {at - late + (75 if late else 0)} {time}')
    found = _counters(tmp_path, rollout, lines)
    if not late:
        assert found == []
    else:
        assert [check.status for check in found] == [Status.WARNING]
        assert found[0].found.startswith("20% of llm_requests_total")


@pytest.mark.parametrize(
    ("name", "words"), [("", "10 failures have no model's name"), ("some-group", "10 the name of neither cohort")]
)
def test_litellm_failures_under_a_group_or_no_name_are_a_warning(tmp_path: Path, name: str, words: str) -> None:
    """Requests for an alias are counted under that name, so no cohort has them."""
    rules = b"rollout: proxy\ncontrol: a\ncanary: b\nmetrics: litellm\nrules:\n  error_rate: {max: 2%}\n"
    rates = {("a", "total_requests"): 1.0, ("b", "total_requests"): 1.0, (name, "failed_requests"): 1 / 360}
    lines = [
        f'litellm_proxy_{metric}_metric_total{{requested_model="{model}"}} {rate * at:.4f} {at}'
        for (model, metric), rate in rates.items()
        for at in range(0, 7200, 15)
    ]
    (tmp_path / "x.om").write_text("\n".join([*lines, "# EOF", ""]))
    source = Recording(tmp_path / "x.om")
    checks = list(examine(Setup(source, load_text(rules).rollouts, Terms(*source.span), 15.0)))
    (warned,) = [check for check in checks if check.status is Status.WARNING and "neither cohort" in check.found]
    assert words in warned.found
    assert "requested_model" in warned.fix


@pytest.mark.parametrize(("answers", "words"), [(True, "it is not armed"), (False, "whether it is armed is UNKNOWN")])
def test_an_absent_canary_is_expected_only_with_its_flag_read(
    tmp_path: Path, rollout: Rollout, *, answers: bool, words: str
) -> None:
    """An absent canary is expected only if its flag was read and is not armed."""

    def ask() -> tuple[dict[str, Flag], dict[str, str]]:
        if not answers:
            raise Unavailable("flag store: no quorum")
        return {}, {}

    lines = [line for line in openmetrics(HEALTHY).splitlines() if 'cohort="canary"' not in line]
    (tmp_path / "x.om").write_text("\n".join(lines) + "\n")
    source = Recording(tmp_path / "x.om", scrape_interval=15.0)
    setup = Setup(source, [rollout], Terms(*source.span), 15.0, flags=ask)
    absent = [check for check in examine(setup) if check.found.startswith("canary: NO_DATA")]
    assert absent
    assert all(words in check.found and check.status is Status.NOTE for check in absent)


@pytest.mark.parametrize("all_rules", [True, False])
def test_an_armed_flag_that_no_rule_file_names_is_told(rollout: Rollout, *, all_rules: bool) -> None:
    """A misspelled `rollout:` read as "not armed yet", and the store as well."""
    flag = flags.arm(None, rollout="copiloot", control="a", canary="b", percent=5.0, stage="ramp_5", now=0.0, by="ann")
    tripped = replace(flag, rollout="old", state=State.TRIPPED)
    ask = {"copiloot": flag, "old": tripped, rollout.name: replace(flag, rollout=rollout.name)}
    setup = Setup(_Down(), [rollout], Terms(0, 3600), 15.0, flags=lambda: (ask, {}), all_rules=all_rules)
    found = {check.about: check for check in examine(setup) if check.status is Status.WARNING}
    assert list(found) == (["copiloot"] if all_rules else [])
    if all_rules:
        assert "armed at 5%, but no rule file here names it" in found["copiloot"].found
        assert "was it left out of an upgrade?" in found["copiloot"].fix
    notes = [check.found for check in examine(setup) if (check.about, check.status) == ("old", Status.NOTE)]
    assert notes == ["tripped, and no rule file here names it: once it is armed again, it is not judged"] * all_rules


@pytest.mark.parametrize(("alive", "state", "told"), [
    (0, State.ARMED, True), (1, State.ARMED, False), (None, State.ARMED, False),
    (0, State.TRIPPED, False),
])  # fmt: skip
def test_an_armed_flag_that_no_controller_watches_is_told(
    rollout: Rollout, alive: int | None, state: State, *, told: bool
) -> None:
    flag = flags.arm(
        None, rollout=rollout.name, control="a", canary="b", percent=5.0, stage="ramp_5", now=0.0, by="ann"
    )
    ask = {rollout.name: replace(flag, state=state)}
    setup = Setup(_Down(), [rollout], Terms(0, 3600), 15.0, flags=lambda: (ask, {}), controllers=lambda: alive)
    found = [check.found for check in examine(setup) if check.about == "controllers"]
    assert found == (["none is alive, and 1 flag is armed: no one notices a bad canary"] if told else [])


def test_a_store_that_takes_no_change_is_wrong(rollout: Rollout) -> None:
    asked: list[str] = []

    def refuse(name: str) -> None:
        asked.append(name)
        raise AccessDenied("etcd: permission denied")

    setup = Setup(_Down(), [rollout], Terms(0, 3600), 15.0, flags=lambda: ({}, {}), try_writing=refuse)
    wrong = [check for check in examine(setup) if check.status is Status.WRONG]
    assert [check.about for check in wrong] == ["flag store", "metric source"]
    assert "no trip can be made" in wrong[0].found
    assert asked == [rollout.name]


def test_counters_that_are_not_there_are_not_called_plain(tmp_path: Path, rollout: Rollout) -> None:
    """Before the first scrape the doctor said "judged on plain counters"."""
    checks = _examined(tmp_path, rollout, HEALTHY, without="llm_")
    assert not any("plain counters" in check.found for check in checks)


class _ManySeries(Recording):
    """So many series that all their samples are more than an answer may hold."""

    def measure_scrape_interval(self, *_: object) -> float | Unreadable:
        return Unreadable(Reason.SOURCE_DOWN, "answered with more than 8 MiB")


def test_one_series_says_how_often_a_crowd_is_scraped(tmp_path: Path, rollout: Rollout) -> None:
    (tmp_path / "x.om").write_text(openmetrics(HEALTHY))
    source = _ManySeries(tmp_path / "x.om")
    terms = Terms(*source.span)
    setup = Setup(source, [rollout], terms, 30.0, measure=source.measure_scrape_interval, labels=source)
    assert "set scrape_interval: 15s" in [check.fix for check in examine(setup)]


def test_a_healthy_installation_is_told_what_it_can_see(tmp_path: Path, rollout: Rollout) -> None:
    found = [check for check in _examined(tmp_path, rollout, HEALTHY) if "seen within 10m" in check.found]
    assert [check.about.split()[1] for check in found] == [rule.name for rule in rollout.rules]
    assert {check.status for check in found} == {Status.OK}
