"""Around every request: its id, security headers, one line of log, the status counted, the optional key."""

import hmac
import logging
import re
import secrets
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poem_service.record.log import request_id
from poem_service.record.metrics import Metrics
from poem_service.web.handlers import MESSAGES, SEEN, error_response

log = logging.getLogger("poem_service.access")

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
INTERNAL_ERROR = "ただいま混み合っています。もう一度お試しください。"


class Envelope:
    """The outermost layer. A fault of ours becomes a plain 500 here and a traceback in the log."""

    def __init__(self, app: ASGIApp, metrics: Metrics, csp: str) -> None:
        self._app = app
        self._metrics = metrics
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
                message["headers"] = [*message["headers"], (b"x-request-id", current.encode()), *self._security]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            log.exception("a request failed")
            if status == 0:
                await error_response(500, INTERNAL_ERROR)(scope, receive, send_with_headers)
        finally:
            self._metrics.count_answer(status)
            ms = round((time.monotonic() - started) * 1000, 2)
            seen = {"method": scope["method"], "path": scope["path"], "status": status, "ms": ms}
            log.info("request", extra={"seen": seen | scope.get(SEEN, {})})
            request_id.reset(token)


class BearerKey:
    """Asks for `Authorization: Bearer <key>` on everything but the page and the probes."""

    OPEN = frozenset({"/", "/health", "/ready"})

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._wanted = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self.OPEN and scope["method"] != "OPTIONS":
            given = Headers(scope=scope).get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, self._wanted):
                await error_response(401, MESSAGES[401], {"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
        await self._app(scope, receive, send)
