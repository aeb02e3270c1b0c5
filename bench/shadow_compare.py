"""How many pairs a second the worker of shadow mode compares and keeps on one core, and what each part of it costs.

Run ``python -m bench.shadow_compare``. Answers of about 300 to 2,500 characters; a third of the second ones differ in a
fact or in their words. Processor seconds of this process, so that a busy machine counts less. ``--semantic`` adds the
small model of the extra `semantic`.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from killswitch.router.shadow.raw_pair import RawAnswer, RawPair, to_line
from killswitch.shadow.agreement import agreement_of
from killswitch.shadow.comparison import Comparing, compare
from killswitch.shadow.facts import facts_of
from killswitch.shadow.features import side_of
from killswitch.shadow.prompt_classes import PromptClasses
from killswitch.shadow.similarity import CharacterGrams, Similarity
from killswitch.shadow.sinks.record_files import RecordFiles
from killswitch.shadow.text_keeping import TextKeeping
from killswitch.shadow.worker import Worker, WorkerSettings

WANTED = 40  # pairs a second on one core
AT = 1_777_800_000.0
SENTENCES = (
    "Your refund of $25.00 was issued on 3 May 2026 and reaches your account within five business days.",
    "You can follow order ORD-10482 at https://example.com/orders?id=10482 until it is delivered.",
    "If the parcel does not arrive by Tuesday, write to support@example.com and we will send another one.",
    "The plan renews each month, and you can cancel it at any time in the settings of your account.",
    "We do not charge a fee for the first return, and 20% off is taken from the next order.",
    "Hold the button for 10 seconds until the light blinks twice, then choose the headset in the list.",
    "Please note that the warranty covers parts and labour, but not damage by water.",
    "Our team in Boston answers from 9 am to 5 pm, and at weekends you can leave a message.",
)
PROMPTS = ("Where is my refund?", "How do I reset the password of my account?", "My package {} is late, where is it?")


def text(draw: random.Random) -> str:
    return " ".join(draw.choice(SENTENCES) for _ in range(draw.randint(3, 25)))


def changed(said: str, draw: random.Random) -> str:
    return draw.choice(
        (said.replace("five", "fifty"), said.replace("was issued", "was not issued"), f"Sure! {said[:200]}")
    )


def pairs(count: int) -> list[RawPair]:
    draw = random.Random(7)
    made = []
    for number in range(count):
        said = text(draw)
        other = said if draw.random() < 0.1 else changed(said, draw) if draw.random() < 0.4 else text(draw)
        sides = [RawAnswer(model, "ok", 1.0, answer) for model, answer in (("old", said), ("new", other))]
        request = {"messages": [{"role": "user", "content": draw.choice(PROMPTS).format(number)}]}
        made.append(RawPair(f"p{number}", "support", 1, AT + number, "candidate", request, sides[0], sides[1]))
    return made


def milliseconds(work: Callable[[], object], times: int) -> float:
    begun = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begun) / times * 1000.0


def worker_rate(raw: list[RawPair], measure: Similarity, kind: str) -> float:
    """Pairs a second from raw files to records on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        spool.mkdir()
        for number in range(0, len(raw), 40):  # one file a second of 40 pairs
            lines = b"".join(map(to_line, raw[number : number + 40]))
            (spool / f"{int(AT * 1000) + number:013d}-1-{number:06d}.raw").write_bytes(lines)
        sink = RecordFiles(Path(folder) / "records", "parquet" if kind == "parquet" else "jsonl")
        comparing = Comparing(measure, b"k" * 32, classify=PromptClasses().classify)
        keeping = TextKeeping(seconds=1e9)
        worker = Worker(WorkerSettings(spool), sink, comparing, wall=lambda: AT, keeping=keeping)
        begun = time.process_time()
        worker.run_to_the_end()
        assert worker.progress.pairs == len(raw)
        return len(raw) / (time.process_time() - begun)


def parts() -> None:
    """What each part of a comparison costs."""
    answers = [pair.control for pair in pairs(200)]
    two_kilobytes = " ".join(SENTENCES * 4)[:2000]
    classes = PromptClasses()
    work: dict[str, tuple[Callable[[], object], int]] = {
        "facts of a text of 2,000 characters": (lambda: facts_of(two_kilobytes), 100),
        "facts of 64,000 digits and spaces": (lambda: facts_of("1 " * 32_000), 2),
        "features of an answer": (lambda: side_of(answers[0], at=AT), 500),
        "class of a prompt": (lambda: classes.classify(PROMPTS[1]), 1000),
    }
    for name, (one, times) in work.items():
        print(f"{name:40}{milliseconds(one, times):10.2f} ms")


def of_measure(measure: Similarity, raw: list[RawPair]) -> None:
    some = raw[:50]
    texts = [(pair.control.text, pair.other.text) for pair in some]
    print(
        f"\n{measure.name}, answers of {sum(len(one) for pair in texts for one in pair) // 100:,} characters on average"
    )
    likeness = milliseconds(lambda: measure.between(texts), 1) / len(some)
    print(f"  {'likeness of two answers':38}{likeness:10.2f} ms")
    compared = milliseconds(lambda: compare(some, Comparing(measure)), 1) / len(some)
    print(f"  {'a pair compared, in memory':38}{compared:10.2f} ms")
    for kind in ("parquet", "jsonl"):
        rate = worker_rate(raw, measure, kind)
        print(f"  {f'the worker, from spool to {kind}':38}{rate:10.0f} pairs/s (wanted: {WANTED})")
    print(f"  {agreement_of(measure).sentence()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--semantic", action="store_true")
    given = parser.parse_args()
    parts()
    of_measure(CharacterGrams(), pairs(given.pairs))
    if given.semantic:
        from killswitch.shadow.semantic import semantic_similarity  # noqa: PLC0415  of an extra

        of_measure(semantic_similarity(), pairs(100))
    print(f"\nmemory at its most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
