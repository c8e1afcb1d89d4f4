"""The service's own bound on what runs at the model; Ollama's queue has none once the model is loaded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """First come, first served. Waiting ends with the caller's own deadline or cancellation."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ahead = 0
        """Requests that hold a slot or wait for one."""
        self._free = asyncio.Semaphore(size)

    @asynccontextmanager
    async def hold(self, limit_s: float) -> AsyncIterator[bool]:
        """A slot for the length of the block, or False if none came free in time."""
        self.ahead += 1
        try:
            if not await self._taken(limit_s):
                yield False
                return
            try:
                yield True
            finally:
                self._free.release()
        finally:
            self.ahead -= 1

    async def _taken(self, limit_s: float) -> bool:
        if not self._free.locked():
            return await self._free.acquire()
        try:
            async with asyncio.timeout(limit_s):
                return await self._free.acquire()
        except TimeoutError:
            return False
