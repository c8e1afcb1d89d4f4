"""Hands that arrive at an even pace, each over a connection of its own → what came of each."""

import asyncio
import time
from dataclasses import dataclass
from itertools import count
from random import Random

import httpx

from poem.game import builtin_game
from poem.hand import Answer, deal
from poem.rules import check
from support.served import events, sent

PATIENCE_S = 90.0
"""The game's own."""
AT_ONCE_MAX = 150
"""So many may wait for their answers; where this machine is slower than they come, the next ones come later."""


@dataclass(frozen=True, slots=True)
class Played:
    """A hand, its request's id, and what it came to."""

    phase: str
    id: str
    seconds: float
    error: str | None = None
    reason: str | None = None
    """Why it is not the model's, where the answer says so; one that is watched does not."""


class Crowd:
    """Players before one address."""

    def __init__(self, url: str, rate: float) -> None:
        self.played: list[Played] = []
        self._rate = rate
        self._numbers = count()
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        never_kept = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(base_url=url, trust_env=False, limits=never_kept, timeout=PATIENCE_S)

    async def come(self, phase: str, hands: int, amid: "asyncio.Task[None]") -> None:
        """So many hands, and more until what happens amid them has ended; returns when all are answered."""
        begun: list[asyncio.Task[None]] = []
        due = time.monotonic()
        while len(begun) < hands or not amid.done():
            due = max(due + 1 / self._rate, time.monotonic() - 1.0)  # of what is late no more than a second is made up
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._room.acquire()
            begun.append(asyncio.create_task(self._play(phase, next(self._numbers))))
        await asyncio.gather(*begun)
        await amid

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _play(self, phase: str, n: int) -> None:
        """One hand; every third is watched as it is written."""
        name, streamed, started = f"hand-{n:06}", n % 3 == 0, time.monotonic()
        try:
            error, reason = await self._ask(n, name, streamed)
        except httpx.HTTPError as failure:
            error, reason = repr(failure), None
        finally:
            self._room.release()
        self.played.append(Played(phase, name, time.monotonic() - started, error, reason))

    async def _ask(self, n: int, name: str, streamed: bool) -> tuple[str | None, str | None]:
        """What is wrong with the answer, if anything is, and why it is not the model's."""
        deck = builtin_game().deck
        hand = deal(deck, Random(n))
        headers = {"x-request-id": name} | ({"accept": "text/event-stream"} if streamed else {})
        reply = await self._client.post("/api/generate-poem", json=sent(hand), headers=headers)
        if reply.status_code != 200:
            return f"status {reply.status_code}: {reply.text[:80]}", None
        if not streamed:
            answer = reply.json()
        else:
            found = events(reply.text)
            if not found or found[-1][0] != "done":
                return "a stream without an end", None
            answer = found[-1][1]
        broken = check(Answer(answer["title"], answer["poem"]), hand, deck.catchphrases)
        return str(broken[0]) if broken else None, reply.headers.get("x-poem-reason")
