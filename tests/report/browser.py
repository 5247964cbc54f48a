"""Chromium without a window, driven over a pair of pipes: no port, no socket, and no library but Python's own."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ANSWER_S = 60.0  # on a machine that is busy


class Browser:
    """One process, of which each page is a tab of its own. Its protocol's messages end with a zero byte."""

    def __init__(self) -> None:
        assert CHROMIUM is not None
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --remote-debugging-pipe"
        # It takes its file descriptors 3 and 4 for that.
        command = f'exec "$0" {flags} --user-data-dir="$1" about:blank 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, CHROMIUM, self._profile.name],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._num_sent, self._received = 0, b""
        self._events: list[dict[str, Any]] = []

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._num_sent += 1
        message = {"id": self._num_sent, "method": method, "params": parameters}
        os.write(self._out, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._num_sent:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self._events.append(answer)

    def events(self, session: str, method: str) -> list[dict[str, Any]]:
        """What the browser has told of a page so far."""
        return [one["params"] for one in self._events if (one["method"], one.get("sessionId")) == (method, session)]

    def wait_for(self, session: str, method: str) -> None:
        while not self.events(session, method):
            self._events.append(self._next())

    def _next(self) -> dict[str, Any]:
        stops = time.monotonic() + ANSWER_S
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], max(0.0, stops - time.monotonic()))
            data = os.read(self._in, 2**20) if ready else b""
            if not data:
                raise TimeoutError("the browser does not answer")
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        return dict(json.loads(message))

    def open(self, file: Path, scripts: bool = True) -> "Page":
        return Page(self, file, scripts)


class Page:
    """A file in a tab, loaded; `close` it."""

    def __init__(self, browser: Browser, file: Path, scripts: bool) -> None:
        self._browser = browser
        self._target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.ask("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        if not scripts:
            self.ask("Emulation.setScriptExecutionDisabled", value=True)
        self.ask("Page.navigate", url=file.as_uri())
        browser.wait_for(self._session, "Page.loadEventFired")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.ask(method, self._session, **parameters)

    def run(self, script: str) -> Any:
        """What an expression comes to, a promise what it is kept with."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, text=text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def width(self, pixels: int, height: int = 800) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=pixels, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str, media: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)

    def screenshot(self) -> bytes:
        return base64.b64decode(self.ask("Page.captureScreenshot")["data"])

    def pdf(self) -> bytes:
        return base64.b64decode(self.ask("Page.printToPDF")["data"])

    @property
    def complaints(self) -> list[str]:
        """What went to the console or the log: errors, violations of the policy, exceptions."""
        self.run("1")  # what happened before it is told by then
        entries = [one["entry"]["text"] for one in self._browser.events(self._session, "Log.entryAdded")]
        calls = [str(one["args"]) for one in self._browser.events(self._session, "Runtime.consoleAPICalled")]
        thrown = [str(one) for one in self._browser.events(self._session, "Runtime.exceptionThrown")]
        return [*entries, *calls, *thrown]

    @property
    def requests(self) -> list[str]:
        return [one["request"]["url"] for one in self._browser.events(self._session, "Network.requestWillBeSent")]

    def close(self) -> None:
        self._browser.ask("Target.closeTarget", targetId=self._target)
