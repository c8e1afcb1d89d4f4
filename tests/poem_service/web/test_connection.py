"""Clients that stop halfway, and those who keep a connection, on a real port."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from poem.game import builtin_game
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from poem_service.web import connection
from support.ollama_stand_in import FAULTS, OllamaStandIn
from support.served import DEADLINE_S, a_hand, sent, serving, until

KEPT_S = connection.KEEP_ALIVE_S
WHOLE = b"GET /health HTTP/1.1\r\nhost: stand\r\n\r\n"


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serving(Settings(engine="none")) as (_, client):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        try:
            yield reader, writer
        finally:
            writer.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_S", 0.4)
    monkeypatch.setattr(connection, "KEEP_ALIVE_S", 1.5)


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    return await reader.readexactly(len(b'{"status":"ok"}'))


@pytest.mark.parametrize("before", [b"", WHOLE], ids=["the first", "the second"])
async def test_half_a_header_is_not_waited_for(before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it help to send a byte now and then."""
    monkeypatch.setattr(connection, "KEEP_ALIVE_S", 60)  # which is not what ends it
    async with connected() as (reader, writer):
        if before:
            writer.write(before)
            await answer_of(reader)
        started = time.monotonic()
        writer.write(WHOLE[:25])
        dripping = asyncio.create_task(drip(writer))
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        dripping.cancel()
        assert time.monotonic() - started > 0.3


async def drip(writer: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(0.1)
        writer.write(b"x")


async def test_a_connection_is_kept_for_as_long_as_it_should() -> None:
    assert KEPT_S > 60  # the balancers' minute
    async with connected() as (reader, writer):
        for _ in range(3):
            writer.write(WHOLE)
            assert await answer_of(reader) == b'{"status":"ok"}'
            await asyncio.sleep(0.6)  # more than a header may take
        async with asyncio.timeout(3):
            assert await reader.read() == b""


async def test_nobody_sends_a_header_without_end() -> None:
    async with connected() as (reader, writer):
        writer.write(WHOLE[:-2] + b"x: " + b"y" * (connection.HEADER_BYTES_MAX + 1))
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.1 400")


async def test_an_offer_of_another_protocol_costs_no_body() -> None:
    """As Java's HttpClient makes it."""
    body = json.dumps(sent(a_hand())).encode()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\nUpgrade: h2c\r\n"
    head = b"POST /api/generate-poem HTTP/1.1\r\nhost: stand\r\n%scontent-length: %d\r\n\r\n" % (offer, len(body))
    async with connected() as (reader, writer):
        for _ in range(2):
            writer.write(head + body)
            found = await reader.readuntil(b"\r\n\r\n")
            assert found.startswith(b"HTTP/1.1 200")
            length = next(line for line in found.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            assert set(json.loads(await reader.readexactly(int(length.split()[1])))) == {"title", "poem"}


async def test_a_client_of_the_first_http_is_not_sent_chunks() -> None:
    body = json.dumps(sent(a_hand())).encode()
    head = b"POST /api/generate-poem HTTP/1.0\r\naccept: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with connected() as (reader, writer):
        writer.write(head + body)
        found, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    assert b"content-type: application/json" in found
    assert b"chunked" not in found
    assert set(json.loads(answer)) == {"title", "poem"}


async def test_a_refused_body_is_not_read_for_ever() -> None:
    async with connected() as (reader, writer):
        writer.write(b"POST /nothing HTTP/1.1\r\nhost: stand\r\ncontent-length: 1000000\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
        dripping = asyncio.create_task(drip(writer))
        async with asyncio.timeout(5):
            await reader.read()
        dripping.cancel()


async def test_an_answer_that_nobody_reads_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many answers, far more than any buffer takes; who reads on in time has all of them."""
    asked, whole = 500, len(json.dumps([card.as_json() for card in builtin_game().deck.cards])) // 2
    for pause_s, all_come in ((0.0, True), (1.5, False)):
        if not all_come:
            monkeypatch.setattr(connection, "UNREAD_S", 0.5)
        async with connected() as (reader, writer):
            writer.write(b"GET /api/cards HTTP/1.1\r\nhost: stand\r\n\r\n" * asked)
            await asyncio.sleep(pause_s)
            received = 0
            with suppress(ConnectionResetError, TimeoutError):
                async with asyncio.timeout(8 if all_come else 20):
                    while received < asked * whole and (data := await reader.read(2**20)):
                        received += len(data)
        assert (received >= asked * whole) is all_come


async def test_a_slow_answer_outlasts_the_start_of_the_next_request(ollama: OllamaStandIn) -> None:
    """Half a request behind one that is under way ends nothing before that one's answer is there."""
    async with serving(Settings(engine="ollama", ollama_url=ollama.url, deadline_s=DEADLINE_S)) as (service, client):
        await until(service, ModelState.READY)
        ollama.behave = FAULTS["hang_before"]
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        body = json.dumps(sent(a_hand())).encode()
        writer.write(b"POST /api/generate-poem HTTP/1.1\r\nhost: stand\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await asyncio.sleep(0.1)
        writer.write(WHOLE[:25])
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
