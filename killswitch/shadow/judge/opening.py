"""Builds a judge from its settings and lets it judge what there is: labels, waiting pairs, kept texts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom

from killswitch.errors import BadSettings
from killswitch.net.credentials import TLS, Secret
from killswitch.router.shadow.ledger import SpendLedger
from killswitch.shadow.judge.budget import AsksOnce, BudgetedCalls
from killswitch.shadow.judge.endpoint import JudgeEndpoint
from killswitch.shadow.judge.judging import Judge, JudgeRun, JudgingTerms
from killswitch.shadow.judge.kept import KeptPairs
from killswitch.shadow.judge.labels import read_labels
from killswitch.shadow.judge.opinions import Labels
from killswitch.shadow.judge.prompt import input_bytes_at_most
from killswitch.shadow.judge.settings import JudgeSettings
from killswitch.shadow.judge.verdict_file import VerdictFile, verdict_path
from killswitch.shadow.judge.waiting import FOLDER, WaitingPairs
from killswitch.shadow.redaction import Redact, redact_forms

_log = logging.getLogger(__name__)


def waiting_pairs(records: Path, rollout: str, *, share: float, redact: Redact = redact_forms) -> WaitingPairs:
    """The pairs of a rollout that wait for the judge: what the worker offers raw pairs to. Raises BadSettings."""
    return WaitingPairs(verdict_path(records, rollout).with_name(FOLDER), share=share, redact=redact)


@dataclass(slots=True)
class OpenJudge:
    """A judge of one rollout with its verdict file open."""

    settings: JudgeSettings
    records: Path
    rollout: str
    judge: Judge
    verdicts: VerdictFile
    wall: Callable[[], float] = field(default=time.time)

    def judge_labels(self, path: Path) -> JudgeRun:
        """Judge the pairs of a file of people's labels, which are the labels from now on. Raises BadSettings."""
        pairs, labels = read_labels(path)
        self.verdicts.append(Labels(self.wall(), labels))
        return self.judge.judge(pairs, source="labels")

    def judge_waiting(self) -> JudgeRun:
        """Judge the pairs that wait; each is deleted once its verdicts are stored, or its time to live is over."""
        waiting = waiting_pairs(self.records, self.rollout, share=self.settings.share)
        expired = waiting.expire(before=self.wall() - 3600.0 * self.settings.wait_hours)
        if expired:
            _log.warning("%s: %d pairs waited too long for the judge and were deleted unjudged", self.rollout, expired)
        run = self.judge.judge(waiting.take(), done=lambda pair: waiting.done(pair.pair))
        run.expired = expired
        return run

    def judge_kept(self) -> JudgeRun:
        """Judge recorded pairs whose texts were kept. Raises BadSettings if there are no records."""
        kept = KeptPairs(self.records, self.rollout, share=self.settings.share, judged=self.verdicts.begun)
        return self.judge.judge(kept.take(), source="kept", without_texts=lambda: kept.without_texts)


@contextmanager
def open_judge(
    settings: JudgeSettings,
    records: Path,
    rollout: str,
    *,
    ledger: SpendLedger | None = None,
    endpoint: AsksOnce | None = None,
    draw: Random | None = None,
    wall: Callable[[], float] = time.time,
    pause: Callable[[float], bool] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[OpenJudge]:
    """``ledger``: the spend ledger in the judge's scope. ``pause``: see `BudgetedCalls`.

    Raises BadSettings, and Unavailable where another process judges this rollout.
    """
    if ledger is None and settings.max_pairs_a_day is None:
        raise BadSettings(["judge: nothing limits what it spends; set `max_pairs_a_day` or `max_dollars_a_day`"])
    if ledger is None and settings.max_dollars_a_day is not None:
        raise BadSettings(["judge: `max_dollars_a_day` needs the spend ledger; see `judge_ledger`"])
    asked = endpoint if endpoint is not None else _endpoint(settings)
    calls = BudgetedCalls(
        asked,
        ledger=ledger,
        input_tokens_at_most=input_bytes_at_most(settings.rubric),
        pause=pause if pause is not None else _sleep,
        call_seconds=settings.call_seconds,
    )
    terms = JudgingTerms(
        settings.by,
        settings.rubric,
        insist=settings.insist,
        repeat_share=settings.repeat_share,
        most_a_day=settings.max_pairs_a_day,
        keep_reasons=settings.keep_reasons,
    )
    try:
        with VerdictFile(verdict_path(records, rollout), settings.by) as verdicts:
            judge = Judge(terms, calls, verdicts, draw=draw or SystemRandom(), wall=wall, stop=stop)
            yield OpenJudge(settings, records, rollout, judge, verdicts, wall)
    finally:
        if isinstance(asked, JudgeEndpoint):
            asked.close()


def _endpoint(settings: JudgeSettings) -> JudgeEndpoint:
    return JudgeEndpoint(
        settings.url,
        settings.model,
        protocol=settings.protocol,
        key=None if settings.key_file is None else Secret.from_file(settings.key_file),
        timeout=settings.timeout_seconds,
        max_output_tokens=settings.max_output_tokens,
        temperature=settings.temperature,
        tokens_field=settings.tokens_field,
        tls=TLS(ca_file=settings.ca_file),
        proxy=settings.proxy,
    )


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False
