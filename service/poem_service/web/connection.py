"""A client's connection → requests, each begun and read in time: half a header and an unread answer end it.

uvicorn's own has a limit for neither.
"""

import asyncio
import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

KEEP_ALIVE_S = 75
"""Longer than the minute for which balancers keep a connection, so that they are the ones who close it."""
HEADER_S = 10.0
"""From the first byte of a request to the end of its header."""
HEADER_BYTES_MAX = 64 * 1024
UNREAD_S = 60.0
"""How long an answer may wait for its reader."""
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


def is_silent(connection: object) -> bool:
    """Whether the client has connected and sent no request yet."""
    return isinstance(connection, Connection) and connection.cycle is None


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with an end to its patience."""

    _patience: asyncio.TimerHandle | None = None
    _reader: asyncio.TimerHandle | None = None
    _in_header = _in_body = False
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(KEEP_ALIVE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        self._wait_for_reader(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not (self._in_header or self._in_body):
            self._in_header, self._header_bytes = True, 0
            self._wait(HEADER_S)
            data = _without_upgrade(data)
        elif self._in_body and self.cycle.response_complete and self._patience is None:
            self._wait(HEADER_S)  # the rest of a body that was refused
        super().data_received(data)
        if self._in_header and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES_MAX:
                self.send_400_response("The header is too large.")

    def on_headers_complete(self) -> None:
        self._in_header, self._in_body = False, True
        self._wait(None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_body = False
        self._wait(KEEP_ALIVE_S if self.cycle.response_complete else None)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader(UNREAD_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._wait_for_reader(None)

    def _wait(self, seconds: float | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = None if seconds is None else self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self._patience = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:  # the next request has begun before this one's answer was there
            self._wait(HEADER_S)

    def _wait_for_reader(self, seconds: float | None) -> None:
        if self._reader is not None:
            self._reader.cancel()
        self._reader = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


def _without_upgrade(start: bytes) -> bytes:
    """A request's start without the offer of another protocol, such as h2c: the parser drops such a request's body."""
    head, end, body = start.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"", head) + end + body
