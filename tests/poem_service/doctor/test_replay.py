"""`poem-service replay`: the same hand and seed, asked again."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from poem_service.doctor.replay import ReplayError, find
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from support.ollama_stand_in import OllamaStandIn
from support.served import a_hand, sent, serving, until


async def played(path: Path, **settings: object) -> dict[str, str]:
    async with serving(Settings(log_db=path, **settings)) as (service, client):  # type: ignore[arg-type]
        if settings["engine"] != "none":
            await until(service, ModelState.READY)
        answer = await client.post("/api/generate-poem", json=sent(a_hand()), headers={"x-request-id": "stand-0042"})
        found: dict[str, str] = answer.json()
        return found


def replay(path: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "poem_service", "replay", *arguments],
        env={"POEM_LOG_DB": str(path), "PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_a_composed_poem_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    poem = await played(path, engine="none")
    done = replay(path, "stand-0042", POEM_ENGINE="none")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(poem["poem"]) == 2
    assert "同じ詩です。" in done.stdout


async def test_the_model_is_asked_with_the_seed_that_it_had(tmp_path: Path, ollama: OllamaStandIn) -> None:
    path = tmp_path / "log.sqlite3"
    poem = await played(path, engine="ollama", ollama_url=ollama.url)
    ollama.calls.clear()
    environ = {"POEM_ENGINE": "ollama", "OLLAMA_HOST": ollama.url}
    done = await asyncio.to_thread(lambda: replay(path, "stand-0042", "--json", **environ))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["same"], found["same_prompt"], found["now"]["source"]) == (True, True, "model")
    assert found["now"]["poem"] == found["then"]["poem"] == poem["poem"]
    assert ollama.calls[-1]["options"]["seed"] == found["seed"] == find(path, "stand-0042").seed


async def test_what_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    await played(path, engine="none")
    with pytest.raises(ReplayError, match="holds no request 'stand-0043'"):
        find(path, "stand-0043")
    done = replay(path, "stand-0043", POEM_ENGINE="none")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    nowhere = replay(path, "stand-0042", POEM_LOG_DB="")
    assert nowhere.stderr.startswith("poem-service: POEM_LOG_DB: not set")


async def test_an_older_file_is_looked_into_too(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    await played(path, engine="none")
    path.rename(tmp_path / "log.sqlite3.2")
    assert find(path, "stand-0042").answer.poem
