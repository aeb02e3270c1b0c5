"""A dashboard's link leads to the rollout and the time of the event, whoever's dashboard it is."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from killswitch.pages import events
from killswitch.pages.dashboards import AFTER, BEFORE, dashboard_at, of_grafana
from tests.doubles.pages import AT, SETTINGS, incident


def test_our_dashboard_is_opened_at_the_event() -> None:
    link = dashboard_at(of_grafana("https://g.example/d/killswitch"), "support-copilot", AT)
    assert link is not None
    assert link.startswith("https://g.example/d/killswitch?")
    assert parse_qs(urlsplit(link).query) == {
        "var-rollout": ["support-copilot"],
        "from": [f"{(AT - BEFORE) * 1000:.0f}"],
        "to": [f"{(AT + AFTER) * 1000:.0f}"],
    }


def test_a_teams_own_link_is_filled_in_or_left_as_it_is() -> None:
    assert dashboard_at("https://g.example/d/1?a={rollout}", "a&b/c", AT) == "https://g.example/d/1?a=a%26b%2Fc"
    assert dashboard_at("https://g.example/d/1?a=1&b=2", "x", AT) == "https://g.example/d/1?a=1&b=2"
    assert dashboard_at(None, "x", AT) is None
    assert of_grafana(None) is None


def test_a_page_of_a_trip_links_to_its_time() -> None:
    settings = replace(SETTINGS, dashboard=of_grafana("https://g.example/d/killswitch"))
    page = events.tripped(incident(), settings)
    assert page.dashboard == dashboard_at(settings.dashboard, "support-copilot", incident().decided_at)
    assert f"Dashboard: {page.dashboard}" in page.next_steps
