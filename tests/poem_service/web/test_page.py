"""The page in a real browser, at the width of a phone and of a desk; skipped where there is no Chromium."""

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest

from poem.game import builtin_game
from poem.shape import encode
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from poem_service.web.errors import MESSAGES
from support.browser import CHROMIUM, browsing
from support.ollama_stand_in import Call, OllamaStandIn, hang_amid, slow_drip
from support.process import free_port, service
from support.served import a_hand, sent, serving, until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

CHOOSE = "for (let n = 0; n < 5; n++) document.querySelectorAll(`[name=card${n}]`)[n % 3].click()"


SLOW_CLOCK = "window.setTimeout = ((later) => (then, ms) => later(then, 5 * ms))(window.setTimeout); 0"


async def at_a_pace(call: Call) -> None:
    await call.head()
    await call.text(encode(call.right()), gap_s=0.004)
    await call.end()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
async def test_a_hand_is_played_from_deal_to_poem(width: int, height: int, tmp_path: Path) -> None:
    async with OllamaStandIn() as ollama:
        settings = Settings(engine="ollama", ollama_url=ollama.url, deadline_s=20)
        async with serving(settings) as (service, client):
            await until(service, ModelState.READY)
            ollama.behave = at_a_pace
            async with browsing(tmp_path, str(client.base_url), width, height) as page:
                await page.until("document.querySelectorAll('fieldset').length === 5")
                assert await page.run("document.getElementById('write').disabled")
                await page.run(CHOOSE)
                assert not await page.run("document.getElementById('write').disabled")
                await page.run("document.getElementById('write').click()")
                await page.until("document.querySelector('.growing p')?.textContent.length > 5")
                await page.until("document.getElementById('source').textContent")
                title, poem, source = await page.run(
                    "['title', 'poem', 'source'].map((id) => document.getElementById(id).innerText)"
                )
                assert title in builtin_game().deck.catchphrases
                assert len(poem.split()) in (3, 4)
                assert source == "この詩はモデルが書きました"
                assert await page.run("document.documentElement.scrollWidth <= innerWidth")
                await page.run("document.getElementById('next').click()")
                await page.until("document.getElementById('result').hidden")
                assert page.complaints == []


async def test_whoever_leaves_a_growing_poem_can_play_on(tmp_path: Path) -> None:
    async with OllamaStandIn() as ollama:
        settings = Settings(engine="ollama", ollama_url=ollama.url, deadline_s=20)
        async with serving(settings) as (service, client):
            await until(service, ModelState.READY)
            ollama.behave = slow_drip
            async with browsing(tmp_path, str(client.base_url), 390, 844) as page:
                await page.until("document.querySelectorAll('fieldset').length === 5")
                await page.run(CHOOSE)
                await page.run("document.getElementById('write').click()")
                await page.until("document.querySelector('.growing p')?.textContent")
                await page.run("document.querySelector('fieldset').id = 'old'")
                await page.run("document.getElementById('next').click()")
                await page.until(
                    "document.querySelectorAll('fieldset').length === 5 && !document.getElementById('old')"
                )
                ollama.behave = at_a_pace
                await page.run(CHOOSE)
                assert not await page.run("document.getElementById('write').disabled")
                await page.run("document.getElementById('write').click()")
                await page.until("document.getElementById('source').textContent")
                assert await page.run("document.getElementById('source').textContent") == "この詩はモデルが書きました"
                assert await page.run("document.getElementById('alert').textContent") == ""
                assert service.writer.fleet.ahead == 0
                assert page.complaints == []


async def test_a_refusal_is_told_in_the_service_s_own_words(tmp_path: Path) -> None:
    settings = Settings(engine="none", api_keys=("a-key-of-the-stand",))
    async with (
        serving(settings) as (_, client),
        browsing(tmp_path, str(client.base_url), 390, 844) as page,
    ):
        await page.until("document.getElementById('alert')?.textContent")
        assert await page.run("document.getElementById('alert').textContent") == MESSAGES[401]


async def test_a_lost_gpu_is_told_to_the_staff(tmp_path: Path) -> None:
    async with OllamaStandIn() as ollama:
        settings = Settings(engine="ollama", ollama_url=ollama.url, deadline_s=20, gpu="expected")
        async with serving(settings) as (service, client):
            await until(service, ModelState.READY)
            async with browsing(tmp_path, str(client.base_url), 390, 844) as page:
                await page.until("document.querySelectorAll('fieldset').length === 5")
                assert await page.run("document.getElementById('gpu').hidden")
                ollama.size_vram = 0
                while not service.gpu_lost:
                    service.keeper.look_now()
                    await asyncio.sleep(0.02)
                await page.run("document.getElementById('deal').click()")
                await page.until("!document.getElementById('gpu').hidden")


async def test_a_service_that_is_gone_is_said_in_japanese(tmp_path: Path) -> None:
    async with (
        serving(Settings(engine="none")) as (_, client),
        browsing(tmp_path, str(client.base_url), 390, 844) as page,
    ):
        await page.until("document.querySelectorAll('fieldset').length === 5")
        await page.run("window.fetch = () => Promise.reject(new TypeError('gone'))")
        await page.run("window.setTimeout = ((soon) => (then) => soon(then, 10))(window.setTimeout); 0")
        await page.run(CHOOSE)
        await page.run("document.getElementById('write').click()")
        await page.until("document.getElementById('alert').textContent.includes('通信できません')")
        assert await page.run("document.getElementById('result').hidden")


async def test_a_player_plays_through_a_redeploy(tmp_path: Path) -> None:
    """One who waits is told so, has a poem when the service is stopped, and deals from the next one."""
    async with OllamaStandIn() as ollama, httpx.AsyncClient(trust_env=False, timeout=30) as other:
        environ = {"POEM_ENGINE": "ollama", "OLLAMA_HOST": ollama.url}
        port = free_port()
        async with service(environ, port) as (url, pid):
            while (await other.get(f"{url}/ready")).json()["answers_from"] != "model":
                await asyncio.sleep(0.05)
            ollama.behave = hang_amid
            async with browsing(tmp_path, url, 390, 844) as page:
                await page.until("document.querySelectorAll('fieldset').length === 5")
                await page.run(SLOW_CLOCK)  # a busy machine takes long for the next service
                first = asyncio.create_task(other.post(f"{url}/api/generate-poem", json=sent(a_hand())))
                while not (await other.get(f"{url}/ready")).json()["queue"]:
                    await asyncio.sleep(0.02)
                await page.run(CHOOSE)
                await page.run("document.getElementById('write').click()")
                await page.until("document.getElementById('source').textContent.includes('1 番目')")
                os.kill(pid, signal.SIGTERM)
                await page.until("document.getElementById('title').textContent")
                assert await page.run("document.getElementById('alert').textContent") == ""
                assert (await first).headers["x-poem-reason"] == "stopping"
                while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text():
                    await asyncio.sleep(0.05)
                await page.run("document.getElementById('next').click()")
                async with service(environ, port, signal.SIGINT):
                    await page.until("document.getElementById('result').hidden")
                    await page.until("document.querySelectorAll('fieldset').length === 5")
                    assert await page.run("document.getElementById('alert').textContent") == ""
