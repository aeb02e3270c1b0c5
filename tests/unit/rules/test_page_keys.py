"""Section `page`: addresses, names of secrets, and routes that must not lose a trip."""

from __future__ import annotations

import pytest

from killswitch.page_addresses import PageAddresses
from tests.unit.rules.test_loading import HEAD, loaded
from tests.unit.rules.test_loading_refusals import problems as problems_of


def test_addresses_and_routes_are_read() -> None:
    (rollout,) = loaded(
        HEAD + "page:\n  mention: '<!here>'\n  email: [a@example.org, b@example.org, a@example.org]\n  teams: search\n"
        "  opsgenie: ops\n  receivers: {critical: [slack, email], info: []}\n"
    ).rollouts
    assert rollout.page.addresses == PageAddresses(
        email=("a@example.org", "b@example.org"),
        teams="search",
        opsgenie="ops",
        receivers=(("critical", ("slack", "email")), ("info", ())),
    )


def test_one_mail_address_needs_no_list() -> None:
    (rollout,) = loaded(HEAD + "page: {email: a@example.org}\n").rollouts
    assert rollout.page.addresses.email == ("a@example.org",)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("{receivers: {critical: []}}", "critical pages would reach no one"),
        ("{receivers: {critical: [console]}}", "critical pages would reach no one"),
        ("{severity: warning, receivers: {warning: []}}", "a trip, which is warning, would reach no one"),
        ("{severity: info, receivers: {info: [console]}}", "a trip, which is info, would reach no one"),
        ("{receivers: {critical: [slak]}}", "did you mean slack?"),
        ("{receivers: {critical: [fax]}}", "use slack, pagerduty, opsgenie"),
        ("{receivers: {grave: [slack]}}", "'grave' is not a severity"),
        ("{receivers: {critical: slack}}", "critical must be a list of receivers"),
        ("{receivers: {}}", "must be a mapping of severities"),
        ("{receivers: slack}", "must be a mapping of severities"),
        ("{email: ann}", "'ann' is not a mail address"),
        ("{email: 'Ann <ann@example.org>'}", "is not a mail address"),
        ('{email: "ann@example.org\\nBcc: eve@example.org"}', "is not allowed"),
        ("{email: []}", "0 mail addresses"),
        ("{teams: 'https://prod-1.westus.logic.azure.com/x?sig=secret'}", "not the name of a Teams channel"),
        ("{opsgenie: 'a b'}", "not the name of an Opsgenie key"),
    ],
)
def test_what_cannot_page_anyone_is_refused_with_a_fix(page: str, said: str) -> None:
    problems = problems_of(HEAD + f"page: {page}\n")
    assert any(said in problem and "; fix: " in problem for problem in problems), problems
    assert "secret" not in "".join(problems)
