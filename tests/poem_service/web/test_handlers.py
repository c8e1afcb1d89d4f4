"""Bodies that do not come, players who leave, faults of ours."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from poem_service.errors import SettingsError
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from poem_service.web import requests
from support.ollama_stand_in import FAULTS, OllamaStandIn
from support.served import a_hand, break_a_page, sent, serving, until, whole_table


async def test_a_body_that_stops_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BODY_S", 0.2)

    async def stops() -> object:
        yield b"{"
        await asyncio.sleep(1.5)
        yield b"}"

    async with serving(Settings(engine="none")) as (_, client):
        async with asyncio.timeout(5):
            response = await client.post("/api/generate-poem", content=stops())  # type: ignore[arg-type]
    assert response.status_code == 400
    assert response.json() == {"error": requests.TOO_LATE}


async def test_a_client_that_leaves_ends_the_work_upstream_and_is_counted(ollama: OllamaStandIn) -> None:
    async with serving(Settings(engine="ollama", ollama_url=ollama.url, deadline_s=60)) as (service, client):
        await until(service, ModelState.READY)
        ollama.behave = FAULTS["hang_amid"]
        before = len(ollama.calls)
        leaving = asyncio.create_task(client.post("/api/generate-poem", json=sent(a_hand())))
        async with asyncio.timeout(20):
            while len(ollama.calls) == before:
                await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        async with asyncio.timeout(5):  # long before the service itself would give up
            while not (ollama.left and service.writer.fleet.ahead == 0):
                await asyncio.sleep(0.01)
        text = (await client.get("/metrics")).text
    assert 'poem_http_requests_total{status="499"} 1.0' in text
    assert "poem_answers_total{" not in text


async def test_a_fault_of_ours_is_said_in_japanese(served: tuple[Service, httpx.AsyncClient]) -> None:
    service, client = served

    def fail(*_: object) -> None:
        raise RuntimeError("ours")

    service.keep = fail  # type: ignore[method-assign, assignment]
    response = await client.post("/api/generate-poem", json=sent(a_hand()))
    assert response.status_code == 500
    assert set(response.json()) == {"error"}
    assert response.json()["error"].endswith("。")


async def test_prepared_cards_are_dealt_where_they_are_asked_for() -> None:
    async with serving(Settings(engine="none", deal="prepared")) as (service, client):
        assert service.dealer
        prepared = {frozenset(card.id for card in cards) for cards in service.dealer.prepared}
        dealt = await client.get("/api/deal")
        again = await client.get("/api/deal", params={"seed": dealt.headers["x-deal-seed"]})
        pairs = [{"conditionCard": card, "selectedPoem": card["poems"][0]} for card in dealt.json()]
        poem = await client.post("/api/generate-poem", json={"selectedPairs": pairs})
        free = await client.get("/api/deal?from=any&seed=7")
        bad = await client.get("/api/deal?from=nowhere")
        ready = (await client.get("/ready")).json()
    assert frozenset(card["id"] for card in dealt.json()) in prepared
    assert again.json() == dealt.json()
    assert poem.headers["x-poem-source"] in ("table", "composed")  # by the wordings that were picked
    assert len({card["category"] for card in free.json()}) == 5
    assert bad.status_code == 400
    assert (ready["deal"], ready["writer"]) == ("prepared", "auto")


async def test_a_row_that_holds_no_hand_costs_nobody_a_deal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = whole_table(tmp_path, hands=3)
    with closing(sqlite3.connect(table)) as db, db:
        db.execute("UPDATE poems SET pairs = 'null' WHERE pattern_id IN (SELECT min(pattern_id) FROM poems)")
    told = "rows of the table that hold no hand are left out"
    async with serving(Settings(engine="none", table=table)) as (service, client):
        assert (await client.get("/api/deal")).status_code == 200
        assert service.dealer is None  # for any cards the table is not read
        assert (await client.get("/api/deal?from=prepared")).status_code == 200
        assert service.dealer
        assert len(service.dealer.prepared) == 2
    assert [vars(r)["seen"] for r in caplog.records if r.message == told] == [{"rows": 1}]
    caplog.clear()
    async with serving(Settings(engine="none", table=table, deal="prepared")) as (_, client):
        assert (await client.get("/api/deal")).status_code == 200
    assert [vars(r)["seen"] for r in caplog.records if r.message == told] == [{"rows": 1}]


async def test_a_table_with_a_broken_page_stops_a_stand_that_deals_from_it_and_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = whole_table(tmp_path, hands=40)
    break_a_page(table)
    with pytest.raises(SettingsError, match=f"POEM_TABLE: {table}: .*; build or import the table again"):
        Service.of(Settings(engine="none", table=table, deal="prepared"))
    async with serving(Settings(engine="none", table=table)) as (_, client):
        assert (await client.get("/api/deal?seed=7")).status_code == 200
        assert "any cards are dealt" not in caplog.text
        dealt = await client.get("/api/deal?from=prepared")
    assert len({card["category"] for card in dealt.json()}) == 5
    assert "the table cannot be read: any cards are dealt" in caplog.text


async def test_over_the_rate_limit_the_reason_is_that_whoever_writes() -> None:
    settings = Settings(engine="none", rate_limit=1, writer="table")
    async with serving(settings) as (service, client):
        hand = sent(service.game.poems[0].hand)
        answers = [await client.post("/api/generate-poem", content=json.dumps(hand)) for _ in range(2)]
    assert [answer.headers["x-poem-reason"] for answer in answers] == ["prepared", "rate-limited"]


async def test_either_of_two_keys_opens() -> None:
    async with serving(Settings(engine="none", api_keys=("the-old-key", "the-new-key"))) as (_, client):
        for key, status in (("the-old-key", 200), ("the-new-key", 200), ("the-old-key,the-new-key", 401)):
            response = await client.get("/api/deal", headers={"authorization": f"Bearer {key}"})
            assert response.status_code == status
