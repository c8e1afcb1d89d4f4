"""The short form of the chaos run; `bench.service_chaos` is the long one."""

import asyncio
from random import Random

from poem_service.settings import Settings
from support.chaos import misbehave, play, trouble
from support.ollama_stand_in import OllamaStandIn
from support.served import serving

DEADLINE_S = 2.0


async def test_no_player_sees_an_error_a_broken_rule_or_a_late_poem() -> None:
    rng = Random(11)
    async with OllamaStandIn(behave=misbehave(rng)) as ollama:
        settings = Settings(engine="ollama", ollama_url=ollama.url, deadline_s=DEADLINE_S, max_active=4)
        async with serving(settings) as (service, client):
            service.keeper.breaker.cooldown_s = 0.5
            troubling = asyncio.create_task(trouble(ollama, rng, every_s=1.0, for_s=0.2))
            tally = await play(client, hands=400, players=8, deadline_s=DEADLINE_S + 1)
            troubling.cancel()
            await asyncio.gather(troubling, return_exceptions=True)
    assert tally.flawless, tally
    assert tally.asked == 400
    assert {"model", "composed"} <= set(tally.sources)
    assert service.writer.fleet.ahead == 0
