"""Debian's headless Chromium, driven over a pipe by its own protocol (Chrome DevTools Protocol), without a driver between."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_OPTIONS = (
    "--no-sandbox",  # the tests run as root, in a machine of their own
    "--disable-gpu",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


class Browser:
    """One tab. `requested` has every address it asked for, `complaints` what it logged, violations of policy among it."""

    def __init__(self, folder: Path, *, width: int = 1160, height: int = 1000, dark: bool = False) -> None:
        self.requested: list[str] = []
        self.complaints: list[str] = []
        (their_in, self._out), (self._in, their_out) = os.pipe(), os.pipe()
        command = ["chromium-headless-shell", *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        # It reads commands from file descriptor 3, and writes answers and events to 4. (dash knows none above 9.)
        shuffled = ["bash", "-c", f'exec "$@" 3<&{their_in} 4>&{their_out}', "bash", *command]
        self._child = subprocess.Popen(
            shuffled, pass_fds=(their_in, their_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(their_in)
        os.close(their_out)
        self._buffer = b""
        self._number = 0
        target = self._ask("Target.getTargets")["targetInfos"][0]["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._call(f"{domain}.enable")
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.wait()
        os.close(self._in)
        os.close(self._out)

    def open(self, address: str) -> None:
        self._call("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of the page's, as JSON has it. What the test runs is not under the page's policy."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60.0) -> Any:
        """Evaluate again and again until it is true."""
        deadline = time.monotonic() + seconds
        while not (found := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"{expression}: not within {seconds:g} s"
            time.sleep(0.1)
        return found

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def screenshot(self) -> bytes:
        """What is seen, PNG."""
        answer = self._call("Page.captureScreenshot")
        return base64.b64decode(answer["data"])

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        return self._ask(method, session=self._session, **parameters)

    def _ask(self, method: str, *, session: str | None = None, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            read = os.read(self._in, 1 << 16)
            assert read, "the browser has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        notes: dict[str, Callable[[], None]] = {
            "Network.requestWillBeSent": lambda: self.requested.append(parameters["request"]["url"]),
            "Log.entryAdded": lambda: self.complaints.append(parameters["entry"]["text"]),
            "Runtime.exceptionThrown": lambda: self.complaints.append(str(parameters["exceptionDetails"])),
            "Runtime.consoleAPICalled": lambda: self.complaints.append(str(parameters["args"])),
        }
        notes.get(str(event.get("method")), lambda: None)()
