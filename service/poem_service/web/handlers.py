"""Requests → responses. What is answered is decided in `writer` and `intake`; here it only gets its HTTP form."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from poem.hand import Hand
from poem_service.errors import Reason, RequestError
from poem_service.record.log import request_id
from poem_service.record.metrics import CONTENT_TYPE
from poem_service.record.outcome import Outcome
from poem_service.request.intake import read_hand
from poem_service.request.ratelimit import bucket_of
from poem_service.request.writer import Audience
from poem_service.service import Service
from poem_service.web import stand as stand_page
from poem_service.web.access import has_key, is_local
from poem_service.web.events import LEFT, EventStream
from poem_service.web.openapi import DOCUMENT
from poem_service.web.ready import readiness

TOO_LARGE = "送られた内容が大きすぎます。"
TOO_LATE = "送信が途中で止まりました。もう一度お試しください。"
BODY_S = 10.0
SEEN = "poem_service.seen"
"""Where a handler leaves in the scope what the request's one line of log should tell."""
UNTOLD = "poem_service.untold"
"""Is in the scope of a request that has no line: one of a flood."""
BAD_FROM = "from は any か prepared にしてください。"
BAD_SEED = "seed は十八桁までの整数にしてください。"
MESSAGES = {
    401: "このサービスを使うには鍵が要ります。",
    403: "このページは、この計算機からか、鍵（POEM_API_KEY）を使って開いてください。",
    404: "お探しのページはありません。",
    405: "この方法では呼び出せません。",
}
_SEED = re.compile(r"-?[0-9]{1,18}")

T = TypeVar("T")


async def generate_poem(request: Request) -> Response:
    """The game's endpoint: JSON, or events for a client that accepts them."""
    service = _service(request)
    limited = _is_over_the_limit(request, service)
    hand = read_hand(await _body(request, service.body_bytes_max), service.deck, service.settings.deck_policy)
    if "text/event-stream" in request.headers.get("accept", ""):
        return EventStream(lambda audience: _outcome(request, hand, limited, audience))
    outcome = await _unless_gone(request, _outcome(request, hand, limited))
    if outcome is None:
        request.scope[LEFT] = True
        return Response(status_code=204)  # nobody is there to read it
    return Response(
        msgspec.json.encode({"title": outcome.answer.title, "poem": outcome.answer.poem}),
        media_type="application/json",
        headers=_headers(outcome),
    )


async def deal(request: Request) -> Response:
    """Five cards: any of five different categories, or a set that the table holds."""
    service, asked = _service(request), request.query_params
    seed, source = asked.get("seed"), asked.get("from", service.settings.deal)
    if seed is not None and not _SEED.fullmatch(seed):
        raise RequestError(400, BAD_SEED)
    if source not in ("any", "prepared"):
        raise RequestError(400, BAD_FROM)
    found, cards = service.dealer.deal(prepared=source == "prepared", seed=None if seed is None else int(seed))
    return JSONResponse([card.as_json() for card in cards], headers={"X-Deal-Seed": str(found)})


async def cards(request: Request) -> Response:
    """The deck, in the game's own shape."""
    return JSONResponse([card.as_json() for card in _service(request).deck.cards])


async def catchphrases(request: Request) -> Response:
    """The catch-copies."""
    return JSONResponse(list(_service(request).deck.catchphrases))


async def health(_: Request) -> Response:
    """The process lives."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """Who answers, and if not the model, why; 503 once the service stops, so that a balancer looks away."""
    service = _service(request)
    return JSONResponse(readiness(service), 503 if service.writer.stopping else 200)


async def stand(request: Request) -> Response:
    """The page of the person behind the counter; a POST writes a test hand."""
    service, headers = _service(request), request.headers
    keys = service.settings.api_keys
    if not (has_key(headers, keys, basic=True) or is_local(request.scope, headers)):
        status = 401 if keys else 403
        return error_response(status, MESSAGES[status], {"WWW-Authenticate": 'Basic realm="stand"'} if keys else None)
    if "application/json" in headers.get("accept", ""):
        return JSONResponse(stand_page.report(service), headers={"Cache-Control": "no-store"})
    played = await stand_page.play(service) if request.method == "POST" else None
    page = stand_page.page(service, played)
    own = {"Cache-Control": "no-store", "Content-Security-Policy": stand_page.csp()}
    return Response(page, media_type="text/html", headers=own)


async def metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(_service(request).metrics.text(), media_type=CONTENT_TYPE)


async def openapi(_: Request) -> Response:
    """What this service answers, as OpenAPI."""
    return JSONResponse(DOCUMENT)


async def refuse(_: Request, error: Exception) -> Response:
    """One shape for every error that the player may see; it tells nothing about the inside."""
    if isinstance(error, RequestError):
        return error_response(error.status, error.message)
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, MESSAGES.get(error.status_code, MESSAGES[404]), error.headers)


def error_response(status: int, message: str, headers: Any = None) -> Response:
    """`{"error": message}`."""
    body = json.dumps({"error": message}, ensure_ascii=False)
    return Response(body, status, headers=headers, media_type="application/json")


async def _outcome(request: Request, hand: Hand, limited: bool, audience: Audience | None = None) -> Outcome:
    service = _service(request)
    if limited:
        outcome = service.writer.without_model(hand, Reason.RATE_LIMITED, audience)
    else:
        outcome = await service.writer.write(hand, audience)
    outcome.request_id = request_id.get()
    if UNTOLD not in request.scope:
        service.keep(outcome)
    request.scope[SEEN] = {
        "source": outcome.source,
        "reason": outcome.reason,
        "seed": outcome.seed,
        "seconds": round(outcome.seconds, 4),
        "model": outcome.model,
    }
    return outcome


def _headers(outcome: Outcome) -> dict[str, str]:
    stages = {**outcome.stages, "total": outcome.seconds}
    headers = {
        "X-Poem-Source": outcome.source,
        "Server-Timing": ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in stages.items()),
        "Cache-Control": "no-store",
    }
    if outcome.reason is not None:
        headers["X-Poem-Reason"] = outcome.reason
    return headers


async def _body(request: Request, bytes_max: int) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > bytes_max:
                    raise RequestError(413, TOO_LARGE)
    except TimeoutError:
        raise RequestError(400, TOO_LATE) from None
    except ClientDisconnect:
        pass  # nobody reads what is answered now
    return bytes(body)


async def _unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """The work's result, or None if the client left, which cancels the work and what it waits for upstream."""
    working = asyncio.current_task()
    assert working is not None
    leaving = asyncio.create_task(_gone(request, working))
    try:
        return await work
    except asyncio.CancelledError:
        if leaving.done() and not working.uncancel():
            return None
        raise
    finally:
        leaving.cancel()


async def _gone(request: Request, working: "asyncio.Task[Any]") -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    working.cancel()


def _is_over_the_limit(request: Request, service: Service) -> bool:
    """Counts it, whatever it holds; of a flood most leave nothing but their count."""
    limit, now = service.rate_limit, time.monotonic()
    if limit is None or limit.allows(bucket_of(request.client.host if request.client else ""), now):
        return False
    if not limit.tells(now):
        request.scope[UNTOLD] = True
    return True


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
