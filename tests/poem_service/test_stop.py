"""A stop costs nobody a poem: requests under way have the fallback at once, a balancer looks away, nothing is cut."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from support.ollama_stand_in import FAULTS, Call, OllamaStandIn, right
from support.process import service
from support.served import a_hand, events, sent, serving, until

Served = tuple[Service, httpx.AsyncClient]
STREAM = {"accept": "text/event-stream"}


@pytest.fixture(autouse=True)
def _a_hangup_is_heard() -> Iterator[None]:
    """Also where the tests run under `nohup`, whose children leave SIGHUP unheard as it does."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)  # what is handled here is not handed on to a child
    yield
    signal.signal(signal.SIGHUP, before)


async def slowly(call: Call) -> None:
    await call.head()
    for _ in range(600):
        await call.piece("")
        await asyncio.sleep(0.1)


async def test_whoever_waits_for_the_model_has_the_fallback_at_once(ollama: OllamaStandIn) -> None:
    async with serving(Settings(engine="ollama", ollama_url=ollama.url, deadline_s=60)) as (found, client):
        await until(found, ModelState.READY)
        ollama.behave = FAULTS["hang_amid"]
        shown = asyncio.Event()

        async def watch() -> str:
            text = ""
            async with client.stream("POST", "/api/generate-poem", json=sent(a_hand(8)), headers=STREAM) as answer:
                async for piece in answer.aiter_text():
                    text += piece
                    if "event: delta" in text:
                        shown.set()
            return text

        growing = asyncio.create_task(watch())
        async with asyncio.timeout(30):
            await shown.wait()
        asking = [asyncio.create_task(client.post("/api/generate-poem", json=sent(a_hand(n)))) for n in range(3)]
        watching = asyncio.create_task(client.post("/api/generate-poem", json=sent(a_hand(9)), headers=STREAM))
        while found.writer.fleet.ahead < 5:
            await asyncio.sleep(0.01)
        started = time.monotonic()
        found.drain()
        answers = await asyncio.gather(*asking)
        watched, grown = events((await watching).text), events(await growing)
        assert time.monotonic() - started < 10
        late = await client.post("/api/generate-poem", json=sent(a_hand(4)))
        ready = await client.get("/ready")
    assert [a.headers["x-poem-reason"] for a in (*answers, late)] == ["stopping"] * 4
    assert {a.status_code for a in answers} == {200}
    assert watched[-1][0] == "done"
    assert watched[-1][1]["source"] == "composed"
    names = [name for name, _ in grown]
    at = names.index("replace")
    assert "delta" in names[:at]
    assert "".join(fields["text"] for name, fields in grown[at + 1 :] if name == "delta") == grown[-1][1]["poem"]
    assert (ready.status_code, ready.json()["reason"], ready.json()["answers_from"]) == (503, "stopping", "table")
    assert ready.headers["connection"] == "close"


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_stop_under_load_costs_nobody_a_poem(
    sig: signal.Signals, ollama: OllamaStandIn, tmp_path: Path
) -> None:
    """Answers take seconds, some stream, all connections are kept; after the signal only new ones are refused."""
    environ = {"POEM_ENGINE": "ollama", "OLLAMA_HOST": ollama.url, "POEM_LOG_DB": str(tmp_path / "log.sqlite3")}
    tally: Counter[str] = Counter()
    async with service(environ) as (url, pid), httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        while (await client.get("/ready")).json()["answers_from"] != "model":
            await asyncio.sleep(0.05)
        ollama.behave = slowly

        async def player(n: int) -> None:
            streams = n % 3 == 0
            while True:
                try:
                    hand = sent(a_hand(n))
                    answer = await client.post("/api/generate-poem", json=hand, headers=STREAM if streams else {})
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    tally[repr(error)] += 1
                    return
                whole = events(answer.text)[-1][0] == "done" if streams else set(answer.json()) == {"title", "poem"}
                tally["poems" if whole and answer.status_code == 200 else f"status {answer.status_code}"] += 1

        playing = [asyncio.create_task(player(n)) for n in range(6)]
        await asyncio.sleep(1.0)
        os.kill(pid, sig)
        async with asyncio.timeout(15):
            await asyncio.gather(*playing)
    assert set(tally) == {"poems"}
    assert tally["poems"] >= 6
    with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as db:
        assert db.execute("SELECT count(*) FROM generation_logs").fetchone()[0] == tally["poems"]


async def test_who_connected_in_the_last_moment_is_heard() -> None:
    body = json.dumps(sent(a_hand())).encode()
    head = f"POST /api/generate-poem HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with service({"POEM_ENGINE": "none"}) as (url, pid):
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        os.kill(pid, signal.SIGTERM)
        with suppress(ConnectionError):
            while True:  # until the port is closed
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.6)
        writer.write(head + body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_rolling_update_shows_no_error(ollama: OllamaStandIn) -> None:
    """Two services, a balancer that asks `/ready` five times a second, and the first one stopped under load."""
    environ = {"POEM_ENGINE": "ollama", "OLLAMA_HOST": ollama.url}
    ollama.behave = right
    sources: Counter[str] = Counter()
    async with (
        service(environ) as (old, pid),
        service(environ, stop=signal.SIGINT) as (new, _),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        chosen = old

        async def balance() -> None:
            nonlocal chosen
            while True:
                for url in (old, new):
                    try:
                        if (await client.get(f"{url}/ready")).status_code == 200:
                            chosen = url
                            break
                    except httpx.HTTPError:
                        continue
                await asyncio.sleep(0.2)

        async def player(n: int) -> None:
            end = time.monotonic() + 5
            while time.monotonic() < end:
                answer = await client.post(f"{chosen}/api/generate-poem", json=sent(a_hand(n)))
                assert answer.status_code == 200
                sources[
                    f"{answer.headers['x-poem-source']} of {'old' if str(answer.url).startswith(old) else 'new'}"
                ] += 1
                await asyncio.sleep(0.02)

        balancing = asyncio.create_task(balance())
        playing = [asyncio.create_task(player(n)) for n in range(4)]
        await asyncio.sleep(1.5)
        os.kill(pid, signal.SIGTERM)
        await asyncio.gather(*playing)
        balancing.cancel()
    assert sources["model of new"] > 10


async def test_the_port_of_several_workers_closes_with_them() -> None:
    """Whoever connects is answered, to the end."""
    async with service({"POEM_ENGINE": "none", "POEM_WORKERS": "2"}) as (url, pid):
        os.kill(pid, signal.SIGTERM)
        answers = 0
        with suppress(httpx.ConnectError):
            while True:
                async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                    assert (await client.get("/health")).status_code == 200
                answers += 1
                await asyncio.sleep(0.05)
    assert answers > 5


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGHUP])
async def test_several_workers_stop_together(sig: signal.Signals) -> None:
    environ = {"POEM_ENGINE": "none", "POEM_WORKERS": "3"}
    async with service(environ, stop=sig) as (url, pid), httpx.AsyncClient(base_url=url, trust_env=False) as client:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for n in range(20):
            assert (await client.post("/api/generate-poem", json=sent(a_hand(n)))).status_code == 200
        workers = [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        assert len(workers) == 3
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
