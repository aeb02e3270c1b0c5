"""One replica's desk for Slack, on a real flag store, with what it counts."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from killswitch.interaction.desk import FrontDesk
from killswitch.interaction.people import People
from killswitch.interaction.slack_api import SlackApi
from killswitch.interaction.socket_mode import SlackSocket
from killswitch.interaction.workers import Workers
from killswitch.net.credentials import Secret
from killswitch.status.reports import CycleReport, idle
from killswitch.stores import Delete, Store, keys
from killswitch.stores.opening import open_store
from tests.doubles.slack_workspace import APP_TOKEN, BOT_TOKEN, SlackWorkspace
from tests.unit.interaction.pressed import ROLLOUT, Scene


@contextmanager
def cleared(url: str) -> Iterator[Store]:
    """The store without any key of ours."""
    store = open_store(url)
    for item in store.list(keys.ROOT).items:
        store.commit((), [Delete(item.key)])
    yield store
    store.close()


def secret(folder: Path, name: str, value: str) -> Secret:
    file = folder / name
    file.write_text(value, encoding="utf-8")
    return Secret.from_file(file)


class Replica:
    """``counted``: what was asked for and what became of it. `settled` waits until all of it is done."""

    def __init__(self, url: str, scene: Scene, slack: SlackWorkspace) -> None:
        self.scene = scene
        self.slack = slack
        self.counted: Counter[tuple[str, str]] = Counter()
        self.connected: list[bool] = []
        self.store = open_store(url)
        self.api = SlackApi(base_url=slack.base_url)
        self.workers = Workers(threads=1)
        self.people = People(self.api, _token(BOT_TOKEN), monotonic=scene.clock.monotonic)
        self.desk = FrontDesk(
            api=self.api,
            token=_token(BOT_TOKEN),
            people=self.people,
            deeds=scene.deeds(self.store),
            workers=self.workers,
            rollouts=lambda: scene.rollouts,
            latest=self.latest,
            wall=scene.clock.wall,
            monotonic=scene.clock.monotonic,
            count=lambda what, outcome: self.counted.update([(what, outcome)]),
        )
        self.socket = SlackSocket(
            self.api,
            _token(APP_TOKEN),
            self.desk,
            base_url=slack.base_url,
            connected=self.connected.append,
            first_pause=0.05,
        )

    def latest(self) -> CycleReport:
        flag = self.scene.flag()
        report = idle(ROLLOUT, flag, self.scene.rollouts.get(ROLLOUT))
        return CycleReport(self.scene.clock.wall(), self.scene.clock.monotonic(), 0.1, {ROLLOUT: report})

    def settled(self) -> None:
        """Everything that was taken so far is done."""
        done = threading.Event()
        self.workers._jobs.put(done.set, timeout=20.0)  # waits for a place where all are taken
        assert done.wait(20.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.stop()
        self.workers.close(1.0)
        self.store.close()
        self.api.close()


class _Told(Secret):
    """A secret that a test knows."""

    def __init__(self, value: str) -> None:
        super().__init__("env", "IN_A_TEST")
        self._value = value

    def reveal(self) -> str:
        return self._value


def _token(value: str) -> Secret:
    return _Told(value)
