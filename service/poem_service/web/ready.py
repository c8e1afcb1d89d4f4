"""A `Service` → who answers, and if not the model, why: what `/ready` and the stand's page tell."""

import time
from typing import Any

from poem_service.service import Service
from poem_service.watch.keeper import Keeper


def readiness(service: Service) -> dict[str, Any]:
    """As `/ready` gives it."""
    now = time.monotonic()
    keeper, settings = service.keeper, service.settings
    standing = keeper.standing
    facts, pace = standing.facts, standing.pace
    why_not = service.writer.obstacle(keeper, now)
    return {
        "answers_from": "table" if why_not else "model",
        "state": "stopping" if service.writer.stopping else standing.state,
        "reason": why_not,
        "detail": standing.detail,
        "writer": settings.policy,
        "deal": settings.deal,
        "engine": keeper.engine.name if keeper.engine else None,
        "model": facts.name if facts else settings.model,
        "digest": facts.digest if facts else None,
        "verdict": keeper.training.verdict,
        "forced": keeper.training.forced,
        "prompt_version": keeper.training.prompt_version,
        "prompt_version_served": keeper.prompt_version_served,
        "prompt_differs": keeper.prompt_differs,
        "game": service.game.name,
        "game_digest": service.game.deck.digest,
        "game_trained": keeper.training.game,
        "game_differs": keeper.game_differs,
        "tokens_per_s": pace.tokens_per_s if pace else None,
        "answer_s": round(pace.answer_s, 2) if pace else None,
        "queue": service.fleet.ahead,
        "queues_inside": keeper.queues_inside,
        "vram_share": facts.vram_share if facts else None,
        "gpu_lost": service.gpu_lost,
        "cold_s": None if (cold_s := keeper.cold_s) is None else round(cold_s, 2),
        "breaker": keeper.breaker.state(now),
        "quality_breaker": keeper.quality.state(now),
        "engines": [_engine(service, each, now) for each in service.fleet.keepers],
        "table": None
        if (table := service.table) is None
        else {"poems": len(table), "stale_cards": list(service.stale_cards)},
    }


def _engine(service: Service, keeper: Keeper, now: float) -> dict[str, Any]:
    """One of the engines, for itself."""
    facts, pace = keeper.standing.facts, keeper.standing.pace
    return {
        "engine": keeper.label,
        "share": keeper.share or None,
        "state": keeper.standing.state,
        "reason": service.writer.obstacle(keeper, now),
        "detail": keeper.standing.detail,
        "model": facts.name if facts else None,
        "digest": facts.digest if facts else None,
        "answer_s": round(pace.answer_s, 2) if pace else None,
        "queue": keeper.slots.ahead,
        "breaker": keeper.breaker.state(now),
        "quality_breaker": keeper.quality.state(now),
        "poems": keeper.poems,
    }
