"""Puts the repository root on the path, so that tests can import `tests.servers` and `tests.doubles`.

Each worker of xdist gets its share of the tests that wait (`tests/dealing.py`).

Where ``KILLSWITCH_TEST_TIMES`` names a file, how long each folder of tests took is written there.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# a shared machine may be slow at any moment: no example is timed, and none is called too slow to draw
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")
# for `make check`: each property is drawn less often than in `make test`, where it does not state a number of its own
settings.register_profile("fast-loop", settings.get_profile("shared-machine"), max_examples=30)

# commands that run inside a test print as wide as the terminal in which their console was first imported
os.environ["COLUMNS"] = "250"

# a shell that starts the tests in the background has Ctrl-C ignored, and what tests start would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# thousands of modules and tests live until the end: by default a tenth of the processor time goes into looking at them
gc.set_threshold(20_000, 20, 20)


class FolderTimes:
    """Adds up the tests of each folder, as the process that collects the workers' reports sees them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._began = time.monotonic()
        self._seconds: Counter[str] = Counter()
        self._tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        folder = "/".join(Path(report.nodeid.partition("::")[0]).parent.parts[:3]) or "."
        self._seconds[folder] += report.duration  # type: ignore[assignment]  # seconds are no whole numbers
        self._tests[folder] += report.when == "call"

    def pytest_sessionfinish(self) -> None:
        lines = [f"{time.monotonic() - self._began:7.0f} s in all; of each folder, its tests one after the other:"]
        lines += [
            f"{seconds:7.0f} s  {folder} ({self._tests[folder]} tests)"
            for folder, seconds in self._seconds.most_common()
        ]
        self._file.write_text("\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    from tests.log_settings import restored  # noqa: PLC0415  the root is on the path only now

    with restored():
        yield


@pytest.hookimpl(trylast=True)  # after `-k` and `-m` have taken theirs away
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    from tests.dealing import dealt  # noqa: PLC0415  the root is on the path only now

    worker: dict[str, int] | None = getattr(config, "workerinput", None)
    if worker is not None:  # one process keeps the order of the folders
        items[:] = dealt(items, worker["workercount"])


def pytest_collection_finish() -> None:
    gc.freeze()  # the collected tests stay: not to be looked at again after each of them


def pytest_configure(config: pytest.Config) -> None:
    file = os.environ.get("KILLSWITCH_TEST_TIMES")
    if file and not hasattr(config, "workerinput"):  # a worker of xdist sees its own tests alone
        config.pluginmanager.register(FolderTimes(Path(file)), "folder-times")
