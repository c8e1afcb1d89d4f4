"""Programs of this machine → the parts of a campaign, each to be ended and started again."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from poem_build.engine.ollama import call, upload
from poem_build.models.files import CREATE, SERVED
from support.process import ROOT, children, free_port

MODEL = "mansion-poem:tiny"
SERVICES = 3
CONTEXT = 3072
"""Tokens of a prompt and its answer, at most."""
KEPT = {"LLAMA_ARG_SWA_FULL": "1", "LLAMA_ARG_CACHE_RAM": "0"}
"""The instructions stay in llama.cpp's cache, as in the model's image."""
BEHIND = ("nice", "-n", "5")
"""Engines have machines of their own elsewhere: here they take what the services leave."""
UP_S = 120.0
GONE_S = 30.0


class Part:
    """A program with a port of its own; it is up once `ready` answers 200."""

    def __init__(self, name: str, command: Sequence[str], port: int, ready: str, environ: Mapping[str, str]) -> None:
        self.name, self.port = name, port
        self.url = f"http://127.0.0.1:{port}"
        self._command, self._ready, self._environ = command, ready, environ
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it is up."""
        quiet, env = asyncio.subprocess.DEVNULL, os.environ | dict(self._environ)
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=env, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(UP_S):
            while not await self._is_up(client):
                if self._process.returncode is not None:
                    raise SystemExit(f"scale: {self.name} ended as it started: {' '.join(self._command)}")
                await asyncio.sleep(0.1)

    async def end(self, sig: signal.Signals) -> None:
        """End it and what it started: by SIGTERM as an operator does, by SIGKILL as a lack of memory does."""
        if self._process is None or self._process.returncode is not None:
            return
        if sig is signal.SIGKILL:
            os.killpg(self._process.pid, sig)
        else:
            self._process.send_signal(sig)
        try:
            await asyncio.wait_for(self._process.wait(), GONE_S)
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def _is_up(self, client: httpx.AsyncClient) -> bool:
        with suppress(httpx.HTTPError):
            return (await client.get(f"{self.url}{self._ready}")).status_code == 200
        return False


class Engine(Part):
    """A server of the model; its kind is what POEM_ENGINES calls it."""

    kind = "openai"
    model = MODEL

    @property
    def provider(self) -> str:
        """As the log's rows call it."""
        return self.kind

    @property
    def listed(self) -> str:
        """As POEM_ENGINES names it."""
        return f"{self.kind}={self.url}#{self.model}"

    async def give(self, gguf: Path) -> None:
        """Give it the model, where it did not start with it."""


class Ollama(Engine):
    """A server of its own, with an empty folder for models."""

    kind = "ollama"

    def __init__(self, models: Path) -> None:
        port = free_port()
        environ = {"OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": str(models), "OLLAMA_NO_CLOUD": "1"}
        environ |= {"OLLAMA_NUM_PARALLEL": str(SERVICES), "OLLAMA_GO_TEMPLATE": "1"}
        environ |= {"LLAMA_ARG_THREADS": "1"} | KEPT
        super().__init__("Ollama", [*BEHIND, "ollama", "serve"], port, "/api/version", environ)

    async def give(self, gguf: Path) -> None:
        fields = gguf.parent.parent / "modelfile" / CREATE
        told: dict[str, Any] = json.loads(fields.read_text("utf-8")) if fields.is_file() else {}

        def create() -> None:
            files = {SERVED: upload(self.url, gguf)}
            call(self.url, "POST", "/api/create", told | {"model": MODEL, "files": files, "stream": False})

        await asyncio.to_thread(create)


def llama_server() -> Path | None:
    """The program: on PATH, or among Ollama's own libraries."""
    beside = [Path(found).resolve().parent.parent / "lib" / "ollama" for found in [shutil.which("ollama")] if found]
    found = shutil.which("llama-server", path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, beside)]))
    return Path(found) if found else None


def openai_engine(gguf: Path) -> Engine:
    """llama-server; where there is none, one more `poem-service` with llama.cpp inside, which speaks the same shape."""
    port = free_port()
    if program := llama_server():
        told = ["--alias", MODEL, "--host", "127.0.0.1", "--port", str(port), "--threads", "1", "--no-webui"]
        told += ["--parallel", str(SERVICES), "--ctx-size", str(SERVICES * CONTEXT)]
        return Engine("llama-server", [*BEHIND, str(program), "--model", str(gguf), *told], port, "/health", KEPT)
    environ = {"POEM_ENGINE": "embedded", "POEM_GGUF": str(gguf), "POEM_PORT": str(port)}
    engine = Engine("llama.cpp in a poem-service", [*BEHIND, *SERVICE], port, "/v1/models", environ | PYTHON)
    engine.model = gguf.name  # as a service lists what it has inside
    return engine


SERVICE = (sys.executable, "-m", "poem_service")
PYTHON = {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("game", "service")), "OMP_NUM_THREADS": "1"}


def service(n: int, engines: Sequence[Engine], log_db: str, deadline_s: float) -> Part:
    """One of the copies."""
    port = free_port()
    environ = {"POEM_PORT": str(port), "POEM_ENGINES": ", ".join(engine.listed for engine in engines)}
    environ |= {"POEM_LOG_DB": log_db, "POEM_DEADLINE_S": str(deadline_s), "POEM_TRUSTED_PROXIES": "127.0.0.1"}
    return Part(f"service {n}", SERVICE, port, "/ready", environ | PYTHON)


class Nginx:
    """The balancer. Restarted, the new one takes over the sockets before the old one goes."""

    def __init__(self, folder: Path, services: Sequence[Part]) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._pid, self._conf = folder / "nginx.pid", folder / "nginx.conf"
        servers = "\n    ".join(f"server 127.0.0.1:{each.port} max_fails=1 fail_timeout=1s;" for each in services)
        template = (Path(__file__).parent / "nginx.conf").read_text("utf-8")
        self._conf.write_text(template.format(folder=folder, port=port, servers=servers), "utf-8")

    async def start(self) -> None:
        """It goes to the background by itself, once it listens."""
        program = shutil.which("nginx") or "nginx"  # the new one is started by the name of the old, without a search
        started = await asyncio.create_subprocess_exec(program, "-c", str(self._conf), "-p", str(self._conf.parent))
        if await started.wait():
            raise SystemExit(f"scale: nginx did not start; see {self._conf}")
        await self._written()

    async def restart(self) -> None:
        old = await self._written()
        os.kill(old, signal.SIGUSR2)
        async with asyncio.timeout(GONE_S):
            while await self._written() == old or not children(await self._written()):
                await asyncio.sleep(0.05)
        await self._quit(old)

    async def end(self) -> None:
        if self._pid.exists():
            await self._quit(await self._written())

    async def _written(self) -> int:
        """The process id in its file, once it is there."""
        async with asyncio.timeout(GONE_S):
            while not (self._pid.exists() and (text := self._pid.read_text().strip())):
                await asyncio.sleep(0.05)
        return int(text)

    async def _quit(self, pid: int) -> None:
        """End one; it answers what it has begun."""
        os.kill(pid, signal.SIGQUIT)
        async with asyncio.timeout(4 * GONE_S):
            while _lives(pid):
                await asyncio.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
