"""The script for a GPU runs with a toy, on whatever there is; what others start and wait for, without an engine."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.process import children

ROOT = Path(__file__).parents[1]
TELLS = f"""#!{sys.executable}
import http.server, json, os, sys

class Tells(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ)).encode())

http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Tells).serve_forever()
"""
"""A llama-server that tells its environment."""


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench` can be imported; what its scripts add to the path goes again."""
    monkeypatch.syspath_prepend(ROOT)


def stand_in(name: str, script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program on PATH."""
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.long
def test_the_script_for_a_gpu_goes_from_random_weights_to_an_answer() -> None:
    command = [sys.executable, "-m", "bench.gpu", "--toy", "--steps", "2", "--batch", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert {"lora", "qlora", "unsloth", "trl", "merge", "convert", "quantize", "modelfile", "verify"} <= lines.keys()
    assert float(lines["lora"].split()[1]) > 0
    assert float(lines["trl"].split()[3]) == pytest.approx(float(lines["lora"].split()[3]), abs=0.2)


async def test_llama_server_keeps_the_instructions_as_ollama_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.scale.parts import openai_engine

    stand_in("llama-server", TELLS, tmp_path, monkeypatch)
    engine = openai_engine(tmp_path / "model.gguf")
    await engine.start()
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            told = json.loads((await client.get(f"{engine.url}/health")).text)
    finally:
        await engine.end(signal.SIGKILL)
    assert {"LLAMA_ARG_SWA_FULL": "1", "LLAMA_ARG_CACHE_RAM": "0"}.items() <= told.items()


def test_a_child_is_found_whichever_thread_started_it() -> None:
    with ThreadPoolExecutor(1) as other:
        child = other.submit(subprocess.Popen, ["sleep", "60"]).result()
        try:
            assert child.pid in children(os.getpid())
        finally:
            child.kill()
            child.wait()


async def test_a_round_that_finds_no_runner_to_kill_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.service_ollama import Ollama

    stand_in("ollama", "#!/bin/sh\nexec sleep 60\n", tmp_path, monkeypatch)
    ollama = Ollama()
    await ollama.start()
    try:
        with pytest.raises(SystemExit, match="no runner"):
            await ollama.end("runner")
    finally:
        await ollama.end("kill")


def ready(*told: str) -> httpx.AsyncClient:
    """A service whose `/ready` tells this, one after the other, and the last for ever; `gone`: nobody listens."""
    left = list(told)

    def answer(_: httpx.Request) -> httpx.Response:
        if (now := left.pop(0) if len(left) > 1 else left[0]) == "gone":
            raise httpx.ConnectError("nobody listens")
        return httpx.Response(200, json={"answers_from": "table" if now != "model" else now, "reason": now})

    return httpx.AsyncClient(base_url="http://service", transport=httpx.MockTransport(answer))


@pytest.mark.parametrize("told", [("model", "unreachable", "model"), ("model", "gone", "gone", "quality")])
async def test_the_model_is_back_only_after_it_was_gone(told: tuple[str, ...]) -> None:
    from bench.service_ollama import LOOK_S, back_s

    async with ready(*told) as client:
        seconds = await back_s(client)
    assert seconds is not None
    assert seconds >= (len(told) - 2) * LOOK_S  # it looks for the return as soon as it saw it go


async def test_a_model_that_was_never_seen_gone_is_not_back_at_once() -> None:
    from bench.service_ollama import back_s

    async with ready("model") as client:
        assert await back_s(client, seen_s=0.2) is None
