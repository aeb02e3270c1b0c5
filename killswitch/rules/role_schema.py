"""The keys of a role file, as pydantic models whose descriptions are also the documentation."""

from __future__ import annotations

from pydantic import Field

from killswitch.rules.role_values import (
    AnsweredNames,
    AnswerSchema,
    CallTimeout,
    EndpointUrl,
    EvidenceAge,
    Fence,
    FileName,
    KeyFile,
    LabelPlace,
    OutputTokens,
    Parameters,
    Provider,
    RoleName,
    Share,
    SystemPrompt,
    Times,
    UserShare,
    Wrongness,
)
from killswitch.rules.schema import PageSpec
from killswitch.rules.strict import Strict
from killswitch.rules.values import Money, RolloutName, Switch

MAX_MODELS = 100


class RoleModelSpec(Strict):
    """Where one model is asked, if elsewhere.

    With a `provider` or `url` of its own it has only its own `key_file`, `ca_file` and `proxy`.
    """

    provider: Provider | None = Field(None, description="instead of the role's")
    url: EndpointUrl = Field(None, description="instead of the role's")
    key_file: KeyFile = Field(None, description="instead of the role's")
    ca_file: FileName = Field(None, description="instead of the role's")
    proxy: EndpointUrl = Field(None, description="instead of the role's")
    parameters: Parameters | None = Field(None, description="instead of the role's, all of them")
    answers_as: AnsweredNames = Field(
        (),
        description="other ids that its answers may name, for a gateway that has names of its own; an answer of any "
        "other model keeps the gate from passing",
        examples=[["gpt-5-2025-08-07"]],
    )


class BarsSpec(Strict):
    """What a candidate must reach. A share is `99%` or `0.99`, a ratio `1.3`."""

    schema_: Share = Field(
        0.99, alias="schema", description="least share of answers that keep the schema", examples=["99%"]
    )
    agreement: Share = Field(0.95, description="least share of rows on which it says what prod says", examples=["95%"])
    latency: Times = Field(1.3, description="most that its p95 may be, times prod's", examples=[1.3])
    cost: Times = Field(1.05, description="most that a call may cost, times prod's; above it a person must approve")
    wrong: Wrongness = Field(
        "5%",
        validate_default=True,
        description="the chance that a run may pass a candidate at a bar, or fail one at prod's own level",
    )


class RoleWatchSpec(Strict):
    """After a promotion, the rollout that compares the new prod with the previous model."""

    rollout: RolloutName = Field(description="its rule file's rollout", examples=["support-watch"])
    percent: UserShare = Field(
        "99%", validate_default=True, description="users who get the new prod; the others get the previous model"
    )
    shadow_rollout: RolloutName | None = Field(None, description="a rollout that shadows the previous model")
    shadow_percent: UserShare = Field(
        "5%", validate_default=True, description="requests that the previous model answers as well, unseen"
    )


class RoleFile(Strict):
    """One role: how its models are asked, what they must answer, and the bars of its gate."""

    role: RoleName = Field(description="the role's name, as production code asks for it", examples=["review_triage"])
    provider: Provider = Field(
        description="`openai` (and all that speak its protocol), `anthropic`, `gemini`, `litellm`, or "
        "`module:function` of your own",
        examples=["openai", "my_service.models:ask"],
    )
    url: EndpointUrl = Field(
        None, description="the API's base; default: the provider's own", examples=["https://llm.example.org/v1"]
    )
    key_file: KeyFile = Field(
        None,
        description="a file with the API key, read again when it changes; default: the variable that the provider's "
        "SDK reads, such as OPENAI_API_KEY",
        examples=["/run/secrets/openai"],
    )
    ca_file: FileName = Field(None, description="PEM file of the authorities that sign the server's certificate")
    proxy: EndpointUrl = Field(
        None,
        description="an HTTP proxy for these calls; the environment's is not used",
        examples=["http://proxy.example.org:3128"],
    )
    parameters: Parameters = Field(
        {},
        description="sent with each request, as production sends them. One that a model refuses is left out, and the "
        "report says so",
        examples=[{"temperature": 0}],
    )
    models: dict[str, RoleModelSpec] = Field(
        {},
        description="models that are asked elsewhere or with other parameters, by id",
        examples=[{"claude-haiku-4-5-20251001": {"provider": "anthropic", "key_file": "/run/secrets/anthropic"}}],
    )
    system: SystemPrompt = Field(
        None, description="the system prompt: a text, or `{file: …}` relative to this file", examples=["Sort reviews."]
    )
    schema_: AnswerSchema = Field(
        None,
        alias="schema",
        description="the JSON Schema of an answer, or `{file: …}`; without it any text will do",
        examples=[{"file": "triage.schema.json"}],
    )
    label: LabelPlace = Field(
        "$.label",
        description="where the label is in an answer; `$` is the whole answer, and the default without a schema",
        examples=["$.label", "$.tags[0]"],
    )
    fences: Fence = Field(
        "refused",
        description="`allowed`: JSON inside one Markdown fence keeps the schema as well, because your code removes it",
    )
    max_output_tokens: OutputTokens = Field(1024, description="of one answer, reasoning included")
    timeout: CallTimeout = Field("60s", validate_default=True, description="for one attempt, in total; 1s to 10m")
    bars: BarsSpec = Field(default_factory=BarsSpec, description="what a candidate must reach")
    golden: FileName = Field(
        None, description="the golden set, relative to this file", examples=["golden/review_triage.jsonl"]
    )
    prices: FileName = Field(
        None,
        description="the file of prices, relative to this file; next to role files it is named `.json`",
        examples=["prices.json"],
    )
    retirements: FileName = Field(
        None, description="the file of retirement dates, relative to this file", examples=["retirements.json"]
    )
    max_per_day: Money = Field(
        None, description="a hard cap in the spend ledger for gate runs and samples in a day of UTC", examples=["$5"]
    )
    max_evidence_age: EvidenceAge = Field(
        "7d", validate_default=True, description="no promotion rests on an older run; 1m to 90d"
    )
    probe: Switch = Field(True, description="whether its models are asked for one token a day, to see that they answer")
    watch: RoleWatchSpec | None = Field(None, description="what is compared after a promotion")
    page: PageSpec = Field(default_factory=PageSpec, description="who is paged")
