"""Pairs and scripted judges: each test says what its judge makes of two shown answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from killswitch.shadow.judge.budget import NoBudget
from killswitch.shadow.judge.endpoint import AskFailed, Reply
from killswitch.shadow.judge.judging import Judge, JudgingTerms
from killswitch.shadow.judge.opinions import JudgedBy
from killswitch.shadow.judge.prompt import DEFAULT_RUBRIC, VERSION, Question, rubric_hash
from killswitch.shadow.judge.sampling import place_of
from killswitch.shadow.judge.texts import PairTexts
from killswitch.shadow.judge.verdict_file import VerdictFile, read_entries
from killswitch.shadow.judge.verdicts import JudgeFindings, findings

NOW = 1_790_000_000.0
BY = JudgedBy("claude-judge", rubric_hash(DEFAULT_RUBRIC), VERSION)


def pair(number: int = 1, control: str = "plain", candidate: str = "GOOD", *, by: str = "gpt-new") -> PairTexts:
    return PairTexts(f"request-{number}", NOW, 1, by, f"question {number}?", control, candidate)


def in_order(pairs: Iterable[PairTexts]) -> list[PairTexts]:
    return sorted(pairs, key=lambda one: place_of(one.pair))


@dataclass(frozen=True, slots=True)
class Shown:
    """A question taken apart as its receiver can: by the mark that the system text names. ``outside``: no block."""

    request: str
    a: str
    b: str
    outside: str


def taken_apart(asked: Question) -> Shown:
    named = re.search(r"carries the mark ([0-9a-f]+)\.", asked.system)
    assert named is not None
    blocks: dict[str, list[str]] = {}
    outside = [asked.system]
    inside: str | None = None
    for line in asked.user.split("\n"):
        edge = re.fullmatch(rf"===== (BEGIN|END) (REQUEST|ANSWER A|ANSWER B) {named[1]} =====", line)
        if edge is None:
            (outside if inside is None else blocks[inside]).append(line)
        elif edge[1] == "BEGIN":
            assert inside is None
            assert edge[2] not in blocks
            inside = edge[2]
            blocks[inside] = []
        else:
            assert inside == edge[2]
            inside = None
    assert inside is None
    request, a, b = ("\n".join(blocks[name]) for name in ("REQUEST", "ANSWER A", "ANSWER B"))
    return Shown(request, a, b, "\n".join(outside))


def verdict(choice: str, reason: str = "because") -> str:
    return json.dumps({"verdict": choice, "reason": reason})


def likes_good(shown: Shown) -> str:
    """An honest judge: the answer that says GOOD is better."""
    good = ("GOOD" in shown.a, "GOOD" in shown.b)
    return verdict("tie" if good[0] == good[1] else "A" if good[0] else "B")


@dataclass
class ScriptedJudge:
    """Answers each question by ``script``, which gets it taken apart, or what a call comes to."""

    script: Callable[[Shown], str | AskFailed | NoBudget] = likes_good
    model: str = "claude-judge"
    asked: list[Shown] = field(default_factory=list)

    def ask(self, asked: Question) -> Reply | AskFailed | NoBudget:
        shown = taken_apart(asked)
        self.asked.append(shown)
        answer = self.script(shown)
        return Reply(answer, self.model, None) if isinstance(answer, str) else answer


def judge_of(
    file: VerdictFile, calls: ScriptedJudge, *, terms: JudgingTerms | None = None, now: float = NOW, seed: int = 7
) -> Judge:
    chosen = terms or JudgingTerms(file.by, DEFAULT_RUBRIC, repeat_share=0.0)
    return Judge(chosen, calls, file, draw=Random(seed), wall=lambda: now)


def judged(folder: Path, pairs: Iterable[PairTexts], calls: ScriptedJudge, **terms: object) -> JudgeFindings:
    """One run over the pairs, and what the file says afterwards."""
    path = folder / "judge.jsonl"
    with VerdictFile(path, BY) as file:
        chosen = JudgingTerms(BY, DEFAULT_RUBRIC, **{"repeat_share": 0.0, **terms})  # type: ignore[arg-type]
        judge_of(file, calls, terms=chosen).judge(in_order(pairs))
    found = findings(read_entries(path))
    assert found is not None
    return found
