"""A model that Ollama holds → the same in a registry of models, by Ollama's own `/api/push`, followed to its end."""

import json
from collections.abc import Iterator
from typing import Any

from poem_build.client import client
from poem_build.engine.ollama import call, digests, translated
from poem_build.errors import OllamaError, PublishError
from poem_build.progress import token_bar

_PUSH_TIMEOUT_S = 600.0
"""Between two lines of what Ollama tells; the whole may take hours."""


def full_name(name: str) -> str:
    """The name with its tag. Raises `PublishError` for one without an owner."""
    if "/" not in name:
        raise PublishError(f"{name}: whose is it? Give owner/name, as at ollama.com")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def push(host: str, model: str, digest: str, name: str, *, insecure: bool = False) -> None:
    """Give the model, as it was registered with that digest, the full name, and push it.

    Raises `PublishError` if what Ollama has under `model` is another or none, `OllamaError` for what Ollama or the
    registry refuses.
    """
    if digests(host).get(model) != digest:
        raise PublishError(f"OLLAMA_HOST {host}: {model} is not the one that was registered; `poem-build register` it")
    call(host, "POST", "/api/copy", {"source": model, "destination": name})
    sent: dict[str, int] = {}
    last = ""
    with token_bar(f"pushing {name}", None, 0, "B") as advance:
        for line in _lines(host, {"model": name, "insecure": insecure, "stream": True}):
            if "error" in line:
                raise OllamaError(f"OLLAMA_HOST {host}: /api/push: {name}: {line['error']}")
            last, part = str(line.get("status", "")), str(line.get("digest", ""))
            done = int(line.get("completed", 0))
            advance(max(0, done - sent.get(part, 0)), last[:20])
            sent[part] = max(done, sent.get(part, 0))
    if last != "success":
        raise OllamaError(f"OLLAMA_HOST {host}: /api/push: {name}: ended with {last!r}, no success; push it again")


def _lines(host: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with (
        translated(host),
        client(host, _PUSH_TIMEOUT_S) as there,
        there.stream("POST", "/api/push", json=body) as reply,
    ):
        for line in reply.iter_lines():
            if line.strip():
                yield json.loads(line)
