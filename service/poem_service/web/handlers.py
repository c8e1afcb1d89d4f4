"""Requests → responses. What is answered is decided in `writer` and `intake`; here it only gets its HTTP form."""

import re

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from poem.hand import Hand
from poem_service.errors import Reason, RequestError
from poem_service.record.log import request_id
from poem_service.record.metrics import CONTENT_TYPE
from poem_service.record.outcome import Outcome
from poem_service.request.intake import read_hand
from poem_service.request.writer import Audience
from poem_service.web import stand as stand_page
from poem_service.web.access import has_key, is_local
from poem_service.web.errors import MESSAGES, error_response
from poem_service.web.events import poem_events
from poem_service.web.openapi import DOCUMENT
from poem_service.web.ready import readiness
from poem_service.web.requests import SEEN, UNTOLD, body_of, is_over_the_limit, service_of, unless_gone

BAD_FROM = "from は any か prepared にしてください。"
BAD_SEED = "seed は十八桁までの整数にしてください。"
_SEED = re.compile(r"-?[0-9]{1,18}")


async def generate_poem(request: Request) -> Response:
    """The game's endpoint: JSON, or events for a client that accepts them and can tell where they end."""
    service = service_of(request)
    limited = is_over_the_limit(request, service)
    hand = read_hand(await body_of(request, service.body_bytes_max), service.deck, service.settings.deck_policy)
    if "text/event-stream" in request.headers.get("accept", "") and request.scope["http_version"] != "1.0":
        return poem_events(lambda audience: _outcome(request, hand, limited, audience))
    outcome = await unless_gone(request, _outcome(request, hand, limited))
    if outcome is None:
        return Response(status_code=204)  # nobody is there to read it
    return Response(
        msgspec.json.encode({"title": outcome.answer.title, "poem": outcome.answer.poem}),
        media_type="application/json",
        headers=_headers(outcome),
    )


async def deal(request: Request) -> Response:
    """Five cards: any of five different categories, or a set that the table holds."""
    service, asked = service_of(request), request.query_params
    seed, source = asked.get("seed"), asked.get("from", service.settings.deal)
    if seed is not None and not _SEED.fullmatch(seed):
        raise RequestError(400, BAD_SEED)
    if source not in ("any", "prepared"):
        raise RequestError(400, BAD_FROM)
    found, cards = await service.deal(prepared=source == "prepared", seed=None if seed is None else int(seed))
    return JSONResponse([card.as_json() for card in cards], headers={"X-Deal-Seed": str(found)})


async def cards(request: Request) -> Response:
    """The deck, in the game's own shape."""
    return JSONResponse([card.as_json() for card in service_of(request).deck.cards])


async def catchphrases(request: Request) -> Response:
    """The catch-copies."""
    return JSONResponse(list(service_of(request).deck.catchphrases))


async def health(_: Request) -> Response:
    """The process lives."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """Who answers, and if not the model, why; 503 once the service stops, so that a balancer looks away."""
    service = service_of(request)
    return JSONResponse(readiness(service), 503 if service.writer.stopping else 200)


async def stand(request: Request) -> Response:
    """The page of the person behind the counter; a POST writes a test hand."""
    service, headers = service_of(request), request.headers
    keys = service.settings.api_keys
    if not (has_key(headers, keys, basic=True) or is_local(request.scope, headers)):
        status = 401 if keys else 403
        return error_response(
            "/stand", status, MESSAGES[status], {"WWW-Authenticate": 'Basic realm="stand"'} if keys else None
        )
    if "application/json" in headers.get("accept", ""):
        return JSONResponse(stand_page.report(service), headers={"Cache-Control": "no-store"})
    played = await stand_page.play(service) if request.method == "POST" else None
    page = stand_page.page(service, played)
    own = {"Cache-Control": "no-store", "Content-Security-Policy": stand_page.csp()}
    return Response(page, media_type="text/html", headers=own)


async def metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)


async def openapi(_: Request) -> Response:
    """What this service answers, as OpenAPI."""
    return JSONResponse(DOCUMENT)


async def _outcome(request: Request, hand: Hand, limited: bool, audience: Audience | None = None) -> Outcome:
    service = service_of(request)
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
