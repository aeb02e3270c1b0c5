"""The keys of a rule file, as pydantic models whose descriptions are also the documentation.

Each value is read by a reader of ``values``; pydantic checks the structure (unknown and missing keys,
mappings). What depends on several keys, such as the unit that a limit needs, is checked in ``building``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from killswitch.model import Decide, Mode, PageSettings
from killswitch.page_addresses import SILENT, PageAddresses
from killswitch.rules.alert_keys import AlertsSpec, alerts_by_action
from killswitch.rules.drill_keys import DrillSpec
from killswitch.rules.page_keys import MailAddresses, OpsgenieName, Receivers, TeamsName
from killswitch.rules.plan_keys import PlanSpec, plan_by_name
from killswitch.rules.presets import DEFAULT_PRESET
from killswitch.rules.slack_values import SlackAllow
from killswitch.rules.slow_schema import SlowSpec
from killswitch.rules.strict import Strict
from killswitch.rules.values import (
    BucketUnit,
    Budget,
    Bursts,
    CapPeriod,
    CapScope,
    Channel,
    CriteriaLimits,
    Deciding,
    Duration,
    KeepFor,
    KeptText,
    KeyName,
    LabelName,
    Limit,
    Link,
    Matchers,
    Mention,
    MetricName,
    Money,
    OneSelector,
    OnHard,
    PresetName,
    PricesFile,
    Quantile,
    Query,
    Ratio,
    Requests,
    RolloutName,
    Running,
    Selectors,
    Severity,
    SignalUnit,
    Switch,
    Text,
    Ticks,
    WhenBlind,
    Window,
)

# how a rollout is judged if its file does not say
DEFAULT_DECIDE = Decide.EVIDENCE
DEFAULT_RULES: Mapping[str, Mapping[str, str | float]] = {
    "error_rate": {"max": "2%"},
    "latency_p95": {"max_ratio": 1.5},
    "refusal_rate": {"max_increase": "5pp"},
    "thumbs_down_rate": {"max_ratio": 2.0},
}

NAME_PATTERN = r"[a-z][a-z0-9_]{0,62}"
MAX_RULES = 50
MAX_CAPS = 50


def _preset_by_name(value: object) -> object:
    return {"preset": value} if isinstance(value, str) else value


class CohortQueries(Strict):
    """A free PromQL query for each cohort, which yields one number."""

    control: Query = Field(description="PromQL for control")
    canary: Query = Field(description="PromQL for the canary")


class CohortsSpec(Strict):
    """The labels that tell the two cohorts' series apart."""

    control: Matchers = Field(description="matchers of control's series", examples=[{"model": "a"}])
    canary: Matchers = Field(description="matchers of the canary's series", examples=[{"model": "b"}])


class RuleSpec(Strict):
    """A signal and its limit. The canary is over the limit if it is over every bound of the rule."""

    max: Limit = Field(
        None,
        description="over this, and worse than control; a percent for rates, a duration for latency",
        examples=["2%", "3s"],
    )
    max_increase: Limit = Field(
        None,
        description="over control's value plus this; percentage points for rates, a duration for latency",
        examples=["5pp", "500ms"],
    )
    max_ratio: Ratio = Field(None, description="over control's value times this; more than 1", examples=[1.5])
    floor: Limit = Field(
        None,
        description="and above this; only with max_increase or max_ratio; units as for max",
        examples=["0.5%"],
    )
    even_if_control_is_bad: Switch = Field(
        False,
        description="`max` alone decides, even if control is as bad: trips though routing to control may not help",
    )
    for_: Ticks = Field(
        None, alias="for", description="ticks in a row the canary must be over (`decide: threshold` only)", examples=[2]
    )
    delay: Duration = Field(
        None,
        description="how long after its request feedback may come; default 5m for thumbs_down_rate, else 0s",
        examples=["5m"],
    )
    absent_is_zero: Switch = Field(
        False,
        description="a missing events counter counts as zero, not as UNKNOWN(NEVER_SEEN)",
    )
    events: Selectors = Field(
        None, description="counters of what is bad, for a signal of your own", examples=['my_errors_total{code=~"5.."}']
    )
    trials: Selectors = Field(
        None, description="counters of all requests; the preset's when left out", examples=["my_requests_total"]
    )
    per: LabelName = Field(
        None,
        description="a label of the counters that names the user: the rule then judges how many users met an event, "
        "out of those who were active (rates; `decide: evidence` only)",
        examples=["end_user"],
    )
    histogram: OneSelector = Field(
        None, description="a classic histogram, for a quantile of your own", examples=["my_latency_seconds"]
    )
    quantile: Quantile = Field(None, description="which quantile of `histogram`", examples=[0.95])
    query: CohortQueries | None = Field(
        None, description="a free PromQL query per cohort; always judged by the bare comparison"
    )
    unit: SignalUnit = Field(
        None,
        description="of `histogram`: seconds or milliseconds (known from names ending in _seconds or _ms); "
        "of `query`: number (default), percent (the query yields a fraction) or seconds",
    )
    cohorts: CohortsSpec | None = Field(None, description="replaces the rollout's cohorts for this rule")


class MetricsSpec(Strict):
    """Where the standard signals come from: a preset, metrics of your own, or a preset with changes."""

    preset: PresetName = Field(None, description="the preset; without it, only the metrics named here are used")
    requests: Selectors = Field(None, description="counters of all requests", examples=["my_requests_total"])
    errors: Selectors = Field(
        None,
        description="counters of failed requests; `{matchers}` alone narrows the counters of requests",
        examples=['{outcome=~"error|timeout"}'],
    )
    refusals: Selectors = Field(None, description="counters of refusals", examples=["llm_refusals_total"])
    thumbs_down: Selectors = Field(None, description="counters of thumbs-down", examples=["llm_thumbs_down_total"])
    latency: OneSelector = Field(None, description="the latency histogram", examples=["my_latency_seconds"])
    latency_unit: BucketUnit = Field(
        None, description="unit of `latency`'s buckets; known from names ending in _seconds or _ms"
    )
    metric: MetricName = Field(
        None,
        description="the duration histogram's base name (opentelemetry-genai, envoy-ai-gateway)",
        examples=["gen_ai_client_inference_duration_seconds"],
    )


class PageSpec(Strict):
    """Who is paged, and what the page links to."""

    slack: Channel = Field(
        None, description="a Slack channel, in quotes (else # begins a comment)", examples=["#llm-oncall"]
    )
    slack_allow: SlackAllow = Field(
        (),
        description="who may press the buttons in Slack and type `/killswitch trip`: ids of people and of user groups; "
        "without it, no one may",
        examples=[["U012AB3CD", "S012AB3CD"]],
    )
    pagerduty: KeyName = Field(
        None,
        description="the name of a PagerDuty key, as in the file of `pagerduty_team_keys_file`; "
        "without it, the default key of `pagerduty_key_file`",
        examples=["search"],
    )
    opsgenie: OpsgenieName = Field(
        None,
        description="the name of an Opsgenie key, as in the file of `opsgenie_team_keys_file`; "
        "without it, the key of `opsgenie_key_file`",
        examples=["search"],
    )
    teams: TeamsName = Field(
        None,
        description="the name of a Teams channel, as in the file of `teams_urls_file`; "
        "without it, the channel of `teams_url_file`",
        examples=["search"],
    )
    email: MailAddresses = Field(
        (), description="who gets mail; without it, the addresses of `email_to`", examples=[["oncall@example.org"]]
    )
    receivers: Receivers = Field(
        (),
        description="by severity, which receivers get such pages, `[]` for none; all of them get the severities that "
        "are not named. What continues a page goes where that page went",
        examples=[{"critical": ["slack", "pagerduty"], "warning": ["slack"], "info": []}],
    )
    mention: Mention = Field(
        None,
        description="mentioned in the Slack message itself, so that a phone rings: a user, a group, or <!here>",
        examples=["<!subteam^S012AB3CD>"],
    )
    severity: Severity = Field("critical", description="the severity of the page")
    runbook: Link = Field(None, description="a link to what to do", examples=["https://wiki.example.org/canary"])
    dashboard: Link = Field(None, description="a link to where to look", examples=["https://grafana.example.org/d/llm"])

    @property
    def rings(self) -> bool:
        """Whether a critical page makes a phone ring: by a mention, or by a service for people on call."""
        return any(name is not None for name in (self.mention, self.pagerduty, self.opsgenie))

    @property
    def loses(self) -> bool:
        """Whether the pages of this severity, a trip's among them, are routed to no one."""
        route = dict(self.receivers).get(self.severity)
        return route is not None and not {*route} - SILENT

    def settings(self) -> PageSettings:
        values = self.model_dump()
        addresses = {name: values.pop(name) for name in ("email", "teams", "opsgenie", "receivers")}
        return PageSettings(**values, addresses=PageAddresses(**addresses))


class ShadowSpec(Strict):
    """In stage `shadow` the rules compare shadow requests, whose answers no user gets, with control's requests."""

    cohort: Matchers = Field(
        (),
        description="matchers of the shadow requests' series; default: `cohort: shadow` where the canary's matchers "
        "say `cohort: canary`",
        examples=[{"deployment": "shadow"}],
    )
    criteria: CriteriaLimits = Field(
        {},
        description="what the canary must show before any user sees it: limits by criterion, `false` for off; "
        "what is not named keeps its default",
        examples=[{"errors": "1pp", "win_rate": True}],
    )
    keep_text: KeptText = Field(
        "never",
        description="whether the record keeps prompts and answers: `never`, or `differences` (only of pairs that "
        "differ materially)",
    )
    keep_text_for: KeepFor = Field(
        "7d",
        validate_default=True,
        description="how long the record keeps such texts; 1s to 366d",
        examples=["7d"],
    )


class SpendCapSpec(Strict):
    """How much one scope may spend in a period of UTC. Control can never be capped."""

    scope: CapScope = Field(
        description="`rollout` (the canary's requests), `shadow`, `judge`, or `project:NAME`, which several rollouts "
        "may spend from and one file caps",
        examples=["rollout", "project:eval"],
    )
    per: CapPeriod = Field(description="`hour`, `day` or `month`; each begins and ends in UTC", examples=["day"])
    soft: Money = Field(None, description="over it a person is paged; less than `hard`", examples=["$40"])
    hard: Money = Field(
        None, description="the shadow or the judge is off until the period ends; for `rollout` see `on_hard`",
        examples=["$50"],
    )  # fmt: skip
    on_hard: OnHard = Field(
        "hold",
        description="only for `rollout`: `hold` pages, and the canary keeps its traffic; `trip` ends its traffic",
    )


class SpendSpec(Strict):
    """What the rollout may spend, and what tokens cost. How it is counted: docs/spend.md."""

    prices: PricesFile = Field(
        None,
        description="the file of prices, relative to this file; next to rule files it is named `.json`, because every "
        "`.yaml` there is a rule file",
        examples=["prices.json"],
    )
    caps: tuple[SpendCapSpec, ...] = Field(
        (), description="the caps", examples=[[{"scope": "shadow", "per": "day", "hard": "$20"}]]
    )


class RuleFile(Strict):
    """One rollout: its names, its rules, and how they are judged."""

    rollout: RolloutName = Field(description="the rollout's name, as in its flag", examples=["support-copilot"])
    control: Text = Field(
        description="the model that serves today, or a slot of a role, which is read when the rollout is armed",
        examples=["model-old", "role:support.prod"],
    )
    canary: Text = Field(
        description="the model on trial, or a slot of the same role (docs/roles.md)",
        examples=["model-new", "role:support.candidate"],
    )
    metrics: Annotated[MetricsSpec, BeforeValidator(_preset_by_name)] = Field(
        default_factory=lambda: MetricsSpec(preset=DEFAULT_PRESET),
        description=f"where the signals come from: a preset's name (default {DEFAULT_PRESET}) or a mapping",
        examples=[DEFAULT_PRESET],
    )
    match: Matchers = Field(
        (), description="label matchers added to every query of this rollout", examples=[{"service": "copilot"}]
    )
    cohorts: CohortsSpec | None = Field(
        None, description="the labels that tell the cohorts' series apart; default: the preset's"
    )
    rules: dict[str, RuleSpec] | None = Field(
        None, description="the rules; default: those of the four below whose metrics exist"
    )
    window: Window = Field(
        "5m",
        validate_default=True,
        description="the window of values on pages and in status, and of `decide: threshold`; 1s to 1d",
        examples=["5m"],
    )
    min_requests: Requests = Field(
        100,
        description="that each cohort needs in a window; below it UNKNOWN(TOO_FEW_REQUESTS)",
        examples=[100],
    )
    decide: Deciding = Field(
        DEFAULT_DECIDE.value,
        validate_default=True,
        description="`evidence`: accumulated, with a bound on false trips; `threshold`: the bare comparison",
    )
    for_: Ticks = Field(
        None, alias="for", description="ticks in a row, for every rule (`decide: threshold` only; default 1)"
    )
    false_trips: Budget = Field(
        "1% per day",
        validate_default=True,
        description="the chance of tripping a canary within its limits, all rules together (`decide: evidence`)",
        examples=["1% per day"],
    )
    bursts: Bursts = Field(
        "auto",
        description="`long` is slower and allows for bursts that last minutes; `short` never does; `auto` is long "
        "if control's past shows such bursts (`decide: evidence`)",
    )
    when_blind: WhenBlind = Field(
        "hold",
        validate_default=True,
        description="without usable metrics: `hold` traffic as it is, or trip with `{trip_after: 10m}`",
        examples=["hold", {"trip_after": "10m"}],
    )
    mode: Running = Field(
        Mode.ENFORCE.value,
        validate_default=True,
        description="`enforce` trips; `dry_run` judges and records, and reports what it would have tripped",
    )
    page: PageSpec = Field(default_factory=PageSpec, description="who is paged")
    shadow: ShadowSpec = Field(default_factory=ShadowSpec, description="stage `shadow`: what is judged and kept")
    spend: SpendSpec = Field(default_factory=SpendSpec, description="what may be spent, and what tokens cost")
    plan: Annotated[PlanSpec | None, BeforeValidator(plan_by_name)] = Field(
        None,
        description="how the rollout goes up: `default`, or a mapping; without it, only a person changes the stage",
        examples=["default"],
    )
    slow: SlowSpec | None = Field(None, description="signals that arrive days later")
    alerts: Annotated[AlertsSpec | None, BeforeValidator(alerts_by_action)] = Field(
        None,
        description="alerts of an Alertmanager that hold or trip the rollout: `hold`, `trip`, or a mapping "
        "(docs/alerts-in.md)",
        examples=["trip"],
    )
    drill: DrillSpec = Field(default_factory=DrillSpec, description="rehearsals of a trip, and when they are made")
