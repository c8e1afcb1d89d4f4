"""A served model, a process → the memory that it takes."""

import re
from pathlib import Path
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
        resident_mb=resident_mb(_runner(blob.group())) if blob else None,
    )


def _runner(blob: str) -> int | None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes()
        except OSError:
            continue  # it has ended meanwhile, or is not ours to read
        if b"llama-server" in arguments and blob.encode() in arguments:
            return int(path.parent.name)
    return None


def resident_mb(pid: int | None) -> float | None:
    """MB of the process that lie in memory, where that can be told."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return None
    found = re.search(r"VmRSS:\s*(\d+) kB", status)
    return _mb(int(found.group(1)) * 1024) if found else None


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / 1e6, 1)
