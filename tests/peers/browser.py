"""Headless Chromium: prints a page as rendered after loading, or is driven by the DevTools protocol."""

import base64
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import F_DUPFD_CLOEXEC, fcntl
from pathlib import Path
from time import monotonic
from typing import Any

from tests.peers.process import path_of

_QUIET = (
    "--headless",
    "--no-sandbox",  # as root it does not run with a sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
SECONDS = 20.0  # for one command, or for a condition: a loaded machine starts Chromium in five


def page(url: str, proxy: str, profile: Path, seconds: float = 60) -> str:
    """Loads `url` through `proxy`, even if it is on loopback; returns the document after its scripts have run."""
    words = ["--dump-dom", "--ignore-certificate-errors", f"--proxy-server={proxy}", "--proxy-bypass-list=<-loopback>"]
    command = [path_of("chromium"), *_QUIET, f"--user-data-dir={profile}", *words, url]
    done = subprocess.run(command, capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout.decode()


class Browser:
    """A running Chromium, driven over a pair of pipes: JSON messages, each with a NUL behind it."""

    def __init__(self, commands: int, answers: int) -> None:
        """commands, answers: descriptors of the pipes, to be written and to be read"""
        self._commands, self._answers = commands, answers
        self._data, self._last = b"", 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Sends a command, and returns its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = monotonic() + SECONDS
        while (answer := self._message(deadline)).get("id") != self._last:
            self.events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._data:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - monotonic()))
            assert ready, "Chromium did not answer in time"
            piece = os.read(self._answers, 1 << 20)
            assert piece, "Chromium has ended"
            self._data += piece
        message, _, self._data = self._data.partition(b"\0")
        return json.loads(message)

    def tab(self, url: str, width: int = 1280, height: int = 800, dark: bool = False, scripts: bool = True) -> "Tab":
        """Opens a page, and waits until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, target, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        tab.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        tab.go(url)
        return tab


class Tab:
    """One page. Its expressions are evaluated even where scripts are switched off for the page itself."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait(f"location.href == {json.dumps(url)}")

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression, which may be a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until the page is loaded and an expression is true; one that fails is not true."""
        deadline = monotonic() + SECONDS
        loaded = "document.readyState == 'complete'"
        while not self._holds(f"(() => {{ try {{ return {loaded} && !!({condition}) }} catch {{ return false }} }})()"):
            assert monotonic() < deadline, f"never true: {condition}"
            select.select([], [], [], 0.02)

    def _holds(self, condition: str) -> bool:
        try:
            return bool(self.evaluate(condition))
        except AssertionError as error:
            # The page was left while it was asked, or the next one is not there yet.
            if "navigated" in str(error) or "execution context" in str(error):
                return False
            raise

    def type(self, text: str) -> None:
        """Types a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Clicks the first element that a selector finds."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{place}.scrollIntoView({{ block: 'center' }})")
        x, y = self.evaluate(f"(({{ x, y, width, height }}) => [x + width / 2, y + height / 2])({place}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Presses a key that has a name, such as Enter or Tab."""
        codes = {"Enter": (13, "\r"), "Tab": (9, "")}
        code, text = codes[key]
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    def complaints(self) -> list[str]:
        """Returns what the page has put on the console, violations of its policy included."""
        said = [event["params"] for name in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown") for event in self._events(name)]
        return [event["params"]["entry"]["text"] for event in self._events("Log.entryAdded")] + [*map(str, said)]

    def requested(self) -> list[str]:
        """Returns the URLs that the page has asked for."""
        urls = [event["params"]["request"]["url"] for event in self._events("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("data:")]

    def _events(self, method: str) -> list[dict[str, Any]]:
        self.evaluate("0")  # what came before has been read then
        return [event for event in self._browser.events if event.get("sessionId") == self._session and event["method"] == method]

    def roles(self) -> list[str]:
        """Returns the role of each node that assistive technology is told about."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [node["role"]["value"] for node in nodes if not node["ignored"]]

    def picture(self, path: Path, height: float = 0) -> None:
        """Writes a PNG of the page, down to a height if one is given."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


# Chromium expects the pipes at descriptors 3 and 4, where neither may be before both have been copied.
_PLACED = """
import os, sys
for place, descriptor in enumerate(sys.argv[1:3], 3):
    os.dup2(int(descriptor), place)
os.execv(sys.argv[3], sys.argv[3:])
"""


def _moved_up(descriptor: int) -> int:
    moved = fcntl(descriptor, F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


@contextmanager
def driven(profile: Path) -> Iterator[Browser]:
    """Starts Chromium. profile: a directory of its own"""
    (low_in, ours_out), (ours_in, low_out) = os.pipe(), os.pipe()
    theirs_in, theirs_out = _moved_up(low_in), _moved_up(low_out)
    command = [sys.executable, "-c", _PLACED, str(theirs_in), str(theirs_out), path_of("chromium"), *_QUIET]
    words = [
        f"--user-data-dir={profile}",
        "--remote-debugging-pipe",
        "--hide-scrollbars",
        "--no-proxy-server",
        "--disable-breakpad",
    ]
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen([*command, *words], pass_fds=(theirs_in, theirs_out), **silent)
    os.close(theirs_in)
    os.close(theirs_out)
    browser = Browser(ours_out, ours_in)
    try:
        browser.call("Browser.getVersion")
        yield browser
        browser.call("Browser.close")
        process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(ours_out)
        os.close(ours_in)
