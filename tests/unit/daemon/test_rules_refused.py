"""Rule files that are refused are paged once, and the same mistake again when it is made again."""

from __future__ import annotations

from pathlib import Path

from killswitch.daemon.daemon import Daemon
from killswitch.daemon.settings import load_settings
from killswitch.stores import keys

DAY = 86_400.0
RULES = """\
rollout: copilot
control: old
canary: new
"""


def test_refused_rules_are_paged_once_and_again_after_a_month(tmp_path: Path) -> None:
    """The same refused rules are paged once, and a second time a month later."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "copilot.yaml").write_text(RULES)
    now = [1_776_600_000.0]
    settings = load_settings(
        rules=rules,
        store=f"sqlite:{tmp_path / 'flags.db'}",
        source="prometheus+http://127.0.0.1:9",
        listen="127.0.0.1:0",
    )
    daemon = Daemon(settings, wall=lambda: now[0])
    (rules / "copilot.yaml").write_text("rollout: [")
    pages: list[int] = []
    for pause in (0.0, 60.0, 30 * DAY):
        now[0] += pause
        assert daemon.reload()
        pages.append(len(daemon._store.list(keys.OUTBOX).items))
    assert pages == [1, 1, 2]
