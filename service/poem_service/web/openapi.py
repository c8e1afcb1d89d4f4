"""What the service answers, as an OpenAPI 3.1 document; what it is sent is described by what reads it."""

from importlib import metadata
from typing import Any

import msgspec

from poem.hand import PAIRS
from poem_service.request.chat import ChatBody
from poem_service.request.intake import SentHand
from poem_service.web.middleware import BearerKey

_POEM = {
    "type": "object",
    "required": ["title", "poem"],
    "additionalProperties": False,
    "properties": {"title": {"type": "string"}, "poem": {"type": "string"}},
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {"error": {"type": "string"}},
}
_CHAT_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": {"type": "string"}, "type": {"type": "string"}, "code": {"type": "string"}},
        }
    },
}
_READY = {
    "type": "object",
    "required": ["answers_from", "state", "reason", "model", "digest", "prompt_version", "game", "writer", "deal"],
    "properties": {"answers_from": {"enum": ["model", "table"]}, "reason": {"type": ["string", "null"]}},
}
_, _SENT = msgspec.json.schema_components([SentHand, ChatBody], ref_template="#/components/schemas/{name}")
_SENT["ChatBody"]["properties"]["selectedPairs"] = _SENT["SentHand"]["properties"]["selectedPairs"]
_SOURCE = {"schema": {"enum": ["model", "table", "composed"]}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any], told: str = "The answer") -> dict[str, Any]:
    return {"description": told, "content": {"application/json": {"schema": schema}}}


def _text(kind: str) -> dict[str, Any]:
    return {"description": "The answer", "content": {kind: {"schema": {"type": "string"}}}}


def _get(told: str, answer: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"get": {"summary": told, "responses": {"200": answer}, **more}}


def _deal() -> dict[str, Any]:
    cards = {"type": "array", "minItems": PAIRS, "maxItems": PAIRS, "items": _ref("SentCard")}
    seed = {"type": "string", "pattern": "^-?[0-9]{1,18}$"}
    return {
        "get": {
            "summary": "Five cards of five different categories",
            "parameters": [
                {"name": "seed", "in": "query", "schema": seed},
                {"name": "from", "in": "query", "schema": {"enum": ["any", "prepared"]}},
            ],
            "responses": {"200": _json(cards), "400": _json(_ref("Error"), "A seed that is no whole number")},
        }
    }


def _generate() -> dict[str, Any]:
    poem = _json(_ref("Poem"), "A poem; as events when text/event-stream is accepted")
    poem["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    poem["headers"] = {"X-Poem-Source": _SOURCE, "X-Poem-Reason": {"schema": {"type": "string"}}}
    return {
        "post": {
            "summary": "A poem for a hand",
            "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("SentHand")}}},
            "responses": {
                "200": poem,
                "400": _json(_ref("Error"), "Not a hand"),
                "413": _json(_ref("Error"), "Over 64 KiB, and larger than any hand of the deck"),
            },
        }
    }


def _chat() -> dict[str, Any]:
    answer = _json(
        {"type": "object", "required": ["id", "object", "created", "model", "choices"]}, "What the model said"
    )
    answer["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    told = {
        "400": "No chat",
        "404": "Another model",
        "413": "Too large",
        "429": "Over the rate limit",
        "503": "No model",
    }
    return {
        "post": {
            "summary": "A chat with the model, in OpenAI's shape",
            "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("ChatBody")}}},
            "responses": {"200": answer} | {n: _json(_ref("ChatError"), why) for n, why in told.items()},
        }
    }


def _model() -> dict[str, Any]:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    found = _get("One model", _json({"type": "object", "required": ["id", "object"]}), parameters=[name])
    found["get"]["responses"]["404"] = _json(_ref("ChatError"), "Another model")
    return found


def _guarded(paths: dict[str, Any]) -> dict[str, Any]:
    """The paths, each that asks for a key with the answer to whoever has none."""
    for path, operations in paths.items():
        if path.startswith(BearerKey.GUARDED):
            refusal = _json(_ref("ChatError" if path.startswith("/v1/") else "Error"), "A key is asked for")
            for operation in operations.values():
                operation["responses"]["401"] = refusal
    return paths


def _ready() -> dict[str, Any]:
    found = _get("Who answers", _json(_READY))
    found["get"]["responses"]["503"] = _json(_READY, "The service stops; hands are still answered")
    return found


def _stand() -> dict[str, Any]:
    answers = {
        "200": _text("text/html"),
        "401": _json(_ref("Error"), "A key is asked for"),
        "403": _json(_ref("Error"), "Not from this machine, and there is no key"),
    }
    answers["200"]["content"]["application/json"] = {"schema": {"type": "object"}}
    return {
        "get": {"summary": "The page of the person behind the counter", "responses": answers},
        "post": {"summary": "The same with a test hand", "responses": answers},
    }


DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "mansion-poem", "version": metadata.version("mansion-poem")},
    "paths": _guarded(
        {
            "/api/generate-poem": _generate(),
            "/v1/chat/completions": _chat(),
            "/v1/models": _get("The model that answers now", _json({"type": "object", "required": ["object", "data"]})),
            "/v1/models/{name}": _model(),
            "/api/deal": _deal(),
            "/api/cards": _get("The deck", _json({"type": "array", "items": _ref("SentCard")})),
            "/api/catchphrases": _get("The catch-copies", _json({"type": "array", "items": {"type": "string"}})),
            "/health": _get("The process lives", _json({"type": "object", "required": ["status"]})),
            "/ready": _ready(),
            "/stand": _stand(),
            "/metrics": _get("Prometheus text", _text("text/plain")),
            "/openapi.json": _get("This document", _json({"type": "object"})),
        }
    ),
    "components": {
        "schemas": {**_SENT, "Poem": _POEM, "Error": _ERROR, "ChatError": _CHAT_ERROR},
    },
}
