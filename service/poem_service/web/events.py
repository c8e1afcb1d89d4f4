"""A poem as it comes to be → server-sent events: `waiting`, `delta`, `replace` and at the end `done`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from poem_service.errors import Reason
from poem_service.record.outcome import Outcome
from poem_service.request.writer import Audience

QUIET_S = 10.0
"""A comment after this long, so that nothing on the way takes the connection for dead."""
LEFT = "poem_service.left"
"""Set in the scope of a request whose client left before its answer."""

Write = Callable[[Audience], Awaitable[Outcome]]


class _Listener:
    """Turns what the writer shows into events."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._shown = False

    def wait(self, place: int, seconds: int) -> None:
        self.events.put_nowait(event("waiting", {"place": place, "seconds": seconds}))

    def grow(self, text: str) -> None:
        self._shown = True
        self.events.put_nowait(event("delta", {"text": text}))

    def withdraw(self, reason: Reason) -> None:
        if self._shown:
            self.events.put_nowait(event("replace", {"reason": reason}))
        self._shown = False


class EventStream(Response):
    """The response; a client that leaves ends the writing. It ends well after `done`, and never without."""

    media_type = "text/event-stream"

    def __init__(self, write: Write) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listener = _Listener()
        writing = asyncio.ensure_future(self._run(listener))
        leaving = asyncio.ensure_future(_left(scope, receive, writing))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            more = True
            while more:
                body, more = await _next(listener.events)
                if not more and not writing.cancelled() and (error := writing.exception()) is not None:
                    raise error  # the connection breaks, and the client knows
                await send({"type": "http.response.body", "body": body, "more_body": more})
        finally:
            for task in (leaving, writing):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _run(self, listener: _Listener) -> None:
        try:
            outcome = await self._write(listener)
            done = {"title": outcome.answer.title, "poem": outcome.answer.poem, "source": outcome.source}
            listener.events.put_nowait(event("done", done))
        finally:
            asyncio.get_running_loop().call_soon(listener.events.put_nowait, None)  # once this task has ended


def event(name: str, fields: Mapping[str, object]) -> bytes:
    """One event; JSON has no bare line break, so the data is one line."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(fields) + b"\n\n"


async def _next(events: "asyncio.Queue[bytes | None]") -> tuple[bytes, bool]:
    """All events that are there, as one piece to send, and whether more follow."""
    try:
        async with asyncio.timeout(QUIET_S):
            found = [await events.get()]
    except TimeoutError:
        return b": still writing\n\n", True
    while not events.empty():
        found.append(events.get_nowait())
    return b"".join(filter(None, found)), None not in found


async def _left(scope: Scope, receive: Receive, writing: "asyncio.Future[None]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if not writing.done():
        scope[LEFT] = True
    writing.cancel()
