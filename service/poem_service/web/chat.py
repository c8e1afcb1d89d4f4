"""The OpenAI shape of the service: `/v1/models` and `/v1/chat/completions`."""

import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from poem_service.errors import ChatError
from poem_service.record.log import request_id
from poem_service.request.chat import ChatRequest, Reply, is_named, read_chat
from poem_service.web.errors import chat_error
from poem_service.web.events import EventStream, Put
from poem_service.web.requests import SEEN, body_of, is_over_the_limit, service_of, unless_gone

_SINCE = int(time.time())


async def models(request: Request) -> Response:
    """The models that answer now."""
    return _json({"object": "list", "data": [_model(name) for name in service_of(request).chats.models()]})


async def model(request: Request) -> Response:
    """One model, by its name."""
    asked = request.path_params["name"]
    name = next((name for name in service_of(request).chats.models() if is_named(name, asked)), None)
    if name is None:
        raise ChatError(404, f"The model {asked!r} is not served here now.", "model_not_found")
    return _json(_model(name))


async def completions(request: Request) -> Response:
    """A chat: JSON, or events where it asks for a stream."""
    service = service_of(request)
    if is_over_the_limit(request, service):
        raise ChatError(429, "Too many requests from this address in a minute; wait.", "rate_limited")
    body = await body_of(request, service.body_bytes_max)
    asked = read_chat(body, service.game, service.settings.deck_policy)
    told = {"id": f"chatcmpl-{request_id.get()}", "created": int(time.time()), "model": asked.model}
    request.scope[SEEN] = {"model": asked.model, "seed": asked.chat.seed}
    if asked.stream:
        return EventStream(lambda put: _stream(request, asked, told, put), _refuse)
    reply = await unless_gone(request, service.chats.answer(asked, lambda _: None))
    if reply is None:
        return Response(status_code=204)  # nobody is there to read it
    message = {"role": "assistant", "content": reply.text}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish, "logprobs": None}
    return _json(told | {"object": "chat.completion", "choices": [choice]})


async def _stream(request: Request, asked: ChatRequest, told: dict[str, Any], put: Put) -> None:
    begun = False

    def chunk(delta: dict[str, str], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        put(_event(told | {"object": "chat.completion.chunk", "choices": [choice]}))

    def grow(text: str) -> None:
        nonlocal begun
        if not begun:
            chunk({"role": "assistant", "content": ""})
        begun = True
        chunk({"content": text})

    try:
        reply: Reply = await service_of(request).chats.answer(asked, grow)
    except ChatError as error:
        if not begun:
            raise
        put(b"data: " + bytes(chat_error(error.status, error.message, error.code).body) + b"\n\n")
        return
    chunk({}, reply.finish)
    put(b"data: [DONE]\n\n")


def _refuse(error: BaseException) -> Response:
    """Of a stream that did not begin."""
    if isinstance(error, ChatError):
        return chat_error(error.status, error.message, error.code)
    raise error


def _event(fields: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _SINCE, "owned_by": "mansion-poem"}


def _json(found: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(found), media_type="application/json", headers={"Cache-Control": "no-store"})
