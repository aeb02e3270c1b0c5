"""A file of people's verdicts, JSON lines: the pairs that say how far a judge agrees with people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from killswitch.documents import Fields
from killswitch.errors import BadDocument, BadSettings
from killswitch.shadow.judge.opinions import Preferred
from killswitch.shadow.judge.texts import PairTexts

MAX_BYTES = 64 * 1024 * 1024
MOST_LABELS = 10_000
MOST_PROBLEMS = 20


def read_labels(path: Path) -> tuple[tuple[PairTexts, ...], Mapping[str, Preferred]]:
    """The labelled pairs, and each one's label by the pair's id. Blank lines are left out.

    A line: ``{"request": …, "control": …, "candidate": …, "label": "control" | "candidate" | "tie"}``, texts.
    A pair's id is a hash of its texts, so another label for the same texts asks no one again. Raises BadSettings with
    each line that cannot be read, and where two lines with the same texts have different labels.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadSettings([f"{path} cannot be read ({error.strerror}); name a file of labels"]) from error
    if len(content) > MAX_BYTES:
        raise BadSettings([f"{path} is larger than {MAX_BYTES // 1024 // 1024} MB; give fewer labels"])
    pairs: dict[str, PairTexts] = {}
    labels: dict[str, Preferred] = {}
    problems = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            texts, label = _labelled(line)
        except BadDocument as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        if labels.setdefault(texts.pair, label) != label:
            problems.append(f"{path}:{number}: the same texts have another label above; leave one of them")
        pairs[texts.pair] = texts
    if len(pairs) > MOST_LABELS:
        problems.append(f"{path}: {len(pairs):,} labels, at most {MOST_LABELS:,} are read")
    if problems:
        raise BadSettings(problems[:MOST_PROBLEMS])
    return tuple(pairs.values()), labels


def _labelled(line: bytes) -> tuple[PairTexts, Preferred]:
    try:
        document = Fields(json.loads(line), "label")
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"label: not JSON ({error})") from error
    texts = (document.text("request", empty=True), document.text("control"), document.text("candidate"))
    label = document.text("label")
    if label not in get_args(Preferred):
        raise BadDocument(f'label: {label!r:.60} is no verdict; write "control", "candidate" or "tie"')
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]
    return PairTexts(f"label/{digest}", 0.0, 0, "", *texts), label  # type: ignore[return-value]  # a verdict, as asked
