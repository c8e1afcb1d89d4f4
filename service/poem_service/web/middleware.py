"""Around every request: its id, security headers, one line of log, the status counted, the optional key."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poem_service.record.log import request_id
from poem_service.record.metrics import Metrics
from poem_service.web.access import has_key
from poem_service.web.errors import MESSAGES, error_response
from poem_service.web.events import LEFT
from poem_service.web.requests import SEEN, UNTOLD

log = logging.getLogger("poem_service.access")

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
CLIENT_LEFT = 499
"""What is counted and logged for a client that did not wait for its answer; nobody is sent it."""
INTERNAL_ERROR = "ただいま混み合っています。もう一度お試しください。"


class Envelope:
    """The outermost layer. A fault of ours becomes a plain 500 here and a traceback in the log."""

    def __init__(self, app: ASGIApp, metrics: Metrics, csp: str, leaving: Callable[[], bool]) -> None:
        self._app = app
        self._metrics = metrics
        self._leaving = leaving
        self._security = [
            (b"content-security-policy", csp.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        current = given if _GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
        token = request_id.set(current)
        started = time.monotonic()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message["headers"]}
                security = [header for header in self._security if header[0] not in own]
                message["headers"] = [*message["headers"], (b"x-request-id", current.encode()), *security]
                if self._leaving():  # whoever keeps connections opens the next one where the service goes on
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            log.exception("a request failed")
            if status == 0:
                await error_response(scope["path"], 500, INTERNAL_ERROR)(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the server's patience with a stop is over
            if status == 0:
                await error_response(scope["path"], 503, INTERNAL_ERROR)(scope, receive, send_with_headers)
            raise
        finally:
            status = CLIENT_LEFT if LEFT in scope else status
            self._metrics.count_answer(status)
            ms = round((time.monotonic() - started) * 1000, 2)
            if UNTOLD not in scope:
                seen = {"method": scope["method"], "path": scope["path"], "status": status, "ms": ms}
                log.info("request", extra={"seen": seen | scope.get(SEEN, {})})
            request_id.reset(token)


class BearerKey:
    """Asks for `Authorization: Bearer <key>`, one of the keys, wherever the game is played or told about.

    Open are the probes, the page or the game's own files, which a browser loads without a key, and the stand's page,
    which asks for itself.
    """

    GUARDED = ("/api/", "/v1/", "/metrics", "/openapi.json")

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["path"].startswith(self.GUARDED) and scope["method"] != "OPTIONS"
        if asked and not has_key(Headers(scope=scope), self._keys):
            refusal = error_response(scope["path"], 401, MESSAGES[401], {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
