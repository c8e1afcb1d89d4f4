"""What the person at the stand reads: one line of JSON for each request, and why it was not the model."""

import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest

from poem_service.record.log import JsonFormatter
from poem_service.settings import Settings
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
