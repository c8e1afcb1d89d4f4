"""The page of the person behind the counter, and who may see it."""

import asyncio
import base64
from typing import Literal

import httpx
import pytest
from starlette.datastructures import Headers

from poem.model_keys import BELOW_COMPOSER
from poem_service.errors import Reason
from poem_service.record.remedies import LOG_FAILING, REMEDIES
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from poem_service.web.access import has_key, is_local
from support.ollama_stand_in import FAULTS, MODEL, OllamaStandIn
from support.process import free_port
from support.served import a_hand, sent, serving, until

KEYS = ("a-long-secret", "another-secret")


async def test_it_says_how_the_model_stands_and_what_to_do(
    ollama: OllamaStandIn, served: tuple[Service, httpx.AsyncClient]
) -> None:
    client = served[1]
    await client.post("/api/generate-poem", json=sent(a_hand(1)))
    well = (await client.get("/stand")).text
    ollama.behave = FAULTS["polite"]
    await client.post("/api/generate-poem", json=sent(a_hand(2)))
    await ollama.stop()
    await client.post("/api/generate-poem", json=sent(a_hand(3)))
    ill = (await client.get("/stand")).text
    told = (await client.get("/stand", headers={"accept": "application/json"})).json()
    assert "○ モデルが詩を書いています" in well
    assert "モデル 1 篇" in well
    assert "△ モデルは休んでいます" in ill
    assert "モデルの詩が決まりを守っていませんでした" in ill
    assert "→ Ollama が動いているか、OLLAMA_HOST" in ill
    assert told["today"] == {"model": 1, "composed": 2}
    assert [miss["reason"] for miss in told["misses"]] == [told["ready"]["reason"], "rules"]
    assert told["notices"][0]["remedy"]


@pytest.mark.parametrize(("writer", "writes"), [("auto", False), ("model", True)])
async def test_a_model_below_the_composer_is_told_of_as_the_hands_are_answered(
    writer: Literal["auto", "model"], writes: bool
) -> None:
    async with OllamaStandIn(verdict=BELOW_COMPOSER) as ollama:
        settings = Settings(engine="ollama", ollama_url=ollama.url, deadline_s=30, writer=writer)
        async with serving(settings) as (service, client):
            await until(service, ModelState.READY)
            answer = await client.post("/api/generate-poem", json=sent(a_hand(1)))
            ready = (await client.get("/ready")).json()
            page = (await client.get("/stand")).text
            metrics = (await client.get("/metrics")).text
            models = (await client.get("/v1/models")).json()["data"]
    reason = None if writes else "below-composer"
    assert answer.headers.get("x-poem-reason") == reason
    assert (ready["answers_from"], ready["reason"]) == ("model" if writes else "table", reason)
    assert [one["reason"] for one in ready["engines"]] == [reason]
    assert ("○ モデルが詩を書いています" in page) is writes
    assert (REMEDIES[Reason.BELOW_COMPOSER][1] in page) is not writes
    assert f"\npoem_model_ready {float(writes)}\n" in metrics
    assert f'\npoem_engine_ready{{engine="ollama"}} {float(writes)}\n' in metrics
    assert [one["id"] for one in models] == [MODEL]  # whoever talks to the model itself has it


async def test_a_test_hand_is_written_and_not_counted_as_a_player_s(served: tuple[Service, httpx.AsyncClient]) -> None:
    page = await served[1].post("/stand")
    assert page.status_code == 200
    assert "<h3>「" in page.text
    assert "（モデル、" in page.text
    assert "http-equiv" not in page.text  # it stays on the screen
    told = (await served[1].get("/stand", headers={"accept": "application/json"})).json()
    assert told["today"] == {}


async def test_a_log_that_takes_no_poems_is_said_with_what_to_do() -> None:
    pytest.importorskip("psycopg")
    where = f"postgresql://me:a-secret@127.0.0.1:{free_port()}/db"
    async with serving(Settings.from_env({"POEM_ENGINE": "none", "POEM_LOG_DB": where})) as (service, client):
        assert LOG_FAILING[0] not in (await client.get("/stand")).text
        await client.post("/api/generate-poem", json=sent(a_hand(1)))
        assert service.generation_log
        async with asyncio.timeout(10):
            while not service.generation_log.failing:
                await asyncio.sleep(0.01)
        page = (await client.get("/stand")).text
    assert f"{LOG_FAILING[0]}（1 篇が待っています：" in page
    assert "a-secret" not in page
    assert LOG_FAILING[1] in page


async def test_the_page_needs_nothing_from_outside_and_no_script() -> None:
    async with serving(Settings(engine="none")) as (_, client):
        page = await client.get("/stand")
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert page.headers.get_list("content-security-policy", split_commas=False) == [
        page.headers["content-security-policy"]
    ]
    assert "<script" not in page.text


async def test_it_is_for_this_machine_or_for_whoever_has_a_key() -> None:
    basic = "Basic " + base64.b64encode(b"stand:a-long-secret").decode()
    async with serving(Settings(engine="none")) as (_, client):
        assert (await client.get("/stand")).status_code == 200
        refusal = await client.get("/stand", headers={"x-forwarded-for": "203.0.113.9"})
        assert refusal.status_code == 403
        assert "docker compose exec service poem-service doctor" in refusal.json()["error"]
        assert (await client.get("/stand", headers={"host": "evil.example.jp"})).status_code == 403
    async with serving(Settings(engine="none", api_keys=KEYS)) as (_, client):
        far = {"x-forwarded-for": "203.0.113.9"}
        asked = await client.get("/stand", headers=far)
        assert (asked.status_code, asked.headers["www-authenticate"]) == (401, 'Basic realm="stand"')
        assert (await client.get("/stand", headers=far | {"authorization": basic})).status_code == 200
        assert (await client.get("/stand", headers=far | {"authorization": "Bearer another-secret"})).status_code == 200
        assert (await client.get("/stand", headers=far | {"authorization": "Bearer wrong"})).status_code == 401


@pytest.mark.parametrize(
    ("value", "basic", "opens"),
    [
        ("Bearer a-long-secret", False, True),
        ("bearer another-secret", False, True),
        ("Bearer a-long", False, False),
        ("Basic " + base64.b64encode(b"x:a-long-secret").decode(), True, True),
        ("Basic " + base64.b64encode(b"x:a-long-secret").decode(), False, False),
        ("Basic %%%", True, False),
        ("", True, False),
    ],
)
def test_a_key_is_a_key(value: str, basic: bool, opens: bool) -> None:
    assert has_key(Headers({"authorization": value}), KEYS, basic=basic) is opens


@pytest.mark.parametrize(
    ("peer", "headers", "local"),
    [
        ("127.0.0.1", {"host": "localhost:3001"}, True),
        ("::1", {"host": "[::1]:3001"}, True),
        ("127.0.0.1", {"host": "127.0.0.1"}, True),
        ("192.0.2.7", {"host": "localhost:3001"}, False),
        ("127.0.0.1", {"host": "stand.example.jp"}, False),
        ("127.0.0.1", {"host": "localhost", "forwarded": "for=192.0.2.7"}, False),
        ("", {"host": "localhost"}, False),
    ],
)
def test_this_machine_is_known_by_address_and_name(peer: str, headers: dict[str, str], local: bool) -> None:
    assert is_local({"client": (peer, 1)} if peer else {}, Headers(headers)) is local


async def test_nobody_forges_this_machine() -> None:
    """Neither past a proxy that is trusted nor by a caller who is believed to be one."""
    trusted = Settings.from_env({"POEM_TRUSTED_PROXIES": "127.0.0.1"}).trusted_proxies
    async with serving(Settings(engine="none", trusted_proxies=trusted)) as (_, client):
        assert (await client.get("/stand")).status_code == 200
        for name in ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-real-ip", "via"):
            assert (await client.get("/stand", headers={name: "127.0.0.1"})).status_code == 403


@pytest.mark.parametrize(
    ("address", "local"), [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("::ffff:10.0.0.1", False)]
)
def test_this_machine_is_known_on_a_socket_for_both_kinds(address: str, local: bool) -> None:
    assert is_local({"client": (address, 1)}, Headers({"host": "localhost:3001"})) is local
