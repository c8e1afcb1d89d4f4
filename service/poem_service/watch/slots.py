"""The service's own bound on what runs at the model; Ollama's queue has none once the model is loaded."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

OnPlace = Callable[[int], None]


@dataclass(eq=False, slots=True)
class _Waiter:
    turn: "asyncio.Future[None]"
    on_place: OnPlace | None
    place: int = 0


class Slots:
    """First come, first served. Waiting ends with the caller's own deadline or cancellation."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._held = 0
        self._waiting: deque[_Waiter] = deque()

    @property
    def ahead(self) -> int:
        """Requests that hold a slot or wait for one."""
        return self._held + len(self._waiting)

    @asynccontextmanager
    async def hold(self, limit_s: float, on_place: OnPlace | None = None) -> AsyncIterator[bool]:
        """A slot for the length of the block, or False if none came free in time.

        `on_place` is told the place in the queue, from 1, whenever it changes.
        """
        if not await self._take(limit_s, on_place):
            yield False
            return
        try:
            yield True
        finally:
            self._give_back()

    async def _take(self, limit_s: float, on_place: OnPlace | None) -> bool:
        if self._held < self.size:
            self._held += 1
            return True
        waiter = _Waiter(asyncio.get_running_loop().create_future(), on_place)
        self._waiting.append(waiter)
        self._tell()
        try:
            async with asyncio.timeout(limit_s):
                await waiter.turn
        except BaseException as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._tell()
            else:  # the turn came in the same moment
                self._give_back()
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def _give_back(self) -> None:
        """The slot passes to whoever waits longest."""
        if not self._waiting:
            self._held -= 1
            return
        waiter = self._waiting.popleft()
        if not waiter.turn.done():
            waiter.turn.set_result(None)
        self._tell()

    def _tell(self) -> None:
        for place, waiter in enumerate(self._waiting, 1):
            if waiter.on_place is not None and waiter.place != place:
                waiter.on_place(place)
            waiter.place = place
