"""What went wrong → a response: `{"error": message}` in Japanese for players, OpenAI's shape for its clients."""

import json
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from poem_service.errors import ChatError, RequestError

MESSAGES = {
    401: "このサービスを使うには鍵が要ります。",
    403: "このページは、この計算機からか、鍵（POEM_API_KEY）を使って開いてください。"
    "コンテナで動かしているときは、docker compose exec service poem-service doctor でも様子が分かります。",
    404: "お探しのページはありません。",
    405: "この方法では呼び出せません。",
}
_CHAT = "/v1/"
_KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


async def refuse(request: Request, error: Exception) -> Response:
    """One shape for every error that the player may see; it tells nothing about the inside."""
    if isinstance(error, ChatError):
        return chat_error(error.status, error.message, error.code)
    path = request.scope["path"]
    if isinstance(error, RequestError):
        return error_response(path, error.status, error.message)
    assert isinstance(error, HTTPException)
    return error_response(path, error.status_code, MESSAGES.get(error.status_code, MESSAGES[404]), error.headers)


def error_response(path: str, status: int, message: str, headers: Any = None) -> Response:
    """`{"error": message}`, or OpenAI's shape where its clients ask."""
    if path.startswith(_CHAT):
        return chat_error(status, message, headers=headers)
    body = json.dumps({"error": message}, ensure_ascii=False)
    return Response(body, status, headers=headers, media_type="application/json")


def chat_error(status: int, message: str, code: str | None = None, headers: Any = None) -> Response:
    """An error in OpenAI's shape."""
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": kind, "param": None, "code": code or _CODES.get(status, "invalid_request")}
    return Response(msgspec.json.encode({"error": error}), status, headers=headers, media_type="application/json")
