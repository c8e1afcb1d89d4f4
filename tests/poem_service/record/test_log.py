"""What the person at the stand reads: one line of JSON for each request, and why it was not the model."""

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO

import httpx
import pytest

from poem_service.record.log import LINES_WAITING_MAX, JsonFormatter, LineWriter
from poem_service.settings import Settings
from support.process import free_port
from support.served import a_hand, sent, serving


@pytest.fixture
def lines() -> Iterator[StringIO]:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("poem_service")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)


async def test_a_request_is_one_line_that_tells_source_reason_and_seed(lines: StringIO) -> None:
    async with serving(Settings(engine="none")) as (_, client):
        await client.post("/api/generate-poem", json=sent(a_hand()), headers={"x-request-id": "stand-0001"})
    found = [line for line in map(json.loads, lines.getvalue().splitlines()) if line["message"] == "request"]
    assert len(found) == 1
    assert set(found[0]) == {
        *("at", "level", "logger", "message", "request_id"),
        *("method", "path", "status", "ms", "source", "reason", "seed", "seconds"),
    }
    assert found[0]["request_id"] == "stand-0001"
    assert found[0]["source"] == "composed"


async def test_the_log_says_once_why_the_model_is_not_used(lines: StringIO) -> None:
    async with serving(Settings(engine="none")) as (service, client):
        for _ in range(3):
            service.keeper.look_now()
            await client.get("/health")
    found = [line for line in map(json.loads, lines.getvalue().splitlines()) if line["logger"].endswith("keeper")]
    assert [(line["message"], line["reason"]) for line in found] == [("model absent", "no-engine")]


def test_a_traceback_stays_in_its_line() -> None:
    try:
        raise ValueError("二行\nの誤り")
    except ValueError as error:
        record = logging.LogRecord("x", 40, "", 1, "a request failed", (), (ValueError, error, error.__traceback__))
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "二行" in json.loads(line)["exception"]


async def test_a_standard_error_that_nobody_empties_stops_nobody() -> None:
    """A pipe holds 64 KB, some 300 lines; what comes later is lost, said so once somebody reads, and ends in order."""
    env = {**os.environ, "POEM_ENGINE": "none", "POEM_PORT": str(port := free_port())}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "poem_service"), stderr=asyncio.subprocess.PIPE, env=env, limit=1024
    )
    assert process.stderr is not None
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5) as client:
        while True:
            try:
                await client.get("/health")
                break
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        count = 2 * LINES_WAITING_MAX
        writer.write(b"GET /health HTTP/1.1\r\nhost: stand\r\n\r\n" * count)
        async with asyncio.timeout(30):
            for _ in range(count):
                assert (await reader.readuntil(b'{"status":"ok"}')).startswith(b"HTTP/1.1 200")
        writer.close()
        lost = re.search(r"(?m)^poem_log_lines_lost_total (\d+)", (await client.get("/metrics")).text)
        assert lost
        assert int(lost[1]) > 0
        process.stderr._limit = 2**20  # type: ignore[attr-defined]  # noqa: SLF001 - from now on it is read
        process.terminate()
        said = (await process.stderr.read()).decode()
    await process.wait()
    assert '"message":"lines were lost"' in said
    assert said.splitlines()[-1].endswith("}")


def test_what_waits_is_written_before_the_end() -> None:
    script = (
        "import logging\n"
        "from poem_service.record.log import log_to_stderr\n"
        "log_to_stderr()\n"
        "for n in range(500): logging.getLogger('x').info('line %d', n)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == [f"line {n}" for n in range(500)]


def test_a_closed_standard_error_costs_lines_only() -> None:
    reading, writing = os.pipe()
    handler = LineWriter(writing)
    os.close(reading)
    for n in range(3):
        handler.emit(logging.LogRecord("x", 40, "", 1, f"line {n}", (), None))
    handler.close()
    os.close(writing)
    assert handler.lost >= 3
