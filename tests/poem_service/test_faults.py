"""Every fault of the model's server, done for real: the player gets a poem that keeps the rules, in time."""

import asyncio
from pathlib import Path

import httpx
import pytest

from poem.game import builtin_game
from poem.hand import Answer
from poem.rules import check
from poem.shape import encode
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from support.ollama_stand_in import FAULTS, Call, OllamaStandIn, blanks, right
from support.served import DEADLINE_S, HANGS, PATIENT_S, a_hand, events, sent, serving, until

STREAM = {"accept": "text/event-stream"}
Served = tuple[Service, httpx.AsyncClient]

REASONS = {
    "hang_before": "timeout",
    "hang_before_first": "timeout",
    "hang_amid": "timeout",
    "slow_drip": "timeout",
    "status_400": "upstream-error",
    "status_404": "model-missing",
    "status_500": "upstream-error",
    "status_503": "busy",
    "redirect": "upstream-error",
    "done_false": "incomplete",
    "done_length": "incomplete",
    "error_line": "upstream-error",
    "cut_body": "lost",
    "reset": "lost",
    "bad_json": "malformed",
    "bad_line": "malformed",
    "not_utf8": "malformed",
    "another_card_s_title": "rules",
    "unknown_title": "rules",
    "extra_key": "malformed",
    "too_short": "rules",
    "too_long": "rules",
    "endless": "malformed",
    "repeated": "rules",
    "polite": "rules",
    "empty": "malformed",
    "thinks_only": "malformed",
    "status_429": "busy",
    "another_page": "malformed",
}


async def poem_of(client: httpx.AsyncClient, seed: int = 1, limit_s: float = PATIENT_S) -> httpx.Response:
    """Ask for a poem; whatever happens it is one, keeps the rules and is in time."""
    hand = a_hand(seed)
    response = await client.post("/api/generate-poem", json=sent(hand))
    assert response.status_code == 200
    assert set(response.json()) == {"title", "poem"}
    assert check(Answer(**response.json()), hand, builtin_game().deck.catchphrases) == []
    assert response.elapsed.total_seconds() < limit_s + 1  # of a busy machine's
    return response


def came_from(response: httpx.Response) -> tuple[str, str | None]:
    return response.headers["x-poem-source"], response.headers.get("x-poem-reason")


async def test_the_model_s_poem_is_served_when_nothing_is_wrong(served: Served) -> None:
    assert came_from(await poem_of(served[1])) == ("model", None)


async def test_blanks_between_tokens_are_no_fault(ollama: OllamaStandIn, served: Served) -> None:
    ollama.behave = blanks
    assert came_from(await poem_of(served[1])) == ("model", None)


def test_every_fault_has_its_reason() -> None:
    assert set(REASONS) == set(FAULTS)
    assert {fault for fault, reason in REASONS.items() if reason == "timeout"} == HANGS


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_costs_the_player_nothing(fault: str, ollama: OllamaStandIn, served: Served) -> None:
    ollama.behave = FAULTS[fault]
    answer = await poem_of(served[1], limit_s=served[0].settings.deadline_s)
    assert came_from(answer) == ("composed", REASONS[fault])


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_costs_whoever_watches_nothing(fault: str, ollama: OllamaStandIn, served: Served) -> None:
    ollama.behave = FAULTS[fault]
    hand = a_hand()
    response = await served[1].post("/api/generate-poem", json=sent(hand), headers=STREAM)
    found = events(response.text)
    assert found[-1][0] == "done"
    shown = ""
    for name, fields in found[:-1]:
        shown = "" if name == "replace" else shown + fields["text"]
    assert (found[-1][1]["source"], found[-1][1]["poem"]) == ("composed", shown)
    assert check(Answer(found[-1][1]["title"], shown), hand, builtin_game().deck.catchphrases) == []
    assert (
        f'poem_answers_total{{reason="{REASONS[fault]}",source="composed"}} 1.0'
        in (await served[1].get("/metrics")).text
    )


@pytest.mark.parametrize("fault", ["bad_json", "done_false", "cut_body", "reset", "unknown_title", "too_short"])
async def test_a_second_try_with_another_seed_can_succeed(fault: str, ollama: OllamaStandIn, served: Served) -> None:
    async def once(call: Call) -> None:
        ollama.behave = right
        await FAULTS[fault](call)

    ollama.calls.clear()
    ollama.behave = once
    assert came_from(await poem_of(served[1])) == ("model", None)
    first, second = (call["options"]["seed"] for call in ollama.calls)
    assert first != second


async def test_only_the_seed_goes_with_a_request(ollama: OllamaStandIn, served: Served) -> None:
    await poem_of(served[1])
    body = ollama.calls[-1]
    assert set(body["options"]) == {"seed"}
    assert {key: body[key] for key in ("think", "stream", "keep_alive")} == {
        "think": False,
        "stream": False,
        "keep_alive": -1,
    }


async def test_nobody_listens() -> None:
    async with serving(Settings(engine="ollama", ollama_url="http://127.0.0.1:9", deadline_s=DEADLINE_S)) as served:
        await until(served[0], ModelState.ABSENT)
        assert came_from(await poem_of(served[1])) == ("composed", "unreachable")


async def test_the_name_does_not_resolve() -> None:
    async with serving(Settings(engine="ollama", ollama_url="http://ollama.invalid", deadline_s=DEADLINE_S)) as served:
        await until(served[0], ModelState.ABSENT)
        assert came_from(await poem_of(served[1])) == ("composed", "unreachable")


async def test_the_model_is_not_there_and_comes_later(ollama: OllamaStandIn) -> None:
    models, ollama.models = ollama.models, ("another:latest",)
    async with serving(Settings(ollama_url=ollama.url, deadline_s=PATIENT_S)) as (service, client):
        await until(service, ModelState.ABSENT)
        assert came_from(await poem_of(client)) == ("composed", "model-missing")
        ollama.models = models
        await until(service, ModelState.READY)
        assert came_from(await poem_of(client)) == ("model", None)


async def test_a_loading_model_is_loaded_by_the_service_alone(ollama: OllamaStandIn) -> None:
    ollama.loaded, ollama.load_s = False, 1.0
    async with serving(Settings(engine="ollama", ollama_url=ollama.url, deadline_s=PATIENT_S)) as (service, client):
        await until(service, ModelState.LOADING)
        for seed in range(5):
            assert came_from(await poem_of(client, seed)) == ("composed", "loading")
        await until(service, ModelState.READY)
        assert came_from(await poem_of(client)) == ("model", None)
        assert (ollama.loads, ollama.loads_cut) == (1, 0)
        ready = (await client.get("/ready")).json()
        assert ready["cold_s"] >= 1.0
        assert ready["vram_share"] == 0.25


async def test_a_lost_gpu_is_told(ollama: OllamaStandIn) -> None:
    settings = Settings(engine="ollama", ollama_url=ollama.url, deadline_s=PATIENT_S, gpu="expected")
    async with serving(settings) as (service, client):
        await until(service, ModelState.READY)
        assert (await client.get("/ready")).json()["gpu_lost"] is False
        assert "\npoem_gpu_lost 0.0\n" in (await client.get("/metrics")).text
        ollama.size_vram = 0
        service.keeper.look_now()
        while not (await client.get("/ready")).json()["gpu_lost"]:
            await asyncio.sleep(0.02)
        assert "\npoem_gpu_lost 1.0\n" in (await client.get("/metrics")).text
        assert came_from(await poem_of(client)) == ("model", None)


async def test_a_restart_in_between_is_survived(ollama: OllamaStandIn, served: Served) -> None:
    service, client = served
    await ollama.stop()
    assert (await poem_of(client)).headers["x-poem-source"] == "composed"
    await until(service, ModelState.ABSENT)
    assert came_from(await poem_of(client)) == ("composed", "unreachable")
    await ollama.start()
    await until(service, ModelState.READY)
    assert came_from(await poem_of(client)) == ("model", None)


async def test_another_digest_is_noticed_and_the_model_tried_anew(ollama: OllamaStandIn, served: Served) -> None:
    service, client = served
    assert (await client.get("/ready")).json()["digest"] == "sha256:first"
    ollama.digest, ollama.version = "sha256:second", "000000000000"
    service.keeper.look_now()
    async with asyncio.timeout(10):
        while (ready := (await client.get("/ready")).json())["digest"] != "sha256:second":
            await asyncio.sleep(0.02)
    assert (ready["prompt_version"], ready["prompt_differs"]) == ("000000000000", True)


async def test_a_model_that_cannot_finish_in_time_is_not_asked(ollama: OllamaStandIn) -> None:
    ollama.behave = FAULTS["slow_drip"]
    async with serving(Settings(engine="ollama", ollama_url=ollama.url, deadline_s=1.0)) as (service, client):
        await until(service, ModelState.TOO_SLOW)
        asked = len(ollama.calls)
        assert came_from(await poem_of(client)) == ("composed", "too-slow")
        assert len(ollama.calls) == asked
        assert (await client.get("/ready")).json()["reason"] == "too-slow"


async def test_the_breaker_spares_players_a_model_that_keeps_failing(ollama: OllamaStandIn, served: Served) -> None:
    service, client = served
    service.keeper.breaker.cooldown_s = 0.4
    ollama.behave = FAULTS["reset"]
    for seed in range(2):
        await poem_of(client, seed)
    assert came_from(await poem_of(client)) == ("composed", "breaker-open")
    assert (await client.get("/ready")).json()["answers_from"] == "table"
    ollama.behave = right
    service.keeper.look_now()
    async with asyncio.timeout(10):
        while service.keeper.breaker.opened_at is not None:
            await asyncio.sleep(0.02)
    assert came_from(await poem_of(client)) == ("model", None)


async def test_more_players_than_the_model_can_serve_are_answered_at_once(ollama: OllamaStandIn) -> None:
    async def slowly(call: Call) -> None:
        await asyncio.sleep(0.4)
        await right(call)

    async with serving(Settings(engine="ollama", ollama_url=ollama.url, deadline_s=DEADLINE_S)) as (service, client):
        await until(service, ModelState.READY)
        ollama.behave = slowly
        for seed in range(4):  # the pace is learnt from real answers
            await poem_of(client, seed)
        answers = await asyncio.gather(*(poem_of(client, seed) for seed in range(12)))
    sources = [came_from(answer) for answer in answers]
    assert ("model", None) in sources
    assert ("composed", "busy") in sources


async def test_a_poem_streams_as_it_grows(ollama: OllamaStandIn, served: Served) -> None:
    async def at_a_pace(call: Call) -> None:
        await call.head()
        await call.text(encode(call.right()), gap_s=0.01)
        await call.end()

    ollama.behave = at_a_pace
    response = await served[1].post("/api/generate-poem", json=sent(a_hand()), headers=STREAM)
    found = events(response.text)
    assert [name for name, _ in found][-1] == "done"
    assert {name for name, _ in found} == {"delta", "done"}
    done = found[-1][1]
    assert set(done) == {"title", "poem", "source"}
    assert "".join(fields["text"] for name, fields in found if name == "delta") == done["poem"]
    assert 5 < len(found) < 40  # in sips, and not token by token


@pytest.mark.parametrize("fault", ["hang_amid"])
async def test_what_was_shown_is_withdrawn_and_replaced(fault: str, ollama: OllamaStandIn, served: Served) -> None:
    ollama.behave = FAULTS[fault]
    response = await served[1].post("/api/generate-poem", json=sent(a_hand()), headers=STREAM)
    found = events(response.text)
    names = [name for name, _ in found]
    at = names.index("replace")
    assert names.count("replace") == 1
    assert "".join(fields["text"] for _, fields in found[at + 1 : -1]) == found[-1][1]["poem"]
    assert found[-1][1]["source"] == "composed"


async def test_a_full_disk_costs_the_log_and_not_the_poem(ollama: OllamaStandIn) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    async with serving(Settings(engine="none", log_db=full)) as (service, client):
        await poem_of(client)
        async with asyncio.timeout(5):
            while not (service.generation_log and service.generation_log.lost):
                await asyncio.sleep(0.02)
        await poem_of(client)
