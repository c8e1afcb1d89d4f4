"""Answers are read whole, and every error of the HTTP library has a place in our one table."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

import aiohttp
import pytest

from poem_service.engine import upstream
from poem_service.engine.upstream import Upstream, refusal, translate
from poem_service.errors import AnswerError, EngineError, Reason, UnavailableError


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[Upstream]:
    """A server whose answer comes in pieces, as one over a network does."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        length = sum(map(len, pieces))
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n".encode())
        for piece in pieces:
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(piece)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, aclosing(Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")) as there:
        yield there


async def test_an_answer_that_comes_in_pieces_is_read_to_its_end() -> None:
    async with answering(b'{"tensors": [', b'"one", ', b'"two"]}') as there:
        assert await there.get_json("/api/show") == {"tensors": ["one", "two"]}


async def test_an_answer_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "_JSON_BYTES_MAX", 20)
    async with answering(b'["0123456789', b'0123456789"]') as there:
        with pytest.raises(AnswerError, match="over 20 bytes"):
            await there.get_json("/api/show")


async def test_a_compressed_answer_is_understood_and_none_is_asked_for() -> None:
    """A proxy in between may compress whatever is asked for."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        body = gzip.compress(b'{"models": []}')
        head = f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, aclosing(Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")) as there:
        assert await there.get_json("/api/tags") == {"models": []}
        async with there.post_lines("/api/chat", {}) as lines:
            assert b"".join([line async for line in lines]) == b'{"models": []}'
    assert all(b"accept-encoding: identity" in head.lower() for head in heads)


def kinds(of: type[Exception]) -> Iterator[type[Exception]]:
    yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


class Bare:
    """Makes an error of any kind without its constructor's arguments."""

    @staticmethod
    def of(kind: type[Exception]) -> Exception:
        made = type(kind.__name__, (kind,), {"__init__": lambda self: None, "__str__": lambda self: "seen"})
        error: Exception = made()
        return error


@pytest.mark.parametrize("kind", sorted(set(kinds(aiohttp.ClientError)), key=repr))
def test_no_error_of_the_library_is_left_out(kind: type[Exception]) -> None:
    found = translate(Bare.of(kind))
    assert isinstance(found, EngineError)
    gone = issubclass(kind, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    assert (found.reason is Reason.UNREACHABLE) == gone


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (TimeoutError, Reason.TIMEOUT),
        (aiohttp.SocketTimeoutError, Reason.TIMEOUT),
        (aiohttp.ServerDisconnectedError, Reason.LOST),
        (aiohttp.ClientPayloadError, Reason.LOST),
        (aiohttp.ClientOSError, Reason.LOST),
        (aiohttp.ClientConnectionResetError, Reason.LOST),
        (aiohttp.InvalidURL, Reason.UPSTREAM_ERROR),
    ],
)
def test_what_it_means_for_the_ladder(kind: type[Exception], reason: Reason) -> None:
    found = translate(Bare.of(kind))
    assert found.reason is reason
    assert isinstance(found, UnavailableError if reason is Reason.TIMEOUT else AnswerError)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, Reason.MODEL_MISSING), (503, Reason.BUSY), (429, Reason.BUSY), (400, Reason.UPSTREAM_ERROR)],
)
def test_a_status_has_its_reason(status: int, reason: Reason) -> None:
    assert refusal(status, "x" * 999).reason is reason
    assert len(refusal(status, "x" * 999).seen) < 300
