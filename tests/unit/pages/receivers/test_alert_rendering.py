"""Alerts for Alertmanager and Opsgenie: whatever a page says, their form and limits hold."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.pages.page import SEVERITIES, Page, PageKind
from killswitch.pages.receivers.alertmanager_alert import (
    alert,
    ended_labels,
    from_reference,
    labels_of,
    to_reference,
)
from killswitch.pages.receivers.opsgenie import MAX_ALIAS, MAX_DESCRIPTION, MAX_MESSAGE, create
from killswitch.timestamps import from_iso
from tests.doubles.pages import SETTINGS, trip_page
from tests.unit.pages.test_page import one_of_each

TEXTS = st.text(max_size=1000)


def with_texts(page: Page, headline: str, why: str, steps: list[str]) -> Page:
    return replace(page, headline=headline, why=why, next_steps=tuple(steps))


pages = st.builds(with_texts, st.sampled_from(one_of_each()), TEXTS, TEXTS, st.lists(TEXTS, max_size=12))


@given(pages, st.floats(0, 4e9))
def test_no_text_of_a_page_is_a_label(page: Page, ends_at: float) -> None:
    """A text in a label would make a new alert each time that it changes."""
    one = alert(page, ends_at=ends_at)
    assert one["labels"] == labels_of(with_texts(page, "other", "texts", []))
    assert set(one["labels"]) <= {"alertname", "severity", "generation", "rollout"}
    assert all(one["labels"].values())
    assert all(one["annotations"].values())
    assert from_iso(one["startsAt"]) <= from_iso(one["endsAt"])
    json.dumps(one, allow_nan=False)


@given(pages)
def test_a_reference_leads_back_to_the_labels(page: Page) -> None:
    assert from_reference(to_reference(labels_of(page))) == labels_of(page)


@pytest.mark.parametrize("reference", ["", "C012/17.5", "[]", "{}", '{"a": 1}', '{"a": ""}', "[" * 10_000])
def test_a_reference_of_another_receiver_is_none_of_ours(reference: str) -> None:
    assert from_reference(reference) is None


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_end_of_a_trip_covers_whatever_severity_it_had(severity: str) -> None:
    trip = trip_page(settings=replace(SETTINGS, severity=severity))  # type: ignore[arg-type]  # one of them
    ending = replace(trip, kind=PageKind.RE_ARMED, generation=8, follows=trip.id)
    assert labels_of(trip) in ended_labels(ending)


@given(pages)
def test_opsgenies_limits_hold_for_every_page(page: Page) -> None:
    body = create(page, possible_repeat=True)
    assert len(body["message"]) <= MAX_MESSAGE
    assert len(body["alias"]) <= MAX_ALIAS
    assert len(body["description"]) <= MAX_DESCRIPTION
    assert all(isinstance(value, str) for value in body["details"].values())
    assert len(body["tags"]) <= 20
    json.dumps(body, allow_nan=False)
