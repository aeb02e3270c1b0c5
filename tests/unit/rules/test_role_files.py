"""Role files: what they say, and every error at once with file, line and fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.errors import BadRules
from killswitch.roles.bars import Bars
from killswitch.roles.config import RoleConfig, RoleEndpoint, RoleWatch
from killswitch.rules.role_files import load_role_text, load_roles, read_roles

HEAD = "role: review_triage\nprovider: openai\n"
WHOLE = """\
role: review_triage
provider: openai
url: https://llm.example.org/v1
key_file: /run/secrets/openai
ca_file: ca.pem
proxy: http://proxy.example.org:3128
parameters: {temperature: 0, stop: null, response_format: {type: json_object}}
models:
  gemini-2.5-flash: {provider: gemini, key_file: /run/secrets/gemini, parameters: {}}
  gpt-4o-2024-08-06: {parameters: {temperature: 1}}
system: {file: prompt.md}
schema: {file: answer.json}
label: $.labels[0]
fences: allowed
max_output_tokens: 300
timeout: 20s
bars: {schema: 98%, agreement: 0.9, latency: 2, cost: 1, wrong: 1%}
golden: golden/triage.jsonl
prices: prices.json
retirements: retirements.json
max_per_day: $5
max_evidence_age: 2d
probe: false
watch: {rollout: triage-watch, percent: 95%, shadow_rollout: triage-shadow, shadow_percent: 10%}
page: {slack: "#llm", mention: "<!here>"}
"""


def problems(text: str, folder: Path = Path()) -> list[str]:
    with pytest.raises(BadRules) as refused:
        load_role_text(text.encode(), name="f.yaml", folder=folder)
    return list(refused.value.problems)


def test_a_whole_role_file_is_read(tmp_path: Path) -> None:
    """Files are relative to the role file; system prompt and schema are read with it."""
    (tmp_path / "prompt.md").write_text("Sort reviews.\n")
    (tmp_path / "answer.json").write_text('{"type": "object", "required": ["labels"]}')
    (tmp_path / "triage.yaml").write_text(WHOLE)
    (role,) = load_roles(tmp_path).values()
    assert role.name == "review_triage"
    assert role.endpoint == RoleEndpoint(
        provider="openai",
        url="https://llm.example.org/v1",
        key_file=Path("/run/secrets/openai"),
        ca_file=tmp_path / "ca.pem",
        proxy="http://proxy.example.org:3128",
        parameters={"temperature": 0, "stop": None, "response_format": {"type": "json_object"}},
    )
    assert (role.system, role.schema) == ("Sort reviews.\n", {"type": "object", "required": ["labels"]})
    assert (role.label, role.fenced, role.max_output_tokens, role.timeout) == ("$.labels[0]", True, 300, 20.0)
    assert role.bars == Bars(schema=0.98, agreement=0.9, latency=2.0, cost=1.0, wrong=0.01)
    assert (role.golden, role.prices) == (tmp_path / "golden/triage.jsonl", tmp_path / "prices.json")
    assert (role.max_micros_a_day, role.max_evidence_age, role.probe) == (5_000_000, 172_800.0, False)
    assert role.watch == RoleWatch("triage-watch", 95.0, "triage-shadow", 10.0)
    assert role.page.slack == "#llm"


def test_the_smallest_role_file_has_every_default() -> None:
    """A role's name and its provider are enough; without a schema the whole answer is the label."""
    role = load_role_text(HEAD.encode())
    assert role == RoleConfig(name="review_triage", endpoint=RoleEndpoint("openai"), label="$", file="role.yaml")


def test_a_key_is_never_sent_to_another_server() -> None:
    """A model with a provider or an address of its own has neither the role's key, nor its CA, nor its proxy."""
    role = load_role_text(
        (HEAD + "key_file: k\nca_file: c\nurl: https://a.example\nproxy: http://p:1\nmodels:\n").encode()
        + b"  x: {provider: anthropic}\n  y: {url: 'https://b.example'}\n  z: {parameters: {seed: 1}}\n"
    )
    for model in ("x", "y"):
        elsewhere = role.endpoint_of(model)
        assert (elsewhere.key_file, elsewhere.ca_file, elsewhere.proxy) == (None, None, None)
    assert role.endpoint_of("x").url is None
    assert (role.endpoint_of("z").key_file, role.endpoint_of("z").url) == (Path("k"), "https://a.example")
    assert role.endpoint_of("unheard of") == role.endpoint


TABLE = [
    ("", "f.yaml:1: the file is empty; fix: see docs/gate.md for the smallest role file"),
    ("- a\n", "f.yaml:1: the file is not a mapping; fix: begin with `role: …`; see docs/gate.md"),
    ("rollout: r\ncontrol: a\n", "f.yaml:1: a rule file, not a role file; fix: move it to the folder of rule files (-"),
    ("role: r\n", "f.yaml:1: provider is missing; fix: add `provider: …`"),
    ("role: Review\nprovider: openai\n", "f.yaml:1: role: 'Review' is no name of a role; fix: use at most 63 of a-z, "),
    ("role: r\nprovider: opnai\n", "f.yaml:2: provider: 'opnai' is no provider that is known; fix: did you mean opena"),
    (HEAD + "api_key: sk-123456\n", "f.yaml:3: unknown key api_key; fix: write the key into a file and name it with `"),
    (HEAD + "key_file: sk-abcdefghijklmnop\n", "f.yaml:3: key_file: this looks like the key itself; fix: write the ke"),
    (HEAD + "parameters: {api_key: a}\n", "would put a secret into this file"),
    (HEAD + "parameters: {max_tokens: 5}\n", "'max_tokens' is not set here; fix: write `max_output_tokens:` at the to"),
    (HEAD + "parameters: {extra_headers: {a: b}}\n", "headers may hold secrets"),
    (HEAD + "url: https://u:p@host/v1\n", "f.yaml:3: url: the address holds a user or a password; fix: name the file"),
    (HEAD + "url: https://host/v1?key=abc\n", "f.yaml:3: url: the address has a query or a fragment"),
    (HEAD + "url: ftp://host\n", "f.yaml:3: url: 'ftp://host' is not an address"),
    (HEAD + "temperature: 0\n", "f.yaml:3: unknown key temperature; fix: indent it under `parameters:`"),
    (HEAD + "system_file: a\n", "f.yaml:3: unknown key system_file; fix: write `system: {file: …}`"),
    (HEAD + "timeout: 60\n", "f.yaml:3: timeout: '60' has no unit; a duration must be written with one; fix: write 60"),
    (HEAD + "timeout: 2h\n", "f.yaml:3: timeout: '2h' is out of range; fix: use 1s to 10m"),
    (HEAD + "bars: {schema: 99}\n", "f.yaml:3: bars.schema: 99 is not a share; fix: write 99% or 0.99"),
    (HEAD + "bars: {agreement: 200%}\n", "f.yaml:3: bars.agreement: '200%' is not a share; fix: write a share above 0"),
    (HEAD + "bars: {latency: 130%}\n", "f.yaml:3: bars.latency: '130%' is a percent, but a plain number belongs here;"),
    (HEAD + "bars: {wrong: 0.05}\n", "fix: write 5% if 0.05 is a fraction"),
    (HEAD + "bars: {agrement: 0.9}\n", "f.yaml:3: unknown key bars.agrement; fix: did you mean agreement?"),
    (HEAD + "max_per_day: 5\n", "f.yaml:3: max_per_day: 5 has no currency; fix: write $5"),
    (HEAD + "max_per_day: $5\n", "f.yaml:3: max_per_day cannot be held without prices; fix: add `prices: prices.json`"),
    (HEAD + "label: label\nschema: {}\n", "f.yaml:3: label: 'label' is no path to a label; fix: write $ (the whole an"),
    (HEAD + "label: $.label\n", "f.yaml:3: label is '$.label', but no schema makes the answers JSON; fix: add `schema"),
    (HEAD + "golden:\n", "f.yaml:3: golden has no value; fix: give it a value or remove it"),
    (HEAD + "schema:\n  type: object\n  properties: {a: {type: strin}}\n", "f.yaml:5: schema, properties.a.type: no J"),
    (HEAD + "schema: {file: gone.json}\n", "f.yaml:3: 'gone.json': cannot be read (No such file or directory); fix: n"),
    (HEAD + "system: {file: gone.md}\n", "f.yaml:3: 'gone.md': cannot be read (No such file or directory); fix: name "),
    (HEAD + "models: {m: {api_key: a}}\n", "f.yaml:3: unknown key models.m.api_key; fix: write the key into a file"),
    (HEAD + "models: {' m': {}}\n", "f.yaml:3: ' m' is no model's id; fix: write the id as requests name it"),
    (HEAD + "role: again\n", "f.yaml:3: 'role' is here twice (first in line 1); fix: keep one of them"),
    (HEAD + "watch: {percent: 99}\n", "f.yaml:3: watch.rollout is missing; fix: add `rollout: …`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), TABLE)
def test_what_is_wrong_is_said_with_its_fix(text: str, said: str) -> None:
    """Each problem has the file, the line and what to write instead."""
    assert any(said in problem for problem in problems(text))


def test_a_secret_in_a_file_is_not_repeated() -> None:
    """Problems are logged and paged; what may be a key is in none of them."""
    text = HEAD + "api_key: sk-hidden1\nkey_file: sk-hidden2-hidden\nurl: https://user:hidden3@host\n"
    said = "\n".join(
        problems(text + "models: {m: {token: hidden4}}\nparameters: {api_key: hidden5}\napi_key sk-hidden6\n")
    )
    assert "hidden" not in said


def test_every_problem_of_a_file_comes_at_once() -> None:
    """A wrong key hides no other, and follows from no other."""
    found = problems("role: R\nprovider: x\ntimeout: 1\nbars: {schema: 2, cost: a}\nschema: {type: x}\nlable: $\n")
    assert [int(one.split(":")[1]) for one in found] == [1, 2, 3, 4, 4, 5, 6]


def test_two_files_of_one_role_are_refused(tmp_path: Path) -> None:
    """No one could say which of them holds."""
    (tmp_path / "a.yaml").write_text(HEAD)
    (tmp_path / "b.yaml").write_text("# second\n" + HEAD)
    with pytest.raises(BadRules, match=r"b\.yaml:2: role 'review_triage' is also in .*a\.yaml:1; fix: keep one"):
        load_roles(tmp_path)


def test_a_folder_without_role_files_is_refused(tmp_path: Path) -> None:
    """The message names the option and the variable, or says where the form of a file is."""
    with pytest.raises(BadRules, match=r"no role files .* see docs/gate.md"):
        load_roles(tmp_path)
    with pytest.raises(BadRules, match="--roles or KILLSWITCH_ROLES"):
        load_roles(tmp_path / "gone")


def test_the_digest_follows_the_files_that_a_role_names(tmp_path: Path) -> None:
    """A prompt that has changed is another set of roles."""
    (tmp_path / "p.md").write_text("one")
    (tmp_path / "a.yaml").write_text(HEAD + "system: {file: p.md}\n")
    before = read_roles(tmp_path)
    (tmp_path / "p.md").write_text("two")
    after = read_roles(tmp_path)
    assert before.digest != after.digest
    assert before.roles["review_triage"].setup("a") != after.roles["review_triage"].setup("a")


def test_the_setup_follows_what_answers_rest_on() -> None:
    """Fences change what keeps the schema; where a key is does not."""
    plain = load_role_text((HEAD + "schema: {}\n").encode())
    assert plain.setup("a") != load_role_text((HEAD + "schema: {}\nfences: allowed\n").encode()).setup("a")
    assert plain.setup("a") == load_role_text((HEAD + "schema: {}\nkey_file: k\n").encode()).setup("a")
