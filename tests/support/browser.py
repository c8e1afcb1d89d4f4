"""Headless Chromium over its DevTools protocol: open a page, run scripts in it, read its complaints."""

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"),
)


class NavigatingError(Exception):
    """The page that was asked is leaving; the next one may be asked again."""


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._ids = itertools.count(1)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        wanted = next(self._ids)
        await self._socket.send_json({"id": wanted, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == wanted:
                if any(sign in str(message.get("error")) for sign in ("context", "navigated")):
                    raise NavigatingError(message["error"])
                assert "error" not in message, message
                found: dict[str, Any] = message["result"]
                return found
            self._note(message)

    async def run(self, script: str) -> Any:
        """The value of an expression."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script: str, limit_s: float = 20) -> None:
        """Return once the expression is true."""
        async with asyncio.timeout(limit_s):
            while True:
                with suppress(NavigatingError):
                    if await self.run(f"Boolean({script})"):
                        return
                await asyncio.sleep(0.05)

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(message["params"], ensure_ascii=False))
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.complaints.append(message["params"]["entry"]["text"])


@asynccontextmanager
async def browsing(folder: Path, url: str, width: int, height: int) -> AsyncIterator[Page]:
    """The page in a window of that size."""
    assert CHROMIUM is not None
    quiet = asyncio.subprocess.DEVNULL
    running = await asyncio.create_subprocess_exec(
        CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank", stdout=quiet, stderr=quiet
    )
    try:
        async with (
            asyncio.timeout(90),
            aiohttp.ClientSession() as session,
            session.ws_connect(await _tab(session, folder), max_msg_size=2**24) as socket,
        ):
            page = Page(socket)
            for domain in ("Page", "Runtime", "Log"):
                await page.call(f"{domain}.enable")
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
            await page.call("Emulation.setDeviceMetricsOverride", **size)
            await page.call("Page.navigate", url=url)
            yield page
    finally:
        with suppress(ProcessLookupError):
            running.terminate()
        await running.wait()


async def _tab(session: aiohttp.ClientSession, folder: Path) -> str:
    file = folder / "DevToolsActivePort"
    while not file.exists() or not file.read_text().strip():
        await asyncio.sleep(0.05)
    port = file.read_text().split()[0]
    async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
        tabs = await response.json()
    return str(next(tab for tab in tabs if tab["type"] == "page")["webSocketDebuggerUrl"])
