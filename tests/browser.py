"""A real browser for tests of pages: headless Chromium, spoken to through a pipe (DevTools protocol), no other package.

    with open_page(tmp_path / "report.html", width=390, dark=True) as page:
        assert page.evaluate("document.title") == "…"
        page.click("button"); page.press("ArrowRight"); page.screenshot(tmp_path / "page.png")
        assert page.console == [] and page.requests == []

Promises: every error and warning of the console, every uncaught exception and every request that leaves the page's own
file is kept; each page is a browser of its own, gone with its context. Refuses to wait for ever: `SECONDS` per answer.
Without Chromium a test that opens a page is skipped, or fails where FNN_REQUIRE_BROWSER=1 says that it must not be.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: How long one answer may take: a page of megabytes on a loaded machine takes a few.
SECONDS = 60
FLAGS = (
    "--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-extensions",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--allow-file-access-from-files", "--force-color-profile=srgb", "--hide-scrollbars",
)  # fmt: skip
#: Chromium reads commands from descriptor 3 and answers on 4. A process of many threads must not run Python between
#: fork and exec, so a fresh interpreter moves the two ends there and becomes the browser.
LAUNCH = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3])
os.dup2(read, 3); os.dup2(write, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
#: Keys that print nothing: name -> Windows key code, which is what the protocol wants.
KEYS = {
    "Tab": 9, "Enter": 13, "Escape": 27, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Backspace": 8, "Delete": 46,
}  # fmt: skip
MODIFIERS = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}


def browser() -> str:
    """The path of Chromium; skips the test where there is none, or fails it where one is required."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        if os.environ.get("FNN_REQUIRE_BROWSER") == "1":
            pytest.fail(f"FNN_REQUIRE_BROWSER=1, and none of {', '.join(NAMES)} is on the path. Install chromium.")
        pytest.skip(f"none of {', '.join(NAMES)} is on the path")
    return found


@contextmanager
def open_page(
    address: Path | str, *, width: int = 1200, height: int = 900, dark: bool = False, script: str = ""
) -> Iterator["Page"]:
    """A file (or an address) in a browser of its own, loaded, its images decoded.

    Args:
        address: a path, or a URL (for a fragment: `path.as_uri() + "#A2"`).
        width, height: of the window, in CSS pixels.
        dark: what `prefers-color-scheme` answers.
        script: JavaScript that runs before the page's own, to watch it.
    """
    program = browser()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        commands, to_browser = os.pipe()
        from_browser, answers = os.pipe()
        told = Path(profile) / "stderr"
        with told.open("wb") as stderr:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-c", LAUNCH, str(commands), str(answers)),
                    *(program, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"),
                ],
                pass_fds=(commands, answers),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
        os.close(commands)
        os.close(answers)
        page = Page(to_browser, from_browser, told)
        try:
            page._attach()
            page.emulate(width=width, height=height, dark=dark)
            if script:
                page._call("Page.addScriptToEvaluateOnNewDocument", source=script)
            page.load(address)
            yield page
        finally:
            os.close(to_browser)  # Chromium leaves when its pipe closes
            os.close(from_browser)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Page:
    """One page in the browser; made by `open_page`."""

    def __init__(self, to_browser: int, from_browser: int, told: Path) -> None:
        self._to_browser, self._from_browser, self._told = to_browser, from_browser, told
        self._session: dict[str, str] = {}
        self._count, self._rest, self._loaded = 0, b"", False
        self._console: list[str] = []
        self._requests: list[str] = []
        self._size = (1200, 900)
        self._own = ""

    # ---- what a test does -------------------------------------------------------------------------------------------

    def load(self, address: Path | str) -> None:
        """Go there and wait until it is loaded and its images are decoded."""
        url = address.absolute().as_uri() if isinstance(address, Path) else address
        self._own, self._loaded = url.split("#")[0], False
        got = self._call("Page.navigate", url=url)
        assert "errorText" not in got, f"{url}: {got['errorText']}"
        # a mere fragment loads nothing: then there is no loader, and nothing to wait for
        self._until(lambda: self._loaded or "loaderId" not in got, f"loading {url}")
        decoded = "[...document.images].map(image => image.decode().catch(() => 0))"
        self.evaluate(f"Promise.all([document.fonts.ready, ...{decoded}]).then(() => 0)")

    def evaluate(self, expression: str, *, frame: str = "") -> Any:
        """The value of a JavaScript expression, awaited if it is a promise, as JSON would hold it.

        `frame`: the end of a frame's address, to ask its document (not its script's names) instead of the page's.
        """
        where = {"contextId": self._context(frame)} if frame else {}
        got = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, **where)
        assert "exceptionDetails" not in got, _exception(got["exceptionDetails"])
        return got["result"].get("value")

    def click(self, selector: str, *, frame: str = "") -> None:
        """Click with the mouse in the middle of the first element that matches, within a frame as `evaluate` says."""
        there = self._middle(selector, frame)
        if frame:
            # first bring the frame to where it can be clicked: a page may not scroll the one around it
            corner = self._middle(f'iframe[src$="{frame}"]', "", "[r.x + e.clientLeft, r.y + e.clientTop]")
            there = [a + b for a, b in zip(corner, there, strict=True)]
        for kind, buttons in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
            button = "none" if kind == "mouseMoved" else "left"
            self._call(
                "Input.dispatchMouseEvent", type=kind, x=there[0], y=there[1], button=button, buttons=buttons,
                clickCount=0 if kind == "mouseMoved" else 1,
            )  # fmt: skip

    def press(self, key: str, *modifiers: str) -> None:
        """Press and release a key: one of `KEYS`, or a character; `modifiers` as in `MODIFIERS`."""
        held = sum(MODIFIERS[each] for each in modifiers)
        code = KEYS.get(key) or ord(key.upper())
        # Enter types a line end, as on a keyboard: buttons and links wait for it
        typed = "\r" if key == "Enter" else key if len(key) == 1 else ""
        event = {"key": key, "windowsVirtualKeyCode": code, "modifiers": held, "code": "Space" if key == " " else key}
        self._call("Input.dispatchKeyEvent", type="keyDown" if typed else "rawKeyDown", text=typed, **event)
        self._call("Input.dispatchKeyEvent", type="keyUp", **event)

    def emulate(self, *, width: int | None = None, height: int | None = None, dark: bool | None = None) -> None:
        """Another window size, or the other colour scheme; what is not named stays."""
        if width or height:
            self._size = (width or self._size[0], height or self._size[1])
            size = {"width": self._size[0], "height": self._size[1]}
            self._call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)
        if dark is not None:
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            self._call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        """Write what the window shows as a PNG; the whole page if asked."""
        got = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        file.write_bytes(base64.b64decode(got["data"]))

    @property
    def console(self) -> list[str]:
        """Errors and warnings so far, uncaught exceptions included."""
        self.evaluate("0")  # what was on its way has come when this answers
        return list(self._console)

    @property
    def requests(self) -> list[str]:
        """Every address asked for so far, other than the page itself and what it carries within (`data:`, `blob:`)."""
        self.evaluate("0")
        return [url for url in self._requests if url.split("#")[0] != self._own]

    def _middle(self, selector: str, frame: str, told: str = "[r.x + r.width / 2, r.y + r.height / 2]") -> list[float]:
        """Scroll to the first element that matches; where its middle is, in its own window."""
        there = self.evaluate(
            f"(e => {{ if (!e) return null; e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            f"const r = e.getBoundingClientRect(); return {told} }})(document.querySelector({json.dumps(selector)}))",
            frame=frame,
        )
        assert there is not None, f"nothing matches {selector}"
        return there

    def _context(self, frame: str) -> int:
        """The frame whose address ends so, its document without its script's names."""
        within = self._call("Page.getFrameTree")["frameTree"].get("childFrames", [])
        found = [each["frame"]["id"] for each in within if each["frame"]["url"].endswith(frame)]
        assert len(found) == 1, f"{len(found)} frames end with {frame}"
        return self._call("Page.createIsolatedWorld", frameId=found[0])["executionContextId"]

    # ---- the protocol: JSON messages, each closed by a zero byte ----------------------------------------------------

    def _attach(self) -> None:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params} | self._session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        got: dict[str, Any] = {}

        def answered() -> bool:
            return got.get("id") == self._count

        self._until(answered, method, got)
        assert "error" not in got, f"{method}: {got['error']['message']}"
        return got["result"]

    def _until(self, reached: Any, what: str, got: dict[str, Any] | None = None) -> None:
        """Read messages until it is reached; `came` holds the last answer."""
        end = time.monotonic() + SECONDS
        while not reached():
            while b"\0" not in self._rest:
                ready, _, _ = select.select([self._from_browser], [], [], max(end - time.monotonic(), 0))
                assert ready, f"{what}: no answer within {SECONDS} s"
                chunk = os.read(self._from_browser, 2**20)
                assert chunk, f"{what}: the browser ended. It said: {self._told.read_text(errors='replace')[-2000:]}"
                self._rest += chunk
            text, self._rest = self._rest.split(b"\0", 1)
            message = json.loads(text)
            if "method" in message:
                self._heard(message["method"], message["params"])
            elif got is not None:
                got.clear()
                got.update(message)

    def _heard(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.exceptionThrown":
            self._console.append(_exception(params["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            words = (str(each.get("value", each.get("description", ""))) for each in params["args"])
            self._console.append(f"{params['type']}: {' '.join(words)}")
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            self._console.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}".strip())
        elif event == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("data:", "blob:")):
                self._requests.append(url)


def _exception(details: dict[str, Any]) -> str:
    return "exception: " + details.get("exception", {}).get("description", details["text"])
