"""A headless Chromium, driven through pipes with the DevTools protocol (chromedevtools.github.io)."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


class Page:
    """A tab with an open file; `complaints` holds its console messages and uncaught errors."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to_browser, self._from_browser = to_browser, from_browser
        self._buffer = b""
        self._next_id = 0
        self._session: str | None = None
        self.complaints: list[str] = []

    def open(self, path: Path) -> None:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self._call("Page.navigate", url=path.as_uri())
        while self.evaluate("document.readyState") != "complete":
            pass

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression. Raises AssertionError if it throws."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self) -> bytes:
        """The visible part, as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._next_id += 1
        message: dict[str, Any] = {"id": self._next_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._next_id:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") in {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}:
                self.complaints.append(json.dumps(answer["params"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            received = os.read(self._from_browser, 1 << 16)
            assert received, "the browser has ended"
            self._buffer += received
        message, self._buffer = self._buffer.split(b"\0", 1)
        parsed: dict[str, Any] = json.loads(message)
        return parsed


@contextmanager
def opened_page(path: Path, profile: Path) -> Iterator[Page]:
    """A file opened in a newly started browser."""
    assert CHROMIUM
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for pair in (os.pipe(), os.pipe()) for end in pair]
    read_commands, to_browser, from_browser, write_answers = ends
    flags = f"--headless --no-sandbox --disable-gpu --window-size=1300,1000 --user-data-dir={profile}"
    command = f"exec {CHROMIUM} {flags} --remote-debugging-pipe 3<&{read_commands} 4>&{write_answers}"
    process = subprocess.Popen(
        ["bash", "-c", command],
        pass_fds=(read_commands, write_answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        page = Page(to_browser, from_browser)
        page.open(path)
        yield page
    finally:
        process.kill()
        process.wait()
        for end in ends:
            os.close(end)
