"""Docker's command line → what the stack's commands ask of it. Standard library only: it runs before any set-up."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from poem.environment import host_of, meant, narrow
from poem_build.errors import StackError

ROOT = Path(__file__).resolve().parents[3]
OLDEST_COMPOSE = (2, 24)
"""`!reset` and `!override`, which docker/compose.embedded.yaml needs, came with it."""
OVERRIDES = {"nvidia": "docker/compose.nvidia.yaml", "amd": "docker/compose.amd.yaml"}
EMBEDDED = "docker/compose.embedded.yaml"
PODMAN = "docker/compose.podman.yaml"


def reachable() -> bool:
    """Whether an engine answers."""
    return shutil.which("docker") is not None and _run("info", "--format", "{{.ID}}").returncode == 0


def check_engine() -> None:
    """Raises `StackError` unless an engine and a fit Compose answer."""
    if shutil.which("docker") is None:
        raise StackError("docker: not on PATH; install Docker Engine 20.10 or later with the Compose plugin")
    if (done := _run("info", "--format", "{{.ServerVersion}}")).returncode:
        raise StackError(f"docker: no engine answers ({_last(done)}); start it, or ask for the right to use it")
    version = ask("compose", "version", "--short").lstrip("v")
    found = tuple(int(part) for part in version.split("-")[0].split("+")[0].split(".")[:2])
    if found < OLDEST_COMPOSE:
        raise StackError(f"docker compose: {version} is older than {'.'.join(map(str, OLDEST_COMPOSE))}; update it")


@cache
def is_podman() -> bool:
    """Whether Podman answers to `docker`: by its socket, or under its name."""
    return shutil.which("docker") is not None and "podman" in _run("version").stdout.lower()


def ask(*args: str) -> str:
    """What a docker command prints; raises `StackError` with the last line of its complaint."""
    done = _run(*args)
    if done.returncode:
        raise StackError(f"docker {' '.join(args[:2])}: {_last(done)}")
    return done.stdout.strip()


def show(*args: str, env: Mapping[str, str] | None = None) -> None:
    """Run a docker command whose progress is the user's to see; raises `StackError` if it fails."""
    done = subprocess.run(["docker", *args], cwd=ROOT, env={**os.environ, **(env or {})}, check=False)
    if done.returncode:
        raise StackError(f"docker {args[0]}: ended with status {done.returncode}; the lines above say why")


def image(name: str) -> dict[str, Any] | None:
    """What `docker image inspect` tells of an image, or None if there is none of that name."""
    done = _run("image", "inspect", name)
    return dict(json.loads(done.stdout)[0]) if done.returncode == 0 else None


class Compose:
    """`docker compose` with the files of one stack: CPU, NVIDIA, AMD, or without Ollama."""

    def __init__(self, gpu: str = "", stack: str = "", env: Mapping[str, str] | None = None) -> None:
        if gpu and gpu not in OVERRIDES:
            raise StackError(f"GPU: {gpu!r} is not known; give {' or '.join(OVERRIDES)}, or leave it out for the CPU")
        if stack not in ("", "embedded"):
            raise StackError(f"STACK: {stack!r} is not known; give embedded, or leave it out for Ollama")
        if gpu and stack:
            raise StackError(f"GPU: {gpu} is for Ollama; the embedded stack runs on the CPU")
        self.env = {**_groups(gpu), **(env or {})}
        overrides = [EMBEDDED] if stack else [OVERRIDES[gpu]] if gpu else []
        overrides += [PODMAN] if is_podman() else []
        self.files = [part for name in ("compose.yaml", *overrides) for part in ("-f", name)]
        self.holder = "service" if stack else "ollama"
        """The service whose image has the model in it."""

    def config(self) -> dict[str, Any]:
        """The stack as Compose understands it, `.env` included; where to listen as it was meant."""
        self.env |= {name: value for name, value in where_to_listen(self.env).items() if name not in self.env}
        return dict(json.loads(self.ask("config", "--format", "json")))

    def dollars(self) -> list[str]:
        """Names behind a `$` in `.env` that Compose took for variables and found empty."""
        said = _run("compose", *self.files, "config", "--quiet", env=self.env).stderr
        ours = "".join((ROOT / name).read_text("utf-8") for name in self.files[1::2])
        unset = dict.fromkeys(re.findall(r'The \\"(\w+)\\" variable is not set', said))
        return [name for name in unset if f"{{{name}:" not in ours]

    def ask(self, *args: str) -> str:
        """What `docker compose` prints for this stack; raises `StackError` with the last line of its complaint."""
        done = _run("compose", *self.files, *args, env=self.env)
        if done.returncode:
            raise StackError(f"docker compose {args[0]}: {_last(done)}")
        return done.stdout.strip()

    def show(self, *args: str) -> None:
        show("compose", *self.files, *args, env=self.env)

    def running(self, service: str) -> bool:
        done = _run("compose", *self.files, "ps", "--quiet", "--status", "running", service, env=self.env)
        return bool(done.stdout.strip())


def where_to_listen(env: Mapping[str, str]) -> dict[str, str]:
    """What `.env` says of address and port, as Compose takes it: it refuses wide digits, and `::1` without brackets."""
    asked = {name: f"${{{name}:-}}" for name in ("POEM_PUBLISH", "POEM_PORT")}
    question = json.dumps({"services": {"ask": {"image": "none", "environment": asked}}})
    where = ("--project-directory", str(ROOT), "-f", "-")
    told = _run("compose", *where, "config", "--format", "json", env=env, text=question)
    if told.returncode:
        return {}  # what is wrong, the stack's own files will tell
    found = {
        name: narrow(meant(value or ""))
        for name, value in json.loads(told.stdout)["services"]["ask"]["environment"].items()
    }
    with contextlib.suppress(ValueError):
        host = host_of(found["POEM_PUBLISH"])
        found["POEM_PUBLISH"] = f"[{host}]" if ":" in host else "127.0.0.1" if host == "localhost" else host
    return {name: value for name, value in found.items() if value}


def nvidia_ready() -> bool:
    """Whether the engine can hand an NVIDIA GPU to a container, and the host has one."""
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False)
    return listed.returncode == 0 and "nvidia" in ask("info", "--format", "{{json .Runtimes}}")


def check_gpu(gpu: str) -> None:
    """Raises `StackError` if the GPU asked for is none that a container could have."""
    if gpu == "nvidia" and not nvidia_ready():
        raise StackError(
            "GPU=nvidia: `nvidia-smi` or the engine's nvidia runtime is missing; install the driver and the NVIDIA "
            "Container Toolkit, or leave GPU out for the CPU"
        )
    if gpu == "amd" and not Path("/dev/kfd").exists():
        raise StackError("GPU=amd: /dev/kfd is not there; install the amdgpu driver, or leave GPU out for the CPU")


def _groups(gpu: str) -> dict[str, str]:
    """The numbers of the host's groups that may use an AMD GPU, where the environment does not give them."""
    if gpu != "amd":
        return {}
    import grp

    numbers = {entry.gr_name: str(entry.gr_gid) for entry in grp.getgrall()}
    wanted = {"RENDER_GROUP": "render", "VIDEO_GROUP": "video"}
    return {name: numbers[group] for name, group in wanted.items() if group in numbers and name not in os.environ}


def _run(
    *args: str, env: Mapping[str, str] | None = None, text: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """A docker command, given the text on its standard input."""
    environment = {**os.environ, **(env or {})}
    command = ["docker", *args]
    return subprocess.run(command, cwd=ROOT, env=environment, input=text, capture_output=True, text=True, check=False)


def _last(done: "subprocess.CompletedProcess[str]") -> str:
    lines: Sequence[str] = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
    return lines[-1] if lines else f"status {done.returncode}"


def poem_build(command: list[str]) -> None:
    """Run `poem-build` of .venv. Raises `StackError` if it fails."""
    _run_of_venv("poem-build", command, f"poem-build {' '.join(command)}")


def python(module: str, options: list[str]) -> None:
    """The same of a module of ours."""
    _run_of_venv("python", ["-m", module, *options], " ".join([module, *options]))


def _run_of_venv(program: str, options: list[str], told: str) -> None:
    done = subprocess.run([ROOT / ".venv" / "bin" / program, *options], cwd=ROOT, check=False)
    if done.returncode:
        raise StackError(f"{told}: status {done.returncode}; the line above says why")
