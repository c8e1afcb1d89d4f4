"""An Ollama that holds one model and pushes it, or a fault on the way: `/api/tags`, `/api/copy`, `/api/push`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.local_server import JsonHandler, listening

PART = "sha256:" + "ab" * 32


@dataclass
class Pushing:
    """What the server knows and has seen."""

    model: str
    digest: str = "0123456789ab"
    url: str = ""
    copied: list[tuple[str, str]] = field(default_factory=list)
    pushed: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"status": "retrieving manifest"},
            *({"status": f"pushing {PART[7:19]}", "digest": PART, "total": 10, "completed": n} for n in (3, 3, 10)),
            {"status": "pushing manifest"},
            {"status": "success"},
        ]
    )


@contextmanager
def pushing(model: str) -> Iterator[Pushing]:
    """The server as long as this lasts."""
    state = Pushing(model)

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            tags = {"models": [{"name": state.model, "digest": state.digest}]}
            self.answer(200, json.dumps({"version": "0.33.0"} if self.path == "/api/version" else tags).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.body())
            if self.path == "/api/copy":
                state.copied.append((asked["source"], asked["destination"]))
                self.answer(200, b"")
            elif self.path == "/api/push":
                state.pushed.append(asked)
                self.answer(200, b"".join(json.dumps(line).encode() + b"\n" for line in state.lines))

    with listening(Handler) as state.url:
        yield state
