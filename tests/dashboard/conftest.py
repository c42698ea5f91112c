"""A real browser, driven through its DevTools protocol over loopback."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nasc.records import Record, Width

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]
PATIENCE_S = 40.0  # the machine may be busy with others


class Browser:
    """One page of headless Chromium.

    Args:
        profile: A fresh folder.
    """

    def __init__(self, binary: str, profile: Path) -> None:
        self.process = subprocess.Popen(
            [binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        from websockets.sync.client import connect

        port_file = profile / "DevToolsActivePort"
        until = time.monotonic() + PATIENCE_S
        while not (port_file.is_file() and len(port_file.read_text().splitlines()) == 2):
            assert time.monotonic() < until, "Chromium did not start"
            time.sleep(0.05)
        port, path = port_file.read_text().splitlines()
        self.socket = connect(f"ws://127.0.0.1:{port}{path}", max_size=2**28, proxy=None)
        self.number = 0
        self.session = ""
        self.console: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Any:
        """Ask, and wait for the answer; events on the way are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        self.socket.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = json.loads(self.socket.recv(timeout=PATIENCE_S))
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.note(answer)

    def note(self, event: dict[str, Any]) -> None:
        """Keep what the console says and what is asked of a network."""
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.console.append(str([entry.get("value", entry.get("description")) for entry in params["args"]]))
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.console.append(details.get("exception", {}).get("description", details["text"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.console.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])

    def open(self, url: str) -> None:
        """Go to a page and wait until it is drawn."""
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && !!window.Plotly && !!nasc.shown")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression holds."""
        until = time.monotonic() + PATIENCE_S
        while not self.run(f"(() => {{ try {{ return !!({condition}) }} catch {{ return false }} }})()"):
            assert time.monotonic() < until, f"never came true: {condition}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key on the keyboard."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def resize(self, width: int, height: int) -> None:
        """The size of the window, in CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """A picture of the page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End it."""
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    binary = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if binary is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    pytest.importorskip("websockets", reason="the browser is driven over a websocket (pip install websockets)")
    opened = Browser(binary, tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture
def quiet_browser(browser: Browser) -> Iterator[Browser]:
    """The browser, with a console that must stay silent and a network that must not be asked."""
    browser.console.clear()
    browser.requests.clear()
    browser.resize(1280, 900)
    yield browser
    assert browser.console == []
    foreign = [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:"))]
    assert foreign == []


@pytest.fixture(scope="session")
def make_family() -> Callable[..., None]:
    """Writes a family of three members of one layer into a folder."""
    from nasc.family import Family, KernelLine, MemberLine, Way, save_family

    def write(folder: Path) -> None:
        kernel = KernelLine("head", "linear", {"rows": 1}, {"c_in": [1000], "c_out": ["conv1"]}, macs_per=1)
        accuracies = {4: 0.6, 8: 0.8, 12: 0.7}
        members = tuple(
            MemberLine(f"width {width}", {"conv1": width / 16}, {"conv1": width}, 0, accuracy=accuracy)
            for width, accuracy in accuracies.items()
        )
        save_family(
            Family(
                "run-0", "digits-cnn", "digits", 10, (1, 8, 8), {"conv1": 16}, 100, (Way(0, (kernel,)),), members, 100
            ),
            folder,
        )

    return write


HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Record]:
    """A record of the i-th run, with an accuracy and a latency of its own."""

    def make(i: int, **changes: Any) -> Record:
        values: dict[str, Any] = {
            "run": f"run-{i}", "model": "digits-cnn", "data": "digits", "method": ("surrogate", "l1")[i % 2], "seed": i,
            "epochs": 3, "device": "cpu", "runtime": "litert", "threads": 1, "dtype": "float32", "target": "2ms",
            "target_s": 0.002, "date": "2026-01-02", "accuracy": 0.9 - 0.01 * (i % 50), "accuracy_stderr": 0.004,
            "dense_accuracy": 0.91, "macs": 1000, "params": 100, "predicted_s": 0.00195,
            "measured_s": 0.0019 - 0.0002 * (i % 8), "spread_s": 1e-5, "dense_measured_s": 0.004,
            "dense_predicted_s": 0.0041,
            "widths": (Width(name="conv1", dense=16, kept=8 - i % 8), Width(name="head", dense=32, kept=30)),
            "history": "history.jsonl", "warnings": (HOSTILE,), "command": HOSTILE, "train_s": 12.0 + i,
        }  # fmt: skip
        return Record(**(values | changes))

    return make


@pytest.fixture(scope="session")
def fill(make_run: Callable[..., Record]) -> Callable[..., Path]:
    """Writes a folder of runs with histories."""
    from nasc.records import save_record

    def write(folder: Path, count: int = 3, **changes: Any) -> Path:
        for i in range(count):
            save_record(make_run(i, **changes), folder / f"run-{i}")
            rows = [
                {"epoch": e, "train_loss": 1 / (1 + e), "val_accuracy": 0.5 + 0.1 * e,
                 "metrics": {"price": 0.004 / (1 + e), "strength": 10.0**e}}
                for e in range(3)
            ]  # fmt: skip
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"run-{i}" / "history.jsonl").write_text(text)
        return folder

    return write
