"""The daemon's settings: environment ``KILLSWITCH_…``, a YAML file, command-line flags, in rising order.

Timing that cannot work is refused at start, never adjusted, and every problem is said at once.
Secrets are never settings: a setting names the *file* (or the environment variable) that holds one.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from killswitch.daemon.receiver_settings import ReceiverSettings, receiver_rows
from killswitch.daemon.setting_values import Seconds, given, is_plain_address, pair
from killswitch.errors import BadSettings
from killswitch.refused_value import refused_value

# Kubernetes' links to a Service called "killswitch", variables of the command line, of the SDK and of shadow mode (a
# machine may have them all, and an emergency `trip` must run there), the tests', and secrets
_NOT_OURS = re.compile(
    r"KILLSWITCH_(?:(?:.+_)?SERVICE_(?:HOST|PORT.*)|(?:.+_)?PORT(?:_\d+_(?:TCP|UDP).*)?|SETTINGS|URL|TEST_.*|"
    r"FEEDBACK_KEY|FEEDBACK_KEY_FILE|SHADOW_KEY_FILE|SHADOW_SPOOL|SHADOW_RECORDS|"
    r"SLACK_TOKEN|SLACK_APP_TOKEN|SLACK_SIGNING_SECRET|PAGERDUTY_KEY|WEBHOOK_URL|STORE_PASSWORD|SOURCE_PASSWORD|SOURCE_BEARER|API_TOKEN|HEARTBEAT_URL|"
    r"ALERTS_TOKEN|OPSGENIE_KEY|TEAMS_URL|SMTP_PASSWORD|WEBHOOK_SECRET|WEBHOOK_PREVIOUS_SECRET|ALERTMANAGER_PASSWORD|"
    r"ALERTMANAGER_BEARER)\Z"
)
_HOST_NAME = re.compile(r"[A-Za-z0-9._:-]{1,253}\Z")
_LISTEN = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d{1,5}\Z")


class Settings(ReceiverSettings):
    """Every field is also ``KILLSWITCH_<FIELD>`` in the environment, read by `load_settings`.

    Durations carry a unit (``30s``).
    """

    rules: Path = Field(default=Path("rules"), description="the folder of rule files")
    roles: Path = Field(default=Path("roles"), description="the folder of role files; none is needed without roles")
    source: str = Field(default="prometheus+http://127.0.0.1:9090", description="the metric store's URL")
    store: str = Field(default="etcd://127.0.0.1:2379", description="the flag store's URL")
    listen: str = Field(default="127.0.0.1:8080", description="host:port of health, metrics, API and page")
    host_names: str = Field(
        default="",
        description="names that the web server may be asked under, comma-separated; it always answers to localhost, "
        "IP addresses and the hosts of `listen` and `public_url`",
    )
    controller_id: str = Field(default="", description="this replica's name; default host name and a random part")

    interval: Seconds = Field(default=30.0, description="how often the cohorts are compared")
    lag: Seconds = Field(default=5.0, description="ingestion delay: a tick is evaluated this long after it")
    scrape_interval: Seconds = Field(
        default=15.0, description="how often the metric store scrapes the services; measured at start when left out"
    )
    cycle_deadline: Seconds = Field(default=10.0, description="total time one cycle may take to read")
    store_timeout: Seconds = Field(default=5.0, description="total time of one call to the flag store")
    trip_timeout: Seconds = Field(default=2.0, description="the same while a trip is under way")
    max_evidence_age: Seconds = Field(default=60.0, description="no flip cites a breach older than this")
    session_ttl: Seconds = Field(default=15.0, description="how soon a dead replica's claims are free")
    claim_ttl: Seconds = Field(default=10.0, description="how soon a dead replica's page is taken over")
    fallback_after: Seconds = Field(default=120.0, description="when the fallback receiver is asked as well")

    source_user: str | None = Field(default=None, description="the metric store's user (basic auth)")
    source_password_file: Path | None = Field(default=None, description="a file with that user's password")
    source_bearer_file: Path | None = Field(default=None, description="a file with the metric store's bearer token")
    source_headers_file: Path | None = Field(default=None, description="extra headers, one `Name: value` a line")
    source_ca_file: Path | None = Field(default=None, description="the metric store's certificate authority")
    source_cert_file: Path | None = Field(default=None, description="our certificate for the metric store")
    source_key_file: Path | None = Field(default=None, description="its key")
    scrape_file: Path | None = Field(default=None, description="where a scrape+ source keeps its last 25 h")

    store_user: str | None = Field(default=None, description="the flag store's user")
    store_password_file: Path | None = Field(default=None, description="a file with that user's password")
    store_ca_file: Path | None = Field(default=None, description="the flag store's certificate authority")
    store_cert_file: Path | None = Field(default=None, description="our certificate for the flag store")
    store_key_file: Path | None = Field(default=None, description="its key")

    slack_token_file: Path | None = Field(default=None, description="a file with the Slack bot token; none, no Slack")
    slack_base_url: str = Field(default="https://slack.com/api/", description="Slack's Web API")
    slack_app_token_file: Path | None = Field(
        default=None, description="a file with the app-level token (xapp-…): buttons and `/killswitch` by Socket Mode"
    )
    slack_signing_secret_file: Path | None = Field(
        default=None, description="a file with the app's signing secret: the same by a request URL, `/slack/…`"
    )
    webhook_url_file: Path | None = Field(default=None, description="a file with the URL that gets JSON pages")
    pagerduty_key_file: Path | None = Field(
        default=None, description="a file with the PagerDuty integration key of pages that name no other"
    )
    pagerduty_team_keys_file: Path | None = Field(
        default=None, description="a file with teams' PagerDuty keys, one `name: key` a line"
    )
    pagerduty_url: str = Field(
        default="https://events.pagerduty.com/v2/enqueue", description="PagerDuty's Events API v2 (EU: events.eu.…)"
    )
    public_url: str | None = Field(
        default=None, description="where people reach `listen` from outside; pages link to incidents and rollouts there"
    )
    grafana_url: str | None = Field(
        default=None,
        description="our dashboard in your Grafana (deploy/grafana), such as https://grafana.example.org/d/killswitch; "
        "pages of rollouts whose rule file has no `dashboard` link to it",
    )
    console_pages: bool = Field(default=True, description="print pages to standard output as well")
    fallback: Literal["slack", "pagerduty", "opsgenie", "teams", "email", "webhook", "console"] | None = Field(
        default=None, description="the receiver asked only when the others have failed for `fallback_after`"
    )
    heartbeat_url_file: Path | None = Field(
        default=None, description="a file with the URL called after every cycle (dead man's switch)"
    )
    api_token_file: Path | None = Field(default=None, description="bearer token for requests that change state")
    alerts_token_file: Path | None = Field(
        default=None, description="bearer token for alerts of an Alertmanager; without it, api_token is taken"
    )
    log_format: Literal["human", "json"] = Field(default="human", description="lines for people, or JSON")

    @property
    def step(self) -> float:
        """Seconds between evidence ticks: the smallest multiple of the scrape interval not below ``interval``."""
        return math.ceil(self.interval / self.scrape_interval - 1e-9) * self.scrape_interval

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the web server answers to, besides localhost and addresses."""
        given = (name.strip() for name in self.host_names.split(","))
        public = urlsplit(self.public_url or "").hostname or ""
        return tuple(name for name in (*given, self.listen.rpartition(":")[0].strip("[]"), public) if name)

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        rows = (*_timing(self), *_connections(self), *_paging(self), *receiver_rows(self))
        problems = [text for holds, text in rows if not holds]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _timing(one: Settings) -> tuple[tuple[bool, str], ...]:
    """What must hold of the durations, each with what to say where it does not."""
    return (
        (one.lag < one.interval, "lag must be shorter than interval"),
        (
            one.cycle_deadline + one.lag <= one.interval,
            "cycle_deadline + lag must not exceed interval, or a slow source eats the next tick",
        ),
        (one.scrape_interval <= 2 * one.interval, "scrape_interval must be at most two intervals"),
        (one.trip_timeout <= one.store_timeout, "trip_timeout must not exceed store_timeout"),
        (one.session_ttl >= 3 * one.trip_timeout, "session_ttl must be at least three trip_timeouts"),
        (
            one.max_evidence_age > one.session_ttl + one.cycle_deadline + one.lag,
            "max_evidence_age must exceed session_ttl + cycle_deadline + lag, or no trip is ever young enough",
        ),
    )


def _connections(one: Settings) -> tuple[tuple[bool, str], ...]:
    """What must hold of the web server's address, and of users, passwords and certificates."""
    return (
        (bool(_LISTEN.match(one.listen)), f"listen {one.listen!r}: write host:port"),
        (
            all(map(_HOST_NAME.match, one.names)),
            f"host_names {one.host_names!r}: write host names without scheme and port, comma-separated",
        ),
        (
            pair(one.source_user, one.source_password_file, "source_password"),
            "source_user and source_password_file (or KILLSWITCH_SOURCE_PASSWORD) go together",
        ),
        (
            one.source_bearer_file is None or one.source_user is None,
            "source_bearer_file and source_user exclude each other",
        ),
        (
            pair(one.store_user, one.store_password_file, "store_password"),
            "store_user and store_password_file (or KILLSWITCH_STORE_PASSWORD) go together",
        ),
        (
            (one.source_cert_file is None) == (one.source_key_file is None),
            "source_cert_file and source_key_file go together",
        ),
        (
            (one.store_cert_file is None) == (one.store_key_file is None),
            "store_cert_file and store_key_file go together",
        ),
    )


def _paging(one: Settings) -> tuple[tuple[bool, str], ...]:
    """What must hold of the receivers of pages, and of the addresses that pages go to and link to."""
    return (
        (
            one.fallback != "slack" or given(one.slack_token_file, "slack_token"),
            "fallback slack needs slack_token_file (or KILLSWITCH_SLACK_TOKEN)",
        ),
        (
            one.fallback != "pagerduty" or given(one.pagerduty_key_file, "pagerduty_key"),
            "fallback pagerduty needs pagerduty_key_file (or KILLSWITCH_PAGERDUTY_KEY)",
        ),
        *(
            (
                not given(getattr(one, f"{name}_file"), name) or given(one.slack_token_file, "slack_token"),
                f"{name}_file (or KILLSWITCH_{name.upper()}) needs slack_token_file (or KILLSWITCH_SLACK_TOKEN) too",
            )
            for name in ("slack_app_token", "slack_signing_secret")
        ),
        (
            is_plain_address(one.slack_base_url),
            "slack_base_url: write http(s)://host/path/, without user, query and fragment",
        ),
        (
            is_plain_address(one.pagerduty_url),
            "pagerduty_url: write http(s)://host/path, without user, query and fragment",
        ),
        (
            one.public_url is None or is_plain_address(one.public_url),
            "public_url: write http(s)://host or http(s)://host/path, without user, query and fragment",
        ),
        (
            one.grafana_url is None or is_plain_address(one.grafana_url),
            "grafana_url: write http(s)://host/d/killswitch, without user, query and fragment",
        ),
        (
            one.fallback != "webhook" or given(one.webhook_url_file, "webhook_url"),
            "fallback webhook needs webhook_url_file (or KILLSWITCH_WEBHOOK_URL)",
        ),
    )


def without_secrets(url: str) -> str:
    """The URL without user info, query and fragment, where someone may have put a secret."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    shown, *hidden = re.split(r"[?#]", rest.rpartition("@")[2], maxsplit=1)
    return f"{scheme}{separator}{shown}{'?[hidden]' if hidden else ''}"


def load_settings(file: Path | None = None, **flags: object) -> Settings:
    """Settings from file, environment and flags (None: not given). Raises BadSettings with every problem."""
    values = _from_file(file) if file is not None else {}
    values.update(
        {
            name: os.environ[variable]
            for name in Settings.model_fields
            if (variable := f"KILLSWITCH_{name.upper()}") in os.environ
        }
    )
    values.update({name: value for name, value in flags.items() if value is not None})
    problems = [f"{name} is not a setting; `killswitch run --help` lists them" for name in _unknown_variables()]
    try:
        settings = Settings(**values)
    except ValidationError as error:
        details = [dict(detail) for detail in error.errors(include_url=False, include_input=False)]
        problems += [problem for detail in details for problem in _problems(detail)]
        problems += _other_problems(values, {str(loc[0]) for detail in error.errors() if (loc := detail["loc"])})
    if problems:
        raise BadSettings(problems)
    return settings


def _unknown_variables() -> list[str]:
    """A misspelled variable would silently cost a page, so it is refused; what others set in our name is not."""
    return [
        name
        for name in os.environ
        if name.startswith("KILLSWITCH_")
        and name.removeprefix("KILLSWITCH_").lower() not in Settings.model_fields
        and not _NOT_OURS.match(name)
    ]


def _problems(detail: Mapping[str, Any]) -> list[str]:
    where = ".".join(str(part) for part in detail["loc"])
    said = refused_value(detail)
    return [f"{where}: {said}"] if where else said.split("; ")


def _other_problems(values: Mapping[str, Any], wrong: set[str]) -> list[str]:
    """What does not fit together among the other settings: pydantic asks that only when each one is right."""
    if not wrong:
        return []
    right = {name: Settings.model_fields[name].get_default() for name in wrong if name in Settings.model_fields}
    try:
        Settings(**{**values, **right})
    except ValidationError as error:
        details = [dict(detail) for detail in error.errors(include_url=False, include_input=False)]
        return [problem for detail in details if not detail["loc"] for problem in _problems(detail)]
    return []


def _from_file(file: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415  # only where a file is used

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadSettings([f"settings file {file} cannot be read ({why}); name a YAML file of settings"]) from error
    if not isinstance(document, dict):
        raise BadSettings([f"settings file {file}: write a mapping of settings, one a line"])
    unknown = [
        f"settings file {file}: {name!r} is not a setting" for name in document if name not in Settings.model_fields
    ]
    if unknown:
        raise BadSettings(unknown)
    # a bare number is refused as everywhere else, with a decimal point too
    return {name: str(value) if isinstance(value, float) else value for name, value in document.items()}
