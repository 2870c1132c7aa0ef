"""A headless Chromium that reaches this machine only, driven by the DevTools protocol."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.product import NO_TLS

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_FRAME_BYTES_MAX = 64 * 2**20
LOOK_MS = 50
Json = dict[str, Any]


class Page:
    """One tab. `asked` are the URLs that it has requested, `complaints` what it wrote to its console as errors."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._numbers = connection, itertools.count(1)
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self.asked: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        async for text in self._connection:
            message = json.loads(text)
            told = message.get("params", {})
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            elif message["method"] == "Network.requestWillBeSent":
                self.asked.append(told["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self.asked.append(told["url"])
            elif message["method"] == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told))
            elif message["method"] == "Log.entryAdded" and told["entry"]["level"] == "error":
                self.complaints.append(json.dumps(told["entry"]))

    async def order(self, method: str, **params: Any) -> Json:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        message = await answer
        assert "error" not in message, message
        result: Json = message["result"]
        return result

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = await self.order("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, script: str, timeout_s: float = 20) -> Any:
        """The value of an expression once it is true."""
        look = f"const look = () => {{ const value = ({script}); value ? done(value) : setTimeout(look, {LOOK_MS}); }}"
        async with asyncio.timeout(timeout_s):
            return await self.run(f"new Promise((done) => {{ {look}; look(); }})")


@asynccontextmanager
async def opened(profile: Path) -> AsyncIterator[Page]:
    """A browser of its own, with an empty tab; gone with the block. `profile` is an empty directory."""
    assert CHROMIUM is not None
    arguments = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
        "--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={profile}",
        "--window-size=1200,800", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank",
    ]  # fmt: skip
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM, *arguments, stdout=DEVNULL, stderr=PIPE, start_new_session=True
    )
    assert browser.stderr is not None
    try:
        while not (told := re.search(rb"DevTools listening on ws://([^/]+)/", await browser.stderr.readline())):
            assert browser.returncode is None
        draining = asyncio.create_task(browser.stderr.read())
        async with connect(await _tab(told[1].decode()), max_size=_FRAME_BYTES_MAX) as connection:
            page = Page(connection)
            listening = asyncio.create_task(page.listen())
            for domain in ("Network", "Runtime", "Log", "Page"):
                await page.order(f"{domain}.enable")
            yield page
            listening.cancel()
        draining.cancel()
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        await browser.wait()


async def _tab(address: str) -> str:
    async with httpx.AsyncClient(verify=NO_TLS) as client:
        tabs = (await client.get(f"http://{address}/json/list")).json()
    return next(str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page")
