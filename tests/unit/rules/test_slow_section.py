"""The section `slow` of a rule file: what arrives in the rollout, and every refusal with its line and fix."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from killswitch.errors import BadRules
from killswitch.rules.editor_schema import json_schema
from killswitch.rules.loading import load_text
from killswitch.slow_settings import SlowSettings, SlowSignal

HEAD = "rollout: r\ncontrol: a\ncanary: b\n"
QUERY = "select user_id, day, csat from csat where day >= :since"
USERS = f'  users: {{query: "{QUERY}", user: user_id, day: day}}\n'
SIGNALS = "  signals:\n    csat: {column: csat, range: [0, 100], max_drop: 3}\n"
SCHEMA = json_schema()


def slow_of(text: str) -> SlowSettings:
    (rollout,) = load_text((HEAD + text).encode()).rollouts
    assert rollout.slow is not None
    return rollout.slow


def problems(text: str) -> list[str]:
    with pytest.raises(BadRules) as refused:
        load_text((HEAD + text).encode())
    return list(refused.value.problems)


def changed(old: str, new: str) -> list[str]:
    text = f"slow:\n  source: duckdb:////data\n{USERS}{SIGNALS}"
    assert old in text
    return problems(text.replace(old, new))


def test_a_file_without_the_section_has_no_slow_signals() -> None:
    (rollout,) = load_text(HEAD.encode()).rollouts
    assert rollout.slow is None


def test_the_slow_section_arrives_in_the_rollout() -> None:
    text = (
        "slow:\n  source: postgresql://reader@warehouse/analytics\n  password: env:WAREHOUSE\n"
        f"{USERS}{SIGNALS}"
        '    refunds: {query: "select user_id, day, back from r where day >= :since", column: back,\n'
        "      max_increase: 1pp, sustained: 3d, settle: 7d, decide: threshold, max_response_drop: 10pp}\n"
        '  every: {at: "07:30", time_zone: Europe/Berlin}\n  assignments: support.assignments\n'
        "  assignments_key: file:/run/user-key\n"
    )
    found = slow_of(text)
    assert found == SlowSettings(
        "postgresql://reader@warehouse/analytics",
        QUERY,
        "user_id",
        "day",
        (
            SlowSignal("csat", "csat", low=0.0, high=100.0, max_drop=3.0),
            SlowSignal(
                "refunds",
                "back",
                "select user_id, day, back from r where day >= :since",
                max_increase=0.01,
                sustained=3 * 86_400.0,
                settle=7 * 86_400.0,
                decide="threshold",
                max_response_drop=0.1,
            ),
        ),
        "env:WAREHOUSE",
        27_000.0,
        "Europe/Berlin",
        "support.assignments",
        "file:/run/user-key",
    )
    assert [signal.limit for signal in found.signals] == [3.0, 0.01]


REFUSED = {
    "duckdb:////data": (
        "postgresql://reader:geheim@host/db",
        "f:5: slow.source: the URL holds a password; fix: remove it, and write `password: file:/path` or `env:NAME`",
    ),
    "max_drop: 3}": ("max_drop: 3pp}", "is of a share, but the range is 0 to 100; fix: write it in the column's unit"),
    "max_drop: 3": (
        "max_drop: 100",
        "'100' is not less than the range, 0 to 100; fix: write less than the whole range",
    ),
    "range: [0, 100]": ("range: [0, 1]", "'3' is not less than the range, 0 to 1; fix: write 3pp"),
    ", range": (", max_increase: 1, range", "both max_drop and max_increase; fix: state `max_drop` if lower is worse"),
    ", max_drop: 3": ("", "a signal without a limit; fix: state `max_drop`"),
    "[0, 100]": ("[100, 0]", "slow.signals.csat.range: [100, 0] is not a range; fix: write the lowest value first"),
    "select user_id": ("delete from csat; select user_id", "not a statement that reads; fix: begin with `select`"),
    ":since": (":until", ":until is not known; fix: the only parameter is :since"),
    "where day": ("; drop table csat where day", "more than one statement, or a comment"),
    "user: user_id": ('user: "user id; --"', "is not the name of a column"),
    "  csat: {": ("  CSAT: {", "'CSAT' is not a valid name of a signal"),
    "csat: {column: csat": ("csat: {colum: csat", "unknown key slow.signals.csat.colum; fix: did you mean column?"),
}


@pytest.mark.parametrize("old", REFUSED)
def test_what_cannot_be_meant_is_refused_with_a_fix(old: str) -> None:
    new, said = REFUSED[old]
    assert any(said.removeprefix("f:5:").strip() in problem for problem in changed(old, new))


def test_a_refusal_names_its_line() -> None:
    assert changed("max_drop: 3", "max_drop: -3")[0].startswith("rules.yaml:8: slow.signals.csat.max_drop")


@pytest.mark.parametrize(
    "every", ["{at: '6:00'}", "{at: '24:00'}", "{time_zone: Mars/Olympus}", "{time_zone: ../etc/passwd}", "{hour: 6}"]
)
def test_a_time_that_never_comes_is_refused(every: str) -> None:
    assert problems(f"slow:\n  source: duckdb:////data\n{USERS}{SIGNALS}  every: {every}\n")


@pytest.mark.parametrize(
    "source",
    [
        "postgresql//reader:geheim@host/db",
        '"postgresql://reader:geheim@[host/db"',
        '"postgres ql://reader:geheim@host/db"',
        '["postgresql://reader:geheim@host/db"]',
        '"mssql+pyodbc:///?odbc_connect=UID%3Dr%3BPWD%3Dgeheim"',
        '"databricks://host/db?access_token=geheim"',
        '"snowflake://r@account/db?private_key=geheim"',
        '"bigquery://project?credentials_base64=geheim"',
        '"postgresql://host/db?sslpassword=geheim"',
        '"postgresql://reader:gehe/im@host/db"',
        '"postgresql://reader:gehe@im@host/db"',
    ],
)
def test_no_spelling_of_a_source_shows_or_holds_a_secret(source: str) -> None:
    """Refused files are also logged and paged."""
    found = changed("duckdb:////data", source)
    assert any("slow.source" in line for line in found)
    assert not [line for line in found if "geh" in line]


@pytest.mark.parametrize(
    "source",
    [
        "postgresql://reader@host/db?sslmode=verify-full&sslkey=/run/secrets/key",
        "bigquery://project?credentials_path=/run/secrets/key.json",
        "duckdb:////data/2026:01",
        "trino://reader@host:8443/hive",
    ],
)
def test_a_source_without_a_secret_is_taken(source: str) -> None:
    assert slow_of(f'slow:\n  source: "{source}"\n{USERS}{SIGNALS}').source == source


@pytest.mark.parametrize(
    "line", ["password:geheim", "password geheim", "source:postgresql://u:geheim@h/d", "postgresql://u:geheim@h/d"]
)
def test_a_line_without_its_colon_shows_no_secret(line: str) -> None:
    for text in (f"slow:\n{USERS}{SIGNALS}  {line}\n", f"slow: {{{line}, every: {{}}}}\n"):
        found = problems(text)
        assert any("is not followed by a colon" in one for one in found)
        assert not [one for one in found if "geheim" in one]


@pytest.mark.parametrize(
    "statement",
    [
        "select $$'$$; commit; delete from csat; select $$'$$",
        "select $a$'$a$; commit; delete from csat; select $a$'$a$",
        r"select E'\\''; commit; delete from csat; select E'\\''",
        "select `'`; delete from csat; select `'`",
    ],
)
def test_no_quoting_hides_a_second_statement(statement: str) -> None:
    """What one warehouse takes for a text is a statement to another, and `commit` ends a read-only transaction."""
    assert any("slow.users.query" in one for one in changed(QUERY, statement))


def test_a_password_is_refused_without_being_repeated() -> None:
    text = "slow:\n  source: postgresql://host/db\n  password: geheim\n"
    assert not [line for line in problems(text + USERS + SIGNALS) if "geheim" in line]
    assert not [line for line in changed("duckdb:////data", "postgresql://u:geheim@h/db") if "geheim" in line]


def test_the_literal_rule_is_warned_about_where_it_is_chosen() -> None:
    text = f"slow:\n  source: duckdb:////data\n{USERS}{SIGNALS}".replace(
        "max_drop: 3", "max_drop: 3, decide: threshold"
    )
    warnings = load_text((HEAD + text).encode()).warnings
    assert any("rules.yaml:8: the literal rule pins a healthy canary" in line for line in warnings)


def test_a_statement_that_reads_everything_is_warned_about() -> None:
    text = f"slow:\n  source: duckdb:////data\n{USERS}{SIGNALS}".replace(" where day >= :since", "")
    assert any("does not use :since" in line for line in load_text((HEAD + text).encode()).warnings)


GOOD: dict[str, Any] = {
    "source": "duckdb:///data",
    "users": {"query": QUERY, "user": "user_id", "day": "day"},
    "signals": {"csat": {"column": "csat", "range": [0, 100], "max_drop": 3, "sustained": "48h", "settle": "1d"}},
    "every": {"at": "06:00", "time_zone": "Europe/Berlin"},
}


def marked(slow: dict[str, Any]) -> bool:
    """Whether an editor marks it."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return not validator.is_valid({"rollout": "r", "control": "a", "canary": "b", "slow": slow})


def test_an_editor_marks_what_check_refuses() -> None:
    assert not marked(GOOD)
    assert marked({**GOOD, "sources": "x"})
    assert marked({key: value for key, value in GOOD.items() if key != "users"})
    assert marked({**GOOD, "password": "geheim"})
    assert marked({**GOOD, "every": {"at": "6"}})
    assert marked({**GOOD, "signals": {"csat": {"column": "csat", "max_drop": -3}}})
