"""A served model, a process → the memory that it takes."""

import re
from typing import Any

from poem_build.engine import ollama
from poem_build.judge.figures import Figures


class Memory(Figures):
    """What `ps` says of the loaded model in MB, and the runner's resident memory if it is on this machine."""

    ps_mb: float | None
    vram_mb: float | None
    resident_mb: float | None


def memory_of(host: str, model: str) -> Memory:
    """What the model of the Ollama at `host` takes."""
    running = ollama.call(host, "GET", "/api/ps").get("models", [])
    digest = ollama.digests(host)[model]
    found: dict[str, Any] = next((one for one in running if one["digest"] == digest), {})
    blob = re.search(r"sha256-[0-9a-f]{64}", ollama.call(host, "POST", "/api/show", {"model": model})["modelfile"])
    return Memory(
        ps_mb=_mb(found.get("size")),
        vram_mb=_mb(found.get("size_vram")),
        resident_mb=resident_mb(runner(blob.group())) if blob else None,
    )


def runner(blob: str) -> int | None:
    """The process of the llama-server that has the blob loaded, if it is on this machine and ours to read."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        arguments = " ".join(process.info["cmdline"] or ())  # None where it is not ours to read
        if "llama-server" in arguments and blob in arguments:
            return int(process.pid)
    return None


def resident_mb(pid: int | None) -> float | None:
    """MB of the process that lie in memory, where that can be told."""
    import psutil

    try:
        return None if pid is None else _mb(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / 1e6, 1)
