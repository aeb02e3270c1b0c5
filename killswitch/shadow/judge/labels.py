"""A file of people's verdicts, JSON lines: the pairs that say how far a judge agrees with people.

`write_unlabelled` makes one without verdicts, which people then write into it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import get_args

from killswitch.documents import Fields
from killswitch.errors import BadDocument, BadSettings
from killswitch.private_files import new_private_file
from killswitch.shadow.judge.opinions import Preferred
from killswitch.shadow.judge.texts import PairTexts

MAX_BYTES = 64 * 1024 * 1024
MOST_LABELS = 10_000
MOST_PROBLEMS = 20
PAIRS_TO_LABEL = 100  # twice as many as the judge needs: people find some undecidable


def read_labels(path: Path) -> tuple[tuple[PairTexts, ...], Mapping[str, Preferred]]:
    """The labelled pairs, and each one's label by the pair's id. Blank lines and empty labels are left out.

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
            labelled = _labelled(line)
        except BadDocument as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        if labelled is None:
            continue
        texts, label = labelled
        if labels.setdefault(texts.pair, label) != label:
            problems.append(f"{path}:{number}: the same texts have another label above; leave one of them")
        pairs[texts.pair] = texts
    if len(pairs) > MOST_LABELS:
        problems.append(f"{path}: {len(pairs):,} labels, at most {MOST_LABELS:,} are read")
    if problems:
        raise BadSettings(problems[:MOST_PROBLEMS])
    return tuple(pairs.values()), labels


def write_unlabelled(path: Path, pairs: Iterable[PairTexts]) -> int:
    """Write pairs for people to label, each with an empty label, mode 0600; how many.

    At most `PAIRS_TO_LABEL`. Identical answers are left out, because they are a tie without a person's look. Raises
    BadSettings if the file cannot be written, or is there: it may hold labels.
    """
    if path.exists():
        raise BadSettings([f"{path} exists already and may hold labels; name a new file"])
    chosen = list(islice((one for one in pairs if not one.identical), PAIRS_TO_LABEL))
    if not chosen:
        return 0
    try:
        with new_private_file(path) as file:
            for one in chosen:
                line = {"request": one.request, "control": one.control_answer, "candidate": one.candidate_answer}
                file.write(json.dumps({**line, "label": ""}, ensure_ascii=False).encode(errors="replace") + b"\n")
    except OSError as error:
        raise BadSettings([f"{path} cannot be written ({error.strerror}); name another file"]) from error
    return len(chosen)


def _labelled(line: bytes) -> tuple[PairTexts, Preferred] | None:
    """None: no person has labelled it yet."""
    try:
        document = Fields(json.loads(line), "label")
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"label: not JSON ({error})") from error
    texts = (document.text("request", empty=True), document.text("control"), document.text("candidate"))
    label = document.text("label", empty=True)
    if not label:
        return None
    if label not in get_args(Preferred):
        raise BadDocument(f'label: {label!r:.60} is no verdict; write "control", "candidate" or "tie"')
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]
    return PairTexts(f"label/{digest}", 0.0, 0, "", *texts), label  # type: ignore[return-value]  # a verdict, as asked
