"""The keepers of all engines → whose model a hand goes to, by pace; more is a balancer's business."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from poem_service.watch.keeper import Keeper


class Fleet:
    """One keeper an engine, each with breakers and slots of its own; at least one."""

    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self.keepers = tuple(sorted(keepers, key=lambda keeper: keeper.share > 0))
        """Those that have a canary's share come last."""

    async def run(self) -> None:
        """Watch all engines for ever; cancel to stop."""
        await asyncio.gather(*(keeper.run() for keeper in self.keepers))

    async def aclose(self) -> None:
        for keeper in self.keepers:
            with suppress(Exception):  # the others have a connection to let go of too
                await keeper.aclose()

    @property
    def ahead(self) -> int:
        """Requests at a model or waiting for one."""
        return sum(keeper.slots.ahead for keeper in self.keepers)

    @property
    def lead(self) -> Keeper:
        """Who is told of where one is asked for: the first that is ready, else the first."""
        now = time.monotonic()
        return next((keeper for keeper in self.keepers if keeper.obstacle(now) is None), self.keepers[0])

    def pick(self, seed: int, now: float, tried: Sequence[Keeper] = ()) -> Keeper | None:
        """A canary for its share of the seeds, else whoever would be done first; None if nobody is left.

        A canary has more than its share only while no other engine is ready.
        """
        ready = [keeper for keeper in self.keepers if keeper.obstacle(now) is None]
        left = [keeper for keeper in ready if keeper not in tried]
        lot = seed * 2_654_435_761 % 2**32 / 2**32  # spread, whatever seeds come
        for canary in self.keepers if not tried else ():
            if 0 <= lot < canary.share and canary in left:
                return canary
            lot -= canary.share
        regular = [keeper for keeper in left if not keeper.share]
        if not regular and all(keeper.share for keeper in ready):
            regular = left
        return min(regular, key=Keeper.due, default=None)
