"""The parts, and players before them, while each part in turn is restarted or killed → what was lost of it."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg

from bench.scale.crowd import Crowd, Played
from bench.scale.parts import SERVICES, UP_S, Engine, Nginx, Ollama, Part, openai_engine, service
from support.postgres import Postgres, postgres

DEADLINE_S = 10.0
DOWN_S = 2.0
"""How long an engine that was killed is away before somebody starts it again."""
ASKED = ("ready", "too-slow")
"""How an engine stands that answers; on a machine that is busy with all this it may be too slow for a hand."""
QUIET = "nothing happens"
Trouble = Callable[[], Awaitable[None]]


@dataclass
class Campaign:
    """What runs."""

    services: Sequence[Part]
    engines: Sequence[Engine]
    nginx: Nginx
    database: Postgres
    restarts: list[dict[str, object]] = field(default_factory=list)
    """Of which part, by what, when, and how long until it was back."""
    _started: float = field(default_factory=time.monotonic)

    def phases(self) -> list[tuple[str, Trouble]]:
        """What happens, in turn."""
        engines = self.engines
        return [
            (QUIET, self._nothing),
            ("each service is restarted", self._restart_services),
            *((f"{each.name} is restarted", lambda e=each: self._restart(e, signal.SIGTERM)) for each in engines),
            *((f"{each.name} is killed", lambda e=each: self._restart(e, signal.SIGKILL)) for each in engines),
            ("nginx is restarted", lambda: self._timed("nginx", "handed over", self.nginx.restart)),
            ("PostgreSQL is restarted", self._restart_database),
            (f"{QUIET} again", self._nothing),
        ]

    async def ready(self, engine: Engine) -> None:
        """Return once hands go to the engine from every service, whatever its poems are worth."""
        told: dict[str, Any] = {}
        try:
            async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(UP_S):
                for each in self.services:
                    while (told := await _told(client, each, engine)).get("state") not in ASKED:
                        await asyncio.sleep(0.1)
        except TimeoutError:
            raise SystemExit(f"scale: {engine.name} is not ready after {UP_S:.0f} s: {told}") from None

    async def _nothing(self) -> None:
        return None

    async def _restart_services(self) -> None:
        for each in self.services:

            async def again(one: Part = each) -> None:
                await one.end(signal.SIGTERM)
                await one.start()

            await self._timed(each.name, "SIGTERM", again)

    async def _restart(self, engine: Engine, sig: signal.Signals) -> None:
        async def again() -> None:
            await engine.end(sig)
            if sig is signal.SIGKILL:
                await asyncio.sleep(DOWN_S)
            await engine.start()
            await self.ready(engine)

        await self._timed(engine.name, sig.name, again)

    async def _restart_database(self) -> None:
        await self._timed("PostgreSQL", "pg_ctl restart", lambda: asyncio.to_thread(self.database.restart))

    async def _timed(self, part: str, how: str, again: Trouble) -> None:
        started = time.monotonic()
        await again()
        back_s = round(time.monotonic() - started, 1)
        self.restarts.append({"part": part, "how": how, "at_s": round(started - self._started), "back_s": back_s})


async def _told(client: httpx.AsyncClient, one: Part, engine: Engine) -> dict[str, Any]:
    """What the service tells of the engine."""
    try:
        told = (await client.get(f"{one.url}/ready")).json()
    except httpx.HTTPError:
        return {}
    return next(each for each in told["engines"] if each["engine"] == engine.listed)


async def run(gguf: Path, hands: int, rate: float, ollama: bool) -> dict[str, Any]:
    """The figures of one run."""
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory()))
        database = stack.enter_context(postgres(Path(stack.enter_context(TemporaryDirectory())), "-c fsync=on"))
        async with campaign(home, gguf, database, ollama) as found:
            started = time.monotonic()
            crowd = Crowd(found.nginx.url, rate)
            phases = found.phases()
            for name, trouble in phases:
                share = -(-hands // len(phases))
                await crowd.come(name, share, asyncio.create_task(_later(0.2 * share / rate, trouble)))
            seconds = time.monotonic() - started
            await crowd.aclose()
        with psycopg.connect(database.url) as db:
            rows = db.execute(
                "SELECT request_id, llm_provider FROM generation_logs LEFT JOIN requests ON log_id = id"
            ).fetchall()
        names = {each.provider: each.name for each in found.engines}
        return figures(crowd.played, [(i, names.get(by, str(by))) for i, by in rows], found.restarts, seconds)


async def _later(seconds: float, trouble: Trouble) -> None:
    await asyncio.sleep(seconds)
    await trouble()


@asynccontextmanager
async def campaign(home: Path, gguf: Path, database: Postgres, ollama: bool) -> AsyncIterator[Campaign]:
    """Everything, started from the back to the front and ended the other way, so that no row is left on its way."""
    async with AsyncExitStack() as stack:
        engines = [openai_engine(gguf), *([Ollama(home / "models")] if ollama else [])]
        services = [service(n, engines, database.url, DEADLINE_S) for n in range(1, SERVICES + 1)]
        for each in (*engines, *services):
            stack.push_async_callback(each.end, signal.SIGTERM)
            await each.start()
            if isinstance(each, Engine):
                await each.give(gguf)
        nginx = Nginx(home, services)
        stack.push_async_callback(nginx.end)
        await nginx.start()
        found = Campaign(services, engines, nginx, database)
        for engine in engines:
            await found.ready(engine)
        yield found


def figures(
    played: Sequence[Played],
    rows: Sequence[tuple[str | None, str]],
    restarts: Sequence[dict[str, object]],
    seconds: float,
) -> dict[str, Any]:
    """What came of it: each hand that was answered has one row."""
    kept = Counter(name for name, _ in rows)
    by = dict(rows)
    answered = [each for each in played if each.error is None]
    phases = {}
    for phase in dict.fromkeys(each.phase for each in played):
        those = [each for each in played if each.phase == phase]
        phases[phase] = {
            "hands": len(those),
            "errors": sum(each.error is not None for each in those),
            **_quantiles([each.seconds for each in those]),
            "written_by": dict(Counter(by.get(each.id, "nobody") for each in those).most_common()),
        }
    return {
        "hands": len(played),
        "seconds": round(seconds),
        "errors": len(played) - len(answered),
        "rows": len(rows),
        "rows_lost": sum(each.id not in kept for each in answered),
        "rows_twice": sum(times > 1 for times in kept.values()),
        "written_by": dict(Counter(writer for _, writer in rows).most_common()),
        **_quantiles([each.seconds for each in played]),
        "reasons_told": dict(Counter(each.reason for each in played if each.reason).most_common()),
        "phases": phases,
        "restarts": list(restarts),
        "first_errors": [f"{each.phase}: {each.error}" for each in played if each.error][:5],
    }


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {f"p{at}_s": round(ordered[len(ordered) * at // 100], 3) for at in (50, 95, 99)}
