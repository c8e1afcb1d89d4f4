"""One HTTP server behind the service: requests → JSON or lines, its library's errors → ours in one table.

aiohttp and not httpx: one streamed answer of 200 lines costs 0.27 ms of processor time here against 1.10 ms
(docs/performance.md).
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
import msgspec

from poem_service.engine.protocol import ANSWER_BYTES_MAX
from poem_service.errors import AnswerError, EngineError, Reason, UnavailableError

CONNECT_S = 3.0
QUICK = aiohttp.ClientTimeout(total=5.0, sock_connect=CONNECT_S)
LOADING = aiohttp.ClientTimeout(total=1800.0, sock_connect=CONNECT_S)
# The ladder ends a stream in time; this only catches one that nobody waits for.
STREAMING = aiohttp.ClientTimeout(total=120.0, sock_connect=CONNECT_S)
# A line of a stream carries a token or so with its envelope.
_STREAM_BYTES_MAX = 64 * ANSWER_BYTES_MAX
_JSON_BYTES_MAX = 8 * 1024 * 1024


def translate(error: Exception) -> EngineError:
    """The one table from the HTTP library's errors to ours."""
    seen = f"{type(error).__name__}: {error}"
    match error:
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError():
            return UnavailableError(Reason.UNREACHABLE, seen)
        case TimeoutError():
            return UnavailableError(Reason.TIMEOUT, seen)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | aiohttp.ClientOSError():
            return AnswerError(Reason.LOST, seen)
        case _:
            return AnswerError(Reason.UPSTREAM_ERROR, seen)


def refusal(status: int, text: str) -> EngineError:
    """The error for an answer that is not 200."""
    reason = {404: Reason.MODEL_MISSING, 429: Reason.BUSY, 503: Reason.BUSY}.get(status, Reason.UPSTREAM_ERROR)
    return UnavailableError(reason, f"status {status}: {text[:200]}")


class Upstream:
    """A server at a base URL. Connections are kept; nothing of a player's own headers is sent."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._headers = dict(headers or {})
        self._session: aiohttp.ClientSession | None = None

    async def get_json(self, path: str) -> Any:
        return await self._json("GET", path, None, QUICK)

    async def post_json(self, path: str, body: object, timeout: aiohttp.ClientTimeout = QUICK) -> Any:
        return await self._json("POST", path, body, timeout)

    async def post_lines(self, path: str, body: object) -> AsyncGenerator[bytes, None]:
        """A streamed answer, whole lines of each read together; leaving the generator closes the connection."""
        try:
            async with self._request("POST", path, body, STREAMING) as response:
                if response.status != 200:
                    raise refusal(response.status, await _error_text(response))
                rest, total = b"", 0
                async for chunk in response.content.iter_any():
                    total += len(chunk)
                    if total > _STREAM_BYTES_MAX:
                        raise AnswerError(Reason.MALFORMED, f"over {_STREAM_BYTES_MAX} bytes")
                    lines, _, rest = (rest + chunk).rpartition(b"\n")
                    if lines:
                        yield lines
                if rest:
                    yield rest
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise translate(error) from error

    async def _json(self, method: str, path: str, body: object, timeout: aiohttp.ClientTimeout) -> Any:
        try:
            async with self._request(method, path, body, timeout) as response:
                if response.status != 200:
                    raise refusal(response.status, await _error_text(response))
                return msgspec.json.decode(await _whole(response))
        except msgspec.DecodeError as error:
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
                auto_decompress=False,
                trust_env=False,
            )
        content = None if body is None else msgspec.json.encode(body)
        headers = {"content-type": "application/json"} if content is not None else None
        return self._session.request(
            method, self.url + path, data=content, headers=headers, timeout=timeout, allow_redirects=False
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > _JSON_BYTES_MAX:
            raise AnswerError(Reason.MALFORMED, f"over {_JSON_BYTES_MAX} bytes")
    return bytes(found)


async def _error_text(response: aiohttp.ClientResponse) -> str:
    return (await response.content.read(2048)).decode("utf-8", "replace")
