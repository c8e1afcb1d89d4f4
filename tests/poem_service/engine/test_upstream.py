"""Answers are read whole, and every error of the HTTP library has a place in our one table."""

import asyncio
import base64
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


async def test_a_server_that_says_more_than_its_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says too much is taken for the next answer's beginning, and aiohttp then waits for its end for ever."""
    monkeypatch.setattr(upstream, "QUICK", aiohttp.ClientTimeout(total=0.5))
    whole = b'{"models": ["%s"]}' % (b"a" * 130_000)
    gone = asyncio.Event()
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(whole)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + whole + head + whole[: len(whole) // 2])
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, aclosing(Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")) as there:
        assert len((await there.get_json("/api/tags"))["models"][0]) == 130_000
        async with asyncio.timeout(10):
            with pytest.raises(UnavailableError, match="timeout"):
                await there.get_json("/api/tags")
    await gone.wait()


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


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server of one answer, and the heads that it was sent."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], heads


async def test_a_proxy_of_the_environment_is_for_far_servers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(b'"near"') as (near, _), listening(b'"proxy"') as (proxy, asked):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with aclosing(Upstream(f"http://localhost:{near}")) as there:
            assert await there.get_json("/") == "near"
        async with aclosing(Upstream("http://model.example.invalid")) as there:
            assert await there.get_json("/v1/models") == "proxy"
        assert asked[0].startswith(b"GET http://model.example.invalid/v1/models ")
        monkeypatch.setenv("NO_PROXY", ".example.invalid")
        async with aclosing(Upstream("http://model.example.invalid")) as there:
            with pytest.raises(UnavailableError):
                await there.get_json("/v1/models")
        assert len(asked) == 1


async def test_a_password_in_the_url_is_sent_and_never_said() -> None:
    async with listening(b"1") as (port, heads):
        there = Upstream(f"http://us:s%2Fcret@127.0.0.1:{port}")
        assert await there.get_json("/") == 1
        await there.aclose()
    assert b"authorization: basic " + base64.b64encode(b"us:s/cret").lower() in heads[0].lower()
    with pytest.raises(EngineError) as refused:
        await there.get_json("/")
    await there.aclose()
    assert "cret" not in str(refused.value) + there.url
    assert "cret" not in str(translate(ValueError("http://us:s/cret@h is no URL")))
