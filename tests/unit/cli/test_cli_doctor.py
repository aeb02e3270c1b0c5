"""`killswitch doctor` as a person types it: whose permissions are tried, and what a script reads."""

from __future__ import annotations

from bench.histories import History, openmetrics
from tests.unit.cli.shell import Shell


def test_whose_permissions_are_tried_is_said(shell: Shell) -> None:
    """Of a service's credentials also whether they may do more than a service needs."""
    (shell.folder / "x.om").write_text(openmetrics(History(seconds=7200.0, judged=True)))
    assert shell("arm", "copilot", "--percent", "0", "--yes").exit_code == 0
    for part, found in (("controller", ""), ("router", "a service may write flags with these credentials")):
        done = shell("doctor", "--data", "x.om", "--store", shell.store, "--as", part)
        assert done.exit_code == 0, done.output
        assert f"a {part} may read and write what it needs" in done.output
        assert found in done.output
    refused = shell("doctor", "--data", "x.om", "--as", "anyone")
    assert refused.exit_code == 2


def test_a_script_reads_every_row(shell: Shell) -> None:
    (shell.folder / "x.om").write_text(openmetrics(History(seconds=7200.0, judged=True)))
    document = shell.json("doctor", "--data", "x.om")
    assert document["ok"] is True
    seen = [check["about"] for check in document["checks"] if "seen within 10m" in check["found"]]
    assert seen == ["copilot error_rate", "copilot latency_p95", "copilot refusal_rate", "copilot thumbs_down_rate"]
