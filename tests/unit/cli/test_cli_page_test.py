"""`killswitch page-test`: what it sends, what it says came back, and what its exit code means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.http_double import Answer
from tests.doubles.opsgenie import KEY as OPSGENIE_KEY
from tests.doubles.opsgenie import OpsgenieDouble
from tests.doubles.pagerduty import KEY, PagerDutyDouble
from tests.doubles.slack import TOKEN, SlackDouble
from tests.doubles.webhook import WebhookDouble
from tests.unit.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def hook() -> Iterator[WebhookDouble]:
    with WebhookDouble() as double:
        yield double


@pytest.fixture
def pagerduty() -> Iterator[PagerDutyDouble]:
    with PagerDutyDouble(KEY) as double:
        yield double


@pytest.fixture
def variables(hook: WebhookDouble, pagerduty: PagerDutyDouble) -> dict[str, str]:
    return {
        "KILLSWITCH_WEBHOOK_URL": f"{hook.url}/secret-path",
        "KILLSWITCH_PAGERDUTY_KEY": KEY,
        "KILLSWITCH_PAGERDUTY_URL": pagerduty.events_url,
        "KILLSWITCH_CONSOLE_PAGES": "false",
    }


def test_each_receiver_gets_a_test_and_its_alert_is_ended(
    shell: Shell, hook: WebhookDouble, pagerduty: PagerDutyDouble, variables: dict[str, str]
) -> None:
    done = shell("page-test", **variables)
    assert done.exit_code == 0, done.output
    first, second = done.stdout.splitlines()
    assert first.startswith("taken      pagerduty (copilot), in ")
    assert first.endswith("; its alert is ended")
    assert second.startswith("taken      webhook (copilot), in ")
    assert second.endswith("reference hook-1")
    assert [event["event_action"] for event in pagerduty.events] == ["trigger", "resolve"]
    assert (pagerduty.open[KEY], pagerduty.changes) == (set(), [])
    (page,) = hook.pages
    assert (page["kind"], page["severity"]) == ("TEST", "info")
    assert page["headline"].startswith("TEST of copilot's pages by ")
    assert not (shell.folder / "flags.sqlite").exists(), "no flag is read, and nothing is stored"


def test_keep_open_leaves_the_alert(shell: Shell, pagerduty: PagerDutyDouble, variables: dict[str, str]) -> None:
    done = shell("page-test", "--receiver", "pagerduty", "--keep-open", **variables)
    assert done.exit_code == 0
    assert len(pagerduty.open[KEY]) == 1


def test_a_receiver_that_fails_is_named_with_what_to_do(
    shell: Shell, hook: WebhookDouble, variables: dict[str, str]
) -> None:
    hook.fail_always(Answer(503))
    done = shell("page-test", **variables)
    assert done.exit_code == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("NOT TAKEN")]
    assert "webhook (copilot), after " in line
    assert line.endswith("check that it is up and may be reached from here")
    assert "secret-path" not in done.output


def test_an_alert_that_stays_open_is_said_and_fails(
    shell: Shell, pagerduty: PagerDutyDouble, variables: dict[str, str]
) -> None:
    pagerduty.fail_next(Answer(202, b"{}"), Answer(500))
    done = shell("page-test", "--receiver", "pagerduty", **variables)
    assert done.exit_code == 1
    assert "ITS ALERT STAYS OPEN: " in done.stdout


def test_opsgenies_alert_is_closed(shell: Shell) -> None:
    with OpsgenieDouble() as api:
        done = shell(
            "page-test", KILLSWITCH_OPSGENIE_KEY=OPSGENIE_KEY, KILLSWITCH_OPSGENIE_URL=api.url,
            KILLSWITCH_CONSOLE_PAGES="false",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert list(api.alerts.values()) == ["closed"]


def test_a_severity_goes_only_where_it_is_routed(
    shell: Shell, hook: WebhookDouble, pagerduty: PagerDutyDouble, variables: dict[str, str]
) -> None:
    """A critical one mentions people, as a trip would."""
    rules = (shell.rules / "copilot.yaml").read_text()
    routed = rules.replace('"<!here>"}', '"<!here>", receivers: {critical: [webhook], info: []}}')
    (shell.rules / "copilot.yaml").write_text(routed)
    assert shell("page-test", "--severity", "critical", **variables).exit_code == 0
    assert (len(hook.pages), pagerduty.events) == (1, [])
    nowhere = shell("page-test", "--severity", "info", **variables)
    assert nowhere.exit_code == 1
    assert "no page of severity info goes to any receiver: see `page.receivers`" in nowhere.output
    assert shell("page-test", **variables).exit_code == 0
    assert len(hook.pages) == 2


def test_rollouts_with_one_address_share_a_test(shell: Shell, hook: WebhookDouble, variables: dict[str, str]) -> None:
    other = (shell.rules / "copilot.yaml").read_text().replace("rollout: copilot", "rollout: search")
    (shell.rules / "search.yaml").write_text(other)
    done = shell("page-test", "--receiver", "webhook", "--json", **variables)
    (found,) = json.loads(done.stdout)
    assert (found["receiver"], found["rollouts"], found["taken"]) == ("webhook", ["copilot", "search"], True)
    assert len(hook.pages) == 1


def test_json_is_alone_on_standard_output(shell: Shell) -> None:
    """A page that is printed goes to standard error then, and is not lost."""
    done = shell("page-test", "--json")
    (found,) = json.loads(done.stdout)
    assert (found["receiver"], found["taken"]) == ("console", True)
    assert "PAGE TEST info" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--receiver", "fax"), 2, "'fax' is not a receiver; use slack"),
        (("--severity", "grave"), 2, "'grave' is not a severity; use critical"),
        (("--receiver", "slack"), 2, "slack is not set up here; set its settings: docs/receivers.md"),
        (("--rollout", "other"), 2, "no rollout is called 'other'; known rollouts: copilot"),
    ],
)
def test_what_cannot_be_tested_is_said(
    shell: Shell, variables: dict[str, str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = shell("page-test", *arguments, **variables)
    assert done.exit_code == code
    assert said in done.output


def test_slack_gets_the_test_in_the_rule_files_channel(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with SlackDouble() as slack:
        done = shell(
            "page-test", "--receiver", "slack", KILLSWITCH_SLACK_TOKEN_FILE=str(tmp_path / "token"),
            KILLSWITCH_SLACK_BASE_URL=slack.base_url,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith("taken      slack #llm-oncall (copilot), in ")
        (message,) = slack.messages
        assert "TEST of copilot's pages" in message.text
        assert "<!here>" not in message.text, "only a critical test mentions people"
