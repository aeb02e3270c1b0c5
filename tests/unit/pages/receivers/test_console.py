from __future__ import annotations

import io

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import Unavailable
from killswitch.pages.receivers.console import ConsolePager
from tests.doubles.pages import BREACH, trip_page


def test_the_console_prints_the_whole_page() -> None:
    stream = io.StringIO()
    ConsolePager(stream).send(trip_page(), possible_repeat=True, deadline=Deadline(1))
    printed = stream.getvalue()
    assert "PAGE TRIPPED critical 2026-04-19T14:22:11Z support-copilot.7" in printed
    assert "(possible repeat) support-copilot: canary model-new tripped" in printed
    assert BREACH.sentence in printed


def test_a_terminal_that_knows_only_ascii_still_gets_the_page() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    page = trip_page()
    ConsolePager(stream).send(page, possible_repeat=False, deadline=Deadline(1))
    assert b"all traffic routed to model-old" in raw.getvalue()


def test_a_closed_stream_is_a_receiver_that_is_unavailable() -> None:
    stream = io.StringIO()
    stream.close()
    with pytest.raises(Unavailable):
        ConsolePager(stream).send(trip_page(), possible_repeat=False, deadline=Deadline(1))
