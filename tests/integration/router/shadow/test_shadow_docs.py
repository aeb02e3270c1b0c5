"""The example of docs/shadow.md runs as it is written, and its words are those of the code."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from killswitch.flags import flag as flags
from killswitch.flags.document import to_document
from killswitch.flags.shadow_share import ShadowShare
from killswitch.router.shadow import Drop
from tests.doubles.finished_requests import pairs
from tests.doubles.llm_server import LLMServer

PAGE = (Path(__file__).parents[4] / "docs" / "shadow.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_example_shadows_and_serves_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    armed = flags.arm(
        None,
        rollout="support-copilot",
        control="model-old",
        canary="model-new",
        percent=0.0,
        stage="shadow",
        now=time.time(),
        by="test",
        shadow=ShadowShare(100.0, {}),
    )
    (tmp_path / "flag.json").write_bytes(to_document(armed))
    monkeypatch.setenv("KILLSWITCH_STORE", f"file://{tmp_path}/flag.json")
    monkeypatch.setenv("SHADOW_API_KEY", "of the shadow")
    monkeypatch.setenv("OPENAI_API_KEY", "of production")
    with LLMServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        names: dict[str, Any] = {}
        exec(BLOCKS[0].replace("/var/spool/killswitch", str(tmp_path / "spool")), names)
        names["client"] = OpenAI()
        exec(BLOCKS[1], names)
        assert names["router"].wait_ready(20.0)
        assert names["answer"]("ann", "ok") == "answered by model-old"
        assert names["answer_by_hand"]("bob", "ok") == "answered by model-old"
        names["shadow"].close(20.0)
        names["router"].close()
    asked = [pair for pair in pairs(tmp_path / "spool") if pair.kind == "candidate"]
    assert [pair.other.text for pair in asked] == ["answered by model-new"] * 2
    assert {pair.control.text for pair in asked} == {"answered by model-old"}
    assert json.dumps([pair.request for pair in asked]).count("of production") == 0


def test_every_reason_of_a_drop_has_a_row() -> None:
    named = set(re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| (`[^|]*) \|", PAGE, re.MULTILINE))))
    assert {reason.value for reason in Drop} <= named
