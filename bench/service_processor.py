"""What an answer costs in processor time, beside nginx, plain Starlette+httpx and LiteLLM, in one run.

    python -m bench.service_processor [--seconds 8] [--answer 1.0] [--clients 16]

Two regimes of the same upstream: all in one write, and token by token over `--answer` seconds as models write.
Two ways to ask: plain, and streamed. Processor time is the process's own (with its children), from /proc, so what
else the machine does matters little. LiteLLM takes part if LITELLM names its command.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.service_speed import PEERS, from_the_model, process, write_answers, wrk
from poem.game import builtin_game
from support.process import children, free_port, service

TICKS = os.sysconf("SC_CLK_TCK")
STREAM = "text/event-stream"
NGINX = """
worker_processes 1; daemon off; error_log stderr error; pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder}; keepalive_requests 10000000;
  upstream fixed {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 10000000; }}
  server {{ listen 127.0.0.1:{proxy}; proxy_http_version 1.1; proxy_set_header Connection "";
    location /plain {{ proxy_pass http://fixed/api/chat; }}
    location /streamed {{ proxy_pass http://fixed/api/chat; proxy_buffering off; }} }}
}}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where it is asked, with what, and whose processor time counts."""

    pid: int
    plain: tuple[str, Path]
    streamed: tuple[str, Path]


def spent_s(pid: int) -> float:
    """Processor time of a process and its living children."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS + sum(map(spent_s, children(pid)))


async def cost_ms(peer: Peer, *, streamed: bool, clients: int, seconds: float) -> float:
    """Milliseconds of processor time an answer."""
    url, body = peer.streamed if streamed else peer.plain
    accept = STREAM if streamed else "application/json"
    await wrk(url, body, clients, 2, accept)
    before = spent_s(peer.pid)
    found = await wrk(url, body, clients, seconds, accept)
    spent = spent_s(peer.pid) - before
    if found["failed"]:
        raise SystemExit(f"service_processor: {url}: {found['failed']:.0f} answers failed")
    return 1000 * spent / found["requests"]


@asynccontextmanager
async def peers(folder: Path, body: Path, upstream: int, seconds: float) -> AsyncIterator[dict[str, Peer]]:
    """Everybody, before one upstream."""
    at = f"http://127.0.0.1:{upstream}"
    async with AsyncExitStack() as stack:
        start = stack.enter_async_context
        paced = (sys.executable, str(PEERS / "paced.py"), str(upstream), str(seconds), str(folder))
        await start(process(*paced, ready=f"{at}/api/tags"))
        ask = folder / "ask.json"
        found: dict[str, Peer] = {}
        proxy = free_port()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, upstream=upstream, proxy=proxy))
        nginx = f"http://127.0.0.1:{proxy}"
        pid = await start(process("nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), ready=nginx))
        found["nginx"] = Peer(pid, (f"{nginx}/plain", folder / "ask_whole.json"), (f"{nginx}/streamed", ask))
        environ = {"POEM_ENGINE": "ollama", "OLLAMA_HOST": at, "POEM_MAX_ACTIVE": "64"}
        environ["POEM_CATCHPHRASES"] = str(folder / "titles.json")
        ours, pid = await start(service(environ))
        await _until_model(ours)
        poem = (f"{ours}/api/generate-poem", body)
        found["mansion-poem"] = Peer(pid, poem, poem)
        port = str(free_port())
        plain = f"http://127.0.0.1:{port}"
        starlette = str(PEERS / "starlette_httpx.py")
        pid = await start(process(sys.executable, starlette, ready=plain, UPSTREAM=at, PORT=port))
        found["Starlette+httpx"] = Peer(
            pid, (f"{plain}/api/generate-poem", folder / "ask_whole.json"), (f"{plain}/streamed", ask)
        )
        found["Starlette+httpx, upstream streaming"] = Peer(
            pid, (f"{plain}/api/generate-poem", ask), (f"{plain}/streamed", ask)
        )
        if litellm := os.environ.get("LITELLM") or shutil.which("litellm"):
            found["LiteLLM"] = await _litellm(stack, litellm, at, folder)
        yield found


async def _litellm(stack: AsyncExitStack, command: str, at: str, folder: Path) -> Peer:
    port = str(free_port())
    config = folder / "litellm.yaml"
    params = {"model": "openai/fixed", "api_base": f"{at}/v1", "api_key": "none"}
    config.write_text(json.dumps({"model_list": [{"model_name": "fixed", "litellm_params": params}]}))
    no_key = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true", "LITELLM_LOG": "ERROR"}
    url = f"http://127.0.0.1:{port}"
    pid = await stack.enter_async_context(
        process(command, "--config", str(config), "--port", port, ready=f"{url}/health/liveliness", **no_key)
    )
    chat = f"{url}/v1/chat/completions"
    return Peer(pid, (chat, folder / "chat.json"), (chat, folder / "chat_streamed.json"))


async def _until_model(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
        while (await client.get(f"{url}/ready")).json()["answers_from"] != "model":
            await asyncio.sleep(0.1)


async def run(seconds: float, answer_s: float, clients: int) -> dict[tuple[float, str, bool], float]:
    """By regime, peer and way of asking."""
    found: dict[tuple[float, str, bool], float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        body = write_answers(folder, builtin_game().deck.catchphrases[:20])
        chat = json.loads((folder / "chat.json").read_text("utf-8"))
        (folder / "chat_streamed.json").write_text(json.dumps(chat | {"stream": True}))
        (folder / "ask.json").write_text('{"stream": true}')
        (folder / "ask_whole.json").write_text('{"stream": false}')
        for regime in (0.0, answer_s):
            async with peers(folder, body, free_port(), regime) as everybody:
                for streamed in (False, True):
                    for peer_name, peer in everybody.items():
                        found[regime, peer_name, streamed] = await cost_ms(
                            peer, streamed=streamed, clients=clients, seconds=seconds
                        )
                await from_the_model(everybody["mansion-poem"].plain[0].rsplit("/api", 1)[0])
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--answer", type=float, default=1.0)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    if missing := [tool for tool in ("nginx", "wrk") if shutil.which(tool) is None]:
        sys.stdout.write(f"service_processor: skipped, not on PATH: {', '.join(missing)}\n")
        return
    found = asyncio.run(run(options.seconds, options.answer, options.clients))
    sys.stdout.write(
        "| processor ms an answer | one write, plain | one write, streamed | paced, plain | paced, streamed |\n"
    )
    sys.stdout.write("|---|---|---|---|---|\n")
    for name in dict.fromkeys(peer for _, peer, _ in found):
        cells = [f"{found[regime, name, s]:.2f}" for regime in (0.0, options.answer) for s in (False, True)]
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
