"""Work that shows how it goes → server-sent events; of a poem `waiting`, `delta`, `replace` and at the end `done`."""

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

Put = Callable[[bytes], None]
Run = Callable[[Put], Awaitable[None]]
"""Puts events, and returns once they are all there."""
Refusal = Callable[[BaseException], Response]


class _Listener:
    """Turns what the writer shows into events."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self._shown = False

    def wait(self, place: int, seconds: int) -> None:
        self._put(event("waiting", {"place": place, "seconds": seconds}))

    def grow(self, text: str) -> None:
        self._shown = True
        self._put(event("delta", {"text": text}))

    def withdraw(self, reason: Reason) -> None:
        if self._shown:
            self._put(event("replace", {"reason": reason}))
        self._shown = False


class EventStream(Response):
    """The response; a client that leaves ends the work. It ends well after the last event, and never without.

    With a `refusal` it begins with the first event, so that work which fails before it has an answer of its own.
    """

    media_type = "text/event-stream"

    def __init__(self, run: Run, refusal: Refusal | None = None) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._run = run
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        events: asyncio.Queue[bytes | None] = asyncio.Queue()
        writing = asyncio.ensure_future(self._work(events))
        leaving = asyncio.ensure_future(_left(scope, receive, writing))
        try:
            first = await events.get() if self._refusal else b""
            if first is None and self._refusal and not writing.cancelled() and (error := writing.exception()):
                await self._refusal(error)(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": first or b"", "more_body": True})
            more = True
            while more:
                body, more = await _next(events, ended=first is None)
                if not more and not writing.cancelled() and (error := writing.exception()) is not None:
                    raise error  # the connection breaks, and the client knows
                await send({"type": "http.response.body", "body": body, "more_body": more})
        finally:
            for task in (leaving, writing):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _work(self, events: "asyncio.Queue[bytes | None]") -> None:
        try:
            await self._run(events.put_nowait)
        finally:
            asyncio.get_running_loop().call_soon(events.put_nowait, None)  # once this task has ended


def poem_events(write: Callable[[Audience], Awaitable[Outcome]]) -> EventStream:
    """A poem as it comes to be."""

    async def run(put: Put) -> None:
        outcome = await write(_Listener(put))
        done = {"title": outcome.answer.title, "poem": outcome.answer.poem, "source": outcome.source}
        put(event("done", done))

    return EventStream(run)


def event(name: str, fields: Mapping[str, object]) -> bytes:
    """One event; JSON has no bare line break, so the data is one line."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(fields) + b"\n\n"


async def _next(events: "asyncio.Queue[bytes | None]", *, ended: bool) -> tuple[bytes, bool]:
    """All events that are there, as one piece to send, and whether more follow."""
    if ended:
        return b"", False
    try:
        async with asyncio.timeout(QUIET_S):
            found = [await events.get()]
    except TimeoutError:
        return b": still writing\n\n", True
    while not events.empty():
        found.append(events.get_nowait())
    return b"".join(filter(None, found)), None not in found


async def until_gone(receive: Receive) -> None:
    """Return once the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _left(scope: Scope, receive: Receive, writing: "asyncio.Future[None]") -> None:
    await until_gone(receive)
    if not writing.done():
        scope[LEFT] = True
    writing.cancel()
