"""One HTTP server behind the service: requests → JSON or lines, its library's errors → ours in one table.

aiohttp and not httpx: one streamed answer of 200 lines costs 0.27 ms of processor time here against 1.10 ms
(docs/performance.md).
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote_to_bytes

import aiohttp
import msgspec

from poem.environment import is_near, split_user, without_passwords
from poem_service.engine.protocol import ANSWER_BYTES_MAX
from poem_service.errors import AnswerError, EngineError, Reason, RefusedError, UnavailableError
from poem_service.record.log import request_id

CONNECT_S = 3.0
QUICK = aiohttp.ClientTimeout(total=5.0, sock_connect=CONNECT_S)
LOADING = aiohttp.ClientTimeout(total=1800.0, sock_connect=CONNECT_S)
# The ladder ends an answer in time; this only catches one that nobody waits for.
WRITING = aiohttp.ClientTimeout(total=120.0, sock_connect=CONNECT_S)
SIP_S = 0.1
"""A stream is read so often and no oftener: each read, and each event that follows, costs more than the tokens that it
brings. Ten times a second looks like writing; an answer of 122 tokens in a second takes 4 ms of processor, not 14."""
REST_S = 1.0
"""As long is waited, beside everything else, for the end of a stream whose answer is whole."""
# A line of a stream carries a token or so with its envelope.
_STREAM_BYTES_MAX = 64 * ANSWER_BYTES_MAX
_JSON_BYTES_MAX = 8 * 1024 * 1024


def translate(error: Exception) -> EngineError:
    """The one table from the HTTP library's errors to ours."""
    seen = without_passwords(f"{type(error).__name__}: {error}")
    match error:
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError():
            return UnavailableError(Reason.UNREACHABLE, seen)
        case TimeoutError():
            return UnavailableError(Reason.TIMEOUT, seen)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | aiohttp.ClientOSError():
            return AnswerError(Reason.LOST, seen)
        case aiohttp.ClientConnectionResetError():
            return AnswerError(Reason.LOST, seen)
        case _:
            return AnswerError(Reason.UPSTREAM_ERROR, seen)


def refusal(status: int, text: str) -> RefusedError:
    """The error for an answer that is not 200."""
    reason = {404: Reason.MODEL_MISSING, 429: Reason.BUSY, 503: Reason.BUSY}.get(status, Reason.UPSTREAM_ERROR)
    return RefusedError(reason, status, text)


class Lines:
    """A streamed answer as it comes: whole lines of each read together, first nothing for the headers."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.whole = False
        """Set by the reader once it has the answer: what follows is the stream's end and nothing else."""
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b""
        rest, total = b"", 0
        async for chunk in self._response.content.iter_any():
            total += len(chunk)
            if total > _STREAM_BYTES_MAX:
                raise AnswerError(Reason.MALFORMED, f"over {_STREAM_BYTES_MAX} bytes")
            lines, _, rest = (rest + chunk).rpartition(b"\n")
            if lines:
                yield lines
                await self._sip()
        if rest:
            yield rest

    async def _sip(self) -> None:
        """Leave what comes next to the system for a moment; then it is read at once."""
        connection = self._response.connection
        transport = connection.transport if connection else None
        if transport is None:  # the end has come already
            return
        transport.pause_reading()  # past the library's own flow control, which resumes with every chunk that is read
        await asyncio.sleep(SIP_S)
        transport.resume_reading()


class Upstream:
    """A server at a base URL. Connections are kept; of a player's own headers only the request's id is sent.

    To a server on this machine or beside it no proxy of the environment leads; to any other, as NO_PROXY says. A user
    and password in the URL become a header, so that no message can show them.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        user, self.url = split_user(url)
        credentials = {"authorization": f"Basic {base64.b64encode(unquote_to_bytes(user)).decode()}"} if user else {}
        # What is sent in small lines gains nothing by being compressed, and a reader of lines would wait.
        self._headers = {"Accept-Encoding": "identity"} | credentials | dict(headers or {})
        self._session: aiohttp.ClientSession | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def get_json(self, path: str) -> Any:
        return await self._json("GET", path, None, QUICK)

    async def post_json(self, path: str, body: object, timeout: aiohttp.ClientTimeout = QUICK) -> Any:
        return await self._json("POST", path, body, timeout)

    @asynccontextmanager
    async def post_lines(self, path: str, body: object) -> AsyncIterator[Lines]:
        """A streamed answer. Leaving it before it is whole closes the connection, which ends the work upstream."""
        try:
            response = await self._request("POST", path, body, WRITING)
            lines = Lines(response)
            try:
                if response.status != 200:
                    raise refusal(response.status, await _error_text(response))
                yield lines
            finally:
                if lines.whole and response.connection is not None:
                    self._read_rest(response)
                else:
                    response.close()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise translate(error) from error

    def _read_rest(self, response: aiohttp.ClientResponse) -> None:
        """Read to the stream's end, so that its connection can serve the next ask; nobody waits for that."""
        task = asyncio.create_task(_rest(response))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _json(self, method: str, path: str, body: object, timeout: aiohttp.ClientTimeout) -> Any:
        try:
            # aiohttp's own limit does not hold where a server has sent more than its answer before.
            async with asyncio.timeout(timeout.total), self._request(method, path, body, timeout) as response:
                if response.status != 200:
                    raise refusal(response.status, await _error_text(response))
                return msgspec.json.decode(await _whole(response))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AnswerError(Reason.MALFORMED, f"{path}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise translate(error) from error

    def _request(self, method: str, path: str, body: object, timeout: aiohttp.ClientTimeout) -> Any:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=10)
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=not is_near(self.url),
            )
        content = None if body is None else msgspec.json.encode(body)
        headers = {"content-type": "application/json"} if content is not None else {}
        if (current := request_id.get()) is not None:
            headers["X-Request-ID"] = current
        return self._session.request(
            method, self.url + path, data=content, headers=headers, timeout=timeout, allow_redirects=False
        )

    async def aclose(self) -> None:
        for task in list(self._ending):
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _rest(response: aiohttp.ClientResponse) -> None:
    total = 0
    try:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(REST_S):
                async for chunk in response.content.iter_any():
                    total += len(chunk)
                    if total > ANSWER_BYTES_MAX:
                        break
    finally:
        response.close()  # kept if it ended by itself


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > _JSON_BYTES_MAX:
            raise AnswerError(Reason.MALFORMED, f"over {_JSON_BYTES_MAX} bytes")
    return bytes(found)


async def _error_text(response: aiohttp.ClientResponse) -> str:
    return (await response.content.read(2048)).decode("utf-8", "replace")
