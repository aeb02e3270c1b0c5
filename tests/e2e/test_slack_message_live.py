"""The message of an incident, from two real replicas: trip, picture, re-arm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.model import PageSettings
from killswitch.pages import events
from tests.faults.fleet import ROLLOUT, Fleet
from tests.servers.etcd import wait_until


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, replicas=2) as running:
        running.start()
        yield running


def test_an_incident_is_one_message_with_a_picture_in_its_thread(fleet: Fleet) -> None:
    fleet.fail()
    fleet.until_tripped()
    wait_until(lambda: any(message.files for message in fleet.slack.messages), "the picture", 200)
    (root,) = fleet.slack.in_channel
    (ticket,) = fleet.slack.uploads.tickets.values()
    assert (ticket.content or b"").startswith(b"\x89PNG")
    assert "error_rate" in ticket.alt
    settings = PageSettings(slack="#llm-oncall")
    fleet.person.rearm(
        ROLLOUT, reason="prompt fixed", percent=1.0, stage="ramp_1",
        page=lambda flag: events.re_armed(flag, reason="prompt fixed", by="ann", settings=settings),
    )  # fmt: skip
    wait_until(
        lambda: fleet.slack.in_channel[0].blocks[0]["text"]["text"].startswith(":arrow_forward:"), "the change", 60
    )
    assert fleet.slack.in_channel[0].ts == root.ts
    wait_until(lambda: any("re-armed by" in one.text for one in fleet.slack.thread(root.ts)), "the reply", 60)
    fleet.check()
