"""The service beside nginx, plain Starlette+httpx and LiteLLM, before one fixed upstream, in one run.

    python -m bench.service_speed [--seconds 4] [--rounds 3]

nginx gives the upstream's fixed answer, whole as a plain ask wants it, and is a peer too; wrk asks. LiteLLM
takes part if LITELLM names its command. Every figure of ours has the rules in it. Prints a table with ratios; the
upstream's own time is taken off for the added latency. What a model that writes token by token costs:
`bench.service_processor`.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from poem.composer import compose
from poem.game import builtin_game
from poem.shape import encode
from support.process import free_port, service
from support.served import a_hand, sent

PEERS = Path(__file__).resolve().parent / "peers"
MODEL = "mansion-poem:latest"
PIECE = 2
"""Characters in a line of the upstream's stream: about a token."""

NGINX = """
worker_processes 1; daemon off; error_log stderr error; pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder}; keepalive_requests 10000000; client_max_body_size 1m;
  upstream fixed {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 10000000; }}
  server {{ listen 127.0.0.1:{upstream}; root {folder}; error_page 405 =200 $uri;
    location / {{ default_type application/json; }} }}
  server {{ listen 127.0.0.1:{proxy};
    location / {{ proxy_pass http://fixed/api/chat; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}
"""


def write_answers(folder: Path, titles: tuple[str, ...]) -> Path:
    """The upstream's fixed answers as files, and the request's body; the path of the body."""
    hand = a_hand(1)
    answer = compose(builtin_game(), hand, titles, 1).answer
    text = encode(answer)
    lines = [
        {"model": MODEL, "message": {"role": "assistant", "content": text[n : n + PIECE]}, "done": False}
        for n in range(0, len(text), PIECE)
    ]
    lines.append({"model": MODEL, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"})
    named = {"models": [{"name": MODEL, "digest": "fixed", "size": 1, "size_vram": 0}]}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    completion = {"id": "1", "object": "chat.completion", "created": 1, "model": "fixed", "choices": [choice]}
    completion["usage"] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    (folder / "api").mkdir()
    (folder / "v1" / "chat").mkdir(parents=True)
    (folder / "lines.ndjson").write_bytes(b"".join(json.dumps(x, ensure_ascii=False).encode() + b"\n" for x in lines))
    tokens = {"eval_count": len(lines), "eval_duration": 1_000_000}
    whole = lines[-1] | {"message": {"role": "assistant", "content": text}} | tokens
    for name, fields in {
        "api/chat": whole,
        "api/tags": named,
        "api/ps": named,
        "api/show": {"model_info": {}},
        "v1/chat/completions": completion,
        "titles.json": list(titles),
        "body.json": sent(hand),
        "chat.json": {"model": "fixed", "messages": [{"role": "user", "content": "詩を一篇"}]},
    }.items():
        (folder / name).write_text(json.dumps(fields, ensure_ascii=False), "utf-8")
    return folder / "body.json"


@asynccontextmanager
async def process(*command: str, ready: str, **environ: str) -> AsyncIterator[int]:
    """A peer in a process of its own, once it answers at `ready`: its process id."""
    running = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environ}, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client, asyncio.timeout(90):
            while True:
                try:
                    await client.get(ready)
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        yield running.pid
    finally:
        with suppress(ProcessLookupError):
            running.terminate()
        await running.wait()


async def wrk(url: str, body: Path, clients: int, seconds: float, accept: str = "application/json") -> dict[str, float]:
    """One measurement."""
    asking = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--timeout", "30s", "--latency"),
        *("-s", str(PEERS / "post.lua"), url, "--", str(body), "Bearer sk-1234", accept),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asking.communicate()
    found: dict[str, float] = json.loads(out.decode().strip().splitlines()[-1])
    return found


async def run(seconds: float, rounds: int) -> dict[str, dict[int, dict[str, float]]]:
    """Every peer at 1 and 10 clients, in turns; the median of the rounds."""
    titles = builtin_game().deck.catchphrases[:20]
    measured: dict[str, dict[int, list[dict[str, float]]]] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        body = write_answers(folder, titles)
        upstream, proxy = free_port(), free_port()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, upstream=upstream, proxy=proxy))
        at = f"http://127.0.0.1:{upstream}"
        await stack.enter_async_context(
            process("nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), ready=f"{at}/api/tags")
        )
        urls: dict[str, tuple[str, Path]] = {
            "upstream itself": (f"{at}/api/chat", body),
            "nginx": (f"http://127.0.0.1:{proxy}/", body),
        }
        await _add_peers(stack, urls, at, body, folder)
        ours = urls["mansion-poem"][0].rsplit("/api", 1)[0]
        for _ in range(rounds):
            for name, (url, content) in urls.items():
                for clients in (1, 10):
                    await wrk(url, content, clients, 1)
                    found = await wrk(url, content, clients, seconds)
                    measured.setdefault(name, {}).setdefault(clients, []).append(found)
        await from_the_model(ours)
    return {name: {c: _median(runs) for c, runs in by.items()} for name, by in measured.items()}


async def _add_peers(
    stack: AsyncExitStack, urls: dict[str, tuple[str, Path]], at: str, body: Path, folder: Path
) -> None:
    environ = {"POEM_ENGINE": "ollama", "OLLAMA_HOST": at, "POEM_MAX_ACTIVE": "64"}
    environ["POEM_CATCHPHRASES"] = str(folder / "titles.json")
    ours, _ = await stack.enter_async_context(service(environ))
    urls["mansion-poem"] = (f"{ours}/api/generate-poem", body)
    port = str(free_port())
    plain = f"http://127.0.0.1:{port}"
    await stack.enter_async_context(
        process(sys.executable, str(PEERS / "starlette_httpx.py"), ready=plain, UPSTREAM=at, PORT=port)
    )
    urls["Starlette+httpx"] = (f"{plain}/api/generate-poem", body)
    if litellm := os.environ.get("LITELLM") or shutil.which("litellm"):
        port = str(free_port())
        config = folder / "litellm.yaml"
        params = {"model": "openai/fixed", "api_base": f"{at}/v1", "api_key": "none"}
        config.write_text(json.dumps({"model_list": [{"model_name": "fixed", "litellm_params": params}]}))
        ready = f"http://127.0.0.1:{port}/health/liveliness"
        no_key = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true", "LITELLM_LOG": "ERROR"}
        await stack.enter_async_context(
            process(litellm, "--config", str(config), "--port", port, ready=ready, **no_key)
        )
        urls["LiteLLM"] = (f"http://127.0.0.1:{port}/v1/chat/completions", folder / "chat.json")


async def from_the_model(url: str) -> None:
    """Our figures count only if every poem was the model's."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{url}/metrics")).text
    others = [
        line for line in text.splitlines() if line.startswith("poem_answers_total") and 'source="model"' not in line
    ]
    if others:
        raise SystemExit(f"{Path(sys.argv[0]).stem}: some poems were not the model's: {others}")


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(found[key] for found in runs) for key in runs[0]}


def table(found: dict[str, dict[int, dict[str, float]]]) -> Iterator[str]:
    """The figures in lines; requests a second as a ratio to ours."""
    ours = found["mansion-poem"][10]["per_s"]
    bare = found["upstream itself"]
    yield "| | 1 client: p50 ms | added | 10 clients: p50 ms | added | p99 ms | added | requests/s | ours : this |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, by in found.items():
        one, ten = by[1], by[10]
        failed = f" ({one['failed'] + ten['failed']:.0f} failed)" if one["failed"] + ten["failed"] else ""
        yield (
            f"| {name}{failed} | {one['p50_ms']:.2f} | {one['p50_ms'] - bare[1]['p50_ms']:.2f} "
            f"| {ten['p50_ms']:.2f} | {ten['p50_ms'] - bare[10]['p50_ms']:.2f} "
            f"| {ten['p99_ms']:.2f} | {ten['p99_ms'] - bare[10]['p99_ms']:.2f} "
            f"| {ten['per_s']:.0f} | {ours / ten['per_s']:.2f} |"
        )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if missing := [tool for tool in ("nginx", "wrk") if shutil.which(tool) is None]:
        sys.stdout.write(f"service_speed: skipped, not on PATH: {', '.join(missing)}\n")
        return
    found: Any = asyncio.run(run(options.seconds, options.rounds))
    for line in table(found):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
