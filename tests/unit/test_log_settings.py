"""A command that sets up logging inside a test leaves nothing of it to the next test."""

from __future__ import annotations

import logging

from killswitch.cli.logs import set_up_logs
from tests.log_settings import restored


def test_what_a_command_sets_up_ends_with_its_test() -> None:
    root = logging.getLogger()
    before = root.level, [handler for handler in root.handlers if type(handler) is logging.StreamHandler]
    with restored():
        set_up_logs("human")
        assert root.level == logging.INFO
        assert any(type(handler) is logging.StreamHandler for handler in root.handlers)
    assert (root.level, [one for one in root.handlers if type(one) is logging.StreamHandler]) == before
