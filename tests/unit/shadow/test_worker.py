"""The worker on virtual time: what it takes, keeps, sets aside, and does while its sink is down."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from killswitch.errors import Unavailable
from killswitch.router.shadow.raw_pair import Dropped, RawPair
from killswitch.shadow import worker as module
from killswitch.shadow.comparison import Comparing, compare
from killswitch.shadow.raw_files import RawFiles
from killswitch.shadow.similarity import CharacterGrams
from killswitch.shadow.sinks import Batch
from killswitch.shadow.text_keeping import TextKeeping
from killswitch.shadow.worker import Worker, WorkerSettings
from killswitch.timestamps import DAY
from tests.doubles.two_answers import AT, DENIED, raw_pair, write_raw


class MemorySink:
    """Keeps batches by name, as files would. ``down`` makes it fail."""

    def __init__(self) -> None:
        self.batches: dict[tuple[str, str, str], Batch] = {}
        self.down = False
        self.tries = 0
        self.removed_before: dict[str, float] = {}

    def write(self, batch: Batch) -> None:
        self.tries += 1
        if self.down:
            raise Unavailable("the store is down")
        self.batches[batch.name, batch.rollout, batch.day] = batch

    def forget(self, user: str) -> int:
        raise NotImplementedError

    def remove_texts(self, before: Callable[[str], float]) -> int:
        self.removed_before = {"support": before("support")}
        return 2

    def close(self) -> None:
        pass

    def pairs(self) -> list[str]:
        return sorted(record.pair for batch in self.batches.values() for record in batch.records)

    def drops(self) -> list[Dropped]:
        return [drop for batch in self.batches.values() for drop in batch.drops]


class Counted(CharacterGrams):
    def __init__(self) -> None:
        super().__init__()
        self.compared = 0

    def between(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        self.compared += len(pairs)
        return super().between(pairs)


class World:
    def __init__(self, spool: Path, *, texts_for: float | None = None) -> None:
        self.spool = spool
        self.now = AT
        self.sink = MemorySink()
        self.measure = Counted()
        self.offered: list[str] = []
        self.keeping = TextKeeping(seconds=texts_for)
        self.worker = self.another()

    def another(self) -> Worker:
        return Worker(
            WorkerSettings(self.spool),
            self.sink,
            Comparing(self.measure),
            wall=lambda: self.now,
            keeping=self.keeping,
            offer=lambda pair: self.offered.append(pair.id),
        )

    def files(self) -> list[str]:
        return sorted(path.name for path in self.spool.iterdir() if path.name != ".worker.lock")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "spool")


def test_raw_pairs_become_records_and_their_files_go(world: World) -> None:
    write_raw(world.spool, raw_pair(id="a"), raw_pair(DENIED, id="b"))
    write_raw(world.spool, raw_pair(id="c"), Dropped("support", AT, {"disk": 2}), number=2)
    assert world.worker.run_once(at_once=True)
    assert world.sink.pairs() == ["a", "b", "c"]
    assert world.sink.drops() == [Dropped("support", AT, {"disk": 2})]
    assert world.files() == []
    assert not world.worker.run_once(at_once=True)
    assert (world.worker.progress.pairs, world.worker.progress.files) == (3, 2)
    assert world.offered == ["a", "b", "c"]


def test_raw_files_are_gathered_for_a_minute_or_until_there_are_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raw(world.spool, raw_pair(id="a"))
    world.now = AT + 59
    assert not world.worker.run_once()
    world.now = AT + 60
    assert world.worker.run_once()
    monkeypatch.setattr(module, "MOST_FILES", 2)
    for number in range(3):
        write_raw(world.spool, raw_pair(id=f"b{number}"), at=world.now, number=number)
    assert world.worker.run_once()
    assert not world.worker.run_once()
    assert world.sink.pairs() == ["a", "b0", "b1"]


def test_a_clock_set_back_does_not_stop_the_worker(world: World) -> None:
    """The oldest file would seem young for as long as the clock was ahead."""
    write_raw(world.spool, raw_pair(id="a"), at=AT + DAY)
    assert world.worker.run_once()
    assert world.sink.pairs() == ["a"]


def test_pairs_go_to_their_rollout_and_day(world: World) -> None:
    other = raw_pair(id="b", at=AT + DAY)
    write_raw(world.spool, raw_pair(id="a"), other)
    world.worker.run_once(at_once=True)
    assert sorted((rollout, day) for _, rollout, day in world.sink.batches) == [
        ("support", "2026-05-03"),
        ("support", "2026-05-04"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"format": 9}\n',
        b"[" * 100_000 + b"\n",
        json.dumps({"format": 1, "type": "dropped", "rollout": "../up", "at": AT, "reasons": {}}).encode() + b"\n",
        json.dumps({"format": 1, "type": "dropped", "rollout": "support", "at": 1e300, "reasons": {}}).encode() + b"\n",
        b"half a line without its end",
    ],
    ids=range(8),
)
def test_a_broken_line_is_counted_and_set_aside(world: World, line: bytes) -> None:
    path = write_raw(world.spool, raw_pair(id="a"), line)
    world.worker.run_once(at_once=True)
    assert world.sink.pairs() == ["a"]
    assert world.worker.progress.broken == 1
    aside = world.spool / "broken" / f"{path.stem}.lines"
    assert aside.read_bytes() == line
    assert aside.stat().st_mode & 0o777 == 0o600


def test_links_and_pipes_in_the_spool_are_not_read(world: World, tmp_path: Path) -> None:
    """A pipe would hold the worker up for good, and a link leads to what is none of the spool's."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("of somebody else\n")
    write_raw(world.spool, raw_pair(id="a"), b"no pair\n")
    os.mkfifo(world.spool / f"{int(AT * 1000):013d}-7-000002.raw")
    (world.spool / f"{int(AT * 1000):013d}-7-000003.raw").symlink_to(elsewhere / "secret")
    (world.spool / f"{int(AT * 1000):013d}-7-000004.raw").mkdir()
    (world.spool / ".batch-x").symlink_to(elsewhere / "secret")
    (world.spool / "broken").symlink_to(elsewhere, target_is_directory=True)
    world.worker.run_once(at_once=True)
    assert world.sink.pairs() == ["a"]
    assert [path.name for path in elsewhere.iterdir()] == ["secret"]
    assert b"somebody" not in b"".join(path.read_bytes() for path in (world.spool / "broken").iterdir())


def test_a_lock_that_is_a_link_makes_no_file_elsewhere(world: World, tmp_path: Path) -> None:
    world.spool.mkdir(exist_ok=True)
    (world.spool / ".worker.lock").symlink_to(tmp_path / "made")
    with pytest.raises(Unavailable), RawFiles(world.spool).lock(wait=0.0):
        pass
    assert not (tmp_path / "made").exists()


def test_a_pair_that_cannot_be_compared_does_not_hold_up_others(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says where it failed, and nothing of the pair."""

    def failing(pairs: Sequence[RawPair], by: Comparing) -> object:
        if any(pair.id == "bad" for pair in pairs):
            raise ZeroDivisionError(pairs[0].control.text)
        return compare(pairs, by)

    monkeypatch.setattr(module, "compare", failing)
    write_raw(world.spool, *(raw_pair(id=name) for name in ("a", "bad", "b")))
    world.worker.run_once(at_once=True)
    assert world.sink.pairs() == ["a", "b"]
    assert world.worker.progress.broken == 1
    assert "set aside (ZeroDivisionError, raised at" in caplog.text
    assert raw_pair().control.text not in caplog.text
    assert [drop.reasons for drop in world.sink.drops()] == [{"failed": 1}], "else the report would be of survivors"


def test_while_the_sink_is_down_raw_files_wait_and_nothing_is_compared_twice(world: World) -> None:
    write_raw(world.spool, raw_pair(DENIED, id="a"))
    world.sink.down = True
    for _ in range(60):
        with pytest.raises(Unavailable):
            world.worker.run_once(at_once=True)
    write_raw(world.spool, raw_pair(DENIED, id="b"), number=2)
    assert world.measure.compared == 1
    world.sink.down = False
    world.worker.run_to_the_end()
    assert world.sink.pairs() == ["a", "b"]
    assert world.measure.compared == 2


def test_run_goes_on_after_an_outage_and_ends_when_told(world: World) -> None:
    write_raw(world.spool, raw_pair(id="a"))
    world.now = AT + 60
    world.sink.down = True
    stopping = threading.Event()

    def after_try() -> None:
        if world.sink.pairs():
            stopping.set()
        world.sink.down = False

    world.worker._after_try = after_try
    world.worker.run(stopping, poll=0.001)
    assert world.sink.pairs() == ["a"]
    assert world.sink.tries == 2


def test_a_worker_that_died_before_its_records_were_safe_is_repeated_exactly(world: World) -> None:
    """The same files under the same name, whatever has come since."""
    write_raw(world.spool, raw_pair(id="b"), number=2)
    world.sink.down = True
    with pytest.raises(Unavailable):
        world.worker.run_once(at_once=True)
    world.sink.down = False
    write_raw(world.spool, raw_pair(id="a"), number=1)  # of another process, and earlier in order
    successor = world.another()
    successor.run_once(at_once=True)
    assert world.sink.pairs() == ["b"]
    successor.run_once(at_once=True)
    assert world.sink.pairs() == ["a", "b"]


def test_a_worker_that_died_after_its_records_were_safe_only_deletes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raw(world.spool, raw_pair(id="a"))

    def killed(_self: RawFiles, _batch: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RawFiles, "_delete", killed)
    with pytest.raises(KeyboardInterrupt):
        world.worker.run_once(at_once=True)
    monkeypatch.undo()
    tries = world.sink.tries
    assert not world.another().run_once(at_once=True)
    assert world.sink.tries == tries
    assert world.files() == []


def test_texts_are_kept_by_the_rollout_s_own_time(tmp_path: Path) -> None:
    world = World(tmp_path / "spool", texts_for=DAY)
    write_raw(world.spool, raw_pair(DENIED, id="young"), number=1)
    write_raw(world.spool, raw_pair(DENIED, id="old"), at=AT - 2 * DAY, number=2)
    world.worker.run_to_the_end()
    kept = {record.pair: record.other_text for batch in world.sink.batches.values() for record in batch.records}
    assert kept == {"young": DENIED, "old": None}
    assert world.sink.removed_before == {"support": AT - DAY}
    assert world.worker.progress.texts_removed == 2


def test_a_sweep_writes_back_no_user_who_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both read a file of records and put it in its place again, so the spool's lock keeps them apart."""
    held = []

    def remove_texts(before: Callable[[str], float]) -> int:
        with pytest.raises(Unavailable), RawFiles(world.spool).lock(wait=0.0):
            pass
        held.append(before("support"))
        return 0

    monkeypatch.setattr(world.sink, "remove_texts", remove_texts)
    world.worker.sweep()
    assert held


def test_rule_files_say_which_texts_are_kept(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    file = rules / "support.yaml"
    text = (Path(__file__).parents[3] / "rules" / "support-copilot.yaml").read_text()
    name = re.findall(r"^rollout: *(\S+)", text, re.MULTILINE)[0]
    file.write_text(f"{text}\nshadow:\n  keep_text: differences\n  keep_text_for: 2d\n")
    keeping = TextKeeping(rules=rules)
    assert (keeping.seconds_for(name), keeping.seconds_for("another")) == (2 * DAY, 0.0)
    file.write_text("rollout: [broken")
    keeping.read_again()
    assert keeping.seconds_for(name) == 2 * DAY, "a file that is refused changes nothing"
    file.write_text(text)
    keeping.read_again()
    assert keeping.seconds_for(name) == 0.0


@pytest.mark.parametrize("first", [True, False])
def test_a_changed_rule_file_counts_from_the_next_batch_on(world: World, tmp_path: Path, *, first: bool) -> None:
    """Whether texts are kept is not a matter of an hour: the next batch may hold what no one wanted kept."""
    rules = tmp_path / "rules"
    rules.mkdir()
    text = "rollout: support\ncontrol: a\ncanary: b\nrules: {error_rate: {max: 2%}}\n"
    texts = {True: f"{text}shadow: {{keep_text: differences}}\n", False: text}
    (rules / "support.yaml").write_text(texts[first])
    world.keeping = keeping = TextKeeping(rules=rules)
    worker = world.another()
    worker.sweep()
    (rules / "support.yaml").write_text(texts[not first])
    write_raw(world.spool, raw_pair(id="a"))
    worker.run_once(at_once=True)
    assert (keeping.seconds_for("support") > 0.0) is not first


def test_raw_files_that_waited_too_long_are_deleted_and_counted(world: World) -> None:
    """Also while the sink is down: they are all texts. The report still knows how many there were."""
    write_raw(world.spool, raw_pair(id="a"), raw_pair(id="b"))
    world.now = AT + 8 * DAY
    write_raw(world.spool, raw_pair(id="c"), at=world.now, number=2)
    world.worker.expire()
    assert world.files() == [f"{int(world.now * 1000)}-7-000002.raw"]
    assert world.worker.progress.expired == 2
    world.worker.run_to_the_end()
    assert world.sink.pairs() == ["c"]
    assert [dict(drop.reasons) for drop in world.sink.drops()] == [{"expired": 2}]


def test_expired_requests_are_counted_in_their_minute(world: World) -> None:
    """The report counts what was dropped since its generation began, which may be in the middle of a day."""
    asked = AT - 8 * DAY
    noise = raw_pair(id="a", kind="noise", at=asked)
    drops = Dropped("support", asked + 120.0, {"queue_full": 3})
    write_raw(world.spool, raw_pair(id="a", at=asked), noise, drops, at=asked)
    world.worker.expire()
    write_raw(world.spool, raw_pair(id="c"), number=3)
    world.worker.run_once(at_once=True)
    minute = asked - asked % 60.0
    found = {drop.at: dict(drop.reasons) for drop in world.sink.drops()}
    assert found == {minute: {"expired": 1}, minute + 120.0: {"queue_full": 3}}
    assert world.worker.progress.expired == 2


def test_the_folder_is_for_one_worker_at_a_time(world: World) -> None:
    files = RawFiles(world.spool)
    with files.lock(), pytest.raises(Unavailable, match="another worker"), RawFiles(world.spool).lock(wait=0.0):
        pass
    with files.lock(wait=0.0):
        pass


def test_a_plan_names_no_file_outside_of_the_folder(world: World) -> None:
    """Whoever may write there must not make the worker delete what is elsewhere."""
    precious = world.spool.parent / "precious.raw"
    precious.write_bytes(b"")
    world.spool.mkdir()
    (world.spool / ".done-x").write_text('["../precious.raw"]')
    (world.spool / ".batch-y").write_text('["../precious.raw"]')
    assert not world.worker.run_once(at_once=True)
    assert precious.exists()
