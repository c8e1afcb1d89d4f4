"""What `/ready` tells, over the states that it tells of."""

import time

from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from poem_service.watch.standing import Standing
from poem_service.web.ready import readiness


async def test_what_it_tells_without_a_model() -> None:
    service = Service.of(Settings(engine="none"))
    told = readiness(service)
    assert {key: told[key] for key in ("answers_from", "state", "reason", "engine", "writer", "deal", "queue")} == {
        "answers_from": "table",
        "state": "starting",
        "reason": "starting",
        "engine": None,
        "writer": "model",
        "deal": "any",
        "queue": 0,
    }
    assert told["table"]["poems"] == len(service.game.poems)


async def test_each_obstacle_is_its_reason() -> None:
    service = Service.of(Settings(engine="none"))
    keeper = service.keeper
    keeper.standing = Standing(ModelState.READY, None)
    assert (readiness(service)["answers_from"], readiness(service)["reason"]) == ("model", None)
    for _ in range(keeper.quality.threshold):
        keeper.quality.fail(time.monotonic())
    assert readiness(service)["reason"] == "quality"
    assert readiness(service)["quality_breaker"] == "open"
    for _ in range(keeper.breaker.threshold):
        keeper.breaker.fail(time.monotonic())
    assert readiness(service)["reason"] == "breaker-open"
    service.drain()
    assert readiness(service)["engines"][0]["reason"] == "stopping"
    assert (readiness(service)["state"], readiness(service)["reason"]) == ("stopping", "stopping")
