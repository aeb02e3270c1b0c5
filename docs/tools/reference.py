"""Writes the reference pages of settings, commands, metrics, kinds of pages and chart values from the code.

``python -m docs.tools.reference`` in the repository's root writes them. With ``--check`` it says whether they are
current (exit 1 if not), which a unit test asks, too.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from docs.tools import chart
from killswitch.cli.app import COMMANDS, imported
from killswitch.daemon.settings import Settings
from killswitch.generated_files import write_or_check
from killswitch.pages.page import PageKind
from killswitch.status.flag_metrics import FlagMetrics
from killswitch.status.rule_metrics import MAX_RULES, RuleMetrics
from killswitch.status.self_metrics import SelfMetrics

COMMAND = "python -m docs.tools.reference"
WIDTH = 120
RUNBOOK = Path("docs/runbook.md")

EXIT_CODES = {
    0: "done",
    1: "you said no, or what was asked is not so (`test`, `doctor`, `backtest`, `ready`; `shadow report`: NO_GO)",
    2: "something must be fixed first; the message says what",
    3: "not yet, try again: a server did not answer, or `shadow report` needs more pairs",
}

# The settings by subject; a test holds that each is in one of them.
SETTINGS: dict[str, tuple[str, ...]] = {
    "What it watches": ("rules", "roles", "source", "store", "controller_id"),
    "Timing": (
        "interval", "lag", "scrape_interval", "cycle_deadline", "store_timeout", "trip_timeout", "max_evidence_age",
        "session_ttl", "claim_ttl", "fallback_after",
    ),
    "Access to the metric store": (
        "source_user", "source_password_file", "source_bearer_file", "source_headers_file", "source_ca_file",
        "source_cert_file", "source_key_file", "scrape_file",
    ),
    "Access to the flag store": (
        "store_user", "store_password_file", "store_ca_file", "store_cert_file", "store_key_file",
    ),
    "Receivers of pages": (
        "slack_token_file", "slack_app_token_file", "slack_signing_secret_file", "slack_base_url",
        "webhook_url_file", "webhook_secret_file",
        "webhook_previous_secret_file", "pagerduty_key_file", "pagerduty_team_keys_file", "pagerduty_url",
        "opsgenie_key_file", "opsgenie_team_keys_file", "opsgenie_url", "teams_url_file", "teams_urls_file",
        "smtp_url", "smtp_user", "smtp_password_file", "smtp_ca_file", "email_from", "email_to",
        "alertmanager_urls", "alertmanager_interval", "alertmanager_user", "alertmanager_password_file",
        "alertmanager_bearer_file", "alertmanager_ca_file", "alertmanager_cert_file", "alertmanager_key_file",
        "console_pages", "fallback", "public_url", "grafana_url", "heartbeat_url_file",
    ),
    "The HTTP port and the log": ("listen", "host_names", "api_token_file", "alerts_token_file", "log_format"),
}  # fmt: skip


SECRETS = tuple(
    f"KILLSWITCH_{name}"
    for name in (
        "SLACK_TOKEN", "PAGERDUTY_KEY", "WEBHOOK_URL", "STORE_PASSWORD", "SOURCE_PASSWORD", "SOURCE_BEARER",
        "API_TOKEN", "ALERTS_TOKEN", "HEARTBEAT_URL", "OPSGENIE_KEY", "TEAMS_URL", "SMTP_PASSWORD",
        "WEBHOOK_SECRET", "WEBHOOK_PREVIOUS_SECRET", "ALERTMANAGER_PASSWORD", "ALERTMANAGER_BEARER",
    )
)  # fmt: skip


def note() -> list[str]:
    return [f"<!-- Generated: `{COMMAND}`. Change the code's descriptions, not this file. -->", ""]


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |"
    yield ""


def settings_page() -> Iterator[str]:
    yield from ("# Settings", "", *note())
    yield from wrapped(
        "A setting comes from, in rising order: a YAML file (`killswitch run --settings FILE`, or "
        "`KILLSWITCH_SETTINGS`), the environment variable `KILLSWITCH_<NAME>`, a flag of `killswitch run`. In the YAML "
        "file the name is written in small letters, as here. Timing that cannot work, a misspelled variable and an "
        "unknown key are refused at start, with every problem at once. `KILLSWITCH_URL` is of `status` and `explain` "
        "alone: the address of a controller, if it is not `http://127.0.0.1:8080`."
    )
    yield ""
    yield from wrapped(
        "A secret is never a setting: the setting names the file that holds it, which is read again when it changes. "
        f"Instead of the file, these variables may hold the secret itself: {', '.join(f'`{one}`' for one in SECRETS)}. "
        "A duration has a unit: `30s`, `5m`."
    )
    yield ""
    for title, names in SETTINGS.items():
        yield from (f"## {title}", "")
        rows = []
        for name in names:
            field = Settings.model_fields[name]
            rows.append((f"`{name}`", _default(field.default), field.description or ""))
        yield from table(("setting", "default", "what it is"), rows)
    yield from ("## What must fit together", "")
    yield from (f"- {text}" for text in TOGETHER)


# What is refused, each with settings that break it; a test tries them.
TOGETHER: dict[str, dict[str, str]] = {
    "`lag` is shorter than `interval`.": {"lag": "30s"},
    "`cycle_deadline + lag` is at most `interval`.": {"cycle_deadline": "26s"},
    "`scrape_interval` is at most two intervals.": {"scrape_interval": "61s"},
    "`trip_timeout` is at most `store_timeout`.": {"trip_timeout": "5001ms", "session_ttl": "20s"},
    "`session_ttl` is at least three `trip_timeout`.": {"session_ttl": "5s"},
    "`max_evidence_age` is more than `session_ttl + cycle_deadline + lag`.": {"max_evidence_age": "30s"},
    "A user and a password are given together.": {"store_user": "canary"},
    "A certificate and its key are given together.": {"source_cert_file": "cert.pem"},
    "`source_user` and `source_bearer_file` exclude each other.": {
        "source_user": "canary", "source_password_file": "password", "source_bearer_file": "bearer",
    },
    "`fallback` names a receiver that is switched on.": {"fallback": "slack"},
    "`smtp_url` needs `email_from`.": {"smtp_url": "smtp://mail.example.org"},
    "`alertmanager_interval` is 1s to 3m.": {"alertmanager_interval": "4m"},
    "A previous webhook secret needs a new one.": {"webhook_previous_secret_file": "secret"},
}  # fmt: skip


def _default(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}s`"
    return f"`{value}`"


def commands_page() -> Iterator[str]:
    yield from ("# Commands", "", *note())
    yield from wrapped(
        "`killswitch COMMAND --help` says the same. Commands that change traffic say what will change and ask; `--yes` "
        "answers for scripts. `--json` prints one JSON document."
    )
    yield from ("", "## Exit codes", "")
    yield from table(("exit code", "means"), [(str(code), text) for code, text in EXIT_CODES.items()])
    for name, short in COMMANDS.items():
        command = imported(name)
        yield from (f"## `{name}`", "")
        for paragraph in inspect.cleandoc(command.help or short).split("\n\n"):
            # a list line by line, which only `run` has: its settings
            listed = paragraph.startswith("\b")
            yield from ("All of them: [Settings](settings.md).", "") if listed else (*wrapped(paragraph), "")
        rows = [_parameter(one) for one in command.params if not one.hidden and one.name != "help"]
        if rows:
            yield from table(("option", "what it is"), rows)


def _parameter(one: Any) -> tuple[str, str]:
    if one.param_type_name == "argument":
        said = one.help or ""
        return f"`{one.name.upper()}`", said if one.required else f"{said} May be left out.".strip()
    names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
    default = one.show_default if isinstance(one.show_default, str) else ""
    if not default and not isinstance(one.default, bool) and one.default is not None and not callable(one.default):
        default = str(one.default)
    return names, f"{one.help or ''}{f' Default: {default}.' if default else ''}"


def metrics_page() -> Iterator[str]:
    yield from ("# Metrics", "", *note())
    yield from wrapped(
        "What the daemon exposes at `/metrics`, for dashboards and alerts. Alerts for it are in "
        "[deploy/helm/files/alerts.yaml](../deploy/helm/files/alerts.yaml), a dashboard for Grafana in "
        "[deploy/grafana](../deploy/grafana/README.md). "
        "Metrics that the router SDK exposes in your own service are in [the router](router.md#what-is-counted)."
    )
    yield ""
    yield from METRICS_NOTES
    yield from ("", "## Rules", "")
    yield from ("One series for each rollout and rule; `cohort` is `canary` or `control`.", "")
    header = ("name", "labels", "what it is")
    rules = [(one.name, one._labelnames, one.type, one.documentation) for one in RuleMetrics().describe()]  # noqa: SLF001
    yield from table(header, map(_metric, rules))
    yield from PROMQL
    yield from ("", "## Flags", "")
    yield from ("When things happened, for marks on a dashboard: the value is the time.", "")
    flags = [(one.name, one._labelnames, one.type, one.documentation) for one in FlagMetrics().describe()]  # noqa: SLF001
    yield from table(header, map(_metric, flags))
    yield from ("## Everything else", "")
    own = [one for one in vars(SelfMetrics("1")).values() if isinstance(one, MetricWrapperBase)]
    yield from table(
        header,
        (_metric((one._name, one._labelnames, one._type or "", one._documentation)) for one in own),  # noqa: SLF001
    )


def _metric(one: tuple[str, Sequence[str], str, str]) -> tuple[str, str, str]:
    name, labels, kind, said = one
    said_of_labels = ", ".join(labels).replace("verdict", "verdict (HEALTHY, SUSPECT, BREACH, UNKNOWN)")
    return f"`{name}{'_total' if kind == 'counter' else ''}`", said_of_labels, f"{kind}. {said}"


METRICS_NOTES = f"""\
- The page is made at most every half second, however many ask, and takes at most a fifth of one processor. With 1,000
  rollouts a scrape may therefore be a few seconds old.
- What is not known has no series: a rule that is UNKNOWN has a verdict and no value. While flags cannot be read, the
  gauges of flags are NaN (the table says which); no other sample is NaN, and none is infinite.
- `killswitch_rule_…` has at most 11 series a rule, for at most {MAX_RULES:,} rules. With more, the rollouts last by
  name have none, and `killswitch_rules_not_exported` counts their rules.
- Every replica exposes its own view. Ask `max by (rollout, rule, …)`, or one replica.
""".splitlines()

PROMQL = """\
Evidence in percent of what a trip needs, on a logarithmic scale as the status page shows it:

```promql
100 * ln(max by (rollout, rule) (killswitch_rule_evidence))
  / ln(max by (rollout, rule) (killswitch_rule_evidence_needed))
```

Rules that are over their limit and not proven yet:

```promql
max by (rollout, rule) (killswitch_rule_verdict{verdict="SUSPECT"}) == 1
```
""".splitlines()


def kinds_page(runbook: str) -> Iterator[str]:
    """Each kind of page with the first sentence of its section of the runbook; that is where it is written."""
    yield from ("# Kinds of pages", "", *note())
    yield from wrapped(
        "The last line of a page names its kind; in JSON it is `kind`. The link goes to its section of the runbook: "
        "what it means, what to check, what to do."
    )
    yield ""
    yield from table(
        ("kind", "means"),
        [(f"[{kind.value}](runbook.md#{kind.value.lower()})", _meaning(runbook, kind)) for kind in PageKind],
    )


def _meaning(runbook: str, kind: PageKind) -> str:
    found = re.search(rf"^### {kind.value}\n\n\*\*Means:\*\* (.+?)\.(?=\s)", runbook, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"{RUNBOOK} has no section '### {kind.value}' that begins with **Means:**")
    text = " ".join(found[1].split())
    return text[0].upper() + text[1:] + "."


def pages() -> dict[Path, str]:
    made = {
        Path("docs/settings.md"): settings_page(),
        Path("docs/commands.md"): commands_page(),
        Path("docs/metrics.md"): metrics_page(),
        Path("docs/page-kinds.md"): kinds_page(RUNBOOK.read_text("utf-8")),
    }
    return {path: "\n".join(lines).rstrip() + "\n" for path, lines in made.items()} | chart.pages()


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` compare; the exit code."""
    return write_or_check(pages(), command=COMMAND, check="--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
