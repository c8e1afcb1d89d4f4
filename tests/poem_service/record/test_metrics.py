"""The counters' names, and that they say what is so."""

import re
import sys

import httpx
import pytest

from poem_service.service import Service
from support.ollama_stand_in import FAULTS, OllamaStandIn
from support.served import a_hand, sent


async def value(client: httpx.AsyncClient, name: str) -> float:
    found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", (await client.get("/metrics")).text)
    assert found, name
    return float(found[1])


async def test_counters_end_in_total_and_everything_has_its_help(served: tuple[Service, httpx.AsyncClient]) -> None:
    text = (await served[1].get("/metrics")).text
    kinds = dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text))
    assert {name for name, kind in kinds.items() if kind == "counter" and not name.endswith("_total")} == set()
    assert {name for name, kind in kinds.items() if kind != "counter" and name.endswith("_total")} == set()
    assert set(kinds) == set(re.findall(r"(?m)^# HELP (\S+) .+$", text))
    assert kinds["poem_log_rows_lost_total"] == "counter"


async def test_ready_is_what_players_meet(ollama: OllamaStandIn, served: tuple[Service, httpx.AsyncClient]) -> None:
    client = served[1]
    assert await value(client, "poem_model_ready") == 1
    ollama.behave = FAULTS["status_500"]
    for n in range(3):
        await client.post("/api/generate-poem", json=sent(a_hand(n)))
    assert (await client.get("/ready")).json()["reason"] == "breaker-open"
    assert await value(client, "poem_model_ready") == 0
    assert await value(client, "poem_breaker_state") == 1
    assert await value(client, "poem_quality_breaker_state") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the process's own figures are Linux's")
async def test_the_process_is_measured_too(served: tuple[Service, httpx.AsyncClient]) -> None:
    assert await value(served[1], "process_resident_memory_bytes") > 10_000_000
    assert await value(served[1], "process_open_fds") > 3
