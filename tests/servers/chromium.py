"""A real Chromium, spoken to over its debugging pipe: what a page looks like, and what a keyboard and a reader find."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

Theme = Literal["light", "dark"]
_WITHIN = 60.0
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def installed() -> str | None:
    """The path of the browser, None without one."""
    return next((found for name in _PROGRAMS if (found := shutil.which(name)) is not None), None)


class Chromium:
    """One browser with one page. ``problems``: what the browser said about the page, such as a refused style."""

    def __init__(self, folder: Path) -> None:
        program = installed()
        assert program is not None
        from_us, to_us = os.pipe(), os.pipe()
        # the browser reads commands from descriptor 3 and writes answers to 4
        script = f'exec "$0" "$@" 3<&{from_us[0]} 4>&{to_us[1]}'
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--hide-scrollbars", "--disable-background-networking", f"--user-data-dir={folder}",
            "--remote-debugging-pipe",
        ]  # fmt: skip
        self._log = (folder.parent / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            ["bash", "-c", script, program, *arguments], pass_fds=(from_us[0], to_us[1]), stdout=self._log,
            stderr=self._log,
        )  # fmt: skip
        os.close(from_us[0])
        os.close(to_us[1])
        self._out, self._in = os.fdopen(from_us[1], "wb", 0), os.fdopen(to_us[0], "rb", 0)
        self._number, self._buffer, self._events = 0, b"", list[dict[str, Any]]()
        self.problems: list[str] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.ask(f"{domain}.enable")

    def show(self, address: str, *, width: int, theme: Theme, height: int = 844) -> None:
        """Load a page and wait until it is painted."""
        self.problems.clear()
        self._events.clear()
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.ask("Page.navigate", url=address)
        self._wait_for("Page.loadEventFired")
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def evaluate(self, expression: str) -> Any:
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def read_aloud(self) -> list[tuple[str, str]]:
        """Role and name of what a screen reader finds, in order."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        return [
            (str(node["role"]["value"]), str(node.get("name", {}).get("value", "")))
            for node in nodes
            if not node.get("ignored")
        ]

    def picture(self, file: Path) -> None:
        """The whole page as a PNG."""
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._ask(method, session=self._session, **parameters)

    def _ask(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._out.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found
            self._note(answer)

    def _wait_for(self, event: str) -> None:
        deadline = time.monotonic() + _WITHIN
        while not any(one.get("method") == event for one in self._events):
            assert time.monotonic() < deadline, event
            self._note(self._next())

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        if event.get("method") == "Log.entryAdded":
            self.problems.append(str(event["params"]["entry"]["text"]))
        if event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(event["params"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = self._in.read(1 << 16)
            if not part:
                raise RuntimeError(f"the browser has ended; see {self._log.name}")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for pipe in (self._out, self._in, self._log):
            pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
