"""The OpenAPI document against the running service: no 5xx and no answer that it does not name."""

import asyncio
import warnings
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from poem.deck import WORDINGS_MAX
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.web.openapi import DOCUMENT
from support.ollama_stand_in import MODEL, Call, OllamaStandIn
from support.served import a_hand, sent, serving

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
LIMITS: dict[str, Any] = {
    "max_examples": 40,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


async def polite(call: Call) -> None:
    await call.head()
    await call.text("はい。")
    await call.end()


async def test_the_document_is_served() -> None:
    async with serving(Settings(engine="none")) as (_, client):
        assert (await client.get("/openapi.json")).json() == DOCUMENT


def test_what_is_sent_is_described_as_it_is_read() -> None:
    schemas, paths = DOCUMENT["components"]["schemas"], DOCUMENT["paths"]
    assert schemas["SentCard"]["properties"]["poems"]["maxItems"] == WORDINGS_MAX
    assert {"max_tokens", "n", "selectedPairs"} < schemas["ChatBody"]["properties"].keys()
    assert {path for path, told in paths.items() if "401" not in next(iter(told.values()))["responses"]} == {
        "/health",
        "/ready",
    }


async def test_the_document_is_true(ollama: OllamaStandIn, served: tuple[Service, httpx.AsyncClient]) -> None:
    ollama.behave = polite  # for a player the composer writes then, and a chat takes what comes
    await asyncio.to_thread(_try_all, str(served[1].base_url))


def _try_all(url: str) -> None:
    seen: set[tuple[str, int]] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own, about itself
        schema = schemathesis.openapi.from_dict(DOCUMENT)
        operations = []
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operations.append(result.ok())
        for operation in operations:
            given(operation.as_strategy())(settings(**LIMITS)(_attempt(url, seen)))()
        hand = schema["/api/generate-poem"]["POST"]
        chat: Any = {"model": MODEL, "messages": [{"role": "user", "content": "札を。"}]}
        _attempt(url, seen)(schema["/v1/chat/completions"]["POST"].Case(body=chat, media_type="application/json"))
        _attempt(url, seen)(schema["/v1/models/{name}"]["GET"].Case(path_parameters={"name": MODEL}))
        for n in range(5):  # no chance finds five cards with one of their own wordings each
            _attempt(url, seen)(hand.Case(body=sent(a_hand(n)), media_type="application/json"))
    assert {name for name, status in seen if status == 200} == {operation.label for operation in operations}


def _attempt(url: str, seen: set[tuple[str, int]]) -> Any:
    def attempt(case: Any) -> None:
        response = case.call_and_validate(base_url=url, checks=CHECKS)
        seen.add((case.operation.label, response.status_code))

    return attempt
