"""Players against a service whose Ollama misbehaves at random → what they got."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import httpx

from poem.game import builtin_game
from poem.hand import Answer, Hand
from poem.rules import check
from support.ollama_stand_in import FAULTS, Call, OllamaStandIn, right
from support.served import a_hand, events, sent

RIGHT_SHARE = 0.5
TRIAL_SEEDS = 10_000
"""The service's own trials have small seeds. They fail less often here, or no player would meet the model."""
TRIAL_RIGHT_SHARE = 0.9
SLOW = frozenset({"hang_before", "hang_before_first", "hang_amid", "slow_drip"})
SLOW_SHARE = 0.1
"""Of the faulty answers; each costs a player the whole deadline, so more of them would only cost time."""
THINKING_S = 0.08
"""At most, between two hands of a player: else the answers at once would outnumber the model's."""
PATIENCE_S = 0.2
"""After this long, a player who leaves has left."""


@dataclass
class Tally:
    """What came of it."""

    asked: int = 0
    refused: int = 0
    """Connections while nobody listened: no hand was sent yet."""
    gone: int = 0
    errors: list[str] = field(default_factory=list)
    against_rules: list[str] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0

    @property
    def flawless(self) -> bool:
        return not (self.errors or self.against_rules or self.late)


def misbehave(rng: Random) -> Callable[[Call], Awaitable[None]]:
    """Half of the players' answers are right; of the others few hang, the rest fail in any of the other ways."""
    quick = [name for name in FAULTS if name not in SLOW]

    async def behave(call: Call) -> None:
        share = TRIAL_RIGHT_SHARE if call.seed < TRIAL_SEEDS else RIGHT_SHARE
        if rng.random() < share:
            await right(call)
        else:
            slow = rng.random() < SLOW_SHARE
            await FAULTS[rng.choice(sorted(SLOW) if slow else quick)](call)

    return behave


async def trouble(ollama: OllamaStandIn, rng: Random, every_s: float, for_s: float) -> None:
    """Kill, restart, unload, exchange and remove the model, for ever."""
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5) * every_s)
        match rng.randrange(4):
            case 0:
                await ollama.stop()
                await asyncio.sleep(rng.uniform(0, for_s))
                await ollama.start()
            case 1:
                ollama.loaded, ollama.load_s = False, rng.uniform(0, for_s)
            case 2:
                ollama.digest = f"sha256:{rng.randrange(10**9)}"
            case _:
                models, ollama.models = ollama.models, ()
                await asyncio.sleep(rng.uniform(0, for_s))
                ollama.models = models


async def play(client: httpx.AsyncClient, hands: int, players: int, deadline_s: float, seed: int = 1) -> Tally:
    """So many hands by so many players at once; some stream, some leave."""
    tally = Tally()
    numbers = iter(range(hands))

    async def player(rng: Random) -> None:
        for n in numbers:
            await asyncio.sleep(rng.uniform(0, THINKING_S))
            await _hand(client, a_hand(seed * 1_000_000 + n), rng, deadline_s, tally)

    await asyncio.gather(*(player(Random(f"{seed}:{n}")) for n in range(players)))
    return tally


async def _hand(client: httpx.AsyncClient, hand: Hand, rng: Random, deadline_s: float, tally: Tally) -> None:
    streamed, leaves = rng.random() < 0.3, rng.random() < 0.03
    headers = {"accept": "text/event-stream"} if streamed else {}
    timeout = PATIENCE_S if leaves else 90
    tally.asked += 1
    started = time.monotonic()
    try:
        response = await _ask(client, sent(hand), headers, timeout, tally)
    except httpx.TimeoutException:
        tally.gone += 1
        if not leaves:
            tally.errors.append("no answer within 90 s")
        return
    except httpx.HTTPError as error:
        tally.errors.append(repr(error))
        return
    seconds = time.monotonic() - started
    tally.slowest_s = max(tally.slowest_s, seconds)
    if seconds > deadline_s:
        tally.late.append(seconds)
    if response.status_code != 200:
        tally.errors.append(f"status {response.status_code}: {response.text[:80]}")
        return
    _judge(response, streamed, hand, tally)


async def _ask(
    client: httpx.AsyncClient, body: dict[str, object], headers: dict[str, str], timeout: float, tally: Tally
) -> httpx.Response:
    """Where nobody listens, as between two services, the page asks again."""
    while True:
        try:
            return await client.post("/api/generate-poem", json=body, headers=headers, timeout=timeout)
        except httpx.ConnectError:
            tally.refused += 1
            await asyncio.sleep(0.25)


def _judge(response: httpx.Response, streamed: bool, hand: Hand, tally: Tally) -> None:
    if streamed:
        found = events(response.text)
        name, done = found[-1]
        shown = ""
        for kind, fields in found[:-1]:
            if kind != "waiting":
                shown = "" if kind == "replace" else shown + fields["text"]
        if name != "done" or (shown != done["poem"] and done["source"] != "model"):
            tally.errors.append(f"a stream that ends with {name} and shows {shown[:20]!r}")
            return
        tally.sources[done["source"]] += 1
        answer = Answer(done["title"], done["poem"])
    else:
        tally.sources[response.headers["x-poem-source"]] += 1
        tally.reasons[response.headers.get("x-poem-reason", "")] += 1
        answer = Answer(**response.json())
    if broken := check(answer, hand, builtin_game().deck.catchphrases):
        tally.against_rules.append(str(broken[0]))


GROWTH_MAX = 1.10
"""Of the resident memory between the end of the first part and of the last."""


def figures(tallies: list[Tally], memory: list[float], seconds: float) -> dict[str, object]:
    """All quarters together."""
    total = Tally()
    for tally in tallies:
        total.asked += tally.asked
        total.refused += tally.refused
        total.gone += tally.gone
        total.errors += tally.errors
        total.against_rules += tally.against_rules
        total.late += tally.late
        total.sources += tally.sources
        total.reasons += tally.reasons
        total.slowest_s = max(total.slowest_s, tally.slowest_s)
    return {
        "hands": total.asked,
        "seconds": round(seconds, 1),
        "errors": len(total.errors),
        "against_rules": len(total.against_rules),
        "late": len(total.late),
        "refused_between_two_services": total.refused,
        "players_who_left": total.gone,
        "slowest_s": round(total.slowest_s, 3),
        "sources": dict(total.sources),
        "reasons": dict(total.reasons.most_common()),
        "resident_mb": [round(mb, 1) for mb in memory],
        "flat": memory[-1] <= memory[0] * GROWTH_MAX,
        "first_errors": (total.errors + total.against_rules)[:3],
    }
