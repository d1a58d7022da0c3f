"""A headless Chromium, driven over its debugging pipe, so that it takes no driver and no port."""

import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time

import matplotlib.colors
import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu-sandbox",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--remote-debugging-pipe",
)
WIDTH, HEIGHT = 800, 500  # of the tests' page, which is drawn without a GPU
PATIENCE = 120.0  # seconds; a busy machine draws in software

# Chromium reads commands from descriptor 3 and writes answers to 4.
_LAUNCHER = (
    "import os, sys; r, w = int(sys.argv[1]), int(sys.argv[2]); r, w = os.dup(r), os.dup(w);"
    "os.dup2(r, 3); os.dup2(w, 4); os.set_inheritable(3, True); os.set_inheritable(4, True);"
    "os.execv(sys.argv[3], sys.argv[3:])"
)


def find() -> str | None:
    """The path of a Chromium, None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of one Chromium; notes every request that is no file and every complaint."""

    def __init__(self, executable: str, profile: str, size: tuple[int, int] = (1280, 800)):
        """Starts Chromium with a page of `size` pixels."""
        read_command, self._commands = os.pipe()
        self._answers, write_answer = os.pipe()
        flags = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        launch = [sys.executable, "-c", _LAUNCHER, str(read_command), str(write_answer)]
        self._process = subprocess.Popen(
            [*launch, executable, *flags, "about:blank"],
            pass_fds=(read_command, write_answer),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_command)
        os.close(write_answer)
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=size[0], height=size[1], deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def open(self, url: str) -> None:
        """Loads a page and waits until its replay is ready; same page, new hash: no load."""
        self._call("Page.navigate", url=url)
        self.wait_for("window.replay && window.replay.ready")

    def wait_for(self, condition: str) -> None:
        """Waits until a JavaScript expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{condition} never held; the page says {self.complaints}")
            time.sleep(0.1)

    def evaluate(self, expression: str):
        """The value of a JavaScript expression, awaited if it is a promise."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def screenshot(self) -> np.ndarray:
        """What the page shows once the next frame is drawn, uint8 [height, width, 3]."""
        self.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
        png = base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def close(self) -> None:
        """Ends the browser."""
        self._session = None
        try:
            self._call("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def _call(self, method: str, **params):
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _read(self):
        while b"\0" not in self._buffer:
            readable, _, _ = select.select([self._answers], [], [], PATIENCE)
            if not readable:
                raise TimeoutError("Chromium does not answer")
            chunk = os.read(self._answers, 1 << 20)
            if not chunk:
                raise OSError("Chromium has ended")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event) -> None:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled":
            if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(str([x.get("value") for x in params["args"]]))
        elif event.get("method") == "Log.entryAdded":
            entry = params["entry"]
            self.complaints += [entry["text"]] if entry["level"] in ("error", "warning") else []


def world(chromium: Browser) -> np.ndarray:
    """The picture of the world as hue in degrees, saturation and value; cards are NaN."""
    picture = chromium.screenshot()
    assert picture.shape == (HEIGHT, WIDTH, 3)
    seen = matplotlib.colors.rgb_to_hsv(picture / 255) * [360, 1, 1]
    for name in ("card", "legend", "bar"):
        box = chromium.evaluate(
            f"(({{left, right, top, bottom}}) => [left, right, top, bottom])"
            f"(document.getElementById('{name}').getBoundingClientRect())"
        )
        left, right, top, bottom = map(int, box)
        # With what there is of its shadow.
        seen[max(top - 6, 0) : bottom + 6, max(left - 6, 0) : right + 6] = np.nan
    return seen


def count(seen: np.ndarray, color: str) -> int:
    """How many pixels have about the hue and at least half the saturation of a color."""
    hue, saturation, _ = matplotlib.colors.rgb_to_hsv(matplotlib.colors.to_rgb(color))
    turn = np.abs((seen[..., 0] - 360 * hue + 180) % 360 - 180)
    return int(((turn < 12) & (seen[..., 1] > saturation / 2)).sum())
