"""A server that may refuse the strictest way to ask for an answer's form → the strictest that it takes."""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from poem_service.engine.protocol import Piece
from poem_service.errors import RefusedError

log = logging.getLogger("poem_service.engine.formats")

NOT_UNDERSTOOD = frozenset({400, 415, 422, 501})
"""With one of these a server says that it is asked what it does not know."""

Format = dict[str, Any]


class Formats:
    """Remembers which way was taken, so that only the first ask pays for the refusals."""

    def __init__(self) -> None:
        self._at = 0

    async def write(
        self, ways: Sequence[Format], ask: Callable[[Format], AsyncGenerator[Piece, None]]
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of the first way that is not refused; the first refusal if all are."""
        first: RefusedError | None = None
        for way in range(self._at, len(ways)):
            try:
                async with aclosing(ask(ways[way])) as pieces:
                    async for piece in pieces:
                        self._keep(way, first)
                        yield piece
                return
            except RefusedError as error:
                if error.status not in NOT_UNDERSTOOD:
                    raise
                first = first or error
        assert first is not None
        raise first

    def _keep(self, way: int, refusal: RefusedError | None) -> None:
        if way != self._at:
            self._at = way
            log.warning("the server refuses the stricter form", extra={"seen": {"way": way, "seen": str(refusal)}})
