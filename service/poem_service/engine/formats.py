"""A server that may refuse the strictest way to ask for an answer's form → the strictest that it takes."""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from poem_service.engine.protocol import Piece
from poem_service.errors import RefusedError

log = logging.getLogger("poem_service.engine.formats")

NOT_UNDERSTOOD = frozenset({400, 415, 422, 501})
"""With one of these a server says that it is asked what it does not know."""

BELIEVED_AFTER = 2
REMEMBERED_S = 600.0

Format = dict[str, Any]


class Formats:
    """Remembers which way is taken, so that not every ask pays for the refusals.

    One refusal may be a passing fault: two asks in a row have to meet it, and after a while it is tried again.
    """

    def __init__(self) -> None:
        self._at = 0
        self._refusals = 0
        self._until = 0.0

    async def write(
        self, ways: Sequence[Format], ask: Callable[[Format], AsyncGenerator[Piece, None]]
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of the first way that is not refused; the first refusal if all are."""
        if time.monotonic() >= self._until:
            self._at = 0
        first: RefusedError | None = None
        for way in range(self._at, len(ways)):
            begun = False
            try:
                async with aclosing(ask(ways[way])) as pieces:
                    async for piece in pieces:
                        if not begun:
                            begun = True
                            self._note(way, first)
                        yield piece
                return
            except RefusedError as error:
                if error.status not in NOT_UNDERSTOOD:
                    raise
                first = first or error
        assert first is not None
        raise first

    def _note(self, way: int, refusal: RefusedError | None) -> None:
        self._refusals = self._refusals + 1 if refusal else 0
        if self._refusals >= BELIEVED_AFTER:
            self._at, self._until = way, time.monotonic() + REMEMBERED_S
            log.warning("the server refuses the stricter form", extra={"seen": {"way": way, "seen": str(refusal)}})
