"""A real Chromium without a window, driven over its DevTools protocol."""

import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from aiohttp import ClientSession, ClientWebSocketResponse
from tests.support.orphans import die_with_parent

Json = dict[str, Any]

CHROMIUM: Final = "/usr/bin/chromium"
START_S: Final = 30.0
ANSWER_S: Final = 30.0
WAIT_S: Final = 10.0
POLL_S: Final = 0.03
PASTED: Final = 100
"""Characters; nobody types more than that in one go."""
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Containers give little shared memory; pages die without it.
    "--disable-dev-shm-usage",
    # Several windows take turns in the foreground: none may fall asleep meanwhile.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
)
# Key, code and text of the keys that tests press by name.
_KEYS: Final = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), "Backspace": (8, "")}


class PageError(Exception):
    """What a test evaluated in a page raised there."""


@contextmanager
def chromium(folder: Path) -> Iterator[str]:
    """Run Chromium with its profile and log in `folder`; gives the address of its DevTools."""
    path = CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium")
    if path is None:
        raise RuntimeError(
            "These tests drive a real browser: install Debian's package chromium "
            f"(it was looked for at {CHROMIUM} and on PATH)."
        )
    log = folder / "chromium.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [path, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield _devtools(process, folder / "profile" / "DevToolsActivePort", log)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _devtools(process: subprocess.Popen[bytes], ports: Path, log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        lines = ports.read_text().split("\n") if ports.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        if process.poll() is not None:
            break
        time.sleep(POLL_S)
    raise RuntimeError(f"Chromium did not start; it says:\n{log.read_text()[-2000:]}")


class Browser:
    """The connection to one Chromium; `page` opens a window with storage of its own."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._listeners: dict[str, Callable[[str, Json], None]] = {}

    @classmethod
    @asynccontextmanager
    async def at(cls, address: str) -> "AsyncIterator[Browser]":
        """Connect to the DevTools at `address`."""
        async with (
            ClientSession() as session,
            session.ws_connect(address, max_msg_size=0) as socket,
        ):
            browser = cls(socket)
            reader = asyncio.create_task(browser._read(), name="devtools-reader")
            try:
                yield browser
            finally:
                reader.cancel()
                await asyncio.wait([reader])

    async def call(self, method: str, /, *, within: str | None = None, **params: Any) -> Json:
        """One DevTools command and its result. Raises PageError with what Chromium says."""
        id = next(self._ids)
        message = {"id": id, "method": method, "params": params}
        if within is not None:
            message["sessionId"] = within
        answer = self._answers[id] = asyncio.get_running_loop().create_future()
        await self._socket.send_json(message)
        reply = await asyncio.wait_for(answer, ANSWER_S)
        if "error" in reply:
            raise PageError(f"{method}: {reply['error'].get('message')}")
        result: Json = reply["result"]
        return result

    async def _read(self) -> None:
        async for message in self._socket:
            frame = json.loads(message.data)
            if "id" in frame:
                answer = self._answers.pop(frame["id"])
                if not answer.done():
                    answer.set_result(frame)
            elif listener := self._listeners.get(frame.get("sessionId", "")):
                listener(frame["method"], frame["params"])

    @asynccontextmanager
    async def page(self, url: str = "about:blank") -> "AsyncIterator[Page]":
        """A window, closed again at the end. It fails the test if the page had an error."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = Page(self, attached["sessionId"])
        self._listeners[page.session] = page.happened
        try:
            await page.prepare()
            await page.goto(url)
            yield page
        finally:
            del self._listeners[page.session]
            await self.call("Target.disposeBrowserContext", browserContextId=context)
        assert not page.faults, "\n".join(page.faults)

    async def look(self, png: bytes) -> tuple[int, float]:
        """How many colours a picture has, and how bright it is on average (0 to 255)."""
        async with self.page() as page:
            source = "data:image/png;base64," + b64encode(png).decode()
            colours, brightness = await page.evaluate(f"({_LOOK})({json.dumps(source)})")
            return int(colours), float(brightness)


_LOOK: Final = """async (source) => {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  const canvas = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
  canvas.drawImage(picture, 0, 0);
  const bytes = canvas.getImageData(0, 0, picture.width, picture.height).data;
  const pixels = new Uint32Array(bytes.buffer);
  let light = 0;
  for (let i = 0; i < bytes.length; i += 4) light += bytes[i] + bytes[i + 1] + bytes[i + 2];
  return [new Set(pixels).size, light / pixels.length / 3];
}"""


class Page:
    """One window. `faults`: what went wrong in it, uncaught (a broken connection is no fault)."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.session = session
        self.faults: list[str] = []
        self._browser = browser

    async def call(self, method: str, /, **params: Any) -> Json:
        return await self._browser.call(method, within=self.session, **params)

    async def prepare(self) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    def happened(self, method: str, params: Json) -> None:
        """Called with each DevTools event of this window."""
        match method, params:
            case "Runtime.exceptionThrown", {"exceptionDetails": details}:
                self.faults.append(_described(details))
            case "Runtime.consoleAPICalled", {"type": "error", "args": args}:
                self.faults.append(f"console: {args}")
            case "Log.entryAdded", {"entry": {"level": "error", "source": source, "text": text}}:
                if source != "network":
                    self.faults.append(f"{source}: {text}")
            case _:
                pass

    async def goto(self, url: str) -> None:
        """Load `url` and wait until its scripts have run once."""
        result = await self.call("Page.navigate", url=url)
        if "errorText" in result:
            raise PageError(f"{url}: {result['errorText']}")
        await self.wait_for("document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        result = await self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in result:
            raise PageError(_described(result["exceptionDetails"]))
        return result["result"].get("value")

    async def wait_for(self, condition: str, seconds: float = WAIT_S) -> Any:
        """The first true value of a JavaScript expression. Raises TimeoutError saying which."""
        deadline = time.monotonic() + seconds
        while not (value := await self.evaluate(condition)):
            if time.monotonic() > deadline:
                shown = await self.evaluate("document.body.innerText")
                raise TimeoutError(f"Not within {seconds} s: {condition}\nThe page shows:\n{shown}")
            await asyncio.sleep(POLL_S)
        return value

    async def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element, once it can be seen."""
        found = json.dumps(selector)
        await self.wait_for(f"document.querySelector({found})?.checkVisibility()")
        x, y = await self.evaluate(
            f"(() => {{ const e = document.querySelector({found});"
            "e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def type(self, text: str) -> None:
        """Write into what has the focus, key by key; long texts and emoji as if pasted."""
        if len(text) > PASTED:
            await self.call("Input.insertText", text=text)
            return
        for character in text:
            if character.isascii():
                await self.call("Input.dispatchKeyEvent", type="keyDown", text=character)
                await self.call("Input.dispatchKeyEvent", type="keyUp")
            else:
                await self.call("Input.insertText", text=character)

    async def press(self, key: str) -> None:
        """One of the keys that have a name."""
        code, text = _KEYS[key]
        common: Json = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    async def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """The size of the window in CSS pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    async def prefer(self, scheme: Literal["light", "dark"]) -> None:
        """What the person at this window prefers."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def screenshot(self) -> bytes:
        """The window as a PNG."""
        shot = await self.call("Page.captureScreenshot", format="png")
        return b64decode(shot["data"])


def _described(details: Json) -> str:
    exception = details.get("exception", {})
    return str(exception.get("description") or exception.get("value") or details.get("text"))
