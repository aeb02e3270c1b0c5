"""Recorded pairs for tests: one with everything usual, changed where a test needs it, and as files of records."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from killswitch.shadow.flat_record import row_of
from killswitch.shadow.record import PairRecord, Side

ROLLOUT = "support"
BEGAN = 1_776_600_000.0

SIDE = Side(
    model="sol-4",
    outcome="ok",
    seconds=1.0,
    first_token_seconds=0.2,
    refused=False,
    finish_reason="stop",
    error="",
    status=None,
    input_tokens=300,
    cached_tokens=0,
    output_tokens=80,
    reasoning_tokens=None,
    cost_micros=500,
    characters=400,
    words=70,
    opening="Your parcel is on its way",
    language="en",
    headings=0,
    tables=0,
    list_items=0,
    code_blocks=0,
    citations="none",
    json="none",
    tool_calls=0,
)


def pair(
    number: int = 0, *, kind: str = "candidate", control: dict[str, Any] | None = None, **changes: Any
) -> PairRecord:
    """A pair whose answers are equivalent. ``changes`` named ``other_…`` are of the other side."""
    model = "sol-4" if kind == "noise" else "sol-5"
    other = {
        name.removeprefix("other_"): changes.pop(name)
        for name in [*changes]
        if name.startswith("other_") and name != "other_text"
    }
    made = PairRecord(
        pair=f"p{number}",
        rollout=ROLLOUT,
        generation=1,
        at=BEGAN + number,
        kind=kind,
        prompt_class="orders",
        user=f"u{number}",
        prompt="h1",
        turn=1,
        concurrent=True,
        streamed=True,
        control=replace(SIDE, **(control or {})),
        other=replace(SIDE, **{"model": model, **other}),
        comparable=True,
        not_comparable="",
        identical=False,
        similarity=0.9,
        equivalent=True,
        differences=(),
    )
    return replace(made, **changes)


def flat(record: PairRecord) -> dict[str, Any]:
    """The record as it is to be stored, made in another way than the sinks do: sides have the side's prefix."""
    found: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Side):
            found |= {f"{field.name}_{name}": inner for name, inner in asdict(value).items()}
        else:
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found


def write_lines(folder: Path, records: Iterable[PairRecord], *, day: str = "2026-04-19", name: str = "a.jsonl") -> Path:
    """One file of JSON lines in ``<folder>/support/<day>/``; the file."""
    target = folder / ROLLOUT / day / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(json.dumps(row_of(record)) + "\n" for record in records), "utf-8")
    return target
