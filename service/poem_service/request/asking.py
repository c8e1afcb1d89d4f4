"""One ask of a model → its whole text, with what it showed of its pace; silence is borne as the pulse allows."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from poem_service.engine.protocol import Ask
from poem_service.errors import Reason, UnavailableError
from poem_service.request.growth import Growth
from poem_service.watch.keeper import Keeper
from poem_service.watch.ladder import patience
from poem_service.watch.pulse import Beat


class Watcher(Protocol):
    """Who is shown the text as it grows."""

    def grow(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Draft:
    """What the model wrote, unchecked."""

    text: str
    thoughts: str
    first_s: float | None
    """Until the first piece; None if the answer came in one and its server does not say."""


async def draft(keeper: Keeper, ask: Ask, limit_s: float, watcher: Watcher | None) -> Draft:
    """One answer. Raises `EngineError`: `timeout` for a silence that is none of waiting, `busy` for one that is."""
    engine, pace, pulse = keeper.engine, keeper.standing.pace, keeper.pulse
    assert engine is not None
    bear = patience(pace.first_s, pace.piece_s, pace.answer_s) if pace else patience(1.0, 0.1, 20.0)
    growth = Growth() if watcher else None
    loop = asyncio.get_running_loop()
    started = loop.time()
    texts: list[str] = []
    thoughts: list[str] = []
    tokens, first_s = 0, None
    try:
        async with asyncio.timeout(limit_s) as timer, aclosing(engine.write(ask)) as pieces:
            first_patience_s = bear.first_s if ask.stream else bear.whole_s
            beat = Beat(timer, started, started + limit_s, first_patience_s, bear.gap_s)
            pulse.begin(beat)
            try:
                async for piece in pieces:
                    now = loop.time()
                    if not (piece.text or piece.thought):
                        pulse.headers(beat, now)
                        continue
                    pulse.piece(beat, now)
                    if piece.writing_s is not None:
                        first_s = max(0.0, now - started - piece.writing_s)
                    elif first_s is None and ask.stream:
                        first_s = now - started
                    texts.append(piece.text)
                    thoughts.append(piece.thought)
                    tokens += piece.tokens
                    if growth and watcher and (text := growth.feed(piece.text)):
                        watcher.grow(text)
            finally:
                pulse.end(beat)
    except TimeoutError as error:
        if pulse.was_queued(beat, loop.time()):
            raise UnavailableError(Reason.BUSY, "waited inside the server until the time was up") from error
        raise UnavailableError(Reason.TIMEOUT, "no piece, or no end, in time") from error
    keeper.learn(first_s, tokens, loop.time() - started, beat.crowd)
    return Draft("".join(texts), "".join(thoughts), first_s)
