"""Settings that cannot work are refused, every one of them, and nothing is silently adjusted."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import killswitch
from killswitch.cli import run
from killswitch.daemon.secrets_of_settings import secret
from killswitch.daemon.settings import Settings, load_settings
from killswitch.daemon.wiring import build_pagers
from killswitch.errors import BadSettings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("KILLSWITCH_"):
            monkeypatch.delenv(name)


def problems_of(**flags: object) -> tuple[str, ...]:
    with pytest.raises(BadSettings) as refused:
        load_settings(**flags)  # type: ignore[arg-type]  # as the command line gives them
    return refused.value.problems


def test_the_defaults_fit_together() -> None:
    settings = load_settings()
    assert (settings.interval, settings.lag, settings.max_evidence_age, settings.step) == (30.0, 5.0, 60.0, 30.0)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ({"lag": "31s", "cycle_deadline": "1s"}, "lag must be shorter"),
        ({"cycle_deadline": "26s"}, "cycle_deadline + lag must not exceed interval"),
        ({"scrape_interval": "61s"}, "at most two intervals"),
        ({"trip_timeout": "6s", "session_ttl": "20s", "max_evidence_age": "90s"}, "must not exceed store_timeout"),
        ({"session_ttl": "5s"}, "three trip_timeouts"),
        ({"max_evidence_age": "30s"}, "must exceed session_ttl + cycle_deadline + lag"),
        ({"listen": "8080"}, "write host:port"),
        ({"source_user": "u"}, "source_user and source_password_file"),
        ({"source_bearer_file": "b", "source_user": "u", "source_password_file": "p"}, "exclude each other"),
        ({"store_user": "u"}, "store_user and store_password_file"),
        ({"source_cert_file": "c"}, "source_cert_file and source_key_file"),
        ({"store_key_file": "k"}, "store_cert_file and store_key_file"),
        ({"fallback": "slack"}, "fallback slack needs slack_token_file"),
        ({"slack_app_token_file": "x"}, "slack_app_token_file (or KILLSWITCH_SLACK_APP_TOKEN) needs slack_token_file"),
        ({"slack_signing_secret_file": "x"}, "KILLSWITCH_SLACK_SIGNING_SECRET) needs slack_token_file"),
        ({"fallback": "webhook"}, "fallback webhook needs webhook_url_file"),
        ({"fallback": "pagerduty"}, "fallback pagerduty needs pagerduty_key_file"),
        ({"pagerduty_url": "events.pagerduty.com"}, "pagerduty_url: write http(s)://"),
        ({"public_url": "killswitch.example.org"}, "public_url: write http(s)://"),
        ({"public_url": "https://ann:secret@killswitch.example.org/"}, "public_url: write http(s)://"),
        ({"public_url": "https://x.example/?token=1"}, "public_url: write http(s)://"),
        ({"public_url": "https://x.example/ <!channel>"}, "public_url: write http(s)://"),
        ({"public_url": "javascript:alert(1)"}, "public_url: write http(s)://"),
    ],
)
def test_every_invariant_is_refused_by_name(flags: dict[str, object], word: str) -> None:
    assert any(word in problem for problem in problems_of(**flags))


def test_all_problems_are_said_at_once_one_a_line() -> None:
    """Also those between settings when another one cannot even be read."""
    problems = problems_of(lag="40s", listen="nowhere", interval="30", session_ttl="1s", console_pages="perhaps")
    text = "\n".join(problems)
    for word in ("lag must be shorter", "listen", "interval: ", "three trip_timeouts", "console_pages"):
        assert word in text
    assert len(problems) >= 5
    assert not any(";" in problem and "three trip_timeouts" in problem for problem in problems)


@pytest.mark.parametrize("value", ["30", "0s", "-5s", "25h", "soon", "", "nan", "inf"])
def test_a_duration_needs_a_unit_and_a_sense(value: str) -> None:
    assert any(problem.startswith("interval") for problem in problems_of(interval=value))


@pytest.mark.parametrize("value", ["30", "30.5"])
def test_a_bare_number_in_the_file_is_refused_too(tmp_path: Path, value: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"interval: {value}\n")
    assert any("interval" in problem for problem in problems_of(file=file))


def test_flags_override_environment_and_environment_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command-line flags override the environment, and the environment overrides the file."""
    file = tmp_path / "settings.yaml"
    file.write_text("interval: 40s\nlag: 4s\nstore_timeout: 6s\n")
    monkeypatch.setenv("KILLSWITCH_LAG", "3s")
    monkeypatch.setenv("KILLSWITCH_STORE_TIMEOUT", "7s")
    settings = load_settings(file, store_timeout="8s", interval=None)
    assert (settings.interval, settings.lag, settings.store_timeout) == (40.0, 3.0, 8.0)


@pytest.mark.parametrize("text", ["- a list", "interval: [", "nonsense: 1\n", "\xff"])
def test_a_settings_file_that_is_none_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(text.encode("latin-1"))
    assert all("settings.yaml" in problem for problem in problems_of(file=file))


def test_a_missing_settings_file_is_refused(tmp_path: Path) -> None:
    assert "settings.yaml" in problems_of(file=tmp_path / "settings.yaml")[0]


def test_each_variable_that_the_project_reads_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a service or a worker needs must not keep a command on the same machine from running."""
    sources = Path(killswitch.__file__).parent.rglob("*.py")
    named = {name for file in sources for name in re.findall(r"\"(KILLSWITCH_[A-Z_]+[A-Z])\"", file.read_text())}
    assert {"KILLSWITCH_FEEDBACK_KEY_FILE", "KILLSWITCH_SHADOW_KEY_FILE", "KILLSWITCH_URL"} <= named
    for name in named:
        monkeypatch.setenv(name, "x")
    assert not [problem for problem in problems_of() if "is not a setting" in problem]


@pytest.mark.parametrize("name", ["KILLSWITCH_SLACK_TOKEN_FIEL", "KILLSWITCH_INTERVALL", "KILLSWITCH_"])
def test_a_misspelled_variable_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert problems_of() == (f"{name} is not a setting; `killswitch run --help` lists them",)


@pytest.mark.parametrize(
    "name",
    [
        "KILLSWITCH_SERVICE_HOST",
        "KILLSWITCH_SERVICE_PORT",
        "KILLSWITCH_SERVICE_PORT_HTTP",
        "KILLSWITCH_PORT",
        "KILLSWITCH_PORT_8080_TCP",
        "KILLSWITCH_PORT_8080_TCP_ADDR",
        "KILLSWITCH_PORT_8080_TCP_PORT",
        "KILLSWITCH_PORT_8080_TCP_PROTO",
        "KILLSWITCH_ETCD_SERVICE_HOST",
        "KILLSWITCH_ETCD_PORT_2379_TCP_ADDR",
        "KILLSWITCH_SETTINGS",
        "KILLSWITCH_URL",
    ],
)
def test_service_variables_of_kubernetes_are_not_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that Kubernetes sets for a Service with our name are not settings."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:8080")
    load_settings()


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().interval = 1.0  # type: ignore[misc]  # that is the point


# --- secrets ------------------------------------------------------------------------------------


def test_a_secret_is_in_a_file_or_a_variable_but_not_in_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret is in a file or in its variable. Both at once are refused."""
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert secret(load_settings(), "slack_token") is None
    found = secret(load_settings(slack_token_file=file), "slack_token")
    assert found is not None
    assert found.reveal() == "from-file"
    assert "from-file" not in repr(found)
    monkeypatch.setenv("KILLSWITCH_SLACK_TOKEN", "from-environment")
    found = secret(load_settings(), "slack_token")
    assert found is not None
    assert found.reveal() == "from-environment"
    with pytest.raises(BadSettings, match="slack_token_file and KILLSWITCH_SLACK_TOKEN are both set"):
        secret(load_settings(slack_token_file=file), "slack_token")


def test_a_rotated_secret_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    found = secret(load_settings(api_token_file=file), "api_token")
    assert found is not None
    assert found.reveal() == "old"
    file.write_text("newer")
    assert found.reveal() == "newer"


def test_a_fallback_alone_is_no_receiver(tmp_path: Path) -> None:
    file = tmp_path / "hook"
    file.write_text("https://hooks.example/x")
    with pytest.raises(BadSettings, match="only receiver"):
        build_pagers(load_settings(webhook_url_file=file, fallback="webhook", console_pages="false"))
    pagers, fallback = build_pagers(load_settings(webhook_url_file=file, fallback="webhook"))
    assert [pager.name for pager in pagers] == ["console"]
    assert fallback is not None
    assert fallback.name == "webhook"


def test_pagerduty_is_enabled_by_a_key_or_a_file_of_team_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PagerDuty is enabled by one key, or by a file with the keys of the teams."""
    teams = tmp_path / "teams"
    teams.write_text("search: " + "s" * 32)
    assert [pager.name for pager in build_pagers(load_settings())[0]] == ["console"]
    assert "pagerduty" in [pager.name for pager in build_pagers(load_settings(pagerduty_team_keys_file=teams))[0]]
    monkeypatch.setenv("KILLSWITCH_PAGERDUTY_KEY", "k" * 32)
    assert "pagerduty" in [pager.name for pager in build_pagers(load_settings())[0]]


@pytest.mark.parametrize("url", ["https://killswitch.example.org", "http://10.0.0.7:8080/canary/", "http://[::1]:8080"])
def test_a_public_url_is_a_plain_address(url: str) -> None:
    assert load_settings(public_url=url).public_url == url


@pytest.mark.parametrize(
    ("flags", "variable"),
    [
        ({"fallback": "slack"}, "KILLSWITCH_SLACK_TOKEN"),
        ({"slack_app_token_file": "x"}, "KILLSWITCH_SLACK_TOKEN"),
        ({"slack_signing_secret_file": "x"}, "KILLSWITCH_SLACK_TOKEN"),
        ({"fallback": "webhook"}, "KILLSWITCH_WEBHOOK_URL"),
        ({"fallback": "pagerduty"}, "KILLSWITCH_PAGERDUTY_KEY"),
        ({"store_user": "ann"}, "KILLSWITCH_STORE_PASSWORD"),
        ({"source_user": "ann"}, "KILLSWITCH_SOURCE_PASSWORD"),
    ],
)
def test_a_secret_in_the_environment_is_as_good_as_one_in_a_file(
    flags: dict[str, object], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(variable in problem for problem in problems_of(**flags))
    monkeypatch.setenv(variable, "https://hooks.example/x")
    settings = load_settings(**flags)  # type: ignore[arg-type]  # as the command line gives them
    if "fallback" in flags:
        pagers, fallback = build_pagers(settings)
        assert fallback is not None
        assert (fallback.name, [pager.name for pager in pagers]) == (flags["fallback"], ["console"])


def test_run_help_lists_every_setting() -> None:
    """A token that nobody can find out about is a page that nobody gets."""
    text = run.command.__doc__ or ""
    for name, field in Settings.model_fields.items():
        assert f"KILLSWITCH_{name.upper()}: {field.description}" in text
        assert field.description, name
