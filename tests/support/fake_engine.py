"""An engine that does as it is told, handed in where a real one would be: for the keeper's and the writer's tests."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, replace

from poem_service.engine.protocol import Ask, Chat, ModelFacts, Piece

Script = Callable[[Ask], AsyncGenerator[Piece, None]]


async def tokens(ask: Ask) -> AsyncGenerator[Piece, None]:
    """Enough of an answer for a trial, at once."""
    for _ in range(40):
        yield Piece("あ")


def at_pace(first_s: float, piece_s: float, count: int = 40) -> Script:
    """The first piece after `first_s`, the others `piece_s` apart."""

    async def script(ask: Ask) -> AsyncGenerator[Piece, None]:
        await asyncio.sleep(first_s)
        for _ in range(count):
            yield Piece("あ")
            await asyncio.sleep(piece_s)

    return script


@dataclass
class FakeEngine:
    """What it answers, how it is found, and what was asked of it."""

    script: Script = tokens
    facts: ModelFacts = field(default_factory=lambda: ModelFacts("fake:latest", "sha256:first"))
    on_inspect: Callable[[], Awaitable[None]] | None = None
    name: str = "fake"
    asks: list[Ask] = field(default_factory=list)
    loads: int = 0
    unloads: int = 0

    async def inspect(self) -> ModelFacts:
        if self.on_inspect:
            await self.on_inspect()
        return self.facts

    async def load(self) -> None:
        self.loads += 1
        self.facts = replace(self.facts, loaded=True)

    async def unload(self) -> None:
        self.unloads += 1
        self.facts = replace(self.facts, loaded=False)

    def write(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        self.asks.append(ask)
        return self.script(ask)

    async def chat(self, chat: Chat) -> AsyncGenerator[Piece, None]:
        for message in chat.messages:
            yield Piece(message["content"])

    async def aclose(self) -> None:
        return None
