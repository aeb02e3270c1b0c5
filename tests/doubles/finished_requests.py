"""Finished requests and answers for tests of the shadow, and a folder of raw pairs read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from killswitch.router.route_types import Route
from killswitch.router.shadow import Finished
from killswitch.router.shadow.raw_pair import Dropped, RawPair, from_line
from tests.doubles.held_split import shadowed

CONTROL_ROUTE: Route = shadowed().control_route


def chat_answer(text: str, *, finish: str = "stop") -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 7},
    }


def finished(request_id: Any = "request-1", **changes: Any) -> Finished:
    """One chat request that control has answered; ``changes`` replace fields."""
    arguments = changes.pop("arguments", {"model": "model-old", "messages": [{"role": "user", "content": "hello"}]})
    return Finished(
        request_id=request_id,
        user="user-1",
        prompt_class="support",
        api="chat",
        arguments=arguments,
        messages=None,
        answer=chat_answer("good day"),
        route=CONTROL_ROUTE,
        started=1_776_608_500.0,
        seconds=2.0,
        served_outcome="ok",
    )._replace(**changes)


def entries(folder: Path) -> list[RawPair | Dropped]:
    """What was written there, in the order of the files."""
    files = sorted(path for path in folder.iterdir() if path.suffix == ".raw") if folder.exists() else []
    return [from_line(line) for path in files for line in path.read_bytes().splitlines()]


def pairs(folder: Path) -> list[RawPair]:
    return [entry for entry in entries(folder) if isinstance(entry, RawPair)]


def drops(folder: Path) -> dict[str, int]:
    """All counted drops, by reason."""
    found: dict[str, int] = {}
    for entry in entries(folder):
        if isinstance(entry, Dropped):
            for reason, number in entry.reasons.items():
                found[reason] = found.get(reason, 0) + number
    return found
