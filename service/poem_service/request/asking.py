"""One ask of a model → its whole text, with what it showed of its pace; silence is borne as the pulse allows."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from poem_service.engine.protocol import Piece
from poem_service.errors import Reason, UnavailableError
from poem_service.watch.keeper import Keeper
from poem_service.watch.ladder import patience
from poem_service.watch.pulse import Beat

OnText = Callable[[str], None]
"""Is told each piece of the text as it comes."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What the model wrote, unchecked."""

    text: str
    thoughts: str
    tokens: int
    first_s: float | None
    """Until the first piece; None if the answer came in one and its server does not say."""
    seconds: float
    crowd: int
    """As many were at the server at once."""

    def after(self, outline: "Draft") -> "Draft":
        """This one with what its outline took; the first piece is that of the slower to begin."""
        known = [first_s for first_s in (outline.first_s, self.first_s) if first_s is not None]
        return Draft(
            self.text,
            outline.thoughts + self.thoughts,
            outline.tokens + self.tokens,
            max(known, default=None),
            outline.seconds + self.seconds,
            max(outline.crowd, self.crowd),
        )


async def draft(
    keeper: Keeper, asked: AsyncGenerator[Piece, None], limit_s: float, *, stream: bool, on_text: OnText | None = None
) -> Draft:
    """One answer. Raises `EngineError`: `timeout` for a silence that is none of waiting, `busy` for one that is."""
    pace, pulse = keeper.standing.pace, keeper.pulse
    bear = patience(pace.first_s, pace.piece_s, pace.answer_s) if pace else patience(1.0, 0.1, 20.0)
    loop = asyncio.get_running_loop()
    started = loop.time()
    texts: list[str] = []
    thoughts: list[str] = []
    tokens, first_s = 0, None
    try:
        async with asyncio.timeout(limit_s) as timer, aclosing(asked) as pieces:
            beat = Beat(timer, started, started + limit_s, bear.first_s if stream else bear.whole_s, bear.gap_s)
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
                    elif first_s is None and stream:
                        first_s = now - started
                    texts.append(piece.text)
                    thoughts.append(piece.thought)
                    tokens += piece.tokens
                    if on_text and piece.text:
                        on_text(piece.text)
            finally:
                pulse.end(beat)
    except TimeoutError as error:
        if pulse.was_queued(beat, loop.time()):
            raise UnavailableError(Reason.BUSY, "waited inside the server until the time was up") from error
        raise UnavailableError(Reason.TIMEOUT, "no piece, or no end, in time") from error
    return Draft("".join(texts), "".join(thoughts), tokens, first_s, loop.time() - started, beat.crowd)
