"""The simulated service as the demo holds it: a child process, its account of itself, and its one lever."""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from killswitch.demo.children import Child
from killswitch.demo.pace import Pace
from killswitch.demo.simulation import SimulationState, Tally
from killswitch.demo.traffic import Regression
from killswitch.errors import Unavailable

_START_SECONDS = 30.0
_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """A running service. ``url`` is its root; ``metrics_url`` is what is scraped."""

    url: str
    child: Child

    @classmethod
    def start(
        cls,
        *,
        store: str,
        rollout: str,
        pace: Pace,
        control: str,
        canary: str,
        seed: int = 1,
        regression: Regression = Regression.NONE,
        regress_after: float | None = None,
        rate: float | None = None,
        within: Path | None = None,
    ) -> Self:
        """Start it and wait until it answers. Raises Unavailable, with its last words, when it does not.

        ``store`` as in settings; ``regress_after`` in simulated seconds, ``rate`` in requests a simulated second
        (None: the service's own defaults). ``within`` is the folder for its own one (None: where such things go).
        """
        folder = Path(tempfile.mkdtemp(prefix="killswitch-service-", dir=within))
        words = ["--store", store, "--rollout", rollout, "--control", control, "--canary", canary]
        words += ["--speed", str(pace.speed), "--seed", str(seed), "--regression", regression.value]
        words += [] if regress_after is None else ["--regress-after", str(regress_after)]
        words += [] if rate is None else ["--rate", str(rate)]
        command = [sys.executable, "-m", "killswitch.demo.service", *words]
        child = Child("the simulated service", command, log=folder / "log", remove=folder)
        try:
            child.wait_until(lambda: _announced(child.output()) is not None, seconds=_START_SECONDS)
            url = _announced(child.output())
            assert url is not None
            return cls(url, child)
        except BaseException:
            child.stop()
            raise

    @property
    def metrics_url(self) -> str:
        return f"{self.url}/metrics"

    def state(self) -> SimulationState:
        """Its account of itself now. Raises Unavailable."""
        answer = self._ask("GET", "/state")
        return SimulationState(
            **{
                **answer,
                "regression": Regression(answer["regression"]),
                "control": Tally(**answer["control"]),
                "canary": Tally(**answer["canary"]),
            }
        )

    def regress(self, kind: Regression, at: float = 0.0) -> None:
        """From now, or simulated second ``at``, on the canary's model is worse in this way. Raises Unavailable."""
        self._ask("POST", "/regression", {"kind": kind.value, "at": at})

    def _ask(self, method: str, path: str, body: dict[str, str | float] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=_TIMEOUT)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the simulated service does not answer ({error})") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise Unavailable(f"the simulated service answers {answer.status}: {text.decode(errors='replace'):.200}")
        decoded: dict[str, Any] = json.loads(text)
        return decoded


def _announced(output: str) -> str | None:
    """The URL in the service's first line that is JSON; None while there is none."""
    for line in output.splitlines():
        if line.startswith("{") and line.endswith("}"):
            url = json.loads(line)["url"]
            assert isinstance(url, str)
            return url
    return None
